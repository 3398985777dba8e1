"""Types of local model servers: how to recognize each, and how to list its models.

Sources, read in 2026-11: LocalAI, API discovery and model capabilities; LiteLLM, health checks, using vision models
and model management; LM Studio, REST API v0 and v1; Ollama, API reference (show model details, list running models);
vLLM, OpenAI-compatible server; llama.cpp, tools/server/README.md; llama-cpp-python 0.3, server/app.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from vision_nb.providers.local.probe import Probe

_MAX_OLLAMA_DETAILS = 50  # each needs a separate request
_MAX_NAME = 500  # characters
_MAX_CONTEXT = 1 << 40  # tokens
_MISSING_PATH = "/v1/vision-nb-path-that-does-not-exist"


@dataclass(frozen=True)
class LocalModel:
    """A model on a local server.

    Attributes:
        name: The server's name for it.
        sees_images: Whether it accepts images; None if the server does not report it.
        context_length: Tokens per conversation; None if the server does not report it.
        is_remote: Whether the server forwards its requests to another machine.
    """

    name: str
    sees_images: bool | None = None
    context_length: int | None = None
    is_remote: bool = False


Models = tuple[LocalModel, ...] | None
Entry = dict[str, Any]


@dataclass(frozen=True)
class ServerType:
    """A type of model server.

    Attributes:
        name: Its name.
        matches: Return whether the server at a port is of this type.
        list_models: Return its models; None if it does not list them.
    """

    name: str
    matches: Callable[[Probe], bool]
    list_models: Callable[[Probe], Models]


def _owned_by(owner: str) -> Callable[[Probe], bool]:
    return lambda probe: any(entry.get("owned_by") == owner for entry in probe.listing.entries())


def _is_loading(probe: Probe) -> bool:
    """Recognize llama.cpp's own server while it loads its model: it answers every request in this way."""
    error = _dict(_dict(probe.listing.json).get("error"))
    return probe.listing.status == 503 and error.get("message") == "Loading model"


def _is_localai(probe: Probe) -> bool:
    if "endpoints" in probe.get("/.well-known/localai.json").object:
        return True
    return "backends" in probe.get("/system").object  # older versions


def _is_litellm(probe: Probe) -> bool:
    return bool(probe.get("/health/liveliness").json == "I'm alive!")


def _is_ollama(probe: Probe) -> bool:
    return probe.get("/").text.startswith("Ollama is running")


def _is_openai_compatible(probe: Probe) -> bool:
    if probe.listing.entries() or probe.listing.object.get("object") == "list":
        return True
    # Some do not list their models, but answer GET with an error that shows that the path exists.
    chat = probe.get("/v1/chat/completions")
    if chat.status in (401, 403):
        return chat.requires_key
    # Many programs that are not model servers return the same response for every path.
    return chat.status in (400, 405, 422) and probe.get(_MISSING_PATH).status == 404


def _local_models(
    entries: Iterable[Entry],
    sees_images: Callable[[Entry], bool | None],
    context_length: Callable[[Entry], int | None] | None = None,
) -> tuple[LocalModel, ...]:
    """Return the models of a list, except those without a usable name."""
    context_length = context_length or _context_length
    return tuple(
        LocalModel(entry["id"], sees_images(entry), context_length(entry))
        for entry in entries
        if _is_name(entry.get("id"))
    )


def _is_name(value: Any) -> TypeGuard[str]:
    """Return whether a value can be a model's name.

    A server may send any text. Control characters could change a terminal, and surrogates cannot be sent.
    """
    return isinstance(value, str) and value.isprintable() and 0 < len(value) <= _MAX_NAME


def _context_length(entry: Entry) -> int | None:
    return _first_count(
        entry.get("max_model_len"), entry.get("loaded_context_length"), _dict(entry.get("meta")).get("n_ctx")
    )


def _first_count(*values: Any) -> int | None:
    """Return the first value that is a number of tokens."""
    return next((value for value in values if type(value) is int and 0 < value < _MAX_CONTEXT), None)


def _contains(values: Any, value: str) -> bool | None:
    """Return whether a list contains a value; None if it is not a list."""
    return value in values if isinstance(values, list) else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _openai_models(probe: Probe) -> Models:
    return _local_models(probe.listing.entries(), lambda entry: None) if probe.listing.object else None


def _localai_models(probe: Probe) -> Models:
    entries = probe.get("/v1/models/capabilities").entries()
    if not entries:
        return _openai_models(probe)
    return _local_models(entries, lambda entry: _contains(entry.get("capabilities"), "vision"))


