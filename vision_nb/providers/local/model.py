"""`LocalMultiModal`: a model on a local server (LocalAI, LiteLLM, Ollama, LM Studio, vLLM or llama.cpp)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, ClassVar, NoReturn

from vision_nb.checks.arguments import checks_arguments
from vision_nb.cost.accounting import InputTokens
from vision_nb.cost.prices import has_set_price
from vision_nb.cost.text_tokens import context_length as known_context_length
from vision_nb.errors import ContextLengthError
from vision_nb.images.document import ImageDocument
from vision_nb.messages import ChatMessage
from vision_nb.privacy.api_keys import Secret, hide, hide_arguments, make_secret
from vision_nb.providers.addresses import is_on_this_machine
from vision_nb.providers.call import Request
from vision_nb.providers.local.discovery import LocalServers, detect
from vision_nb.providers.local.empty_stream import AsyncEmptyStreamCheck, EmptyStreamCheck
from vision_nb.providers.local.probe import KEY_NAME
from vision_nb.providers.openai.chat_completions import CHAT_COMPLETIONS
from vision_nb.providers.openai.errors import refuses
from vision_nb.providers.openai.model import OpenAIMultiModal
from vision_nb.providers.outgoing_image import OutgoingImage
from vision_nb.rendering.format import pluralize
from vision_nb.user_warnings import warn_user

_TEMPLATE_TOKENS = 50
"""Approximate number of tokens that a server's chat template adds: about 40 for the first two sentences of LLaVA's."""


@checks_arguments
class LocalMultiModal(OpenAIMultiModal):
    """A model on an OpenAI-compatible server on this machine or network.

    LocalAI, LiteLLM, Ollama, LM Studio, vLLM and llama.cpp's server are compatible; `detect` finds those that are
    running. This class handles their differences: the newline before and the ``</s>`` after an answer are removed from
    its text. If a server rejects ``stream_options`` or a detail level, the request is repeated without it. If a stream
    from this machine ends without any text, the request is repeated without streaming, to get the server's error. An
    implausible token count is marked, and never used for billing.

    Args:
        model: The server's name for the model.
        api_base: Base URL of the server, ending in /v1.
        api_key: API key if the server requires one; most accept any.
        context_length: Tokens per conversation, including images and answers; 0 for no limit. The default is 4,096
            for LLaVA 1.5 and no limit for other models.
        **options: As for `OpenAIMultiModal`. Pass ``inline_urls=True`` for a server without internet access. The
            timeout is ten minutes by default, because a model without a graphics card is slow.

    >>> from vision_nb.demo import shared_server
    >>> llm = vn.LocalMultiModal("llava", api_base=shared_server().openai_base)  # in place of LocalAI
    >>> llm.is_free
    True
    >>> llm.complete("How large is it?", [vn.samples.path("chart")]).model
    'llava'
    """

    provider = "local"
    service = "The local server"
    image_limit: int | None = None
    image_types: frozenset[str] = frozenset({"image/png", "image/jpeg"})
    """Several local servers reject WEBP or drop it silently."""
    _longer_context: ClassVar[str] = "pass context_length= if the server has a longer context"
    _trim: ClassVar[tuple[str, tuple[str, ...]]] = ("\n ", ("</s>",))  # what llama.cpp adds to answers

    def __init__(
        self,
        model: str = "llava",
        api_base: str = "http://localhost:8080/v1",
        api_key: str = "EMPTY",
        *,
        context_length: int | None = None,
        **options: Any,
    ) -> None:
        api_key, api_base, options = hide(api_key, is_key=True), hide(api_base), hide_arguments(options)
        super().__init__(model, api_key, api_base, **{"timeout": 600.0, **options})
        self.context_length = known_context_length(model) if context_length is None else context_length or None
        self._supports_detail = True

    @property
    def batches(self) -> NoReturn:
        """Raise SettingsError: local servers do not have OpenAI's batch API."""
        self._refuse_batches()

    def _find_key(self, api_key: Any) -> Secret | None:
        return make_secret(api_key, name=KEY_NAME) or Secret("EMPTY", name="No key")

    @staticmethod
    def detect(*, timeout: float = 1.0, api_key: str | None = None) -> LocalServers:
        """Find the model servers on this machine, their models, and which of these accept images.

        The default ports are tried at the same time, on loopback only: LocalAI and llama.cpp 8080 (the
        walkthrough's container 28000), LiteLLM 4000, Ollama 11434, LM Studio 1234, vLLM 8000, and those of
        `serve`. The environment variable VISION_NB_LOCAL_PORTS replaces the default ports, as in "8080,9000". No model
        is loaded or queried.

        Args:
            timeout: Seconds allowed for each response.
            api_key: Key for servers that require one; it is not sent to others.

        Returns:
            A list that is displayed as a table.

        Raises:
            SettingsError: An argument is invalid.
        """
        return detect(timeout=timeout, api_key=api_key)

    @property
    def is_free(self) -> bool:
        """Return whether the server is on this machine; use `set_price` for a proxy in front of a paid service."""
        return is_on_this_machine(self.api_base)

    @property
    def _lacks_responses(self) -> str | None:
        return "Local servers are not asked through the Responses API: omit api=, and do not upload images."

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
        return request if self._supports_detail else CHAT_COMPLETIONS.without_detail(request)

    def _check_length(self, tokens: InputTokens) -> None:
        """Reject a conversation that leaves no tokens for the answer.

        Images with an unknown number of tokens count as 0, so that a conversation that may fit is not rejected.
        """
        if self.context_length is None or tokens.known + _TEMPLATE_TOKENS < self.context_length:
            return
        count, image_total = len(tokens.images), tokens.known - tokens.text
        raise ContextLengthError(
            f"The conversation has about {tokens.known:,} tokens, but {self} holds {self.context_length:,} including "
            f"the answer: {pluralize(count, 'image')} ({image_total:,} tokens) and text (about "
            f"{tokens.text:,}). Send fewer images, shorten the conversation, or {self._longer_context}."
        )

    def _stream(self, request: Request) -> Iterator[Any]:
        request = self._with_own_connection(request)
        chunks = super()._stream(request)
        if not self._is_unbilled:
            return chunks
        # Without retries: llama.cpp's server answers a request that is too long with 500, which is usually retried.
        return EmptyStreamCheck(chunks, self._has_text, lambda: self._create(self._unstreamed(request)))

    async def _astream(self, request: Request) -> AsyncIterator[Any]:
        request = self._with_own_connection(request)
        chunks = await super()._astream(request)
        if not self._is_unbilled:
            return chunks
        return AsyncEmptyStreamCheck(chunks, self._has_text, lambda: self._acreate(self._unstreamed(request)))

    def _with_own_connection(self, request: Request) -> Request:
        # When a stream fails, llama.cpp's server drops its connection, along with any request already sent on it.
        if not is_on_this_machine(self.server):
            return request
        return {**request, "extra_headers": {"Connection": "close", **request.get("extra_headers", {})}}

    @property
    def _is_unbilled(self) -> bool:
        """Return whether a repeated request certainly costs nothing."""
        return self.is_free and not has_set_price(self.counted_model)

    def _has_text(self, chunk: Any) -> bool:
        delta = CHAT_COMPLETIONS.parse_chunk(chunk, self.service)
        return any(choice.text or choice.reasoning for choice in (delta, *delta.others.values()))

    def _unstreamed(self, request: Request) -> Request:
        """Return the request without streaming, for an answer of one token."""
        request = {name: value for name, value in request.items() if name not in ("stream", "stream_options")}
        limit_name = "max_completion_tokens" if "max_completion_tokens" in request else self._length_limit_name()
        request[limit_name] = 1
        return request if self._supports_detail else CHAT_COMPLETIONS.without_detail(request)

    def _drop_unsupported(self, request: Request, error: Exception) -> Request:
        bare = CHAT_COMPLETIONS.without_detail(request)
        if bare == request or not refuses(error, "detail"):
            return super()._drop_unsupported(request, error)
        self._supports_detail = False
        warn_user(f"{self} does not support the detail level: further requests are sent without one.")
        return bare
