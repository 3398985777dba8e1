"""Environments of their own for tests that install the project, and the project's files without what git ignores."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PIP_CACHE = os.environ.get("PIP_CACHE_DIR") or str(
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pip"
)  # read before a test hides the developer's cache: what was downloaded once need not be again


def clean(**more):
    """The environment variables of a process that shall see neither this checkout nor this environment."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**kept, "PIP_CACHE_DIR": PIP_CACHE, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **more}


def run(*command, folder=None, timeout=600, **variables):
    """Run a command, and fail with what it wrote where it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=timeout,
        env=clean(**variables),
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))[:300]}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def new_environment(folder, python=sys.executable):
    """Make an empty virtual environment; gives its python."""
    run(python, "-m", "venv", folder)
    return folder / "bin" / "python"


def install(python, *requirements):
    """Install requirements with pip."""
    run(python, "-m", "pip", "install", "-q", *requirements)


def project_files():
    """The files that git knows or would take: what a clone or a build has."""
    listed = run(
        "git",
        "-c",
        f"safe.directory={ROOT}",
        "-C",
        ROOT,
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    )
    return sorted({name for name in listed.split("\0") if name and (ROOT / name).is_file()})


def copy_project(target):
    """Copy the project as a clone would have it."""
    for name in project_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    return target


def size_of(folder):
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file() and not path.is_symlink())
