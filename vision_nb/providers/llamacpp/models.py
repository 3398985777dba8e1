"""The small models of `vision_nb.cost.small_models` in the hub's cache on this machine.

Everything here reads folders only: nothing is requested, and huggingface_hub is not imported.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from vision_nb.cost.small_models import SMALL_MODELS, SmallModel


def downloaded_models() -> list[SmallModel]:
    """Return the models of the table whose two files are in the hub's cache, the smallest first."""
    return [model for model in SMALL_MODELS.values() if cached_pair(model) is not None]


def cached_pair(model: SmallModel) -> tuple[Path, Path] | None:
    """Return the paths of a model's two files in the hub's cache, or None if one is missing."""
    text, projector = (cached_file(model.repo_id, file.name) for file in model.files)
    return (text, projector) if text is not None and projector is not None else None


def cached_file(repo_id: str, filename: str, revision: str | None = None) -> Path | None:
    """Return the path of a file in the hub's cache, or None.

    Args:
        repo_id: Repository, such as "ggml-org/SmolVLM-256M-Instruct-GGUF".
        filename: File in the repository.
        revision: Branch, tag or commit; None for the main branch, or else the newest commit that has the file.
    """
    paths = (snapshot / filename for snapshot in _snapshots(repo_folder(repo_id), revision))
    return next((path for path in paths if path.is_file()), None)


def repo_folder(repo_id: str) -> Path:
    """Return the folder of a repository in the hub's cache."""
    return hub_cache() / f"models--{str(repo_id).replace('/', '--')}"


def partial_file(repo_id: str, etag: str) -> Path:
    """Return where the part of a file that has been downloaded is kept.

    Args:
        repo_id: Repository.
        etag: The name of the file's content in the cache: for weights, their sha256.
    """
    return repo_folder(repo_id) / "blobs" / f"{etag}.vision-nb.incomplete"


def hub_cache() -> Path:
    """Return the folder of the hub's cache, as huggingface_hub finds it (huggingface_hub.constants, 2.4).

    The variables are read at each call, so that they can be set in a notebook.
    """
    home = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    home = os.environ.get("HF_HOME") or str(Path(home, "huggingface"))
    older = os.environ.get("HUGGINGFACE_HUB_CACHE") or str(Path(home, "hub"))
    return Path(os.path.expandvars(os.environ.get("HF_HUB_CACHE") or older)).expanduser()


def free_space() -> int:
    """Return the free space, in bytes, on the disk of the hub's cache."""
    folder = hub_cache()
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def _snapshots(folder: Path, revision: str | None) -> Iterator[Path]:
    """Yield the folders in which a repository's files may be, the best first."""
    try:
        yield folder / "snapshots" / (folder / "refs" / (revision or "main")).read_text().strip()
    except (OSError, ValueError):  # not a branch, or not in the cache
        if revision is not None:
            yield folder / "snapshots" / revision
    if revision is None:
        try:
            others = list((folder / "snapshots").iterdir())
        except OSError:
            return
        yield from sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)
