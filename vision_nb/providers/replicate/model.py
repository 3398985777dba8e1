"""Models on Replicate: predictions that are created, followed and, where nobody waits for them, canceled."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import finalize

from vision_nb.cost.accounting import CallAccounting
from vision_nb.errors import MissingKeyError, PredictionError, SettingsError
from vision_nb.images.detail import Detail
from vision_nb.images.document import ImageDocument
from vision_nb.images.prepare import Prepared, fit_within
from vision_nb.messages import ChatMessage
from vision_nb.providers.base import Messages, MultiModalLLM, Request
from vision_nb.providers.replicate.catalog import (
    LENGTH_LIMITS,
    ReplicateModel,
    from_schema,
    inputs_for,
    known_model,
    prompt_of,
)
from vision_nb.providers.replicate.errors import translate
from vision_nb.providers.replicate.predictions import Chunk, PredictionRequest, afollow, follow
from vision_nb.providers.streaming import Delta
from vision_nb.rendering.html import data_uri
from vision_nb.user_warnings import warn_user

if TYPE_CHECKING:
    import httpx
    from replicate.client import Client

LONGEST_SIDE = 2048
"""Pixels; a larger picture is scaled down. The models look at far smaller ones."""

LARGEST_DATA_URI = 256_000
"""Characters; a larger picture is uploaded first (Replicate, HTTP API reference, read 2026-11)."""

_learned: dict[tuple[str | None, str], tuple[ReplicateModel, list[dict[str, str]]]] = {}
"""What models take and where to ask them, by server and reference: read once in a process."""


class ReplicateMultiModal(MultiModalLLM):
    """A model on Replicate. It looks at one picture a question.

    Every model has inputs of its own. Those of the models in the table are known here, those of any other are
    read from its schema when it is first asked. Common parameters go out under the model's own name; what it
    does not take is left out, with a warning. Replicate bills by compute time, so ``.usage`` and ``.cost`` of a
    response are None; ``response.raw.metrics["predict_time"]`` has the seconds.

    In a chat the earlier turns become part of the prompt, and the model sees the newest picture. A prediction
    that nobody waits for any more, because of an interrupt, a timeout or a stream closed early, is canceled
    on the server. A picture that is uploaded stays at Replicate for a day.

    Args:
        model: "llava-13b", "fuyu-8b", "minigpt-4" or "cogvlm" in the version of the table, or "owner/name" or
            "owner/name:version".
        api_token: The token; None takes it from REPLICATE_API_TOKEN.
        api_base: The server's base URL; None takes it from REPLICATE_BASE_URL, or Replicate itself.
        max_new_tokens: The most tokens of an answer; None leaves it to the model.
        temperature: How freely the model picks its words; None leaves it to the model.
        num_input_files: How many pictures a question has: 1.
        top_p: The share of likely words to pick from; None leaves it to the model.
        num_beams: How many answers to follow at once; None leaves it to the model.
        repetition_penalty: How much to avoid repetition; None leaves it to the model.
        max_retries: How often a request that failed in passing is repeated.
        timeout: Seconds in which a prediction must be done; for a streamed one, the longest silence.
        image_detail: Taken for the sake of the other providers: no model on Replicate has detail levels.
        additional_kwargs: Inputs by the model's own names.
        inline_urls: Download pictures behind URLs and send them along.

    Raises:
        MissingKeyError: There is no token.
        SettingsError: The model's name is no reference, or there is to be more than one picture.

    >>> llm = vn.ReplicateMultiModal("llava-13b", max_new_tokens=100)  # the token is in REPLICATE_API_TOKEN
    >>> llm.complete("How large is it?", [vn.samples.path("chart")]).usage is None  # Replicate counts seconds
    True
    """

    provider: ClassVar[str] = "replicate"
    image_limit: ClassVar[int | None] = 1

    def __init__(
        self,
        model: str = "llava-13b",
        *,
        api_token: str | None = None,
        api_base: str | None = None,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        num_input_files: int = 1,
        top_p: float | None = None,
        num_beams: int | None = None,
        repetition_penalty: float | None = None,
        max_retries: int = 3,
        timeout: float = 60.0,
        image_detail: Detail | None = None,
        additional_kwargs: Mapping[str, Any] | None = None,
        inline_urls: bool = False,
    ) -> None:
        known = known_model(model)
        super().__init__(
            model if known is None else known.key,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            image_detail=image_detail,
            max_retries=max_retries,
            timeout=timeout,
            additional_kwargs=additional_kwargs,
        )
        _check_files(num_input_files)
        self.num_input_files = num_input_files
        self.top_p, self.num_beams, self.repetition_penalty = top_p, num_beams, repetition_penalty
        self.inline_urls = inline_urls
        base = api_base or os.environ.get("REPLICATE_BASE_URL")
        self.api_base = base.rstrip("/").removesuffix("/v1") if base else None
        self._api_token = self._find_token(api_token)
        self._facts = known
        self._targets: list[dict[str, str]] = [] if known is None else [{"version": known.version}]
        self._warned: set[str] = set()

    def _find_token(self, api_token: str | None) -> str:
        token = api_token or os.environ.get("REPLICATE_API_TOKEN")
        if not token:
            raise MissingKeyError(
                "There is no API token for Replicate: set REPLICATE_API_TOKEN or pass api_token=. "
                'To try without one, name the model "demo", which answers from the pixels.'
            )
        return token

    @property
    def server(self) -> str | None:
        """The base URL, where it is not Replicate's own."""
        return self.api_base

    @property
    def counted_model(self) -> str:
        """A name on no row: Replicate bills by compute time, so tokens and price are not known."""
        return str(self)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides an answer beside the question; the table's version of a model is part of it."""
        return {**super().identity, "reference": self._facts.reference if self._facts else self.model}

    def _make_client(self, transport: httpx.BaseTransport | httpx.AsyncBaseTransport) -> Client:
        import httpx
        from replicate.client import Client

        return Client(
            api_token=self._api_token,
            base_url=self.api_base,
            timeout=httpx.Timeout(self.timeout),
            transport=transport,
            mounts={"all://": transport},  # without the client's own retries, which it wraps round a transport
        )

    @cached_property
    def client(self) -> Client:
        """The vendor's client for synchronous calls, made when first needed."""
        from vision_nb.providers.replicate.transport import RetryPolicy, Transport

        client = self._make_client(Transport(RetryPolicy(self.max_retries, self.timeout)))
        finalize(self, client._client.close)
        return client

    def _make_async_client(self) -> Client:
        from vision_nb.providers.replicate.transport import AsyncTransport, RetryPolicy

        return self._make_client(AsyncTransport(RetryPolicy(self.max_retries, self.timeout)))

    @property
    def async_client(self) -> Client:
        """The vendor's client for the running event loop: one loop's serves no other."""
        client: Client = self._async_clients.get()
        return client

    def _secrets(self) -> tuple[str, ...]:
        # What is too short to be a token is a placeholder, and would be found in any text.
        return (self._api_token,) if len(self._api_token) >= 8 else ()

    def _check_pictures(self, messages: list[ChatMessage]) -> None:
        with_pictures = [message for message in messages if message.image_documents]
        super()._check_pictures(with_pictures[-1:])
        if len(with_pictures) > 1:
            warn_user(f"{self} looks at the newest picture of a chat alone, not at the earlier ones.")

    def _merged(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("top_p", "num_beams", "repetition_penalty")}
        own = {name: value for name, value in own.items() if name not in self.additional_kwargs}
        settings = super()._merged({**own, **overrides})
        _check_files(settings.pop("num_input_files", 1))
        return settings

    def _without_displaced(self, settings: dict[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
        if not any(name in layer for name in LENGTH_LIMITS):
            return settings
        return {name: value for name, value in settings.items() if name not in LENGTH_LIMITS}

    async def _aopened(
        self, messages: Messages, overrides: dict[str, Any], *, stream: bool
    ) -> tuple[Request, CallAccounting]:
        if self._known() is None:
            with self._translating():
                self._remember(await self._alearn())
        return await super()._aopened(messages, overrides, stream=stream)

    def _request(self, messages: list[ChatMessage], settings: dict[str, Any], *, stream: bool) -> Request:
        facts = self._known()
        if facts is None:
            with self._translating():
                facts = self._remember(self._learn())
        document = next((document for message in reversed(messages) for document in message.image_documents), None)
        if document is None and facts.image_required:
            raise SettingsError(f"{self} answers about a picture only: pass one as image_documents=, or in a message.")
        if document is not None and facts.image is None:
            raise SettingsError(f"{self} takes no picture: leave it out, or choose another model.")
        wanted = {name: value for name, value in settings.items() if name != "image_detail"}
        inputs, dropped = inputs_for(facts, wanted)
        if "image_detail" in settings or (document is not None and document.detail):
            dropped.append("image_detail")
        self._warn_of(dropped)
        inputs[facts.prompt] = prompt_of(messages, facts.turns)
        picture = None if document is None else self._picture(document)
        stream = stream and facts.streams is not False
        return {"request": PredictionRequest(self._targets, inputs, picture, facts.image, facts.image_is_list, stream)}

    def _warn_of(self, dropped: list[str]) -> None:
        new = [name for name in dropped if name not in self._warned]
        if new:
            self._warned.update(new)
            warn_user(f"{self} takes no {', '.join(new)}: left out.")

    def outgoing(self, document: ImageDocument) -> Prepared | None:
        """A picture as it would be sent, or None where only its URL is; arguments as `MultiModalLLM.outgoing`."""
        if document.is_remote and not self.inline_urls:
            return None
        return document.prepare(lambda size: fit_within(size, LONGEST_SIDE))

    def _picture(self, document: ImageDocument) -> str | Prepared:
        """What stands for a picture: a URL, or the picture itself where it has to be uploaded first."""
        ready = self.outgoing(document)
        if ready is None:
            return str(document.image_url)
        if any("frames" in note for note in ready.notes):
            warn_user(f"{document.name}: {'; '.join(ready.notes)}")
        uri = data_uri(ready.data, ready.mimetype)
        return uri if len(uri) <= LARGEST_DATA_URI else ready

    def _known(self) -> ReplicateModel | None:
        """What the model takes, as the table says or its schema that was read before."""
        if self._facts is None and (self.api_base, self.model) in _learned:
            self._facts, self._targets = _learned[self.api_base, self.model]
        return self._facts

    def _learn(self) -> Any:
        """The version of the model whose schema says what it takes; the latest where none is named."""
        from replicate.version import Versions

        name, _, version = self.model.partition(":")
        return Versions(self.client, name).get(version) if version else self.client.models.get(name).latest_version

    async def _alearn(self) -> Any:
        from replicate.version import Versions

        name, _, version = self.model.partition(":")
        if version:
            return await Versions(self.async_client, name).async_get(version)
        return (await self.async_client.models.async_get(name)).latest_version

    def _remember(self, version: Any) -> ReplicateModel:
        if version is None:
            raise SettingsError(f"{self.model} has no version on Replicate yet: choose another model.")
        facts = from_schema(self.model.partition(":")[0], version.id, version.openapi_schema)
        # Without a version Replicate runs its official models, by name alone; all others need their latest one's id.
        by_name = [] if ":" in self.model else [{"model": self.model}]
        self._facts, self._targets = facts, [*by_name, {"version": facts.version}]
        _learned[self.api_base, self.model] = self._facts, self._targets
        return facts

    def _call(self, request: Request) -> Chunk:
        return list(follow(self.client, request["request"], self.timeout))[-1]

    async def _acall(self, request: Request) -> Chunk:
        return [chunk async for chunk in afollow(self.async_client, request["request"], self.timeout)][-1]

    def _stream(self, request: Request) -> Iterator[Chunk]:
        chunks = follow(self.client, request["request"], self.timeout)
        next(chunks)  # creates the prediction, so that its errors come now
        return chunks

    async def _astream(self, request: Request) -> AsyncIterator[Chunk]:
        chunks = afollow(self.async_client, request["request"], self.timeout)
        await anext(chunks)
        return chunks

    def _read(self, raw: Chunk) -> Delta:
        prediction = raw.prediction
        return Delta(raw.text, None, "stop" if raw.last else None, prediction.model or "", prediction)

    def _read_chunk(self, raw: Chunk) -> Delta:
        return self._read(raw)

    def _translate(self, error: Exception, partial_text: str) -> Exception:
        for name in ("title", "detail"):  # what ReplicateError shows of itself
            if isinstance(said := getattr(error, name, None), str):
                setattr(error, name, self.redacted(said))
        own = translate(error, model=self.model, timeout=self.timeout, partial_text=partial_text)
        if isinstance(own, PredictionError):
            own.logs = self.redacted(own.logs)
        return own

    def _close_client(self, client: Client) -> None:
        client._client.close()

    async def _aclose_client(self, client: Client) -> None:
        await client._async_client.aclose()


def _check_files(count: Any) -> None:
    if count not in (1, None):
        raise SettingsError(f"Replicate's models take one picture a question, so num_input_files is 1, not {count!r}.")
