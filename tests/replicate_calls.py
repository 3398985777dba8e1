"""Shared by the Replicate tests: models that talk to the demo server, and ways to call them."""

import asyncio
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vision_nb as vn
from tests.conftest import picture
from vision_nb import errors

SECRET = "r8_test0123456789abcdef"
TEXT = "The sky is blue, and the sea below it is darker."


def maker(server, monkeypatch):
    """Return a function that makes models; they talk to a test's own server, which answers with `TEXT`."""
    monkeypatch.setenv("REPLICATE_POLL_INTERVAL", "0.02")
    monkeypatch.setattr("vision_nb.providers.replicate.model._schemas", {})
    server.answer_with(TEXT)

    def make(model="llava-13b", **options):
        return vn.ReplicateMultiModal(model, api_token=SECRET, api_base=server.replicate_base, **options)

    return make


def created(server):
    """Return the bodies of the requests that create predictions."""
    return [one.body for one in server.requests if one.method == "POST" and one.path.endswith("/predictions")]


def question(text="What?", *pictures):
    return vn.generate_openai_multi_modal_chat_message(text, "user", list(pictures) or [picture()])


def noise(width, height):
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


async def wait_for(condition):
    for _ in range(250):
        if condition():
            return True
        await asyncio.sleep(0.02)
    return False


async def error_of_call(llm, number) -> Any:
    """Return the error that complete, stream_complete, acomplete or astream_complete (by number) raises."""

    async def astreamed():
        return [part async for part in await llm.astream_complete("What?", picture())]

    with pytest.raises(errors.ProviderError) as caught:
        if number == 0:
            llm.complete("What?", picture())
        elif number == 1:
            list(llm.stream_complete("What?", picture()))
        else:
            await (llm.acomplete("What?", picture()) if number == 2 else astreamed())
    return caught.value
