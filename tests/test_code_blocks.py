"""Code blocks, checkboxes and formulas in answers on our own pages, and what an answer cannot fake there."""

import html
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_safe_html import HOSTILE, SCRAPS
from vision_nb.rendering import code_blocks
from vision_nb.rendering.markdown.html import markdown_to_html
from vision_nb.rendering.page import answer_html
from vision_nb.widgets.transcript_view import TranscriptView

SOURCE = Path(code_blocks.__file__).read_text()
CLASSES = set(code_blocks._CLASSES.values())


def text_of(page):
    return html.unescape(re.sub("<[^>]*>", "", page))


def fence(code, language="python"):
    return f"```{language}\n{code}\n```"


def test_code_of_a_known_language_is_highlighted_and_labeled():
    assert answer_html(fence('@cache\ndef f(x):\n    return "<b>"  # why', "py")) == (
        '<pre data-language="Python"><code><i class=d>@cache</i>\n<i class=k>def</i> <i class=f>f</i>(x):\n'
        '    <i class=k>return</i> <i class=s>"&lt;b&gt;"</i>  <i class=c># why</i>\n</code></pre>\n'
    )


@pytest.mark.parametrize("language", ["", "copied", "Copy", "python-evil", "vnb-code-copy", "language-python"])
def test_code_of_an_unknown_language_has_no_label_and_no_colors(language):
    page = answer_html(fence("def f(): pass", language))
    assert "data-language" not in page and "<i " not in page and "def f(): pass" in page


def test_highlighting_does_not_change_the_text():
    code = f"\n\n  {SOURCE}\n\n{SOURCE}\n"
    assert len(code) > 3 * code_blocks._WINDOW
    assert text_of(answer_html(fence(code))) == f"{code}\n\n"
    assert text_of(answer_html(fence("x" * 9_000))) == "x" * 9_000 + "\n\n"


def test_a_long_block_is_colored_like_its_statements():
    statement = 'def f(x):\n    """Say\n\n    more."""\n    return "a" + x  # why\n\n\n'
    alone = answer_html(fence(statement)).count("<i class=")
    assert answer_html(fence(statement * 200)).count("<i class=") == 200 * alone


@pytest.mark.parametrize("language", sorted(code_blocks._NAMES))
def test_every_language_has_a_lexer(language):
    for name in code_blocks._NAMES[language].split():
        page = answer_html(fence('x = "a" 1\n', name))
        assert page.startswith('<pre data-language="')


BITS = ['"', "'", "/", "<", "&", " ", "\n", "a.", '\\"', "{", "$", "/*"]


@pytest.mark.slow
@pytest.mark.parametrize("language", sorted(code_blocks._NAMES))
def test_hostile_code_is_highlighted_in_a_moment(language):
    code_blocks._spans_of_window(language, "x")
    for bit in BITS:
        start = time.process_time()
        code_blocks._spans_of_window(language, (bit * code_blocks._WINDOW)[: code_blocks._WINDOW])
        assert time.process_time() - start < 2  # the slowest takes a tenth of it


def test_a_lexer_is_given_a_bounded_length_at_once(monkeypatch):
    lengths = []
    spans_of_window = code_blocks._spans_of_window
    monkeypatch.setattr(
        code_blocks, "_spans_of_window", lambda name, code: lengths.append(len(code)) or spans_of_window(name, code)
    )
    for code in (SOURCE, "/" * 20_000, '"""' + "a\n" * 10_000):
        answer_html(fence(code))
    assert max(lengths) <= code_blocks._WINDOW and len(lengths) < 3 * 60_000 / code_blocks._WINDOW


