"""The chat panel in a real JupyterLab, with a real browser and a real kernel."""

import base64
import json
import re
from pathlib import Path

import pytest

from tests.axe import assert_accessible_in_both_themes
from tests.conftest import encoded, picture
from tests.panel_lab import open_panel
from tests.test_safe_html import HOSTILE

pytestmark = pytest.mark.browser
PANEL = "panel = vn.ChatPanel(llm)\npanel"


@pytest.fixture
def opened(lab, page, request):
    """A function that opens a panel in a notebook named after the test."""
    address, root = lab

    def opened(*cells, speed=300):
        name = re.sub(r"\W+", "_", request.node.name)
        return open_panel(page, address, root, name, *(cells or (PANEL,)), speed=speed)

    return opened


def files_transfer(page, files):
    """Return a handle of a DataTransfer with files, each given as (name, type, bytes)."""
    encoded_files = [(name, kind, base64.b64encode(data).decode()) for name, kind, data in files]
    return page.evaluate_handle(
        """(files) => { const transfer = new DataTransfer();
        for (const [name, type, data] of files) {
          const bytes = Uint8Array.from(atob(data), (mark) => mark.charCodeAt(0));
          transfer.items.add(new File([bytes], name, { type }));
        } return transfer; }""",
        encoded_files,
    )


def drop(panel, *files):
    transfer = files_transfer(panel.page, files)
    for event in ("dragenter", "dragover", "drop"):
        panel.page.dispatch_event(".vnb-composer", event, {"dataTransfer": transfer})


def test_an_answer_streams_and_can_be_stopped(opened):
    panel = opened(speed=60)
    panel.run("server.answer_with('one two three four five six seven eight nine ten ' * 30)")
    panel.say("Count.")
    panel.wait("answering")
    panel.wait_for_text("three")
    assert panel.box.input_value() == "" and panel.page.locator(".vnb-composer button:text('Send')").is_hidden()
    panel.page.locator(".vnb-composer button:text('Stop')").click()
    panel.wait("stopped")
    assert "interrupted" in panel.turns.nth(0).inner_text() and panel.answer().startswith("one two three")
    panel.say("Again.")
    panel.wait_for_text("two three", ".vnb-turn:nth-of-type(2) .vnb-answer")
    panel.button("Edit", 0).click()
    panel.page.keyboard.press("Enter")
    panel.wait_for_text("The model is still answering", ".vnb-status .vnb-error")
    assert panel.page.evaluate("() => document.activeElement.className") == "vnb-editor"
    panel.box.press("Escape")
    panel.wait("stopped", 1)
    assert panel.page.locator(".vnb-status .vnb-error").is_hidden()
    # Both connections were closed, and both partial answers were kept.
    assert panel.run("print(server.disconnects, [a.finish_reason for a in panel.chat.responses])") == (
        "2 ['interrupted', 'interrupted']"
    )


def test_shift_enter_starts_a_line_and_up_recalls_earlier_questions(opened):
    panel = opened()
    panel.box.press_sequentially("first")
    panel.box.press("Shift+Enter")
    panel.box.press_sequentially("second")
    panel.box.press("Enter")
    panel.wait("done")
    panel.say("third")
    panel.wait("done", 1)
    for key, expected in ((None, ""), ("ArrowUp", "third"), ("ArrowUp", "first\nsecond"), ("ArrowUp", "first\nsecond"),
                          ("ArrowDown", "third"), ("ArrowDown", "")):  # fmt: skip
        if key:
            panel.box.press(key)
        panel.page.wait_for_function(
            "(text) => document.querySelector('.vnb-composer textarea').value === text", arg=expected, timeout=60_000
        )
    panel.box.fill("my own")
    panel.box.press("ArrowUp")
    panel.page.wait_for_timeout(200)
    assert panel.box.input_value() == "my own"


