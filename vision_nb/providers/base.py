"""`MultiModalLLM`: the interface of every model, and what the providers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

from vision_nb.checks.numbers import check_count, check_seconds, plain_number
from vision_nb.cost.accounting import InputTokens, ModelPricing, active_accounting, longest_answer
from vision_nb.cost.rate_limit import RateLimit
from vision_nb.cost.text_tokens import fewest_text_tokens, text_tokens
from vision_nb.errors import ImageTooLargeError, SettingsError
from vision_nb.images.detail import Detail, check_detail
from vision_nb.images.document import ImageDocument
from vision_nb.images.uploaded import UploadedImage
from vision_nb.messages import user_message
from vision_nb.privacy.api_keys import hide_headers, looks_like_key, unhide
from vision_nb.providers.addresses import is_on_this_machine, is_out_of_reach
from vision_nb.providers.call import Call, Images, Messages, Overrides, as_parameters, merge_settings
from vision_nb.providers.demo_servers import is_demo_server
from vision_nb.providers.outgoing_image import OutgoingImage, ReadyImage, prepare_image
from vision_nb.providers.sending import RequestSender
from vision_nb.providers.streaming import AsyncResponseStream, R, ResponseAccumulator, ResponseStream
from vision_nb.providers.structured import Question, ask_for
from vision_nb.rendering.demo_badge import demo_label
from vision_nb.rendering.format import pluralize
from vision_nb.responses import ChatResponse, CompletionResponse, Usage
from vision_nb.schema.prompts import instructions
from vision_nb.user_warnings import map_in_threads, to_thread, warn_user


class MultiModalLLM(RequestSender):
    """A model that answers questions about images.

    There are eight methods. `complete` answers a prompt about images, `chat` the last message of a conversation;
    `stream_complete` and `stream_chat` return the answer while it is being written. Each of the four has an
    asynchronous version: `acomplete`, `achat`, `astream_complete` and `astream_chat`.

    Keyword arguments of a call override the model's settings for that call: ``max_new_tokens``, ``temperature``,
    ``image_detail``, and every other parameter of the provider's API, under the API's own name.

    A model is a context manager: ``with`` closes its connections at the end, and so does ``async with``.

    Attributes:
        model: The model's name.
        max_new_tokens: The maximum number of tokens in an answer; None leaves it to the server.
        temperature: The sampling temperature; None leaves it to the server.
        image_detail: The detail level of images that do not set their own; None leaves it to the server.
        max_retries: How many times a request is repeated after a transient failure.
        timeout: Seconds to wait for data.
        additional_kwargs: More request parameters, passed on unchanged.
        max_side: The longest side at which images are sent, in pixels; None for the side of the model's rule.
        inline_urls: Whether images behind URLs are downloaded and sent as files, for servers that cannot reach them.
            For a URL on this machine and a server on another one, this is always so.
        rate_limit: The `RateLimit` that every call keeps; a comparison's ``rate_limits`` replace it.
    """

    def __init__(
        self,
        model: str,
        *,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        image_detail: Detail | None = None,
        max_retries: int = 3,
        timeout: float = 60.0,
        additional_kwargs: Mapping[str, Any] | None = None,
        inline_urls: bool = False,
        max_side: int | None = None,
        rate_limit: RateLimit | None = None,
    ) -> None:
        super().__init__(rate_limit)
        if looks_like_key(model):
            raise SettingsError("The model's name looks like an API key: pass the key as api_key= (or api_token=).")
        check_detail(image_detail)
        self.model = model
        self.max_new_tokens = max_new_tokens
        self.temperature = temperature
        self.image_detail = image_detail
        self.max_retries = plain_number(max_retries)
        self.timeout = check_seconds(timeout, "timeout")
        self.additional_kwargs = as_parameters(unhide(additional_kwargs))
        hide_headers(self.additional_kwargs)
        self.inline_urls = inline_urls
        self.max_side = check_count(max_side, "max_side")

    def complete(
        self, prompt: str, image_documents: Images = (), *, schema: Any = None, max_repairs: int = 1, **overrides: Any
    ) -> CompletionResponse:
        """Answer a prompt about images.

        Args:
            prompt: The question or instruction.
            image_documents: One image or several: documents, or anything that `ImageDocument.of` accepts.
            schema: What the answer must look like: a pydantic model class, dataclass, TypedDict, Enum, ``Literal``,
                ``list`` of these, or a JSON schema as a dict. The response's ``.parsed`` is the value.
            max_repairs: With a schema, how many times the model is asked to correct an answer that does not match it.
            **overrides: Request parameters for this call only.

        Raises:
            SettingsError: An argument is invalid.
            ImageError: An image cannot be used.
            BudgetExceededError: The call could exceed ``vn.ledger.budget``, and was not sent.
            SchemaError: The answer does not match the schema, or was refused or cut off.
            ProviderError: The model did not answer.
        """
        return self._answer(_prompted(prompt, image_documents, overrides, schema, max_repairs))

    def chat(self, messages: Messages, *, schema: Any = None, max_repairs: int = 1, **overrides: Any) -> ChatResponse:
        """Answer the last message of a conversation; images are part of the messages.

        Args:
            messages: `ChatMessage` objects or ``{"role": ..., "content": ...}`` mappings, oldest first.
            schema: What the answer must look like, as for `complete`.
            max_repairs: How many times the model is asked to correct an answer that does not match the schema.
            **overrides: Request parameters for this call only.

        Raises:
            SettingsError: An argument is invalid.
            ImageError: An image cannot be used.
            BudgetExceededError: The call could exceed ``vn.ledger.budget``, and was not sent.
            SchemaError: The answer does not match the schema, or was refused or cut off.
            ProviderError: The model did not answer.
        """
        return self._answer(Question(ChatResponse, lambda: messages, overrides, schema, max_repairs))

    def stream_complete(
        self, prompt: str, image_documents: Images = (), *, schema: Any = None, max_repairs: int = 1, **overrides: Any
    ) -> ResponseStream[CompletionResponse]:
        """Stream the answer to a prompt about images.

        Arguments and errors as `complete`.

        Returns:
            An iterator of responses: ``.delta`` is the new text, ``.text`` all of it so far.
        """
        return self._start_stream(_prompted(prompt, image_documents, overrides, schema, max_repairs))

    def stream_chat(
        self, messages: Messages, *, schema: Any = None, max_repairs: int = 1, **overrides: Any
    ) -> ResponseStream[ChatResponse]:
        """Stream the answer to the last message of a conversation.

        Arguments and errors as `chat`.

        Returns:
            An iterator of responses: ``.delta`` is the new text, ``.text`` all of it so far.
        """
        return self._start_stream(Question(ChatResponse, lambda: messages, overrides, schema, max_repairs))

    async def acomplete(
        self, prompt: str, image_documents: Images = (), *, schema: Any = None, max_repairs: int = 1, **overrides: Any
    ) -> CompletionResponse:
        """Answer a prompt about images; the asynchronous version of `complete`."""
        return await self._aanswer(_prompted(prompt, image_documents, overrides, schema, max_repairs))

    async def achat(
        self, messages: Messages, *, schema: Any = None, max_repairs: int = 1, **overrides: Any
    ) -> ChatResponse:
        """Answer a conversation's last message; the asynchronous version of `chat`."""
        return await self._aanswer(Question(ChatResponse, lambda: messages, overrides, schema, max_repairs))

    async def astream_complete(
        self, prompt: str, image_documents: Images = (), *, schema: Any = None, max_repairs: int = 1, **overrides: Any
    ) -> AsyncResponseStream[CompletionResponse]:
        """Stream the answer to a prompt about images; the asynchronous version of `stream_complete`.

        Await the call, then iterate over the responses with ``async for``.
        """
        return await self._astart_stream(_prompted(prompt, image_documents, overrides, schema, max_repairs))

    async def astream_chat(
        self, messages: Messages, *, schema: Any = None, max_repairs: int = 1, **overrides: Any
    ) -> AsyncResponseStream[ChatResponse]:
        """Stream the answer to a conversation's last message; the asynchronous version of `stream_chat`.

        Await the call, then iterate over the responses with ``async for``.
        """
        return await self._astart_stream(Question(ChatResponse, lambda: messages, overrides, schema, max_repairs))

    @property
    def counted_model(self) -> str:
        """The model whose token rule and price apply."""
        return self.model

    @property
    def server(self) -> str | None:
        """The server's address, or None if it is the provider's own."""
        return None

    @property
    def is_free(self) -> bool:
        """Whether answers are known to cost nothing."""
        return False

    @property
    def is_demo(self) -> bool:
        """Whether the demo answers, whatever the model's name."""
        return is_demo_server(self.server)

    @property
    def label(self) -> str:
        """The model's name for display: ``str(llm)``, or such as "openai:gpt-4o (demo)" if the demo answers."""
        return demo_label(str(self)) if self.is_demo else str(self)

    @property
    def identity(self) -> dict[str, Any]:
        """What an answer depends on besides the question: model, server and parameters."""
        sizes = {} if self.max_side is None else {"max_side": self.max_side}
        return {"model": str(self), "server": self.server, "parameters": self.settings(), **sizes}

    @property
    def pricing(self) -> ModelPricing:
        """Prices the model's tokens without keeping the model or its key in memory."""
        return ModelPricing(self.provider, self.counted_model, self.is_free)

    def price(self, usage: Usage) -> Decimal | None:
        """Return the price of some usage in US dollars, or None if it is unknown.

        Args:
            usage: Input and output tokens.
        """
        return self.pricing(usage, service_tier=_service_tier(self.settings()))

    def settings(self) -> dict[str, Any]:
        """Return the request parameters that apply when a call does not override them."""
        return self._merged_settings({})

    def outgoing(self, document: ImageDocument) -> OutgoingImage:
        """Return an image as it would be sent.

        Args:
            document: The image.

        Raises:
            ImageError: The image cannot be used.
        """
        return self._prepare_image(document, self.settings())

    def count_input_tokens(self, prompt: str, image_documents: Images = ()) -> int:
        """Return the provider's own count of the input tokens of a question.

        The question is not sent to the model.

        Args:
            prompt: The question.
            image_documents: Its images.

        Raises:
            SettingsError: The provider does not count tokens.
        """
        raise SettingsError(f"{self} cannot count tokens exactly: omit exact=True to get an estimate.")

    def upload(self, document: ImageDocument) -> UploadedImage:
        """Upload an image, to refer to it in many requests; `ImageDocument.upload` calls this.

        Args:
            document: The image.

        Raises:
            SettingsError: The model's service does not take uploads.
            ImageError: The image cannot be used.
            ProviderError: The server did not accept the file.
        """
        raise SettingsError(f"{self} does not take uploads: send the image itself.")

    async def aupload(self, document: ImageDocument) -> UploadedImage:
        """Upload an image; the asynchronous version of `upload`."""
        return self.upload(document)  # raises the error

    def _prepare(self, question: Question[R], *, stream: bool) -> Call[R]:
        """Prepare the images, count the tokens and build the request; may be slow."""
        messages, settings = question.messages(), self._merged_settings(question.overrides)
        schema, in_prompt = question.schema, self._schema_in_prompt or question.lacks_json
        if schema is not None:
            self._schema_in_prompt = in_prompt
            messages, settings = ask_for(schema, messages, settings, in_prompt=in_prompt)
        documents = self._images_to_send(messages)
        self._check_number(documents)
        images = self._prepare_images(documents, settings)
        if not self.takes_detail and any(one.detail or settings.get("image_detail") for one in documents):
            warn_user(f"{self} has no detail levels: the images are sent without one.")
        for image in images.values():
            image.warn_of_losses()
        self._check_size([images[document] for document in documents])
        text = sum(text_tokens(message.text, self.counted_model).tokens for message in messages)
        if schema is not None and not in_prompt:  # the parameter is billed as input
            text += text_tokens(instructions(schema.json_schema), self.counted_model).tokens
        is_estimate = any(image.is_estimate for image in images.values())
        tokens = InputTokens(text, [images[document].tokens for document in documents], is_estimate)
        sent = sum(fewest_text_tokens(message.text) for message in messages)
        sent += sum(images[document].fewest_tokens for document in documents)
        self._check_length(tokens)
        request = self._request(messages, images, settings, stream=stream)
        tier, longest = _service_tier(settings), longest_answer(settings)
        start = active_accounting.get()
        accounting = start(str(self), self.pricing, tokens, longest_answer=longest, service_tier=tier)
        asked = next((m.image_documents for m in reversed(messages) if set(m.image_documents) & images.keys()), ())
        empty = question.kind(
            model=self.model,
            pricing=self.pricing,
            sent_tokens=sent,
            service_tier=tier,
            schema=schema,
            image_notes=tuple(note for image in images.values() for note in image.notes),
            expected_tokens=tokens.total,
            sent_images=tuple(images[document].sent for document in asked if document in images),
            images=question.images,
        )
        accumulator = ResponseAccumulator(empty, self._trim, may_be_demo=is_on_this_machine(self.server))
        return Call(request, accounting, accumulator, sends_schema=schema is not None and not in_prompt)

    async def _aprepare(self, question: Question[R], *, stream: bool) -> Call[R]:
        """Prepare a call in a thread, unless its images are ready."""
        await self._aload_facts()
        prepare = partial(self._prepare, question, stream=stream)
        return prepare() if question.is_ready else await to_thread(prepare)

    def _prepare_image(
        self, document: ImageDocument, settings: Mapping[str, Any], count: int = 1, *, inline_urls: bool = False
    ) -> OutgoingImage:
        """Prepare one of a request's images.

        Args:
            document: The image.
            settings: The settings of the call.
            count: How many images the request has.
            inline_urls: Whether to download an image behind a URL, whatever the model's setting.
        """
        if isinstance(document, ReadyImage):
            return document.outgoing
        return prepare_image(
            document,
            model=self.counted_model,
            detail=self._detail_of(document, settings),
            max_side=self.max_side,
            inline_urls=inline_urls or self.inline_urls or is_out_of_reach(document.image_url, self.server),
            types=self.image_types,
            max_bytes=self.max_image_bytes,
            side_limit=self._side_limit(count),
        )

    def _prepare_images(
        self, documents: Sequence[ImageDocument], settings: Mapping[str, Any]
    ) -> dict[ImageDocument, OutgoingImage]:
        """Prepare the images of a request, on all cores."""
        unique = list(dict.fromkeys(documents))
        prepare = partial(self._prepare_image, settings=settings, count=len(documents))
        return dict(zip(unique, map_in_threads(prepare, unique), strict=True))

    def _detail_of(self, document: ImageDocument, settings: Mapping[str, Any]) -> Detail | None:
        """Return the detail level of an image, or None to leave it to the server."""
        return (document.detail or settings.get("image_detail")) if self.takes_detail else None

    def _check_number(self, documents: Sequence[ImageDocument]) -> None:
        """Raise SettingsError if a request has more images than the model accepts."""
        if self.image_limit is not None and len(documents) > self.image_limit:
            limit = pluralize(self.image_limit, "image")
            raise SettingsError(f"{self} accepts {limit} per request and got {len(documents):,}: send fewer at a time.")

    def _check_size(self, images: Sequence[OutgoingImage]) -> None:
        """Raise ImageTooLargeError if the images of a request are together larger than the servers accept."""
        size = sum(-(-len(image.prepared.data) // 3) * 4 for image in images if image.prepared is not None)
        if self.max_request_bytes is not None and size > self.max_request_bytes:
            raise ImageTooLargeError(
                f"{self} accepts {self.max_request_bytes / 1e6:.1f} MB of images per request, but these "
                f"{len(images):,} have {size / 1e6:.1f} MB as base64: send fewer, or smaller ones with max_side=."
            )

    def _merged_settings(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Return a call's settings: the model's own, additional_kwargs, then the call's."""
        own = {name: getattr(self, name) for name in ("max_new_tokens", "temperature", "image_detail")}
        return merge_settings(own, self.additional_kwargs, overrides, length_limits=self._length_limits)

    def __repr__(self) -> str:
        values = vars(self)  # a traceback may show a model that is not complete yet
        names = ("max_new_tokens", "temperature", "image_detail", "max_side", "rate_limit")
        settings = {name: values.get(name) for name in names}
        shown = "".join(f", {name}={value!r}" for name, value in settings.items() if value is not None)
        return f"{type(self).__name__}(model={values.get('model')!r}{shown})"

    def __str__(self) -> str:
        return f"{self.provider}:{self.model}"


def _service_tier(settings: Mapping[str, Any]) -> str | None:
    """Return the service tier that a call's settings ask for, or None."""
    tier = settings.get("service_tier")
    return tier if isinstance(tier, str) else None


def _prompted(
    prompt: str, images: Images, overrides: Overrides, schema: Any, max_repairs: int
) -> Question[CompletionResponse]:
    is_ready = isinstance(images, ReadyImage)
    return Question(
        CompletionResponse, lambda: [user_message(prompt, images)], overrides, schema, max_repairs, is_ready=is_ready
    )
