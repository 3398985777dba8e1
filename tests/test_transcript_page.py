"""The transcript of the chat panel in a real browser, with real widgets and without Jupyter."""

import asyncio
import re
import subprocess

import pytest

import vision_nb as vn
from tests.axe import assert_async_page_accessible
from tests.panel_page import assert_usable_by_touch, panel_page
from tests.test_chat_panel import settled
from vision_nb.demo import Fault
from vision_nb.rendering.math import MATH_FONTS
from vision_nb.widgets.transcript_view import TranscriptView

pytestmark = pytest.mark.browser
CODE = 'def f(x):\n    return "a" + x  # ' + "why " * 60
TABLE = "|" + " a long heading |" * 9 + "\n|" + "---|" * 9 + "\n|" + " a cell of text |" * 9
ANSWER = f"""Look:

```python
{CODE}
```

```unknown
x
```

- [x] done
- [ ] not done

{TABLE}

So $x^2 + \\sin y = 1$ and `code`.
"""


@pytest.fixture
def llm(server):
    server.tokens_per_second = 1_000_000
    return vn.OpenAIMultiModal("gpt-4o", "sk-secret", server.openai_base, max_retries=0)


async def until(page, condition, arg=None):
    await page.wait_for_function(condition, arg=arg, timeout=60_000)


async def until_text(page, selector, text):
    await until(page, "([s, text]) => document.querySelector(s)?.innerText.includes(text)", [selector, text])


async def ask(page, text):
    box = page.locator(".vnb-composer textarea")
    await until(page, "() => !document.querySelector('.vnb-composer textarea').disabled")
    await box.fill(text)
    await box.press("Enter")


async def until_state(page, state):
    await until(page, "(state) => [...document.querySelectorAll('.vnb-turn')].at(-1)?.dataset.state === state", state)


def has_math_font():
    """Return whether this machine has one of the fonts for formulas."""
    installed = subprocess.run(["fc-list", ":", "family"], capture_output=True, text=True, check=True).stdout
    return any(name in installed for name in re.findall('"([^"]+)"', MATH_FONTS))


async def fonts_of(page, selector):
    """Return the fonts with which the browser draws some elements."""
    client = await page.context.new_cdp_session(page)
    await client.send("DOM.enable")
    await client.send("CSS.enable")
    document = await client.send("DOM.getDocument", {"depth": -1})
    query = {"nodeId": document["root"]["nodeId"], "selector": selector}
    nodes = (await client.send("DOM.querySelectorAll", query))["nodeIds"]
    found = [await client.send("CSS.getPlatformFontsForNode", {"nodeId": node}) for node in nodes]
    return {font["familyName"] for fonts in found for font in fonts["fonts"]}


WIDER = """() => [...document.querySelectorAll('.vnb-transcript, .vnb-list, body, html')]
  .filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.className || e.tagName)"""