def test_images_are_pasted_dropped_picked_and_added(opened, tmp_path):
    panel = opened("panel = vn.ChatPanel(llm, images=vn.samples.path('chart'))\npanel")
    chips = panel.page.locator(".vnb-attachments li")
    # paste an image from the clipboard by keyboard
    panel.page.evaluate(
        """async (data) => { const blob = await (await fetch(data)).blob();
        await navigator.clipboard.write([new ClipboardItem({ 'image/png': blob })]); }""",
        "data:image/png;base64," + base64.b64encode(encoded(picture())).decode(),
    )
    panel.box.focus()
    panel.page.keyboard.press("Control+v")
    chips.nth(1).wait_for()
    large = encoded(picture(1600, 1200, seed=3), "PNG")  # is uploaded in chunks
    assert len(large) > 1_000_000
    drop(panel, ("ça <b>.jpg", "image/jpeg", encoded(picture(seed=1), "JPEG")), ("large.png", "image/png", large))
    chips.nth(3).wait_for()
    path = tmp_path / "picked.webp"
    picture(seed=2).save(path)
    panel.page.set_input_files(".vnb-composer input[type=file]", path)
    chips.nth(4).wait_for()
    panel.run("panel.add(vn.samples.path('label'))")
    chips.nth(5).wait_for()
    names = [name.inner_text() for name in panel.page.locator(".vnb-attachments .vnb-file-name").all()]
    assert names == ["chart.png", "pasted image", "ça <b>.jpg", "large.png", "picked.webp", "label.png"]
    panel.page.wait_for_function("() => document.querySelectorAll('.vnb-attachments img').length === 6")
    chips.nth(3).locator("select").select_option("low")
    chips.nth(0).get_by_role("button", name="Remove").click()
    panel.page.wait_for_function("() => document.querySelectorAll('.vnb-attachments li').length === 5")
    panel.say("What are they?")
    panel.wait("done")
    assert chips.count() == 0 and panel.turns.locator(".vnb-image img").count() == 5
    sent = panel.run(
        "import json; print(json.dumps([(p['image_url'].get('detail'), len(p['image_url']['url']) > 500) "
        "for p in server.requests[-1].body['messages'][0]['content'] if p['type'] == 'image_url']))"
    )
    assert [detail for detail, _ in json.loads(sent)] == [None, None, "low", None, None]
    assert all(inline for _, inline in json.loads(sent))
    panel.turns.locator(".vnb-image").nth(2).click()
    panel.page.wait_for_function("() => document.querySelector('.vnb-image-dialog[open] img')?.naturalWidth === 1600")
    zoom = "() => new DOMMatrix(getComputedStyle(document.querySelector('.vnb-viewer-image')).transform).a"
    panel.page.keyboard.press("+")
    assert panel.page.evaluate(zoom) == 1.25
    title = panel.page.locator(".vnb-dialog-title")
    assert title.inner_text() == "3 of 5: large.png"
    panel.page.keyboard.press("ArrowRight")  # moves a zoomed image
    panel.page.keyboard.press("0")
    for key, expected in (("ArrowRight", "4 of 5: picked.webp"), ("PageUp", "3 of 5: large.png")):
        panel.page.keyboard.press(key)
        panel.wait_for_text(expected, ".vnb-dialog-title")
    panel.page.keyboard.press("Escape")
    panel.page.wait_for_function("() => !document.querySelector('.vnb-image-dialog[open]')")
    assert panel.page.evaluate("() => Boolean(document.activeElement.closest('.vnb-image'))")  # where it was opened
    panel.run("display(panel)")
    panel.page.locator(".vnb-image").last.click()
    panel.page.locator(".vnb-image-dialog[open]").wait_for()  # strict: only the view that was clicked opens it


