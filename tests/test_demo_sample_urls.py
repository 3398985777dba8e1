"""The samples behind URLs on this machine, and when they stand in for pictures of the web."""

import time

import httpx2
import pytest

import vision_nb as vn
from vision_nb.demo import reachable_or_sample, sample_url


@pytest.mark.parametrize("name", vn.samples.names())
def test_each_sample_has_a_url_that_gives_its_bytes(server, name):
    response = httpx2.get(sample_url(server, name))
    assert response.status_code == 200
    assert response.content == vn.samples.path(name).read_bytes()
    assert response.headers["content-type"] == vn.ImageDocument.of(vn.samples.path(name)).mimetype


@pytest.mark.parametrize("name", ["nothing.png", "draw.py", "..%2Fdraw.py", "%2e%2e/__init__.py"])
def test_nothing_else_is_given(server, name):
    assert httpx2.get(f"{server.url}/samples/{name}").status_code == 404


def test_a_picture_that_is_there_stays_and_every_other_gets_its_sample(server):
    there = sample_url(server, "chart")
    web_page = f"{server.url}/v1/models"
    refused = "http://127.0.0.1:9/a.jpg"
    no_url = "http://[nonsense"
    urls = dict.fromkeys((there, web_page, refused, no_url, f"{server.url}/nothing.jpg"), "label")
    label = sample_url(server, "label")
    assert reachable_or_sample(urls, server) == [there, label, label, label, label]


def test_a_host_that_never_answers_costs_the_given_time_and_no_more(server):
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.jpg"
        start = time.monotonic()
        found = reachable_or_sample({url: "chart", f"{url}2": "label"}, server, seconds=0.4)
        assert time.monotonic() - start < 1.5
    assert found == [sample_url(server, "chart"), sample_url(server, "label")]


def test_an_unknown_sample_is_refused_before_anything_is_asked(server):
    with pytest.raises(vn.errors.ImageNotFoundError, match="no sample picture 'nothing'"):
        reachable_or_sample({sample_url(server, "chart"): "nothing"}, server)
    assert not server.requests
