"""A Dask cluster of processes, and a light server, for the benchmarks of `cluster=`."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from distributed import Client

SERVER = """
import asyncio, sys

BODY = (
    b'{"id": "x", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [{"index": 0, '
    b'"finish_reason": "stop", "message": {"role": "assistant", "content": "An answer."}}], '
    b'"usage": {"prompt_tokens": 300, "completion_tokens": 5, "total_tokens": 305}}'
)
ANSWER = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n%s" % (len(BODY), BODY)


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
            self.transport.write(ANSWER)


async def main():
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=1000)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


@contextlib.contextmanager
def light_server():
    """Run a server that answers at once, and reads requests without parsing them, in another process.

    Yields:
        Its address, and its process.
    """
    child = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield child.stdout.readline().strip(), psutil.Process(child.pid)
    finally:
        child.stdin.close()
        child.wait(10)


@contextlib.contextmanager
def running_cluster(workers, threads):
    """Run a scheduler and workers, each in a process of its own.

    Yields:
        A client, the scheduler's process, and the workers' processes.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        command, where = [sys.executable, "-m"], ["--scheduler-file", str(file), "--host", "127.0.0.1"]
        options = ["--no-nanny", "--nthreads", str(threads), "--no-dashboard", "--local-directory", folder]
        started = [
            subprocess.Popen(
                [*command, *arguments], stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )
            for arguments in (
                ["distributed.cli.dask_scheduler", *where, "--port", "0", "--dashboard-address", "127.0.0.1:0"],
                *[["distributed.cli.dask_worker", *where, *options]] * workers,
            )
        ]
        try:
            while not file.exists() or not file.stat().st_size:
                time.sleep(0.1)
            with Client(scheduler_file=str(file), set_as_default=False) as client:
                client.wait_for_workers(workers, timeout=60)
                scheduler, *others = [psutil.Process(one.pid) for one in started]
                yield client, scheduler, others
        finally:
            for one in reversed(started):
                one.terminate()
                one.wait(60)


def processor_seconds(process):
    """Return the processor time that a process has used."""
    return sum(process.cpu_times()[:2])
