"""`ReplicateMultiModal`: a model on Replicate."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from weakref import finalize

from vision_nb.checks.arguments import checks_arguments
from vision_nb.checks.numbers import check_seconds
from vision_nb.cost.model_reference import check_model_name
from vision_nb.cost.rate_limit import RateLimit
from vision_nb.errors import MissingKeyError, SettingsError
from vision_nb.images.detail import Detail
from vision_nb.images.document import ImageDocument
from vision_nb.images.prepare import Prepared
from vision_nb.messages import ChatMessage
from vision_nb.notebook.interrupts import keep_interrupts
from vision_nb.privacy.api_keys import Secret, hide, make_secret
from vision_nb.providers.addresses import check_address
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.call import Request
from vision_nb.providers.deadline import alimited, answer_deadline, limited
from vision_nb.providers.demo_servers import is_demo_id
from vision_nb.providers.outgoing_image import OutgoingImage
from vision_nb.providers.replicate.catalog import (
    LENGTH_LIMITS,
    ReplicateModel,
    from_schema,
    inputs_for,
    known_model,
    write_prompt,
)
from vision_nb.providers.replicate.errors import map_error
from vision_nb.providers.replicate.predictions import Chunk, PredictionRequest, afollow, follow
from vision_nb.providers.streaming import Delta
from vision_nb.user_warnings import warn_user

if TYPE_CHECKING:
    import httpx
    from replicate.client import Client

    from vision_nb.providers.replicate.transport import Connection

MAX_DATA_URI_LENGTH = 256_000
"""Characters; a larger image is uploaded first (Replicate, HTTP API reference, read 2026-11)."""

_MAX_SCHEMAS = 200
_schemas: dict[tuple[str | None, str], tuple[ReplicateModel, list[dict[str, str]]]] = {}
"""Inputs and prediction targets of models outside the catalog, by server and reference."""


@checks_arguments
class ReplicateMultiModal(MultiModalLLM):
    """A model on Replicate; it takes one image per question.

    Each model has its own inputs. Those of the models in the catalog are built in, those of any other model are
    read from its schema on the first call. Common parameters are sent under the model's own names; a parameter
    that the model does not accept is ignored, with a warning. Replicate bills by compute time, so ``.usage`` and
    ``.cost`` of a response are None; ``response.raw.metrics["predict_time"]`` has the seconds.

    In a chat, earlier turns become part of the prompt, and the model sees only the newest image. A prediction
    that is no longer needed, because of an interrupt, a timeout or a stream that was closed early, is canceled
    on the server. An uploaded image is stored on Replicate for a day.

    Args:
        model: "llava-13b", "fuyu-8b", "minigpt-4" or "cogvlm" in the version of the catalog, or "owner/name" or
            "owner/name:version".
        api_token: API token; default: REPLICATE_API_TOKEN.
        api_base: Base URL of the server; default: REPLICATE_BASE_URL, or Replicate itself.
        max_new_tokens: Maximum number of tokens in an answer; None for the model's default.
        temperature: Sampling temperature; None for the model's default.
        num_input_files: Number of images per question; must be 1.
        top_p: Nucleus sampling threshold; None for the model's default.
        num_beams: Number of beams; None for the model's default.
        repetition_penalty: Repetition penalty; None for the model's default.
        max_retries: Maximum number of retries after a temporary failure. The request that creates a prediction is
            only repeated if no prediction can have been created: each one is billed.
        timeout: Seconds for a prediction to finish; for a stream, the longest time without data.
        total_timeout: Seconds that the whole answer may take, from the upload of the image on; default: ten times
            ``timeout``.
        image_detail: Ignored, with a warning: models on Replicate have no detail levels.
        additional_kwargs: Inputs by the model's own names.
        inline_urls: Whether to download images from URLs and send their data.
        max_side: The longest side at which images are sent, in pixels; None for 2,048.
        rate_limit: A `RateLimit` of requests per minute, as for `OpenAIMultiModal`.

    Raises:
        MissingKeyError: The API token is missing.
        SettingsError: The model's name is invalid, or num_input_files is not 1.

    >>> llm = vn.ReplicateMultiModal("llava-13b", max_new_tokens=100)  # the token is in REPLICATE_API_TOKEN
    >>> llm.complete("How large is it?", [vn.samples.path("chart")]).usage is None  # Replicate counts seconds
    True
    """

    provider = "replicate"
    image_limit: int | None = 1
    schema_support: Literal["json_schema", "prompt"] = "prompt"
    _length_limits: ClassVar[tuple[str, ...]] = LENGTH_LIMITS

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
        total_timeout: float | None = None,
        image_detail: Detail | None = None,
        additional_kwargs: Mapping[str, Any] | None = None,
        inline_urls: bool = False,
        max_side: int | None = None,
        rate_limit: RateLimit | None = None,
    ) -> None:
        api_token, api_base = hide(api_token, is_key=True), hide(api_base)  # a traceback may show the arguments
        check_model_name(model)
        known = known_model(model)
        super().__init__(
            model if known is None else known.key,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            image_detail=image_detail,
            max_retries=max_retries,
            timeout=timeout,
            additional_kwargs=additional_kwargs,
            inline_urls=inline_urls,
            max_side=max_side,
            rate_limit=rate_limit,
        )
        _check_num_input_files(num_input_files)
        self.total_timeout = check_seconds(total_timeout, "total_timeout", default=10 * self.timeout)
        self.num_input_files = num_input_files
        self.top_p, self.num_beams, self.repetition_penalty = top_p, num_beams, repetition_penalty
        base = check_address(api_base, "api_base") or check_address(
            os.environ.get("REPLICATE_BASE_URL"), "REPLICATE_BASE_URL"
        )
        self.api_base = base.rstrip("/").removesuffix("/v1") if base else None
        self._login = base.login if base else None
        self._api_token = self._find_token(api_token)
        self._entry = known
        self._targets: list[dict[str, str]] = [] if known is None else [{"version": known.version}]
        self._warned: set[str] = set()

    def _find_token(self, api_token: Any) -> Secret:
        token = make_secret(api_token, name="The API token for Replicate", variable="REPLICATE_API_TOKEN")
        if token is None:
            raise MissingKeyError(
                "The API token for Replicate is missing: set REPLICATE_API_TOKEN or pass api_token=. "
                'To try without one, use the model "demo".'
            )
        return token

    @property
    def server(self) -> str | None:
        """Return the base URL if it is not Replicate's own."""
        return self.api_base

    @property
    def account(self) -> str:
        """A digest of the server and the token."""
        return hashlib.sha256(f"{self.server} {self._api_token.reveal()}".encode()).hexdigest()

    @property
    def counted_model(self) -> str:
        """Return a name without a token rule or price, because Replicate bills by compute time."""
        return str(self)

    @property
    def identity(self) -> dict[str, Any]:
        """Return what determines an answer besides the question, including the model's version in the catalog."""
        return {**super().identity, "reference": self._entry.reference if self._entry else self.model}

    @cached_property
    def _connection(self) -> Connection[httpx.Client]:
        from vision_nb.providers.replicate.transport import RetryPolicy, connect  # they load httpx

        policy = RetryPolicy(self.max_retries, self.timeout)
        connection = connect(self._api_token, self._login, self.api_base, policy)
        finalize(self, keep_interrupts(connection.http.close))
        return connection

    def _make_async_client(self) -> Connection[httpx.AsyncClient]:
        from vision_nb.providers.replicate.transport import RetryPolicy, aconnect

        policy = RetryPolicy(self.max_retries, self.timeout)
        return aconnect(self._api_token, self._login, self.api_base, policy)

    @property
    def _async_connection(self) -> Connection[httpx.AsyncClient]:
        connection: Connection[httpx.AsyncClient] = self._async_clients.get()
        return connection

    @property
    def client(self) -> Client:
        """Return the vendor's client for synchronous calls."""
        return self._connection.client

    @property
    def async_client(self) -> Client:
        """Return the vendor's client for asynchronous calls in the running event loop."""
        return self._async_connection.client

    def _images_to_send(self, messages: list[ChatMessage]) -> list[ImageDocument]:
        with_images = [message for message in messages if message.image_documents]
        if len(with_images) > 1:
            warn_user(f"{self} only sees the newest image of a chat, not the earlier ones.")
        return super()._images_to_send(with_images[-1:])

    def _merged_settings(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("top_p", "num_beams", "repetition_penalty")}
        own = {name: value for name, value in own.items() if name not in self.additional_kwargs}
        settings = super()._merged_settings({**own, **overrides})
        _check_num_input_files(settings.pop("num_input_files", 1))
        return settings

    async def _aload_facts(self) -> None:
        if self._find_entry() is None:
            with self._mapping_errors(), answer_deadline(self.total_timeout):
                self._add_entry(await self._afetch_version())

    def _request(
        self,
        messages: list[ChatMessage],
        images: Mapping[ImageDocument, OutgoingImage],
        settings: Mapping[str, Any],
        *,
        stream: bool,
    ) -> Request:
        model = self._find_entry()
        if model is None:
            with self._mapping_errors(), answer_deadline(self.total_timeout):
                model = self._add_entry(self._fetch_version())
        image = next(iter(images.values()), None)
        if image is None and model.image_required:
            raise SettingsError(f"{self} needs an image: pass one as image_documents=, or in a message.")
        if image is not None and model.image is None:
            raise SettingsError(f"{self} does not accept images: ask without one, or choose another model.")
        supported = {name: value for name, value in settings.items() if name != "image_detail"}
        inputs, ignored = inputs_for(model, supported)
        if "image_detail" in settings or (image is not None and image.detail):
            ignored.append("image_detail")
        self._warn_about(ignored)
        inputs[model.prompt] = write_prompt(messages, model.chat_format)
        sent = None if image is None else _image_input(image)
        stream = stream and model.streams is not False
        return {"request": PredictionRequest(self._targets, inputs, sent, model.image, model.image_is_list, stream)}

    def _warn_about(self, ignored: list[str]) -> None:
        """Warn once about each parameter that the model does not accept."""
        new = [name for name in ignored if name not in self._warned]
        if new:
            self._warned.update(new)
            warn_user(f"{self} does not accept {', '.join(new)}: ignored.")

    def _find_entry(self) -> ReplicateModel | None:
        """Return the model's inputs if they are in the catalog or have been read before."""
        if self._entry is None and (self.api_base, self.model) in _schemas:
            self._entry, self._targets = _schemas[self.api_base, self.model]
        return self._entry

    def _fetch_version(self) -> Any:
        """Fetch the version of the model that has its schema: the one in its name, or the latest."""
        from replicate.version import Versions

        name, _, version = self.model.partition(":")
        return Versions(self.client, name).get(version) if version else self.client.models.get(name).latest_version

    async def _afetch_version(self) -> Any:
        from replicate.version import Versions

        name, _, version = self.model.partition(":")
        if version:
            return await Versions(self.async_client, name).async_get(version)
        return (await self.async_client.models.async_get(name)).latest_version

    def _add_entry(self, version: Any) -> ReplicateModel:
        """Read and keep the inputs of a model outside the catalog."""
        if version is None:
            raise SettingsError(f"{self.model} has no version on Replicate yet: choose another model.")
        entry = from_schema(self.model.partition(":")[0], version.id, version.openapi_schema)
        # Without a version, Replicate only runs its official models; any other needs the ID of its latest version.
        by_name = [] if ":" in self.model else [{"model": self.model}]
        self._entry, self._targets = entry, [*by_name, {"version": entry.version}]
        if len(_schemas) >= _MAX_SCHEMAS:
            _schemas.clear()
        _schemas[self.api_base, self.model] = self._entry, self._targets
        return entry

    def _call(self, request: Request) -> Chunk:
        return list(self._follow(request))[-1]

    async def _acall(self, request: Request) -> Chunk:
        return [chunk async for chunk in self._afollow(request)][-1]

    def _stream(self, request: Request) -> Iterator[Chunk]:
        chunks = self._follow(request)
        next(chunks)  # creates the prediction, so that its errors are raised here
        return chunks

    async def _astream(self, request: Request) -> AsyncIterator[Chunk]:
        chunks = self._afollow(request)
        await anext(chunks)
        return chunks

    def _follow(self, request: Request) -> Generator[Chunk]:
        return limited(follow(self._connection, request["request"], self.timeout), self.total_timeout)

    def _afollow(self, request: Request) -> AsyncGenerator[Chunk]:
        return alimited(afollow(self._async_connection, request["request"], self.timeout), self.total_timeout)

    def _parse_response(self, raw: Chunk, request: Request) -> Delta:
        prediction = raw.prediction
        reason, is_demo = "stop" if raw.last else None, is_demo_id(prediction.id)
        return Delta(raw.text, None, reason, prediction.model or "", prediction, is_demo=is_demo)

    def _parse_chunk(self, raw: Chunk, request: Request) -> Delta:
        return self._parse_response(raw, request)

    def _map_error(self, error: Exception, partial_text: str) -> Exception:
        return map_error(error, model=self.model, timeout=self.timeout, partial_text=partial_text)

    def _close_clients(self) -> None:
        connection = self.__dict__.pop("_connection", None)
        if connection is not None:
            connection.http.close()
        super()._close_clients()

    async def _aclose_client(self, client: Connection[httpx.AsyncClient]) -> None:
        await client.http.aclose()


def _image_input(image: OutgoingImage) -> str | Prepared:
    """Return an image's URL or data URI, or the image itself if it has to be uploaded first."""
    url = image.url
    return url if image.prepared is None or len(url) <= MAX_DATA_URI_LENGTH else image.prepared


def _check_num_input_files(number: Any) -> None:
    if number != 1:
        raise SettingsError(
            f"num_input_files must be 1, not {number!r:.80}: Replicate models take one image per question."
        )
