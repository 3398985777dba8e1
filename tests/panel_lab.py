"""Open a chat panel in JupyterLab and use it as a user does."""

import nbformat

from tests.lab import run_all

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
SERVER = """
import vision_nb as vn
from vision_nb.demo import DemoServer, Fault
server = DemoServer(tokens_per_second={speed})
server.start()
llm = vn.OpenAIMultiModal("gpt-4o", "sk-very-secret-key", server.openai_base, max_retries=0)
small = vn.OpenAIMultiModal("gpt-4o-mini", "sk-very-secret-key", server.openai_base, max_retries=0)
one = vn.ReplicateMultiModal("llava-13b", api_token="r8_verysecret", api_base=server.replicate_base)
"""


def open_panel(page, address, root, name, *cells, speed=300):
    """Run a notebook whose second cell displays a chat panel, and return the panel on the page."""
    run_all(page, address, write_notebook(root, name, *cells, speed=speed))
    page.wait_for_selector(".vnb-composer textarea:enabled", timeout=90_000)  # disabled until the kernel answers
    return Panel(page)


def write_notebook(root, name, *cells, speed=300):
    """Write a notebook whose first cell starts a demo server and defines models, and return its file name."""
    sources = [SERVER.format(speed=speed), *cells]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in sources], metadata=KERNEL)
    nbformat.write(notebook, root / f"{name}.ipynb")
    return f"{name}.ipynb"


class Panel:
    """A chat panel on a page."""

    def __init__(self, page):
        self.page = page

    @property
    def box(self):
        return self.page.locator(".vnb-composer textarea").first

    @property
    def turns(self):
        return self.page.locator(".vnb-turn")

    def button(self, name, turn=-1):
        return self.turns.nth(turn).locator(f"button[aria-label^='{name}:']").locator("visible=true")

    def say(self, text):
        self.box.fill(text)
        self.box.press("Enter")

    def wait(self, state, turn=-1, timeout=60_000):
        place = f"all[all.length + {turn}]" if turn < 0 else f"all[{turn}]"
        self.page.wait_for_function(
            f"() => {{ const all = document.querySelectorAll('.vnb-turn'); return {place}?.dataset.state === '{state}'; }}",
            timeout=timeout,
        )

    def wait_for_text(self, text, selector=".vnb-composer, .vnb-transcript"):
        self.page.wait_for_function(
            "([text, selector]) => [...document.querySelectorAll(selector)].some(e => e.innerText.includes(text))",
            arg=[text, selector],
            timeout=60_000,
        )

    def answer(self, turn=-1):
        return self.turns.nth(turn).locator(".vnb-answer").inner_text()

    def new_cell(self):
        """Add a cell at the end of the notebook, and put the cursor into it."""
        cells = self.page.locator(".jp-Notebook .jp-Cell")
        count = cells.count()
        cells.last.locator(".cm-content").click()  # otherwise the focus would stay in the panel
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:insert-cell-below'); }")
        self.page.wait_for_function(
            "(count) => document.querySelectorAll('.jp-Notebook .jp-Cell').length > count", arg=count
        )
        cells.last.locator(".cm-content").click()

    def run(self, code, timeout=60_000):
        """Run code in a new cell at the end of the notebook, and return what it prints."""
        page = self.page
        self.new_cell()
        page.keyboard.insert_text(code + "\nprint('RAN')")
        page.keyboard.press("Control+Enter")
        output = page.locator(".jp-Notebook .jp-Cell").last.locator(".jp-OutputArea-output")
        page.wait_for_function(
            "() => [...document.querySelectorAll('.jp-Notebook .jp-Cell')].at(-1).querySelector('.jp-OutputArea')?.innerText"
            ".includes('RAN')",
            timeout=timeout,
        )
        return output.first.inner_text().replace("RAN", "").strip()
