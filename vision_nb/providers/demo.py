"""The embedded stand-in as a model like any other."""

from __future__ import annotations

from typing import Any, ClassVar

from vision_nb.demo import shared_server
from vision_nb.providers.openai.model import OpenAIMultiModal


class DemoMultiModal(OpenAIMultiModal):
    """A stand-in that needs no key and no network, and says in each answer that it is one.

    It measures the pixels (size, light, colours and where they are, sharpness, likeness) and is no language
    model. Requests travel through the true openai client to a server that this process runs on 127.0.0.1.

    Args:
        model: What to call it; the token counts are those of a model of this name, where one is known.
        **options: As for `OpenAIMultiModal`.

    >>> print(vn.DemoMultiModal().complete("How large is it?", [vn.samples.path("chart")]))
    The picture is in landscape format, **1,000 x 600 pixels**. ...
    """

    provider: ClassVar[str] = "demo"
    service: ClassVar[str] = "The demo server"

    def __init__(self, model: str = "demo", **options: Any) -> None:
        super().__init__(model, "demo", **options)

    def _client_options(self) -> dict[str, Any]:
        return {**super()._client_options(), "base_url": self.server}

    @property
    def server(self) -> str | None:
        """The address on this machine."""
        return self.api_base or shared_server().openai_base

    @property
    def identity(self) -> dict[str, Any]:
        """Without the address: its port differs from day to day, and its answers do not."""
        return {**super().identity, "server": None}

    def _secrets(self) -> tuple[str, ...]:
        return ()  # its key is the word "demo", and no secret

    @property
    def is_free(self) -> bool:
        """The stand-in costs nothing."""
        return True

    def __str__(self) -> str:
        return self.provider if self.model == "demo" else f"{self.provider}:{self.model}"
