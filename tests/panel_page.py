"""Display a panel in a page of its own, without Jupyter: its real scripts, and real widgets in this process."""

import asyncio
import base64
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from tests.lab import chromium
from vision_nb import ChatPanel

THEMES = Path(sys.prefix) / "share/jupyter/lab/themes/@jupyterlab"
PAGE = """<!doctype html><html lang="en"><head><title>Panel</title><style>{theme}</style><style>{css}</style></head>
<body data-jp-theme-light="{light}" style="margin: 0; background: var(--jp-layout-color0)">
<main class="widget-vbox" style="padding: 8px"></main></body></html>"""
MODEL = """async ({ id, code, state }) => {
  const listeners = {};
  const model = {
    widget_manager: { kernel: {} },
    get: (name) => state[name],
    on: (name, listener) => (listeners[name] ??= []).push(listener),
    off: (name, listener) => { listeners[name] = (listeners[name] ?? []).filter((one) => one !== listener); },
    send: async (content, _, buffers = []) => {
      const texts = buffers.map((buffer) => btoa([...new Uint8Array(buffer)].map((n) => String.fromCharCode(n)).join("")));
      window.toPython(id, content, texts);
    },
  };
  const call = (name, ...args) => (listeners[name] ?? []).forEach((listener) => listener(...args));
  window.fromPython ??= {};
  window.fromPython[id] = (kind, content, texts) => {
    if (kind === "state") {
      Object.assign(state, content);
      Object.keys(content).forEach((name) => call(`change:${name}`));
    } else {
      const buffers = texts.map((text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer));
      call("msg:custom", content, buffers);
    }
  };
  const { default: script } = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  const el = document.createElement("div");
  document.querySelector("main").append(el);
  await script.render({ model, el });
}"""

SMALL_CONTROLS = """() => [...document.querySelectorAll("button, select, summary, input:enabled, textarea")]
  .filter((control) => control.checkVisibility())
  .map((control) => [control.getAttribute("aria-label") || control.textContent, control.getBoundingClientRect()])
  .filter(([, { width, height }]) => width < 40 || height < 40)
  .map(([name, { width, height }]) => `${name}: ${width} x ${height}`)"""


@contextlib.asynccontextmanager
async def panel_page(panel, *, width=700, dark=False):
    """Yield a page that displays a panel; its ``messages`` collects what it sends to Python.

    Args:
        panel: A chat panel, or another widget.
        width: The page's width in pixels.
        dark: Whether to use JupyterLab's dark theme.
    """
    from playwright.async_api import async_playwright

    widgets = dict(enumerate((panel._view, panel._composer) if isinstance(panel, ChatPanel) else (panel,)))
    queue: asyncio.Queue[list[Any]] = asyncio.Queue()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page: Any = await browser.new_page(viewport={"width": width, "height": 900})
        page.messages, page.errors = [], []
        page.on("pageerror", lambda error: page.errors.append(str(error)))

        def receive(number, content, buffers):
            page.messages.append(content)
            widgets[number]._handle_custom_msg(content, [memoryview(base64.b64decode(text)) for text in buffers])

        await page.expose_function("toPython", receive)
        theme = THEMES / f"theme-{'dark' if dark else 'light'}-extension" / "index.css"
        css = "\n".join(widget._css for widget in widgets.values())
        html = PAGE.format(theme=theme.read_text(), css=css, light="false" if dark else "true")
        await page.route("**/*", lambda route: route.fulfill(body=html, content_type="text/html"))
        await page.goto("http://127.0.0.1/")  # a page without an address could not read dropped folders
        for number, widget in widgets.items():
            names = [name for name in widget.keys if not name.startswith("_") and name != "layout"]
            widget.send = _sender(queue, number)
            widget.observe(lambda change, number=number: _put(queue, number, "state", {change.name: change.new}), names)
            state = {name: getattr(widget, name) for name in names}
            await page.evaluate(
                MODEL, {"id": number, "code": widget._esm, "state": json.loads(json.dumps(state, default=str))}
            )
        pump = asyncio.create_task(_pump(page, queue))
        try:
            yield page
            assert page.errors == []
        finally:
            pump.cancel()
            await browser.close()


def _sender(queue, number):
    return lambda content, buffers=None: _put(queue, number, "message", content, buffers or [])


def _put(queue, number, kind, content, buffers=()):
    texts = [base64.b64encode(bytes(buffer)).decode() for buffer in buffers]
    queue.put_nowait([number, kind, json.loads(json.dumps(content)), texts])


async def _pump(page, queue):
    """Pass what the widgets send on to the page, in order."""
    while True:
        await page.evaluate(
            "([id, kind, content, texts]) => window.fromPython[id](kind, content, texts)", await queue.get()
        )


async def assert_usable_by_touch(page):
    """Assert that all visible controls are large enough for a finger, on a page as narrow as that of a phone."""
    session = await page.context.new_cdp_session(page)
    await session.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    await page.set_viewport_size({"width": 390, "height": 800})
    assert await page.evaluate(SMALL_CONTROLS) == []
    assert await page.evaluate("() => document.documentElement.scrollWidth") == 390
