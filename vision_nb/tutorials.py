"""The tutorial notebooks: copy them to a folder, and open JupyterLab there."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from vision_nb.errors import SettingsError
from vision_nb.paths import expand_path

START = "00_start_here.ipynb"
DEFAULT_FOLDER = "vision_nb_tutorials"
_RECORD = ".vision_nb_tutorials.json"  # the digest of each copy, to distinguish an outdated copy from a changed one


def notebooks_folder() -> Path:
    """Return the folder of the notebooks.

    Raises:
        SettingsError: This installation has no notebooks.

    >>> (notebooks_folder() / "00_start_here.ipynb").is_file()
    True
    """
    package = Path(__file__).parent
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / START).is_file():
            return folder
    raise SettingsError("This installation has no notebooks: reinstall vision-nb, or use a checkout of its repository.")


def copy_notebooks(folder: str | Path = DEFAULT_FOLDER) -> list[str]:
    """Copy the notebooks to a folder without overwriting changed ones.

    Copies that have not changed since an earlier call are updated.

    Args:
        folder: The folder; it is created if necessary.

    Returns:
        The names of the notebooks that were not overwritten.

    Raises:
        SettingsError: The folder cannot be written to, or this installation has no notebooks.
    """
    target, kept = expand_path(folder), []
    sources = sorted(notebooks_folder().glob("*.ipynb"))
    try:
        target.mkdir(parents=True, exist_ok=True)
        record = _read_record(target)
        for source in sources:  # shutil.copytree would also change the permissions of an existing folder
            copy, current = target / source.name, _digest(source)
            if (copy.exists() or copy.is_symlink()) and _digest(copy) not in (current, record.get(source.name)):
                kept.append(source.name)
                continue
            if _digest(copy) != current:
                shutil.copyfile(source, copy)
            record[source.name] = current
        (target / _RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(f"The notebooks cannot be copied to {target} ({reason}): name another folder.") from error
    return kept


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _read_record(folder: Path) -> dict[str, str]:
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}  # without a record, every notebook that differs counts as changed
    return record if isinstance(record, dict) else {}


def start_jupyterlab(folder: str | Path, *, browser: bool = True, options: Sequence[str] = ()) -> int:
    """Run JupyterLab on the first notebook of a folder, and return its exit status.

    Args:
        folder: The folder with the copies.
        browser: Whether to open a browser.
        options: Additional options for ``jupyter lab``, such as ``--port=9000``.

    Raises:
        SettingsError: JupyterLab is not installed.
    """
    check_jupyterlab()
    root = expand_path(folder).resolve()
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}"]
    command += [f"--LabApp.default_url=/lab/tree/{START}", *([] if browser else ["--no-browser"]), *options]
    with subprocess.Popen(command) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue  # JupyterLab received it too, and asks for confirmation


def is_root() -> bool:
    """Return whether the user is root; JupyterLab does not start as root by default."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def check_jupyterlab() -> None:
    """Raise SettingsError if JupyterLab or its kernel is not installed."""
    missing = [name for name in ("jupyterlab", "ipykernel") if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            f'The tutorials need {" and ".join(missing)}, from the extra "lab": pip install "vision-nb[lab]".'
        )
