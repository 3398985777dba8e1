"""Run cells in a real Jupyter kernel, and read their outputs."""

import contextlib
import re
from typing import Any

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from tests.save_notebooks import run as run_notebook
from vision_nb.demo import DemoServer

LOAD = "%load_ext vision_nb\nimport vision_nb as vn"


def run_cells(*cells, folder=None, allow_errors=False, load=True):
    """Run cells in a new kernel after loading the extension, and return them with their outputs."""
    sources = [LOAD, *cells] if load else list(cells)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    resources = {"metadata": {"path": str(folder)}} if folder else {}
    run_notebook(NotebookClient(notebook, timeout=120, resources=resources, allow_errors=allow_errors))
    return notebook.cells[1:] if load else notebook.cells


@contextlib.contextmanager
def in_process_shell(folder):
    """Make an IPython shell in this process, with the extension, its own store, and a demo server as ``.server``."""
    shell: Any = InteractiveShell()
    shell.run_line_magic("load_ext", "vision_nb")
    magics = shell.magics_manager.registry["VisionMagics"]
    magics.store = str(folder / "answers.sqlite3")
    try:
        with DemoServer(tokens_per_second=1_000_000) as server:
            server.answer_with("Yes.")
            magics.api_base = server.openai_base
            shell.server, shell.magics = server, magics
            yield shell
    finally:
        shell.run_line_magic("unload_ext", "vision_nb")
        InteractiveShell.clear_instance()


@contextlib.contextmanager
def cell_runner():
    """Start a kernel, and yield a function that runs a cell with an id and returns the value of an expression."""
    manager, client = start_new_kernel()

    def run(cell_id, code, expression="None"):
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {"value": expression}}
        message = client.session.msg("execute_request", content, metadata={"cellId": cell_id})
        client.shell_channel.send(message)
        replies = iter(lambda: client.get_shell_msg(timeout=180), None)
        own = (reply for reply in replies if reply["parent_header"].get("msg_id") == message["header"]["msg_id"])
        reply = next(own)["content"]
        assert reply["status"] == "ok", reply
        return eval(reply["user_expressions"]["value"]["data"]["text/plain"])

    try:
        yield run
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def markdown_of(cell):
    """Return the Markdown outputs of a cell, in order."""
    return [output.data["text/markdown"] for output in cell.outputs if "text/markdown" in output.get("data", {})]


def text_of(cell):
    """Return what a cell printed."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def error_of(cell):
    """Return the displayed error of a cell without color codes, or None. IPython prints a UsageError to stderr."""
    errors = ["\n".join(output.traceback) for output in cell.outputs if output.output_type == "error"]
    usage_errors = [
        output.text for output in cell.outputs if output.get("name") == "stderr" and "UsageError" in output.text
    ]
    return re.sub(r"\x1b\[[\d;]*m", "", (errors + usage_errors)[0]) if errors or usage_errors else None
