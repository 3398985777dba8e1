"""Search for a secret in everything that can be shown of an object, and servers that echo what they receive."""

import base64
import json
import pickle
import pprint
import traceback
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import ModuleType
from urllib.parse import quote

CORE = "c4n4ry7f3a9b2e"
CANARY = f"sk-{CORE}/+'\"\\&<%>=~"  # has all characters that are escaped somewhere


def appears_in(text, core=CORE):
    """Return whether a secret appears in a text, as it is or encoded."""
    texts = [core, core.encode().hex(), core.encode().hex().upper(), core.upper()]
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + core.encode()).decode()
        texts.append(encoded[-(-before * 8 // 6) : (before + len(core)) * 8 // 6])
    return any(one in text for one in texts)


def encodings_of(secret):
    """Return a secret as servers and libraries write it."""
    escaped = json.dumps(secret)[1:-1]
    return {
        "plain": secret,
        "repr": repr(secret),
        "bytes": repr(secret.encode()),
        "JSON": escaped,
        "JSON in JSON": json.dumps(escaped)[1:-1],
        "percent": quote(secret, safe=""),
        "percent, lower case": quote(secret, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
        "base64": base64.b64encode(secret.encode()).decode(),
        "base64 of a header": base64.b64encode(f"Bearer {secret}".encode()).decode(),
        "base64 of a login": base64.b64encode(f"user:{secret}".encode()).decode(),
        "URL-safe base64": base64.urlsafe_b64encode(f"x{secret}".encode()).decode(),
        "hex": secret.encode().hex(),
        "HTML": secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
        "header": f"Authorization: Bearer {secret}",
        "cut": "x" * 130 + secret + "y" * 400,
        "cut at the end": "x" * 285 + secret,
    }


def texts_of(value, depth=6):
    """Yield every text that a person or a tool would see of an object: representations, attributes, containers."""
    seen = set()
    todo = [(value, depth)]
    while todo:
        one, left = todo.pop()
        if id(one) in seen or isinstance(one, (type, ModuleType)) or callable(getattr(one, "__code__", None)):
            continue
        seen.add(id(one))
        if isinstance(one, (bytes, bytearray)):
            yield bytes(one[:100_000]).decode("latin-1")
            continue
        for show in (str, repr, pprint.pformat):
            with suppress(Exception):
                yield show(one)
        for name in ("_repr_html_", "_repr_markdown_", "_repr_mimebundle_", "_repr_json_", "__getstate__"):
            with suppress(Exception):
                yield str(getattr(one, name)())
        with suppress(Exception):
            yield pickle.dumps(one).decode("latin-1")
        if isinstance(one, BaseException):
            frames = [pair for pair in traceback.walk_tb(one.__traceback__) if not is_of_tests(pair[0])]
            yield "".join(traceback.StackSummary.extract(iter(frames), capture_locals=True).format())
            yield "".join(traceback.format_exception_only(one))
            todo += [(getattr(one, link), left) for link in ("__cause__", "__context__")]
            todo += [(local, left - 2) for frame, _ in frames for local in frame.f_locals.values()]
        if left > 0:
            todo += [(part, left - 1) for part in parts_of(one)]


def is_of_tests(frame):
    """Return whether a frame is of the tests, which have the secret in their own variables."""
    return frame.f_globals.get("__name__", "").startswith("tests.")


def parts_of(one):
    if isinstance(one, dict):
        return [*one.keys(), *one.values()]
    if isinstance(one, (list, tuple, set, frozenset)):
        return list(one)
    parts = list(getattr(one, "__dict__", {}).values())
    with suppress(Exception):
        parts += [list(one.headers.multi_items())]
    return parts


def leaks(value, core=CORE):
    """Return the texts of an object in which a secret appears."""
    return [text[:300] for text in texts_of(value) if appears_in(text, core)]


@contextmanager
def serving(answer):
    """Serve on loopback; `answer` takes (method, path, headers, body) and returns (status, headers, body).

    Yields the base URL and the list of (path, headers, body) received.
    """
    received = []

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True  # headers and body are sent separately
        protocol_version = "HTTP/1.1"

        def handle_any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            received.append((self.path, dict(self.headers), body))
            status, headers, content = answer(self.command, self.path, dict(self.headers), body)
            content = content if isinstance(content, bytes) else content.encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 - the names of http.server

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
