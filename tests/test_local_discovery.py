"""Local model servers are recognized by their responses, and unusual servers do no harm."""

import socket
import threading
import time
from contextlib import ExitStack
from typing import Any

import pytest

import vision_nb as vn
from tests.conftest import closed_port
from tests.local_fakes import SERVERS, listing, running
from vision_nb import errors
from vision_nb.cost.model_reference import parse_model_name
from vision_nb.magics.models import resolve
from vision_nb.magics.usage_errors import UsageError
from vision_nb.providers.local import discovery
from vision_nb.providers.local.discovery import detect
from vision_nb.providers.local.server_types import LocalModel

FOUND: dict[str, tuple[str, Any]] = {
    "LocalAI": ("LocalAI", [("llava", True, None), ("whisper", False, None)]),
    "LiteLLM": ("LiteLLM", [("llava", True, 4096), ("gpt-4o", None, None)]),
    "Ollama": ("Ollama", [("llava:7b", True, None), ("qwen3:8b", False, None)]),
    "Ollama, with one loaded": ("Ollama", [("llava:7b", True, 2048), ("qwen2.5vl:7b", True, 8192)]),
    "LM Studio, newer": ("LM Studio", [("gemma-3", True, 8192), ("llama-3", False, None)]),
    "LM Studio": ("LM Studio", [("qwen2-vl-7b-instruct", True, 8192), ("llama-3", False, None)]),
    "vLLM": ("vLLM", [("llava-hf/llava-1.5-7b-hf", None, 4096)]),
    "llama.cpp": ("llama.cpp", [("llava.gguf", True, 4096)]),
    "llama.cpp, newer": ("llama.cpp", [("gemma", False, 193024)]),
    "llama.cpp, of one model": ("llama.cpp", [("qwen2-vl", True, 16384)]),
    "llama-cpp-python": ("llama.cpp", [("llava", None, None)]),
    "loading": ("llama.cpp", None),
    "another": ("OpenAI-compatible server", [("some-model", None, None)]),
    "no list": ("OpenAI-compatible server", None),
    "closed": ("LiteLLM", None),
}


@pytest.fixture
def default_ports(monkeypatch):
    """Replace the default ports, so that the machine's own servers are not contacted."""

    def set_ports(*ports):
        monkeypatch.setenv("VISION_NB_LOCAL_PORTS", ",".join(map(str, ports)))

    with closed_port() as port:
        set_ports(port)
        yield set_ports


@pytest.mark.parametrize("name", FOUND)
def test_each_type_is_recognized_with_its_models(name):
    kind, models = FOUND[name]
    with running(SERVERS[name]) as port:
        (server,) = detect(ports=[port])
    assert (server.kind, server.api_base) == (kind, f"http://127.0.0.1:{port}/v1")
    assert server.models == (None if models is None else tuple(LocalModel(*model) for model in models))
    remark = {"closed": "requires a key", "loading": "still loading"}.get(name, "")
    assert server.remark.startswith(remark) and bool(server.remark) == bool(remark)


def test_a_web_server_is_not_listed():
    with running(SERVERS["web server"]) as port:
        assert not detect(ports=[port])


@pytest.mark.parametrize("status", [400, 401, 403, 405, 422])
def test_a_server_with_one_answer_for_every_path_is_not_listed(status):
    everything = [b"HTTP/1.1 %d No\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nNo" % status]
    with serve_bytes(*everything, connections=30) as listener:
        assert not detect(ports=[listener.getsockname()[1]])


def test_the_default_ports_are_tried():
    assert {8080, 28000, 4000, 11434, 1234, 8000} == set(discovery.DEFAULT_PORTS)


def test_all_ports_are_tried_at_the_same_time():
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(8)]
        started = time.monotonic()
        assert not detect(ports=[one.getsockname()[1] for one in silent], timeout=2)
        assert time.monotonic() - started < 12  # 16 one after the other


