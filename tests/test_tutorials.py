"""`python -m vision_nb tutorials`: copies that spare what readers changed, and a JupyterLab that opens on them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path

import pytest
from save_notebooks import NOTEBOOKS

import vision_nb
from vision_nb import tutorials
from vision_nb.errors import SettingsError
from vision_nb.tutorials import START, copy_notebooks

NAMES = tuple(sorted(path.name for path in NOTEBOOKS.glob("*.ipynb")))
ROOT = Path(vision_nb.__file__).parent.parent


def run(*arguments, folder, code=None):
    command = [sys.executable, "-m", "vision_nb", *arguments] if code is None else [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=60, env=environment)


def test_all_notebooks_are_copied_as_they_are(tmp_path):
    copied = copy_notebooks(tmp_path / "a" / "new")
    assert copied.written == NAMES and not copied.kept and not copied.unchanged
    for name in NAMES:
        assert (copied.folder / name).read_bytes() == (NOTEBOOKS / name).read_bytes()
    assert str(copied) == f"{len(NAMES)} notebooks are in {tmp_path / 'a' / 'new'}."


def test_a_changed_notebook_is_kept_and_named_and_a_missing_one_comes_back(tmp_path):
    copy_notebooks(tmp_path)
    (tmp_path / NAMES[1]).write_text("mine")
    (tmp_path / NAMES[2]).unlink()
    again = copy_notebooks(tmp_path)
    assert again.kept == (NAMES[1],)
    assert again.written == (NAMES[2],)
    assert set(again.unchanged) == {*NAMES} - {NAMES[1], NAMES[2]}
    assert (tmp_path / NAMES[1]).read_text() == "mine"
    assert f"Kept as you left them: {NAMES[1]}." in str(again)
    assert copy_notebooks(tmp_path).kept == (NAMES[1],)  # and is still kept the third time


def test_the_readers_own_file_of_the_same_name_is_kept_at_the_first_copy(tmp_path):
    (tmp_path / START).write_text("mine")
    assert copy_notebooks(tmp_path).kept == (START,)
    assert (tmp_path / START).read_text() == "mine"


def test_an_untouched_copy_of_an_older_version_is_brought_up_to_date(tmp_path, monkeypatch):
    older = tmp_path / "older"
    older.mkdir()
    (older / START).write_text("of the last version")
    with monkeypatch.context() as patch:
        patch.setattr(tutorials, "notebooks_folder", lambda: older)
        copy_notebooks(tmp_path / "copies")
    copied = copy_notebooks(tmp_path / "copies")
    assert START in copied.written and not copied.kept
    assert (tmp_path / "copies" / START).read_bytes() == (NOTEBOOKS / START).read_bytes()


@pytest.mark.parametrize("record", ["", "{broken", "[1]", '{"00_start_here.ipynb": 5}'])
def test_without_a_sound_record_whatever_differs_is_kept(tmp_path, record):
    (tmp_path / ".vision_nb_tutorials.json").write_text(record)
    (tmp_path / START).write_text("mine")
    assert copy_notebooks(tmp_path).kept == (START,)
    assert set(json.loads((tmp_path / ".vision_nb_tutorials.json").read_text())) >= {*NAMES} - {START}


def test_a_dangling_link_is_not_written_through(tmp_path):
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / START).symlink_to(tmp_path / "elsewhere")
    assert copy_notebooks(tmp_path / "copies").kept == (START,)
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_cannot_be_used_is_a_settings_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"cannot be copied to .*file.*name another folder"):
        copy_notebooks(tmp_path / "file")


def test_the_wheel_is_told_to_take_every_notebook():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert listed == {f"notebooks/{name}": f"vision_nb/notebooks/{name}" for name in NAMES}


def test_without_jupyterlab_the_command_says_what_to_install_and_copies_nothing(tmp_path):
    code = (
        "import sys; sys.modules['jupyterlab'] = None\n"
        "import importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'jupyterlab' else real(name, *rest)\n"
        "from vision_nb.__main__ import main; sys.exit(main(['tutorials', '--no-browser']))"
    )
    done = run(folder=tmp_path, code=code)
    assert done.returncode == 1
    assert done.stderr == 'The tutorials need jupyterlab, from the extra "lab": pip install "vision-nb[lab]".\n'
    assert list(tmp_path.iterdir()) == []


def test_slips_on_the_command_line_are_told_without_a_traceback(tmp_path):
    assert run("tutorial", folder=tmp_path).returncode == 2
    assert "vision_nb 0" in run("--version", folder=tmp_path).stdout
    assert "FOLDER" in run("tutorials", "--help", folder=tmp_path).stdout
    (tmp_path / "file").write_text("")
    done = run("tutorials", "file", folder=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_the_command_opens_jupyterlab_on_the_start_notebook(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vision_nb", "tutorials", "mine", "--no-browser", f"--port={port}"]
    command += ["--allow-root", "--IdentityProvider.token=", "--ServerApp.port_retries=0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=tmp_path, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 90
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/api/contents/{START}") as answer:
                assert json.load(answer)["type"] == "notebook"
                break
            assert process.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.2)
        with urllib.request.urlopen(address) as page:  # where a browser is led to
            assert page.url == f"{address}/lab/tree/{START}"
        told = (tmp_path / "log").read_text()
        assert f"{len(NAMES)} notebooks are in mine." in told and f"{address}/lab/tree/{START}" in told
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)
