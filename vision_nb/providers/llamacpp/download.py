"""Downloads of weights from a model hub into the hub's cache, with huggingface_hub.

huggingface_hub finds, names and links the files, and retries a request that fails. Since its version 2, it does not
continue a download in another process, and it never compares a file's hash: both are done here.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_nb.checks.arguments import checks_arguments
from vision_nb.cost.small_models import ModelFile, SmallModel
from vision_nb.errors import EngineMissingError, ModelFileError, ModelFileNotFoundError, SettingsError
from vision_nb.notebook.progress import ProgressLine
from vision_nb.privacy.api_keys import Secret
from vision_nb.providers.llamacpp.models import (
    cached_file,
    cached_pair,
    free_space,
    hub_cache,
    partial_file,
    repo_folder,
)
from vision_nb.rendering.format import format_bytes

_HTTP_ERRORS = {"httpx2": "HTTPError", "httpx": "HTTPError", "requests": "RequestException"}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ETAG = re.compile(r"[\w+=-][\w+=.-]*", re.ASCII)  # it names a file in the cache, so it must not be a path
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TRUE = {"1", "ON", "YES", "TRUE"}
_CLIENT = "vision_nb"  # what the hub is told about the program


@dataclass(frozen=True)
class _RemoteFile:
    """A file on the hub, as the hub describes it.

    Attributes:
        repo_id: Repository.
        name: File in the repository.
        revision: Branch, tag or commit; None for the main branch.
        etag: The name of its content in the cache: for weights, their sha256.
        size: Its size in bytes; None if the hub does not state it.
    """

    repo_id: str
    name: str
    revision: str | None
    etag: str
    size: int | None

    @property
    def sha256(self) -> str | None:
        """The hash of its content, or None if the hub does not state it."""
        return self.etag if _SHA256.fullmatch(self.etag) else None

    @property
    def partial(self) -> Path:
        """The part of it that has been downloaded."""
        return partial_file(self.repo_id, self.etag)

    @property
    def missing(self) -> int:
        """How many bytes are still to be downloaded; 0 if unknown."""
        done = self.partial.stat().st_size if self.partial.is_file() else 0
        return max((self.size or 0) - done, 0)


@checks_arguments
def download_gguf(repo_id: str, filename: str, *, revision: str | None = None, progress: bool = True) -> Path:
    """Download a file of weights from a model hub, unless it is in the hub's cache on this machine.

    A download that was interrupted continues where it stopped. The size and the hash of the file are checked. If
    another program is downloading it, this one waits. The hub, token and cache are settings of huggingface_hub
    (HF_ENDPOINT, HF_TOKEN, HF_HOME); if the file is in the cache, nothing is requested.

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
        ModelFileError: The hub cannot be reached or refuses, the file is damaged, or the disk is full.

    >>> vn.download_gguf("mys/ggml_llava-v1.5-7b", "mmproj-model-f16.gguf")  # doctest: +SKIP
    """
    cached = cached_file(repo_id, filename, revision)
    if cached is not None:
        return cached
    with _hub_errors(repo_id, filename):
        remote = _find(repo_id, filename, revision)
        _check_space([remote])
        return _download(remote, progress=progress)


def download_model(model: SmallModel, *, progress: bool = True) -> tuple[Path, Path]:
    """Download the files of a small model that are not in the hub's cache; see `download_gguf`.

    Args:
        model: A row of the table.
        progress: Whether to display the progress.

    Returns:
        The paths of the text model and the projector.

    Raises:
        EngineMissingError: huggingface_hub is not installed.
        ModelFileError: As for `download_gguf`, or the hub has other files than those of the table.
    """
    missing = [file for file in model.files if cached_file(model.repo_id, file.name) is None]
    remotes = []
    for file in missing:
        with _hub_errors(model.repo_id, file.name):
            remotes.append(_checked(_find(model.repo_id, file.name, None), file))
    _check_space(remotes)
    for remote in remotes:
        with _hub_errors(model.repo_id, remote.name):
            _download(remote, progress=progress)
    pair = cached_pair(model)
    if pair is None:
        raise ModelFileError(f"{model.title} was removed from {hub_cache()} during its download: try again.")
    return pair


def _find(repo_id: str, filename: str, revision: str | None) -> _RemoteFile:
    """Ask the hub for a file's hash and size."""
    import huggingface_hub as hub

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE:
        raise ModelFileError(
            f"{filename} of {repo_id} is not in {hub_cache()}, and HF_HUB_OFFLINE is set: unset it to download the "
            "file."
        )
    url = hub.hf_hub_url(repo_id, filename, revision=revision, endpoint=_endpoint())
    found = hub.get_hf_file_metadata(url, library_name=_CLIENT)
    if not _ETAG.fullmatch(found.etag or ""):
        raise ModelFileError(
            f"The model hub's answer for {filename} of {repo_id} has no usable hash: check HF_ENDPOINT."
        )
    return _RemoteFile(repo_id, filename, revision, str(found.etag), found.size)


