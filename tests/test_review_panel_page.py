"""The review panel in a real JupyterLab, used by keyboard as a person does."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from tests import panel_lab
from tests.axe import assert_accessible_in_both_themes
from tests.lab import run_all
from tests.test_chat_panel_browser import restart
from vision_nb.store import Store

pytestmark = pytest.mark.browser

SETUP = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
import vision_nb as vn
from tests.conftest import picture
from tests.extractions import RECEIPT, make_extraction, receipt
evil = "<img src=x onerror=alert(1)>"
other = receipt(shop=evil, total={{"amount": "125.0", "currency": None}})
answers = [[RECEIPT, RECEIPT], [RECEIPT, other], [None, None], [RECEIPT, RECEIPT]]
folder = Path("receipts")
folder.mkdir(exist_ok=True)
large = folder / "large.png"
picture(1800, 2400).save(large)
images = [large, *(folder / f"receipt{{number}}.png" for number in range(3))]
for number, path in enumerate(images[1:]):
    picture(300, 400, seed=number).save(path)
extraction = make_extraction(folder, answers, images=images)
"""
PANEL = "extraction.review(reviewer='ann', order='given')"


class Panel:
    """A review panel on a page."""

    def __init__(self, page, folder):
        self.page, self.folder = page, folder
        self.root = page.locator(".vnb-review")

    def input(self, label):
        return self.root.get_by_label(re.compile(rf"^{label}( optional)?$"))

    def wait_for(self, selector, text):
        self.page.wait_for_function(
            "([selector, text]) => document.querySelector(`.vnb-review ${selector}`)?.innerText.includes(text)",
            arg=[selector, text],
            timeout=60_000,
        )

    def wait_for_image(self, name):
        self.wait_for(".vnb-review-title", name)

    def focused(self):
        return self.page.evaluate(
            "() => document.activeElement.closest('.vnb-review') && (document.activeElement.getAttribute('aria-label')"
            " || document.activeElement.labels?.[0]?.innerText || document.activeElement.textContent).trim()"
        )

    def saved(self):
        """Return the saved data, oldest first."""
        store = Store(self.folder / "answers.sqlite3")
        with store._locked() as connection:
            rows = connection.execute("SELECT value FROM reviews ORDER BY time").fetchall()
        store.close()
        return [json.loads(value) for (value,) in rows]


@pytest.fixture
def opened(lab, page, request):
    """A function that opens a panel in a notebook and a folder named after the test."""
    address, root = lab
    folder = root / re.sub(r"\W+", "_", request.node.name)

    def opened(cell=PANEL):
        folder.mkdir(exist_ok=True)
        cells = [nbformat.v4.new_code_cell(source) for source in (SETUP, cell)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=panel_lab.KERNEL), folder / "review.ipynb")
        run_all(page, address, f"{folder.name}/review.ipynb")
        panel = Panel(page, folder / "receipts")
        panel.wait_for(".vnb-review-title", "Image 1")
        return panel

    return opened


def test_fields_can_have_the_names_of_javascripts_own_properties(opened):
    panel = opened(
        "schema = {'type': 'object', 'properties': {name: {'type': 'string'} for name in ('constructor', '__proto__')}}\n"
        "answer = {'constructor': 'McLaren', '__proto__': 'MP4'}\n"
        "make_extraction(folder, [[answer, {**answer, '__proto__': 'MP5'}]], schema, images=[large]).review(reviewer='ann')"
    )
    panel.wait_for(".vnb-other:nth-child(2)", "MP5")
    assert panel.root.locator(".vnb-other").count() == 2
    assert panel.input("constructor").input_value() == "McLaren"
    panel.input("__proto__").fill("MP4/4")
    panel.input("__proto__").press("Enter")
    panel.wait_for(".vnb-review-progress", "1 of 1 reviewed")
    assert panel.saved() == [{"constructor": "McLaren", "__proto__": "MP4/4"}]


