"""The preview of ``--dry-run``, and the check before many images are sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vision_nb.cost.estimate import Estimate
from vision_nb.images.cards import ImageCard, cards_html
from vision_nb.images.document import ImageDocument
from vision_nb.images.prepare import Prepared, thumbnail
from vision_nb.images.uploaded import UploadedImage
from vision_nb.magics.question import Question
from vision_nb.magics.usage_errors import UsageError
from vision_nb.rendering import html
from vision_nb.rendering.format import format_count, format_price, format_usd, total_price
from vision_nb.rendering.sanitize import escape_text, terminal_text
from vision_nb.responses import Usage

MAX_THUMBNAILS = 24
_THUMBNAIL_SIDE = 320  # pixels
_THUMBNAIL_BYTES = 3_200


@dataclass(frozen=True)
class Preview:
    """What a question would send.

    Attributes:
        question: The question.
        outgoing: Each image with the data that would be sent, or None if only its URL would be.
        estimate: The estimated tokens and price.
        is_stored: Whether the store has the answer, so that nothing would be sent.
        notes: Further notes.
    """

    question: Question
    outgoing: tuple[tuple[ImageDocument, Prepared | None], ...]
    estimate: Estimate
    is_stored: bool
    notes: tuple[str, ...] = ()

    @property
    def _rows(self) -> list[tuple[str, str]]:
        question, server = self.question, self.question.llm.identity["server"]
        schema = question.schema
        rows = [
            ("model", question.llm.label),
            ("server", server or ("this machine" if question.llm.is_free else "the provider's default")),
        ]
        rows += [(name, _text(value)) for name, value in question.parameters.items()]
        rows += [("schema", f"{schema.name}: {', '.join(field.path for field in schema.fields)}")] if schema else []
        rows += [("system", question.chat.system)] if question.chat.system else []
        turns = len(question.chat)
        rows += [("earlier turns", str(turns))] if turns else []
        rows.append(("prompt", question.prompt))
        about = self.estimate.is_estimate
        rows.append(("input tokens, estimated", format_count(self.estimate.tokens, is_estimate=about)))
        usd = self.estimate.usd
        unknown = f"unknown. {self.estimate.remark}." if self.estimate.remark else "unknown"
        price = unknown if usd is None else format_price(usd, is_estimate=about)
        longest = f" for an answer of {self.estimate.max_new_tokens:,} tokens" if self.estimate.usd else ""
        rows.append(("price, estimated", price + longest))
        return rows

    @property
    def _summary(self) -> str:
        cached = " The answer is cached: without --dry-run, it would cost nothing." if self.is_stored else ""
        return " ".join([f"Nothing was sent.{cached}", *self.notes])

    def _repr_html_(self) -> str:
        rows = "".join(
            '<tr><th scope="row" style="text-align:left;vertical-align:top;white-space:nowrap">'
            f'{escape_text(name)}</th><td style="text-align:left;white-space:pre-wrap">{escape_text(value)}</td></tr>'
            for name, value in self._rows
        )
        cards = [_card(document, prepared) for document, prepared in self.outgoing[:MAX_THUMBNAILS]]
        more = len(self.outgoing) - len(cards)
        images = cards_html(cards, remarks=[f"and {more} more"] if more else []) if cards else ""
        return f"<table>{rows}</table>{images}<p><b>{escape_text(self._summary)}</b></p>"

    def __repr__(self) -> str:
        rows = [f"{name}: {value}" for name, value in self._rows]
        images = [f"image: {document.title}: {_facts(document, prepared)}" for document, prepared in self.outgoing]
        return terminal_text("\n".join([*rows, *images, self._summary]))


def preview(question: Question, *, is_stored: bool, notes: tuple[str, ...] = ()) -> Preview:
    """Return a preview of a question; nothing is sent."""
    outgoing = tuple((document, question.llm.outgoing(document).prepared) for document in question.documents)
    return Preview(question, outgoing, question.estimate(), is_stored, notes)


def check_image_count(questions: Sequence[Question], limit: int, *, is_stored: Callable[[Question], bool]) -> None:
    """Raise UsageError, with the price, if many images would be sent to models that may cost something.

    Args:
        questions: The same question to each model.
        limit: The number of images that are sent without confirmation.
        is_stored: Whether the answer comes from the store, at no cost.
    """
    images = questions[0].images
    if len(images) <= limit:
        return
    paid = [one for one in questions if not one.llm.is_demo and one.llm.price(Usage(1, 1)) != 0 and not is_stored(one)]
    if not paid:
        return
    # An estimate needs the sizes of remote images, and refusing a cell should not send requests.
    is_remote = any(document.is_remote for document in images)
    usd = None if is_remote else total_price(one.estimate().usd for one in paid)
    price = "at an unknown price" if usd is None else f"for about {format_usd(usd)}"
    models = " and ".join(str(one.llm) for one in paid)
    raise UsageError(
        f"{len(images)} images would be sent to {models} {price}. Add --yes to send them, or --dry-run to preview them."
    )


def _facts(document: ImageDocument, prepared: Prepared | None) -> str:
    if prepared is None:
        return "sent as the ID of the uploaded file" if isinstance(document, UploadedImage) else "only the URL is sent"
    kind, kilobytes = prepared.mimetype.removeprefix("image/").upper(), len(prepared.data) / 1000
    size = f"{prepared.size[0]} x {prepared.size[1]}"
    notes = "".join(f"; {note.removesuffix(f' to {size}')}" for note in prepared.notes)
    return f"{size} {kind}, {kilobytes:,.0f} kB{notes}"


def _card(document: ImageDocument, prepared: Prepared | None) -> ImageCard:
    name, facts = document.title, _facts(document, prepared)
    if prepared is None:
        return ImageCard(name, facts)
    small = thumbnail(
        prepared.data, name=document.name, side=_THUMBNAIL_SIDE, max_bytes=_THUMBNAIL_BYTES, mimetype="image/webp"
    )
    return ImageCard(name, facts, html.data_uri(small, "image/webp"), prepared.size)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)