def test_files_that_are_not_images_or_too_large_are_rejected(opened):
    panel = opened()
    drop(panel, ("notes <i>.txt", "text/plain", b"just words"))
    panel.wait_for_text("notes <i>.txt", ".vnb-composer .vnb-error")
    drop(panel, ("broken.png", "image/png", encoded(picture())[:30]))
    panel.wait_for_text("broken.png", ".vnb-composer .vnb-error")
    panel.page.evaluate(
        """() => { const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(51e6)], 'huge.png', { type: 'image/png' }));
        document.querySelector('.vnb-composer').dispatchEvent(
          new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true })); }"""
    )
    panel.wait_for_text("huge.png is larger than 50 MB", ".vnb-composer .vnb-error")
    # a file that disappears while it is read
    panel.page.evaluate(
        """() => { const file = new File([new Uint8Array(3e6)], 'gone.png', { type: 'image/png' });
        const slice = file.slice.bind(file);
        file.slice = (from, to) => from ? { arrayBuffer: () => Promise.reject(new DOMException('gone')) } : slice(from, to);
        const transfer = new DataTransfer();
        Object.defineProperty(transfer, 'files', { value: [file] });
        document.querySelector('.vnb-composer').dispatchEvent(
          new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true })); }"""
    )
    panel.wait_for_text("gone.png could not be read completely", ".vnb-composer .vnb-error")
    panel.say("   ")
    panel.wait_for_text("Type a question before sending.", ".vnb-composer .vnb-error")
    assert panel.page.locator(".vnb-attachments li").count() == 0 and panel.turns.count() == 0
    assert panel.run("print(len(panel._composer._uploads))") == "0"


def test_switching_the_model_shows_which_images_it_will_get(opened):
    panel = opened("panel = vn.ChatPanel([llm, small, one], images=vn.samples.path('chart'))\npanel")
    panel.say("One?")
    panel.wait("done")
    select = panel.page.locator(".vnb-model-picker select")
    assert select.locator("option").all_inner_texts() == [
        "openai:gpt-4o (demo)", "openai:gpt-4o-mini (demo)", "replicate:llava-13b (demo)", "demo",
    ]  # fmt: skip
    select.select_option("openai:gpt-4o-mini (demo)")
    panel.say("Two?")
    panel.wait("done", 1)
    assert panel.turns.nth(1).locator(".vnb-model").inner_text() == "gpt-4o-mini (demo)"
    assert panel.page.locator(".vnb-badge").all_inner_texts() == ["demo: measures pixels, no language model"]
    panel.run("panel.add(vn.samples.path('label'))")
    select.select_option("replicate:llava-13b (demo)")
    panel.wait_for_text("Of the 2 images in this conversation, replicate:llava-13b will get the most recent 1.")
    panel.run("panel.add(vn.samples.path('label'))")
    panel.wait_for_text("replicate:llava-13b accepts 1 image per question: remove 1.")
    panel.say("Three?")
    panel.wait_for_text("accepts 1 image per question", ".vnb-composer .vnb-error")
    assert panel.box.input_value() == "Three?"
    panel.page.locator(".vnb-attachments button[title^=Remove]").first.click()
    panel.page.wait_for_function("() => document.querySelectorAll('.vnb-attachments li').length === 1")
    panel.box.press("Enter")
    panel.wait("done", 2)
    assert "Sent without 1 earlier image." in panel.turns.nth(2).inner_text()
    assert panel.run("print(len(panel.chat), panel.chat.llm)") == "3 replicate:llava-13b"


