"""How each local model server is recognized, and how it tells which of its models see pictures.

Sources, read 2026-11: LocalAI, API discovery and model capabilities; LiteLLM, health checks, using vision models and
model management; LM Studio, REST API v0 and v1; Ollama, API reference (show model details, list running models);
vLLM, OpenAI-compatible server; llama.cpp, tools/server/README.md; llama-cpp-python 0.3, server/app.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vision_nb.providers.local.probe import Answer, Probe

_MOST_SHOWN_BY_OLLAMA = 50  # each takes a request of its own
_NO_PATH = "/v1/vision-nb-asks-for-what-is-not-there"


@dataclass(frozen=True)
class LocalModel:
    """A model on a local server.

    Attributes:
        name: The name under which the server knows it.
        sees_images: Whether it takes pictures, or None where the server does not say.
        context_length: Tokens that a conversation may take, or None where the server does not say.
    """

    name: str
    sees_images: bool | None = None
    context_length: int | None = None


Models = tuple[LocalModel, ...] | None


@dataclass(frozen=True)
class ServerType:
    """A kind of server.

    Attributes:
        name: What it is called.
        is_it: Whether the server at a port is of this kind, by its answer to ``GET /v1/models`` or others.
        models: Its models, or None where it does not list them.
    """

    name: str
    is_it: Callable[[Probe, int, Answer], bool]
    models: Callable[[Probe, int, Answer], Models]


def _owned_by(owner: str) -> Callable[[Probe, int, Answer], bool]:
    return lambda probe, port, listing: any(one.get("owned_by") == owner for one in listing.entries())


def _is_loading(probe: Probe, port: int, listing: Answer) -> bool:
    """llama.cpp's own server says so to every question until it has loaded its model."""
    error = _mapping(_mapping(listing.value).get("error"))
    return listing.status == 503 and error.get("message") == "Loading model"


def _is_localai(probe: Probe, port: int, listing: Answer) -> bool:
    known = probe.get(port, "/.well-known/localai.json")
    if known and known.status == 200 and isinstance(known.value, dict) and "endpoints" in known.value:
        return True
    system = probe.get(port, "/system")  # older versions
    return bool(system and system.status == 200 and isinstance(system.value, dict) and "backends" in system.value)


def _is_litellm(probe: Probe, port: int, listing: Answer) -> bool:
    alive = probe.get(port, "/health/liveliness")
    return alive is not None and alive.value == "I'm alive!"


def _is_ollama(probe: Probe, port: int, listing: Answer) -> bool:
    root = probe.get(port, "/")
    return root is not None and root.text.startswith("Ollama is running")


def _is_openai_compatible(probe: Probe, port: int, listing: Answer) -> bool:
    if listing.entries() or (isinstance(listing.value, dict) and listing.value.get("object") == "list"):
        return True
    # Some do not list their models. Only a server that has the path says that GET is the wrong method for it.
    chat = probe.get(port, "/v1/chat/completions")
    if chat is None or chat.status not in (400, 401, 403, 405, 422):
        return False
    if chat.status in (401, 403):
        return chat.asks_for_key
    # Many programs that are no model server answer every path alike.
    missing = probe.get(port, _NO_PATH)
    return missing is not None and missing.status == 404


def _listed(
    entries: Iterable[dict[str, Any]],
    sees: Callable[[dict[str, Any]], bool | None],
    context: Callable[[dict[str, Any]], int | None] | None = None,
) -> Models:
    """The models of a list, without those that are not named."""
    context = context or _context
    named = ((entry.get("id"), entry) for entry in entries)
    return tuple(LocalModel(name, sees(entry), context(entry)) for name, entry in named if isinstance(name, str))


def _context(entry: dict[str, Any]) -> int | None:
    return _tokens(
        entry.get("max_model_len"), entry.get("loaded_context_length"), _mapping(entry.get("meta")).get("n_ctx")
    )


def _tokens(*told: Any) -> int | None:
    """The first that is a number of tokens."""
    return next((value for value in told if isinstance(value, int) and not isinstance(value, bool) and value > 0), None)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _unknown(entry: dict[str, Any]) -> bool | None:
    return None


def _plain_models(probe: Probe, port: int, listing: Answer) -> Models:
    return _listed(listing.entries(), _unknown) if listing.status == 200 and isinstance(listing.value, dict) else None


def _localai_models(probe: Probe, port: int, listing: Answer) -> Models:
    told = probe.get(port, "/v1/models/capabilities")
    if not (told and told.entries()):
        return _plain_models(probe, port, listing)
    return _listed(told.entries(), lambda entry: _has(entry.get("capabilities"), "vision"))


