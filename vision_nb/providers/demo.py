"""The demo model as a model like any other."""

from __future__ import annotations

from typing import Any, ClassVar

from vision_nb.demo import shared_server
from vision_nb.providers.openai.model import OpenAIMultiModal


class DemoMultiModal(OpenAIMultiModal):
    """A demo model that needs no key and no network.

    It measures pixels (size, colors and where they are, brightness, sharpness, similarity) and is not a language
    model, as each of its answers says. Requests go through the real openai client to a server that this process
    runs on 127.0.0.1.

    Args:
        model: Any name; tokens are counted by the rule of the model of this name, if it is known.
        **options: As for `OpenAIMultiModal`.

    >>> print(vn.DemoMultiModal().complete("How large is it?", [vn.samples.path("chart")]))
    The image's size is **1,000 x 600 pixels** (landscape). ...
    """

    provider: ClassVar[str] = "demo"
    service: ClassVar[str] = "The demo server"

    def __init__(self, model: str = "demo", **options: Any) -> None:
        super().__init__(model, "demo", **options)

    def _client_options(self) -> dict[str, Any]:
        return {**super()._client_options(), "base_url": self.server}

    @property
    def server(self) -> str | None:
        """The server's address on this machine."""
        return self.api_base or shared_server().openai_base

    @property
    def identity(self) -> dict[str, Any]:
        """Without the address, because its port changes and the answers do not."""
        return {**super().identity, "server": None}

    def _secrets(self) -> tuple[str, ...]:
        return ()  # its key is the word "demo"

    @property
    def is_free(self) -> bool:
        """Return True: the demo model costs nothing."""
        return True

    def __str__(self) -> str:
        return self.provider if self.model == "demo" else f"{self.provider}:{self.model}"