def test_data_is_corrected_by_keyboard_and_found_after_a_reload(opened):
    panel = opened()
    page, press = panel.page, panel.page.keyboard.press
    panel.input("shop").focus()
    press("Control+a")
    page.keyboard.type("Baker")
    press("Shift+Enter")
    page.keyboard.type("& Sons")
    press("Tab")  # the text has two lines now, so that Enter would add a third
    page.keyboard.type("a note")
    press("Enter")
    panel.wait_for_image("receipt0.png")
    panel.wait_for(".vnb-review-progress", "1 of 4 reviewed")
    assert [(one["shop"], one["note"]) for one in panel.saved()] == [("Baker\n& Sons", "a note")]
    assert panel.focused() == "shop"  # the first field that the models disagree about

    press("Alt+2")
    page.wait_for_function("() => document.querySelector('.vnb-review textarea').value.startsWith('<img')")
    assert page.evaluate("() => document.querySelector('.vnb-review img[src=x]')") is None
    press("Alt+ArrowRight")
    panel.wait_for_image("receipt1.png")
    panel.wait_for(".vnb-review-notes", "gave no answer")
    press("PageUp")
    panel.wait_for_image("receipt0.png")
    assert panel.input("shop").input_value().startswith("<img")  # a change is kept without being accepted
    press("Escape")
    page.wait_for_function("() => document.querySelector('.vnb-review textarea').value === 'Corner Shop'")
    assert len(panel.saved()) == 1

    press("Enter")
    panel.wait_for_image("receipt1.png")
    page.keyboard.type("x")
    press("Control+z")  # undoes the typing
    panel.wait_for_image("receipt1.png")
    assert panel.input("shop").input_value() == ""
    press("Control+z")  # undoes the accept
    panel.wait_for_image("receipt0.png")
    panel.wait_for(".vnb-review-progress", "1 of 4 reviewed")
    assert len(panel.saved()) == 1

    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    text = (panel.folder.parent / "review.ipynb").read_text()
    assert "data:image" not in text and "Baker" not in text and "images reviewed): run its cell" in text
    page.reload()
    panel.wait_for_image("receipt0.png")  # from the kernel
    panel.wait_for(".vnb-review-progress", "1 of 4 reviewed")
    again = opened("extraction.review(reviewer='ann', order='given', show='all')")
    again.wait_for(".vnb-review-state", "Reviewed by ann on")
    assert again.input("shop").input_value() == "Baker\n& Sons"


def test_errors_are_shown_at_their_fields(opened):
    panel = opened()
    press = panel.page.keyboard.press
    panel.input("amount").fill("12,50")
    panel.wait_for(".vnb-field[data-path='total.amount'] .vnb-field-error", "amount is not a number")
    panel.root.get_by_label("items 2 count").fill("two")
    press("Control+Enter")
    panel.wait_for(".vnb-review-error", "Not accepted: 2 errors.")
    assert panel.focused() == "amount" and panel.input("amount").get_attribute("aria-invalid") == "true"
    shown = panel.root.get_by_label("items 2 count")
    described = panel.page.locator(f"#{shown.get_attribute('aria-describedby').split()[0]}")
    assert described.inner_text() == "\u26a0 count is not a whole number" and panel.saved() == []
    shown.fill("3")
    panel.input("amount").fill("12.51")
    press("Enter")
    panel.wait_for_image("receipt0.png")
    (saved,) = panel.saved()
    assert saved["total"]["amount"] == "12.51" and saved["items"][1]["count"] == 3


def test_rows_of_a_list_are_added_moved_and_removed_by_keyboard(opened):
    panel = opened()
    press, page = panel.page.keyboard.press, panel.page
    panel.root.get_by_label("items 1 name").focus()
    press("Enter")
    assert panel.focused() == "items 2 name"
    page.keyboard.type("Milk")
    press("Tab")
    page.keyboard.type("1.10")
    press("Tab")
    page.keyboard.type("1")
    panel.root.get_by_label("Move down: items 2").focus()
    press("Space")
    assert panel.focused() == "Remove: items 3"  # the last row cannot move down
    panel.root.get_by_label("Remove: items 1").focus()
    press("Space")
    panel.root.get_by_label("Add row: tags").focus()
    press("Space")
    page.keyboard.type("cheap")
    press("Control+Enter")
    panel.wait_for_image("receipt0.png")
    (saved,) = panel.saved()
    assert [item["name"] for item in saved["items"]] == ["Bread", "Milk"] and saved["tags"] == ["cheap"]
    assert saved["items"][1] == {"name": "Milk", "price": "1.10", "count": 1}


