"""The notebook about `%%vision`."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.kernels import text_of
from tests.save_notebooks import NOTEBOOKS
from vision_nb.magics.options import OPTIONS

COUNT = "from vision_nb.demo import shared_server\nprint(len(shared_server().requests))"


def count_requests(path):
    """Run a notebook in a fresh kernel, and return the number of requests that reached the demo server."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(COUNT))
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}}).execute()
    return int(text_of(notebook.cells[-1]))


@pytest.mark.kernel
def test_a_second_run_sends_no_request():
    path = NOTEBOOKS / "02_magics.ipynb"
    assert count_requests(path) > 15
    assert count_requests(path) == 0


def test_the_notebook_shows_every_option():
    notebook = nbformat.read(NOTEBOOKS / "02_magics.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells)
    not_shown = [
        option.args
        for option in OPTIONS[1:]
        if not any(re.search(rf"(?<![\w-]){one}(?![\w-])", text) for one in option.args)
    ]
    assert not_shown == []
