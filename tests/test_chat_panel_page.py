"""The chat panel's page in unusual situations: saved widget state, fast typing, keyboard focus, no kernel."""

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import encoded, picture
from tests.panel_lab import write_notebook
from tests.test_chat_panel_browser import files_transfer, opened  # noqa: F401 - a fixture

pytestmark = pytest.mark.browser
PANEL = "panel = vn.ChatPanel(llm)\npanel"
FOCUSED = (
    "() => document.activeElement.closest('.vnb-composer textarea, .vnb-list, .vnb-attachments')?.className ?? 'none'"
)


def test_saved_widget_state_does_not_hide_the_static_transcript(lab, page):
    address, root = lab
    name = write_notebook(root, "saved", "panel = vn.ChatPanel(llm)\npanel", "await panel.ask('Hello?')\nNone")
    notebook = nbformat.read(root / name, as_version=4)
    NotebookClient(notebook, store_widget_state=True).execute()
    assert "widgets" in notebook.metadata and "Hello?" not in str(notebook.metadata.widgets)
    nbformat.write(notebook, root / name)
    page.goto(f"{address}/lab/tree/{name}")
    page.wait_for_selector("[class*=vnb-static]", timeout=120_000)
    page.evaluate(
        "() => { window.jupyterapp.commands.execute('notebook:trust'); }"
    )  # saved widgets are displayed only in trusted notebooks
    page.click(".jp-Dialog button.jp-mod-accept")
    page.wait_for_timeout(500)
    page.keyboard.press("Control+s")
    page.wait_for_timeout(1000)
    page.reload()
    page.wait_for_selector(".vnb-composer textarea", timeout=60_000)
    page.wait_for_timeout(3000)
    assert page.locator("[class*=vnb-static] :text('Hello?')").first.is_visible()
    assert page.locator(".vnb-composer textarea").is_disabled()
    assert page.locator(".vnb-turn").count() == 0


def test_repeated_enter_dropped_files_and_a_growing_answer(opened):  # noqa: F811
    panel = opened(speed=60)
    page = panel.page
    panel.run("server.answer_with('```\\ncode\\n```\\n\\n' + 'word ' * 150)")
    transfer = files_transfer(page, [("a.png", "image/png", encoded(picture()))])
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event(".vnb-list", event, {"dataTransfer": transfer})
    page.wait_for_function("() => document.querySelectorAll('.vnb-attachments img').length === 1")
    page.locator(".vnb-attachments select").focus()
    panel.run("panel._composer.note = 'changed'; panel._composer.error = 'wrong'")
    page.locator(".vnb-attachments select").focus()
    page.locator(".vnb-attachments select").select_option("low")
    page.wait_for_timeout(300)
    assert page.evaluate(FOCUSED) == "vnb-attachments"
    panel.box.fill("One?")
    page.evaluate(
        "() => { const box = document.querySelector('.vnb-composer textarea');"
        " for (let n = 0; n < 3; n += 1) box.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true })); }"
    )
    page.wait_for_selector(".vnb-answer pre")
    page.evaluate("() => { document.querySelector('.vnb-answer pre').isOriginal = true; }")
    panel.wait("done")
    assert page.evaluate("() => document.querySelector('.vnb-answer pre').isOriginal && true") is True
    assert page.locator(".vnb-answer pre").get_attribute("tabindex") == "0"
    assert panel.turns.count() == 1 and page.locator(".vnb-composer .vnb-error").is_hidden()
    assert page.locator(".vnb-prompt").get_attribute("dir") == "auto"
    assert panel.box.get_attribute("dir") == "auto"


def test_focus_stays_in_the_panel_and_a_kernel_shutdown_is_displayed(opened):  # noqa: F811
    panel = opened(speed=60)
    page = panel.page
    panel.run("server.answer_with('word ' * 100)")
    panel.box.fill("One?")
    page.locator(".vnb-composer button:text('Send')").click()
    panel.wait("answering")
    assert page.evaluate("() => document.activeElement === document.querySelector('.vnb-composer textarea')")
    page.locator(".vnb-composer button:text('Stop')").click()
    panel.wait("stopped")
    assert page.evaluate("() => document.activeElement === document.querySelector('.vnb-composer textarea')")
    for name in ("Ask again", "Delete from here"):
        panel.button(name).click()
        page.wait_for_timeout(500)
        assert "vnb-list" in page.evaluate(FOCUSED)
        if name == "Ask again":
            panel.wait("answering")
            page.keyboard.press("Escape")
            panel.wait("stopped")
    page.click("text=Kernel >> nth=0")
    page.click(".lm-Menu-item:has-text('Shut Down Kernel') >> nth=0")
    panel.wait_for_text("The kernel was restarted or stopped: run this cell again")
    assert panel.box.is_disabled()
    page.wait_for_selector("[class^=vnb-static]", state="visible")
