"""The model that a name or an object refers to: ``"provider:model"``, a bare model name, or a model object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

from vision_nb.checks.spelling import similar
from vision_nb.cost.image_rules import rule_for
from vision_nb.cost.rule_table import RULES
from vision_nb.cost.small_models import SMALL_MODELS
from vision_nb.errors import SettingsError
from vision_nb.rendering.format import type_name
from vision_nb.responses import Usage
from vision_nb.services.registry import all_services, find_service
from vision_nb.services.table import OTHER_PROVIDERS, SERVICES

_DEFAULT_MODELS = {"openai": "gpt-4o", "local": "llava", "demo": "demo"}
_LOCAL_SERVERS = ("ollama", "lmstudio", "lm-studio", "localai", "vllm", "llamacpp", "llama.cpp", "llama-cpp")
"""Programs that serve local models: as a provider, each means "local"."""
_BILLED_BY_TIME = frozenset({"replicate"})
REPLICATE_MODELS = ("llava-13b", "fuyu-8b", "minigpt-4", "cogvlm")
"""The short names of Replicate's models; the catalog, in a layer above, has their references."""
_SHORT_TYPO = 0.9  # for these, because other models have names such as bakllava-13b
_TYPO = 0.8  # the similarity of a misspelled name to the right one


@runtime_checkable
class PricedModel(Protocol):
    """The part of a model object that estimates and the ledger use; all model classes implement it."""

    provider: str

    @property
    def counted_model(self) -> str:
        """The name of the model whose token rule and price apply."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return the settings of a call, such as its length limit and detail level."""
        ...

    def price(self, usage: Usage) -> Decimal | None:
        """Return the price of some usage in US dollars, or None if it is not known."""
        ...

    def count_input_tokens(self, prompt: str, image_documents: Any = ()) -> int:
        """Return the provider's own count of a prompt's input tokens, without running it."""
        ...


@dataclass(frozen=True)
class ModelReference:
    """A model and its provider.

    Attributes:
        provider: The provider's name; "" if the model's name does not determine it.
        model: The model's name; "" for the provider's default.
    """

    provider: str
    model: str

    @property
    def is_free(self) -> bool:
        """Whether a model connected by this name costs nothing: the demo, or a small model run on this machine.

        The server of another local model may be a proxy in front of a paid service.
        """
        return self.provider == "demo" or (self.provider == "local" and self.model in SMALL_MODELS)

    def __str__(self) -> str:
        return f"{self.provider}:{self.model}" if self.provider and self.model else self.provider or self.model


def provider_names() -> list[str]:
    """Return the names of all providers."""
    return list(dict.fromkeys([*SERVICES, *OTHER_PROVIDERS, *all_services()]))


def parse_model_name(name: str) -> ModelReference:
    """Return the provider and the model of a name.

    Args:
        name: ``"provider:model"``, a provider, or the name of a small model or of one that only one provider has. The
            program of a local server, such as "ollama", may replace "local".

    Raises:
        SettingsError: The provider does not exist, or cannot be determined from the model's name; or a model is missing
            after the colon.

    >>> str(parse_model_name("gpt-4o")), str(parse_model_name("ollama:llava"))
    ('openai:gpt-4o', 'local:llava')
    """
    check_model_name(name)
    text = name.strip()
    provider, colon, model = text.partition(":")
    is_local = provider.lower() in _LOCAL_SERVERS
    if is_local or provider in OTHER_PROVIDERS or find_service(provider) is not None:
        if colon and not model:
            raise no_model(text, provider)
        return ModelReference("local" if is_local else provider, model)
    if text.lower() in SMALL_MODELS:
        return ModelReference("local", text.lower())
    owner = owner_of(text)
    if owner is not None:
        return ModelReference(owner, text)
    guess = nearest_name(text)
    if colon:
        hint = f"did you mean {guess!r}?" if guess else f"use one of {', '.join(provider_names())}."
        raise SettingsError(f"Unknown provider {provider!r:.80}: {hint}")
    hint = f"did you mean {guess!r}?" if guess else "write provider:model, for example openai:gpt-4o."
    raise SettingsError(f"Unknown provider or model {text!r:.80}: {hint}")


