"""Short questions to the ports of this machine: whatever listens there may answer anything, or nothing."""

from __future__ import annotations

import http.client
import json
import math
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from vision_nb.errors import SettingsError

HOST = "127.0.0.1"
_LONGEST_ANSWER = 1 << 20  # bytes; what is longer is no list of models
_CONNECT_SECONDS = 0.5  # a closed port on this machine refuses at once, except on Windows


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: The HTTP status.
        text: The body.
        value: The body as a JSON value, or None where it is none.
    """

    status: int
    text: str
    value: Any

    @property
    def asks_for_key(self) -> bool:
        """Whether it refuses as an API does that takes a key: a web page would not say so in JSON."""
        told = self.value if self.status in (401, 403) and isinstance(self.value, dict) else {}
        return not told.keys().isdisjoint(("error", "detail", "message"))

    def entries(self, name: str = "data") -> list[dict[str, Any]]:
        """The objects in a list of the answer; none where it has another form."""
        found = self.value.get(name) if isinstance(self.value, dict) and self.status == 200 else None
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


class Probe:
    """Asks ports on loopback, with no proxy, no redirects and a limit on time and length. Safe with threads.

    Args:
        timeout: Seconds that one answer may take.
        api_key: A key for those that ask for one, or None; no other is sent it.

    Raises:
        SettingsError: The timeout is no number above 0, or the key cannot stand in a header.
    """

    def __init__(self, timeout: float, api_key: str | None = None) -> None:
        number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
        if not number or not math.isfinite(timeout) or timeout <= 0:
            raise SettingsError(f"timeout is a number of seconds above 0, and not {timeout!r}.")
        if api_key is not None and not (isinstance(api_key, str) and api_key.isascii() and api_key.isprintable()):
            raise SettingsError("api_key is a text of plain letters, digits and signs: this one is not.")
        self._timeout, self._api_key = timeout, api_key

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is kept open between two questions."""

    def get(self, port: int, path: str) -> Answer | None:
        """The answer to a GET request, or None where there is none."""
        return self._ask("GET", port, path, None)

    def post(self, port: int, path: str, body: Any) -> Answer | None:
        """The answer to a POST request with a JSON body, or None where there is none."""
        return self._ask("POST", port, path, body)

    def _ask(self, method: str, port: int, path: str, body: Any) -> Answer | None:
        answer = self._send(method, port, path, body, {})
        if self._api_key and answer is not None and answer.asks_for_key:
            return self._send(method, port, path, body, {"Authorization": f"Bearer {self._api_key}"})
        return answer

    def _send(self, method: str, port: int, path: str, body: Any, headers: dict[str, str]) -> Answer | None:
        deadline = time.monotonic() + self._timeout
        connection = http.client.HTTPConnection(HOST, port, timeout=min(self._timeout, _CONNECT_SECONDS))
        sent = None if body is None else json.dumps(body)
        watch: threading.Timer | None = None
        try:
            connection.connect()
            connection.sock.settimeout(self._timeout)
            # The socket's timeout begins anew with every byte: this one ends an answer that drips.
            watch = threading.Timer(self._timeout, _hang_up, (connection.sock,))
            watch.daemon = True
            watch.start()
            connection.request(method, path, sent, {"Content-Type": "application/json", **headers} if sent else headers)
            with connection.getresponse() as response:
                data = response.read(_LONGEST_ANSWER + 1)
        except (http.client.HTTPException, OSError, ValueError):
            return None
        finally:
            if watch is not None:
                watch.cancel()
            connection.close()
        if len(data) > _LONGEST_ANSWER or time.monotonic() > deadline:
            return None
        text = data.decode("utf-8", "replace")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        return Answer(response.status, text, value)


def _hang_up(connection: socket.socket) -> None:
    """End a connection that another thread waits for."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
