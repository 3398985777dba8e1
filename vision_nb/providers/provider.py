"""`Provider`: what a provider implements, behind the methods of every model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn

from vision_nb.cost.accounting import LENGTH_LIMITS, InputTokens
from vision_nb.errors import SettingsError
from vision_nb.images.document import ImageDocument
from vision_nb.images.formats import SENDABLE
from vision_nb.images.prepare import MAX_BYTES
from vision_nb.messages import ChatMessage
from vision_nb.providers.call import Request
from vision_nb.providers.clients import ClientOwner
from vision_nb.providers.outgoing_image import OutgoingImage
from vision_nb.providers.streaming import Delta

if TYPE_CHECKING:
    from vision_nb.providers.batches import Batches


class Provider(ClientOwner):
    """What a provider implements.

    Pure methods build requests and parse responses: `_request`, `_parse_response`,
    `_parse_chunk` and `_map_error`. Only `_call`, `_acall`, `_stream` and `_astream` use the network. The vendor's
    clients are created and closed as `ClientOwner` describes.

    Attributes:
        provider: The provider's name in ``"provider:model"``.
        image_limit: The maximum number of images per request, or None for no limit.
    """

    provider: str
    image_limit: int | None = None
    image_types: frozenset[str] = SENDABLE
    """The MIME types that the servers take; images of other types are converted to PNG or JPEG."""
    max_image_bytes: int = MAX_BYTES
    """The largest image file that the servers accept, in bytes."""
    max_request_bytes: int | None = None
    """The largest size of all images of a request as base64, in bytes, or None for no limit."""
    takes_detail: bool = True
    """Whether images have a detail level; otherwise, none is sent."""
    schema_support: Literal["json_schema", "prompt"] = "json_schema"
    """How a schema is requested: as a parameter, which falls back to the prompt if refused, or in the prompt."""
    _trim: ClassVar[tuple[str, tuple[str, ...]]] = ("", ())
    """What the server puts around its answers: leading characters to strip, and endings to remove."""
    _length_limits: ClassVar[tuple[str, ...]] = LENGTH_LIMITS
    """The names of the one parameter that limits the answer's length."""

    @property
    def account(self) -> str:
        """Identifies the server and the key, without revealing the key."""
        return ""

    @property
    def batches(self) -> Batches:
        """The provider's batch API, which answers files of requests later, at a lower price.

        Raises:
            SettingsError: The provider does not have it.
        """
        self._refuse_batches()

    def _refuse_batches(self) -> NoReturn:
        from vision_nb.providers.batches import BATCH_PROVIDERS  # not needed for single calls

        raise SettingsError(
            f"{self} does not take batches: {BATCH_PROVIDERS} do. Omit batch=True, or use their models."
        )

    def _images_to_send(self, messages: list[ChatMessage]) -> list[ImageDocument]:
        """Return the images of a conversation that a request contains."""
        return [document for message in messages for document in message.image_documents]

    def _side_limit(self, count: int) -> int | None:
        """Return the longest side, in pixels, that the servers take for each of a request's images; None for any."""
        return None

    def _check_length(self, tokens: InputTokens) -> None:
        """Raise ContextLengthError if a request cannot fit into the model's context."""

    async def _aload_facts(self) -> None:
        """Load the facts about the model that `_request` needs, unless they are already known."""

    @abstractmethod
    def _call(self, request: Request) -> Any:
        """Send a request and return the vendor's response."""

    @abstractmethod
    async def _acall(self, request: Request) -> Any:
        """Send a request and return the vendor's response."""

    @abstractmethod
    def _stream(self, request: Request) -> Iterator[Any]:
        """Send a request and return an iterator of the vendor's chunks.

        Its ``close`` method, if it has one, is called when the stream ends.
        """

    @abstractmethod
    async def _astream(self, request: Request) -> AsyncIterator[Any]:
        """Send a request and return an asynchronous iterator of the vendor's chunks.

        Its ``aclose`` or ``close`` method, if it has one, is awaited when the stream ends.
        """

    @abstractmethod
    def _request(
        self,
        messages: list[ChatMessage],
        images: Mapping[ImageDocument, OutgoingImage],
        settings: Mapping[str, Any],
        *,
        stream: bool,
    ) -> Request:
        """Return a request's parameters.

        Args:
            messages: The conversation.
            images: The data to send for each image that `_images_to_send` returned.
            settings: The parameters that are set.
            stream: Whether the answer is to be streamed.
        """

    @abstractmethod
    def _parse_response(self, raw: Any, request: Request) -> Delta:
        """Parse the complete response to a request."""

    @abstractmethod
    def _parse_chunk(self, raw: Any, request: Request) -> Delta:
        """Parse one chunk of the streamed response to a request."""

    def _refuses_schema(self, error: BaseException) -> bool:
        """Return whether a vendor exception says that the server does not accept a schema as a parameter."""
        return False

    @abstractmethod
    def _map_error(self, error: Exception, partial_text: str) -> Exception:
        """Map a vendor exception to ours; return other exceptions unchanged."""
