"""`serve_llava`: run LLaVA on this machine with llama.cpp."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import Any, ClassVar, NoReturn

from vision_nb.errors import ProjectorMismatchError, ProviderConnectionError, SettingsError
from vision_nb.images.document import ImageDocument
from vision_nb.messages import ChatMessage
from vision_nb.notebook.progress import ProgressLine
from vision_nb.paths import expand_path
from vision_nb.providers.call import Request
from vision_nb.providers.llamacpp.chat_formats import check_chat_format
from vision_nb.providers.llamacpp.download import download_gguf
from vision_nb.providers.llamacpp.gguf import check_pair, read_header
from vision_nb.providers.llamacpp.process import CLIENT_OPTIONS, Engine, reason, relevant_lines
from vision_nb.providers.local.model import LocalMultiModal
from vision_nb.providers.openai.model import OpenAIMultiModal
from vision_nb.providers.outgoing_image import OutgoingImage
from vision_nb.providers.structured import Question, R
from vision_nb.rendering.format import format_bytes
from vision_nb.user_warnings import warn_user

_DEFAULT_NAMES = {"llava-1-5": "llava", "llava-1-6": "llava-1.6"}
"""Name of the model for each chat format of llama.cpp, as in the token rules."""


def serve_llava(
    model: str | Path,
    mmproj: str | Path,
    port: int | None = None,
    *,
    repo_id: str | None = None,
    n_ctx: int = 4096,
    n_threads: int | None = None,
    n_gpu_layers: int = 0,
    chat_format: str = "llava-1-5",
    name: str | None = None,
    load_timeout: float = 600.0,
    progress: bool = True,
    **options: Any,
) -> ServedLlava:
    """Start llama.cpp's server with two files of weights, and return the model that it serves.

    The server listens on 127.0.0.1 only. It stops when you call ``stop()``, at the end of a ``with`` block, and when
    this Python process ends for any reason.

    Args:
        model: GGUF file of the text model, such as "ggml-model-q4_k.gguf".
        mmproj: GGUF file of the image encoder made for that text model, such as "mmproj-model-f16.gguf".
        port: The port; None for a free one.
        repo_id: Repository on a model hub. ``model`` and ``mmproj`` are then file names in it, which are
            downloaded unless they are in the hub's cache.
        n_ctx: Tokens per conversation, including images (576 each) and answers.
        n_threads: Number of CPU threads; None for llama.cpp's default.
        n_gpu_layers: Number of layers on the graphics card, -1 for all; requires a build of llama-cpp-python that
            supports the card.
        chat_format: llama.cpp's name for the chat format of the model; one that passes images to it.
        name: Name under which the model is served; None for the usual name for the chat format.
        load_timeout: Seconds allowed for loading the model.
        progress: Whether to display the progress.
        **options: As for `LocalMultiModal`: max_new_tokens, temperature and so on.

    Raises:
        EngineMissingError: The extra ``vision-nb[llama]`` is not installed.
        ModelFileNotFoundError: A file does not exist.
        ModelFileError: A file is not a GGUF file, is incomplete, or is of the wrong kind.
        ProjectorMismatchError: The image encoder was made for another text model.
        EngineMemoryError: There is not enough memory.
        EngineError: The server did not start for another reason; ``.log`` has the last lines of its log.
        SettingsError: An argument is invalid, or the port is in use.

    >>> with serve_llava("ggml-model-q4_k.gguf", "mmproj-model-f16.gguf") as llm:  # doctest: +SKIP
    ...     print(llm.complete("What is it?", "photo.jpg"))
    """
    if isinstance(n_ctx, bool) or not isinstance(n_ctx, int) or n_ctx < 1:
        raise SettingsError(f"n_ctx must be an integer of at least 1, not {n_ctx!r:.80}.")
    if not isinstance(load_timeout, (int, float)) or math.isnan(load_timeout) or load_timeout <= 0:
        raise SettingsError(f"load_timeout must be a positive number of seconds, not {load_timeout!r:.80}.")
    if name is not None and not (isinstance(name, str) and name.strip() and name.isprintable()):
        raise SettingsError(f"name={name!r:.80} is not a valid name: omit it to use the default name.")
    check_chat_format(chat_format)
    name = name or _DEFAULT_NAMES.get(chat_format, chat_format)
    _check_options(name, options)
    if repo_id is not None:
        model, mmproj = (
            download_gguf(repo_id, PurePath(file).as_posix(), progress=progress) for file in (model, mmproj)
        )
    paths = expand_path(model).absolute(), expand_path(mmproj).absolute()
    check_pair(*map(read_header, paths))
    settings: dict[str, Any] = {
        "model": paths[0],
        "clip_model_path": paths[1],
        "chat_format": chat_format,
        "n_gpu_layers": n_gpu_layers,
        "n_threads": n_threads,
        # Otherwise a second request silently cuts off the answer to the first.
        "interrupt_requests": False,
    }
    arguments = [word for key, value in settings.items() if value is not None for word in (f"--{key}", str(value))]
    engine = Engine(arguments, model=name, context_length=n_ctx, port=port)
    what = " and ".join(f"{path.name} ({format_bytes(path.stat().st_size)})" for path in paths)
    try:
        with ProgressLine(f"Loading {what}", enabled=progress) as line:
            engine.wait(load_timeout, line.update)
            line.finish(f"{engine.model} is served at {engine.api_base}, loaded in {line.seconds:.1f} s: {what}")
        return ServedLlava(engine, paths, **options)
    except BaseException:
        engine.stop()
        raise


def _check_options(name: str, options: Mapping[str, Any]) -> None:
    """Check the options of the model before it is loaded, which can take minutes.

    Raises:
        SettingsError: An option does not exist, or its value is invalid.
    """
    known = _named_arguments(LocalMultiModal, OpenAIMultiModal) - {"model", "api_base"}
    for option in options:
        if option not in known:
            own = inspect.signature(serve_llava).parameters.keys() - {"options"}
            nearest = get_close_matches(option, sorted(known | own), n=1)
            advice = f"did you mean {nearest[0]}?" if nearest else f"the options are {', '.join(sorted(known))}."
            raise SettingsError(f"serve_llava has no option {option!r:.80}: {advice}")
    LocalMultiModal(name, "http://127.0.0.1:1/v1", **options)  # checks the values; it connects to nothing


def _named_arguments(*classes: Any) -> set[str]:
    """Return the names of the constructors' arguments, without ``*args`` and ``**kwargs``."""
    parameters = [one for kind in classes for one in inspect.signature(kind).parameters.values()]
    return {one.name for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}


