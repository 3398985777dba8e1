"""`DemoMultiModal`: the demo model, which needs no key and no network."""

from __future__ import annotations

from typing import Any

from vision_nb.checks.arguments import checks_arguments
from vision_nb.privacy.api_keys import hide_arguments
from vision_nb.providers.openai.model import OpenAIMultiModal


@checks_arguments
class DemoMultiModal(OpenAIMultiModal):
    """The demo model: it needs no API key and no network.

    It measures pixels: size, brightness, colors and where they are, sharpness, similarity of images. It is not a
    language model. Requests go through the real openai client to a server in this process,
    on 127.0.0.1.

    Args:
        model: Its name, such as "demo" or that of a model to play: its tokens are counted as those of "gpt-4o", and its
            prices are shown as what gpt-4o would cost.
        **options: As for `OpenAIMultiModal`.

    >>> print(vn.DemoMultiModal().complete("How large is it?", [vn.samples.path("chart")]))
    The image's size is **1,000 x 600 pixels** (landscape). ...
    """

    provider = "demo"
    service = "The demo server"

    def __init__(self, model: str = "demo", **options: Any) -> None:
        options = hide_arguments(options)
        super().__init__(model, "demo", **options)

    @property
    def server(self) -> str | None:
        """The address on this machine."""
        if self.api_base:
            return self.api_base
        from vision_nb.demo import shared_server  # loads tornado, numpy and Pillow, which other models do not need

        return shared_server().openai_base

    @property
    def identity(self) -> dict[str, Any]:
        """What an answer depends on besides the question; the server's address changes."""
        return {**super().identity, "server": None, "answers": 3}  # the version of the demo's answers

    @property
    def is_demo(self) -> bool:
        """Whether the demo answers; the server in this process starts only when it is needed."""
        return self.api_base is None or super().is_demo

    @property
    def is_free(self) -> bool:
        """Always true: the demo costs nothing, also while it shows what the model that it plays would cost."""
        return True

    def __str__(self) -> str:
        return self.provider if self.model == "demo" else f"{self.provider}:{self.model}"