def _litellm_models(probe: Probe, port: int, listing: Answer) -> Models:
    told = probe.get(port, "/model/info")
    if listing.status != 200:
        return None
    entries = told.entries() if told else []
    infos = {str(entry.get("model_name")): _mapping(entry.get("model_info")) for entry in entries}

    def info(entry: dict[str, Any], name: str) -> Any:
        return infos.get(str(entry.get("id")), {}).get(name)

    def sees(entry: dict[str, Any]) -> bool | None:
        answer = info(entry, "supports_vision")
        return answer if isinstance(answer, bool) else None

    return _listed(listing.entries(), sees, lambda entry: _tokens(info(entry, "max_input_tokens")))


def _lmstudio_models(probe: Probe, port: int, listing: Answer) -> Models:
    told = probe.get(port, "/api/v0/models")
    if not (told and told.entries()):
        return _newer_lmstudio_models(probe, port) or _plain_models(probe, port, listing)
    talking = [entry for entry in told.entries() if entry.get("type") != "embeddings"]
    return _listed(talking, lambda entry: {"vlm": True, "llm": False}.get(str(entry.get("type"))))


def _newer_lmstudio_models(probe: Probe, port: int) -> Models:
    told = probe.get(port, "/api/v1/models")
    entries = told.entries("models") if told else []
    talking = [entry for entry in entries if not str(entry.get("type")).startswith("embedding")]

    def sees(entry: dict[str, Any]) -> bool | None:
        answer = _mapping(entry.get("capabilities")).get("vision")
        return answer if isinstance(answer, bool) else None

    def context(entry: dict[str, Any]) -> int | None:
        loaded = entry.get("loaded_instances")
        of_each = loaded if isinstance(loaded, list) else []
        return _tokens(*(_mapping(_mapping(one).get("config")).get("context_length") for one in of_each))

    return _listed(({**entry, "id": entry.get("key")} for entry in talking), sees, context)


def _ollama_models(probe: Probe, port: int, listing: Answer) -> Models:
    tags = probe.get(port, "/api/tags")
    if tags is None or tags.status != 200:
        return _plain_models(probe, port, listing)
    loaded = probe.get(port, "/api/ps")  # with the context that is really set aside
    contexts = {str(one.get("name")): one.get("context_length") for one in (loaded.entries("models") if loaded else [])}
    names = [name for entry in tags.entries("models") if isinstance(name := entry.get("name"), str)]
    models = []
    for place, name in enumerate(names):
        shown = probe.post(port, "/api/show", {"model": name}) if place < _MOST_SHOWN_BY_OLLAMA else None
        told = _mapping(shown.value) if shown and shown.status == 200 else {}
        sees = _has(told.get("capabilities"), "vision")
        if sees is None and isinstance(told.get("projector_info"), dict):  # before capabilities were told
            sees = True
        asked_for = re.search(r"^num_ctx\s+(\d{1,9})\b", str(told.get("parameters")), re.MULTILINE)
        models.append(LocalModel(name, sees, _tokens(contexts.get(name), asked_for and int(asked_for[1]))))
    return tuple(models)


def _llama_models(probe: Probe, port: int, listing: Answer) -> Models:
    """llama.cpp's own server names the modalities of each model, or, in older versions, says "multimodal".

    Where it serves one model, its properties tell both too.
    """
    properties = probe.get(port, "/props") if len(listing.entries()) == 1 else None
    of_one = _mapping(properties.value) if properties and properties.status == 200 else {}
    vision = _mapping(of_one.get("modalities")).get("vision")
    own_context = _mapping(of_one.get("default_generation_settings")).get("n_ctx")
    told = {entry.get("name"): entry.get("capabilities") for entry in listing.entries("models")}

    def sees(entry: dict[str, Any]) -> bool | None:
        architecture = entry.get("architecture")
        if isinstance(architecture, dict) and "input_modalities" in architecture:
            return _has(architecture["input_modalities"], "image")
        multimodal = _has(told.get(entry.get("id")), "multimodal")
        return vision if multimodal is None and isinstance(vision, bool) else multimodal

    return _listed(listing.entries(), sees, lambda entry: _tokens(_context(entry), own_context))


def _has(words: Any, word: str) -> bool | None:
    """Whether a list names a word; None where it is no list."""
    return word in words if isinstance(words, list) else None


SERVER_TYPES: Sequence[ServerType] = (
    # LocalAI speaks Ollama's protocol as well, and comes before it.
    ServerType("LM Studio", _owned_by("organization_owner"), _lmstudio_models),
    ServerType("vLLM", _owned_by("vllm"), _plain_models),
    ServerType("llama.cpp", _owned_by("llamacpp"), _llama_models),
    ServerType("llama.cpp", _owned_by("me"), _plain_models),  # llama-cpp-python's server
    ServerType("llama.cpp", _is_loading, _plain_models),
    ServerType("LocalAI", _is_localai, _localai_models),
    ServerType("LiteLLM", _is_litellm, _litellm_models),
    ServerType("Ollama", _is_ollama, _ollama_models),
)
"""The kinds that are known, in the order in which they are tried: first those that the list of models tells."""

OTHER = ServerType("OpenAI-compatible server", _is_openai_compatible, _plain_models)
