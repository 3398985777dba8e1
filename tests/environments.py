"""Virtual environments for tests that install the project, and a copy of the project as git has it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Read at import, before a fixture hides the developer's caches.
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
CACHES = {
    "PIP_CACHE_DIR": os.environ.get("PIP_CACHE_DIR") or str(_CACHE / "pip"),
    "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR") or str(_CACHE / "uv"),
}
UV = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


def clean_environment(**more):
    """Return the environment variables without those that point to this checkout or virtual environment."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**kept, **CACHES, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **more}


def run(*command, folder=None, timeout=600, **variables):
    """Run a command and return its output; fail with everything it wrote if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=folder, timeout=timeout, env=clean_environment(**variables)
    )
    assert done.returncode == 0, f"{' '.join(words)[:300]}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def interpreter(version):
    """Return the path of a Python of this version, from PATH or pyenv, or None."""
    installed = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"))
    for candidate in [sys.executable, shutil.which(f"python{version}"), *map(str, installed)]:
        probe = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
        result = candidate and subprocess.run([candidate, "-c", probe], capture_output=True, text=True)
        if result and result.returncode == 0 and result.stdout.strip() == version:
            return candidate
    return None


def new_environment(folder, python=sys.executable, *, with_pip=True):
    """Make an empty virtual environment and return the path of its Python; without uv, it has pip in any case."""
    run(python, "-m", "venv", *([] if with_pip or UV is None else ["--without-pip"]), folder)
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install(python, *requirements, with_byte_code=False):
    """Install requirements with uv, which takes seconds, or else with pip.

    Compiling all modules takes longer than anything else, and is needed only where their size is measured.
    """
    if UV is not None:
        options = ["--compile-bytecode"] if with_byte_code else []
        run(UV, "pip", "install", "-q", *options, "--python", python, *requirements)
    else:
        run(python, "-m", "pip", "install", "-q", *requirements)


def project_files():
    """Return the names of the files that git tracks or would add."""
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "ls-files", "-z"]
    listed = run(*command, "--cached", "--others", "--exclude-standard")
    return sorted({name for name in listed.split("\0") if name and (ROOT / name).is_file()})


def copy_project(target):
    """Copy the project's files, as a clone would have them."""
    for name in project_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    return target


def size_of(folder):
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file() and not path.is_symlink())
