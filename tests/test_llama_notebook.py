"""The notebooks run on the real engine: the one about local LLaVA, and those that offer a model on this machine."""

import re

import nbformat
import pytest

from tests.llama_parts import engines
from tests.save_notebooks import NOTEBOOKS, execute
from tests.tiny_models import write_pair


@pytest.mark.kernel
def test_the_notebook_runs_on_the_engine_and_stops_it(tmp_path):
    model, mmproj = write_pair(tmp_path)
    before = engines()
    weights = {"VISION_NB_LLAVA_MODEL": str(model), "VISION_NB_LLAVA_MMPROJ": str(mmproj)}
    notebook = execute(NOTEBOOKS / "06_local_llava.ipynb", keys=weights)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert all(output.output_type != "error" and output.get("name") != "stderr" for output in outputs)
    shown = "".join(output.get("text") or output.data.get("text/plain", "") for output in outputs)
    assert "llava is served at http://127.0.0.1:" in shown and "llama.cpp answers, with your model files" in shown
    assert "llama.cpp at http://127.0.0.1:" in shown  # detect finds it
    assert "demo model" not in shown and "The conversation has about 4,6" in shown
    assert engines() == before


@pytest.mark.kernel
@pytest.mark.parametrize("name", ["01_openai", "05_chat_panel"])
def test_a_notebook_runs_with_the_model_on_this_machine_that_it_offers(tmp_path, name):
    pair = ", ".join(repr(str(path)) for path in write_pair(tmp_path))
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    offered = 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            pattern = r'^# (.*)vn\.connect\("smolvlm-256m", max_new_tokens=\d+'
            served = rf"\1vn.serve({pair}, max_new_tokens=8"  # its weights are random: long answers say no more
            cell.source, found = re.subn(pattern, served, cell.source, flags=re.MULTILINE)
            offered += found
    assert offered == 1
    notebook.cells.append(nbformat.v4.new_code_cell("print(*vn.ledger.by_model())"))
    before = engines()
    nbformat.write(notebook, tmp_path / "notebook.ipynb")
    cells = [cell for cell in execute(tmp_path / "notebook.ipynb").cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert all(output.output_type != "error" and output.get("name") != "stderr" for output in outputs)
    if name != "05_chat_panel":  # which empties the ledger
        assert "local:" in cells[-1].outputs[0]["text"]
    assert engines() == before