def _checked(remote: _RemoteFile, known: ModelFile) -> _RemoteFile:
    """Return a file of the hub if it is the one of the table."""
    what = f"{remote.name} of {remote.repo_id}"
    advice = "Upgrade vision-nb, or load its version with vn.serve(model, mmproj, repo_id=...)."
    if remote.sha256 is None or remote.size is None:
        raise ModelFileError(f"The model hub does not state the size and sha256 of {what}: check HF_ENDPOINT.")
    if known.sha256 not in (None, remote.sha256):
        raise ModelFileError(
            f"The model hub's {what} is not the file that vision_nb knows: its sha256 begins with {remote.sha256[:8]}, "
            f"not {str(known.sha256)[:8]}. {advice}"
        )
    if not known.size * 0.9 <= remote.size <= known.size * 1.1:
        raise ModelFileError(
            f"The model hub's {what} has {format_bytes(remote.size)}, not about {format_bytes(known.size)}. {advice}"
        )
    return remote


def _download(remote: _RemoteFile, *, progress: bool) -> Path:
    """Download the rest of a file, verify it, and let huggingface_hub put it into its cache."""
    import huggingface_hub as hub

    folder = repo_folder(remote.repo_id)
    blob, lock = folder / "blobs" / remote.etag, hub_cache() / ".locks" / folder.name / f"{remote.etag}.lock"
    for path in (blob, lock):
        path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(lock, remote.name, progress=progress):  # huggingface_hub takes the same lock
        if not blob.exists():
            _get(remote, progress=progress)
            _verify(remote, progress=progress)
            remote.partial.replace(blob)
    path = hub.hf_hub_download(
        remote.repo_id,
        remote.name,
        revision=remote.revision,
        cache_dir=hub_cache(),
        endpoint=_endpoint(),
        library_name=_CLIENT,
    )
    return Path(path)


def _get(remote: _RemoteFile, *, progress: bool) -> None:
    """Download what is missing of a file; what has arrived is kept if this is interrupted."""
    import huggingface_hub as hub
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers
    from tqdm.auto import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "disable": not progress})

    with remote.partial.open("ab") as file:
        if remote.size is not None and file.tell() > remote.size:
            file.seek(0)
            file.truncate()
        http_get(
            hub.hf_hub_url(remote.repo_id, remote.name, revision=remote.revision, endpoint=_endpoint()),
            file,
            resume_size=file.tell(),
            headers=build_hf_headers(library_name=_CLIENT),
            expected_size=remote.size,
            displayed_filename=remote.name,
            tqdm_class=Bar,
        )


def _verify(remote: _RemoteFile, *, progress: bool) -> None:
    """Compare the hash of a downloaded file with the hub's, and remove the file if it differs."""
    size = format_bytes(remote.partial.stat().st_size)
    with ProgressLine(f"Checking {remote.name} ({size})", enabled=progress) as line:
        if remote.sha256 is None:
            line.finish(
                f"{remote.name} ({size}) was downloaded. The model hub states no sha256, so it was not verified."
            )
            return
        with remote.partial.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != remote.sha256:
            remote.partial.unlink()
            raise ModelFileError(
                f"{remote.name} of {remote.repo_id} was damaged during the download (sha256 {found[:8]}..., expected "
                f"{remote.sha256[:8]}...), and was removed: download it again."
            )
        line.finish(f"{remote.name} ({size}) was downloaded and verified.")


