"""`compare` in a real kernel with its running event loop: results, and interrupts that leave the kernel usable."""

import pytest

from tests.kernels import error_of, run_cells, text_of

pytestmark = pytest.mark.kernel

SLOW = """
import os, signal, threading, time
from vision_nb.demo import shared_server
image = vn.samples.path("chart")
shared_server().answer_with(lambda question: time.sleep(0.2) or "x")
def interrupt():
    asked = len(shared_server().requests)
    while len(shared_server().requests) < asked + 6:
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)
"""


def test_compare_in_a_kernel_survives_an_interrupt(tmp_path):
    cells = run_cells(
        SLOW,
        "threading.Thread(target=interrupt).start()\n"
        "found = vn.compare('demo', [f'{n}?' for n in range(40)], image, store='a.sqlite3', concurrency=2, progress=False)",
        "print(found.incomplete, 0 < sum(row.finished for row in found) < 40)",
        "shared_server().answer_with('x')\n"
        "again = vn.compare('demo', [f'{n}?' for n in range(40)], image, store='a.sqlite3')\n"
        "print(sum(row.finished for row in again))",
        "import asyncio\nawait asyncio.sleep(0.01)\n"
        "print(len(await vn.acompare('demo', 'What?', image, store='a.sqlite3', progress=False)))",
        "found",
        folder=tmp_path,
    )
    assert all(error_of(cell) is None for cell in cells)
    assert text_of(cells[2]).startswith("interrupted; ") and text_of(cells[2]).strip().endswith("True")
    assert "40" in text_of(cells[3])
    assert text_of(cells[4]).strip() == "1"
    assert "call not made" in cells[5].outputs[0].data["text/html"]