def serve_bytes(*pieces, pause=0.0, connections=1):
    """Return a server that sends pieces of bytes to its first connections."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        try:
            for _ in range(connections):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    for piece in pieces:
                        connection.sendall(piece)
                        time.sleep(pause)
        except OSError:
            pass

    threading.Thread(target=serve, daemon=True).start()
    return listener


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
UNUSUAL = {
    "garbage": ([b"\x00\xff\x00garbage"], 0.0),
    "deep nesting": ([HEAD, b"[" * 200_000], 0.0),
    "an endless response": ([HEAD] + [b" " * 65536] * 200, 0.0),
    "a response that trickles in": ([HEAD] + [b" "] * 100, 0.1),
    "a header that trickles in": ([b"HTTP/1.1 200 OK\r\nX-A: "] + [b"a"] * 100, 0.1),
    "a redirect elsewhere": (
        [b"HTTP/1.1 302 Found\r\nLocation: http://example.org/\r\nContent-Length: 0\r\n\r\n"],
        0.0,
    ),
}


@pytest.mark.parametrize("pieces, pause", UNUSUAL.values(), ids=UNUSUAL)
@pytest.mark.slow
def test_unusual_servers_are_skipped_in_time(pieces, pause):
    with serve_bytes(*pieces, pause=pause) as listener:
        started = time.monotonic()
        assert not detect(ports=[listener.getsockname()[1]], timeout=0.5)
        assert time.monotonic() - started < 15


INVALID_LISTS = [
    {"data": "many"},
    {"object": "list", "data": [1, None, {"id": 7}, {"id": ["x"]}, {"no": "id"}]},
    [],
    "models",
    {"object": "list", "data": [{"id": "x", "owned_by": "vllm", "max_model_len": "long", "meta": 3}]},
]
INVALID_DETAILS = {
    "Ollama": {
        "GET /api/tags": {"models": [{"name": "x"}]},
        "GET /api/ps": {"models": [{"name": ["x"], "context_length": {}}, {"name": "x", "context_length": "long"}]},
        "POST /api/show": {"parameters": ["num_ctx"], "capabilities": 3},
        "GET /": b"Ollama is running",
    },
    "LM Studio": {
        "GET /v1/models": listing("x", owner="organization_owner"),
        "GET /api/v1/models": {"models": [{"key": "x", "capabilities": [], "loaded_instances": [3, {"config": 1}]}]},
    },
    "llama.cpp": {"GET /v1/models": listing("x", owner="llamacpp"), "GET /props": {"modalities": 1}},
    "LiteLLM": {
        "GET /v1/models": listing("x"),
        "GET /health/liveliness": "I'm alive!",
        "GET /model/info": {"data": [{"model_name": ["x"], "model_info": 3}, {"model_name": "x", "model_info": []}]},
    },
}


@pytest.mark.parametrize("kind", INVALID_DETAILS)
def test_invalid_details_are_unknown(kind):
    with running(INVALID_DETAILS[kind]) as port:
        (server,) = detect(ports=[port])
    assert server.kind == kind and server.models == (LocalModel("x"),)


@pytest.mark.parametrize("odd", INVALID_LISTS, ids=repr)
def test_invalid_lists_raise_nothing(odd):
    with running({"GET /v1/models": odd}) as port:
        for server in detect(ports=[port]):
            assert all(isinstance(model.name, str) and model.context_length is None for model in server.models or ())


def test_model_names_are_escaped_and_shortened():
    bad = "<img src=x onerror=alert(1)>[31m|" + "a" * 400
    with running({"GET /v1/models": listing(bad)}) as port:
        found = detect(ports=[port])
    html = found._repr_html_()
    assert "<img" not in html and "&lt;img" in html
    assert len(repr(found)) < 300 and found[0].models[0].name == bad


def test_a_long_list_of_models_is_cut_off():
    with running({"GET /v1/models": listing(*[f"m{n}" for n in range(50)])}) as port:
        found = detect(ports=[port])
    html = found._repr_html_()
    assert "m19<" in html and "m20<" not in html and "and 30 more" in html
    assert "m19, and 30 more" in repr(found)


def test_without_a_server_the_error_says_how_to_start_one(default_ports):
    found = vn.LocalMultiModal.detect()
    assert len(found) == 0 and "No model server found" in repr(found) and "No model server" in found._repr_html_()
    for name in ("local:llava", "local"):
        with pytest.raises(
            errors.ProviderConnectionError, match=r"Start Ollama, LM Studio or LocalAI.*api_base=.*smolvlm"
        ):
            vn.connect(name)


@pytest.mark.parametrize("name", ["ollama:llava", "Ollama:llava:7b", "ollama"])
def test_the_program_of_a_local_server_may_replace_local(name, default_ports):
    with running(SERVERS["Ollama"]) as port:
        default_ports(port)
        llm: Any = vn.connect(name)
    assert (str(llm), llm.api_base) == ("local:llava:7b", f"http://127.0.0.1:{port}/v1")
    assert str(parse_model_name("lmstudio:qwen")) == resolve("lmstudio:qwen", {}) == "local:qwen"


def test_a_misspelled_program_of_a_local_server_suggests_no_paid_model():
    with pytest.raises(errors.SettingsError, match="did you mean 'ollama:llava'"):
        vn.connect("olama:llava")
    with pytest.raises(UsageError, match="did you mean ollama"):
        resolve("olama", {})


def test_connect_chooses_the_server_that_has_the_model(default_ports):
    with running(SERVERS["LM Studio"]) as first, running(SERVERS["Ollama"]) as second:
        default_ports(first, second)
        llm: Any = vn.connect("local:llava", max_new_tokens=9)
        assert (llm.model, llm.api_base, llm.max_new_tokens) == ("llava:7b", f"http://127.0.0.1:{second}/v1", 9)
        seeing: Any = vn.connect("local:qwen2-vl-7b-instruct")
        assert (seeing.api_base, seeing.context_length) == (f"http://127.0.0.1:{first}/v1", 8192)
        llama: Any = vn.connect("local:llama-3", context_length=99)
        assert llama.context_length == 99
        with pytest.raises(errors.UnknownModelError, match=r"has a model 'llama'.*LM Studio at .*llama-3.*local:NAME"):
            vn.connect("local:llama")


def test_connect_without_a_name_chooses_a_model_that_accepts_images_or_the_only_one(default_ports):
    with running(SERVERS["LM Studio"]) as port:
        default_ports(port)
        assert vn.connect("local").model == "qwen2-vl-7b-instruct"
    with running(SERVERS["llama-cpp-python"]) as port:
        default_ports(port)
        assert vn.connect("local").model == "llava"
    with running({"GET /v1/models": listing("a", "b")}) as port:
        default_ports(port)
        with pytest.raises(errors.UnknownModelError, match="reports a model that accepts images"):
            vn.connect("local")


def test_a_known_type_of_server_that_lists_nothing_is_used_with_the_given_name(default_ports):
    with running(SERVERS["closed"]) as port:
        default_ports(port)
        llm: Any = vn.connect("local:llava")
        assert llm.api_base == f"http://127.0.0.1:{port}/v1"


def test_an_unknown_type_of_server_that_lists_nothing_is_never_chosen(default_ports):
    with running(SERVERS["no list"]) as port:
        default_ports(port)
        with pytest.raises(errors.UnknownModelError, match=r"does not list its models.*only used with api_base="):
            vn.connect("local:llava")


def test_of_two_models_of_the_same_name_one_that_accepts_images_is_preferred(default_ports):
    with running(SERVERS["llama-cpp-python"]) as first, running(SERVERS["LocalAI"]) as second:
        default_ports(first, second)
        llm: Any = vn.connect("local:llava")
        assert llm.api_base.endswith(f":{second}/v1")


@pytest.mark.parametrize(
    "wrong", [{"timeout": None}, {"timeout": -1}, {"timeout": 0}, {"api_key": "schlüssel"}], ids=repr
)
def test_invalid_arguments_are_settings_errors(wrong, default_ports):
    with pytest.raises(errors.SettingsError, match=next(iter(wrong)).replace("api_key", "API key")):
        vn.LocalMultiModal.detect(**wrong)


def test_a_key_is_only_sent_to_a_server_that_requires_one():
    open_one, closed = [], []
    locked = {**SERVERS["another"], "key": "sk-secret-123456"}
    with running(SERVERS["another"], open_one) as first, running(locked, closed) as second:
        found = detect(ports=[first, second], api_key="sk-secret-123456")
        assert [len(server.models) for server in found] == [1, 1]
        assert detect(ports=[second])[0].models is None and "key" in detect(ports=[second])[0].remark
    assert set(open_one) == {None} and set(closed) == {None, "Bearer sk-secret-123456"}


def test_with_api_base_no_server_is_searched(default_ports):
    llm: Any = vn.connect("local:llava", api_base="http://localhost:1/v1")
    assert llm.api_base == "http://localhost:1/v1"