def _litellm_models(probe: Probe) -> Models:
    if not probe.listing.object:
        return None
    entries = probe.get("/model/info").entries()
    infos = {str(entry.get("model_name")): _dict(entry.get("model_info")) for entry in entries}

    def info(entry: Entry, name: str) -> Any:
        return infos.get(str(entry.get("id")), {}).get(name)

    return _local_models(
        probe.listing.entries(),
        lambda entry: _flag(info(entry, "supports_vision")),
        lambda entry: _first_count(info(entry, "max_input_tokens")),
    )


def _lmstudio_models(probe: Probe) -> Models:
    entries = probe.get("/api/v0/models").entries()
    if not entries:
        return _newer_lmstudio_models(probe) or _openai_models(probe)
    chat_models = [entry for entry in entries if entry.get("type") != "embeddings"]
    return _local_models(chat_models, lambda entry: {"vlm": True, "llm": False}.get(str(entry.get("type"))))


def _newer_lmstudio_models(probe: Probe) -> Models:
    def context_length(entry: Entry) -> int | None:
        instances = entry.get("loaded_instances")
        configs = [_dict(_dict(one).get("config")) for one in instances] if isinstance(instances, list) else []
        return _first_count(*(config.get("context_length") for config in configs))

    entries = probe.get("/api/v1/models").entries("models")
    return _local_models(
        ({**entry, "id": entry.get("key")} for entry in entries if not str(entry.get("type")).startswith("embedding")),
        lambda entry: _flag(_dict(entry.get("capabilities")).get("vision")),
        context_length,
    )


def _ollama_models(probe: Probe) -> Models:
    tags = probe.get("/api/tags")
    if tags.status != 200:
        return _openai_models(probe)
    loaded = {str(entry.get("name")): entry for entry in probe.get("/api/ps").entries("models")}
    entries = {name: entry for entry in tags.entries("models") if _is_name(name := entry.get("name"))}
    models = []
    for number, (name, entry) in enumerate(entries.items()):
        details = probe.post("/api/show", {"model": name}).object if number < _MAX_OLLAMA_DETAILS else {}
        sees_images = _contains(details.get("capabilities"), "vision")
        if sees_images is None and isinstance(details.get("projector_info"), dict):  # older versions
            sees_images = True
        # A loaded model has the context length that is really allocated, its parameters have the requested one.
        requested = re.search(r"^num_ctx\s+(\d{1,9})\b", str(details.get("parameters")), re.MULTILINE)
        context = _first_count(loaded.get(name, {}).get("context_length"), requested and int(requested[1]))
        is_remote = bool(entry.get("remote_host") or entry.get("remote_model"))  # a model in Ollama's cloud
        models.append(LocalModel(name, sees_images, context, is_remote))
    return tuple(models)


def _llamacpp_models(probe: Probe) -> Models:
    """List the models of llama.cpp's own server.

    It lists each model's modalities, or a capability "multimodal" in older versions. If it serves only one model,
    its properties have the modalities and the context length too.
    """
    entries = probe.listing.entries()
    properties = probe.get("/props").object if len(entries) == 1 else {}
    vision = _flag(_dict(properties.get("modalities")).get("vision"))
    context = _dict(properties.get("default_generation_settings")).get("n_ctx")
    capabilities = {str(entry.get("name")): entry.get("capabilities") for entry in probe.listing.entries("models")}

    def sees_images(entry: Entry) -> bool | None:
        architecture = _dict(entry.get("architecture"))
        if "input_modalities" in architecture:
            return _contains(architecture["input_modalities"], "image")
        multimodal = _contains(capabilities.get(str(entry.get("id"))), "multimodal")
        return vision if multimodal is None else multimodal

    return _local_models(entries, sees_images, lambda entry: _first_count(_context_length(entry), context))


SERVER_TYPES: Sequence[ServerType] = (
    ServerType("LM Studio", _owned_by("organization_owner"), _lmstudio_models),
    ServerType("vLLM", _owned_by("vllm"), _openai_models),
    ServerType("llama.cpp", _owned_by("llamacpp"), _llamacpp_models),
    ServerType("llama.cpp", _owned_by("me"), _openai_models),  # llama-cpp-python's server
    ServerType("llama.cpp", _is_loading, _openai_models),
    ServerType("LocalAI", _is_localai, _localai_models),  # before Ollama, because it also implements Ollama's API
    ServerType("LiteLLM", _is_litellm, _litellm_models),
    ServerType("Ollama", _is_ollama, _ollama_models),
)
"""Known types in the order in which they are tried: first those that the list of models identifies."""

OTHER = ServerType("OpenAI-compatible server", _is_openai_compatible, _openai_models)

FORWARDING = ("LiteLLM", OTHER.name)
"""The types whose models may run elsewhere, and cost money: a proxy, and servers of unknown types."""
