"""A Dask cluster of processes, for the benchmarks of `cluster=`."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from distributed import Client


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
