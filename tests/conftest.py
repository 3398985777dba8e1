"""Every test runs without API keys, and can reach servers on this machine only."""

import io
import os
import socket
import sqlite3
import ssl
import sys
import uuid
from contextlib import closing, contextmanager

import httpx  # noqa: F401 - an openai stream that is collected while replicate imports httpx fails in it
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from tests.lab import browser_page, close_notebooks, running_lab
from vision_nb.cost import ledger as ledgers
from vision_nb.cost import prices, request_window
from vision_nb.providers import request_process
from vision_nb.services.table import SERVICES

# On a busy machine, making the examples of a test takes seconds, which says nothing about the code.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

# nbformat's validator imports it, and compiling its grammar takes seconds. It checks IRIs, which notebooks do not have.
sys.modules["rfc3987_syntax"] = None

_LONGEST_FIRST = ("browser", "kernel", "slow", None)
_KEYS = {service.key_variable for service in SERVICES.values()}
_HIDDEN = ("OPENAI_", "AZURE_", "REPLICATE_", "VISION_NB_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def pytest_configure(config):
    """Let pytest-xdist start the files in our order, not those with the most tests first."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    """Mark kernel and browser tests as slow, skip POSIX tests on Windows, and put the files that take longest first."""
    ranks = {}
    for item in items:
        if item.get_closest_marker("kernel") or item.get_closest_marker("browser"):
            item.add_marker("slow")
        if os.name == "nt" and item.get_closest_marker("posix"):
            item.add_marker(pytest.mark.skip(reason="needs POSIX"))
        rank = next(rank for rank, name in enumerate(_LONGEST_FIRST) if name is None or item.get_closest_marker(name))
        ranks[item.path] = min(rank, ranks.get(item.path, rank))
    items.sort(key=lambda item: ranks[item.path])


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path_factory):
    """Hide the developer's keys, endpoints, proxies, local servers and store, and the requests of earlier tests."""
    for name in list(os.environ):
        if name.upper().startswith(_HIDDEN) or name in _KEYS:
            monkeypatch.delenv(name)
    monkeypatch.setenv("VISION_NB_LOCAL_PORTS", "")
    monkeypatch.setattr(request_window, "_windows", {})  # an earlier test's server may have had the same port
    cache = tmp_path_factory.getbasetemp() / "caches" / uuid.uuid4().hex  # made only if a test uses it
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("WIN_PD_OVERRIDE_LOCAL_APPDATA", str(cache))  # the same for platformdirs on Windows


@pytest.fixture(autouse=True)
def ledger(monkeypatch):
    """Begin with an empty ledger, without a budget, and without prices that an earlier test has set."""
    monkeypatch.setattr(prices, "_set_prices", {})
    monkeypatch.setattr(ledgers.ledger, "spending", ledgers.Spending())
    return ledgers.ledger


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    """Send all requests from this process, in which tests watch them, however slow the machine is."""
    monkeypatch.setattr(request_process, "FULL", 2.0)


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch):
    """Fail a test that connects to another host."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to connect to {address[0]}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    # No server on this machine has a certificate, and loading the system's takes 25 ms for each client.
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: None)


@pytest.fixture
def server():
    """Start a demo server that streams fast."""
    from vision_nb.demo import DemoServer

    with DemoServer(tokens_per_second=5000) as running:
        yield running


@pytest.fixture(scope="session")
def any_client():
    """Open one openai client for all tests, because each reads the system's certificates."""
    import openai

    with openai.OpenAI(base_url="http://127.0.0.1", api_key="k", max_retries=0) as opened:
        yield opened


@pytest.fixture
def client(any_client, server):
    """Return an openai client of the demo server, which streams without pauses."""
    server.tokens_per_second = float("inf")
    return any_client.with_options(base_url=server.openai_base)


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """Run JupyterLab for the notebooks of all tests, and return its address and its folder."""
    root, work = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("work")
    with running_lab(root, work) as address:
        yield address, root


@pytest.fixture(scope="module")
def module_page():
    """Open a browser for a module's tests, which open their notebooks on one page: JupyterLab loads slowly."""
    with browser_page() as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        yield page


@pytest.fixture
def page(module_page):
    """Return the module's page, and close the test's notebooks afterwards."""
    yield module_page
    close_notebooks(module_page)
    assert module_page.foreign_hosts == set()


@contextmanager
def closed_port():
    """Yield a port where nothing listens, and hold it: another test's server could be given it, and our requests."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def picture(width=64, height=48, mode="RGB", seed=0):
    """Return a small image with smooth shapes and some noise, the same for the same seed."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [127 + 100 * np.sin(columns / (7 + n) + rows / (11 - n) + seed) for n in range(3)]
    pixels = np.stack(waves, axis=-1) + generator.normal(0, 5, (height, width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).convert(mode)


def encoded(image, kind="PNG", **options):
    """Return an image as the bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rows_in(path, statement, *parameters):
    """Execute a statement in an SQLite file, as another process would, and return its rows."""
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement, parameters).fetchall()


def fill_up(store):
    """Let a store take no more pages, as if its disk were full."""
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")


@pytest.fixture
def photo(tmp_path):
    """Return the path of a JPEG file of 640 x 480 pixels."""
    path = tmp_path / "photo.jpg"
    picture(640, 480).save(path, quality=90)
    return path
