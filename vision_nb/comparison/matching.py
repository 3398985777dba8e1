"""Compare an answer's values with the true ones, by the type of their field."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from vision_nb.comparison.canonical_values import NUMBERS, as_text, normalized
from vision_nb.errors import SettingsError
from vision_nb.schema.fields import Field

_ROUNDING = 1e-12
"""Fractions are equal up to this relative difference; sums of floats differ by about 1e-15."""


@dataclass(frozen=True)
class Matching:
    """The rules for comparing an answer with the truth.

    Args:
        tolerance: The largest accepted difference from the true number, relative to it: 0.01 accepts 1% more or less.
        text: "normalized" ignores case, white space and Unicode form; "exact" does not; a number from 0 to 100 accepts
            texts whose rapidfuzz ratio, after normalizing, is at least this.
        lists: "set" ignores the order of a list's items, but not repetitions; "ordered" also requires the same order.

    Raises:
        SettingsError: An option does not have one of these values, or rapidfuzz is needed and not installed.

    >>> total = Field("total", "number", False, (), "", ())
    >>> Matching(tolerance=0.01).equal(Decimal(100), Decimal(101), total)
    True
    """

    tolerance: float = 0.0
    text: Literal["normalized", "exact"] | float = "normalized"
    lists: Literal["set", "ordered"] = "set"

    def __post_init__(self) -> None:
        if not _is_number(self.tolerance) or not 0 <= self.tolerance < math.inf:
            raise SettingsError(f"tolerance must be a number of at least 0, such as 0.01: got {self.tolerance!r:.80}.")
        if self.text not in ("normalized", "exact") and not (_is_number(self.text) and 0 <= float(self.text) <= 100):
            raise SettingsError(f'text must be "normalized", "exact" or a number from 0 to 100: got {self.text!r:.80}.')
        if self.lists not in ("set", "ordered"):
            raise SettingsError(f'lists must be "set" or "ordered": got {self.lists!r:.80}.')
        if not isinstance(self.text, str):
            try:
                import rapidfuzz  # noqa: F401
            except ImportError as error:
                message = f'text={self.text} needs the package rapidfuzz: pip install "vision-nb[scoring]".'
                raise SettingsError(message) from error

    def equal(self, truth: Any, answer: Any, field: Field) -> bool:
        """Return whether an answer equals the truth; both are in canonical form."""
        if truth is None or answer is None:
            return truth is answer
        if field.kind == "text":
            return self._equal_texts(truth, answer)
        if field.kind in NUMBERS:
            return self._equal_numbers(truth, answer)
        if field.kind in ("datetime", "time"):
            return _equal_times(truth, answer)
        if field.kind == "list":
            return len(truth) == len(answer) == len(self.matched_items(truth, answer, field))
        return self._equal_data(truth, answer) if field.kind in ("object", "any") else bool(truth == answer)

    def matched_items(self, truth: Sequence[Any], answer: Sequence[Any], field: Field) -> dict[int, int]:
        """Return as many pairs of equal items as possible: the index of a true item, and that of the answer's."""
        return self._pairs(truth, answer, lambda one, other: self._equal_items(one, other, field))

    def _pairs(self, truth: Sequence[Any], answer: Sequence[Any], equal: Callable[[Any, Any], bool]) -> dict[int, int]:
        both = enumerate(zip(truth, answer, strict=False))
        in_order = {place: place for place, (one, other) in both if equal(one, other)}
        if self.lists == "ordered" or len(in_order) == min(len(truth), len(answer)):
            return in_order
        return _assign([[place for place, other in enumerate(answer) if equal(one, other)] for one in truth])

    def _equal_items(self, truth: Any, answer: Any, field: Field) -> bool:
        if len(field.items) == 1 and not field.items[0].path:
            return self.equal(truth, answer, field.items[0])
        if not field.items or truth is None or answer is None:
            return self._equal_data(truth, answer)
        given = (one for one in field.items if one.path in truth)
        return all(self.equal(truth[one.path], answer.get(one.path), one) for one in given)

    def _equal_texts(self, truth: str, answer: str) -> bool:
        if self.text == "exact":
            return truth == answer
        first, second = normalized(truth), normalized(answer)
        if first == second or self.text == "normalized":
            return first == second
        from rapidfuzz import fuzz

        return bool(fuzz.ratio(first, second) >= float(self.text))

    def _equal_numbers(self, truth: Decimal, answer: Decimal) -> bool:
        if truth == answer or not (truth.is_finite() and answer.is_finite()):
            return truth == answer
        both_whole = truth == truth.to_integral_value() and answer == answer.to_integral_value()
        relative = max(self.tolerance, 0.0 if both_whole else _ROUNDING)
        return abs(answer - truth) <= Decimal(repr(float(relative))) * abs(truth)

    def _equal_data(self, truth: Any, answer: Any) -> bool:
        if isinstance(truth, dict) and isinstance(answer, dict):
            return truth.keys() == answer.keys() and all(self._equal_data(truth[key], answer[key]) for key in truth)
        if isinstance(truth, list) and isinstance(answer, list):
            return len(truth) == len(answer) == len(self._pairs(truth, answer, self._equal_data))
        if isinstance(truth, Decimal) and isinstance(answer, Decimal):
            return self._equal_numbers(truth, answer)
        if truth is None or answer is None or isinstance(truth, (dict, list)) or isinstance(answer, (dict, list)):
            return truth is answer
        return self._equal_texts(as_text(truth), as_text(answer))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _equal_times(truth: Any, answer: Any) -> bool:
    if (truth.tzinfo is None) != (answer.tzinfo is None):  # an image rarely shows the time zone
        truth, answer = truth.replace(tzinfo=None), answer.replace(tzinfo=None)
    return bool(truth == answer)


def _assign(candidates: Sequence[Sequence[int]]) -> dict[int, int]:
    """Return a largest matching of a bipartite graph, by augmenting paths.

    Args:
        candidates: For each item, the partners that it can have.

    >>> _assign([[0, 1], [0]])
    {0: 1, 1: 0}
    """
    partners: dict[int, int] = {}
    owners: dict[int, int] = {}
    for start in range(len(candidates)):
        reached: dict[int, int] = {}
        queue, end = [start], None
        for item in queue:
            new = [place for place in candidates[item] if place not in reached]
            reached.update(dict.fromkeys(new, item))
            end = next((place for place in new if place not in owners), None)
            if end is not None:
                break
            queue += [owners[place] for place in new]
        while end is not None:
            item = reached[end]
            previous = partners.get(item)
            partners[item], owners[end] = end, item
            end = previous
    return partners
