"""The notebook about local LLaVA runs on the real engine."""

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
