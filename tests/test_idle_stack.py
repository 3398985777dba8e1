"""The pool of the connections of asynchronous calls: which are used again, how many there are, and when they close."""

import asyncio
import random
from contextlib import asynccontextmanager

import httpx2
import openai
import pytest

from vision_nb.providers.openai.asyncio_backend import use_asyncio

pytestmark = pytest.mark.slow


class Server:
    """Answers each request with its own body, after an event if its path is /wait.

    Attributes:
        url: The address.
        connections: How many connections were opened.
        open: How many of them are open.
        proceed: The event.
    """

    def __init__(self):
        self.url, self.connections, self.open = "", 0, 0
        self.proceed, self.waiting = asyncio.Event(), 0

    async def serve(self, reader, writer):
        self.connections, self.open = self.connections + 1, self.open + 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
                if b" /wait " in head:
                    self.waiting += 1
                    await self.proceed.wait()
                elif b" /slow " in head:
                    await asyncio.sleep(random.random() / 50)
                writer.write(body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def echo():
    """Run the server."""
    server = Server()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        async with asyncio.timeout(60):
            yield server
    finally:
        server.proceed.set()
        listener.close()


@asynccontextmanager
async def connected(connections=1000, expiry=60.0, pool_timeout=60.0):
    """An HTTP client with the pool."""
    limits = httpx2.Limits(max_connections=connections, keepalive_expiry=expiry)
    client = openai.DefaultAsyncHttpxClient(limits=limits, timeout=httpx2.Timeout(60, pool=pool_timeout))
    use_asyncio(client)
    async with client:
        yield client


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def post(client, url, text):
    return (await client.post(url, content=text.encode())).text


async def test_requests_one_after_the_other_share_a_connection():
    async with echo() as server, connected() as client:
        assert [await post(client, server.url, text) for text in "abc"] == ["a", "b", "c"]
        assert server.connections == 1


async def test_requests_at_once_have_a_connection_each_which_are_used_again():
    async with echo() as server, connected() as client:
        for _ in range(3):
            server.proceed.clear()
            before = server.waiting
            posts = asyncio.gather(*(post(client, f"{server.url}/wait", str(number)) for number in range(150)))
            await until(lambda seen=before + 150: server.waiting == seen)
            server.proceed.set()
            assert await posts == [str(number) for number in range(150)]
        assert server.connections == 150


async def test_connections_that_were_idle_for_too_long_are_closed():
    async with echo() as server, connected(expiry=0.0) as client:
        for text in "abc":
            assert await post(client, server.url, text) == text
        assert server.connections == 3
        await until(lambda: server.open <= 1)


async def test_there_are_no_more_connections_than_allowed():
    async with echo() as server, connected(connections=2) as client:
        answers = await asyncio.gather(*(post(client, f"{server.url}/slow", str(number)) for number in range(20)))
        assert answers == [str(number) for number in range(20)] and server.connections == 2


async def test_a_request_that_waits_too_long_for_a_connection_times_out():
    async with echo() as server, connected(connections=1, pool_timeout=0.1) as client:
        first = asyncio.create_task(post(client, f"{server.url}/wait", "a"))
        await until(lambda: server.waiting)
        with pytest.raises(httpx2.PoolTimeout):
            await post(client, server.url, "b")
        server.proceed.set()
        assert await first == "a" and await post(client, server.url, "c") == "c"


async def test_no_answer_belongs_to_another_question_although_calls_are_cancelled():
    choose = random.Random(1)
    async with echo() as server, connected(connections=30) as client:

        async def ask(number):
            text = f"{number}" * 1000
            try:
                async with asyncio.timeout(choose.choice((0.002, 0.01, 0.02, 60))):
                    assert await post(client, f"{server.url}/slow", text) == text
            except TimeoutError:
                return False
            return True

        results = await asyncio.gather(*(ask(number) for number in range(1000)))
        assert set(results) == {True, False}
        # No connection was lost to the calls that were cancelled.
        answers = await asyncio.gather(*(post(client, f"{server.url}/slow", str(number)) for number in range(100)))
        assert answers == [str(number) for number in range(100)]


async def test_closing_the_client_closes_connections_in_use_too():
    async with echo() as server:
        async with connected() as client:
            await post(client, server.url, "a")
            waiting = asyncio.create_task(post(client, f"{server.url}/wait", "b"))
            idle = await asyncio.gather(*(post(client, server.url, str(number)) for number in range(3)))
            await until(lambda: server.waiting)
            assert idle == ["0", "1", "2"] and server.open == 4
        with pytest.raises(httpx2.TransportError):
            await waiting
        server.proceed.set()
        await until(lambda: server.open == 0)


async def test_a_redirect_to_another_protocol_is_refused():
    async with connected() as client:
        with pytest.raises(httpx2.UnsupportedProtocol):
            await client.get("ftp://127.0.0.1/")
