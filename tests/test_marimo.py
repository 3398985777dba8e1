"""The chat panel, images, answers and comparisons in a real marimo app, in a real browser."""

import contextlib
import os
import socket
import subprocess
import sys
import time

import pytest

from tests.lab import KEYS, browser_page

pytestmark = pytest.mark.browser

APP = """
import marimo
app = marimo.App()

@app.cell
def _():
    import vision_nb as vn
    chart = vn.samples.path("chart")
    return chart, vn

@app.cell
def _(chart, vn):
    panel = vn.ChatPanel("demo", images=chart, name="talk", store="talk.sqlite3")
    panel
    return

@app.cell
def _(chart, vn):
    vn.show(chart)
    return

@app.cell
def _(chart, vn):
    vn.connect("demo").complete("What is on it?", chart)
    return

@app.cell
def _(chart, vn):
    vn.compare("demo", "Is it bright?", chart, store="answers.sqlite3", progress=False)
    return
"""


@contextlib.contextmanager
def running_app(folder):
    """Serve an app to visitors, and yield its address."""
    (folder / "app.py").write_text(APP)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "marimo", "run", "app.py", "--headless", "--no-token", f"--port={port}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(KEYS)}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def test_the_panel_answers_in_marimo_and_images_answers_and_comparisons_are_displayed(tmp_path):
    with running_app(tmp_path) as address, browser_page(color_scheme="dark") as page:
        problems: list[object] = []
        page.on("pageerror", lambda error: problems.append(error))
        page.goto(address)
        box = page.locator(".vnb-composer textarea:enabled")
        box.wait_for(timeout=120_000)
        page.locator(".vnb-attachments img").wait_for()
        box.fill("How large is it?")
        box.press("Enter")
        page.locator(".vnb-turn[data-state=done]").wait_for(timeout=90_000)
        assert "1,000 x 600 pixels" in page.locator(".vnb-answer").inner_text()
        for text in ("chart.png", "demo: measures pixels", "Is it bright?", "1 answered"):
            page.get_by_text(text).last.wait_for(timeout=90_000)
        assert not problems and page.foreign_hosts == set()
    assert not (tmp_path / "talk.sqlite3").exists()  # visitors must not see each other's conversations
