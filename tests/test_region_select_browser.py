"""Selecting regions of an image in a real JupyterLab, with the mouse, a finger and the keyboard."""

import json

import nbformat
import pytest

import vision_nb as vn
from tests.axe import assert_accessible, assert_accessible_in_both_themes, assert_async_page_accessible
from tests.lab import browser_page, run_all
from tests.panel_lab import KERNEL
from tests.panel_page import panel_page
from tests.test_chat_panel_browser import restart

pytestmark = pytest.mark.browser
CELL = """
import json
from pathlib import Path
import vision_nb as vn
from PIL import Image
selection = vn.select_region(Image.linear_gradient("L").resize((1000, 500)))
def write(change):
    Path("boxes.part").write_text(json.dumps([[*box, box.label] for box in change["new"]]))
    Path("boxes.part").replace("boxes.json")
selection.observe(write, "boxes")
selection
"""
WAIT = """
import time
while Path("busy").exists():
    time.sleep(0.1)
"""


class Selection:
    """A widget to select regions on a page."""

    def __init__(self, page, root):
        self.page, self.path = page, root / "boxes.json"
        self.layer = page.locator(".vnb-regions-layer")

    def drag(self, start, end):
        """Drag from one place to another, in pixels of the image."""
        area = self.layer.bounding_box()
        scale = area["width"] / 1000
        for place, action in ((start, "down"), (end, "up")):
            self.page.mouse.move(area["x"] + place[0] * scale, area["y"] + place[1] * scale, steps=4)
            getattr(self.page.mouse, action)()

    def wait(self, check):
        """Wait until the kernel has boxes that pass a check, and return them."""
        for _ in range(100):
            boxes = json.loads(self.path.read_text()) if self.path.exists() else []
            if check(boxes):
                return boxes
            self.page.wait_for_timeout(100)
        pytest.fail(f"the kernel has {boxes}")

    def press(self, key):
        """Press a key, and return the boxes of the kernel once they have changed."""
        before = self.wait(lambda boxes: True)
        self.page.keyboard.press(key)
        return self.wait(lambda boxes: boxes != before)

    def focused(self):
        return self.page.evaluate(
            "() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
        )


def near(sides, expected):
    return all(abs(side - other) <= 2 for side, other in zip(sides, expected, strict=False))


