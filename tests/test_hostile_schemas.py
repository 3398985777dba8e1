"""Hostile names of fields, files and models are text in previews, answers and reviews."""

import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.extractions import RECEIPT, make_extraction
from tests.kernels import in_process_shell
from tests.test_hostile_local_servers import SHOWN, faults
from tests.test_safe_html import PARSERS

HOSTILE = pytest.mark.parametrize("name", SHOWN.values(), ids=SHOWN)


def pages_of(value):
    """Return the pages that front ends make of a value."""
    pages = [value._repr_html_()] if hasattr(value, "_repr_html_") else []
    markdown = value._repr_markdown_() if hasattr(value, "_repr_markdown_") else None
    return pages + ([parse(markdown) for parse in PARSERS.values()] if markdown else [])


@HOSTILE
def test_a_dry_run_shows_names_as_text(name, tmp_path, capsys):
    image = vn.ImageDocument(image=picture(), image_name=name)
    schema = {
        "type": "object",
        "title": name,
        "properties": {name.replace(".", ""): {"type": "string", "description": name}},
    }
    with in_process_shell(tmp_path) as shell:
        shell.user_ns |= {"image": image, "schema": schema}
        preview = shell.run_cell("%%vision openai:gpt-4o -i image --schema schema --dry-run\nRead.").result
        assert shell.server.requests == [] and pages_of(preview)
        assert [fault for page in pages_of(preview) for fault in faults(page) if not is_own(fault)] == []
        assert name in repr(preview)


def is_own(fault):
    """Return whether a page has something of our own templates: a thumbnail, whose text is in an attribute."""
    return fault in ("<img>", "img src", "img alt") or fault.startswith("img alt=")


@HOSTILE
def test_a_review_and_a_draft_that_are_reopened_show_values_as_text(name, tmp_path):
    answers = [[{**RECEIPT, "note": name}], [RECEIPT]]
    panel = make_extraction(tmp_path, answers).review(reviewer=name, order="given")
    panel.accept({**RECEIPT, "shop": name, "tags": [name]})
    panel._receive({"action": "edit", "row": panel.row, "values": {**panel.card["values"], "shop": name}}, [])
    extraction = make_extraction(tmp_path, answers)
    assert extraction.get_review(0).value["shop"] == name
    reopened = extraction.review(reviewer=name, order="given", show="all")
    shown = [reopened.card["values"]["shop"]]
    reopened._receive({"action": "move", "row": reopened.row, "by": 1}, [])
    assert [*shown, reopened.card["values"]["shop"]] == [name, name]
    assert [fault for page in pages_of(extraction) for fault in faults(page) if not is_own(fault)] == []
