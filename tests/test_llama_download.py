"""Downloads with the real huggingface_hub from a hub on this machine."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.llama_parts import require_engine

DATA = b"GGUF" + b"weights" * 200_000
COMMIT = "a" * 40
SCRIPT = """
import json, sys
import vision_nb as vn
try:
    path = vn.download_gguf(*sys.argv[1:])
    print(json.dumps({"path": str(path), "size": path.stat().st_size}))
except vn.errors.VisionError as error:
    print(json.dumps({"error": type(error).__name__, "message": str(error)}))
"""


@pytest.fixture
def hub():
    """Run a hub with one repository; yield its address and the requests that it received."""
    require_engine()
    requests = []

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True  # headers and body are sent separately

        def answer(self):
            requests.append((self.command, self.path))
            known = self.path == "/me/llava/resolve/main/model.gguf" or self.path.endswith(f"{COMMIT}/model.gguf")
            known = known or self.path == "/me/llava/resolve/main/huge.gguf"
            self.send_response(200 if known else 404)
            if not known:
                entry = self.path.startswith("/me/llava/")
                self.send_header("X-Error-Code", "EntryNotFound" if entry else "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            size = 10**18 if "huge" in self.path else len(DATA)
            self.send_header("ETag", f'"{hashlib.sha256(DATA).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(DATA)

        do_GET = do_HEAD = answer  # noqa: N815

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()
    server.server_close()


def download(address, home, *names):
    """Download in a new Python process: huggingface_hub reads its settings when it is imported."""
    proxies = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}
    environment = {name: value for name, value in os.environ.items() if name.upper() not in proxies}
    environment |= {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names], capture_output=True, text=True, env=environment, timeout=60
    )
    assert run.stdout, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_a_file_is_downloaded_once_and_then_read_from_the_cache(hub, tmp_path):
    address, requests = hub
    first = download(address, tmp_path, "me/llava", "model.gguf")
    assert first["size"] == len(DATA) and str(tmp_path) in first["path"]
    of_file = [method for method, path in requests if path.endswith("/model.gguf")]
    assert of_file[0] == "HEAD" and of_file.count("GET") == 1
    requests.clear()
    assert download(address, tmp_path, "me/llava", "model.gguf") == first
    assert requests == []


def test_a_file_too_large_for_the_disk_is_not_downloaded(hub, tmp_path):
    address, requests = hub
    found = download(address, tmp_path, "me/llava", "huge.gguf")
    assert found["error"] == "ModelFileError" and "has 1000000000.0 GB, but the disk has only" in found["message"]
    assert {method for method, path in requests if path.endswith("/huge.gguf")} == {"HEAD"}


@pytest.mark.parametrize("names", [("me/llava", "nothing.gguf"), ("nobody/nothing", "model.gguf")])
def test_a_missing_file_or_repository_is_a_model_file_not_found_error(hub, tmp_path, names):
    found = download(hub[0], tmp_path, *names)
    assert found["error"] == "ModelFileNotFoundError" and "HF_TOKEN" in found["message"]


def test_an_unreachable_hub_and_an_invalid_name_are_errors_of_their_own(hub, tmp_path):
    found = download("http://127.0.0.1:9", tmp_path, "me/llava", "model.gguf")
    assert found["error"] == "ModelFileError" and "Check the network" in found["message"]
    found = download(hub[0], tmp_path, "a/b/c/d", "model.gguf")
    assert found["error"] == "SettingsError" and "use owner/name" in found["message"]
