"""What `python -m build` makes: complete, nothing beside it, and passing the core tests in an empty environment."""

import shutil
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from environments import copy_project, install, new_environment, project_files, run

import vision_nb

CORE = ("test_public_surface", "test_images", "test_prepare", "test_samples", "test_openai_provider")
BESIDE = ("conftest.py",)
NEEDED = ("pytest", "pytest-asyncio", "hypothesis", "pillow-heif")
SLOW = "not drawn_anew and not hold_up_the_loop and not too_slow"  # long, or dependent on an idle machine
SETTINGS = """[pytest]
pythonpath = .
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
addopts = -q --strict-markers -p no:cacheprovider
markers =
    kernel: runs a real Jupyter kernel
    browser: drives a real browser
"""
WHERE = "import vision_nb, vision_nb.tutorials as t; print(vision_nb.__file__); print(t.notebooks_folder())"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with sdist and wheel; the wheel is built from the sdist, which shows that the sdist is complete."""
    source = copy_project(tmp_path_factory.mktemp("source"))
    # What lies about in a working folder must not get in.
    (source / "notebooks" / ".ipynb_checkpoints").mkdir()
    (source / "notebooks" / ".ipynb_checkpoints" / "00_start_here-checkpoint.ipynb").write_text("{}")
    (source / "notebooks" / "untitled.ipynb").write_text("{}")
    (source / "vision_nb" / "__pycache__").mkdir()
    (source / "vision_nb" / "__pycache__" / "old.cpython-311.pyc").write_bytes(b"")
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", out, source)
    return out


@pytest.fixture(scope="module")
def in_the_wheel(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        return {name: wheel.getinfo(name).file_size for name in wheel.namelist() if not name.endswith("/")}


def test_the_wheel_holds_the_package_the_samples_and_the_notebooks(in_the_wheel):
    package = {name for name in project_files() if name.startswith("vision_nb/")}
    notebooks = {
        f"vision_nb/{name}" for name in project_files() if name.startswith("notebooks/") and name[-5:] == "ipynb"
    }
    assert package | notebooks == {name for name in in_the_wheel if not name.startswith("vision_nb-")}
    assert "vision_nb/samples/night_scene.jpg" in package and len(notebooks) >= 6


def test_the_wheel_holds_nothing_else(in_the_wheel):
    about = {name for name in in_the_wheel if not name.startswith("vision_nb/")}
    info = f"vision_nb-{vision_nb.__version__}.dist-info"
    assert about == {f"{info}/METADATA", f"{info}/WHEEL", f"{info}/RECORD", f"{info}/licenses/LICENSE"}
    kinds = {PurePosixPath(name).suffix for name in in_the_wheel if name.startswith("vision_nb/")}
    assert kinds <= {".py", ".js", ".css", ".json", ".ipynb", ".png", ".jpg", ".typed", ".md", ".gz"}
    assert sum(in_the_wheel.values()) < 4_000_000


def test_the_sdist_holds_the_sources_and_no_leftovers(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "notebooks/00_start_here.ipynb", "tests/conftest.py"} <= names
    assert not [
        name for name in names if "checkpoint" in name or "__pycache__" in name or name.startswith((".venv", ".git/"))
    ]


def test_the_core_tests_pass_with_the_wheel_in_an_empty_environment(built, tmp_path):
    python = new_environment(tmp_path / "venv")
    install(python, next(built.glob("*.whl")), *NEEDED)
    away = tmp_path / "away"
    away.mkdir()
    for name in (*BESIDE, *(f"{name}.py" for name in CORE)):
        shutil.copy(Path(__file__).parent / name, away / name)
    (away / "pytest.ini").write_text(SETTINGS)
    places = run(python, "-c", WHERE, folder=away).splitlines()
    assert all(place.startswith(str(tmp_path / "venv")) for place in places), places
    assert places[1].endswith("vision_nb/notebooks")
    copied = run(
        python, "-c", "from vision_nb.tutorials import copy_notebooks; print(copy_notebooks('mine'))", folder=away
    )
    assert "notebooks are in mine." in copied and (away / "mine" / "00_start_here.ipynb").is_file()
    summary = run(python, "-m", "pytest", "-k", SLOW, folder=away)
    assert " passed" in summary and "failed" not in summary, summary[-2000:]