def test_turns_can_be_edited_asked_again_deleted_and_restored(opened):
    panel = opened("server.answer_with(lambda q: f'to {q.prompt}')\n" + PANEL)
    for place, text in enumerate(("one", "two", "three")):
        panel.say(text)
        panel.wait("done", place)
    panel.button("Edit", 1).click()
    editor = panel.page.locator(".vnb-editor")
    assert editor.input_value() == "two"
    editor.fill("dos")
    editor.press("Enter")
    panel.wait_for_text("to dos", ".vnb-answer")
    panel.page.wait_for_function("() => document.querySelectorAll('.vnb-turn').length === 2")
    panel.wait_for_text("Restore the 2 removed turns", ".vnb-status")
    panel.page.click("text=Restore the 2 removed turns")
    panel.page.wait_for_function("() => document.querySelectorAll('.vnb-turn').length === 3")
    assert [panel.answer(place) for place in range(3)] == ["to one", "to two", "to three"]
    panel.run("server.answer_with('other')")
    panel.button("Ask again", 2).click()
    panel.wait_for_text("other", ".vnb-answer")
    assert panel.turns.count() == 3
    panel.button("Delete from here", 1).click()
    panel.page.wait_for_function("() => document.querySelectorAll('.vnb-turn').length === 1")
    assert panel.run("print([turn.question.text for turn in panel.chat.turns])") == "['one']"
    panel.button("Copy answer", 0).click()
    panel.page.wait_for_timeout(300)
    assert panel.page.evaluate("() => navigator.clipboard.readText()") == "to one"


def test_an_error_is_displayed_in_its_turn_and_can_be_retried(opened):
    panel = opened("server.answer_with(lambda q: f'to {q.prompt}')\n" + PANEL)
    panel.say("one")
    panel.wait("done")
    panel.run("server.fail(Fault(status=401))")
    panel.run("panel.add(vn.samples.path('label'))")
    panel.say("two")
    panel.wait("failed", 1)
    error = panel.turns.nth(1).locator(".vnb-error").inner_text()
    assert "key" in error and "sk-very" not in panel.page.locator(".vnb-transcript").inner_html()
    panel.button("Retry", 1).click()
    panel.wait("done", 1)
    assert panel.answer(1) == "to two" and panel.turns.nth(1).locator(".vnb-image").count() == 1
    panel.run("server.fail(Fault(cut_after=6, text='all of these words are cut off in the middle of it'))")
    panel.say("three")
    panel.wait("stopped", 2)
    assert panel.answer(2).startswith("all of") and panel.turns.count() == 3
    assert "cut off before it was finished. Ask again." in panel.turns.nth(2).inner_text()
    cause = panel.page.locator(".vnb-status .vnb-error").inner_text()
    assert "closed the connection" in cause and cause.endswith(": ask again.")  # not what code does
    assert panel.button("Ask again", 2).inner_text() == "Ask again" and panel.button("Ask again", 0).inner_text() == ""
    panel.button("Ask again", 2).click()
    panel.wait("done", 2)
    assert panel.answer(2) == "to three" and not panel.page.locator(".vnb-status .vnb-error").is_visible()
    assert panel.run("print(len(panel.chat))") == "3"


def test_reasoning_is_folded_and_stays_open_once_opened(opened):
    panel = opened(PANEL, "REASONING = 'I <b>look</b> at $x$.\\n\\n' * 40", speed=60)
    panel.run("server.fail(Fault(message={'reasoning_content': REASONING, 'content': 'Three.'}))")
    panel.say("How many?")
    summary = panel.turns.last.locator(".vnb-reasoning summary")
    panel.wait_for_text("Thinking\N{HORIZONTAL ELLIPSIS}", ".vnb-reasoning summary")
    body = panel.turns.last.locator(".vnb-reasoning .vnb-markdown")
    assert not body.is_visible()
    summary.click()
    panel.wait("done", timeout=120_000)
    assert re.fullmatch(r"Thought for \d+ s", summary.inner_text())
    assert body.is_visible() and body.locator("math").count() == 40 and body.locator("b").count() == 0
    assert panel.answer() == "Three."


