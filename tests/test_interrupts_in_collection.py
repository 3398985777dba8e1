"""An interrupt that arrives during garbage collection is raised in the cell, where Python alone would ignore it."""

import _thread
import gc
import signal
import threading
import time

import httpx
import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.replicate_calls import maker
from vision_nb.privacy.api_keys import Secret
from vision_nb.privacy.redaction import redact
from vision_nb.store import Store


@pytest.fixture(autouse=True)
def no_collection_callbacks():
    """Remove the callbacks of other libraries (Hypothesis), in which an interrupt would be lost."""
    callbacks = gc.callbacks[:]
    gc.callbacks.clear()
    yield
    gc.callbacks.extend(callbacks)


@pytest.fixture
def press():
    """Return a function that interrupts the main thread, once."""
    pressed = []

    def press():
        if not pressed and threading.current_thread() is threading.main_thread():
            pressed.append(True)
            signal.raise_signal(signal.SIGINT)

    return press


def replicate_model(server, tmp_path, monkeypatch, press):
    close = httpx.HTTPTransport.close
    monkeypatch.setattr(httpx.HTTPTransport, "close", lambda transport: (close(transport), press()))
    llm = maker(server, monkeypatch)("fuyu-8b")
    llm.complete("What?", picture())
    return llm


def store(server, tmp_path, monkeypatch, press):
    monkeypatch.setattr("vision_nb.storage.database.checkpoint", lambda connection: press())
    return Store(tmp_path / "answers.sqlite3")


def stream(server, tmp_path, monkeypatch, press):
    server.answer_with("one two three " * 20)
    stream = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base).stream_complete("What?")
    next(stream)
    close = stream._source.close
    stream._source.close = lambda: (close(), press())
    return stream


@pytest.mark.posix
@pytest.mark.parametrize("make", [replicate_model, store, stream])
def test_an_interrupt_during_garbage_collection_is_not_lost(server, tmp_path, monkeypatch, press, make):
    gc.collect()  # what earlier tests left must not be collected here
    collected = make(server, tmp_path, monkeypatch, press)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        del collected
        gc.collect()
        time.sleep(60)  # what the cell is doing
    assert time.monotonic() - started < 30


class Press:
    """Interrupts the main thread when it is freed; the interrupt is raised in the next Python code that runs."""

    __del__ = _thread.interrupt_main


@pytest.mark.posix
def test_an_interrupt_just_before_a_key_is_freed_is_not_lost():
    freed = [Secret("sk-of-a-model-that-is-freed", name="The API key"), Press()]  # freed from the end, in C
    with pytest.raises(KeyboardInterrupt):
        del freed[:]
        for _ in range(300):  # what the cell is doing
            time.sleep(0.1)


def test_keys_can_be_freed_while_a_text_is_redacted():
    kept = [Secret(f"sk-that-is-kept-{number}", name="The API key") for number in range(40)]
    thresholds = gc.get_threshold()
    gc.freeze()  # so that collecting is fast whatever other tests left
    try:
        for allocations in range(1, 120):  # garbage collection frees a key at each allocation in turn
            gc.collect()
            cycle: list[object] = [Secret(f"sk-in-a-cycle-{allocations}", name="The API key")]
            cycle.append(cycle)
            gc.set_threshold(gc.get_count()[0] + allocations)
            del cycle
            assert redact("it is sk-that-is-kept-7.") == "it is ***."
            gc.set_threshold(*thresholds)
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
    assert len(kept) == 40
