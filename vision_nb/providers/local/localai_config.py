"""The files with which LocalAI and LiteLLM serve LLaVA: written from typed arguments, all of them or none."""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_nb.errors import SettingsError
from vision_nb.rendering import html

SYSTEM_PROMPT = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
"""What LLaVA 1.5 was trained to be told first (Vicuna's prompt, version 1.1)."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LOCALAI_PORT, _LITELLM_PORT = 8080, 4000


@dataclass(frozen=True, repr=False)
class LocalAIFiles:
    """The files that were written.

    Attributes:
        template: The chat template.
        definition: The model definition.
        litellm: The configuration of the LiteLLM proxy.
        compose: The docker-compose file that mounts the other three.
        api_base: What `LocalMultiModal` takes as its ``api_base`` when the containers run.
    """

    template: Path
    definition: Path
    litellm: Path
    compose: Path
    api_base: str

    @property
    def paths(self) -> tuple[Path, ...]:
        """The four files."""
        return self.template, self.definition, self.litellm, self.compose

    def _names(self) -> list[str]:
        return [path.relative_to(self.compose.parent).as_posix() for path in self.paths]

    def _repr_html_(self) -> str:
        return "".join(map(html.file_listing, self._names(), map(_text_of, self.paths)))

    def __repr__(self) -> str:
        return f"LocalAIFiles({', '.join(self._names())})"


def write_localai_config(
    folder: str | Path,
    *,
    name: str = "llava",
    model: str = "ggml-model-q4_k.gguf",
    mmproj: str = "mmproj-model-f16.gguf",
    context_size: int = 4096,
    f16: bool = True,
    threads: int = 11,
    gpu_layers: int = 90,
    mmap: bool = True,
    temperature: float = 0.2,
    top_k: int = 40,
    top_p: float = 0.95,
    system_prompt: str = SYSTEM_PROMPT,
    api_base: str = f"http://localhost:{_LOCALAI_PORT}/v1",
    port: int = 28000,
    localai_image: str = "localai/localai:latest",
    litellm_image: str = "ghcr.io/berriai/litellm:main-stable",
    overwrite: bool = False,
) -> LocalAIFiles:
    """Write what LocalAI and a LiteLLM proxy need to serve LLaVA: four files, all of them or none.

    ``models/NAME.tmpl`` is the chat template, ``models/NAME.yaml`` the model definition, ``litellm.yaml`` the
    proxy's configuration, and ``docker-compose.yml`` mounts them. The two files of weights belong into
    ``models/``. The containers share one network, so that ``api_base`` is the same in and outside of them, and
    the proxy's port is open to this machine alone.

    Args:
        folder: Where to write; it is made where it is missing.
        name: The model's name, and the files'.
        model: The text model's file, by its name in ``models/``.
        mmproj: The image encoder's file, by its name in ``models/``.
        context_size: Tokens that a conversation may take, pictures (576 each) and answer included.
        f16: Whether to keep the context in 16-bit numbers.
        threads: Threads of the processor.
        gpu_layers: Layers on the graphics card; without a card it has no effect.
        mmap: Whether to map the weights into memory instead of reading them.
        temperature: How freely the model picks its words, from 0 on.
        top_k: From how many of the likeliest tokens it picks.
        top_p: From which share of the likelihood it picks, above 0 and up to 1.
        system_prompt: What the model is told before a conversation.
        api_base: Where the proxy finds LocalAI.
        port: The proxy's port on this machine.
        localai_image: The image of LocalAI; others are for graphics cards.
        litellm_image: The image of LiteLLM.
        overwrite: Whether files that are there may be replaced.

    Returns:
        The paths.

    Raises:
        SettingsError: An argument cannot be used, a file is there already, or the folder cannot be written to.

    >>> import tempfile
    >>> written = write_localai_config(tempfile.mkdtemp())
    >>> written.definition.name
    'llava.yaml'
    """
    _check(name=name, model=model, mmproj=mmproj)
    _check_numbers(1, context_size=context_size, threads=threads, top_k=top_k, port=port)
    _check_numbers(0, gpu_layers=gpu_layers)
    _check_fractions(temperature=temperature, top_p=top_p)
    _check_switches(f16=f16, mmap=mmap, overwrite=overwrite)
    _check_texts(localai_image=localai_image, litellm_image=litellm_image, api_base=api_base)
    if temperature < 0 or not 0 < top_p <= 1 or port > 65535:
        raise SettingsError(
            f"temperature ({temperature}) is 0 or more, top_p ({top_p}) is above 0 and up to 1, and port ({port}) up "
            "to 65,535."
        )
    if not isinstance(system_prompt, str):
        raise SettingsError(f"system_prompt is a text, and not {system_prompt!r}.")
    if "{{" in system_prompt:
        raise SettingsError("system_prompt holds {{, which LocalAI would take for an instruction: leave it out.")
    definition = {
        "backend": "llama-cpp",
        "context_size": context_size,
        "f16": f16,
        "threads": threads,
        "gpu_layers": gpu_layers,
        "mmap": mmap,
        "name": name,
        "roles": {"user": "USER:", "assistant": "ASSISTANT:", "system": "SYSTEM:"},
        "parameters": {"model": model, "temperature": temperature, "top_k": top_k, "top_p": top_p},
        "template": {"chat": name},
        "mmproj": mmproj,
    }
    entry = {
        "model_name": name,
        # The proxy asks for some key; LocalAI looks at none.
        "litellm_params": {"model": f"openai/{name}", "api_base": api_base, "api_key": "None"},
        "model_info": {"supports_vision": True},
    }
    folder = Path(folder).expanduser()
    files = LocalAIFiles(
        template=folder / "models" / f"{name}.tmpl",
        definition=folder / "models" / f"{name}.yaml",
        litellm=folder / "litellm.yaml",
        compose=folder / "docker-compose.yml",
        api_base=f"http://localhost:{port}/v1",
    )
    texts = {
        files.template: f"{system_prompt}\n{{{{.Input}}}}\nASSISTANT:\n",
        files.definition: _yaml(definition),
        files.litellm: _yaml({"model_list": [entry]}),
        files.compose: _yaml(_compose(port, localai_image, litellm_image)),
    }
    _write(texts, overwrite=overwrite)
    return files


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"(cannot be read any more: {error.strerror})"


def _compose(port: int, localai_image: str, litellm_image: str) -> dict[str, Any]:
    return {
        "services": {
            "localai": {
                "image": localai_image,
                "environment": {"MODELS_PATH": "/models"},
                "volumes": ["./models:/models"],
                "ports": [f"127.0.0.1:{port}:{_LITELLM_PORT}"],
            },
            "litellm": {
                "image": litellm_image,
                "command": ["--config", "/app/litellm.yaml", "--port", str(_LITELLM_PORT)],
                # Nobody but this machine reaches the port, and LiteLLM starts without a key only when told so.
                "environment": {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"},
                "volumes": ["./litellm.yaml:/app/litellm.yaml:ro"],
                "network_mode": "service:localai",
                "depends_on": ["localai"],
            },
        }
    }


def _check(**names: str) -> None:
    for argument, value in names.items():
        if not (isinstance(value, str) and _NAME.fullmatch(value)):
            raise SettingsError(
                f"{argument}={value!r} is no plain name: letters, digits, dots, dashes and underscores, and no folder."
            )


def _check_numbers(least: int, **numbers: int) -> None:
    for argument, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise SettingsError(f"{argument} is a whole number from {least} on, and not {value!r}.")


def _check_fractions(**numbers: float) -> None:
    for argument, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise SettingsError(f"{argument} is a number, and not {value!r}.")


def _check_switches(**switches: bool) -> None:
    for argument, value in switches.items():
        if not isinstance(value, bool):
            raise SettingsError(f"{argument} is True or False, and not {value!r}.")


def _check_texts(**texts: str) -> None:
    """Refuse what is no one word, and $, for which docker compose would put in a variable."""
    for argument, value in texts.items():
        if not isinstance(value, str) or not re.fullmatch(r"[^\s$]+", value):
            raise SettingsError(f"{argument}={value!r} is no name or address: one word without $.")


def _yaml(value: Mapping[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def _write(texts: Mapping[Path, str], *, overwrite: bool) -> None:
    """Write all files or none: what was there before is put back when one of them cannot be written."""
    there = [path for path in texts if os.path.lexists(path)]  # a link to nothing is somebody's, too
    if there and not overwrite:
        names = ", ".join(path.name for path in there)
        raise SettingsError(f"{names} in {there[0].parent} would be replaced: say overwrite=True, or another folder.")
    drafts: dict[Path, Path] = {}
    before: dict[Path, bytes | None] = {}
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            drafts[path] = _draft(path, text)
        for path, draft in drafts.items():
            old = path.read_bytes() if path.exists() else None
            draft.replace(path)
            before[path] = old
    except OSError as error:
        for path, old in before.items():
            with suppress(OSError):
                if old is None:
                    path.unlink()
                else:
                    path.write_bytes(old)
        place = error.filename or next(iter(texts)).parent
        raise SettingsError(f"{place} cannot be written ({error.strerror}): no file was changed.") from error
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _draft(path: Path, text: str) -> Path:
    """A text in a file of another name beside the one it is for."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    draft = Path(name)
    draft.chmod(0o644)  # containers read it as another user
    return draft