class ServedLlava(LocalMultiModal):
    """A model served by a child process; made by `serve_llava`.

    Images at URLs are downloaded here instead of by the engine, which would open any URL, without limits. The timeout
    is ten minutes, because a model without a graphics card is slow, and requests are not retried.

    Args:
        engine: The child process.
        weights: The files of weights.
        **options: As for `LocalMultiModal`.
    """

    service = "The llama.cpp engine"
    _longer_context: ClassVar[str] = "serve it with a larger n_ctx"

    def __init__(self, engine: Engine, weights: Sequence[Path], **options: Any) -> None:
        defaults = {"context_length": engine.context_length, **CLIENT_OPTIONS}
        super().__init__(engine.model, engine.api_base, **{**defaults, **options})
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

    def _request(
        self,
        messages: list[ChatMessage],
        images: Mapping[ImageDocument, OutgoingImage],
        settings: Mapping[str, Any],
        *,
        stream: bool,
    ) -> Request:
        request = super()._request(messages, images, settings, stream=stream)
        match request.get("response_format"):
            case {"type": "json_schema", "json_schema": {"schema": schema}}:  # the engine's own format
                return {**request, "response_format": {"type": "json_object", "schema": schema}}
        return request

    def _send(self, question: Question[R]) -> R:
        return self._checked(super()._send(question))

    async def _asend(self, question: Question[R]) -> R:
        return self._checked(await super()._asend(question))

    def _checked(self, response: R) -> R:
        """Warn if the engine cannot have read everything that was sent; a stream of this engine reports no tokens."""
        if response.usage_is_implausible:
            warn_user(
                f"{self} reports fewer input tokens than were sent, so the image probably did not reach the model: "
                "check that chat_format= is the one of the model."
            )
        return response

    def _map_error(self, error: Exception, partial_text: str) -> Exception:
        own = super()._map_error(error, partial_text)
        if isinstance(own, ProviderConnectionError) and not self.engine.stop.alive:
            return ProviderConnectionError(
                "The engine was stopped: call serve_llava to start another.", partial_text=partial_text
            )
        if isinstance(own, ProviderConnectionError) and self.engine.has_ended(within=0.3):
            return ProviderConnectionError(
                f"{self.engine.failure()}\nCall serve_llava to start it again.", partial_text=partial_text
            )
        if "mtmd context" in str(own):  # llama.cpp only loads the image encoder for the first request
            lines = relevant_lines(self.engine.log())
            return ProjectorMismatchError(
                f"The engine rejects the image encoder: use the mmproj file published with the model.\n{reason(lines)}",
                log=lines,
            )
        return own
