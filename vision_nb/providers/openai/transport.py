"""Hooks of the openai client's HTTP client: keys, redirects, limits on answers, and how answers ended.

The client reports neither a stream's end marker nor an answer that never ends, so hooks of its HTTP client replace
the body of each response with one that watches the bytes. The client itself never has a key: a hook adds it to a
request for the model's own server.
"""

from __future__ import annotations

import codecs
import re
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import httpx2
import openai

from vision_nb.cost.request_gate import note_sent
from vision_nb.privacy.api_keys import aauthorize, authorize
from vision_nb.privacy.redaction import StreamRedactor, redact_known
from vision_nb.providers.deadline import limit_reads
from vision_nb.providers.openai.chunk_stream import ANSWER_BEGAN, RECORD
from vision_nb.providers.openai.decompression import Decompressor
from vision_nb.providers.openai.errors import is_hopeless
from vision_nb.providers.openai.event_stream import EventRewriter, begins_events
from vision_nb.providers.openai.server_message import server_message
from vision_nb.providers.rate_limit_headers import note_rate_limits
from vision_nb.providers.redirects import check_redirect, is_same_server

MAX_ANSWER_BYTES = 64 * 2**20
"""The most bytes of an answer, both as received and after decompression."""

MAX_FILE_BYTES = 2 * 2**30
"""The most bytes of a file, such as the answers of a batch: 50,000 answers of 40 kB each."""

ACCEPTED_ENCODINGS = "gzip, deflate"
"""The encodings that the body can decompress up to a limit."""

_FILE_TIMEOUT = 3600.0  # seconds for the transfer of a file
_FILE = re.compile(r"/files/[^/]+/content/?$")  # the path of a file's content
_TRANSFER = re.compile(r"/files(?:/[^/]+/content)?/?$")  # the path of an upload or download
_LONGEST_FIELD = 6  # bytes that show what an answer is
_HIDDEN = "vision_nb.hidden"  # the request's extension with its headers as they were without keys
_OF_THE_ENCODED_BODY = (b"content-encoding", b"content-length", b"transfer-encoding")


class UnreadableAnswerError(openai.OpenAIError):
    """An answer is too large or has an unknown encoding."""

    is_about_answer = True