@pytest.mark.parametrize("dark", [False, True])
async def test_an_answer_is_read_copied_and_asked_again_at_360_pixels(server, llm, dark):
    server.answer_with(ANSWER)
    panel = vn.ChatPanel(llm, images=vn.samples.path("chart"), store=False, height=2_000)
    async with panel_page(panel, width=360, dark=dark) as page:
        await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await ask(page, "One?")
        await until_state(page, "done")

        # Code and tables scroll in themselves; the page does not.
        assert await page.evaluate(WIDER) == []
        for selector in (".vnb-code pre", ".vnb-table"):
            wide = page.locator(selector).first
            assert await wide.evaluate("(e) => e.scrollWidth > e.clientWidth + 100")
            await wide.focus()
            await page.keyboard.press("ArrowRight")
            await until(page, "(selector) => document.querySelector(selector).scrollLeft > 0", selector)
        heads = page.locator(".vnb-code-head span")
        assert await heads.all_inner_texts() == ["Python", "Code"]
        keyword = page.locator(".vnb-code i.k").first
        color = "(e) => getComputedStyle(e).color"
        assert await keyword.evaluate(color) != await page.locator(".vnb-code pre").first.evaluate(color)
        assert len(await fonts_of(page, ".vnb-answer math *")) == 1 or not has_math_font()
        boxes = page.locator("li[data-task] input")
        assert [await box.is_checked() for box in await boxes.all()] == [True, False]
        assert await boxes.first.is_disabled()

        # The Copy button of a block copies the code alone.
        copy = page.locator(".vnb-code-copy").first
        await copy.focus()
        await page.keyboard.press("Enter")
        await until_text(page, ".vnb-code-copy", "Copied")
        assert await page.evaluate("() => navigator.clipboard.readText()") == CODE
        assert await page.locator(".vnb-announcement").inner_text() == "Copied."
        await until_text(page, ".vnb-code-copy", "Copy")

        # A question and an answer have their own actions, with labels.
        labels = await page.locator(".vnb-action:visible").evaluate_all("(all) => all.map((e) => e.ariaLabel)")
        assert labels == [
            "Copy question: One?",
            "Edit: One?",
            "Delete from here: One?",
            "Copy answer: One?",
            "Ask again: One?",
        ]
        await page.get_by_label("Copy answer: One?").click()
        await until(page, "() => document.querySelector('[data-label=\"Copy answer\"] .vnb-icon-done')")
        assert await page.evaluate("() => navigator.clipboard.readText()") == ANSWER

        # A browser that refuses to copy is not said to have copied.
        await page.evaluate(
            "() => { document.execCommand = () => false; navigator.clipboard.writeText = () => Promise.reject(); }"
        )
        await copy.press("Enter")
        await until_text(page, ".vnb-code-copy", "Not copied: select the text.")
        assert await copy.evaluate("(button) => button === document.activeElement")
        assert (await page.locator(".vnb-announcement").inner_text()).startswith("Not copied: select the text.")
        await page.get_by_label("Copy answer: One?").click()
        await until_text(page, "[data-label='Copy answer']", "Not copied: select the text.")
        assert await page.evaluate(WIDER) == []
        await page.get_by_label("Edit: One?").click()
        editor, list_width = await page.locator(".vnb-editor").bounding_box(), 360 - 16
        assert editor["width"] > list_width - 70
        await page.keyboard.press("Escape")

        server.fail(Fault(status=401))
        await ask(page, "Two?")
        await until_state(page, "failed")
        error = page.locator(".vnb-turn .vnb-error:visible")
        assert await error.evaluate("(e) => getComputedStyle(e).fontWeight") == "400"
        await assert_async_page_accessible(page, ".vnb-transcript")
        await assert_usable_by_touch(page)
        await page.get_by_label("Retry: Two?").click()
        await until_state(page, "done")
        await settled(panel)
        await page.get_by_label("Delete from here: One?").click()
        await until(page, "() => !document.querySelector('.vnb-turn')")


async def test_the_page_counts_the_seconds_until_the_answer_and_the_kernel_sends_nothing(server, llm):
    server.fail(Fault(delay=60))
    panel = vn.ChatPanel(llm, store=False)
    async with panel_page(panel) as page:
        await ask(page, "One?")
        await until_state(page, "waiting")
        sent = []
        send = panel._view.send
        panel._view.send = lambda content, buffers=None: (sent.append(content), send(content, buffers))
        await until_text(page, ".vnb-waiting", "Thinking\N{HORIZONTAL ELLIPSIS} 2 s")
        assert sent == []
        panel._view.send = send
        panel._view._handle_custom_msg({"do": "hello"}, [])  # another page is opened: the count goes on
        await page.wait_for_timeout(300)
        assert re.fullmatch(
            "Thinking\N{HORIZONTAL ELLIPSIS} ([2-9]|\\d\\d+) s", await page.locator(".vnb-waiting").inner_text()
        )
        panel.stop()
        await until_state(page, "failed")
        assert await page.locator(".vnb-waiting").is_hidden()


