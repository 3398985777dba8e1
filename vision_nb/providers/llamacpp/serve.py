"""`serve`: run a vision model on this machine with llama.cpp."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, ClassVar, NoReturn

from vision_nb.checks.arguments import checks_arguments
from vision_nb.checks.numbers import check_count, check_seconds, plain_number
from vision_nb.checks.spelling import similar
from vision_nb.cost.small_models import SmallModel, small_model
from vision_nb.errors import ProviderConnectionError, SettingsError
from vision_nb.notebook.progress import ProgressLine
from vision_nb.paths import expand_path
from vision_nb.privacy.api_keys import hide, make_secret
from vision_nb.providers.llamacpp.chat_templates import chat_template, check_chat_format
from vision_nb.providers.llamacpp.consent import get_model
from vision_nb.providers.llamacpp.download import download_gguf
from vision_nb.providers.llamacpp.gguf import GgufHeader, check_pair, read_header
from vision_nb.providers.llamacpp.process import CLIENT_OPTIONS, Engine, check_port, find_program
from vision_nb.providers.local.model import LocalMultiModal
from vision_nb.providers.openai.model import OpenAIMultiModal
from vision_nb.rendering.format import format_bytes

_MAX_CONTEXT = 8192
"""Default limit for n_ctx: the memory for a context of 100,000 tokens, which some models have, is gigabytes."""

_OTHER_NAMES = {
    "alias": "name",
    "chat_template": "chat_format",
    "clip_model_path": "mmproj",
    "ctx_size": "n_ctx",
    "gpu_layers": "n_gpu_layers",
    "model_alias": "name",
    "ngl": "n_gpu_layers",
    "threads": "n_threads",
}
"""The names of options here, by their names in llama-server and llama-cpp-python."""


@checks_arguments
def serve(
    model: str | Path,
    mmproj: str | Path | None = None,
    port: int | None = None,
    *,
    download: bool | None = None,
    repo_id: str | None = None,
    n_ctx: int | None = None,
    n_threads: int | None = None,
    n_gpu_layers: int | None = None,
    chat_format: str | None = None,
    name: str | None = None,
    api_key: str | None = None,
    load_timeout: float = 600.0,
    progress: bool = True,
    **options: Any,
) -> ServedModel:
    """Start llama.cpp's server with a small model or two files of weights, and return the model that it serves.

    A small model is named, as in ``serve("smolvlm-500m")``; `%vision list` lists them. If it is not on this
    machine, its files, size, license, memory and folder are shown, and you are asked before they are downloaded.

    The server is the one in the package xllamacpp, or else the program ``llama-server`` on the PATH. It listens on
    127.0.0.1 only, and requires an API key. It stops when you call ``stop()``, at the end of a ``with`` block, and when
    this Python process ends for any reason. `serve_llava` is another name for this function.

    Args:
        model: Name of a small model, or the GGUF file of a text model, such as "ggml-model-q4_k.gguf".
        mmproj: GGUF file of the image encoder made for that text model, such as "mmproj-model-f16.gguf"; None for a
            small model.
        port: The port; None for a free one.
        download: Whether a small model may be downloaded if it is not on this machine; None asks in a notebook or a
            terminal.
        repo_id: Repository on a model hub. ``model`` and ``mmproj`` are then file names in it, which are
            downloaded unless they are in the hub's cache.
        n_ctx: Tokens per conversation, including images and answers; None for the context length in the model's file,
            up to 8,192.
        n_threads: Number of CPU threads; None for llama.cpp's default.
        n_gpu_layers: Number of layers on the graphics card, 0 for none, -1 for all; None for as many as fit. The
            engine must be built for the card: xllamacpp from PyPI uses Apple's.
        chat_format: "llava-1-5", "llava-1-6", "vicuna" or a Jinja template; None for the template in the model's file,
            or for "llava-1-5" if the file does not contain one.
        name: Name under which the model is served; None for "llava" for LLaVA 1.5, "llava-1.6" for the chat format
            "llava-1-6", and the name of the file for other models.
        api_key: Key that requests must have; None for a random one, which is ``.engine.api_key``.
        load_timeout: Seconds allowed for loading the model.
        progress: Whether to display the progress.
        **options: As for `LocalMultiModal`: max_new_tokens, temperature and so on.

    Raises:
        EngineMissingError: Neither xllamacpp, which ``vision-nb[local]`` installs, nor llama-server is installed.
        ModelNotDownloadedError: The download of a small model was declined, or nobody could be asked.
        ModelFileNotFoundError: A file does not exist.
        ModelFileError: A file is not a GGUF file, is incomplete, or is of the wrong kind.
        ProjectorMismatchError: The image encoder was made for another text model.
        EngineMemoryError: There is not enough memory.
        EngineError: The server did not start for another reason; ``.log`` has the last lines of its log.
        SettingsError: An argument is invalid, or the port is in use.

    >>> with vn.serve("smolvlm-500m") as llm:  # doctest: +SKIP
    ...     print(llm.complete("What is it?", "photo.jpg"))
    >>> with vn.serve("ggml-model-q4_k.gguf", "mmproj-model-f16.gguf") as llm:  # doctest: +SKIP
    ...     print(llm.complete("What is it?", "photo.jpg"))
    """
    api_key = hide(api_key, is_key=True)
    n_ctx, n_threads = check_count(n_ctx, "n_ctx"), check_count(n_threads, "n_threads")
    n_gpu_layers = check_count(n_gpu_layers, "n_gpu_layers", least=-1)
    port, load_timeout = plain_number(port), check_seconds(load_timeout, "load_timeout")
    if name is not None and not (isinstance(name, str) and name.strip() and name.isprintable()):
        raise SettingsError(f"name={name!r:.80} is not a valid name: omit it to use the default name.")
    check_chat_format(chat_format)
    check_port(port)
    check_options(options)
    small = None if mmproj is not None else _find_small_model(model)
    if small is None and download is not None:
        raise SettingsError("download= is for small models, as in vn.serve('smolvlm-500m'): omit it.")
    key = make_secret(api_key, name="The engine's API key")
    find_program()
    files: Sequence[Any] = (model, mmproj)
    if small is not None:
        files = get_model(small, download=download, progress=progress)
        name, n_ctx = name or small.name, n_ctx or small.context_length
    elif repo_id is not None:
        files = [download_gguf(repo_id, PurePath(file).as_posix(), progress=progress) for file in files]
    paths = expand_path(files[0]).absolute(), expand_path(files[1]).absolute()
    text, images = map(read_header, paths)
    check_pair(text, images)
    engine = Engine(
        *paths,
        name=name or _default_name(text, images, chat_format),
        context_length=n_ctx or min(text.context_length or 4096, _MAX_CONTEXT),
        chat_template=chat_template(text, chat_format),
        port=port,
        api_key=key,
        n_threads=n_threads,
        n_gpu_layers=-2 if n_gpu_layers == -1 else n_gpu_layers,  # llama.cpp's -1 is "as many as fit"
    )
    try:
        _load(engine, paths, load_timeout, progress=progress)
        return ServedModel(engine, paths, **options)
    except BaseException:
        engine.stop()
        raise


serve_llava = serve
"""The name of `serve` in earlier versions, when it was for LLaVA only."""


def _find_small_model(name: str | Path) -> SmallModel:
    """Return the small model with a name, for a call without an image encoder."""
    if str(name).lower().endswith(".gguf") or isinstance(name, Path):
        raise SettingsError(f"mmproj= is missing: pass the image encoder that was made for {str(name)!r:.80}.")
    return small_model(name)


def _load(engine: Engine, paths: Sequence[Path], timeout: float, *, progress: bool) -> None:
    """Wait until an engine has loaded the files of weights, and show the progress."""
    what = " and ".join(f"{path.name} ({format_bytes(path.stat().st_size)})" for path in paths)
    with ProgressLine(f"Loading {what}", enabled=progress) as line:
        engine.wait(timeout, line.update)
        line.finish(f"{engine.model} is served at {engine.api_base}, loaded in {line.seconds:.1f} s: {what}")


def _default_name(model: GgufHeader, mmproj: GgufHeader, chat_format: str | None) -> str:
    """Return a name by which the token rules recognize the model and the engine."""
    if chat_format == "llava-1-6":
        return "llava-1.6"
    is_llava = model.architecture == "llama" and mmproj.projector_type in ("mlp", None)
    return "llava" if is_llava else model.path.name.lower()


def check_options(options: Mapping[str, Any]) -> None:
    """Check the options of the model before it is loaded, which can take minutes.

    Raises:
        SettingsError: An option does not exist, or its value is invalid.
    """
    own = inspect.signature(serve).parameters.keys() - {"options"}
    known = _named_arguments(LocalMultiModal, OpenAIMultiModal) - {"model", "api_base"}
    for option in options:
        if option not in known:
            nearest = _OTHER_NAMES.get(option) or similar(option, known | own)
            advice = f"did you mean {nearest}?" if nearest else f"the options are {', '.join(sorted(known))}."
            raise SettingsError(f"vn.serve has no option {option!r:.80}: {advice}")
    LocalMultiModal("llava", "http://127.0.0.1:1/v1", **options)  # checks the values; it connects to nothing


def _named_arguments(*classes: Any) -> set[str]:
    """Return the names of the constructors' arguments, without ``*args`` and ``**kwargs``."""
    parameters = [one for kind in classes for one in inspect.signature(kind).parameters.values()]
    return {one.name for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}


