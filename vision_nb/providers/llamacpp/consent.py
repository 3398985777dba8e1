"""The question before a small model is downloaded: its files, size, license, memory, and where it goes."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from vision_nb.cost.image_rules import view_of
from vision_nb.cost.small_models import SMALL_MODELS, ModelFile, SmallModel
from vision_nb.errors import EngineMemoryError, ModelFileError, ModelNotDownloadedError, SettingsError
from vision_nb.notebook.ipython import in_notebook, shell
from vision_nb.privacy.urls import redact_url
from vision_nb.providers.llamacpp.download import download_model
from vision_nb.providers.llamacpp.memory import available_memory
from vision_nb.providers.llamacpp.models import cached_file, cached_pair, free_space, hub_cache, partial_file
from vision_nb.rendering.format import format_bytes


def get_model(model: SmallModel, *, download: bool | None, progress: bool) -> tuple[Path, Path]:
    """Return the files of a small model, after asking for and downloading what is missing.

    Args:
        model: The model.
        download: As for `approve_download`.
        progress: Whether to display the progress.

    Raises:
        EngineMemoryError: There is not enough memory for the model.
        ModelFileError: As for `approve_download` and `download_model`.
    """
    check_memory(model)
    approve_download(model, download, progress=progress)
    return download_model(model, progress=progress)


def approve_download(model: SmallModel, download: bool | None, *, progress: bool = True) -> None:
    """Ask whether a model may be downloaded, unless its files are there.

    Args:
        model: The model.
        download: Whether to download it; None asks in a notebook and in a terminal.
        progress: Whether to display what will be downloaded if nobody is asked.

    Raises:
        SettingsError: ``download`` is invalid.
        ModelNotDownloadedError: The answer was no, or there was nobody to ask.
        ModelFileError: There is not enough disk space.
    """
    if download not in (True, False, None):
        raise SettingsError(f"download must be True, False or None, not {download!r:.80}.")
    if cached_pair(model) is not None:
        return
    check_disk(model)
    if download is None or (download and progress):
        print(describe(model))  # noqa: T201 - shown before the question
    if download is None:
        download = _ask(model)
    if not download:
        raise _not_downloaded(model, "was not downloaded")


def describe(model: SmallModel) -> str:
    """Describe the download of a model, in lines of text."""
    memory, view, missing = available_memory(), view_of((1024, 768), model.name), _missing(model)
    kept = sum(file.size for file in missing) - remaining(model)
    lines = [f"{model.title} is not on this machine yet. Files to download ({format_bytes(remaining(model))}):"]
    lines += [f"  {file.name} ({format_bytes(file.size)})" for file in missing]
    if kept:
        lines.append(f"  Already downloaded in an earlier attempt: {format_bytes(kept)}")
    available = "" if memory is None else f" ({format_bytes(memory)} available)"
    license_url = f", {model.license_url}" if model.license_url else ""
    lines += [
        f"  From: {redact_url(os.environ.get('HF_ENDPOINT') or 'https://huggingface.co')}/{model.repo_id}",
        f"  To: {hub_cache()} ({format_bytes(free_space())} free)",
        f"  License: {model.license}{license_url}",
        f"  Memory for one image: about {format_bytes(model.memory)}{available}",
        f"  Tokens of an image of 1024 x 768 pixels: {'unknown' if view is None else view.tokens}",
        f"  Languages: {model.languages}",
    ]
    return "\n".join(lines)


def remaining(model: SmallModel) -> int:
    """Return how many bytes of a model are still to be downloaded, approximately."""
    files = _missing(model)
    partials = [partial_file(model.repo_id, file.sha256) if file.sha256 else None for file in files]
    done = sum(path.stat().st_size for path in partials if path is not None and path.is_file())
    return max(sum(file.size for file in files) - done, 0)


def check_disk(model: SmallModel) -> None:
    """Raise ModelFileError if the disk does not have enough space for a model."""
    if remaining(model) > free_space():
        raise ModelFileError(
            f"{model.title}: {format_bytes(remaining(model))} to download, but the disk of {hub_cache()} has only "
            f"{format_bytes(free_space())} free. Delete files, or set HF_HOME to a folder on another disk."
        )


def check_memory(model: SmallModel) -> None:
    """Raise EngineMemoryError if the available memory is not enough for a model."""
    available = available_memory()
    if available is None or available >= model.memory:
        return
    smaller = [one.name for one in SMALL_MODELS.values() if one.memory <= available]
    advice = f"Use {smaller[-1]}, or close other programs." if smaller else "Close other programs."
    raise EngineMemoryError(
        f"{model.title} needs about {format_bytes(model.memory)} of memory, but only {format_bytes(available)} is "
        f"available. {advice}"
    )


def _ask(model: SmallModel) -> bool:
    """Return a person's answer."""
    if not _can_ask():
        raise _not_downloaded(model, "is not downloaded, and you cannot be asked for confirmation here")
    try:
        answer = input("Download it? [y/N] ")
    except (EOFError, NotImplementedError) as error:  # the latter in a notebook that is run by a program
        raise _not_downloaded(model, "is not downloaded, and you cannot be asked for confirmation here") from error
    return answer.strip().lower() in ("y", "yes")


def _can_ask() -> bool:
    """Return whether a question would reach a person: in a cell that is running, or in a terminal."""
    if threading.current_thread() is not threading.main_thread():
        return False
    if not in_notebook():
        return sys.stdin is not None and sys.stdin.isatty()
    message = (shell().get_parent() or {}).get("header", {})
    return bool(message.get("msg_type") == "execute_request")  # not in the callback of a widget


def _not_downloaded(model: SmallModel, problem: str) -> ModelNotDownloadedError:
    return ModelNotDownloadedError(
        f"{model.title} ({format_bytes(remaining(model))}) {problem}. Pass download=True to vn.connect, or run "
        f"%vision download {model.name} in a cell or python -m vision_nb download {model.name} in a terminal."
    )


def _missing(model: SmallModel) -> list[ModelFile]:
    """Return the files of a model that are not in the hub's cache."""
    return [file for file in model.files if cached_file(model.repo_id, file.name) is None]
