"""A server for benchmarks that takes little processor time: it reads requests without parsing them."""

import contextlib
import subprocess
import sys

import psutil

SERVER = """
import asyncio, sys

BODY = (
    b'{"id": "x", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [{"index": 0, '
    b'"finish_reason": "stop", "message": {"role": "assistant", "content": "An answer."}}], '
    b'"usage": {"prompt_tokens": 300, "completion_tokens": 5, "total_tokens": 305}}'
)
ANSWER = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n%s" % (len(BODY), BODY)
SECONDS = float(sys.argv[1])


class Connection(asyncio.BufferedProtocol):
    # One request at a time, with a body that is counted and discarded.

    def connection_made(self, transport):
        self.transport, self.buffer, self.head, self.left = transport, bytearray(1 << 20), b"", 0

    def get_buffer(self, hint):
        return self.buffer

    def buffer_updated(self, count):
        if self.left == 0:
            self.head += self.buffer[:count]
            end = self.head.find(b"\\r\\n\\r\\n")
            if end < 0:
                return
            length = int(self.head[:end].lower().partition(b"content-length:")[2].split(b"\\r\\n")[0])
            self.left, count, self.head = length, len(self.head) - end - 4, b""
        self.left -= count
        if self.left == 0:
            asyncio.get_running_loop().call_later(SECONDS, self.answer)

    def answer(self):
        if not self.transport.is_closing():
            self.transport.write(ANSWER)


async def main():
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=1000)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


@contextlib.contextmanager
def light_server(seconds=0.0):
    """Run the server in another process, so that it does not use the client's processor time.

    Args:
        seconds: The time until it answers.

    Yields:
        Its address, and its process.
    """
    command = [sys.executable, "-c", SERVER, str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        yield child.stdout.readline().strip(), psutil.Process(child.pid)
