"""Fakes of local model servers: each answers the paths by which the real server is recognized."""

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


def listing(*names, owner="openai", **fields):
    return {"object": "list", "data": [{"id": name, "object": "model", "owned_by": owner, **fields} for name in names]}


SERVERS = {
    "LocalAI": {
        "GET /v1/models": {"object": "list", "data": [{"id": "llava", "object": "model"}]},
        "GET /.well-known/localai.json": {"version": "v4.9.0", "endpoints": {"models": "/v1/models"}},
        "GET /v1/models/capabilities": {
            "object": "list",
            "data": [
                {"id": "llava", "object": "model", "capabilities": ["chat", "vision"]},
                {"id": "whisper", "object": "model", "capabilities": ["transcript"]},
            ],
        },
        "GET /": "Ollama is running",  # it supports Ollama's protocol too
    },
    "LiteLLM": {
        "GET /v1/models": listing("llava", "gpt-4o", created=1677610602),
        "GET /health/liveliness": "I'm alive!",
        "GET /model/info": {
            "data": [
                {"model_name": "llava", "model_info": {"supports_vision": True, "max_input_tokens": 4096}},
                {"model_name": "gpt-4o", "model_info": {"supports_vision": None}},
            ]
        },
    },
    "Ollama": {
        "GET /v1/models": listing("llava:7b", "qwen3:8b", owner="library"),
        "GET /": b"Ollama is running",
        "GET /api/tags": {"models": [{"name": "llava:7b"}, {"name": "qwen3:8b"}]},
        "POST /api/show": lambda body: {
            "capabilities": ["completion", "vision"] if "llava" in body["model"] else ["completion"]
        },
    },
    "Ollama, with one loaded": {
        "GET /v1/models": listing("llava:7b", "qwen2.5vl:7b", owner="library"),
        "GET /": b"Ollama is running",
        "GET /api/tags": {"models": [{"name": "llava:7b"}, {"name": "qwen2.5vl:7b"}]},
        "GET /api/ps": {"models": [{"name": "qwen2.5vl:7b", "context_length": 8192}]},
        "POST /api/show": {"parameters": "num_keep 4\nnum_ctx                  2048", "projector_info": {"a": 1}},
    },
    "LM Studio, newer": {
        "GET /v1/models": listing("gemma-3", "llama-3", "nomic", owner="organization_owner"),
        "GET /api/v1/models": {
            "models": [
                {
                    "key": "gemma-3",
                    "type": "llm",
                    "capabilities": {"vision": True},
                    "loaded_instances": [{"id": "gemma-3", "config": {"context_length": 8192}}],
                },
                {"key": "llama-3", "type": "llm", "capabilities": {"vision": False}, "loaded_instances": []},
                {"key": "nomic", "type": "embedding"},
            ]
        },
    },
    "LM Studio": {
        "GET /v1/models": listing("qwen2-vl-7b-instruct", "llama-3", "nomic", owner="organization_owner"),
        "GET /api/v0/models": {
            "data": [
                {"id": "qwen2-vl-7b-instruct", "type": "vlm", "loaded_context_length": 8192},
                {"id": "llama-3", "type": "llm"},
                {"id": "nomic", "type": "embeddings"},
            ]
        },
    },
    "vLLM": {"GET /v1/models": listing("llava-hf/llava-1.5-7b-hf", owner="vllm", max_model_len=4096)},
    "llama.cpp": {
        "GET /v1/models": {
            **listing("llava.gguf", owner="llamacpp", meta={"n_ctx": 4096}),
            "models": [{"name": "llava.gguf", "capabilities": ["completion", "multimodal"]}],
        }
    },
    "llama.cpp, newer": {
        "GET /v1/models": listing(
            "gemma", owner="llamacpp", architecture={"input_modalities": ["text"]}, meta={"n_ctx": 193024}
        )
    },
    "llama.cpp, of one model": {
        "GET /v1/models": listing("qwen2-vl", owner="llamacpp"),
        "GET /props": {"default_generation_settings": {"n_ctx": 16384}, "modalities": {"vision": True}},
    },
    "llama-cpp-python": {"GET /v1/models": listing("llava", owner="me")},
    "loading": {
        "GET /v1/models": (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}})
    },
    "another": {"GET /v1/models": listing("some-model", owner="somebody")},
    "no list": {"GET /v1/chat/completions": 405},
    "closed": {"GET /v1/models": 401, "GET /health/liveliness": "I'm alive!"},
    "web server": {"GET /": b"<html>It works!</html>"},
}


@contextmanager
def running(answers, keys=None):
    """Run a server on loopback that gives these answers and 404 for all other paths; yield its port.

    If the answers have a "key", requests without it are rejected; ``keys`` collects the keys that were sent.
    """

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True  # headers and body are sent separately

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            sent = self.headers.get("Authorization")
            if keys is not None:
                keys.append(sent)
            closed = "key" in answers and sent != f"Bearer {answers['key']}"
            found = 401 if closed else answers.get(f"{self.command} {self.path}", 404)
            if callable(found):
                found = found(json.loads(body))
            status, value = (found, {"detail": "Not Found"}) if isinstance(found, int) else (200, found)
            status, value = value if isinstance(value, tuple) else (status, value)
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