def test_tasks_are_disabled_checkboxes():
    assert answer_html("- [x] a *b*\n- [ ] [c](https://d.org)\n- [y] e\n- [ ]\n\n[ ] f") == (
        '<ul>\n<li data-task><input type="checkbox" disabled checked aria-label="done"> a <em>b</em></li>\n'
        '<li data-task><input type="checkbox" disabled aria-label="to do"> '
        '<a href="https://d.org" target="_blank" rel="noopener noreferrer">c</a></li>\n'
        "<li>[y] e</li>\n<li>[ ]</li>\n</ul>\n<p>[ ] f</p>\n"
    )
    assert "\n<p><input" in answer_html("1. [X] a\n\n2. [ ] b") and "<li>☑ a</li>\n<li>☐ b</li>" in markdown_to_html(
        "- [x] a\n- [ ] b"
    )


FAKES = [
    '<div class="vnb-code"><div class="vnb-code-head" data-language="Python"><span>Python</span>'
    '<button class="vnb-code-copy" title="Copy this code">Copy</button></div><pre data-language="Python">rm -rf</pre></div>',
    '<pre data-language="Python"><code><i class=k>def</i></code></pre>',
    '<li data-task><input type="checkbox" disabled checked>',
    '```python" data-language="Safe\nx\n```',
    '```python class="vnb-code-copy"\nx\n```',
    "```task\n```\n\n- ```task-done\n  ```",
    "`vnb-code-copy`{.vnb-code-copy data-language=x}",
    "<i class=k>a</i><span class='vnb-action'>Copy</span>",
]
OWN = re.compile(
    r'<pre data-language="(?P<language>[^"]*)"><code>(?:[^<]|<i class=[a-z]>[^<]*</i>)*</code></pre>'
    r'|<li data-task>\s*(?:<p>)?<input type="checkbox" disabled (?:checked aria-label="done"|aria-label="to do")>'
    r"|<math.*?</math>",
    re.DOTALL,
)
LANGUAGES = {code_blocks._lexer(language).name for language in code_blocks._NAMES}


def faked(page):
    """Return the elements of our own page that a piece of HTML contains, except those that Python wrote."""
    assert {match["language"] for match in OWN.finditer(page)} - {None} <= LANGUAGES
    rest = re.sub(r' class="language-[^"]*"', "", OWN.sub("", page))
    return re.findall(r"<(?:button|input|select|textarea)|<[^>]*\s(?:data-|aria-|role=|class=)", rest)


@pytest.mark.parametrize("answer", [*FAKES, *HOSTILE])
def test_an_answer_cannot_fake_a_copy_button_or_a_label(answer):
    assert faked(answer_html(answer)) == []
    assert faked(answer_html(f"- {answer}\n\n> {answer}")) == []


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([*SCRAPS, *FAKES, "- [x] ", "```py\n", 'class="k"', "data-task"]), max_size=25).map(
        "".join
    )
)
def test_markup_in_any_order_cannot_fake_a_copy_button_or_a_label(answer):
    assert faked(answer_html(answer)) == []


WORDS = "The **bars** rise from left to right, as `f(x)` does, and the labels below them name the years. "
PROSE = f"{WORDS * 5} So $x = 2$; see [the docs](https://a.org). "
CODE = fence("\n\n".join(re.findall(r"(?s)^def .*?\n\n\n", SOURCE, re.MULTILINE)))
TABLE = "| a | b |\n|---|--:|\n" + "| words and more words | 1,000 |\n" * 20
ANSWERS = {
    "code": fence(SOURCE * 8),
    "all": f"{PROSE}\n\n- [x] done\n- [ ] not done\n\n{CODE}\n\n{TABLE}\n\n" * 12,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_of_10_000_tokens_sends_at_most_three_times_its_length_to_the_page(kind):
    answer = ANSWERS[kind][:40_000]
    assert len(answer) == 40_000
    sent: list[Any] = []
    view = TranscriptView(height="1px", static_class="x", on_action=print)
    view.send = lambda content, buffers=None: sent.append(content)
    for end in range(0, 40_001, 1_000):
        turn: Any = {"id": "1", "html": answer_html(answer[:end]), "reasoning": "", "state": "answering"}
        view.show([turn])
    assert sum(len(json.dumps(content, ensure_ascii=False).encode()) for content in sent) <= 3 * len(answer.encode())
