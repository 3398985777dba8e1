"""The core on every Python that is installed, from 3.11 on, in an environment of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VERSIONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
CORE = """
import asyncio, sys
import vision_nb as vn
llm = vn.connect("demo")
picture = vn.samples.path("chart")
assert "demo model" in llm.complete("What colours?", [picture]).text
assert "".join(r.delta for r in llm.stream_complete("What?", [picture]))
assert asyncio.run(llm.acomplete("What?", [picture])).usage.input_tokens > 85
assert vn.image_tokens(picture).tokens > 85
assert vn.display_image_uris([picture]).axes
assert "replicate" not in sys.modules and "pydantic.v1" not in sys.modules
print("the core runs on", sys.version.split()[0])
"""


def interpreter(version):
    """A working Python of this version: on PATH, or where pyenv keeps its own."""
    kept = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"))
    for candidate in [sys.executable, shutil.which(f"python{version}"), *map(str, kept)]:
        probe = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
        run = candidate and subprocess.run([candidate, "-c", probe], capture_output=True, text=True)
        if run and run.returncode == 0 and run.stdout.strip() == version:
            return candidate
    return None


@pytest.mark.parametrize("version", VERSIONS)
def test_the_core_runs(version, tmp_path):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"Python {version} is not installed")
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if python != sys.executable:
        subprocess.run([python, "-m", "venv", str(tmp_path / "venv")], check=True)
        python = str(tmp_path / "venv" / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "-q", str(ROOT)], check=True, env=environment)
    run = subprocess.run([python, "-c", CORE], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert run.returncode == 0, run.stderr
    assert version in run.stdout