class ServedModel(LocalMultiModal):
    """A model served by a child process; made by `serve`.

    Images at URLs are downloaded here instead of by the engine, which would open any URL, without limits. The timeout
    is ten minutes, because a model without a graphics card is slow, and requests are not retried.

    Args:
        engine: The child process.
        weights: The files of weights.
        **options: As for `LocalMultiModal`.
    """

    service = "The llama.cpp engine"
    _longer_context: ClassVar[str] = "serve it with a larger n_ctx"
    _restart: ClassVar[str] = "call vn.serve to start it again"

    def __init__(self, engine: Engine, weights: Sequence[Path], **options: Any) -> None:
        defaults = {"context_length": engine.context_length, **CLIENT_OPTIONS}
        super().__init__(engine.model, engine.api_base, engine.api_key, **{**defaults, **options})
        self.engine = engine
        self._weights = [(path.name, path.stat().st_size) for path in weights]

    @property
    def identity(self) -> dict[str, Any]:
        """Return what determines an answer: the files of weights, not the port, which changes with each start."""
        return {**super().identity, "server": None, "weights": self._weights}

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SettingsError(
            f"{self} belongs to the process that serves it, and cannot be copied or stored. Use the object itself, or "
            f"LocalMultiModal({self.model!r}, {self.api_base!r})."
        )

    def __copy__(self) -> NoReturn:
        self.__reduce_ex__(4)

    def __deepcopy__(self, memo: Any) -> NoReturn:
        self.__reduce_ex__(4)

    def stop(self) -> None:
        """Stop the engine, and wait until it has ended; the same as `close`."""
        self.close()

    def close(self) -> None:
        """Close the connections and stop the engine; leaving a ``with`` block does the same."""
        super().close()
        self.engine.stop()

    async def aclose(self) -> None:
        """Close the connections and stop the engine without blocking the event loop."""
        await asyncio.to_thread(self.engine.stop)
        await super().aclose()

    def _map_error(self, error: Exception, partial_text: str) -> Exception:
        own = super()._map_error(error, partial_text)
        if isinstance(own, ProviderConnectionError) and not self.engine.stop.alive:
            return ProviderConnectionError(f"The engine was stopped: {self._restart}.", partial_text=partial_text)
        if isinstance(own, ProviderConnectionError) and self.engine.has_ended(within=0.3):
            return ProviderConnectionError(
                f"{self.engine.failure()}\n{self._restart.capitalize()}.", partial_text=partial_text
            )
        return own
