"""Cells run in a real Jupyter kernel, and their outputs as a front end keeps them."""

import re

import nbformat
from nbclient import NotebookClient

LOAD = "%load_ext vision_nb\nimport vision_nb as vn"


def run_cells(*cells, folder=None, allow_errors=False, load=True):
    """Run cells in a fresh kernel, after loading the extension; gives the executed cells, without the loading one."""
    sources = [LOAD, *cells] if load else list(cells)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    resources = {"metadata": {"path": str(folder)}} if folder else {}
    NotebookClient(notebook, timeout=120, resources=resources, allow_errors=allow_errors).execute()
    return notebook.cells[1:] if load else notebook.cells


def markdown_of(cell):
    """The Markdown outputs of a cell, in order."""
    return [output.data["text/markdown"] for output in cell.outputs if "text/markdown" in output.get("data", {})]


def text_of(cell):
    """What a cell printed."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def error_of(cell):
    """What a cell shows of its error, without colours, or None; IPython writes a UsageError to stderr."""
    errors = ["\n".join(output.traceback) for output in cell.outputs if output.output_type == "error"]
    slips = [output.text for output in cell.outputs if output.get("name") == "stderr" and "UsageError" in output.text]
    return re.sub(r"\x1b\[[\d;]*m", "", (errors + slips)[0]) if errors or slips else None
