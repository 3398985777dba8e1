"""The tutorial notebooks: where they are, a copy of one's own, and JupyterLab on it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vision_nb.errors import SettingsError

START = "00_start_here.ipynb"
DEFAULT_FOLDER = "vision_nb_tutorials"
_RECORD = ".vision_nb_tutorials.json"  # what was copied, to tell an old copy from a changed one


@dataclass(frozen=True)
class CopyResult:
    """What became of each notebook.

    Attributes:
        folder: Where the copies are.
        written: Names of the notebooks that were copied, or brought up to date.
        kept: Names of those that are no copy as it was made, and were left alone.
        unchanged: Names of those that were there already.
    """

    folder: Path
    written: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{len(self.written) + len(self.unchanged) + len(self.kept)} notebooks are in {self.folder}."]
        if self.kept:
            lines.append(f"Kept as you left them: {', '.join(self.kept)}. Rename or delete one to get it afresh.")
        return "\n".join(lines)


def notebooks_folder() -> Path:
    """Where the notebooks are: inside an installed package, or beside the package in a checkout.

    >>> (notebooks_folder() / "00_start_here.ipynb").is_file()
    True

    Raises:
        SettingsError: There are none.
    """
    package = Path(__file__).parent
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / START).is_file():
            return folder
    raise SettingsError("The notebooks are not in this installation: install vision-nb from PyPI or from a checkout.")


def copy_notebooks(folder: str | Path = DEFAULT_FOLDER) -> CopyResult:
    """Copy the notebooks into a folder, and overwrite nothing that was changed there.

    A copy that is as an earlier call has made it is brought up to date.

    Args:
        folder: The folder; made where it is not there.

    Raises:
        SettingsError: The folder cannot be made or written to, or there are no notebooks.
    """
    target = Path(folder).expanduser()
    sources = sorted(notebooks_folder().glob("*.ipynb"))
    found: dict[str, list[str]] = {"written": [], "kept": [], "unchanged": []}
    try:
        target.mkdir(parents=True, exist_ok=True)
        record = _read_record(target)
        for source in sources:
            data = source.read_bytes()
            found[_copy(data, target / source.name, record.get(source.name))].append(source.name)
            if source.name not in found["kept"]:
                record[source.name] = _digest(data)
        (target / _RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(f"The notebooks cannot be copied to {target} ({reason}): name another folder.") from error
    return CopyResult(target, *(tuple(names) for names in found.values()))


def _copy(data: bytes, target: Path, digest_when_copied: str | None) -> str:
    """Write a notebook unless there is another one of the reader's own; say which of the three it was."""
    if target.exists() or target.is_symlink():
        there = target.read_bytes() if target.is_file() else b""
        if there == data:
            return "unchanged"
        if _digest(there) != digest_when_copied:
            return "kept"
    target.write_bytes(data)
    return "written"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read_record(folder: Path) -> dict[str, str]:
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}  # without a record, whatever differs counts as changed
    return record if isinstance(record, dict) else {}


def start_jupyterlab(folder: str | Path, *, browser: bool = True, options: Sequence[str] = ()) -> int:
    """Start JupyterLab on the start notebook of a folder, and wait until it ends.

    Args:
        folder: Where the copies are.
        browser: Also open a browser.
        options: Further options of ``jupyter lab``, such as ``--port=9000``.

    Returns:
        JupyterLab's exit status.

    Raises:
        SettingsError: JupyterLab is not installed.
    """
    check_jupyterlab()
    root = Path(folder).expanduser().resolve()
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}"]
    command += [f"--LabApp.default_url=/lab/tree/{START}", *([] if browser else ["--no-browser"]), *options]
    with subprocess.Popen(command) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue  # JupyterLab got it too, and asks whether to stop


def check_jupyterlab() -> None:
    """Make sure that there is a JupyterLab to start, and a kernel for it.

    Raises:
        SettingsError: One is missing; the message has the command that installs both.
    """
    missing = [name for name in ("jupyterlab", "ipykernel") if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            f'The tutorials need {" and ".join(missing)}, from the extra "lab": pip install "vision-nb[lab]".'
        )
