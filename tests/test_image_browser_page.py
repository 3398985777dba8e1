"""Cards of images in a real JupyterLab: `vn.show` with a kernel, and saved cards in an untrusted notebook."""

import nbformat
import pytest

from tests.axe import assert_accessible, assert_accessible_in_both_themes
from tests.conftest import picture
from tests.lab import open_notebook, run_all
from tests.panel_lab import KERNEL
from vision_nb.images.cards import image_cards, image_strip
from vision_nb.images.document import ImageDocument

pytestmark = pytest.mark.browser
SETUP = """
from pathlib import Path
from PIL import Image
import vision_nb as vn
folder = Path("many")
folder.mkdir()
for number in range(45):
    Image.linear_gradient("L").resize((1000, 600)).save(folder / f"{number}.png")
(folder / "7.png").write_bytes((folder / "7.png").read_bytes()[:40])
"""


def write(root, name, cells):
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), root / f"{name}.ipynb")
    return f"{name}.ipynb"


def test_show_pages_enlarges_and_zooms_by_keyboard(lab, page):
    address, root = lab
    cells = [nbformat.v4.new_code_cell(source) for source in (SETUP, "vn.show(sorted(folder.iterdir(), key=str))")]
    run_all(page, address, write(root, "browser", cells))
    page.wait_for_selector(".vnb-image-card >> nth=19", timeout=90_000)
    images, dialog = page.locator(".vnb-images"), page.locator(".vnb-image-dialog")
    assert (
        page.locator("[class^=vnb-static]").is_hidden()
        and "and 25 more" in page.locator("[class^=vnb-static]").text_content()
    )
    assert "1–20 of 45 images" in images.inner_text()
    assert_accessible_in_both_themes(page, ".vnb-images")

    images.get_by_label("Next page").focus()
    page.keyboard.press("Enter")
    images.get_by_text("21–40 of 45 images").wait_for()
    assert page.evaluate("() => document.activeElement.getAttribute('aria-label')") == "Next page"
    images.get_by_label("Page", exact=True).fill("3")
    page.keyboard.press("Enter")
    images.get_by_text("41–45 of 45 images").wait_for()
    broken = images.locator("div.vnb-image-card")
    assert "7.png" in broken.inner_text() and "damaged" in broken.inner_text()

    first = images.locator("button.vnb-image-card").first
    first.focus()
    page.keyboard.press("Enter")
    dialog.wait_for()
    assert "5.png, 1,000 × 600 PNG" in dialog.inner_text()
    zoomed = "() => document.querySelector('.vnb-image-dialog .vnb-viewer-image').style.transform.includes('scale(1.5')"
    page.keyboard.press("+")
    page.keyboard.press("+")
    page.wait_for_function(zoomed)
    page.wait_for_function("() => document.querySelector('.vnb-image-dialog .vnb-viewer-image').naturalWidth === 1000")
    for theme in ("JupyterLab Dark", "JupyterLab Light"):  # by a command: the dialog covers the menus
        page.evaluate("theme => { window.jupyterapp.commands.execute('apputils:change-theme', { theme }); }", theme)
        page.wait_for_selector(f"body[data-jp-theme-name='{theme}']", state="attached")
        page.wait_for_timeout(500)
        assert_accessible(page, ".vnb-image-dialog")
    dialog.locator(".vnb-viewer-frame").focus()  # the keys work only in the dialog
    page.keyboard.press("PageDown")
    dialog.get_by_text("6.png").wait_for()
    page.keyboard.press("PageUp")
    page.keyboard.press("PageUp")  # the last image of the page before
    dialog.get_by_text("44.png").wait_for()
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert "21–40" in images.inner_text() and page.locator(".jp-Notebook .jp-Cell").count() == 2
    page.set_viewport_size({"width": 700, "height": 800})
    assert images.evaluate("(e) => e.scrollWidth - e.clientWidth") <= 0
    page.set_viewport_size({"width": 1200, "height": 1000})


def test_saved_cards_are_enlarged_by_click_and_keyboard_in_an_untrusted_notebook(lab, page):
    address, root = lab
    documents = [ImageDocument(image=picture(800, 600), image_name=f"{number}.png") for number in range(3)]
    html = image_cards(documents) + image_strip(documents)
    output = nbformat.v4.new_output("display_data", data={"text/html": html, "text/plain": ""})
    cells = [nbformat.v4.new_code_cell("1", outputs=[output], execution_count=1)]
    open_notebook(page, address, write(root, "untrusted", cells))
    cards = page.locator(".jp-OutputArea details")
    assert cards.count() == 6 and page.locator(".jp-OutputArea [class^=vnb]").count() == 0  # sanitized
    for number, key in ((0, None), (1, "Enter"), (4, "Space")):
        card, image = cards.nth(number), cards.nth(number).locator("img")
        before = image.bounding_box()
        if key is None:
            card.locator("summary").click()
        else:
            card.locator("summary").focus()
            page.keyboard.press(key)
        after = image.bounding_box()
        assert after["width"] > 2 * before["width"] and after["height"] > 2 * before["height"]
        assert after["width"] / after["height"] == pytest.approx(4 / 3, rel=0.05)
    assert_accessible_in_both_themes(page, ".jp-OutputArea", least_passes=4)
