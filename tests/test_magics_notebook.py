"""The notebook about `%%vision`: a second run asks nothing."""

import re

import nbformat
import pytest
from kernels import text_of
from nbclient import NotebookClient
from save_notebooks import NOTEBOOKS

COUNT = "from vision_nb.demo import shared_server\nprint(len(shared_server().requests))"


def requests_of_a_run(path):
    """Run the notebook in a fresh kernel, and count the requests that reached the server."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(COUNT))
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}}).execute()
    return int(text_of(notebook.cells[-1]))


@pytest.mark.kernel
def test_run_a_second_time_it_sends_no_request():
    path = NOTEBOOKS / "02_magics.ipynb"
    assert requests_of_a_run(path) > 15
    assert requests_of_a_run(path) == 0


def test_it_shows_every_option():
    from vision_nb.magics.options import OPTIONS

    notebook = nbformat.read(NOTEBOOKS / "02_magics.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells)
    not_shown = [
        option.args
        for option in OPTIONS[1:]
        if not any(re.search(rf"(?<![\w-]){one}(?![\w-])", text) for one in option.args)
    ]
    assert not_shown == []