def test_the_panel_shows_that_the_kernel_is_busy(opened):
    panel = opened()
    panel.say("One?")
    panel.wait("done")
    panel.new_cell()
    panel.page.keyboard.insert_text("import time; print('STARTED', flush=True); time.sleep(6)")
    panel.page.keyboard.press("Control+Enter")
    panel.wait_for_text("STARTED", ".jp-OutputArea-output")  # otherwise the question can reach the kernel first
    panel.button("Delete from here").click()
    panel.wait_for_text("Waiting for the kernel: another cell is running.")
    panel.say("Hello?")
    panel.page.keyboard.type("And then?")
    panel.wait_for_text("Hello?", ".vnb-prompt")
    panel.wait("done")
    assert panel.turns.count() == 1
    assert panel.page.locator(".vnb-progress").is_hidden() and panel.box.input_value() == "And then?"


def test_code_and_panel_share_a_conversation(opened):
    panel = opened(
        "chat = vn.Chat(llm)\npanel = vn.ChatPanel(chat=chat)\npanel", "other = vn.ChatPanel(chat=chat)\nother"
    )
    assert panel.run("print(chat.ask('From code?').text[:3])")
    panel.wait("done")
    panel.page.wait_for_function("() => document.querySelectorAll('.vnb-turn').length === 2")  # one in each panel
    panel.say("From the panel?")
    panel.page.wait_for_function("() => document.querySelectorAll('.vnb-turn[data-state=done]').length === 4")
    assert panel.run("print([t.question.text for t in chat.turns], len(chat.history))").endswith("4")


def test_running_a_cell_again_closes_its_earlier_panel_and_continues_its_conversation(opened):
    panel = opened(PANEL, "import ipywidgets\nold = panel\nprint(len(ipywidgets.widgets.widget._instances))")
    panel.run("server.answer_with('word ' * 500); server.tokens_per_second = 30")
    panel.say("Go on.")
    panel.wait("answering")
    page = panel.page
    before = panel.run("print(len(ipywidgets.widgets.widget._instances), len(panel.chat._watchers._functions))")
    for _ in range(2):
        page.locator(".jp-Notebook .jp-Cell").nth(1).locator(".jp-InputPrompt").click()
        page.keyboard.press("Control+Enter")
        page.wait_for_timeout(1500)
    panel.wait("stopped")
    assert panel.turns.count() == 1 and "word" in panel.answer()
    after = panel.run("print(len(ipywidgets.widgets.widget._instances), len(panel.chat._watchers._functions))")
    assert after == before
    assert panel.run("print(old is panel, old.chat is panel.chat)") == "False True"


def test_the_panel_survives_a_reload_and_the_transcript_a_restart(opened, lab):
    panel, page = opened(), None
    page = panel.page
    panel.say("Hello?")
    panel.wait("done")
    assert page.locator("[class^=vnb-static]").count() == 1 and page.locator("[class^=vnb-static]").is_hidden()
    save(panel, lab[1], "Hello?")
    assert page.locator(".vnb-unsaved").is_hidden()
    panel.box.fill("Half a ques")
    page.wait_for_timeout(1000)
    reload_page(page)
    page.wait_for_selector(".vnb-turn[data-state=done]", timeout=90_000)
    page.wait_for_function("() => document.querySelector('.vnb-composer textarea').value === 'Half a ques'")
    panel.say("Still there?")
    panel.wait("done", 1)
    panel.wait_for_text("The saved notebook does not contain the messages since this page was reloaded")
    with page.expect_download() as download:
        page.click(".vnb-unsaved button")
    assert "Still there?" in Path(download.value.path()).read_text()
    restart(page)
    panel.wait_for_text("The kernel was restarted or stopped: run this cell again")
    assert panel.box.is_disabled() and panel.turns.count() == 2
    panel.button("Copy answer", 1).click()
    page.wait_for_selector("[data-label='Copy answer'] .vnb-icon-done")
    assert panel.answer(1)[:30] in page.evaluate("() => navigator.clipboard.readText()")
    page.wait_for_selector("[class^=vnb-static]", state="visible")
    reload_page(page)
    page.wait_for_selector("[class^=vnb-static] :text('Hello?')", timeout=90_000)
    assert page.locator(".vnb-turn").count() == 0


