"""The sample images as URLs of the demo server, and as replacements for unreachable URLs."""

import socket
import time

import httpx2
import pytest

import vision_nb as vn
from vision_nb.demo import reachable_or_sample, sample_url


@pytest.mark.parametrize("name", vn.samples.names())
def test_the_url_of_a_sample_returns_its_file(server, name):
    response = httpx2.get(sample_url(server, name))
    assert response.status_code == 200 and response.content == vn.samples.path(name).read_bytes()
    assert response.headers["content-type"] == vn.ImageDocument.of(vn.samples.path(name)).mimetype


@pytest.mark.parametrize("name", ["nothing.png", "..%2F__init__.py", "%2e%2e/__init__.py"])
def test_other_files_are_not_served(server, name):
    assert httpx2.get(f"{server.url}/samples/{name}").status_code == 404


def test_only_urls_without_an_image_are_replaced(server):
    found, label = sample_url(server, "chart"), sample_url(server, "label")
    others = (f"{server.url}/v1/models", "http://127.0.0.1:9/a.jpg", "http://[nonsense", f"{server.url}/nothing.jpg")
    assert reachable_or_sample(dict.fromkeys((found, *others), "label"), server) == [found, *[label] * 4]


def test_a_host_that_never_answers_takes_no_longer_than_the_timeout(server):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.jpg"
        start = time.monotonic()
        found = reachable_or_sample({url: "chart", f"{url}2": "label"}, server, seconds=3)
        assert time.monotonic() - start < 5.9  # 6 one after the other
    assert found == [sample_url(server, "chart"), sample_url(server, "label")]


def test_an_unknown_sample_is_an_error(server):
    with pytest.raises(vn.errors.ImageNotFoundError, match="nothing"):
        reachable_or_sample({sample_url(server, "chart"): "nothing"}, server)
