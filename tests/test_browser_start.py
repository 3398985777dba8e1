"""The start notebook in a real JupyterLab, as a new user sees it."""

import shutil

import nbformat
import pytest

from tests.lab import browser_page, run_all, running_lab
from tests.save_notebooks import NOTEBOOKS

pytestmark = pytest.mark.browser


def test_the_start_notebook_answers_in_the_browser(tmp_path):
    root = tmp_path / "notebooks"
    shutil.copytree(NOTEBOOKS, root, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    # Clear the saved outputs, so that only live ones count.
    notebook = nbformat.read(root / "00_start_here.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, root / "00_start_here.ipynb")

    with running_lab(root, tmp_path) as address, browser_page() as page:
        run_all(page, address, "00_start_here.ipynb")
        page.wait_for_timeout(500)
        answers = page.locator(".jp-RenderedMarkdown.jp-OutputArea-output")
        assert answers.count() >= 4
        assert "demo: measures pixels, no language model" in answers.first.inner_text()
        assert page.locator(".jp-OutputArea-output img").count() >= 2
        assert page.locator("[data-mime-type*=error], [data-mime-type*=stderr]").count() == 0
        assert page.foreign_hosts == set()