def test_a_conversation_survives_a_restart_in_the_panel_and_in_the_saved_notebook(opened, lab):
    panel = opened()
    page = panel.page
    panel.say("Hi?")
    panel.wait("done")
    restart(page)
    panel.wait_for_text("The kernel was restarted or stopped: run this cell again")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_selector(".vnb-composer textarea:enabled", timeout=90_000)
    panel.wait("done")
    panel.wait_for_text("Continued from")
    panel.say("And now?")
    panel.wait("done", 1)
    save(panel, lab[1], "And now?")
    reload_page(page)
    page.wait_for_selector("[class^=vnb-static] :text('And now?')", state="attached", timeout=90_000)
    assert page.locator("[class^=vnb-static] :text('Hi?')").count() == 1
    page.wait_for_selector(".vnb-turn[data-state=done]", timeout=90_000)
    page.click("text=New conversation")
    page.wait_for_function("() => document.querySelectorAll('.vnb-turn').length === 0")
    page.wait_for_selector(".vnb-earlier summary")  # visible once the conversation is in the list
    page.locator(".vnb-earlier summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.innerText").startswith("Hi?")
    page.keyboard.press("Enter")
    panel.wait("done", 1)
    panel.wait_for_text("Continued from")
    page.wait_for_selector(".vnb-earlier", state="hidden")  # there is no other one


def save(panel, root, text):
    """Press Ctrl+S in the panel's box, and wait until a text is in the saved notebook."""
    panel.page.wait_for_selector(f"[class^=vnb-static] :text('{text}')", state="attached", timeout=90_000)
    panel.box.press("Control+s")
    for _ in range(100):  # by itself, JupyterLab would save after two minutes
        if any(text in path.read_text() for path in root.glob("*_survives_*.ipynb")):
            return
        panel.page.wait_for_timeout(200)
    raise AssertionError(f"the notebook was not saved with {text!r}")


def restart(page):
    page.click("text=Kernel >> nth=0")
    page.click("text=Restart Kernel… >> nth=0")
    page.click(".jp-Dialog button:has-text('Restart')")


def reload_page(page):
    page.goto(page.url.split("?")[0])


def test_all_controls_are_accessible_by_keyboard_and_pass_axe(opened, lab):
    panel = opened("panel = vn.ChatPanel([llm, small], images=vn.samples.path('chart'))\npanel")
    page = panel.page
    panel.run(
        "server.answer_with('A [link](https://example.org), `code`:\\n\\n```\\nx\\n```\\n\\n|a|\\n|-|\\n|1|\\n\\n$x^2$')"
    )
    panel.say("One?")
    panel.wait("done")
    assert page.locator(".vnb-answer math msup").count() == 1 and page.locator(".vnb-answer td").inner_text() == "1"
    link = page.locator(".vnb-answer a")
    assert (link.get_attribute("target"), link.get_attribute("rel")) == ("_blank", "noopener noreferrer")
    panel.run("server.fail(Fault(status=500))")
    panel.say("Two?")
    panel.wait("failed", 1)
    panel.run("panel.add(vn.samples.path('label'))")
    page.wait_for_selector(".vnb-attachments img")
    page.locator(".vnb-list").focus()
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "() => { const e = document.activeElement; return e.closest('.vnb-transcript, .vnb-composer')"
            " && (e.getAttribute('aria-label') || e.textContent.trim() || e.tagName); }"
        )
        if name is None:
            break
        reached.append(name.split("\n")[0][:24])
    reached = [name for name in reached if not name.startswith("Jump")]  # there until the page has scrolled to its end
    assert reached == [
        "Enlarge chart.png", "Copy question: One?", "Edit: One?", "Delete from here: One?", "link",
        "Copy this code: Code", "Code", "Table", "Copy answer: One?", "Ask again: One?",
        "Copy question: Two?", "Edit: Two?", "Delete from here: Two?", "Retry: Two?", "New conversation",
        "label.png, image 1 of 1:", "Remove label.png", "Detail level of label.pn", "Select parts of label.pn",
        "Move left: label.png", "Move right: label.png", "Question. Enter sends, S", "Attach images", "openai:gpt-4o (demo)open", "Send",
    ]  # fmt: skip
    assert_accessible_in_both_themes(page, ".vnb-transcript", ".vnb-composer")
    spoken = page.locator(".vnb-announcement")
    assert spoken.get_attribute("aria-live") == "polite"
    panel.say("Three?")
    panel.wait("done", 1)
    assert "gpt-4o: A link, code: x a 1" in spoken.inner_text()


