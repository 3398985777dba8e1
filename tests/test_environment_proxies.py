"""Proxies that the environment names, through the true clients: calls go through them, and fail with our own errors."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.replicate_calls import SECRET, TEXT
from vision_nb import errors


class Forwarder(BaseHTTPRequestHandler):
    """Forwards each request for http://api.test to a demo server."""

    server: "Proxy"

    def forward(self):
        self.server.seen.append(self.path)
        if self.server.is_dead:
            self.close_connection = True
            return
        host, path = self.path.removeprefix("http://").split("/", 1)
        assert host == "api.test"
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        upstream.request(self.command, f"/{path}", body, dict(self.headers))
        answer = upstream.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(
            data[: len(data) // 2] if self.server.dies_in_the_middle and path.endswith(self.server.dies_at) else data
        )

    do_GET = do_POST = forward  # noqa: N815 - the handler's own names

    def log_message(self, *_):
        """Print nothing."""


class Proxy(ThreadingHTTPServer):
    """A proxy in front of a demo server."""

    is_dead = dies_in_the_middle = False
    dies_at = "completions"
    daemon_threads = True

    def __init__(self, port):
        super().__init__(("127.0.0.1", 0), Forwarder)
        self.port, self.seen = port, []


@pytest.fixture
def proxy(server, monkeypatch):
    server.answer_with(TEXT)
    with Proxy(int(server.url.rsplit(":", 1)[1])) as proxy:
        threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.server_port}")
        monkeypatch.setenv("REPLICATE_POLL_INTERVAL", "0.02")
        monkeypatch.setattr("vision_nb.providers.replicate.model._schemas", {})
        yield proxy
        proxy.shutdown()


def model(provider):
    if provider == "replicate":
        return vn.ReplicateMultiModal("llava-13b", api_token=SECRET, api_base="http://api.test/v1", max_retries=0)
    return vn.OpenAIMultiModal("gpt-4o", "k", "http://api.test/v1", max_retries=0)


PROVIDERS = ["openai", "replicate"]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_calls_go_through_the_proxy(proxy, provider):
    llm = model(provider)
    assert llm.complete("What?", picture()).text == TEXT
    assert (await llm.acomplete("What?", picture())).text == TEXT
    assert proxy.seen and all(path.startswith("http://api.test/v1/") for path in proxy.seen)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_proxy_that_hangs_up_is_a_connection_error(proxy, provider):
    proxy.is_dead = True
    llm = model(provider)
    with pytest.raises(errors.ProviderConnectionError):
        llm.complete("What?", picture())
    with pytest.raises(errors.ProviderConnectionError):
        await llm.acomplete("What?", picture())


def test_a_proxy_that_dies_in_the_middle_of_an_answer_leaves_an_estimate(proxy):
    proxy.dies_in_the_middle = True
    with pytest.raises(errors.ProviderError) as caught:
        model("openai").complete("What?", picture())
    assert "cannot be reached" not in str(caught.value)
    assert len(proxy.seen) == 1 and [entry.is_estimate for entry in vn.ledger.entries] == [True]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_no_proxy_and_servers_on_this_machine_are_asked_directly(proxy, server, provider, monkeypatch):
    monkeypatch.setenv("no_proxy", "api.test")
    with pytest.raises(errors.ProviderConnectionError):
        model(provider).complete("What?", picture())  # there is no such host
    assert proxy.seen == []


def test_replicates_own_server_on_this_machine_is_asked_directly(proxy, server):
    llm = vn.ReplicateMultiModal("llava-13b", api_token=SECRET, api_base=server.replicate_base)
    assert llm.complete("What?", picture()).text == TEXT
    assert proxy.seen == []


def test_a_proxy_of_another_kind_is_an_error_of_our_own(proxy, monkeypatch):
    monkeypatch.setenv("http_proxy", "socks5://user:secret-password@127.0.0.1:1080")
    with pytest.raises(errors.SettingsError, match="through a socks5 proxy") as caught:
        model("replicate").complete("What?", picture())
    assert "secret-password" not in str(caught.value)
