"""Structured answers are shown as a table of their fields, while they are streamed and afterwards."""

import json

import pydantic
import pytest

import vision_nb as vn
from vision_nb.demo import Fault
from vision_nb.notebook.display import StreamingDisplay
from vision_nb.rendering.answer import fields_table, response_markdown
from vision_nb.rendering.data_table import data_table
from vision_nb.rendering.terminal import joined_parts


class Item(pydantic.BaseModel):
    name: str
    price: float


class Receipt(pydantic.BaseModel):
    shop: str
    paid: bool
    items: list[Item]
    note: str | None


DATA = {"shop": "Bakery", "paid": True, "items": [{"name": "Bread", "price": 4.2}], "note": None}
HOSTILE = "<img src=x onerror=alert(1)> ![x](http://a.org/b.png) $\\href{javascript:alert(1)}{x}$ `a` | **b**"


@pytest.fixture
def llm(server):
    server.answer_with(json.dumps(DATA))
    return vn.OpenAIMultiModal("gpt-4o", api_key="k", api_base=server.openai_base)


def without_styles(html):
    import re

    return re.sub(r' style="[^"]*"', "", html).replace("<span>none</span>", "none")


def test_a_structured_response_is_displayed_as_a_table_of_its_fields(llm):
    shown = without_styles(llm.complete("Read it.", schema=Receipt)._repr_markdown_())
    assert "<tr><th>shop</th><td>Bakery</td></tr><tr><th>paid</th><td>yes</td></tr>" in shown
    assert "<table><tr><th>name</th><th>price</th></tr><tr><td>Bread</td><td>4&#46;2</td></tr></table>" in shown
    assert "<th>note</th><td>none</td>" in shown
    assert "{" not in shown
    assert "gpt&#45;4o" in shown


def test_a_stream_shows_the_fields_that_have_arrived(llm):
    display = StreamingDisplay()
    bundles = [
        without_styles(display.bundle(response, finished=False)["text/markdown"])
        for response in llm.stream_complete("Read it.", schema=Receipt)
    ]
    assert any("<td>Bakery</td>" in shown and "Bread" not in shown for shown in bundles)
    assert "<td>Bread</td>" in bundles[-1]
    assert not any('"shop"' in shown for shown in bundles)


def test_the_table_shows_the_value_and_not_a_draft_before_it(llm, server):
    server.answer_with(f"At first, {json.dumps({**DATA, 'shop': 'Draft', 'paid': 3})}. Then: {json.dumps(DATA)}")
    shown = llm.complete("Read it.", schema=Receipt)._repr_markdown_()
    assert "Bakery" in shown and "Draft" not in shown


def test_a_list_is_a_table_with_a_row_for_each_object(llm, server):
    server.answer_with(json.dumps({"value": [{"name": "a", "price": 1}, {"name": "b", "price": 2}]}))
    shown = without_styles(llm.complete("Read it.", schema=list[Item])._repr_markdown_())
    assert "<tr><th>name</th><th>price</th></tr><tr><td>a</td><td>1" in shown


def test_text_without_json_is_displayed_as_text(llm, server):
    server.answer_with("Just **prose**.")
    with pytest.raises(vn.errors.SchemaError) as caught:
        llm.complete("Read it.", schema=Receipt)
    assert "Just **prose**." in response_markdown(caught.value.response)
    assert "2 attempts" in response_markdown(caught.value.response)


def test_untrusted_text_in_the_table_is_escaped(llm, server):
    server.answer_with(json.dumps({**DATA, "shop": HOSTILE, "items": [{"name": HOSTILE, "price": 1}]}))
    response = llm.complete("Read it.", schema=Receipt)
    table = response_markdown(response).partition("</table>\n")[0]
    names = data_table({HOSTILE: {HOSTILE: [HOSTILE, [HOSTILE], {HOSTILE: 1}]}})
    for html in (table, names):
        assert "<img" not in html and "![" not in html and "](http" not in html and "`" not in html
        assert "\\href" not in html and "**" not in html and "\n" not in html.strip()


def test_a_large_value_makes_a_small_table():
    rows = [{f"field {column}": "x" * 5000 for column in range(100)} for _ in range(1000)]
    assert len(data_table(rows)) < 400_000
    assert "951 more" in data_table(rows)
    deep = []
    for _ in range(500):
        deep = [deep, {"a": deep}]
    assert len(data_table({"deep": deep})) < 100_000


def test_a_terminal_shows_only_the_fields_of_the_repaired_answer(llm, server, capsys):
    server.fail(Fault(text='{"shop": 1}'))
    answer = vn.display_stream(llm.stream_complete("Read it.", schema=Receipt))
    assert answer.attempts == 2 and capsys.readouterr().out == f"{joined_parts([fields_table(DATA)])}\n"
