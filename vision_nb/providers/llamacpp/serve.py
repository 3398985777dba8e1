"""LLaVA on this machine with llama.cpp: two files of weights in, a model to ask out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, ClassVar, NoReturn, Self

from vision_nb.errors import ProjectorMismatchError, ProviderConnectionError, SettingsError
from vision_nb.notebook.progress import ProgressLine
from vision_nb.providers.llamacpp.download import download_gguf
from vision_nb.providers.llamacpp.gguf import check_pair, read_header
from vision_nb.providers.llamacpp.process import ASKED_WITH, Engine, telling_lines
from vision_nb.providers.local.model import LocalMultiModal
from vision_nb.rendering.format import format_bytes

_NAMES = {"llava-1-5": "llava", "llava-1-6": "llava-1.6"}
"""The model that each of llama.cpp's chat formats was made for, as the token rules call it."""


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
    """Start llama.cpp's server with two files of weights, and give the model that it serves.

    It listens on 127.0.0.1 alone. It ends with ``stop()``, at the end of a ``with`` block, and with this
    Python process, however that ends.

    Args:
        model: The text model's GGUF file, such as "ggml-model-q4_k.gguf".
        mmproj: The image encoder's GGUF file, such as "mmproj-model-f16.gguf", made for that text model.
        port: The port; None takes a free one.
        repo_id: A repository on a model hub: ``model`` and ``mmproj`` are names of files there, and are
            downloaded to its cache unless they are in it.
        n_ctx: Tokens that the question, its pictures (576 each) and the answer may take together.
        n_threads: Threads of the processor; None leaves it to llama.cpp.
        n_gpu_layers: Layers of the model on the graphics card; -1 for all. It takes a build of llama-cpp-python
            that knows the card.
        chat_format: llama.cpp's name for how a conversation is written down for this model.
        name: The name under which it is served; None takes the model's that the chat format was made for.
        load_timeout: Seconds that loading may take.
        progress: Whether to show how far it is loaded.
        **options: As for `LocalMultiModal`: max_new_tokens, temperature and so on.

    Raises:
        EngineMissingError: llama-cpp-python is not installed with its server.
        ModelFileNotFoundError: There is no such file.
        ModelFileError: A file is no GGUF file, broken off, or of the wrong kind.
        ProjectorMismatchError: The image encoder was made for another text model.
        EngineMemoryError: There is not enough memory.
        EngineError: The engine did not start for another reason; ``.log`` has its own last lines.
        SettingsError: An argument cannot be used, or the port is taken.

    >>> with serve_llava("ggml-model-q4_k.gguf", "mmproj-model-f16.gguf") as llm:  # doctest: +SKIP
    ...     print(llm.complete("What is it?", "photo.jpg"))
    """
    if n_ctx < 1:
        raise SettingsError(f"n_ctx is the tokens of a conversation, from 1 on, and not {n_ctx}.")
    if name is not None and not (isinstance(name, str) and name.strip() and name.isprintable()):
        raise SettingsError(f"name={name!r} is no model's name: leave it out for the usual one.")
    if repo_id is not None:
        model, mmproj = (
            download_gguf(repo_id, PurePath(file).as_posix(), progress=progress) for file in (model, mmproj)
        )
    paths = Path(model).expanduser().absolute(), Path(mmproj).expanduser().absolute()
    check_pair(*map(read_header, paths))
    settings: dict[str, Any] = {
        "model": paths[0],
        "clip_model_path": paths[1],
        "chat_format": chat_format,
        "n_gpu_layers": n_gpu_layers,
        "n_threads": n_threads,
        # A second question would otherwise cut the first one's answer short, without a word.
        "interrupt_requests": False,
    }
    arguments = [word for key, value in settings.items() if value is not None for word in (f"--{key}", str(value))]
    engine = Engine(arguments, model=name or _NAMES.get(chat_format, chat_format), context_length=n_ctx, port=port)
    what = " and ".join(f"{path.name} ({format_bytes(path.stat().st_size)})" for path in paths)
    try:
        with ProgressLine(f"Loading {what}", enabled=progress) as line:
            engine.wait(load_timeout, line.update)
            line.finish(f"{engine.model} answers at {engine.api_base}, loaded in {line.seconds:.1f} s: {what}")
        return ServedLlava(engine, paths, **options)
    except BaseException:
        engine.stop()
        raise


class ServedLlava(LocalMultiModal):
    """A model that a child process of this one serves; made by `serve_llava`.

    Pictures behind URLs are downloaded here, and not by the engine, which would ask any address without a limit.
    A request waits up to ten minutes, as a processor without a graphics card takes its time, and none is repeated.

    Args:
        engine: The child process.
        weights: The files that it serves.
        **options: As for `LocalMultiModal`.
    """

    service: ClassVar[str] = "The llama.cpp engine"
    _longer_context: ClassVar[str] = "or serve it with a larger n_ctx"

    def __init__(self, engine: Engine, weights: Sequence[Path], **options: Any) -> None:
        told = {"context_length": engine.context_length, **ASKED_WITH, **options}
        super().__init__(engine.model, engine.api_base, **told)
        self.engine = engine
        self._weights = [(path.name, path.stat().st_size) for path in weights]

    @property
    def identity(self) -> dict[str, Any]:
        """With the files instead of the address: its port is another at each start, and its answers are not."""
        return {**super().identity, "server": None, "weights": self._weights}

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SettingsError(
            f"{self} belongs to the process that serves it, and cannot be copied or stored: use it as it is, or ask "
            f"the engine through LocalMultiModal({self.model!r}, {self.api_base!r})."
        )

    def stop(self) -> None:
        """End the engine, and wait until it has ended."""
        self.close()
        self.engine.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _map_error(self, error: Exception, partial_text: str) -> Exception:
        own = super()._map_error(error, partial_text)
        if isinstance(own, ProviderConnectionError) and not self.engine.stop.alive:
            return ProviderConnectionError(
                "The engine was stopped: serve_llava(...) starts another.", partial_text=partial_text
            )
        if isinstance(own, ProviderConnectionError) and self.engine.has_ended(within=0.3):
            return ProviderConnectionError(
                f"{self.engine.failure()}\nserve_llava(...) starts it again.", partial_text=partial_text
            )
        if "mtmd context" in str(own):  # llama.cpp opens the image encoder only at the first question
            lines = telling_lines(self.engine.log())
            return ProjectorMismatchError(
                "The engine refuses the image encoder: take the mmproj file from where the model comes from.\n" + lines,
                log=lines,
            )
        return own
