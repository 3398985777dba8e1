"""What a cell would send, shown instead of sending it: ``--dry-run``, and the question before many pictures."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

from vision_nb.cost.estimate import Estimate
from vision_nb.images.document import ImageDocument
from vision_nb.images.prepare import Prepared, thumbnail
from vision_nb.magics.question import Question
from vision_nb.magics.usage_errors import UsageError
from vision_nb.rendering import html
from vision_nb.rendering.format import format_count, format_price, format_usd

PICTURES_SHOWN = 24
_SIDE = 120


@dataclass(frozen=True)
class Preview:
    """What a question would send.

    Attributes:
        question: The question.
        outgoing: Each picture with what is sent of it, or None where only its URL is.
        estimate: Its tokens and price.
        is_stored: Whether the store has the answer, so that nothing would be sent.
        notes: What else there is to say.
    """

    question: Question
    outgoing: tuple[tuple[ImageDocument, Prepared | None], ...]
    estimate: Estimate
    is_stored: bool
    notes: tuple[str, ...] = ()

    @property
    def _rows(self) -> list[tuple[str, str]]:
        question, sent = self.question, self.question.llm.identity
        rows = [
            ("model", str(question.llm)),
            ("server", sent["server"] or ("this machine" if question.llm.is_free else "the provider's own")),
        ]
        rows += [(name, _text(value)) for name, value in sent["parameters"].items()]
        rows += [("system", question.chat.system)] if question.chat.system else []
        turns = len(question.chat)
        rows += [("said before", "1 turn" if turns == 1 else f"{turns} turns")] if turns else []
        rows.append(("prompt", question.prompt))
        tokens = self.estimate.tokens
        rows.append(("tokens in, about", format_count(tokens)))
        longest = f" (with an answer of {self.estimate.max_new_tokens:,} tokens)" if self.estimate.usd else ""
        price = "unknown" if self.estimate.usd is None else format_price(self.estimate.usd, decimals=6)
        rows.append(("price, about", price + longest))
        return rows

    @property
    def _end(self) -> str:
        stored = " The store has the answer: asked now, it would cost nothing." if self.is_stored else ""
        return " ".join([f"Nothing was sent.{stored}", *self.notes])

    def _captions(self) -> list[str]:
        return [_caption(document, ready) for document, ready in self.outgoing]

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th scope="row" style="text-align:left;vertical-align:top;white-space:nowrap">{escape(name)}</th>'
            f'<td style="text-align:left;white-space:pre-wrap">{escape(value)}</td></tr>'
            for name, value in self._rows
        )
        tiles = [
            (None if ready is None else _small(ready, document.name), caption)
            for (document, ready), caption in zip(self.outgoing[:PICTURES_SHOWN], self._captions(), strict=False)
        ]
        more = len(self.outgoing) - len(tiles)
        pictures = html.thumbnail_grid(tiles, [f"and {more} more"] if more else []) if tiles else ""
        return f"<table>{rows}</table>{pictures}<p><b>{escape(self._end)}</b></p>"

    def __repr__(self) -> str:
        rows = [f"{name}: {value}" for name, value in self._rows]
        return "\n".join([*rows, *(f"picture: {caption}" for caption in self._captions()), self._end])


def preview(question: Question, *, is_stored: bool, notes: tuple[str, ...] = ()) -> Preview:
    """Make ready what a question would send, and send nothing."""
    outgoing = tuple((document, question.llm.outgoing(document)) for document in question.all_images)
    return Preview(question, outgoing, question.estimate(), is_stored, notes)


def refuse_many(question: Question, limit: int) -> None:
    """Raise UsageError where a cell sends more pictures than it may unasked; it names the price."""
    count = len(question.images)
    if count <= limit:
        return
    # Their sizes would have to be fetched first: no request goes out for a refusal.
    usd = None if any(document.is_remote for document in question.images) else question.estimate().usd
    price = "the price is not known" if usd is None else f"the price is about {format_usd(usd, decimals=6)}"
    if usd == 0:
        price = "it is free"
    raise UsageError(
        f"{count} pictures would be sent to {question.llm}, and {price}. Add --yes to send them, or --dry-run to see "
        "them first."
    )


def _caption(document: ImageDocument, ready: Prepared | None) -> str:
    name = document.title
    if ready is None:
        return f"{name}: sent as its URL"
    kind, kilobytes = ready.mimetype.removeprefix("image/").upper(), len(ready.data) / 1000
    notes = "".join(f"; {note}" for note in ready.notes)
    return f"{name}: {ready.size[0]} x {ready.size[1]} {kind}, {kilobytes:,.0f} kB{notes}"


def _small(ready: Prepared, name: str) -> str:
    small = thumbnail(ready.data, name=name, side=_SIDE, max_bytes=8_000)
    return html.data_uri(small, "image/jpeg")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)
