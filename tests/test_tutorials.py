"""`python -m vision_nb tutorials`: copying the notebooks without overwriting changes, and opening JupyterLab."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from email.message import Message
from pathlib import Path

import pytest

import vision_nb
from tests.save_notebooks import NOTEBOOKS
from vision_nb import tutorials
from vision_nb.errors import SettingsError
from vision_nb.tutorials import START, copy_notebooks

NAMES = tuple(sorted(path.name for path in NOTEBOOKS.glob("*.ipynb")))
ROOT = Path(vision_nb.__file__).parent.parent


def run(*arguments, folder, code=None):
    command = [sys.executable, "-m", "vision_nb", *arguments] if code is None else [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=60, env=environment)


def test_all_notebooks_are_copied(tmp_path):
    assert copy_notebooks(tmp_path / "a" / "new") == []
    for name in NAMES:
        assert (tmp_path / "a" / "new" / name).read_bytes() == (NOTEBOOKS / name).read_bytes()


def links(page):
    return re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("repository", [None, "https://github.com/mona/vision_nb"])
def test_the_guide_is_copied_and_its_links_work(tmp_path, monkeypatch, repository):
    monkeypatch.setattr(tutorials, "repository_url", lambda: repository)
    copy_notebooks(tmp_path)
    pages = sorted((tmp_path / "guide").glob("*.md"))
    assert [page.name for page in pages] == sorted(page.name for page in (NOTEBOOKS / "guide").glob("*.md"))
    local = {(page, link.partition("#")[0]) for page in pages for link in links(page) if "://" not in link}
    assert local and all((page.parent / link).exists() for page, link in local)
    web = [link for page in pages for link in links(page) if link.startswith("https://github.com/")]
    assert all((ROOT / link.partition("/blob/HEAD/")[2].partition("#")[0]).is_file() for link in web)
    assert bool(web) is (repository is not None)
    assert "(test)" in (tmp_path / "guide" / "peers.md").read_text() or repository


def test_a_changed_page_of_the_guide_is_kept(tmp_path):
    copy_notebooks(tmp_path)
    (tmp_path / "guide" / "privacy.md").write_text("mine")
    assert copy_notebooks(tmp_path) == ["guide/privacy.md"]


def test_the_repository_is_the_one_that_the_installation_states(monkeypatch):
    stated = Message()
    monkeypatch.setattr(tutorials, "metadata", lambda name: stated)
    assert tutorials.repository_url() is None
    stated["Project-URL"] = "Issues, https://github.com/mona/vision_nb/issues"
    stated["Project-URL"] = "Source, https://github.com/mona/vision_nb"
    assert tutorials.repository_url() == "https://github.com/mona/vision_nb"


def test_a_changed_notebook_is_kept_and_a_missing_one_is_copied_again(tmp_path):
    copy_notebooks(tmp_path)
    (tmp_path / NAMES[1]).write_text("mine")
    (tmp_path / NAMES[2]).unlink()
    for _ in range(2):
        assert copy_notebooks(tmp_path) == [NAMES[1]]
        assert (tmp_path / NAMES[1]).read_text() == "mine"
        assert (tmp_path / NAMES[2]).read_bytes() == (NOTEBOOKS / NAMES[2]).read_bytes()


def test_an_unchanged_copy_is_not_written_again(tmp_path):
    copy_notebooks(tmp_path)
    before = [(tmp_path / name).stat().st_mtime_ns for name in NAMES]
    assert copy_notebooks(tmp_path) == []
    assert [(tmp_path / name).stat().st_mtime_ns for name in NAMES] == before


def test_another_file_with_the_name_of_a_notebook_is_kept(tmp_path):
    (tmp_path / START).write_text("mine")
    assert copy_notebooks(tmp_path) == [START]
    assert (tmp_path / START).read_text() == "mine"


def test_an_unchanged_copy_of_an_older_version_is_updated(tmp_path, monkeypatch):
    older = tmp_path / "older"
    older.mkdir()
    (older / START).write_text("older version")
    with monkeypatch.context() as patch:
        patch.setattr(tutorials, "notebooks_folder", lambda: older)
        copy_notebooks(tmp_path / "copies")
    assert copy_notebooks(tmp_path / "copies") == []
    assert (tmp_path / "copies" / START).read_bytes() == (NOTEBOOKS / START).read_bytes()


@pytest.mark.parametrize("record", ["", "{broken", "[1]", '{"00_start_here.ipynb": 5}'])
def test_without_a_valid_record_every_notebook_that_differs_is_kept(tmp_path, record):
    (tmp_path / ".vision_nb_tutorials.json").write_text(record)
    (tmp_path / START).write_text("mine")
    assert copy_notebooks(tmp_path) == [START]
    assert set(json.loads((tmp_path / ".vision_nb_tutorials.json").read_text())) >= {*NAMES} - {START}


@pytest.mark.posix
def test_a_dangling_link_is_kept(tmp_path):
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / START).symlink_to(tmp_path / "elsewhere")
    assert copy_notebooks(tmp_path / "copies") == [START]
    assert not (tmp_path / "elsewhere").exists()


def test_an_unusable_folder_raises_a_settings_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"cannot be copied to .*file.*name another folder"):
        copy_notebooks(tmp_path / "file")


@pytest.mark.posix
def test_an_existing_folder_keeps_its_permissions(tmp_path):
    (tmp_path / "private").mkdir(mode=0o700)
    copy_notebooks(tmp_path / "private")
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o700


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


def test_mistakes_on_the_command_line_print_no_traceback(tmp_path):
    assert run("tutorial", folder=tmp_path).returncode == 2
    assert "vision_nb 0" in run("--version", folder=tmp_path).stdout
    assert "FOLDER" in run("tutorials", "--help", folder=tmp_path).stdout
    (tmp_path / "file").write_text("")
    done = run("tutorials", "file", folder=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


@pytest.mark.skipif(not tutorials.is_root(), reason="JupyterLab refuses to start only for root")
@pytest.mark.slow
def test_for_root_the_command_says_which_option_to_add(tmp_path):
    done = run("tutorials", "my notes", "--no-browser", folder=tmp_path)
    assert done.returncode == 1
    hint = done.stderr.splitlines()[-1]
    assert hint.endswith("add --allow-root: python -m vision_nb tutorials 'my notes' --no-browser --allow-root")


@pytest.mark.slow
def test_the_value_of_an_option_of_jupyterlab_is_not_the_folder(tmp_path):
    done = run("tutorials", "--no-browser", "--port", "8888", "--version", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == [tutorials.DEFAULT_FOLDER]


@pytest.mark.slow
def test_the_command_opens_jupyterlab_on_the_start_notebook(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "01_openai.ipynb").write_text("{}")
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
        with urllib.request.urlopen(address) as page:  # the address that a browser opens
            assert page.url == f"{address}/lab/tree/{START}"
        output = (tmp_path / "log").read_text()
        assert (
            "The notebooks are in mine." in output
            and "Not overwritten: 01_openai.ipynb." in output
            and f"{address}/lab/tree/{START}" in output
        )
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)