@contextmanager
def _locked(path: Path, name: str, *, progress: bool) -> Iterator[None]:
    """Hold a lock; if another program holds it, show that this one waits."""
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock

    with ExitStack() as stack:
        try:
            stack.enter_context(WeakFileLock(path, timeout=0.5))
        except Timeout:
            with ProgressLine(f"Another program is downloading {name}: waiting", enabled=progress) as line:
                stack.enter_context(WeakFileLock(path))
                line.finish(f"The other program's download of {name} has ended.")
        yield


def _check_space(files: list[_RemoteFile]) -> None:
    """Raise an error if the disk does not have enough space for the rest of some files."""
    free, missing = free_space(), sum(file.missing for file in files)
    if missing > free:
        names = " and ".join(file.name for file in files)
        raise ModelFileError(
            f"{names}: {format_bytes(missing)} to download, but the disk of {hub_cache()} has only "
            f"{format_bytes(free)} free. Delete files, or set HF_HOME to a folder on another disk."
        )


@contextmanager
def _hub_errors(repo_id: str, filename: str) -> Iterator[None]:
    """Map the exceptions of huggingface_hub and of its HTTP client.

    Raises:
        EngineMissingError: huggingface_hub is not installed.
        ModelFileError: The file could not be downloaded; the class and message show why.
    """
    try:
        import huggingface_hub as hub
        from huggingface_hub import errors
    except ImportError as error:
        raise EngineMissingError('huggingface_hub is not installed: pip install "vision-nb[local]".') from error

    token = hub.get_token()
    secret = Secret(token, name="HF_TOKEN") if token else None  # redacted while this object exists
    del token
    try:
        yield
    except errors.GatedRepoError as error:
        raise ModelFileError(
            f"{repo_id} is only available after you accept its license at {_endpoint() or hub.constants.ENDPOINT}/"
            f"{repo_id}. Then set HF_TOKEN to a token of your account."
        ) from error
    except (errors.RepositoryNotFoundError, errors.EntryNotFoundError, errors.RevisionNotFoundError) as error:
        raise ModelFileNotFoundError(
            f"{filename!r} was not found in {repo_id!r}: check both names, and HF_TOKEN if it is not public."
        ) from error
    except errors.HFValidationError as error:
        raise SettingsError(f"{repo_id!r:.80} is not a repository ({_first_line(error)}): use owner/name.") from error
    except _network_errors(errors.HfHubHTTPError, OSError) as error:
        raise ModelFileError(_failed_download(error, repo_id, filename)) from error
    finally:
        del secret


def _failed_download(error: Exception, repo_id: str, filename: str) -> str:
    """Return what to do about an error of the network, the server or the disk."""
    said = _first_line(error)
    if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):
        return f"The model hub refuses {filename} of {repo_id} ({said}): check HF_TOKEN, or unset it for public files."
    if getattr(error, "errno", None) in _FULL_DISK:
        return (
            f"{filename} of {repo_id} could not be written to {hub_cache()} ({said}). Free some space, or set HF_HOME "
            "to a folder on another disk: the download continues where it stopped."
        )
    if isinstance(error, PermissionError):
        return f"{hub_cache()} cannot be written: set HF_HOME to a folder of your own."
    return (
        f"{filename} could not be downloaded from {repo_id} ({said}). Check the network and try again: the download "
        "continues where it stopped."
    )


def _network_errors(*known: type[Exception]) -> tuple[type[Exception], ...]:
    """Add the exceptions of the HTTP clients in use, which huggingface_hub does not translate."""
    clients = ((sys.modules.get(name), error_name) for name, error_name in _HTTP_ERRORS.items())
    return (*known, *(getattr(module, error_name) for module, error_name in clients if module is not None))


def _endpoint() -> str | None:
    """Return the hub's address if it is set, also if it was set after huggingface_hub was imported."""
    return os.environ.get("HF_ENDPOINT") or None


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:100] or type(error).__name__
