"""The short tracebacks of the package's errors in a notebook."""

import re
import traceback
from pathlib import Path
from typing import Any

import pytest

import vision_nb as vn
from tests.kernels import run_cells
from vision_nb.notebook.tracebacks import without_package

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def shown(cell):
    (error,) = [output for output in cell.outputs if output.output_type == "error"]
    return ESCAPES.sub("", "\n".join(error.traceback))


@pytest.mark.kernel
def test_an_error_shows_only_the_users_lines_and_tb_the_full_traceback():
    cells = run_cells(
        "import vision_nb as vn\nllm = vn.OpenAIMultiModal('gpt-4o', 'sk-x', 'http://127.0.0.1:9/v1', max_retries=0)",
        "def ask():\n    return llm.complete('What?')\n\nask()",
        "%tb",
        "vn.connect('gpt-4o')",
        "await llm.acomplete('What?')",
        "vn.load_images('no-such-folder/')",
        allow_errors=True,
    )
    first = shown(cells[1])
    assert "----> 4 ask()" in first and "llm.complete('What?')" in first
    assert "ProviderConnectionError: " in first and "%tb shows the full" in first
    assert "httpx" not in first and "vision_nb/" not in first and len(first.splitlines()) < 20
    whole = ESCAPES.sub("", str(cells[2].outputs))
    assert "vision_nb/providers" in whole and "ConnectError" in whole
    for cell in cells[3:]:
        assert "vision_nb/" not in shown(cell) and len(shown(cell).splitlines()) < 12


@pytest.mark.kernel
def test_fix_is_suggested_only_if_a_model_can_explain_the_error():
    mistake, suggestion = "vn.load_images('no-such-folder/')", "%vision fix explains the error"
    bare = run_cells("import vision_nb as vn", mistake, allow_errors=True, load=False)
    assert "%tb shows the full traceback." in shown(bare[1]) and suggestion not in shown(bare[1])
    cells = run_cells(
        "import os, vision_nb as vn\n_ = os.environ.pop('OPENAI_API_KEY', None)",
        mistake,
        "%vision use demo",
        mistake,
        "%vision use openai:gpt-4o",
        mistake,
        "os.environ['OPENAI_API_KEY'] = 'sk-demo-demo-demo'",
        mistake,
        "%%vision -i no-such-file.png\nWhat?",
        "vn.OpenAIMultiModal('gpt-4o', 'sk-x', 'http://127.0.0.1:9/v1', max_retries=0).complete('What?')",
        allow_errors=True,
    )
    assert [suggestion in shown(cells[n]) for n in (1, 3, 5, 7, 8, 9)] == [False, False, False, True, True, False]
    assert "%tb shows the full traceback." in shown(cells[9])


@pytest.mark.kernel
def test_other_errors_keep_their_full_traceback():
    (_, cell) = run_cells("import vision_nb", "1 / 0", allow_errors=True)
    assert "%tb shows" not in shown(cell) and "ZeroDivisionError" in shown(cell)


def test_frames_of_a_package_with_a_similar_name_are_shown():
    extras: dict[str, Any] = {"__name__": "vision_nb_extras"}
    path = Path(vn.__file__).parent.with_name("vision_nb_extras") / "tool.py"
    exec(compile("def connect(vn):\n    vn.connect('no-such-provider:x')", str(path), "exec"), extras)
    with pytest.raises(vn.errors.SettingsError) as caught:
        extras["connect"](vn)
    shown = traceback.extract_tb(without_package(caught.value.__traceback__))
    assert [Path(frame.filename).name for frame in shown] == ["test_tracebacks.py", "tool.py"]
