"""Images as requests carry them, with their token counts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Self

from vision_nb.cost.accounting import is_limited
from vision_nb.cost.image_rules import fewest_tokens, fixed_tokens, sent_size, view_of
from vision_nb.cost.rule_kinds import View
from vision_nb.errors import ImageError, SettingsError
from vision_nb.images.boxes import SentImage
from vision_nb.images.cache import ImageCache
from vision_nb.images.decode import Size
from vision_nb.images.detail import Detail
from vision_nb.images.document import ImageDocument
from vision_nb.images.prepare import Prepared, fit_within
from vision_nb.images.uploaded import UploadedFile
from vision_nb.rendering.html import data_uri
from vision_nb.user_warnings import warn_user

_NARROW = 256  # pixels of the short side
_TILE_SHAPE = 1.5  # the longest shape of a suggested tile, as long side / short side
_CHEAPEST = ((1, 1), (2, 1), (8, 1), (100, 1))
"""Sizes in pixels, one of which has the fewest tokens: models that enlarge images count some shapes lower."""


_DATA_URIS: ImageCache[str] = ImageCache(32_000_000)
"""The data URIs of the images that were sent last, for the next question about them."""


@dataclass(frozen=True)
class OutgoingImage:
    """An image as a request carries it.

    Attributes:
        document: The image.
        prepared: The file that is sent, or None if only the image's URL or the ID of an uploaded file is.
        detail: The detail level, or None to leave it to the server.
        tokens: Input tokens that the image costs, or None if that is unknown.
        fewest_tokens: A lower bound on the tokens, however the server handles the detail level "auto".
        is_estimate: Whether the tokens are an estimate.
        seen_size: Width and height in pixels after the model's own scaling, or None if no rule is known.
        file: The uploaded file whose ID is sent, or None.
    """

    document: ImageDocument
    prepared: Prepared | None
    detail: Detail | None
    tokens: int | None
    fewest_tokens: int
    is_estimate: bool = False
    seen_size: Size | None = None
    file: UploadedFile | None = None

    @property
    def url(self) -> str:
        """The image's own URL, or a data URI with the prepared file."""
        if self.prepared is None:
            return str(self.document.image_url)
        data, mimetype = self.prepared.data, self.prepared.mimetype
        return _DATA_URIS.get((data, mimetype), lambda: data_uri(data, mimetype))

    @property
    def sent(self) -> SentImage:
        """The sizes that relate coordinates in an answer to the original image."""
        if self.prepared is not None:
            size = self.prepared.original_size
            return SentImage(self.document.title, size, self.seen_size or self.prepared.size)
        if self.file is not None:
            return SentImage(self.document.title, self.document.size, self.seen_size or self.file.size)
        return SentImage(self.document.title)

    @property
    def notes(self) -> tuple[str, ...]:
        """The changes made to the image before upload, in one string with its name; empty if it is sent unchanged."""
        changed = self.file or self.prepared
        notes = () if changed is None else changed.notes
        return (f"{self.document.title}: {'; '.join(notes)}",) if notes else ()

    def warn_of_losses(self) -> None:
        """Warn the user if frames are dropped, or if a long image becomes so narrow that text is unreadable."""
        prepared = self.prepared
        if prepared is None:
            return
        if any("frames" in note for note in prepared.notes):
            warn_user(f"{self.document.title}: {'; '.join(prepared.notes)}.")
        (width, height), (sent_width, sent_height) = prepared.original_size, prepared.size
        if min(prepared.size) < _NARROW and 2 * max(prepared.size) <= max(width, height) >= 3 * min(width, height):
            rows, columns = math.ceil(height / width / _TILE_SHAPE), math.ceil(width / height / _TILE_SHAPE)
            warn_user(
                f"{self.document.title}: scaled from {width} x {height} pixels to {sent_width} x {sent_height}, where "
                f"text may be unreadable. Send tiles instead: ImageDocument.split({rows}, {columns}, overlap=50)."
            )


@dataclass(frozen=True, repr=False)
class ReadyImage(ImageDocument):
    """An image that has been prepared for a model: calls to the model about it read nothing, and need no thread.

    Attributes:
        outgoing: What the model is sent.
        digest: The digest of the file that it was made from; None if nothing is to be compared with it.
    """

    outgoing: OutgoingImage = field(init=False, compare=False)
    digest: str | None = field(init=False, compare=False)

    @classmethod
    def from_outgoing(cls, outgoing: OutgoingImage, digest: str | None) -> Self:
        """Create the document of an image that has been prepared."""
        ready = cls.__new__(cls)
        ready._set(**vars(outgoing.document), outgoing=outgoing, digest=digest)
        return ready

    @property
    def bytes(self) -> int:
        """The length of the file that is sent, in bytes; 0 if only a URL is."""
        return 0 if self.outgoing.prepared is None else len(self.outgoing.prepared.data)


def prepare_image(
    document: ImageDocument,
    *,
    model: str,
    detail: Detail | None,
    max_side: int | None,
    inline_urls: bool,
    types: frozenset[str],
    max_bytes: int,
    side_limit: int | None,
) -> OutgoingImage:
    """Prepare an image for a model, and count its tokens.

    The image's header is read once. If only the image's URL is sent, the header is downloaded only if a budget needs
    the token count.

    Args:
        document: The image.
        model: The model whose rule decides the size to send and the tokens.
        detail: The detail level, or None to leave it to the server.
        max_side: The longest side to send, in pixels; None for the side of the model's rule.
        inline_urls: Whether to download an image behind a URL and send the file instead of the URL.
        types: The MIME types that the server accepts.
        max_bytes: The largest file to send, in bytes.
        side_limit: The longest side that the server accepts, in pixels; None for any.

    Raises:
        SettingsError: The model does not have the detail level.
        ImageError: The image cannot be used.
    """
    if document.is_remote and not inline_urls:
        fewest = min(fewest_tokens(size, model, detail) for size in _CHEAPEST)  # its size may be unknown
        seen = _remote_view(document, model, detail)
        return OutgoingImage(document, None, detail, *counted(seen, fewest))

    def fit(size: Size) -> Size:
        fitted = sent_size(size, model, detail, max_side)
        return fitted if side_limit is None else fit_within(fitted, side_limit)

    prepared = document.prepare(fit, types=types, max_bytes=max_bytes)
    side = min(max_side or math.inf, side_limit or math.inf, max(prepared.original_size))
    view = view_of(fit_within(prepared.original_size, int(side)), model, detail)
    fewest = fewest_tokens(prepared.original_size, model, detail)
    return OutgoingImage(document, prepared, detail, *counted(view, fewest))


def counted(view: View | None, fewest: int) -> tuple[int | None, int, bool, Size | None]:
    """Return the tokens of a view, the lower bound, whether the tokens are an estimate, and the size as seen."""
    return (None, fewest, False, None) if view is None else (view.tokens, fewest, view.is_estimate, view.size)


def _remote_view(document: ImageDocument, model: str, detail: Detail | None) -> View | None:
    try:
        if fixed_tokens(model) is not None:
            return view_of((1, 1), model, detail)
        return view_of(document.size, model, detail) if is_limited() else None
    except (ImageError, SettingsError):
        return None  # the server may be able to use what cannot be read here
