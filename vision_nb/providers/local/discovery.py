"""Which model servers answer on this machine, what they serve, and which of their models see pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from vision_nb.errors import ProviderConnectionError, UnknownModelError
from vision_nb.providers.llamacpp.process import Engine, running
from vision_nb.providers.local.probe import HOST, Probe
from vision_nb.providers.local.server_types import OTHER, SERVER_TYPES, LocalModel
from vision_nb.rendering import html
from vision_nb.rendering.format import format_count

USUAL_PORTS: Sequence[tuple[int, str]] = (
    (8080, "LocalAI, llama.cpp"),
    (28000, "the walkthrough's container"),
    (4000, "LiteLLM"),
    (11434, "Ollama"),
    (1234, "LM Studio"),
    (8000, "vLLM, llama-cpp-python"),
)
"""Where each server listens unless it is told otherwise (their documentation, read 2026-11)."""

_MOST_SHOWN = 20
_LONGEST_NAME = 80


@dataclass(frozen=True)
class LocalServer:
    """A model server that answers on this machine.

    Attributes:
        kind: "LocalAI", "LiteLLM", "LM Studio", "Ollama", "vLLM", "llama.cpp", or that it is another.
        api_base: What `LocalMultiModal` takes as its ``api_base``.
        models: Its models, or None where it does not list them.
        remark: What stands in the way, such as a missing key; empty where nothing does.
    """

    kind: str
    api_base: str
    models: tuple[LocalModel, ...] | None
    remark: str = ""

    def find(self, name: str) -> LocalModel | None:
        """The model of a name, or the one of which the name leaves the tag out, as Ollama allows."""
        models = {model.name: model for model in self.models or ()}
        tagged = [model for model in models.values() if model.name.partition(":")[0] == name]
        return models.get(name) or models.get(f"{name}:latest") or next(iter(tagged), None)

    def __str__(self) -> str:
        names = "does not list its models" if self.models is None else ", ".join(map(_shown, self.models)) or "no model"
        return f"{self.kind} at {self.api_base}: {names}" + (f" ({self.remark})" if self.remark else "")


class LocalServers(Sequence[LocalServer]):
    """The servers that answered; shown as a table.

    Args:
        servers: The servers.
        ports: The ports that were asked.
    """

    def __init__(self, servers: Iterable[LocalServer], ports: Sequence[int]) -> None:
        self._servers, self.ports = tuple(servers), tuple(ports)

    def __getitem__(self, place: Any) -> Any:
        return self._servers[place]

    def __len__(self) -> int:
        return len(self._servers)

    def choose(self, name: str | None = None) -> tuple[LocalServer, LocalModel]:
        """The server to ask, and the model on it.

        Args:
            name: The model; None takes one that sees pictures, or the only one there is.

        Raises:
            ProviderConnectionError: No server answered.
            UnknownModelError: None has the model, or none can be chosen.
        """
        if not self._servers:
            raise ProviderConnectionError(
                f"No model server answers on this machine (asked: ports {', '.join(map(str, self.ports))}). Start one, "
                "or vn.serve_llava(model, mmproj) with two GGUF files; for any other address, say api_base=."
            )
        found = self._named(name) if name else self._unnamed()
        if not found:
            wanted = f"has a model {name!r}" if name else "says which of its models sees pictures"
            there = "; ".join(map(str, self._servers))
            raise UnknownModelError(
                f"No local server {wanted}. There is {there}. Name one, as in local:NAME; a server of unknown kind "
                "that does not list its models is asked only where api_base= names it."
            )
        return max(found, key=lambda one: bool(one[1].sees_images))

    def _named(self, name: str) -> list[tuple[LocalServer, LocalModel]]:
        listed = [(server, model) for server in self if (model := server.find(name))]
        # A picture is not for whatever else may listen there: only a kind that is known is taken at its silence.
        silent = (server for server in self if server.models is None and server.kind != OTHER.name)
        return listed or [(server, LocalModel(name)) for server in silent]

    def _unnamed(self) -> list[tuple[LocalServer, LocalModel]]:
        every = [(server, model) for server in self for model in server.models or ()]
        seeing = [one for one in every if one[1].sees_images]
        return seeing or (every if len(every) == 1 and every[0][1].sees_images is None else [])

    def _repr_html_(self) -> str:
        if not self:
            return html.muted_text(str(self))
        head = ("server", "address", "model", "sees pictures", "context")
        return html.html_table(head, _rows(self._servers), numbers_from=4)

    def __repr__(self) -> str:
        if self:
            return "\n".join(map(str, self._servers))
        return f"No model server answers on this machine (asked: ports {', '.join(map(str, self.ports))})."

    __str__ = __repr__


def detect(*, timeout: float = 1.0, api_key: str | None = None, ports: Sequence[int] | None = None) -> LocalServers:
    """Look which servers answer on loopback; see `LocalMultiModal.detect`.

    Args:
        timeout: Seconds that one answer may take.
        api_key: A key for servers that ask for one; it is sent to no other.
        ports: The ports to ask; None asks the usual ones and those of the engines of this process.

    Raises:
        SettingsError: An argument cannot be used.
    """
    own = {engine.port: engine for engine in running()}
    asked = list(dict.fromkeys([*own, *(port for port, _ in USUAL_PORTS)] if ports is None else ports))
    with Probe(timeout, api_key) as probe, ThreadPoolExecutor(max(1, len(asked))) as pool:
        found = dict(zip(asked, pool.map(lambda port: _look(probe, port), asked), strict=True))
    servers = {port: server for port, server in found.items() if server is not None}
    return LocalServers((_known(server, own.get(port)) for port, server in servers.items()), asked)


def _look(probe: Probe, port: int) -> LocalServer | None:
    """What answers at a port, or None where nothing does or it is no model server."""
    listing = probe.get(port, "/v1/models")
    if listing is None:
        return None
    for kind in SERVER_TYPES:
        if kind.is_it(probe, port, listing):
            break
    else:
        if not OTHER.is_it(probe, port, listing):
            return None
        kind = OTHER
    models = kind.models(probe, port, listing)
    remark = ""
    if listing.status in (401, 403):
        remark = "asks for a key: detect(api_key=...) and api_key= give it one"
    elif listing.status == 503:
        remark = "is still loading"
    return LocalServer(kind.name, f"http://{HOST}:{port}/v1", models, remark)


def _known(server: LocalServer, engine: Engine | None) -> LocalServer:
    """A server with what it does not tell itself, where `serve_llava` has started it."""
    if engine is None:
        return server
    return replace(server, models=(LocalModel(engine.model, True, engine.context_length),))


def _rows(servers: Iterable[LocalServer]) -> list[tuple[str, str, str, str, str]]:
    rows = []
    for server in servers:
        place = (server.kind, server.api_base)
        if not server.models:
            missing = "not listed" if server.models is None else "none"
            rows.append((*place, server.remark or missing, "", ""))
        for model in (server.models or ())[:_MOST_SHOWN]:
            sees = {True: "yes", False: "no", None: "unknown"}[model.sees_images]
            context = format_count(model.context_length)
            rows.append((*place, _shown(model), sees, context))
        hidden = len(server.models or ()) - _MOST_SHOWN
        if hidden > 0:
            rows.append((*place, f"and {hidden} more", "", ""))
    return rows


def _shown(model: LocalModel) -> str:
    """A model's name as it may be shown: a server can call it anything."""
    name = "".join(letter for letter in model.name if letter.isprintable())
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."
