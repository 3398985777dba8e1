"""A model behind a server of one's own: LocalAI, LiteLLM, Ollama, LM Studio, vLLM or llama.cpp."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from vision_nb.cost.accounting import InputTokens
from vision_nb.cost.prices import has_set_price
from vision_nb.cost.text_tokens import context_length as known_context_length
from vision_nb.errors import ContextLengthError
from vision_nb.images.document import ImageDocument
from vision_nb.messages import ChatMessage
from vision_nb.providers.call import Request
from vision_nb.providers.local.empty_stream import AsyncQuestionedStream, QuestionedStream
from vision_nb.providers.openai.errors import refuses
from vision_nb.providers.openai.model import OpenAIMultiModal, is_on_this_machine
from vision_nb.providers.outgoing_image import OutgoingImage
from vision_nb.user_warnings import warn_user

if TYPE_CHECKING:
    from vision_nb.providers.local.discovery import LocalServers

_TEMPLATE_TOKENS = 50
"""What a server's chat template puts round a conversation, about: LLaVA's first two sentences alone are about 40."""
_OF_STREAMS = ("stream", "stream_options")


class LocalMultiModal(OpenAIMultiModal):
    """A model behind a server on this machine or network that speaks OpenAI's protocol.

    LocalAI, LiteLLM, Ollama, LM Studio, vLLM and llama.cpp's server all do; `detect` tells which of them answers.
    What they do differently is allowed for: the newline and the ``</s>`` round an answer are trimmed from its
    text, a server that refuses ``stream_options`` or a detail level is asked again without, a stream that ends
    without one word is asked once more, unstreamed, for what was wrong (on this machine, where that costs nothing),
    and a count of tokens that cannot be true is marked and never billed.

    Args:
        model: The name under which the server knows the model.
        api_base: The server's base URL, ending in /v1.
        api_key: The key where the server asks for one; most take any.
        context_length: Tokens that a question, its pictures and the answer may take together, and 0 sets no
            limit; None takes what is known of the model: 4,096 for LLaVA 1.5, no limit for others.
        **options: As for `OpenAIMultiModal`; ``inline_urls=True`` where the server has no way to the internet. The
            timeout is ten minutes by default, as a processor without a graphics card takes its time.

    >>> from vision_nb.demo import shared_server
    >>> llm = vn.LocalMultiModal("llava", api_base=shared_server().openai_base)  # the demo plays LocalAI
    >>> llm.is_free
    True
    >>> llm.complete("How large is it?", [vn.samples.path("chart")]).model
    'llava'
    """

    provider: ClassVar[str] = "local"
    service: ClassVar[str] = "The local server"
    image_limit: ClassVar[int | None] = None
    _longer_context: ClassVar[str] = "where the server was started with a longer context, say context_length="
    _trim: ClassVar[tuple[str, tuple[str, ...]]] = ("\n ", ("</s>",))  # as llama.cpp's answers come

    def __init__(
        self,
        model: str = "llava",
        api_base: str = "http://localhost:8080/v1",
        api_key: str = "EMPTY",
        *,
        context_length: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, api_key, api_base, **{"timeout": 600.0, **options})
        self.context_length = known_context_length(model) if context_length is None else context_length or None
        self._takes_detail = True

    @staticmethod
    def detect(*, timeout: float = 1.0, api_key: str | None = None) -> LocalServers:
        """Look which servers answer on this machine, what models they have, and which of those see pictures.

        The usual ports are asked at the same time, on loopback alone: LocalAI and llama.cpp 8080 (the
        walkthrough's container 28000), LiteLLM 4000, Ollama 11434, LM Studio 1234, vLLM 8000, and those of
        `serve_llava`. No model is loaded or asked.

        Args:
            timeout: Seconds that one answer may take.
            api_key: A key for servers that ask for one; it is sent to no other.

        Returns:
            A list that shows itself as a table.

        Raises:
            SettingsError: An argument cannot be used.
        """
        from vision_nb.providers.local.discovery import detect

        return detect(timeout=timeout, api_key=api_key)

    @property
    def is_free(self) -> bool:
        """A server on this machine is taken to cost nothing; `set_price` says otherwise for a proxy of a paid one."""
        return is_on_this_machine(self.api_base)

    def _length_limit_name(self) -> str:
        return "max_tokens"

    def _request(
        self,
        messages: list[ChatMessage],
        images: Mapping[ImageDocument, OutgoingImage],
        settings: Mapping[str, Any],
        *,
        stream: bool,
    ) -> Request:
        request = super()._request(messages, images, settings, stream=stream)
        return request if self._takes_detail else _without_detail(request)

    def _check_length(self, tokens: InputTokens) -> None:
        """Refuse a conversation that leaves no token for the answer.

        Pictures whose tokens are not known count as nothing here: what may fit is sent.
        """
        if self.context_length is None:
            return
        if tokens.known + _TEMPLATE_TOKENS < self.context_length:
            return
        count, of_images = len(tokens.images), tokens.known - tokens.text
        seen = f"{count} picture{'' if count == 1 else 's'} ({of_images:,} tokens) and the text"
        raise ContextLengthError(
            f"The conversation takes about {tokens.known:,} tokens and {self} holds {self.context_length:,}, the "
            f"answer included: {seen} (about {tokens.text:,}). Send fewer pictures or a shorter "
            f"conversation; {self._longer_context}."
        )

    # A stream without one word hides an error, which the same question unstreamed tells. That costs a second
    # question, so it is asked only where nobody is billed for it.

    def _stream(self, request: Request) -> Iterator[Any]:
        request = self._on_its_own_connection(request)
        chunks = super()._stream(request)
        return QuestionedStream(chunks, self._says, lambda: self._ask_why(request)) if self._bills_nobody else chunks

    async def _astream(self, request: Request) -> AsyncIterator[Any]:
        request = self._on_its_own_connection(request)
        chunks = await super()._astream(request)
        if not self._bills_nobody:
            return chunks
        return AsyncQuestionedStream(chunks, self._says, lambda: self._aask_why(request))

    def _on_its_own_connection(self, request: Request) -> Request:
        # llama.cpp's server drops the connection of a stream that failed, and a question on its way there with it.
        if not is_on_this_machine(self.server):
            return request
        return {**request, "extra_headers": {"Connection": "close", **request.get("extra_headers", {})}}

    @property
    def _bills_nobody(self) -> bool:
        return self.is_free and not has_set_price(self.counted_model)

    def _says(self, chunk: Any) -> bool:
        return bool(self._parse_chunk(chunk).text)

    def _ask_why(self, request: Request) -> None:
        # Once alone: the openai client repeats a question that fails with 500, as llama.cpp's server calls it.
        self.client.with_options(max_retries=0).chat.completions.create(**self._unstreamed(request))

    async def _aask_why(self, request: Request) -> None:
        await self.async_client.with_options(max_retries=0).chat.completions.create(**self._unstreamed(request))

    def _unstreamed(self, request: Request) -> Request:
        kept = {name: value for name, value in request.items() if name not in _OF_STREAMS}
        kept["max_completion_tokens" if "max_completion_tokens" in kept else self._length_limit_name()] = 1
        return kept if self._takes_detail else _without_detail(kept)

    def _drop_unsupported(self, request: Request, error: Exception) -> Request:
        simpler = _without_detail(request)
        if simpler == request or not refuses(error, "detail"):
            return super()._drop_unsupported(request, error)
        self._takes_detail = False
        warn_user(f"{self} takes no such detail level: it is asked without one from now on.")
        return simpler


def _without_detail(request: Request) -> Request:
    """A request whose pictures name no detail level."""

    def plain(part: Any) -> Any:
        if isinstance(part, dict) and part.get("type") == "image_url":
            url = {name: value for name, value in part["image_url"].items() if name != "detail"}
            return {**part, "image_url": url}
        return part

    messages = [
        {**message, "content": list(map(plain, message["content"]))}
        if isinstance(message["content"], list)
        else message
        for message in request["messages"]
    ]
    return {**request, "messages": messages}
