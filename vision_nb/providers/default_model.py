"""`default_model`: the model that answers when none is named."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from vision_nb.notebook.ipython import shell
from vision_nb.providers import hooks
from vision_nb.providers.catalog import DEMO, key_variables, known_models
from vision_nb.providers.hooks import ConfiguredModel
from vision_nb.providers.llamacpp.memory import available_memory
from vision_nb.providers.llamacpp.models import downloaded_models
from vision_nb.providers.llamacpp.process import is_engine_installed, running_engines
from vision_nb.providers.local.discovery import detect
from vision_nb.providers.local.server_types import FORWARDING
from vision_nb.rendering.html import muted_text

_PROBE_TIMEOUT = 0.5  # seconds for each response
_SEARCH_TIMEOUT = 1.5  # seconds for the search for servers
_EXAMPLES = {"openai": "openai:gpt-4o", "azure": "azure:DEPLOYMENT"}  # the first known model of the other providers
_lock = Lock()
_found: DefaultModel | None = None  # in this process, until it ends
_announced: set[str] = set()


@dataclass(frozen=True)
class DefaultModel:
    """The model that answers when none is named.

    Attributes:
        name: Its name, as for `connect`.
        reason: Why it answers, as the end of a sentence.
        advice: How to choose another model, as a sentence; empty for a model that the user has chosen.
        options: Arguments for `connect`.
    """

    name: str
    reason: str
    advice: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def note(self) -> str:
        """Which model answers and why, as one line of text."""
        name = "".join(filter(str.isprintable, self.name))  # a server may send any text
        return f"{name:.80} answers: {self.reason}. {self.advice}".rstrip()


def default_model(configured: ConfiguredModel | None = None) -> DefaultModel:
    """Return the model that answers when none is named.

    It is the configured model; otherwise a downloaded model, or a model of a local server; otherwise the demo model. A
    model that needs an API key is never chosen unless it is configured. The search is made once: models and servers
    that are added later are used after a restart of the kernel, or after ``%vision download``.

    Args:
        configured: The model that the user has set; None to look for it in the settings of this kernel or project.

    Raises:
        SettingsError: The configured name is not a model, or VISION_NB_LOCAL_PORTS is not a list of ports.
    """
    global _found
    configured = configured or hooks.configured_model()
    if configured is not None:
        reason = f"{configured.source} sets it as the default model"
        return DefaultModel(configured.name, reason, options=configured.options)
    with _lock:
        if _found is None:
            _found = _find()
        return replace(_found, advice=_advice(is_demo=_found.name == DEMO))


def found_model() -> str | None:
    """Return the name of the model that `default_model` found, or None if it has not searched yet."""
    return None if _found is None else _found.name


def search_again() -> None:
    """Forget the local model or the demo model that was found, because a model was added."""
    global _found
    with _lock:
        _found = None


def announce(default: DefaultModel) -> None:
    """Display which model answers and why, once for each model, if IPython is running."""
    if default.name not in _announced and shell() is not None:
        from IPython.display import display

        display({"text/plain": default.note, "text/html": muted_text(default.note)}, raw=True)
    mark_announced(default.name)


def mark_announced(name: str) -> None:
    """Record that the user knows that a model is the default."""
    _announced.add(name)


def _find() -> DefaultModel:
    # An engine that this kernel runs is found as a server, and was started on purpose.
    first, second = (_on_server, _downloaded) if running_engines() else (_downloaded, _on_server)
    return first() or second() or DefaultModel(DEMO, f"no model was named, and {_why_none()}")


def _downloaded() -> DefaultModel | None:
    """Return the largest downloaded model for which there is an engine and enough memory."""
    memory = available_memory()
    usable = [model for model in downloaded_models() if memory is None or model.memory <= memory]
    if not usable or not is_engine_installed():
        return None
    return DefaultModel(f"local:{usable[-1].name}", "no model was named, and it is downloaded to this machine")


def _why_none() -> str:
    """Return why no local model answers."""
    downloaded = downloaded_models()
    if not downloaded:
        return "no local model was found"
    if not is_engine_installed():
        return f'{downloaded[0].name} is downloaded, but needs pip install "vision-nb[local]"'
    return f"{downloaded[0].name} is downloaded, but there is not enough free memory for it"


def _on_server() -> DefaultModel | None:
    """Return a model that accepts images, from a server on this machine that runs its models itself."""
    servers = detect(timeout=_PROBE_TIMEOUT, total_timeout=_SEARCH_TIMEOUT)
    for server in servers:
        # Servers that forward requests, and servers of unknown types, could ask a model that costs money.
        models = () if server.kind in FORWARDING else server.models or ()
        for model in models:
            if model.sees_images and not model.is_remote:
                is_ours = any(engine.api_base == server.api_base for engine in running_engines())
                options = {"api_base": server.api_base, "context_length": model.context_length}
                reason = f"no model was named, and {server.kind} at {server.api_base} has it"
                return DefaultModel(f"local:{model.name}", reason, options={} if is_ours else options)
    return None


def _advice(*, is_demo: bool) -> str:
    """Return how to make another model the default: one whose API key is set, if there is any."""
    variables = key_variables()
    for provider, variable in variables.items():
        if variable and os.environ.get(variable):
            known = (name for name in known_models() if name.startswith(f"{provider}:"))
            example = _EXAMPLES.get(provider) or next(known, f"{provider}:MODEL")
            return f"{variable} is set: %vision use {example} makes that model the default."
    examples = "smolvlm-256m (a download of 279 MB), or " if is_demo else ""
    return f"%vision use MODEL makes another one the default: {examples}see %vision list."
