"""Weights from a model hub, through the package huggingface_hub, and only when they are asked for."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from vision_nb.errors import EngineMissingError, ModelFileError, ModelFileNotFoundError, SettingsError
from vision_nb.notebook.progress import ProgressLine
from vision_nb.rendering.format import format_bytes

_HTTP_ERRORS = {"httpx2": "HTTPError", "httpx": "HTTPError", "requests": "RequestException"}


def download_gguf(repo_id: str, filename: str, *, revision: str | None = None, progress: bool = True) -> Path:
    """Give a file of weights from a model hub, from its cache on this machine where it is there already.

    The size is shown before anything is downloaded. The hub, its token and its cache are huggingface_hub's
    own settings (HF_ENDPOINT, HF_TOKEN, HF_HOME).

    Args:
        repo_id: The repository, such as "mys/ggml_llava-v1.5-7b".
        filename: The file in it, such as "ggml-model-q4_k.gguf".
        revision: A branch, tag or commit; None takes the one of the main branch that is in the cache, or else its
            newest.
        progress: Whether to show the size, and how far the download has come.

    Returns:
        The path of the file in the hub's cache.

    Raises:
        EngineMissingError: huggingface_hub is not installed.
        ModelFileNotFoundError: The hub has no such repository or file, or it takes a token to see it.
        SettingsError: The repository's name is none.
        ModelFileError: The hub cannot be reached, or the disk has not enough space.

    >>> download_gguf("mys/ggml_llava-v1.5-7b", "mmproj-model-f16.gguf")  # doctest: +SKIP
    """
    try:
        import huggingface_hub as hub
        from huggingface_hub import errors
        from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    except ImportError as error:
        raise EngineMissingError('huggingface_hub is not installed: pip install "vision-nb[llama]".') from error

    silent = are_progress_bars_disabled()
    try:
        cached = hub.try_to_load_from_cache(repo_id, filename, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
        size = hub.get_hf_file_metadata(hub.hf_hub_url(repo_id, filename, revision=revision)).size
        folder = Path(hub.constants.HF_HUB_CACHE)
        _check_space(folder, size, filename)
        what = f"Downloading {filename} ({'of unknown size' if size is None else format_bytes(size)}) from {repo_id}"
        with ProgressLine(what, enabled=progress) as line:
            if not progress:
                disable_progress_bars()
            path = Path(hub.hf_hub_download(repo_id, filename, revision=revision))
            line.finish(f"{filename} ({format_bytes(path.stat().st_size)}) is in the hub's cache now.")
    except (errors.RepositoryNotFoundError, errors.EntryNotFoundError, errors.RevisionNotFoundError) as error:
        raise ModelFileNotFoundError(
            f"The hub shows no {filename!r} in {repo_id!r}: check both names, and HF_TOKEN where it is not public."
        ) from error
    except errors.HFValidationError as error:
        raise SettingsError(f"{repo_id!r} is no repository's name ({_first_line(error)}): write owner/name.") from error
    except _network_errors(errors.HfHubHTTPError, OSError) as error:
        raise ModelFileError(
            f"{filename} could not be downloaded from {repo_id} ({_first_line(error)}): check the network and try "
            "again; what had arrived is kept."
        ) from error
    finally:
        if not silent:
            enable_progress_bars()
    return path


def _check_space(folder: Path, size: int | None, filename: str) -> None:
    """Refuse a download for which the disk has no room."""
    existing = next(one for one in (folder, *folder.parents) if one.exists())
    free = shutil.disk_usage(existing).free
    if size is not None and size > free:
        raise ModelFileError(
            f"{filename} takes {format_bytes(size)} and the disk has {format_bytes(free)} left: make room, or set "
            "HF_HOME to a folder on another disk."
        )


def _network_errors(*known: type[Exception]) -> tuple[type[Exception], ...]:
    """Errors of the network: those known, and those of the HTTP client, which huggingface_hub does not translate."""
    clients = ((sys.modules.get(name), kind) for name, kind in _HTTP_ERRORS.items())
    return (*known, *(getattr(module, kind) for module, kind in clients if module is not None))


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200] or type(error).__name__
