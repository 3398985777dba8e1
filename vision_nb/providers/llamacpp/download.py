"""`download_gguf`: download weights from a model hub with huggingface_hub."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from vision_nb.errors import EngineMissingError, ModelFileError, ModelFileNotFoundError, SettingsError
from vision_nb.notebook.progress import ProgressLine
from vision_nb.rendering.format import format_bytes

_HTTP_ERRORS = {"httpx2": "HTTPError", "httpx": "HTTPError", "requests": "RequestException"}


def download_gguf(repo_id: str, filename: str, *, revision: str | None = None, progress: bool = True) -> Path:
    """Download a file of weights from a model hub, unless it is in the hub's cache on this machine.

    The size is displayed before the download starts. The hub, token and cache are settings of huggingface_hub
    (HF_ENDPOINT, HF_TOKEN, HF_HOME).

    Args:
        repo_id: Repository, such as "mys/ggml_llava-v1.5-7b".
        filename: File in the repository, such as "ggml-model-q4_k.gguf".
        revision: Branch, tag or commit; None for the cached version of the main branch, or else its newest.
        progress: Whether to display the size and the progress.

    Returns:
        The path of the file in the hub's cache.

    Raises:
        EngineMissingError: huggingface_hub is not installed.
        ModelFileNotFoundError: The repository or file does not exist, or requires a token.
        SettingsError: The name of the repository is invalid.
        ModelFileError: The hub cannot be reached, or there is not enough disk space.

    >>> download_gguf("mys/ggml_llava-v1.5-7b", "mmproj-model-f16.gguf")  # doctest: +SKIP
    """
    try:
        import huggingface_hub as hub
        from huggingface_hub import errors
        from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    except ImportError as error:
        raise EngineMissingError('huggingface_hub is not installed: pip install "vision-nb[llama]".') from error

    were_disabled = are_progress_bars_disabled()
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
            line.finish(f"{filename} ({format_bytes(path.stat().st_size)}) was downloaded to the hub's cache.")
    except (errors.RepositoryNotFoundError, errors.EntryNotFoundError, errors.RevisionNotFoundError) as error:
        raise ModelFileNotFoundError(
            f"{filename!r} was not found in {repo_id!r}: check both names, and HF_TOKEN if it is not public."
        ) from error
    except errors.HFValidationError as error:
        raise SettingsError(f"{repo_id!r:.80} is not a repository ({_first_line(error)}): use owner/name.") from error
    except _network_errors(errors.HfHubHTTPError, OSError) as error:
        raise ModelFileError(
            f"{filename} could not be downloaded from {repo_id} ({_first_line(error)}). Check the network and try "
            "again: the download continues where it stopped."
        ) from error
    finally:
        if not were_disabled:
            enable_progress_bars()
    return path


def _check_space(folder: Path, size: int | None, filename: str) -> None:
    """Raise an error if the disk does not have enough space."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if size is not None and size > free:
        raise ModelFileError(
            f"{filename} has {format_bytes(size)}, but the disk has only {format_bytes(free)} free: delete files, or "
            "set HF_HOME to a folder on another disk."
        )


def _network_errors(*known: type[Exception]) -> tuple[type[Exception], ...]:
    """Add the exceptions of the HTTP clients in use, which huggingface_hub does not translate."""
    clients = ((sys.modules.get(name), error_name) for name, error_name in _HTTP_ERRORS.items())
    return (*known, *(getattr(module, error_name) for module, error_name in clients if module is not None))


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:100] or type(error).__name__
