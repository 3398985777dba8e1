"""The connections with which the workers of a cluster make the calls of a run, and that none is left open."""

import asyncio
import threading
from typing import Any

import psutil
import pytest
from distributed import Client

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.forms import interrupted_when, until
from tests.test_cluster import KEY, compare, has_no_session, keys_of_tasks, model, scheduler_state, worker_state
from tests.test_cluster_kill import local_cluster
from vision_nb.comparison.calls import MANY_CALLS
from vision_nb.providers.openai import connection
from vision_nb.providers.openai.aiohttp_transport import AiohttpTransport

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Creating scratch directories:UserWarning"),  # a busy disk
]

QUESTIONS = [f"question {number}?" for number in range(MANY_CALLS // 10)]
IMAGES = [encoded(picture(60, 40, seed=number)) for number in range(10)]
SENT: list[object] = []  # by this worker, with aiohttp
OPEN: list[object] = []  # aiohttp's sessions that were not closed; this keeps garbage collection from closing them


def count_sent():
    """Count this worker's requests that aiohttp sends, and its sessions that are open."""
    transport: Any = AiohttpTransport
    send, open_session, close = transport.handle_async_request, transport._open, transport.aclose

    async def counted(self, request):
        SENT.append(request.method)
        return await send(self, request)

    def opened(self):
        OPEN.append(open_session(self))
        return OPEN[-1]

    async def closed(self):
        session = self._session
        await close(self)
        if session in OPEN:
            OPEN.remove(session)

    transport.handle_async_request, transport._open, transport.aclose = counted, opened, closed


def forget_sent():
    SENT.clear()


def number_sent():
    return len(SENT)


@pytest.fixture(scope="module")
def shared_client():
    with local_cluster(2) as cluster, Client(cluster, set_as_default=False) as client:
        client.run(count_sent)
        yield client


@pytest.fixture
def client(shared_client):
    shared_client.run(forget_sent)
    return shared_client


def connections(port):
    """How many connections this worker has to a port."""
    return sum(bool(one.raddr) and one.raddr.port == port for one in psutil.Process().net_connections())


def number_open():
    return len(OPEN)


def has_no_connection(client, server):
    port = int(server.openai_base.split(":")[2].split("/")[0])
    return {*client.run(connections, port).values(), *client.run(number_open).values()} == {0}


def test_each_worker_makes_many_calls_with_aiohttp_and_closes_its_connections(server, client, tmp_path):
    comparison = compare(model(server), QUESTIONS, IMAGES, store=tmp_path / "a", cluster=client)
    sent = client.run(number_sent)
    assert not comparison.errors and sum(sent.values()) == len(server.requests) == MANY_CALLS
    assert min(sent.values()) > 0
    asyncio.run(until(lambda: has_no_session(client) and has_no_connection(client, server)))


def test_a_few_calls_are_made_with_the_vendors_own_client(server, client, tmp_path):
    comparison = compare(model(server), QUESTIONS[1:], IMAGES, store=tmp_path / "a", cluster=client)
    assert not comparison.errors and len(server.requests) == MANY_CALLS - 10
    assert sum(client.run(number_sent).values()) == 0


def hide_aiohttp():
    module: Any = connection
    module.real_find, module.find_spec = module.find_spec, lambda name: None


def show_aiohttp():
    module: Any = connection
    module.find_spec = module.__dict__.pop("real_find")


def test_workers_without_aiohttp_make_the_calls_with_the_vendors_own_client(server, client, tmp_path):
    client.run(hide_aiohttp)
    try:
        comparison = compare(model(server), QUESTIONS, IMAGES, store=tmp_path / "a", cluster=client)
    finally:
        client.run(show_aiohttp)
    assert not comparison.errors and len(server.requests) == MANY_CALLS
    assert sum(client.run(number_sent).values()) == 0


def test_each_model_of_a_run_has_its_own_connections(server, client, tmp_path):
    models = [model(server), model(server, "gpt-4o-mini", api_key=f"{KEY}-other")]
    comparison = compare(models, QUESTIONS, IMAGES, store=tmp_path / "a", cluster=client)
    assert not comparison.errors and sum(client.run(number_sent).values()) == 2 * MANY_CALLS
    keys = [request.headers["authorization"].removeprefix("Bearer ") for request in server.requests]
    assert keys.count(KEY) == keys.count(f"{KEY}-other") == MANY_CALLS
    asyncio.run(until(lambda: has_no_session(client) and has_no_connection(client, server)))


@pytest.fixture
def waiting(server):
    """Hold all answers of the server back until the test ends."""
    may_answer = threading.Event()
    server.answer_with(lambda question: str(may_answer.wait(120)))
    yield may_answer
    may_answer.set()


@pytest.mark.posix
def test_an_interrupted_run_closes_the_connections(server, client, tmp_path, waiting):
    with interrupted_when(lambda: len(server.requests) >= 4):
        comparison = compare(model(server), QUESTIONS, IMAGES, store=tmp_path / "a", cluster=client, concurrency=4)
    assert "interrupted" in comparison.incomplete and sum(client.run(number_sent).values()) == 4
    asyncio.run(until(lambda: has_no_session(client) and has_no_connection(client, server)))


async def test_the_key_is_in_no_task_or_log_while_aiohttp_sends_it(server, client, tmp_path, waiting):
    running = asyncio.create_task(
        vn.acompare(model(server), QUESTIONS, IMAGES, store=tmp_path / "a", cluster=client, progress=False)
    )
    await until(lambda: len(server.requests) >= 4, running)
    tasks = await asyncio.to_thread(lambda: list(client.run_on_scheduler(keys_of_tasks)))
    texts = [client.run_on_scheduler(scheduler_state), *client.run(worker_state).values()]
    texts += [repr((client.story(*tasks), client.call_stack(keys=tasks)))]
    waiting.set()
    await until(running.done)
    assert not running.result().errors and sum(client.run(number_sent).values()) == MANY_CALLS
    texts += [repr((client.get_worker_logs(), client.get_scheduler_logs(), client.get_events()))]
    assert not [text for text in texts if KEY in text] and "vision_nb-answer" in texts[0]
