"""A model hub on this machine, and its cache as huggingface_hub lays it out."""

import contextlib
import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from vision_nb.cost.small_models import SMALL_MODELS, ModelFile

COMMIT = "a" * 40


@dataclass
class Hub:
    """What a hub has, what goes wrong, and the requests that it received.

    Attributes:
        files: The content of each "repository/file".
        hashes: The sha256 that the hub states, where it is not the content's own.
        sizes: The size that the hub states, where it is not the content's own.
        refusals: The status and the error code with which requests for a repository are refused.
        cut_after: Close the connection of the storage after this many bytes of an answer.
        pause: Before closing it, wait for this event, for at most a minute.
        requests: (method, path, range, token) of each request to the hub, and to "storage".
    """

    files: dict[str, Any] = field(default_factory=dict)
    hashes: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, Any] = field(default_factory=dict)
    refusals: dict[str, Any] = field(default_factory=dict)
    cut_after: list[Any] = field(default_factory=list)
    pause: threading.Event | None = None
    requests: list[Any] = field(default_factory=list)
    address: str = ""
    storage: str = ""

    def gets(self, name=""):
        """Return the ranges of the downloads of a file."""
        return [
            one[2] for one in self.requests if one[0] == "GET" and one[1].startswith("/storage/") and name in one[1]
        ]


class _Handler(BaseHTTPRequestHandler):
    disable_nagle_algorithm = True  # headers and body are sent separately
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self):
        self.hub.requests.append((self.command, self.path, self.headers["Range"], self.headers["Authorization"]))
        owner, name, *rest = self.path.strip("/").split("/")
        repo, file = f"{owner}/{name}", "/".join(rest[2:])
        if repo in self.hub.refusals:
            status, code, message = self.hub.refusals[repo]
            self._finish(status, {"X-Error-Code": code, "X-Error-Message": message})
            return
        key = f"{repo}/{file}"
        if rest[:1] != ["resolve"] or key not in self.hub.files:
            known = any(one.startswith(f"{repo}/") for one in self.hub.files)
            self._finish(404, {"X-Error-Code": "EntryNotFound" if known else "RepoNotFound"})
            return
        data = self.hub.files[key]
        self._finish(
            302,
            {
                "X-Repo-Commit": COMMIT,
                "X-Linked-Etag": f'"{self.hub.hashes.get(key, hashlib.sha256(data).hexdigest())}"',
                "X-Linked-Size": str(self.hub.sizes.get(key, len(data))),
                "Location": f"{self.hub.storage}/storage/{key}?X-Amz-Signature=s1gnedAddress",
            },
        )

    def do_GET(self):
        if not self.path.startswith("/storage/"):
            self.do_HEAD()
            return
        self.hub.requests.append((self.command, self.path, self.headers["Range"], self.headers["Authorization"]))
        data = self.hub.files[self.path.removeprefix("/storage/").partition("?")[0]]
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        cut = self.hub.cut_after.pop(0) if self.hub.cut_after else len(data)
        with contextlib.suppress(OSError):
            self.wfile.write(data[start : start + cut])
            if start + cut < len(data):
                if self.hub.pause is not None:
                    self.hub.pause.wait(60)
                self.close_connection = True

    def _finish(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def running_hub():
    """Run a hub, with its storage at another address, as the Hugging Face Hub has it."""
    hub = Hub()
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub})) for _ in range(2)]
    hub.address, hub.storage = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def fill_cache(cache, repo_id, files, commit=COMMIT):
    """Put files into the hub's cache as a download would."""
    folder = cache / f"models--{repo_id.replace('/', '--')}"
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (snapshot / name).write_bytes(data)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(commit)


def set_files(name, text, projector, repo_id=None):
    """Let a row of the table be of other files, for the rest of this process, so that tests can serve small ones.

    Args:
        name: The model.
        text: The name, size and sha256 of the text model.
        projector: The same of the projector.
        repo_id: The repository, if it changes.
    """
    row = SMALL_MODELS[name]
    for field_name, value in (("text", ModelFile(*text)), ("projector", ModelFile(*projector)), ("repo_id", repo_id)):
        if value is not None:
            object.__setattr__(row, field_name, value)


def offer(hub, name, text, projector):
    """Put two files for a row of the table on a hub, and return code that makes the row one of these files."""
    row = SMALL_MODELS[name]
    facts = []
    for file, data in ((row.text, text), (row.projector, projector)):
        hub.files[f"{row.repo_id}/{file.name}"] = data
        facts.append((file.name, len(data), hashlib.sha256(data).hexdigest()))
    return f"from tests.small_model_hub import set_files\nset_files({name!r}, *{facts!r})\n"
