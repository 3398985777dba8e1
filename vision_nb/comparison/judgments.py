"""Compare the answers of models with the truth, value by value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from vision_nb.comparison.accuracy import Outcome
from vision_nb.comparison.canonical_values import canonical
from vision_nb.comparison.matching import Matching
from vision_nb.images.document import ImageDocument
from vision_nb.schema.fields import Field


@dataclass(frozen=True)
class Prediction:
    """The answer of one model about one image.

    Attributes:
        model: The model's name; if there are several prompts, followed by the prompt's.
        document: The image.
        value: The values by field path, as JSON data or Python values, or None without an answer.
        error: The error, or None. Without a value and an error, the call was not made.
        usd: The price of all attempts in US dollars, or None if it is not known.
        attempts: The number of requests, 1 without repairs.
        prompt: The prompt's name if there are several, or "".
    """

    model: str
    document: ImageDocument
    value: Mapping[str, Any] | None
    error: str | None
    usd: Decimal | None
    attempts: int
    prompt: str = ""


def prompt_names(prompts: Sequence[str]) -> dict[str, str]:
    """Return a short name for each prompt: its beginning, with its number if others begin alike; "" for the only one.

    >>> prompt_names(["Read it.", "Look closely, then read it."])
    {'Read it.': 'Read it.', 'Look closely, then read it.': 'Look closely, then read it.'}
    """
    if len(prompts) == 1:
        return dict.fromkeys(prompts, "")
    short = [prompt[:60] for prompt in prompts]
    if len(set(short)) < len(short):
        short = [f"{number}. {name}" for number, name in enumerate(short, 1)]
    return dict(zip(prompts, short, strict=True))


@dataclass(frozen=True)
class Judgment:
    """The comparison of one value with the truth.

    Attributes:
        prediction: The answer that contains the value.
        field: The value's field.
        outcome: "correct", "wrong", "missing", "invented" or "failed".
        truth: The true value, in the form that `canonical` returns.
        answer: The answer's value in this form, or as text if it does not have the field's type.
    """

    prediction: Prediction
    field: Field
    outcome: Outcome
    truth: Any
    answer: Any


def judge(
    prediction: Prediction, truth: Mapping[str, Any], fields: Sequence[Field], matching: Matching
) -> Iterator[Judgment]:
    """Compare an answer with the true values of its image.

    Args:
        prediction: The answer, or the error.
        truth: The true values by field path; fields that are absent are skipped.
        fields: All fields.
        matching: The rules.
    """
    for field in fields:
        if field.path not in truth:
            continue
        true = truth[field.path]
        if prediction.value is None:
            yield Judgment(prediction, field, "failed", true, None)
            continue
        answer = prediction.value.get(field.path)
        try:
            answer = canonical(answer, field)
        except ValueError:
            yield Judgment(prediction, field, "invented" if true is None else "wrong", true, str(answer))
            continue
        yield Judgment(prediction, field, _outcome(true, answer, field, matching), true, answer)


def _outcome(truth: Any, answer: Any, field: Field, matching: Matching) -> Outcome:
    if matching.equal(truth, answer, field):
        return "correct"
    if answer is None:
        return "missing"
    return "invented" if truth is None else "wrong"
