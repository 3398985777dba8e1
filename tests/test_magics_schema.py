"""`%%vision --schema` and `-f json` in a real kernel."""

import html

import pytest

from tests.kernels import error_of, markdown_of, run_cells, text_of

pytestmark = pytest.mark.kernel

SERVER = """
import json, os
from typing import Literal
from pydantic import BaseModel
from vision_nb.demo import shared_server
server = shared_server()
os.environ |= {"OPENAI_API_KEY": "demo", "OPENAI_BASE_URL": server.openai_base}
class Total(BaseModel):
    amount: float
    currency: Literal["EUR", "USD"]
class Receipt(BaseModel):
    shop: str
    total: Total
def answer(value):
    server.answer_with(value if isinstance(value, str) else json.dumps(value))
answer({"shop": "Corner <b>Shop</b>", "total": {"amount": 12.5, "currency": "EUR"}})
"""


def test_the_value_is_the_object_and_the_output_is_a_table(photo):
    _, asked, value, named, printed, again, count = run_cells(
        SERVER,
        f"%%vision openai:gpt-4o --schema Receipt -i {photo}\nRead the receipt.",
        "print(type(_).__name__, _.total.amount, _vision.parsed == _, Out[3] is _)",
        f"%%vision openai:gpt-4o receipt << --schema Receipt -i {photo} --no-cache --no-stream\nRead the receipt.",
        "print(receipt.shop)",
        f"%%vision openai:gpt-4o --schema Receipt -i {photo}\nRead the receipt.",
        "print(len(server.requests), _.shop == receipt.shop)",
    )
    for cell in (asked, named, again):
        (shown,) = map(html.unescape, markdown_of(cell))
        assert (
            "<table>" in shown
            and "total.currency" in shown
            and "12" in shown
            and "&lt;b" in markdown_of(cell)[0].replace("&#60;", "&lt;")
        )
        assert len(cell.outputs) == 1
    assert text_of(value) == "Receipt 12.5 True True\n"
    assert text_of(printed) == "Corner <b>Shop</b>\n"
    assert "came from the cache" in markdown_of(again)[0]
    assert text_of(count) == "2 True\n"


def test_an_answer_that_does_not_fit_is_repaired_or_an_error(photo):
    _, failed, _, json_schema, keys, compared, models = run_cells(
        SERVER + "answer({'shop': 3})",
        f"%%vision openai:gpt-4o --schema Receipt -i {photo}\nRead it.",
        "answer({'shop': 'S'})\nschema = {'type': 'object', 'properties': {'shop': {'type': 'string'}}}",
        f"%%vision openai:gpt-4o --schema schema -i {photo}\nRead it.",
        "print(_)",
        f"%%vision -m openai:gpt-4o -m openai:gpt-4o-mini --schema schema -i {photo}\nRead it.",
        "print([one.response.parsed for one in _])",
        allow_errors=True,
    )
    assert "SchemaError" in error_of(failed) and "total" in error_of(failed)
    assert text_of(keys) == "{'shop': 'S'}\n"
    assert text_of(models) == "[{'shop': 'S'}, {'shop': 'S'}]\n"
    assert "<table>" in compared.outputs[0].data["text/html"] and json_schema.outputs


def test_a_wrong_name_or_option_is_a_usage_error(photo):
    _, misspelt, wrong, both, preview = run_cells(
        SERVER,
        f"%%vision demo --schema Reciept -i {photo}\nRead it.",
        f"%%vision demo --schema answer -i {photo}\nRead it.",
        f"%%vision demo --schema Receipt -f json -i {photo}\nRead it.",
        f"%%vision demo --schema Receipt --dry-run -i {photo}\nRead it.",
        allow_errors=True,
    )
    assert "did you mean Receipt?" in error_of(misspelt)
    assert "not a schema" in error_of(wrong)
    assert "omit -f" in error_of(both)
    assert "Receipt: shop, total.amount, total.currency" in preview.outputs[0].data["text/html"]


def test_format_json_asks_for_json(photo):
    _, plain, asked, said, same = run_cells(
        SERVER + "answer([1, 2])",
        f"%%vision openai:gpt-4o -f json -i {photo}\nList the numbers.",
        "print(_, repr(server.requests[-1].body['messages'][-1]['content'][0]['text']))",
        f"%%vision openai:gpt-4o -f json -i {photo}\nList the numbers as JSON.",
        "print(server.requests[-1].body['messages'][-1]['content'][0]['text'])",
    )
    assert text_of(asked) == "[1, 2] 'List the numbers.\\n\\nAnswer with JSON only.'\n"
    assert text_of(same) == "List the numbers as JSON.\n" and plain.outputs and said.outputs
