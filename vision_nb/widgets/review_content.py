"""What a review panel shows about an image before a person changes it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vision_nb import errors
from vision_nb.comparison.disagreement import disputed_fields
from vision_nb.comparison.extraction import Extraction
from vision_nb.errors import ImageError
from vision_nb.rendering.sanitize import replace_surrogates
from vision_nb.widgets import review_form

_IMAGE_SIDE, _IMAGE_BYTES = 900, 150_000  # pixels, bytes


@dataclass(frozen=True)
class ReviewContent:
    """An image and the models' answers.

    Attributes:
        card: What the page displays.
        model_values: The values of the answer in the form, by path; empty if no model answered.
    """

    card: Mapping[str, Any]
    model_values: Mapping[str, Any]


def read_content(extraction: Extraction, index: int) -> ReviewContent:
    """Read the image and the models' answers; decoding the image takes most of the time.

    Args:
        extraction: The extraction.
        index: A row of the image; the form shows its answer.
    """
    fields, document = extraction.fields, extraction.document(index)
    try:
        image = document.thumbnail(_IMAGE_SIDE, max_bytes=_IMAGE_BYTES)
        can_enlarge = max(document.size) > _IMAGE_SIDE
    except ImageError:
        image, can_enlarge = "", False
    rows = extraction.rows_of(index)
    values = {row: found for row in rows if (found := extraction.values(row)) is not None}
    disputed = disputed_fields(list(values.values()), fields) if values else set()
    others: dict[str, list[dict[str, Any]]] = {}
    for field in fields:
        if field.path not in disputed:
            continue
        answers: dict[str, dict[str, Any]] = {}  # by value: models that agree are shown together
        for row, found in values.items():
            value = review_form.form_value(found[field.path], field)
            text = review_form.summary(found[field.path])
            answer = answers.setdefault(json.dumps(value), {"models": [], "value": value, "text": text})
            answer["models"].append(_answer_name(extraction, row))
        others[field.path] = list(answers.values())
    card = {
        "row": index,
        "image": image,
        "can_enlarge": can_enlarge,
        "name": document.title,
        "others": others,
        "notes": _notes(extraction, rows),
        "source": _answer_name(extraction, index) if len(rows) > 1 and index in values else "",
    }
    return ReviewContent(card, values.get(index, {}))


def _answer_name(extraction: Extraction, index: int) -> str:
    """Return the model of an answer, and its prompt if there are several."""
    row = extraction[index]
    has_one_prompt = len(extraction.comparison.grid.prompts) == 1
    return replace_surrogates(row.model if has_one_prompt else f"{row.model}, {row.prompt:.60}")


def is_unreadable(extraction: Extraction, index: int) -> bool:
    """Return whether no model answered about a row's image because the image could not be read."""
    found = [extraction[row].error or "" for row in extraction.rows_of(index)]
    kinds = [getattr(errors, error.partition(":")[0], None) for error in found]
    return all(isinstance(kind, type) and issubclass(kind, ImageError) for kind in kinds)


def _notes(extraction: Extraction, rows: Iterable[int]) -> list[str]:
    """Return why the answers about an image need a check; answers with the same reason are named together."""
    reasons: dict[str, list[str]] = {}
    for index in rows:
        row = extraction[index]
        if not row.finished:
            reason = f"gave no answer: {row.error or 'it was not asked'}"
        elif row.attempts > 1:
            reason = "answered after 1 repair" if row.attempts == 2 else f"answered after {row.attempts - 1} repairs"
        else:
            continue
        reasons.setdefault(replace_surrogates(reason), []).append(_answer_name(extraction, index))
    return [f"{', '.join(names)} {reason}" for reason, names in reasons.items()]
