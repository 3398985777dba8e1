"""HTTP requests to a port on this machine, safe whatever program is listening there."""

from __future__ import annotations

import http.client
import json
import math
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vision_nb.checks.numbers import plain_number
from vision_nb.errors import SettingsError
from vision_nb.privacy.api_keys import hide, make_secret

HOST = "127.0.0.1"
KEY_NAME = "The API key for the local server"
_MAX_BYTES = 1 << 20  # a longer response is not a list of models
_CONNECT_TIMEOUT = 0.5  # seconds; a closed port on this machine refuses at once, except on Windows


@dataclass(frozen=True)
class ProbeResponse:
    """The response to a request.

    Attributes:
        status: HTTP status; None if there was no usable response.
        text: The body.
        json: The body as a JSON value; None if it is not JSON.
    """

    status: int | None = None
    text: str = ""
    json: Any = None

    @property
    def object(self) -> dict[str, Any]:
        """Return a successful response's JSON object, or an empty dict for any other response."""
        return self.json if self.status == 200 and isinstance(self.json, dict) else {}

    @property
    def requires_key(self) -> bool:
        """Return whether an API refused the request because it needs a key: a web page would not do so in JSON."""
        refusal = self.json if self.status in (401, 403) and isinstance(self.json, dict) else {}
        return not refusal.keys().isdisjoint(("error", "detail", "message"))

    def entries(self, name: str = "data") -> list[dict[str, Any]]:
        """Return the objects in a list of the JSON object; empty if it has no such list."""
        found = self.object.get(name)
        return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


class Probe:
    """Send requests to a port on loopback, without proxies and redirects, and with limits on time and size.

    Args:
        port: The port.
        timeout: Seconds allowed for a response.
        deadline: The time (of ``time.monotonic``) after which nothing is sent, and responses are not awaited.
        api_key: Key for a server that requires one; it is only sent after the server has asked for it.

    Raises:
        SettingsError: The timeout is not a positive number, or the key cannot be sent in a header.
    """

    def __init__(self, port: int, *, timeout: float, deadline: float = math.inf, api_key: Any = None) -> None:
        api_key = hide(api_key, is_key=True)
        timeout = plain_number(timeout)
        if type(timeout) not in (int, float) or not 0 < timeout < math.inf:
            raise SettingsError(f"timeout must be a positive number of seconds, not {timeout!r:.80}.")
        self.port, self._timeout, self._deadline = port, timeout, deadline
        self._api_key = make_secret(api_key, name=KEY_NAME)
        self._listing: ProbeResponse | None = None

    @property
    def listing(self) -> ProbeResponse:
        """Return the response to ``GET /v1/models``, requested once."""
        # Not a cached_property: before Python 3.12, its lock would make all probes wait for each other.
        if self._listing is None:
            self._listing = self.get("/v1/models")
        return self._listing

    def get(self, path: str) -> ProbeResponse:
        """Send a GET request."""
        return self._request("GET", path, None)

    def post(self, path: str, body: Any) -> ProbeResponse:
        """Send a POST request with a JSON body."""
        return self._request("POST", path, json.dumps(body))

    def _request(self, method: str, path: str, body: str | None) -> ProbeResponse:
        headers = {} if body is None else {"Content-Type": "application/json"}
        response = self._send(method, path, body, headers)
        if self._api_key and response.requires_key:
            return self._send(method, path, body, {**headers, "Authorization": f"Bearer {self._api_key.reveal()}"})
        return response

    def _send(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> ProbeResponse:
        deadline = min(time.monotonic() + self._timeout, self._deadline)
        timeout = deadline - time.monotonic()
        if timeout <= 0:
            return ProbeResponse()
        connection = http.client.HTTPConnection(HOST, self.port, timeout=min(timeout, _CONNECT_TIMEOUT))
        watchdog: threading.Timer | None = None
        try:
            connection.connect()
            connection.sock.settimeout(timeout)
            # The socket's timeout starts again with every byte: the watchdog ends a response that trickles in.
            watchdog = threading.Timer(timeout, _shut_down, (connection.sock,))
            watchdog.daemon = True
            watchdog.start()
            connection.request(method, path, body, headers)
            with connection.getresponse() as response:
                data = response.read(_MAX_BYTES + 1)
        except (http.client.HTTPException, OSError, ValueError):
            return ProbeResponse()
        finally:
            if watchdog is not None:
                watchdog.cancel()
            connection.close()
        if len(data) > _MAX_BYTES or time.monotonic() > deadline:
            return ProbeResponse()
        text = data.decode("utf-8", "replace")
        if self._api_key:
            text = self._api_key.pattern.replace(text)  # a server may echo the key, such as in a model's name
        value = None
        with suppress(ValueError, RecursionError):
            value = json.loads(text)
        return ProbeResponse(response.status, text, value)


def _shut_down(connection: socket.socket) -> None:
    """End a connection that another thread reads from."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
