"""Run JupyterLab and other Jupyter servers, and open their pages in a real browser."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from typing import Any

import pytest

KEYS = ("OPENAI_", "AZURE_", "REPLICATE_")
JUPYTER = ["--allow-root", "--IdentityProvider.token=", "--ServerApp.password="]
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none", "scrollPastEnd": False},
}


def chromium():
    """Return the path of Chromium. Without it, skip the test, or fail in CI."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("Chromium is not on the PATH: apt-get install chromium")
    return found


@contextlib.contextmanager
def running_lab(root, work):
    """Run JupyterLab in a folder, with its own settings and without API keys, and yield its address."""
    for plugin, values in SETTINGS.items():
        path = work / "settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    options = ["--LabApp.expose_app_in_browser=True", "--LabApp.news_url="]
    with running("jupyterlab", [*JUPYTER, f"--ServerApp.root_dir={root}", *options], work) as address:
        yield address


@contextlib.contextmanager
def running(module, options, work):
    """Run a server with ``python -m``, without API keys, and yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(KEYS)}
    environment |= {
        "JUPYTER_CONFIG_DIR": str(work / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(work / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(work / "workspaces"),
    }
    command = [sys.executable, "-m", module, "--no-browser", f"--port={port}", *options]
    with (work / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(900):  # it can take minutes while other tests run
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            time.sleep(0.2)
        else:
            pytest.fail(f"{module} did not start: " + (work / "server.log").read_text()[-500:])
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def browser_page(**options):
    """Yield a page of a new browser; its ``foreign_hosts`` collects the other hosts that it requests."""
    from playwright.sync_api import sync_playwright

    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page: Any = browser.new_page(viewport={"width": 1200, "height": 1000}, **options)
        page.set_default_timeout(90_000)
        page.foreign_hosts = set()
        page.on(
            "request",
            lambda request: (
                page.foreign_hosts.add(request.url.split("/")[2])
                if request.url.startswith("http") and "127.0.0.1" not in request.url
                else None
            ),
        )
        try:
            yield page
        finally:
            browser.close()


def run_all(page, address, name):
    """Open a notebook, run all of its cells, and wait for them."""
    open_notebook(page, address, name)
    run_cells(page)


def open_notebook(page, address, name):
    """Open a notebook, and wait for its kernel."""
    page.goto(f"{address}/lab/tree/{name}?reset")
    page.wait_for_selector(".jp-NotebookPanel-toolbar", timeout=120_000)
    wait_for_kernel(page)


def wait_for_kernel(page):
    """Wait until the open notebook can be run."""
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
    # JupyterLab ignores commands until the notebook is in front and its kernel is ready.
    page.wait_for_function(
        "() => { const { commands, shell } = window.jupyterapp;"
        " return commands.isEnabled('notebook:run-all-cells')"
        " && shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'; }",
        timeout=120_000,
    )


def close_notebooks(page):
    """Close all notebooks on a page of JupyterLab without saving them, and shut down their kernels."""
    page.evaluate(
        """async () => {
          for (const widget of [...(window.jupyterapp?.shell.widgets('main') ?? [])]) {
            await widget.sessionContext?.shutdown().catch(() => {});
            if (widget.context) widget.context.model.dirty = false;
            widget.dispose();
          }
        }"""
    )


def set_theme(page, theme):
    """Switch JupyterLab to a theme, such as "JupyterLab Dark"."""
    page.click("text=Settings >> nth=0")
    page.hover(".lm-Menu-item:has-text('Theme')")
    page.click(f".lm-Menu-item:has-text('{theme}')")
    page.wait_for_selector(f"body[data-jp-theme-name='{theme}']", state="attached")
    page.wait_for_timeout(500)


def run_cells(page):
    """Run all cells of the open notebook, and wait for them."""
    wait_for_kernel(page)
    page.evaluate(
        "() => { window.cellsHaveRun = false; window.jupyterapp.commands.execute('notebook:run-all-cells')"
        ".then(() => { window.cellsHaveRun = true; }); }"
    )
    page.wait_for_function("() => window.cellsHaveRun", timeout=120_000)
