"""Models on this machine: small models with an engine of their own, and the models of local servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vision_nb.checks.arguments import check_options
from vision_nb.cost.small_models import SMALL_MODELS
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.llamacpp.models import cached_pair
from vision_nb.providers.llamacpp.process import CLIENT_OPTIONS, running_engines
from vision_nb.providers.llamacpp.shared import connect_shared, has_engine
from vision_nb.providers.local.model import LocalMultiModal


def connect_local(model: str, options: Mapping[str, Any]) -> MultiModalLLM:
    """Return a small model, or a model from a server found on this machine.

    Args:
        model: The model's name; "" for any that accepts images.
        options: Arguments of `LocalMultiModal` without the address.

    Raises:
        ProviderConnectionError: No local server responds.
        UnknownModelError: No local server has the model.
    """
    small = SMALL_MODELS.get(model)
    if small is not None and (has_engine(small) or cached_pair(small) is not None):
        return connect_shared(small, **options)
    if small is None:
        check_options(LocalMultiModal, options.keys() - {"download"})  # before a search that an address would spare
    servers = LocalMultiModal.detect(api_key=options.get("api_key"))
    if small is not None and not any(server.find(model) for server in servers):
        return connect_shared(small, **options)
    options = {name: value for name, value in options.items() if name != "download"}  # the server has it
    server, found = servers.choose(*([model] if model else []))
    defaults: dict[str, Any] = {"context_length": found.context_length}
    for engine in running_engines():
        if engine.api_base == server.api_base:
            defaults = {**defaults, **CLIENT_OPTIONS, "api_key": engine.api_key}
    return LocalMultiModal(found.name, **{**defaults, **options, "api_base": server.api_base})
