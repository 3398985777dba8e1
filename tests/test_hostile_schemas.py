"""Hostile names of fields, files and models are text in previews, answers and reviews."""

import re
from pathlib import Path

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


TEXT = '[^"<>]*'  # of an attribute, escaped
THUMBNAIL = f'<img src="data:image/webp;base64,[A-Za-z0-9+/=]+" alt="{TEXT}" style="[^"<>&()\\\\]*">'
CARD = (
    '<details style="[^"<>&/\\\\]*"><summary style="[^"<>&()\\\\]*" '
    f'title="{TEXT}, [0-9]+ x [0-9]+ PNG, [0-9]+ kB\\. Click to enlarge">{THUMBNAIL}'
)
RULES = (Path(vn.__file__).parent / "rendering" / "paged_table.css").read_text(encoding="utf-8")
STYLE = re.escape(f"<style>{RULES}@supports selector(::details-content) and selector(:has(*)){{}}</style>")


def without_own_markup(page, *, cards=0, styles=0, thumbnails=0):
    """Return a page without the tags of our own templates, of which it must have exactly these numbers."""
    for pattern, expected in [(CARD, cards), (STYLE, styles), (THUMBNAIL, thumbnails)]:
        page, count = re.subn(pattern, "", page)
        assert count == expected
    return page.replace("<wbr>", "")


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
        assert [fault for page in pages_of(preview) for fault in faults(without_own_markup(page, cards=1))] == []
        assert name in repr(preview)


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
    assert [
        fault for page in pages_of(extraction) for fault in faults(without_own_markup(page, styles=1, thumbnails=2))
    ] == []