PROBES = (
    "() => { window.probes = []; for (const name of ['alert', 'prompt', 'confirm', 'print'])"
    " window[name] = (...args) => { window.probes.push([name, ...args]); }; }"
)
FIND_BAD = """(selector) => { const found = [];
// Our own icons and the images of the dialog and the parts panel before they open: an answer cannot make buttons and classes.
const isOwnIcon = (e) => e.parentElement.tagName === 'BUTTON' && !e.closest('.vnb-markdown')
  && /^<svg viewBox="0 0 24 24" class="vnb-icon vnb-icon-[a-z]+" aria-hidden="true"><path d="[a-zA-Z0-9 .-]+"><\\/path><\\/svg>$/.test(e.outerHTML);
const isOwnImage = (e) => (e.closest('.vnb-composer') && e.outerHTML === '<img class="vnb-regions-image" alt="" draggable="false">')
  || (e.closest('.vnb-image-dialog:not([open])') && /^<img class="vnb-viewer-image" alt="" draggable="false" style="[^"]*">$/.test(e.outerHTML));
for (const e of [...document.querySelectorAll(selector)].flatMap((root) => [...root.querySelectorAll('*')])) {
  const own = e.closest('.vnb-answer, .vnb-prompt, .vnb-model, .jp-OutputArea-output:not(.jupyter-widgets), main, body > section');
  if (/^(script|iframe|object|embed|form|style|link|meta|base|frame)$/i.test(e.tagName) && own) found.push(e.outerHTML);
  if (e.tagName === 'svg' && own && !e.closest('mjx-container') && !isOwnIcon(e)) found.push(e.outerHTML);
  for (const { name, value } of e.attributes) {
    if (/^on/i.test(name) || (name === 'style' && e.closest('.vnb-answer'))) found.push(e.outerHTML);
    if (/^(href|src|action|formaction|xlink:href)$/i.test(name) && /^\\s*(javascript|vbscript):/i.test(value)) found.push(e.outerHTML);
    if (name === 'href' && /^\\s*data:/i.test(value)) found.push(e.outerHTML);
  }
  if (e.tagName === 'IMG' && !/^data:image\\/(jpeg|webp);base64,/.test(e.src) && !isOwnImage(e)) found.push(e.outerHTML);
  if (e.tagName === 'A' && e.closest('.vnb-answer') && !(e.target === '_blank' && e.rel.includes('noopener'))) found.push(e.outerHTML);
} return found.map((html) => html.slice(0, 200)); }"""


def watch_page(page):
    """Detect script execution in a page, and return a list that collects the URLs it requests."""
    urls = []
    page.on("request", lambda request: urls.append(request.url))
    page.evaluate(PROBES)
    return urls


def check_harmless(page, urls, selector):
    """Check that elements of a page contain no active content, that no script ran, and that no other host was asked."""
    assert page.evaluate(FIND_BAD, selector) == []
    page.mouse.move(400, 400)
    page.wait_for_timeout(500)
    assert page.evaluate("() => window.probes") == []
    own = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:", "file:")
    assert [url for url in urls if not url.startswith(own)] == []