def test_values_of_each_kind_are_edited_and_can_be_missing(opened):
    panel = opened()
    press = panel.page.keyboard.press
    panel.input("day").fill("")
    panel.input("printed_at").fill("2026-03-02T08:15:00")
    panel.root.get_by_label("printed_at: time zone").fill("Z")
    panel.input("payment").select_option("no value")
    panel.input("is_paid").select_option("no")
    panel.input("currency").fill("")
    panel.root.get_by_label("note: empty text").click()
    panel.input("amount").focus()
    press("Enter")
    panel.wait_for_image("receipt0.png")
    panel.page.keyboard.press("PageDown")
    panel.wait_for_image("receipt1.png")  # no model answered about it
    panel.root.get_by_label("shop: empty text").click()
    panel.input("amount").fill("1")
    press("Enter")
    panel.wait_for_image("receipt2.png")
    saved, filled = panel.saved()
    assert (filled["shop"], filled["items"], filled["tags"]) == ("", [], None)
    assert {name: saved[name] for name in ("day", "printed_at", "payment", "is_paid", "note")} == {
        "day": None,
        "printed_at": "2026-03-02T08:15:00Z",
        "payment": None,
        "is_paid": False,
        "note": "",
    }
    assert saved["total"]["currency"] is None


def test_the_image_is_zoomed_and_moved(opened):
    panel = opened()
    page, press = panel.page, panel.page.keyboard.press
    image = page.locator(".vnb-viewer-image")
    place = "(image) => new DOMMatrix(getComputedStyle(image).transform).toJSON()"
    assert image.evaluate("(image) => image.naturalHeight") <= 900
    page.locator(".vnb-viewer-frame").focus()
    for _ in range(5):
        press("+")
    page.wait_for_function("() => document.querySelector('.vnb-viewer-image').naturalHeight > 2000")  # more pixels
    zoomed = image.evaluate(place)
    assert zoomed["a"] == pytest.approx(1.25**5)
    press("ArrowRight")
    assert image.evaluate(place)["e"] == pytest.approx(zoomed["e"] - 60)
    box = page.locator(".vnb-viewer-frame").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 130, box["y"] + 120)
    page.mouse.up()
    moved = image.evaluate(place)
    assert (moved["e"], moved["f"]) == (pytest.approx(zoomed["e"] - 30), pytest.approx(zoomed["f"] + 20))
    page.mouse.wheel(0, 120)
    page.wait_for_function(
        "(scale) => new DOMMatrix(getComputedStyle(document.querySelector('.vnb-viewer-image')).transform).a < scale",
        arg=zoomed["a"] - 0.1,
    )
    press("0")
    assert image.evaluate(place)["a"] == 1
    press("Alt+ArrowRight")
    panel.wait_for_image("receipt0.png")
    assert panel.focused().startswith("Image receipt0.png")


def test_the_panel_passes_axe_in_both_themes_and_fits_narrow_pages(opened):
    panel = opened()
    page = panel.page
    panel.input("amount").fill("x")
    page.keyboard.press("Enter")
    panel.wait_for(".vnb-review-error", "Not accepted")
    for step in ("error", "disagreement"):
        if step == "disagreement":
            page.keyboard.press("PageDown")
            panel.wait_for_image("receipt0.png")
        assert_accessible_in_both_themes(page, ".vnb-review")
        panel.input("shop").focus()
    for width in (1200, 500, 360):
        panel.root.evaluate("(root, width) => { root.style.width = `${width}px`; }", width)
        page.wait_for_timeout(200)
        overflow = panel.root.evaluate("(root) => root.scrollWidth - root.clientWidth")
        assert overflow <= 0, width
        image, form = (page.locator(name).bounding_box() for name in (".vnb-viewer", ".vnb-review-form"))
        assert (image["y"] + image["height"] <= form["y"]) == (width < 640)


def test_the_form_refuses_text_that_a_busy_kernel_would_lose_and_a_restarted_kernel_is_displayed(opened):
    panel = opened()
    page = panel.page
    cells = panel_lab.Panel(page)
    cells.new_cell()
    page.keyboard.insert_text("import time; print('STARTED', flush=True); time.sleep(3)")
    page.keyboard.press("Control+Enter")
    cells.wait_for_text("STARTED", ".jp-OutputArea-output")
    panel.input("note").fill("a note")
    page.keyboard.press("Enter")
    page.keyboard.type(" and more")
    panel.root.get_by_label("Remove: items 1").click()
    assert panel.input("note").input_value() == "a note"
    assert panel.root.get_by_label("Remove: items 2").is_visible()
    panel.wait_for(".vnb-kernel-status", "Waiting for the kernel: another cell is running.")
    panel.wait_for_image("receipt0.png")
    assert panel.saved()[0]["note"] == "a note"
    page.keyboard.type("x")
    assert "x" in panel.input("shop").input_value()
    restart(page)
    panel.wait_for(".vnb-kernel-status", "The kernel was restarted or stopped: run this cell again")
    assert page.locator(".vnb-review-body").evaluate("(body) => body.inert")
