"""The openai package's clients of a model: key, address, HTTP clients and hooks."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.request import getproxies
from weakref import finalize

from vision_nb.errors import MissingKeyError, ProviderError, SettingsError
from vision_nb.notebook.interrupts import keep_interrupts
from vision_nb.privacy.api_keys import Secret, make_secret
from vision_nb.privacy.redaction import redact_logs
from vision_nb.privacy.token_provider import TokenProvider
from vision_nb.providers.addresses import Address, check_address, is_on_this_machine
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.call import Request
from vision_nb.providers.deadline import answer_deadline
from vision_nb.providers.openai.responses_api import wire_format_of
from vision_nb.providers.request_process import active_process
from vision_nb.services.table import SERVICES, Service

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI, OpenAI

    from vision_nb.providers.openai.transport import Hooks

_NO_API = (404, 405, 501)  # the status of a server without the Files API or the batch API


class OpenAIConnection(MultiModalLLM):
    """A model that is reached through the openai package's clients.

    Attributes:
        api_base: The base URL of the server, or None if it is the service's own.
        total_timeout: Seconds that a whole answer may take.
    """

    service = SERVICES["openai"].title
    """How error messages call the server."""
    api_base: Address | None
    total_timeout: float
    _address_argument: ClassVar[str] = "api_base"
    _row: Service = SERVICES["openai"]
    _api_key: Secret | None
    _default_headers: Mapping[str, Any]
    _http_client: httpx2.Client | None
    _async_http_client: httpx2.AsyncClient | None

    def _find_key(self, api_key: Any) -> Secret | None:
        title, variable = self._row.title, self._row.key_variable
        key = make_secret(api_key, name=f"The API key for {title}", variable=variable or "")
        if key is None and variable is not None:
            raise MissingKeyError(
                f"The API key for {title} is missing: set {variable} or pass api_key=. "
                'To try without one, use the model "demo".'
            )
        return key or Secret("EMPTY", name="No key")

    @cached_property
    def client(self) -> OpenAI:
        """The openai package's client, created on first use."""
        from openai import DefaultHttpxClient

        from vision_nb.providers.openai.transport import ClientTransport, limit_client_reads

        own = self._http_client
        options = self._http_options() if own is None else {"transport": ClientTransport(own), "trust_env": False}
        http_client = DefaultHttpxClient(event_hooks=self._hooks().sync(), **options)
        limit_client_reads(own or http_client)
        client = self._client_classes()[0](http_client=http_client, **self._client_options())
        closing = finalize(client, keep_interrupts(http_client.close))
        closing.atexit = False  # when Python exits, uploads are still to be deleted
        return client

    @property
    def async_client(self) -> AsyncOpenAI:
        """The openai package's client for the running event loop, created on first use."""
        client: AsyncOpenAI = self._async_client
        return client

    def _make_async_client(self) -> AsyncOpenAI:
        from vision_nb.providers.openai.transport import AsyncClientTransport

        if self._http_client is not None and self._async_http_client is None:
            raise SettingsError(
                "http_client= cannot be used by asynchronous methods: pass an httpx2.AsyncClient as async_http_client=."
            )
        own = self._async_http_client
        options = self._http_options() if own is None else {"transport": AsyncClientTransport(own), "trust_env": False}
        return self._async_client_with(options)

    def _make_client_for_many(self) -> AsyncOpenAI | None:
        has_own = self._http_client is not None or self._async_http_client is not None
        has_proxies = getproxies().keys() - {"no"} and not is_on_this_machine(self.server)
        if has_own or has_proxies or find_spec("aiohttp") is None:
            return None
        from httpx2 import create_ssl_context

        from vision_nb.providers.openai.aiohttp_transport import AiohttpTransport

        return self._async_client_with({"transport": AiohttpTransport(create_ssl_context()), **self._http_options()})

    def _async_client_with(self, options: Mapping[str, Any]) -> AsyncOpenAI:
        from openai import DefaultAsyncHttpxClient

        http_client = DefaultAsyncHttpxClient(event_hooks=self._hooks().asynchronous(), **options)
        return self._client_classes()[1](http_client=http_client, **self._client_options())

    def _hooks(self) -> Hooks:
        from vision_nb.providers.openai.transport import Hooks

        redact_logs()
        return Hooks(
            server=str(self.server or self._row.base_url),
            service=self.service,
            argument=self._address_argument,
            total_timeout=self.total_timeout,
            secrets=(self._credential, self._default_headers, self._login),
        )

    @property
    def _credential(self) -> Secret | TokenProvider | None:
        """The key or token that authenticates requests."""
        return self._api_key

    @property
    def _address(self) -> str | None:
        """The base URL of requests, or None if it is OpenAI's own."""
        return self.server

    @property
    def _login(self) -> Secret | None:
        """The user name and password in the server's address."""
        return getattr(self._address, "login", None)

    def __getstate__(self) -> dict[str, Any]:
        if self._http_client is not None or self._async_http_client is not None:
            raise SettingsError(
                "A model with http_client= or async_http_client= cannot be sent to another process: create the model "
                "in that process."
            )
        state = super().__getstate__()
        if type(self).provider == "openai":  # the address in this process's environment
            state["api_base"] = self.server
        return state

    @property
    def account(self) -> str:
        """A digest of the server and the key: their models share uploaded files and rate limits."""
        credential = self._credential
        if isinstance(credential, TokenProvider):
            key = str(id(credential.function))  # its tokens change
        else:
            key = "" if credential is None else credential.reveal()
        return hashlib.sha256(f"{self.server} {key}".encode()).hexdigest()

    def _client_classes(self) -> tuple[type[OpenAI], type[AsyncOpenAI]]:
        from openai import AsyncOpenAI, OpenAI

        return OpenAI, AsyncOpenAI

    def _create(self, request: Request) -> Any:
        """Send a request once."""
        with answer_deadline(self.total_timeout):
            return wire_format_of(request).create(self.client.with_options(max_retries=0))(**request)

    async def _acreate(self, request: Request) -> Any:
        """Send a request once, perhaps from another process."""
        process = active_process(self, request)
        async with asyncio.timeout(self.total_timeout):
            return await (self.send_once(request) if process is None else process.send(self, request))

    async def send_once(self, request: Request) -> Any:
        """Send a request once with the asynchronous client of this process.

        Args:
            request: The request.

        Returns:
            The client's answer or stream.

        Raises:
            Exception: As the client raises it.
        """
        return await wire_format_of(request).acreate(self.async_client, request)

    @contextmanager
    def _needing_api(self, advice: str) -> Iterator[None]:
        """Map errors; raise SettingsError if the server does not have the API that is used.

        Args:
            advice: What the model does not take, and what to do instead.
        """
        try:
            with self._mapping_errors():
                yield
        except ProviderError as error:
            if error.status_code in _NO_API:
                raise SettingsError(f"{self} {advice} {error}") from error
            raise

    def _client_options(self) -> dict[str, Any]:
        from vision_nb.providers.openai.transport import ACCEPTED_ENCODINGS

        login = {} if self._login is None else {"Authorization": f"Basic {self._login.token}"}
        return {
            **self._endpoint_options(),
            "max_retries": self.max_retries,
            "timeout": self.timeout,
            "default_headers": {"Accept-Encoding": ACCEPTED_ENCODINGS, **login, **self._default_headers},
        }

    def _http_options(self) -> dict[str, Any]:
        # A proxy would send images off this machine.
        return {"trust_env": False} if is_on_this_machine(self._address) else {}

    def _endpoint_options(self) -> dict[str, Any]:
        """Return the client's arguments for the server's address and the token of the key."""
        return {"api_key": None if self._credential is None else self._credential.token, "base_url": self._address}

    @property
    def server(self) -> str | None:
        """The base URL, or None if it is OpenAI's own."""
        return self.api_base or check_address(os.environ.get("OPENAI_BASE_URL"), "OPENAI_BASE_URL")
