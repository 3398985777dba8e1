"""Every test runs without keys, without a network, and against servers on this machine alone."""

import io
import os
import socket

import numpy as np
import pytest
from PIL import Image

_KEYS = ("OPENAI_", "AZURE_", "REPLICATE_", "VISION_NB_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def pytest_collection_modifyitems(items):
    """Mark every test that runs a kernel or a browser as slow."""
    for item in items:
        if item.get_closest_marker("kernel") or item.get_closest_marker("browser"):
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """No key, endpoint or proxy of the developer's reaches a test, and no store of theirs is written."""
    for name in list(os.environ):
        if name.upper().startswith(_KEYS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch):
    """A connection to any other host is a failure, not a slow test."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address[0]}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def server():
    """A demo server of the test's own, quick to answer."""
    from vision_nb.demo import DemoServer

    with DemoServer(tokens_per_second=5000) as running:
        yield running


def picture(width=64, height=48, mode="RGB", seed=0):
    """A small picture with smooth shapes and some noise, the same for the same seed."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [127 + 100 * np.sin(columns / (7 + n) + rows / (11 - n) + seed) for n in range(3)]
    pixels = np.stack(waves, axis=-1) + generator.normal(0, 5, (height, width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).convert(mode)


def encoded(image, kind="PNG", **options):
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def photo(tmp_path):
    """A JPEG file of 640 x 480 pixels."""
    path = tmp_path / "photo.jpg"
    picture(640, 480).save(path, quality=90)
    return path
