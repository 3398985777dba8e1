"""Discovery of model servers on this machine, their models, and which of these accept images."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from vision_nb.checks.indices import item_at
from vision_nb.errors import ProviderConnectionError, SettingsError, UnknownModelError
from vision_nb.privacy.api_keys import hide, make_secret
from vision_nb.providers.llamacpp.process import Engine, running_engines
from vision_nb.providers.local.probe import HOST, KEY_NAME, Probe
from vision_nb.providers.local.server_types import OTHER, SERVER_TYPES, LocalModel
from vision_nb.rendering import html
from vision_nb.rendering.format import format_count
from vision_nb.rendering.sanitize import terminal_text

DEFAULT_PORTS: Sequence[int] = (
    8080,  # LocalAI, llama.cpp
    28000,  # the walkthrough's container
    4000,  # LiteLLM
    11434,  # Ollama
    1234,  # LM Studio
    8000,  # vLLM, llama-cpp-python
)
"""Default ports of the servers (their documentation, read 2026-11)."""

_PORTS_VARIABLE = "VISION_NB_LOCAL_PORTS"
_MAX_ROWS = 20  # per server
_MAX_NAME_LENGTH = 80


@dataclass(frozen=True)
class LocalServer:
    """A model server on this machine.

    Attributes:
        kind: "LocalAI", "LiteLLM", "LM Studio", "Ollama", "vLLM", "llama.cpp" or "OpenAI-compatible server".
        api_base: Base URL for `LocalMultiModal`.
        models: Its models; None if it does not list them.
        remark: A problem such as a missing key; empty if there is none.
    """

    kind: str
    api_base: str
    models: tuple[LocalModel, ...] | None
    remark: str = ""

    def find(self, name: str) -> LocalModel | None:
        """Return the model with a name; the name may leave out its tag, as in Ollama."""
        models = {model.name: model for model in self.models or ()}
        with_tag = [model for model in models.values() if model.name.partition(":")[0] == name]
        return models.get(name) or models.get(f"{name}:latest") or next(iter(with_tag), None)

    def __str__(self) -> str:
        names = "does not list its models"
        if self.models is not None:
            more = [f"and {len(self.models) - _MAX_ROWS} more"] if len(self.models) > _MAX_ROWS else []
            names = ", ".join([*map(_display_name, self.models[:_MAX_ROWS]), *more]) or "no models"
        text = f"{self.kind} at {self.api_base}: {names}" + (f" ({self.remark})" if self.remark else "")
        return terminal_text(text)


class LocalServers(Sequence[LocalServer]):
    """The model servers that were found; displayed as a table.

    Args:
        servers: The servers.
        ports: The ports that were tried.
    """

    def __init__(self, servers: Iterable[LocalServer], ports: Sequence[int]) -> None:
        self._servers, self.ports = tuple(servers), tuple(ports)

    def __getitem__(self, index: Any) -> Any:
        return item_at(self._servers, index, "server")

    def __len__(self) -> int:
        return len(self._servers)

    def choose(self, name: str | None = None) -> tuple[LocalServer, LocalModel]:
        """Return the server and model to use.

        Args:
            name: Name of the model; None for a model that accepts images, or the only model.

        Raises:
            ProviderConnectionError: No server was found.
            UnknownModelError: No server has the model, or no model can be chosen.
        """
        if not self._servers:
            raise ProviderConnectionError(
                f"{self} Start Ollama, LM Studio or LocalAI, pass api_base= for another address, or use a small model "
                'that needs no server, such as "smolvlm-500m".'
            )
        found = self._with_name(name) if name else self._without_name()
        if not found:
            problem = f"has a model {name!r:.80}" if name else "reports a model that accepts images"
            raise UnknownModelError(
                f"No local server {problem}. Found: {'; '.join(map(str, self._servers))}. Name a model, as in "
                "local:NAME. A server of unknown type that does not list its models is only used with api_base=."
            )
        return max(found, key=lambda pair: bool(pair[1].sees_images))

    def _with_name(self, name: str) -> list[tuple[LocalServer, LocalModel]]:
        listed = [(server, model) for server in self if (model := server.find(name))]
        # Images must not be sent to an arbitrary program: a server without a list of models must be of a known type.
        unlisted = (server for server in self if server.models is None and server.kind != OTHER.name)
        return listed or [(server, LocalModel(name)) for server in unlisted]

    def _without_name(self) -> list[tuple[LocalServer, LocalModel]]:
        pairs = [(server, model) for server in self for model in server.models or ()]
        seeing = [pair for pair in pairs if pair[1].sees_images]
        return seeing or (pairs if len(pairs) == 1 and pairs[0][1].sees_images is None else [])

    def _repr_html_(self) -> str:
        if not self:
            return html.muted_text(str(self))
        head = ("server", "address", "model", "accepts images", "context")
        return html.html_table(head, _rows(self._servers), numbers_from=4)

    def __repr__(self) -> str:
        if self:
            return "\n".join(map(str, self._servers))
        tried = f"tried ports {', '.join(map(str, self.ports))}" if self.ports else "no ports were tried"
        return f"No model server found on this machine ({tried})."

    __str__ = __repr__


def detect(
    *, timeout: float = 1.0, total_timeout: float = math.inf, api_key: Any = None, ports: Sequence[int] | None = None
) -> LocalServers:
    """Find the model servers on loopback; see `LocalMultiModal.detect`.

    Args:
        timeout: Seconds allowed for each response.
        total_timeout: Seconds allowed for everything; what has not been received by then is treated as missing.
        api_key: Key for servers that require one; it is not sent to others.
        ports: The ports to try; None for the default ports and those of `serve`.

    Raises:
        SettingsError: An argument is invalid, or VISION_NB_LOCAL_PORTS is.
    """
    api_key = hide(api_key, is_key=True)
    make_secret(api_key, name=KEY_NAME)  # an invalid key is an error even if there are no ports to try
    engines = {engine.port: engine for engine in running_engines()}
    tried = list(dict.fromkeys([*engines, *default_ports()] if ports is None else ports))
    keys = {port: engine.api_key for port, engine in engines.items()}
    deadline = time.monotonic() + total_timeout
    probes = [Probe(port, timeout=timeout, deadline=deadline, api_key=keys.get(port, api_key)) for port in tried]
    with ThreadPoolExecutor(max(1, len(probes))) as pool:
        found = dict(zip(tried, pool.map(_identify, probes), strict=True))
    return LocalServers(
        (_with_engine(server, engines.get(port)) for port, server in found.items() if server is not None), tried
    )


def default_ports() -> Sequence[int]:
    """Return the ports to try: those that VISION_NB_LOCAL_PORTS lists if it is set, as in "8080,9000"; "" for none.

    Raises:
        SettingsError: The variable is not a list of ports.
    """
    listed = os.environ.get(_PORTS_VARIABLE)
    if listed is None:
        return DEFAULT_PORTS
    words = [word.strip() for word in listed.split(",") if word.strip()]
    if not all(word.isdecimal() and 0 < int(word) < 65536 for word in words):
        raise SettingsError(f"{_PORTS_VARIABLE}={listed!r:.80} is not a list of ports: write it as in 8080,9000.")
    return [int(word) for word in words]


def _identify(probe: Probe) -> LocalServer | None:
    """Return the server at a port, or None if it is not a model server."""
    if probe.listing.status is None:
        return None
    server_type = next((one for one in (*SERVER_TYPES, OTHER) if one.matches(probe)), None)
    if server_type is None:
        return None
    remark = ""
    if probe.listing.status in (401, 403):
        remark = "requires a key: pass api_key= to detect() or connect()"
    elif probe.listing.status == 503:
        remark = "still loading"
    return LocalServer(server_type.name, f"http://{HOST}:{probe.port}/v1", server_type.list_models(probe), remark)


def _with_engine(server: LocalServer, engine: Engine | None) -> LocalServer:
    """Add what `serve` knows about a server that it has started."""
    if engine is None:
        return server
    return replace(server, models=(LocalModel(engine.model, True, engine.context_length),))


def _rows(servers: Iterable[LocalServer]) -> list[tuple[str, str, str, str, str]]:
    rows = []
    for server in servers:
        address = (server.kind, server.api_base)
        models = server.models or ()
        if not models:
            missing = "not listed" if server.models is None else "none"
            rows.append((*address, server.remark or missing, "", ""))
        for model in models[:_MAX_ROWS]:
            sees_images = {True: "yes", False: "no", None: "unknown"}[model.sees_images]
            rows.append((*address, _display_name(model), sees_images, format_count(model.context_length)))
        if len(models) > _MAX_ROWS:
            rows.append((*address, f"and {len(models) - _MAX_ROWS} more", "", ""))
    return rows


def _display_name(model: LocalModel) -> str:
    """Return a model's name, shortened."""
    return model.name if len(model.name) <= _MAX_NAME_LENGTH else f"{model.name[: _MAX_NAME_LENGTH - 3]}..."
