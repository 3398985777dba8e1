"""A warning names the user's line, whichever part of the package issues it."""

import inspect
import io
import subprocess
import sys

import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.kernels import run_cells
from tests.replicate_calls import maker


@pytest.fixture
def animation():
    """A GIF of two frames; sending it warns that only the first is sent."""
    buffer = io.BytesIO()
    picture().save(buffer, "GIF", save_all=True, append_images=[picture(seed=1)])
    return buffer.getvalue()


def next_line():
    return inspect.currentframe().f_back.f_lineno + 1


def assert_issued_at(caught, line):
    ours = [warning for warning in caught if warning.category is UserWarning]  # others come from imported packages
    assert [(warning.filename, warning.lineno) for warning in ours] == [(__file__, line)]


def test_skipped_files_are_reported_at_the_call_of_load_images(photo):
    photo.with_name("notes.txt").write_text("no image")
    with pytest.warns(UserWarning, match="Skipped 1 file") as caught:
        line = next_line()
        vn.load_images(photo.parent)
    assert_issued_at(caught, line)


def test_an_openai_call_warns_at_its_own_line(server, animation):
    llm = vn.connect("openai:gpt-4o", api_base=server.openai_base, api_key="k")
    with pytest.warns(UserWarning, match="first of its 2 frames") as caught:
        line = next_line()
        llm.complete("What is this?", [animation])
    assert_issued_at(caught, line)


def test_an_iterated_stream_warns_where_it_was_requested(server, animation):
    llm = vn.connect("openai:gpt-4o", api_base=server.openai_base, api_key="k")
    with pytest.warns(UserWarning, match="first of its 2 frames") as caught:
        line = next_line()
        stream = llm.stream_complete("What is this?", [animation])
        assert list(stream)
    assert_issued_at(caught, line)


async def test_an_async_call_prepares_images_in_a_thread_and_still_warns_at_its_line(server, animation):
    llm = vn.connect("openai:gpt-4o", api_base=server.openai_base, api_key="k")
    with pytest.warns(UserWarning, match="first of its 2 frames") as caught:
        line = next_line()
        await llm.acomplete("What is this?", [animation])
    assert_issued_at(caught, line)


def test_a_replicate_call_warns_at_its_own_line(server, monkeypatch):
    llm = maker(server, monkeypatch)("fuyu-8b", temperature=0.5)
    with pytest.warns(UserWarning, match="temperature") as caught:
        line = next_line()
        llm.complete("What is this?", [picture()])
    assert_issued_at(caught, line)


@pytest.mark.kernel
def test_a_notebook_shows_a_warning_as_one_quiet_note_per_cell(tmp_path, animation):
    (tmp_path / "a.gif").write_bytes(animation)
    calls = "import vision_nb as vn\nllm = vn.connect('demo')\nfor _ in range(2):\n    llm.complete('What?', 'a.gif')"
    cells = run_cells(
        calls, "_ = await llm.acomplete('What?', 'a.gif')", "%%vision demo -i a.gif\nWhat?", folder=tmp_path
    )
    for cell in cells:
        assert [one for one in cell.outputs if one.get("name") == "stderr"] == []
        notes = [one for one in cell.outputs if "first of its 2 frames" in one.get("data", {}).get("text/plain", "")]
        assert [one.data["text/plain"] for one in notes] == ["a.gif: only the first of its 2 frames is sent."]


@pytest.mark.kernel
def test_a_notebook_heeds_the_filters_of_the_user(tmp_path, animation):
    (tmp_path / "a.gif").write_bytes(animation)
    call = "import vision_nb as vn, warnings\n_ = vn.connect('demo').complete('What?', 'a.gif')"
    ignored, failed = run_cells(
        f"import warnings\nwarnings.filterwarnings('ignore', message='.*frames')\n{call}",
        f"warnings.simplefilter('error', UserWarning)\n{call}",
        folder=tmp_path,
        allow_errors=True,
    )
    assert ignored.outputs == []
    assert [one.get("ename") for one in failed.outputs] == ["UserWarning"]


def test_a_package_whose_name_begins_like_ours_counts_as_the_users(tmp_path):
    (tmp_path / "vision_nb_extras.py").write_text(
        "import vision_nb as vn\n\ndef load(folder):\n    return vn.load_images(folder)\n"
    )
    picture().save(tmp_path / "a.png")
    code = f"import vision_nb_extras\nvision_nb_extras.load({str(tmp_path)!r})"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "vision_nb_extras.py:4: UserWarning: Skipped 1 file" in run.stderr