class WatchedBody(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """The body of a response, decompressed, limited in size and time, and without the keys of its request.

    Args:
        response: The response; its ``stream`` is the original body.
        deadline: When to stop, on the clock of `time.monotonic`.
    """

    def __init__(self, response: httpx2.Response, deadline: float) -> None:
        self._source: Any = response.stream
        self._request, self._deadline = response.request, deadline
        self._response = response
        is_file = _FILE.search(response.request.url.path) is not None
        self._max_bytes = MAX_FILE_BYTES if is_file else MAX_ANSWER_BYTES
        self._received = self._decoded = 0
        self._redactor = StreamRedactor()
        self._decoder = _decoder(response)
        # A file is downloaded in parts, and is not kept here, whatever its type.
        self._content: AnswerContent | None = AnswerContent(response) if _is_text(response) and not is_file else None

    @property
    def has_end_marker(self) -> bool:
        """Whether the end marker of a stream has been received."""
        return self._content is not None and self._content.events.has_end_marker

    @property
    def whole(self) -> bytes:
        """An answer that is not a stream of events."""
        return b"" if self._content is None else self._content.whole

    def __iter__(self) -> Iterator[bytes]:
        for data in self._source:
            yield self._read(data)
        yield self._read(b"", last=True)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._source:
            yield self._read(data)
        yield self._read(b"", last=True)

    def close(self) -> None:
        """Close the connection."""
        self._source.close()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._source.aclose()

    def _read(self, data: bytes, *, last: bool = False) -> bytes:
        if time.monotonic() > self._deadline and not last:
            raise openai.APITimeoutError(request=self._request)
        self._received += len(data)
        if self._decoder is not None:
            try:
                data = self._decoder.decompress(data, self._max_bytes + 1 - self._decoded)
            except zlib.error as error:
                raise openai.APIResponseValidationError(response=self._response, body=None) from error
        self._decoded += len(data)
        if max(self._received, self._decoded) > self._max_bytes:
            raise UnreadableAnswerError(f"It exceeds {self._max_bytes // 2**20} MiB.")
        data = self._redactor.feed(data, last=last)
        return data if self._content is None else self._content.feed(data, last=last)


class AnswerContent:
    """The content of an answer: a stream of events or a whole JSON object, whichever was asked for.

    Args:
        response: The response, whose content type is corrected if it is a stream of events.

    Attributes:
        events: Rewrites the events.
    """

    def __init__(self, response: httpx2.Response) -> None:
        self.events = EventRewriter()
        self._response = response
        self._is_event_stream = "event-stream" in response.headers.get("content-type", "")
        self._has_events: bool | None = None
        self._start = b""
        self._whole: list[bytes] = []

    @property
    def whole(self) -> bytes:
        """An answer that is not a stream of events."""
        return b"" if self.events.has_events else b"".join(self._whole)

    def feed(self, data: bytes, *, last: bool = False) -> bytes:
        """Return what the client is to read of these bytes.

        Args:
            data: The next bytes.
            last: Whether these are the last bytes.
        """
        if self._has_events is None:
            self._start = data = (self._start + data).lstrip().removeprefix(codecs.BOM_UTF8).lstrip()
            if len(data) < _LONGEST_FIELD and not last:
                return b""
            self._has_events = begins_events(data) or (self._is_event_stream and data[:1] not in (b"{", b"["))
            if self._has_events:
                self._response.headers["content-type"] = "text/event-stream; charset=utf-8"
        if not self.events.has_events:
            self._whole.append(data)
        return self.events.feed(data, last=last) if self._has_events else data


def _decoder(response: httpx2.Response) -> Decompressor | None:
    """Return the decompressor of a response, which is then sent on as if it had not been compressed."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        return None
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UnreadableAnswerError(
            f"Its content encoding is {encoding!r:.40}, and only gzip and deflate are accepted."
        )
    del response.headers["content-encoding"]
    return Decompressor()


def _is_text(response: httpx2.Response) -> bool:
    """Return whether an answer may be JSON or events, and not a file that the user of the client downloads."""
    kind = response.headers.get("content-type", "text")
    return any(word in kind for word in ("json", "text", "event"))


class AnswerReadTimeout(httpx2.ReadTimeout):
    """An answer was not complete at its deadline, although data kept arriving."""


def limit_client_reads(client: httpx2.Client) -> None:
    """Let the reads of a client's connections end at the deadline of the answer.

    Other requests of the user of the client have no deadline.
    """
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx2.HTTPTransport):
            limit_reads(transport, AnswerReadTimeout)


@dataclass(frozen=True)
class Hooks:
    """The hooks of the HTTP client.

    Attributes:
        server: The server's address, to which the keys belong.
        service: Its name in error messages.
        argument: The argument for its address.
        total_timeout: Seconds that an answer may take in total.
        secrets: Where the keys are kept while the client is in use.
    """

    server: str
    service: str
    argument: str
    total_timeout: float
    secrets: tuple[Any, ...] = field(repr=False)

    def sync(self) -> dict[str, list[Any]]:
        """Return the hooks of a synchronous client."""

        def start(request: httpx2.Request) -> None:
            self._start(request, authorize(request.headers, is_allowed=self._is_own(request)))

        def limit(response: httpx2.Response) -> None:
            self._receive(response)
            if response.status_code >= 500:
                response.read()
                _forbid_useless_retry(response)

        return {"request": [start], "response": [limit]}

    def asynchronous(self) -> dict[str, list[Any]]:
        """Return the hooks of an asynchronous client."""

        async def start(request: httpx2.Request) -> None:
            self._start(request, await aauthorize(request.headers, is_allowed=self._is_own(request)))

        async def limit(response: httpx2.Response) -> None:
            self._receive(response)
            if response.status_code >= 500:
                await response.aread()
                _forbid_useless_retry(response)

        return {"request": [start], "response": [limit]}

    def _is_own(self, request: httpx2.Request) -> bool:
        return is_same_server(request.url, self._server_url)

    @cached_property
    def _server_url(self) -> httpx2.URL:
        return httpx2.URL(self.server)

    def _start(self, request: httpx2.Request, hidden: dict[str, str]) -> None:
        request.extensions = {**request.extensions, "vision_nb.started": time.monotonic(), _HIDDEN: hidden}
        note_sent()

    def _receive(self, response: httpx2.Response) -> None:
        request = response.request
        for name, value in request.extensions.get(_HIDDEN, {}).items():
            request.headers[name] = value
        headers = response.headers.multi_items()
        text = "\n".join(value for _, value in headers)
        for name, value in headers if redact_known(text) != text else ():
            if (redacted := redact_known(value)) != value:
                response.headers[name] = redacted
        check_redirect(response, request.url, self.service, self.argument)
        note_rate_limits(response.headers, response.status_code)
        _watch(response, self.total_timeout)


class ClientTransport(httpx2.BaseTransport):
    """Send requests with the user's HTTP client, which stays open.

    Args:
        client: The client.
    """

    def __init__(self, client: httpx2.Client) -> None:
        self._client = client

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request without following redirects."""
        request.read()
        response = self._client.send(_rebuilt(self._client, request), stream=True, follow_redirects=False)
        return _unread(response)


class AsyncClientTransport(httpx2.AsyncBaseTransport):
    """The asynchronous version of `ClientTransport`."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request without following redirects."""
        await request.aread()
        response = await self._client.send(_rebuilt(self._client, request), stream=True, follow_redirects=False)
        return _unread(response)


def _rebuilt(client: httpx2.Client | httpx2.AsyncClient, request: httpx2.Request) -> httpx2.Request:
    """Return a request with everything that the user's client adds, such as headers and cookies."""
    return client.build_request(
        request.method, request.url, headers=request.headers, content=request.content, extensions=request.extensions
    )


def _unread(response: httpx2.Response) -> httpx2.Response:
    """Return a response whose body can be read, even if a hook of the user's client has read it."""
    if not response.is_stream_consumed:
        return response
    headers = [(name, value) for name, value in response.headers.raw if name.lower() not in _OF_THE_ENCODED_BODY]
    return httpx2.Response(response.status_code, headers=headers, content=response.content)


def _watch(response: httpx2.Response, total_timeout: float) -> None:
    started = response.request.extensions.get("vision_nb.started", time.monotonic())
    response.request.extensions = {**response.request.extensions, ANSWER_BEGAN: True}
    if _TRANSFER.search(response.request.url.path):
        total_timeout = max(total_timeout, _FILE_TIMEOUT)
    body = WatchedBody(response, started + total_timeout)
    response.stream = body
    response.extensions = {**response.extensions, RECORD: body}


def _forbid_useless_retry(response: httpx2.Response) -> None:
    """Keep the openai client from repeating a request that cannot succeed, such as one that is too long."""
    if is_hopeless(server_message(response.content)):
        response.headers["x-should-retry"] = "false"
