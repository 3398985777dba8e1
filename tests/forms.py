"""The four ways of asking a question: whole or streamed, synchronous or asynchronous; and how to interrupt them."""

import signal
import threading
import time
from contextlib import contextmanager

FORMS = ["complete", "acomplete", "stream_complete", "astream_complete"]


async def ask_all(llm, form, prompt="Which numbers?", images=(), **overrides):
    """Ask a question in one of the ways, and return all responses."""
    result = getattr(llm, form)(prompt, images, **overrides)
    if form.startswith("a"):
        result = await result
    if form == "stream_complete":
        return list(result)
    if form == "astream_complete":
        return [response async for response in result]
    return [result]


async def ask(llm, form, prompt="Which numbers?", images=(), **overrides):
    """Ask a question in one of the ways, and return the last response."""
    return (await ask_all(llm, form, prompt, images, **overrides))[-1]


@contextmanager
def interrupted_when(condition):
    """Press Ctrl-C once the condition holds."""

    def press():
        for _ in range(6000):
            if condition():
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=press)
    thread.start()
    try:
        yield
    finally:
        thread.join()
