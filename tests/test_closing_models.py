"""Models close their connections, with `close`, `aclose`, `with` and `async with`, and share none with a fork."""

import asyncio
import gc
import os
import threading

import pytest

import vision_nb as vn
from vision_nb.images.download import download

pytestmark = pytest.mark.slow

MAKERS = {
    "openai": lambda server: vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base),
    "azure": lambda server: vn.AzureOpenAIMultiModal("d", "gpt-4o", server.url, "2024-06-01", "k"),
    "local": lambda server: vn.LocalMultiModal("llava", server.openai_base),
    "demo": lambda server: vn.DemoMultiModal(api_base=server.openai_base),
    "replicate": lambda server: vn.ReplicateMultiModal("llava-13b", api_token="k", api_base=server.replicate_base),
}
IMAGE = vn.samples.path("chart")


@pytest.fixture(params=MAKERS)
def llm(request, server):
    return MAKERS[request.param](server)


def http_clients(llm):
    """The connection pools of a model's clients: the synchronous one and the running loop's."""
    if isinstance(llm, vn.ReplicateMultiModal):
        return llm._connection.http, llm._async_connection.http
    return llm.client._client, llm.async_client._client


async def test_async_with_closes_both_clients(llm):
    async with llm as entered:
        assert entered is llm
        assert llm.complete("What?", IMAGE).text and (await llm.acomplete("What?", IMAGE)).text
        clients = http_clients(llm)
    assert [client.is_closed for client in clients] == [True, True]


async def test_with_closes_the_client_and_has_the_running_loop_close_its_own(llm):
    with llm as entered:
        assert entered is llm
        await llm.acomplete("What?", IMAGE)
        clients = http_clients(llm)
    await asyncio.sleep(0.01)
    assert [client.is_closed for client in clients] == [True, True]


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_model_that_is_gone_closes_its_connections(server, make):
    llm = make(server)
    assert llm.complete("What?", IMAGE).text
    client = llm._connection.http if isinstance(llm, vn.ReplicateMultiModal) else llm.client._client
    del llm
    gc.collect()
    assert client.is_closed


async def test_a_closed_model_opens_new_connections_when_used_again(llm):
    llm.complete("What?", IMAGE), await llm.acomplete("What?", IMAGE)
    await llm.aclose()
    assert llm.complete("What?", IMAGE).text and (await llm.acomplete("What?", IMAGE)).text
    await asyncio.sleep(0.01)
    assert not any(client.is_closed for client in http_clients(llm))
    await llm.aclose()


async def test_closing_a_model_that_was_never_used_does_nothing(llm):
    llm.close()
    await llm.aclose()


def test_closing_while_no_loop_runs_leaves_finished_loops_alone(llm, recwarn):
    asyncio.run(llm.acomplete("What?", IMAGE))
    gc.collect()  # what other tests left behind
    recwarn.clear()
    llm.close()
    gc.collect()
    assert not recwarn.list


def test_closing_a_model_whose_loop_does_not_run_again_does_not_warn_of_its_client(llm, recwarn):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(llm.acomplete("What?", IMAGE))
    del loop
    llm.close()
    gc.collect()
    assert not [warning for warning in recwarn if warning.category is RuntimeWarning]


def in_both_processes(function):
    """Return the results of a function in a fork of this process and, at the same time, in this one."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(write, function("child"))
        finally:
            os._exit(0)
    os.close(write)
    own = function("parent")
    with os.fdopen(read, "rb") as results:
        theirs = results.read()
    os.waitpid(child, 0)
    return theirs, own


@pytest.mark.posix
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_and_its_parent_read_only_their_own_answers(llm, server):
    llm.complete("What?", IMAGE)
    both = threading.Barrier(2)  # on one connection, the second question would only be read after the first answer
    server.answer_with(lambda question: both.wait(10) is not None and question.prompt)
    assert in_both_processes(lambda name: llm.complete(name, IMAGE).text.encode()) == (b"child", b"parent")


@pytest.mark.posix
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_does_not_read_the_images_that_its_parent_downloads(server):
    urls = {name: f"{server.url}/samples/{name}.png" for name in ("chart", "label")}
    files = {name: download(url) for name, url in urls.items()}

    def count_right(process):
        name = {"child": "chart", "parent": "label"}[process]
        return bytes([sum(download(urls[name]) == files[name] for _ in range(50))])

    assert in_both_processes(count_right) == (bytes([50]), bytes([50]))