def check_model_name(name: object) -> None:
    """Raise SettingsError if a model's name is not a string."""
    if not isinstance(name, str):
        raise SettingsError(f"{type_name(name, 'A')} is not a model's name: pass a name such as 'gpt-4o'.")


def no_model(name: str, provider: str) -> SettingsError:
    """Return an error about a name that has a provider only."""
    return SettingsError(f"{name!r} does not include a model: write {provider}:NAME.")


def without_provider(name: str) -> str:
    """Return a model's name without its provider; a name without a known provider is returned unchanged.

    >>> without_provider("openai:gpt-4o"), without_provider("my-llava:7b")
    ('gpt-4o', 'my-llava:7b')
    """
    try:
        return parse_model_name(name).model or name
    except SettingsError:
        return name


def counted_model(model: Any) -> ModelReference:
    """Return the model whose token rule and price apply.

    Args:
        model: A name as for `parse_model_name`, the name of any other model, or a model object.

    Raises:
        SettingsError: The name is misspelled, or the value is neither a name nor a model.
    """
    if isinstance(model, str):
        return _counted_name(model.strip())
    if isinstance(model, PricedModel):
        return ModelReference(model.provider, model.counted_model)
    raise SettingsError(f"{type_name(model, 'A')} is not a model: pass a model object or a name such as 'gpt-4o'.")


def as_models(models: Any) -> list[Any]:
    """Return one model or several as a list; a name is one model."""
    is_one = isinstance(models, (str, PricedModel)) or not isinstance(models, Iterable)
    return [models] if is_one else list(models)


def nearest_name(name: str, cutoff: float = 0.6) -> str | None:
    """Return the known provider or model whose name is most similar to a misspelled one, or None."""
    provider, colon, model = name.partition(":")
    if colon:
        found = similar(provider, [*provider_names(), *_LOCAL_SERVERS], cutoff)
        return f"{found}:{model or 'NAME'}" if found else None
    known = {_DEFAULT_MODELS["local"]: f"local:{_DEFAULT_MODELS['local']}"}
    known |= {row: f"openai:{row}" for row in RULES if owner_of(row) == "openai"}
    for service in all_services().values():
        known |= {example: f"{service.name}:{example}" for example in service.examples}
    known |= {one: one for one in (*provider_names(), *_LOCAL_SERVERS, *SMALL_MODELS)}
    found = similar(name, known, cutoff)
    return known[found] if found else None


def misspelling(provider: str, model: str) -> str:
    """Return a remark about a model without a known price whose name resembles that of a known one, or "".

    Args:
        provider: The provider's name; the models of others than services are not known.
        model: The model's name.

    >>> misspelling("openai", "gpt-4oo")
    'The price of openai:gpt-4oo is not known: it may be a misspelling of openai:gpt-4o'
    """
    service = find_service(provider)
    examples = () if service is None else service.examples
    known = [*examples, *(row for row in RULES if owner_of(row) == provider)]
    found = similar(model, known, _TYPO)
    if not found or model in known:
        return ""
    return f"The price of {provider}:{model:.80} is not known: it may be a misspelling of {provider}:{found}"


def _counted_name(name: str) -> ModelReference:
    try:
        found = parse_model_name(name)
    except SettingsError:
        if rule_for(name) is None and nearest_name(name, _TYPO) is not None:
            raise
        if name not in REPLICATE_MODELS and rule_for(name) is None:
            near = similar(name, REPLICATE_MODELS, _SHORT_TYPO)
            if near:
                raise SettingsError(f"Unknown model {name!r:.80}: did you mean 'replicate:{near}'?") from None
        return ModelReference("", name)
    if found.provider in _BILLED_BY_TIME:
        return ModelReference(found.provider, str(found))  # as its model objects say: no token rule applies
    return found if found.model else ModelReference(found.provider, _DEFAULT_MODELS.get(found.provider, ""))


def pricing_service(provider: str, model: str) -> str:
    """Return the provider whose price applies: of a model that the demo plays, as "demo:gpt-4o", its service."""
    return (owner_of(model) or "") if provider == "demo" else provider


@lru_cache
def owner_of(name: str) -> str | None:
    """Return the service to which a model's name belongs, or None if it cannot be determined."""
    if name.startswith("ft:"):
        return "openai"
    owners = (row.name for row in SERVICES.values() if f"{name}-".startswith(row.model_prefixes or ("\0",)))
    return next(owners, None)
