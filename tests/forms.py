"""The ways of asking a question: whole or streamed, synchronous or not, as a prompt or a chat; and how to interrupt them."""

import asyncio
import signal
import sys
import sysconfig
import threading
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

import pytest

import vision_nb as vn

APIS = ["chat", "responses"]
each_api = pytest.mark.parametrize("llm", APIS, indirect=True)
"""Run a test with the model of its file once for each of OpenAI's APIs; the fixture takes the API from its request."""

FORMS = ["complete", "acomplete", "stream_complete", "astream_complete"]
EIGHT_FORMS = [*FORMS, "chat", "achat", "stream_chat", "astream_chat"]


async def ask_all(llm, form, prompt="Which numbers?", images=(), **overrides):
    """Ask a question in one of the ways, and return all responses."""
    if form.endswith("chat"):
        messages = [vn.generate_openai_multi_modal_chat_message(prompt, image_documents=images)]
        result = getattr(llm, form)(messages, **overrides)
    else:
        result = getattr(llm, form)(prompt, images, **overrides)
    if form.startswith("a"):
        result = await result
    if form.startswith("stream"):
        return list(result)
    if form.startswith("astream"):
        return [response async for response in result]
    return [result]


async def ask(llm, form, prompt="Which numbers?", images=(), **overrides):
    """Ask a question in one of the ways, and return the last response."""
    return (await ask_all(llm, form, prompt, images, **overrides))[-1]


async def until(condition, task=None):
    """Wait until a condition holds; fail if that takes a minute, or if a task ends before."""
    async with asyncio.timeout(60):
        while not condition():
            assert task is None or not task.done(), f"the task ended first: {task}"
            await asyncio.sleep(0.01)


def wait_until(condition):
    """Wait in this thread until a condition holds; fail if that takes a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def interrupted_when(condition):
    """Press Ctrl-C once the condition holds, and again after a while, as people do when nothing happens.

    The first one can arrive in a finalizer or callback of another library, where Python ignores it; see
    `_is_lost_by_a_library`. Anything else that Python ignores fails the test.
    """
    is_over = threading.Event()
    report = sys.unraisablehook

    def report_other_losses(unraisable):
        if not _is_lost_by_a_library(unraisable):
            report(unraisable)

    def press():
        while not (is_over.is_set() or condition()):
            time.sleep(0.01)
        while not is_over.is_set():
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            is_over.wait(10)

    thread = threading.Thread(target=press)
    sys.unraisablehook = report_other_losses
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        sys.unraisablehook = report


def _is_lost_by_a_library(unraisable):
    """Return whether Python ignored an interrupt in a callback of another library's C code or finalizer.

    pydantic-core, for one, ignores what ``isinstance(value, Mapping)`` raises, which runs Python code of ``abc``. A
    loss in the standard library's weak collections is not excused: they may be our own.
    """
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(unraisable.exc_traceback)]
    if not files or not issubclass(unraisable.exc_type, KeyboardInterrupt):
        return False
    ours = Path(__file__).parents[1]
    libraries = Path(sysconfig.get_path("purelib"))
    is_ours = any(Path(file).is_relative_to(ours) and not Path(file).is_relative_to(libraries) for file in files)
    return not is_ours and (files[-1] == "<frozen abc>" or Path(files[0]).is_relative_to(libraries))