def test_hostile_answers_are_harmless_on_the_page_and_in_an_export(opened, lab):
    panel = opened(speed=1_000_000)
    page = panel.page
    urls = watch_page(page)
    assert len(HOSTILE) >= 60
    panel.run(
        f"import json\nhostile = json.loads({json.dumps(HOSTILE)!r})\n"
        "for text in hostile:\n"
        "    panel.chat.add(vn.ChatMessage('user', [text, vn.ImageDocument(image=vn.samples.path('label').read_bytes(), "
        "image_name=text)]), vn.ChatResponse(text, model=text))"
    )
    page.wait_for_function(f"() => document.querySelectorAll('.vnb-turn').length === {len(HOSTILE)}")
    panel.run(
        "server.fail(Fault(status=400, body={'error': {'message': hostile[0] + hostile[1], 'code': hostile[2]}}))"
    )
    panel.say("<img src=x onerror=alert(1)>")
    panel.wait("failed")
    panel.run("panel.chat.export('hostile.html')\nfrom IPython.display import display\ndisplay(panel.chat)")
    check_harmless(page, urls, ".vnb-transcript, .vnb-composer, .jp-RenderedMarkdown")
    page.goto((lab[1] / "hostile.html").as_uri())
    check_harmless(page, watch_page(page), "body")
    assert page.locator("section").count() >= len(HOSTILE)


def test_hostile_answers_in_the_magics_output_are_harmless(opened):
    panel = opened(speed=1_000_000)
    urls = watch_page(panel.page)
    panel.run(
        f"import json\nget_ipython().run_line_magic('load_ext', 'vision_nb')\n"
        "import os; os.environ['THE_KEY'] = 'sk-very-secret-key'\n"
        f"hostile = json.loads({json.dumps(HOSTILE)!r})\n"
        "line = f'openai:gpt-4o --no-cache --cost --api-base {server.openai_base} --api-key-env THE_KEY'\n"
        "def ask(text, form):\n"
        "    server.answer_with(text)\n"
        "    get_ipython().run_cell_magic('vision', f'{line} -f {form}', 'What?')"
    )
    for first in range(0, len(HOSTILE), 20):  # JupyterLab collapses more than 50 outputs
        panel.run(
            f"for number, text in enumerate(hostile[{first}:{first + 20}]):\n"
            "    ask(text, ('markdown', 'html', 'text')[number % 3])"
        )
    assert panel.page.locator(".jp-Notebook .jp-OutputArea-output").count() > len(HOSTILE)
    check_harmless(panel.page, urls, ".jp-Notebook .jp-OutputArea")


def test_no_api_key_is_in_the_widget_state_or_page(opened, lab):
    panel = opened("panel = vn.ChatPanel([llm, one])\npanel")
    panel.run("server.fail(Fault(status=401, body={'error': {'message': 'wrong key sk-very-secret-key'}}))")
    panel.say("Hello?")
    panel.wait("failed")
    state = panel.run(
        "import ipywidgets, json\nstate = json.dumps(ipywidgets.Widget.get_manager_state(), default=str) + repr(panel)\n"
        "print('sk-very' in state, len(state) > 500)"
    )
    assert state == "False True"
    assert "sk-very" not in panel.page.locator(".vnb-transcript").inner_html()


def test_a_question_that_waits_for_a_rate_limit_says_why(opened):
    panel = opened()
    panel.run(
        "from vision_nb.demo import Fault\n"
        "names = ('limit', 'remaining', 'reset')\n"
        "headers = {f'x-ratelimit-{name}-requests': value for name, value in zip(names, ('1', '0', '30s'))}\n"
        "server.fail(Fault(headers=headers))"
    )
    panel.say("One?")
    panel.wait("done")
    panel.say("Two?")
    panel.wait_for_text("its rate limit is used up", ".vnb-waiting")
    panel.page.locator(".vnb-composer button:text('Stop')").click()
    panel.wait("failed")
    assert panel.page.locator(".vnb-turn").last.locator(".vnb-waiting").is_hidden()
