"""The question side of the chat panel in a real browser, with real widgets and without Jupyter."""

import asyncio

import pytest

import vision_nb as vn
from tests.axe import assert_async_page_accessible
from tests.conftest import encoded, picture
from tests.panel_page import assert_usable_by_touch, panel_page

pytestmark = pytest.mark.browser
CARDS = ".vnb-attachments > li"


@pytest.fixture
def llm(server):
    server.tokens_per_second = 20
    return vn.OpenAIMultiModal("gpt-4o", "sk-secret", server.openai_base)


def images(count):
    return [vn.ImageDocument(image=picture(seed=seed), image_name=f"image {seed}.png") for seed in range(count)]


async def names(page):
    return await page.locator(".vnb-file-name").all_inner_texts()


async def until(page, condition, arg=None):
    await page.wait_for_function(condition, arg=arg, timeout=60_000)


async def until_shown(page, text):
    await until(page, "(text) => document.querySelector('.vnb-composer').innerText.includes(text)", text)


async def test_a_question_is_composed_by_mouse_and_keyboard(server, llm, tmp_path):
    server.answer_with("word " * 60)
    small = vn.OpenAIMultiModal("gpt-4o-mini", "sk-secret", server.openai_base)
    panel = vn.ChatPanel([llm, small], images=images(3), store=False)
    async with panel_page(panel) as page:
        box = page.locator(".vnb-composer textarea")
        await until(page, "() => !document.querySelector('.vnb-composer textarea').disabled")

        # The box is as wide as the panel, and grows with its text.
        inner, outer = await box.bounding_box(), await page.locator(".vnb-composer").bounding_box()
        assert outer["width"] - inner["width"] < 30
        await box.fill("\n".join("line" for _ in range(8)))
        assert (await box.bounding_box())["height"] > inner["height"] + 60
        await box.fill("\n".join("line" for _ in range(200)))
        assert (await box.bounding_box())["height"] <= 360

        # Typing sends one message after a pause, and the price follows.
        await box.fill("")
        await page.wait_for_timeout(500)
        page.messages.clear()
        await box.press_sequentially("How many words are there?")
        async with asyncio.timeout(20):
            while not page.messages:
                await asyncio.sleep(0.05)
        await until_shown(page, "3 images 765) \u00b7 would cost")
        assert [message["do"] for message in page.messages] == ["draft"]

        # Reorder by mouse and by keyboard; what happens is announced, and the focus follows the image.
        await page.drag_and_drop(f"{CARDS}:nth-child(1)", f"{CARDS}:nth-child(3)", target_position={"x": 260, "y": 10})
        await until(page, "() => document.querySelector('.vnb-file-name').textContent === 'image 1.png'")
        assert await names(page) == ["image 1.png", "image 2.png", "image 0.png"]
        await page.get_by_role("button", name="Move left: image 0.png").focus()
        await page.keyboard.press("Enter")
        await until_spoken(page, "image 0.png is now image 2 of 3.")
        await until(page, "() => document.activeElement.title === 'Move left: image 0.png'")
        await page.keyboard.press("Enter")
        await until_spoken(page, "image 0.png is now image 1 of 3.")
        await page.get_by_role("button", name="image 0.png, image 1 of 3: enlarge").focus()
        await page.keyboard.press("ArrowRight")
        await page.keyboard.press("Shift+ArrowRight")
        await until_spoken(page, "image 1.png is now image 3 of 3.")
        await page.keyboard.press("Delete")
        await until_spoken(page, "image 1.png is removed.")
        await until(page, "() => document.querySelectorAll('.vnb-attachments > li').length === 2")
        assert await page.evaluate("() => document.activeElement.title") == "Enlarge image 2.png"
        await page.keyboard.press("Enter")
        await until(page, "() => document.querySelector('.vnb-image-dialog[open] img')?.naturalWidth === 64")
        dialog = page.locator(".vnb-image-dialog")
        assert await dialog.locator("h4").inner_text() == "2 of 2: image 2.png"
        frame = dialog.locator(".vnb-viewer-frame")
        for kind, x in (("pointerdown", 100), ("pointerup", 200)):  # a finger moves to the right
            await frame.dispatch_event(kind, {"pointerType": "touch", "pointerId": 1, "clientX": x, "clientY": 50})
        await dialog.get_by_text("1 of 2: image 0.png").wait_for()
        await page.keyboard.press("Escape")

        # One detail level for all images, of which each can differ; the model's default in plain words.
        every = page.get_by_label("Detail for all")
        assert await every.locator("option").all_inner_texts() == ["Model's default", "Auto", "Low", "High"]
        await every.select_option("low")
        await until_shown(page, "2 images 170)")
        await page.get_by_label("Detail level of image 2.png").select_option("high")
        await until_shown(page, "2 images 340)")
        assert await every.locator("option:checked").inner_text() == "Different"
        await page.locator(".vnb-model-picker select").select_option("openai:gpt-4o-mini")
        await until_shown(page, "2 images 11,333)")

        # Send and Stop are in the same place, and differ in shape and icon.
        send = await look_of(page, ".vnb-send")
        await box.press("Enter")
        stop = await look_of(page, ".vnb-stop")
        assert send["right"] == stop["right"] and abs(send["top"] - stop["top"]) < 2
        assert send["radius"] != stop["radius"] and send["icon"] != stop["icon"] and send["color"] != stop["color"]
        await page.wait_for_selector(".vnb-turn[data-state=answering]")
        await page.locator(".vnb-stop").click()
        await page.wait_for_selector(".vnb-turn[data-state=stopped]")
        await page.locator(".vnb-send").wait_for()
        sent = server.requests[-1].body["messages"][-1]["content"]
        assert [part["image_url"].get("detail") for part in sent if part["type"] == "image_url"] == ["low", "high"]
        assert await page.locator(CARDS).count() == 0 and await box.input_value() == ""
    panel.close()


