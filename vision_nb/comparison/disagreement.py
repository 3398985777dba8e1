"""The fields on which the models disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vision_nb.comparison.canonical_values import canonical
from vision_nb.comparison.matching import Matching
from vision_nb.schema.fields import Field


def disputed_fields(answers: Sequence[Mapping[str, Any]], fields: Sequence[Field]) -> set[str]:
    """Return the paths of the fields that the answers about an image do not agree on, as `score` compares them.

    Args:
        answers: The values by field path, one mapping per model that answered.
        fields: The fields.

    >>> disputed_fields([{"shop": "Aldi"}, {"shop": "ALDI"}], [Field("shop", "text")])
    set()
    """
    matching = Matching()
    return {
        field.path
        for field in fields
        if any(not matching.equal(_form(answers[0], field), _form(other, field), field) for other in answers[1:])
    }


def _form(answer: Mapping[str, Any], field: Field) -> Any:
    """Return a value as `score` compares it, or unchanged if it does not have the field's type."""
    try:
        return canonical(answer.get(field.path), field)
    except ValueError:
        return answer.get(field.path)
