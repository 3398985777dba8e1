"""Configuration files for serving LLaVA with LocalAI and a LiteLLM proxy."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from vision_nb.checks.arguments import checks_arguments
from vision_nb.errors import SettingsError
from vision_nb.paths import expand_path, replaced_file, shown_path
from vision_nb.rendering import html

_TEMPLATES = Path(__file__).with_name("templates")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_RANGES = {"gpu_layers": range(2**31), "port": range(1, 65536)}
_ADDRESS = re.compile(r"https?://[^\s\"\\$]+")


@dataclass(frozen=True, repr=False)
class LocalAIFiles:
    """Paths of the files that were written.

    Attributes:
        template: Chat template for LocalAI.
        definition: Model definition for LocalAI.
        litellm: Configuration of the LiteLLM proxy.
        compose: Docker Compose file that mounts the other three.
        api_base: Base URL for `LocalMultiModal` when the containers run.
    """

    template: Path
    definition: Path
    litellm: Path
    compose: Path
    api_base: str

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return the paths of all four files."""
        return self.template, self.definition, self.litellm, self.compose

    def _names(self) -> list[str]:
        return [path.relative_to(self.compose.parent).as_posix() for path in self.paths]

    def _repr_html_(self) -> str:
        return "".join(map(html.file_listing, self._names(), map(_read, self.paths)))

    def __repr__(self) -> str:
        return f"LocalAIFiles({', '.join(self._names())})"


@checks_arguments
def write_localai_config(
    folder: str | Path,
    *,
    name: str = "llava",
    model: str = "ggml-model-q4_k.gguf",
    mmproj: str = "mmproj-model-f16.gguf",
    context_size: int = 4096,
    threads: int = 11,
    gpu_layers: int = 90,
    api_base: str = "http://localhost:8080/v1",
    port: int = 28000,
    overwrite: bool = False,
) -> LocalAIFiles:
    """Write the configuration files for LocalAI and LiteLLM.

    ``models/NAME.tmpl`` is the chat template, ``models/NAME.yaml`` the model definition, ``litellm.yaml`` the
    configuration of the proxy, and ``docker-compose.yml`` runs both. Edit them for any other setting. The two files
    of weights belong in ``models/``. Either all files are written or none.

    Args:
        folder: Where to write the files; created if it does not exist.
        name: Name of the model.
        model: File name of the text model in ``models/``.
        mmproj: File name of the image encoder in ``models/``.
        context_size: Tokens per conversation, including images (576 each) and answers.
        threads: Number of CPU threads.
        gpu_layers: Number of layers on the graphics card; no effect without one.
        api_base: Base URL at which the proxy reaches LocalAI.
        port: Port of the proxy on this machine; other machines cannot reach it.
        overwrite: Whether to replace existing files.

    Raises:
        SettingsError: An argument is invalid, a file exists already, or the folder is not writable.

    >>> import tempfile
    >>> vn.write_localai_config(tempfile.mkdtemp()).definition.name
    'llava.yaml'
    """
    names = {"name": name, "model": model, "mmproj": mmproj}
    numbers = {"context_size": context_size, "threads": threads, "gpu_layers": gpu_layers, "port": port}
    _check(names, numbers, api_base)
    folder = expand_path(folder)
    files = LocalAIFiles(
        template=folder / "models" / f"{name}.tmpl",
        definition=folder / "models" / f"{name}.yaml",
        litellm=folder / "litellm.yaml",
        compose=folder / "docker-compose.yml",
        api_base=f"http://localhost:{port}/v1",
    )
    values = {**names, **numbers, "api_base": api_base}
    existing = [path.name for path in files.paths if os.path.lexists(path)]  # broken links too
    if existing and not overwrite:
        raise SettingsError(
            f"{folder} already has {', '.join(existing)}: pass overwrite=True, or choose another folder."
        )
    templates = ("model.tmpl", "model.yaml", "litellm.yaml", "docker-compose.yml")  # as in files.paths
    texts = [(_TEMPLATES / template).read_text(encoding="utf-8") for template in templates]
    _write({path: Template(text).substitute(values) for path, text in zip(files.paths, texts, strict=True)})
    return files


def _check(names: Mapping[str, Any], numbers: Mapping[str, Any], api_base: Any) -> None:
    """Raise SettingsError if an argument could not stand in a configuration file."""
    for argument, text in names.items():
        if not isinstance(text, str) or not _FILE_NAME.fullmatch(text):
            raise SettingsError(f"{argument}={text!r:.80} must be a plain name: letters, digits, '.', '-' and '_'.")
    for argument, number in numbers.items():
        allowed = _RANGES.get(argument, range(1, 2**31))
        if isinstance(number, bool) or not isinstance(number, int) or number not in allowed:
            raise SettingsError(
                f"{argument} must be an integer from {allowed[0]:,} to {allowed[-1]:,}, not {number!r:.80}."
            )
    if not isinstance(api_base, str) or not _ADDRESS.fullmatch(api_base):
        raise SettingsError(f"api_base={api_base!r:.80} must be a URL that starts with http:// or https://.")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"(cannot be read: {error.strerror})"


def _write(texts: dict[Path, str]) -> None:
    """Write all files; if one cannot be written, restore the previous contents of all."""
    previous: dict[Path, bytes | None] = {}
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            previous[path] = path.read_bytes() if path.exists() else None
            with replaced_file(path) as file:
                file.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        for changed, data in previous.items():
            with suppress(OSError):
                changed.unlink() if data is None else changed.write_bytes(data)
        raise SettingsError(f"{shown_path(path)} cannot be written ({error.strerror}): no file was changed.") from error