async def test_an_answer_is_shown_from_its_question_on_and_only_a_reader_at_the_end_follows_it(server, llm):
    server.answer_with("word\n\n" * 60)
    panel = vn.ChatPanel(llm, images=[vn.samples.path("chart")] * 20, store=False, height=300)
    jump = ".vnb-jump"
    at_end = "() => { const e = document.querySelector('.vnb-list'); return e.scrollHeight - e.scrollTop - e.clientHeight < 5; }"
    at_last_question = """() => {
        const top = (element) => element.getBoundingClientRect().top;
        return Math.abs(top([...document.querySelectorAll(".vnb-turn")].at(-1)) - top(document.querySelector(".vnb-list"))) < 5;
    }"""
    async with panel_page(panel) as page:
        # Someone who asks a question reads its answer from the start, and can jump to the end.
        await ask(page, "One?")
        await until_state(page, "done")
        await until(page, at_last_question)
        images = page.locator(".vnb-turn-images")
        assert (await images.bounding_box())["height"] < 300 and await images.locator("button").count() == 20
        await page.locator(jump).click()
        await until(page, at_end)
        await page.locator(jump).wait_for(state="hidden")

        # A reader at the end follows questions of code.
        await page.evaluate("() => document.activeElement.blur()")
        await panel.ask("Two?")
        await settled(panel)
        await until(page, "() => document.querySelectorAll('.vnb-turn').length === 2")
        await until_state(page, "done")
        await until(page, at_end)

        # A reader further up stays there.
        await page.evaluate(
            "() => { document.querySelector('.vnb-list').scrollTop = 100; document.activeElement.blur(); }"
        )
        await page.locator(jump).wait_for(state="visible")
        await panel.ask("Three?")
        await settled(panel)
        await until(page, "() => document.querySelectorAll('.vnb-turn').length === 3")
        assert await page.evaluate("() => document.querySelector('.vnb-list').scrollTop") == 100

        await ask(page, "Four?")
        await until(page, "() => document.querySelectorAll('.vnb-turn').length === 4")
        await until_state(page, "done")
        await until(page, at_last_question)


async def test_a_thumbnail_that_arrives_before_the_turns_does_not_hide_its_turn(server, llm, monkeypatch):
    panel = vn.ChatPanel(llm, store=False)
    for question in ("One?", "Two?"):
        await panel.ask(question)
    await settled(panel)
    receive = TranscriptView._receive

    def receive_late(view, message, buffers):  # as after a cell that kept the kernel busy
        view.send({"op": "update", "index": 0, "fields": {"images": []}})
        receive(view, message, buffers)

    monkeypatch.setattr(TranscriptView, "_receive", receive_late)
    async with panel_page(panel) as page:
        await until(page, "() => document.querySelectorAll('.vnb-turn').length === 2")
        assert await page.locator(".vnb-prompt").all_inner_texts() == ["One?", "Two?"]


async def test_the_copy_button_of_a_long_code_block_stays_in_view(server, llm):
    server.answer_with("```python\n" + "x = 1\n" * 100 + "```")
    async with panel_page(vn.ChatPanel(llm, store=False, height=300)) as page:
        await ask(page, "Code?")
        await until_state(page, "done")
        await page.evaluate("() => { document.querySelector('.vnb-list').scrollTop = 700; }")
        copy, transcript = page.locator(".vnb-code-copy"), page.locator(".vnb-list")
        box, view = await copy.bounding_box(), await transcript.bounding_box()
        assert view["y"] <= box["y"] and box["y"] + box["height"] < view["y"] + 40


async def test_code_that_is_still_arriving_keeps_its_scroll_position_and_its_copy_button(server, llm):
    server.tokens_per_second = 60
    server.answer_with("```python\n" + "x = 'a long line of code' " * 10 + "\n" + "y = 1\n" * 200 + "```")
    panel = vn.ChatPanel(llm, store=False)
    async with panel_page(panel, width=360) as page:
        await ask(page, "One?")
        await until(page, "() => document.querySelectorAll('.vnb-code i.m').length > 3")
        await page.evaluate(
            "() => { const pre = document.querySelector('.vnb-code pre'); pre.isOriginal = true; pre.scrollLeft = 50;"
            " document.querySelector('.vnb-code-copy').focus(); }"
        )
        count = await page.locator(".vnb-code i.m").count()
        await until(page, "(count) => document.querySelectorAll('.vnb-code i.m').length > count + 10", count)
        assert (
            await page.evaluate(
                "() => { const pre = document.querySelector('.vnb-code pre'); return pre.isOriginal && pre.scrollLeft; }"
            )
            == 50
        )
        assert await page.evaluate("() => document.activeElement.className") == "vnb-code-copy"
        panel.stop()
        async with asyncio.timeout(20):
            await settled(panel)