async def look_of(page, selector):
    """Return the place and the look of a button."""
    await page.locator(selector).wait_for()
    return await page.locator(selector).evaluate(
        """(button) => { const { right, top } = button.getBoundingClientRect(); const bar = button.parentNode.getBoundingClientRect(); const style = getComputedStyle(button);
        return { right, top: top - bar.top, radius: style.borderRadius, color: style.backgroundColor,
                 icon: button.querySelector('path').getAttribute('d') }; }"""
    )


async def until_spoken(page, text):
    await until(
        page, "(text) => document.querySelector('.vnb-attached .vnb-spoken[role=status]').textContent === text", text
    )


async def test_a_folder_is_attached_without_its_other_files_and_what_failed_is_listed(llm, tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number in range(50):
        (folder / f"{number}.png").write_bytes(encoded(picture(seed=number)))
    (folder / "more" / "last.webp").write_bytes(encoded(picture(), "WEBP"))
    (folder / "broken.jpg").write_bytes(encoded(picture(), "JPEG")[:30])
    (folder / "empty.png").write_bytes(b"")
    (folder / "notes.txt").write_text("words")
    (folder / ".hidden").write_text("words")
    panel = vn.ChatPanel(llm, store=False)
    async with panel_page(panel) as page:
        await until(page, "() => !document.querySelector('.vnb-composer textarea').disabled")
        await drop(page, folder)
        await until_shown(page, "Uploading image 2 of 53")
        await until_shown(page, "2 of 53 files were not attached:")
        text = await page.locator(".vnb-composer .vnb-error").inner_text()
        assert "broken.jpg" in text and "empty.png" in text
        assert "Skipped notes.txt, which is not an image." in text
        titles = [document.title for document in panel._composer.documents]
        assert titles == [*(f"{number}.png" for number in range(50)), "last.webp"]
        await until(page, "() => document.querySelectorAll('.vnb-attachments img[src]').length === 51")
        reached = set()
        await page.locator(".vnb-enlarge").first.focus()
        for _ in range(8):  # Tab leaves the images after the controls of one
            await page.keyboard.press("Tab")
            reached.add(await page.evaluate("() => document.activeElement.tagName"))
        assert "TEXTAREA" in reached
        await page.get_by_role("button", name="Remove all").click()
        await until(page, "() => document.querySelector('.vnb-attached').hidden")
        assert panel._composer.documents == []
        await drop(page, folder)
        await until_shown(page, "Uploading image 2 of 53")
        await page.get_by_role("button", name="Cancel upload").click()
        await until(page, "() => document.querySelector('.vnb-progress').hidden")
        assert 0 < len(panel._composer.documents) < 50 and len(panel._composer._uploads) == 0
    panel.close()


async def drop(page, path):
    """Drop a file or folder on the box as the browser does, which scripts cannot imitate."""
    place = await page.locator(".vnb-composer textarea").bounding_box()
    session = await page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        event = {"type": kind, "x": place["x"] + 20, "y": place["y"] + 10, "data": data}
        await session.send("Input.dispatchDragEvent", event)


@pytest.mark.parametrize("dark", [False, True])
async def test_the_box_shows_everything_at_all_widths_and_is_accessible(llm, dark):
    name = "a very long name of an image that is hard to show in a narrow panel " * 2 + ".png"
    long = vn.ImageDocument(image=picture(), image_name=name)
    panel = vn.ChatPanel(llm, images=[*images(2), long], store=False)
    async with panel_page(panel, width=360, dark=dark) as page:
        await until(page, "() => !document.querySelector('.vnb-composer textarea').disabled")
        await page.fill(".vnb-composer textarea", "word " * 50)
        await until_shown(page, "would cost")
        await assert_async_page_accessible(page, ".vnb-composer", ".vnb-transcript")
        for width in (360, 700, 1400):
            await page.set_viewport_size({"width": width, "height": 900})
            await asyncio.sleep(0.1)
            cut_off = await page.evaluate(
                """() => { const box = document.querySelector('.vnb-composer').getBoundingClientRect();
                return [...document.querySelectorAll('.vnb-composer *')].filter((one) => !one.closest('.vnb-spoken, option') && one.getClientRects().length)
                  .filter((one) => { const own = one.getBoundingClientRect(); return own.right > box.right + 1 || own.left < box.left - 1; })
                  .map((one) => one.outerHTML.slice(0, 80)); }"""
            )
            assert cut_off == [] and await page.evaluate("() => document.documentElement.scrollWidth") <= width
            sizes = await page.evaluate(
                """() => [...document.querySelectorAll('.vnb-composer :is(button, select)')]
                .filter((one) => one.getClientRects().length).map((one) => one.getBoundingClientRect())
                .map((box) => Math.min(box.width, box.height))"""
            )
            assert min(sizes) >= 24  # pixels: WCAG 2.2, target size
            details = page.locator(f"{CARDS} select")
            assert min([(await one.bounding_box())["width"] for one in await details.all()]) >= 118  # of its text
        await assert_usable_by_touch(page)
    panel.close()
