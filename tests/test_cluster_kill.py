"""A worker of a cluster is killed while it makes calls."""

import collections
import os
import signal

import pytest
from distributed import Client, LocalCluster
from PIL import Image

import vision_nb as vn
from tests.conftest import encoded

pytestmark = [pytest.mark.slow, pytest.mark.posix]


def test_a_killed_worker_costs_at_most_the_calls_in_progress_there(server, tmp_path):
    paid = collections.Counter()
    pids = []

    def answer(question):
        paid[question.images[0].getpixel((0, 0))] += 1
        if sum(paid.values()) == 120:
            os.kill(pids[0], signal.SIGKILL)
        return "an answer"

    server.answer_with(answer)
    pictures = [encoded(Image.new("RGB", (40, 30), (number % 256, number // 256, 7))) for number in range(300)]
    before = len(vn.ledger.entries)
    llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base)
    with (
        LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        pids += client.run(os.getpid).values()
        comparison = vn.compare(
            llm, "How?", pictures, store=tmp_path / "a", cluster=client, concurrency=8, progress=False
        )
    assert len(comparison) == len(paid) == 300 and not comparison.errors
    assert 120 < len(server.requests) <= 309
    assert len(vn.ledger.entries) - before >= len(server.requests)
