"""The chat panel and the cell magic in Notebook 7 and in Voila."""

import pytest

from tests.lab import JUPYTER, browser_page, run_cells, running
from tests.panel_lab import Panel, write_notebook

pytestmark = pytest.mark.browser
PANEL = """answers = iter(["a long answer " * 500, "white"])
server.answer_with(lambda question: next(answers))
panel = vn.ChatPanel([llm, small], images=vn.samples.path('chart'))
panel"""
MAGIC = """get_ipython().run_line_magic('load_ext', 'vision_nb')
get_ipython().run_cell_magic('vision', 'demo', 'How large is the image [[vn.samples.path("label")]]?')"""


def converse(panel):
    """Ask a question, stop the answer, and ask again."""
    panel.say("What colors?")
    panel.wait("answering")
    panel.box.press("Escape")
    panel.wait("stopped")
    panel.button("Ask again").click()
    panel.wait("done", timeout=90_000)
    assert "white" in panel.answer()
    assert panel.page.locator("[class*=vnb-static]").first.is_hidden()


def test_panel_and_magic_work_in_notebook_7(tmp_path):
    name = write_notebook(tmp_path, "talk", PANEL, MAGIC, speed=60)
    options = [*JUPYTER, f"--ServerApp.root_dir={tmp_path}", "--JupyterNotebookApp.expose_app_in_browser=True"]
    with running("notebook", options, tmp_path) as address, browser_page() as page:
        page.goto(f"{address}/notebooks/{name}")
        run_cells(page)
        page.wait_for_selector(".vnb-composer textarea:enabled", timeout=120_000)
        converse(Panel(page))
        page.wait_for_selector("[class*=vnb-static] :text('What colors?')", state="attached", timeout=90_000)
        assert "pixels" in page.locator(".jp-OutputArea").last.inner_text()


def test_panel_and_magic_work_in_voila(tmp_path):
    name = write_notebook(tmp_path, "talk", PANEL, MAGIC, speed=60)
    with running("voila", [str(tmp_path / name)], tmp_path) as address, browser_page() as page:
        page.route("https://**", lambda route: route.abort())  # Voila's template loads fonts
        page.goto(address, timeout=90_000)
        page.wait_for_selector(".vnb-composer textarea:enabled", timeout=120_000)
        converse(Panel(page))
        assert "pixels" in page.locator(".jp-OutputArea").last.inner_text()
