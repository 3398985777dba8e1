"""The built wheel: its contents, and that it works in an empty environment on every supported Python."""

import re
import sys
import tarfile
import zipfile

import pytest

from tests.environments import ROOT, UV, copy_project, install, interpreter, new_environment, project_files, run

pytestmark = pytest.mark.slow

USE = """
import asyncio, importlib, pkgutil, sys
from pathlib import Path
import vision_nb as vn
from vision_nb.tutorials import copy_notebooks
NEED_AN_EXTRA = ("vision_nb.__main__", "vision_nb.providers.llamacpp.gguf_reader")
llm = vn.connect("demo")
image = vn.samples.path("chart")
answer = llm.complete("What does it show?", [image])
assert answer.is_demo and "pixels" in answer.text
assert "".join(r.delta for r in llm.stream_complete("What?", [image]))
assert asyncio.run(llm.acomplete("What?", [image])).usage.input_tokens > 85
assert vn.image_tokens(image).tokens > 85
assert vn.display_image_uris([image]).axes
assert "replicate" not in sys.modules and "pydantic.v1" not in sys.modules
assert copy_notebooks("mine") == [] and Path("mine/00_start_here.ipynb").is_file()
for module in pkgutil.walk_packages(vn.__path__, "vision_nb."):
    if module.name not in NEED_AN_EXTRA:
        importlib.import_module(module.name)
print(vn.__file__)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build the sdist, and the wheel from it, in a checkout that has leftovers lying around."""
    source = copy_project(tmp_path_factory.mktemp("source"))
    (source / "notebooks" / ".ipynb_checkpoints").mkdir()
    (source / "notebooks" / ".ipynb_checkpoints" / "00_start_here-checkpoint.ipynb").write_text("{}")
    (source / "notebooks" / "untitled.ipynb").write_text("{}")
    (source / "vision_nb" / "__pycache__").mkdir()
    (source / "vision_nb" / "__pycache__" / "old.cpython-311.pyc").write_bytes(b"")
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--installer", "pip" if UV is None else "uv", "--outdir", out, source)
    return out


def test_the_wheel_contains_the_package_the_notebooks_and_the_guide_and_nothing_else(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        sizes = {name: wheel.getinfo(name).file_size for name in wheel.namelist() if not name.endswith("/")}
    package = {name for name in project_files() if name.startswith("vision_nb/")}
    ours = {name for name in project_files() if name.startswith("notebooks/") and name.endswith((".ipynb", ".md"))}
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ours if name.endswith(".md")]
    ours |= {f"notebooks/{name}" for page in pages for name in re.findall(r"\]\(\.\./(pictures/[\w.]+)\)", page)}
    assert package | {f"vision_nb/{name}" for name in ours} == {name for name in sizes if ".dist-info/" not in name}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in sizes)
    assert sum(sizes.values()) < 5_000_000


def test_the_sdist_contains_no_leftovers(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "notebooks/00_start_here.ipynb"} <= names
    assert not [name for name in names if "checkpoint" in name or "__pycache__" in name or name.startswith(".venv")]


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14", "3.15"])
def test_the_wheel_works_in_an_empty_environment(built, version, tmp_path):
    base = interpreter(version)
    if base is None:
        pytest.skip(f"Python {version} is not installed")
    python = new_environment(tmp_path / "venv", base, with_pip=False)
    install(python, next(built.glob("*.whl")))
    assert str(tmp_path / "venv") in run(python, "-c", USE, folder=tmp_path)