def test_regions_are_selected_with_mouse_and_keyboard(lab):
    address, root = lab
    cells = [nbformat.v4.new_code_cell(CELL), nbformat.v4.new_code_cell(WAIT)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), root / "regions.ipynb")
    with browser_page() as page:
        run_all(page, address, "regions.ipynb")
        page.wait_for_selector(".vnb-regions-image[src^=data]", timeout=90_000)
        selection = Selection(page, root)

        selection.drag((100, 100), (400, 300))
        (box,) = selection.wait(lambda boxes: len(boxes) == 1)
        assert near(box, (100, 100, 400, 300))
        selection.drag((250, 200), (350, 250))  # move
        assert near(selection.wait(lambda boxes: boxes[0] != box)[0], (200, 150, 500, 350))
        selection.drag((500, 350), (900, 450))  # the handle of a corner
        (box,) = selection.wait(lambda boxes: boxes[0][2] > 890)
        assert near(box, (200, 150, 900, 450))
        selection.drag((10, 10), (11, 11))  # a click

        page.locator(".vnb-regions-box").focus()
        left, top, right, bottom, _ = box
        assert selection.press("ArrowRight") == [[left + 10, top, right + 10, bottom, ""]]
        assert selection.press("Shift+ArrowUp") == [[left + 10, top, right + 10, bottom - 5, ""]]
        described = f"Box 1: left {left + 10}, top {top}, {right - left} by {bottom - 5 - top} pixels"
        assert selection.focused() == described == page.locator(".vnb-regions-status").inner_text()
        page.get_by_role("spinbutton", name="Left").fill("50")
        assert selection.press("Enter")[0][0] == 50
        page.get_by_role("textbox", name="Label").fill("a cat")
        assert selection.press("Enter")[0][4] == "a cat"
        page.get_by_role("button", name="Add box").focus()
        assert selection.press("Enter")[1] == [270, 135, 770, 385, ""]
        assert selection.focused().startswith("Box 2: left 270")
        assert_accessible_in_both_themes(page, ".vnb-region-select")

        page.set_viewport_size({"width": 360, "height": 700})
        page.keyboard.press("Control+b")
        assert_accessible(page, ".vnb-region-select")
        page.locator(".vnb-regions-box").nth(1).focus()
        assert len(selection.press("Delete")) == 1
        assert selection.focused().startswith("Box 1 (a cat)")
        assert page.evaluate("() => document.querySelector('.vnb-region-select').scrollWidth") <= 360
        page.locator(".vnb-regions-layer").scroll_into_view_if_needed()
        area = page.locator(".vnb-regions-layer").bounding_box()
        touch(page, area, (0.05, 0.05), (0.5, 0.2))
        _, box = selection.wait(lambda boxes: len(boxes) == 2)
        assert all(abs(side - other) < 12 for side, other in zip(box, (50, 25, 500, 100), strict=False))

        page.set_viewport_size({"width": 1200, "height": 900})
        assert page.locator(".vnb-kernel-status").is_hidden()
        (root / "busy").touch()
        page.click(".jp-CodeCell:nth-child(2) .cm-content")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector(".jp-CodeCell:nth-child(2):has-text('[*]')")
        page.locator(".vnb-regions-box").first.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(".vnb-kernel-status:text('Waiting for the kernel: another cell is running.')")
        restart(page)
        page.wait_for_selector(".vnb-kernel-status:text('The kernel was restarted or stopped: run this cell again')")
        assert page.locator(".vnb-regions").evaluate("(editor) => editor.matches(':is([inert], [inert] *)')")
        assert page.foreign_hosts == set()


@pytest.mark.parametrize("width, dark", [(700, False), (360, True)])
async def test_a_part_of_an_attached_image_is_asked_about(server, width, dark):
    llm = vn.OpenAIMultiModal("gpt-4o", "sk-secret", server.openai_base)
    panel = vn.ChatPanel(llm, images=[vn.samples.path("chart")], store=False)
    async with panel_page(panel, width=width, dark=dark) as page:
        open_editor = page.get_by_role("button", name="Select parts of chart.png")
        await open_editor.click()
        await page.wait_for_selector(".vnb-regions-image[src^=data]")
        assert await page.get_by_role("button", name="Replace image with part").is_disabled()
        await page.keyboard.press("Escape")
        assert await page.locator(".vnb-attached-regions").is_hidden()
        await open_editor.click()
        await page.wait_for_selector(".vnb-attached-regions", state="visible")
        await page.keyboard.press("Enter")  # the focus is on the button that adds a box
        await page.wait_for_selector(".vnb-regions-box")
        await assert_async_page_accessible(page, ".vnb-composer")
        assert await page.evaluate("() => document.documentElement.scrollWidth") <= width
        await page.get_by_role("button", name="Replace image with part").click()
        await page.wait_for_selector(".vnb-file-name:text('chart.png#xywh=250,150,500,300')")
        assert await page.locator(".vnb-attachments > li").count() == 1
        assert await page.locator(".vnb-attached-regions").is_hidden()
        box = page.locator(".vnb-composer textarea")
        assert await box.evaluate("(box) => box === document.activeElement")
        await box.fill("How large is it?")
        await box.press("Enter")
        await page.wait_for_selector(".vnb-answer:has-text('500 x 300 pixels')")


def touch(page, area, *shares):
    """Drag a finger between two places, given as shares of an area."""
    session = page.context.new_cdp_session(page)
    points = [{"x": area["x"] + x * area["width"], "y": area["y"] + y * area["height"]} for x, y in shares]
    for kind, points_down in (("touchStart", points[:1]), ("touchMove", points[1:]), ("touchEnd", [])):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points_down})
