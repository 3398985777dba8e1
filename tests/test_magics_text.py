"""The parsers of the magics, and the text that reaches the server, tested in this process for speed."""

import re
import string
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from IPython.core.error import UsageError

from tests.conftest import picture
from tests.kernels import in_process_shell
from vision_nb.errors import MalformedResponseError
from vision_nb.magics import answer_parsers
from vision_nb.magics.image_args import image_variables
from vision_nb.magics.models import resolve
from vision_nb.magics.options import split
from vision_nb.magics.template import insert_values

PRINTABLE = st.text(
    st.characters(exclude_categories=["C", "Zl", "Zp"]) | st.sampled_from("\n\t{}$\\\"'`%!?;<>"), min_size=1
)


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    with in_process_shell(tmp_path_factory.mktemp("store")) as shell:
        yield shell


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(body=PRINTABLE.filter(lambda text: text.strip() and "{{" not in text))
@pytest.mark.slow
def test_any_printable_text_reaches_the_server_unchanged(shell, capsys, body):
    shell.server.requests.clear()
    result = shell.run_cell(f"%%vision demo --no-cache\n{body}\n")
    result.raise_error()
    assert shell.server.requests[-1].body["messages"][0]["content"] == body


@given(st.text(st.sampled_from("ab{}\\ "), max_size=30))
def test_a_template_without_double_braces_is_unchanged_and_escaped_braces_are_literal(text):
    plain = re.sub(r"\{(?=\{)", "{ ", text)
    assert insert_values(plain, {}) == plain
    assert insert_values("\\{{" + plain, {}) == "{{" + plain


@given(st.lists(st.text(string.ascii_letters + "üñ日本/\\:.*?[]' ", min_size=1).filter(str.strip), max_size=5))
def test_quoted_words_are_preserved(words):
    words = [word.replace('" ', "") for word in words]
    assert split(" ".join(f'"{word}"' for word in words)) == words


@pytest.mark.parametrize(
    "line, words",
    [
        (r"-i C:\new\a.jpg", ["-i", r"C:\new\a.jpg"]),
        (r'-i "C:\my pictures\a.jpg"', ["-i", r"C:\my pictures\a.jpg"]),
        ("-s \"a 'b' c\" -s 'say \"x\"'", ["-s", "a 'b' c", "-s", 'say "x"']),
        ('--system="a b" -p k="a b"', ["--system=a b", "-p", "k=a b"]),
        ("-s don't", ["-s", "don't"]),
        ("""-p 'a={"b": "c"}'""", ["-p", 'a={"b": "c"}']),
        ('-s ""', ["-s", ""]),
    ],
)
def test_a_line_is_split_into_words(line, words):
    assert split(line) == words


def test_aliases_resolve_to_models_and_cycles_are_refused():
    assert resolve("a", {"a": "b", "b": "openai:ft:gpt-4o:me::1"}) == "openai:ft:gpt-4o:me::1"
    with pytest.raises(UsageError, match="a -> b -> a"):
        resolve("a", {"a": "b", "b": "a"})


def test_json_is_found_and_errors_have_a_position():
    assert answer_parsers.parse_json("```\n[1]\n```") == [1]
    assert answer_parsers.parse_json(' {"a": null} ') == {"a": None}
    assert answer_parsers.parse_json("```python\nx\n```\nthen\n~~~json\n{}\n~~~") == {}
    with pytest.raises(MalformedResponseError, match="line 3, column 9"):
        answer_parsers.parse_json('So:\n```json\n{"a": 1 2}\n```')
    with pytest.raises(MalformedResponseError, match="at the end"):
        answer_parsers.parse_json('{"a": [1,')


def test_tables_are_parsed_with_numbers_as_numbers():
    table = answer_parsers.parse_table(
        "Here:\n\ncity | people | note\n:--|--:|---\nA | 1.5 | **x**\nB | 2 | a\\|b\n\nDone | here."
    )
    assert list(table.columns) == ["city", "people", "note"] and table["people"].sum() == 3.5
    assert table["note"].tolist() == ["x", "a|b"]
    assert answer_parsers.parse_table('```csv\na,b\n"x, y",2\n```')["a"].tolist() == ["x, y"]
    with pytest.raises(MalformedResponseError, match="Row 2 of the answer's table has 1 cells"):
        answer_parsers.parse_table("|a|b|\n|-|-|\n|1|2|\n|3|")


def test_formulas_are_put_between_dollar_signs():
    assert answer_parsers.normalize_math(r"So \( x \) and \[ y \].") == "So $x$ and $$ y $$."
    assert answer_parsers.normalize_math("It is red. No formula.") == "It is red. No formula."
    assert answer_parsers.normalize_math("```latex\n\\frac{1}{2}\n```") == "$$\n\\frac{1}{2}\n$$"


def test_only_variables_with_images_are_offered():
    variables = {"a": picture(), "b": [picture()], "c": "x.png", "d": 5, "e": [], "_f": picture(), "g": sys, "h": dict}
    assert image_variables(variables) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "text, reason",
    [
        ("NaN", "NaN is not JSON"),
        ('{"a": [1, Infinity]}', "Infinity is not JSON"),
        ("```json\n-Infinity\n```", "-Infinity is not JSON"),
        ('So:\n```json\n{"a": 1e999}\n```', "1e999 is not JSON"),
        ("9" * 6000, "a number has too many digits"),
        ("[" * 100_000, "nested too deeply"),
    ],
    ids=["NaN", "Infinity", "-Infinity", "1e999", "6,000 digits", "deeply nested"],
)
def test_numbers_and_nesting_that_json_does_not_have_are_refused(text, reason):
    with pytest.raises(MalformedResponseError, match=reason):
        answer_parsers.parse_json(text)


def test_a_byte_order_mark_before_json_is_ignored():
    assert answer_parsers.parse_json("\ufeff[1]") == [1]
