"""`connect_shared`: one engine for each small model, shared by everything in this process that asks it."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

from vision_nb.cost.small_models import SmallModel
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.llamacpp.models import cached_pair
from vision_nb.providers.llamacpp.process import Engine
from vision_nb.providers.llamacpp.serve import ServedModel, check_options, serve
from vision_nb.providers.local.model import LocalMultiModal

_lock = threading.Lock()
_engines: dict[str, Engine] = {}  # by the model's name; they stop when this process ends


class SharedModel(ServedModel):
    """A small model whose engine is shared; made by `connect`.

    Closing it closes its own connections only. ``stop()`` stops the engine for everything that uses it, which frees
    the memory; the next `connect` starts it again.
    """

    _restart: ClassVar[str] = "connect to it again to start it"

    def stop(self) -> None:
        """Stop the engine, and wait until it has ended."""
        super().close()

    def close(self) -> None:
        """Close the connections; the engine keeps running."""
        LocalMultiModal.close(self)

    async def aclose(self) -> None:
        """Close the connections without blocking the event loop; the engine keeps running."""
        await LocalMultiModal.aclose(self)


def connect_shared(
    model: SmallModel, *, download: bool | None = None, progress: bool = True, **options: Any
) -> SharedModel:
    """Return a small model; its engine is started if it is not running.

    Args:
        model: A row of the table.
        download: As for `serve`.
        progress: Whether to display the progress of the download and the start.
        **options: As for `LocalMultiModal`.

    Raises:
        VisionError: As for `serve`.
    """
    check_options(options)
    with _lock:
        engine = _engines.get(model.name)
        if engine is None or not engine.is_running:
            engine = _engines[model.name] = serve(model.name, download=download, progress=progress).engine
    return SharedModel(engine, cached_pair(model) or (), **options)


def has_engine(model: SmallModel) -> bool:
    """Return whether the engine of a small model is running."""
    engine = _engines.get(model.name)
    return engine is not None and engine.is_running


def is_running(llm: MultiModalLLM) -> bool:
    """Return whether a model can be asked: False if its engine has been stopped or has ended."""
    return not isinstance(llm, ServedModel) or llm.engine.is_running
