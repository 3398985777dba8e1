"""The tutorial notebooks and the guide: copy them to a folder, and open JupyterLab there."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from vision_nb.errors import SettingsError
from vision_nb.paths import expand_path, replaced_file

START = "00_start_here.ipynb"
DEFAULT_FOLDER = "vision_nb_tutorials"
_RECORD = ".vision_nb_tutorials.json"  # the digest of each copy, to distinguish an outdated copy from a changed one
_LINK_TO_REPOSITORY = re.compile(r"\[([^\]]+)\]\(\.\./\.\./([^)\s]+)\)")
_LINK_TO_PICTURE = re.compile(r"\]\(\.\./(pictures/[\w.]+)\)")


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
    """Copy the notebooks, and the guide in its folder ``guide``, without overwriting changed files.

    Copies that have not changed since an earlier call are updated.

    Args:
        folder: The folder; it is created if necessary.

    Returns:
        The names of the files that were not overwritten.

    Raises:
        SettingsError: The folder cannot be written to, or this installation has no notebooks.
    """
    target, kept = expand_path(folder), []
    try:
        target.mkdir(parents=True, exist_ok=True)
        record = _read_record(target)
        for name, content in _contents().items():
            copy, current = target / name, _digest(content)
            if (copy.exists() or copy.is_symlink()) and _digest(_read(copy)) not in (current, record.get(name)):
                kept.append(name)
                continue
            if _read(copy) != content:
                copy.parent.mkdir(exist_ok=True)
                with replaced_file(copy) as file:
                    file.write_bytes(content)
            record[name] = current
        (target / _RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(f"The notebooks cannot be copied to {target} ({reason}): name another folder.") from error
    return kept


def _contents() -> dict[str, bytes]:
    """Return what is copied, by its name in the folder: notebooks, the pages of the guide, and their pictures."""
    source, repository = notebooks_folder(), repository_url()
    found = {path.name: path.read_bytes() for path in sorted(source.glob("*.ipynb"))}
    for path in sorted((source / "guide").glob("*.md")):
        page = path.read_bytes().decode()
        found |= {name: (source / name).read_bytes() for name in _LINK_TO_PICTURE.findall(page)}
        found[f"guide/{path.name}"] = link_to_repository(page, repository).encode()
    return found


def repository_url() -> str | None:
    """Return the URL of the project's repository, or None if this installation does not state it."""
    try:
        urls = metadata("vision-nb").get_all("Project-URL") or []
    except PackageNotFoundError:  # a checkout that is not installed
        return None
    return next((url.removeprefix("Source, ") for url in urls if url.startswith("Source, ")), None)


def link_to_repository(page: str, repository: str | None) -> str:
    """Return a page of the guide whose links to other parts of the repository work in a copy.

    Args:
        page: The page's Markdown.
        repository: The repository's URL; None replaces these links with their text.
    """
    if repository is None:
        return _LINK_TO_REPOSITORY.sub(r"\1", page)
    return _LINK_TO_REPOSITORY.sub(lambda found: f"[{found[1]}]({repository}/blob/HEAD/{found[2]})", page)


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


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
