"""Processor time of a call on a cluster, in each process: the notebook, the scheduler and the workers.

The calls are instant, and the server runs in a process of its own, so that only the toolkit's and Dask's own costs are
measured. Limit: the notebook and the scheduler together use at most 4 ms a call.

Run: python -m tests.benchmarks.cluster_calls [--calls 600] [--concurrency 16 50] [--budget 100]
"""

import argparse
import tempfile
import time
from pathlib import Path

import psutil
from PIL import Image

import vision_nb as vn
from tests.benchmarks.cluster_processes import processor_seconds, running_cluster
from tests.benchmarks.light_server import light_server


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[16, 50])
    parser.add_argument("--budget", type=float, help="a budget, so that the workers ask before each request")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        light_server() as (base, _),
        running_cluster(workers=2, threads=2) as (client, scheduler, workers),
    ):
        work = Path(folder)
        (work / "images").mkdir()
        for number in range(20):
            Image.new("RGB", (64, 48), (number, 50, 90)).save(work / "images" / f"{number}.png")
        llm = vn.OpenAIMultiModal("gpt-4o", "k", base)
        processes = [psutil.Process(), scheduler, *workers]
        prompts = [f"question {number}?" for number in range(options.calls // 20)]
        for concurrency in options.concurrency:
            for name, asked in (("first", prompts[:2]), ("all", prompts)):  # the first ones import and connect
                before, started = [processor_seconds(one) for one in processes], time.perf_counter()
                comparison = vn.compare(
                    llm,
                    asked,
                    work / "images",
                    store=work / f"{name}{concurrency}.sqlite3",
                    cluster=client,
                    budget=options.budget,
                    progress=False,
                    concurrency=concurrency,
                )
                assert not comparison.errors and not comparison.incomplete
            seconds, calls = time.perf_counter() - started, len(comparison)
            spent = [
                (processor_seconds(one) - first) / calls * 1000 for one, first in zip(processes, before, strict=True)
            ]
            print(
                f"{calls:,} calls, {concurrency} at once, {seconds:.2f} s; ms of CPU a call: notebook {spent[0]:.2f}, "
                f"scheduler {spent[1]:.2f} (together {spent[0] + spent[1]:.2f}; limit 4), workers {sum(spent[2:]):.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
