"""Limits on the answers that the openai client receives, and a record of how they ended.

The client reports neither a stream's end marker nor an answer that never ends, so hooks of its HTTP client replace
the body of each response with one that watches the bytes.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import openai

from vision_nb.providers.openai.chunk_stream import ANSWER_BEGAN, RECORD
from vision_nb.providers.openai.errors import is_hopeless
from vision_nb.providers.openai.server_message import server_message

MAX_ANSWER_BYTES = 64 * 2**20
"""The most bytes of an answer, both as received and after decompression."""

ACCEPTED_ENCODINGS = "gzip, deflate"
"""The encodings that the body can decompress up to a limit."""

_END_MARKER = re.compile(rb"[\r\n]data: ?\[DONE\]")
_TAIL = 16  # bytes to keep, so that an end marker in two pieces is found
_KEPT_START = 65_536  # bytes of an answer that is not a stream of events; they may hold an error


class AnswerTooLargeError(openai.OpenAIError):
    """An answer exceeded the limit on its size."""


class WatchedBody(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """The body of a response, decompressed and limited in size and time.

    Args:
        response: The response; its ``stream`` is the original body.
        deadline: When to stop, on the clock of `time.monotonic`.

    Attributes:
        has_end_marker: Whether the end marker of a stream has been received.
        start: The first bytes of an answer that is not a stream of events.
    """

    def __init__(self, response: httpx2.Response, deadline: float) -> None:
        self._source: Any = response.stream
        self._request, self._deadline = response.request, deadline
        self._response = response
        self._received = self._decoded = 0
        self._tail = b"\n"
        self._is_event_stream = "event-stream" in response.headers.get("content-type", "")
        self._decoder = _decoder(response)
        self.has_end_marker = False
        self.start = b""

    def __iter__(self) -> Iterator[bytes]:
        for data in self._source:
            yield self._read(data)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._source:
            yield self._read(data)

    def close(self) -> None:
        """Close the connection."""
        self._source.close()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._source.aclose()

    def _read(self, data: bytes) -> bytes:
        if time.monotonic() > self._deadline:
            raise openai.APITimeoutError(request=self._request)
        self._received += len(data)
        if self._decoder is not None:
            try:
                data = self._decoder.decompress(data, MAX_ANSWER_BYTES + 1 - self._decoded)
            except zlib.error as error:
                raise openai.APIResponseValidationError(response=self._response, body=None) from error
        self._decoded += len(data)
        if max(self._received, self._decoded) > MAX_ANSWER_BYTES:
            raise AnswerTooLargeError(f"The answer exceeds {MAX_ANSWER_BYTES // 2**20} MiB.")
        recent = self._tail + data
        self.has_end_marker = self.has_end_marker or _END_MARKER.search(recent) is not None
        self._tail = recent[-_TAIL:]
        if not self._is_event_stream and len(self.start) < _KEPT_START:
            self.start = (self.start + data)[:_KEPT_START]
        return data


def _decoder(response: httpx2.Response) -> Any:
    """Return the decompressor of a response, which is then sent on as if it had not been compressed."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        return None
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise openai.APIResponseValidationError(response=response, body=None)
    del response.headers["content-encoding"]
    return zlib.decompressobj(zlib.MAX_WBITS | 32)  # reads the header of both formats


def sync_hooks(total_timeout: float) -> dict[str, list[Any]]:
    """Return the hooks of a synchronous HTTP client.

    Args:
        total_timeout: Seconds that an answer may take in total.
    """

    def limit(response: httpx2.Response) -> None:
        _watch(response, total_timeout)
        if response.status_code >= 500:
            response.read()
            _forbid_useless_retry(response)

    return {"request": [_start], "response": [limit]}


def async_hooks(total_timeout: float) -> dict[str, list[Any]]:
    """Return the hooks of an asynchronous HTTP client; the asynchronous version of `sync_hooks`."""

    async def start(request: httpx2.Request) -> None:
        _start(request)

    async def limit(response: httpx2.Response) -> None:
        _watch(response, total_timeout)
        if response.status_code >= 500:
            await response.aread()
            _forbid_useless_retry(response)

    return {"request": [start], "response": [limit]}


def _start(request: httpx2.Request) -> None:
    request.extensions = {**request.extensions, "vision_nb.started": time.monotonic()}


def _watch(response: httpx2.Response, total_timeout: float) -> None:
    started = response.request.extensions.get("vision_nb.started", time.monotonic())
    response.request.extensions = {**response.request.extensions, ANSWER_BEGAN: True}
    body = WatchedBody(response, started + total_timeout)
    response.stream = body
    response.extensions = {**response.extensions, RECORD: body}


def _forbid_useless_retry(response: httpx2.Response) -> None:
    """Keep the openai client from repeating a request that cannot succeed, such as one that is too long."""
    if is_hopeless(server_message(response.content)):
        response.headers["x-should-retry"] = "false"
