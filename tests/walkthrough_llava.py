"""The two Python samples of the LLaVA walkthrough, with only the endpoint and the image's host changed."""

import base64
import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai

from tests.conftest import encoded, picture


@contextlib.contextmanager
def image_host():
    """Run a local host in place of Wikimedia's; yield the image's URL and the paths requested."""
    data, requested = encoded(picture(320, 200), "JPEG"), []

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True  # headers and body are sent separately

        def do_GET(self):
            requested.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/boardwalk.jpg", requested
    finally:
        server.shutdown()
        server.server_close()


def sample_with_a_url(api_base, image_url, monkeypatch, api_key):
    """Send an image URL with the module-level openai client."""
    monkeypatch.setattr(openai, "_client", None, raising=False)
    monkeypatch.setattr(openai, "api_key", api_key)
    monkeypatch.setattr(openai, "base_url", f"{api_base}/")
    response = openai.chat.completions.create(
        model="llava",
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "日本語で答えてください。どんな風景ですか？"},
                    {"type": "image_url", "image_url": {"url": image_url}},
                ],
            }
        ],
        max_tokens=300,
    )
    monkeypatch.setattr(openai, "_client", None, raising=False)
    return response


def sample_with_a_file(api_base, image_path, api_key):
    """Send a file as base64 with requests."""
    import requests

    base64_image = base64.b64encode(image_path.read_bytes()).decode("utf-8")
    payload: dict[str, Any] = {
        "model": "llava",
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "text",
                        "text": "日本語で答えてください。\n人物は登場しますか？、男女どちらですか？、服は何色ですか？",
                    },
                    {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{base64_image}"}},
                ],
            }
        ],
        "max_tokens": 300,
    }
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {api_key}"}
    return requests.post(f"{api_base}/chat/completions", headers=headers, json=payload, timeout=60).json()


def both_samples_run(api_base, image_path, monkeypatch, api_key="EMPTY"):
    """Run both samples, and check that the image was read each time."""
    with image_host() as (image_url, requested):
        response = sample_with_a_url(api_base, image_url, monkeypatch, api_key)
    assert requested == ["/boardwalk.jpg"] and response.usage.prompt_tokens > 576
    assert isinstance(response.choices[0].message.content, str)
    answer = sample_with_a_file(api_base, image_path, api_key)
    assert answer["usage"]["prompt_tokens"] > 576 and answer["choices"][0]["message"]["role"] == "assistant"
