"""Numbers of other packages, such as numpy and pandas, which users pass as arguments."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from vision_nb.errors import SettingsError


def plain_number(value: Any) -> Any:
    """Return a number as an int or float; return anything else, and True and False, unchanged.

    >>> import numpy as np
    >>> from vision_nb.checks.numbers import plain_number
    >>> plain_number(np.int64(3)), plain_number(np.float32(0.5)), plain_number(True), plain_number("3")
    (3, 0.5, True, '3')
    """
    if type(value) in (int, float, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def plain_data(value: Any) -> Any:
    """Return JSON data whose numbers and arrays of numpy are numbers and lists of Python.

    >>> import numpy as np
    >>> plain_data({"total": np.float64(2.5), "sizes": [np.int64(3)], "paid": np.bool_(True)})
    {'total': 2.5, 'sizes': [3], 'paid': True}
    """
    if isinstance(value, Mapping):
        return {key: plain_data(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain_data(inner) for inner in value]
    return value.tolist() if type(value).__module__ == "numpy" else value


def check_count(value: Any, argument: str, *, least: int = 1) -> int | None:
    """Return a whole number as an int; None is returned unchanged.

    Raises:
        SettingsError: It is not an integer, or is less than ``least``.
    """
    count: int | None = plain_number(value)
    if count is not None and (type(count) is not int or count < least):
        raise SettingsError(f"{argument} must be an integer of at least {least}: got {value!r:.80}.")
    return count


def check_seconds(value: Any, argument: str, *, default: float | None = None) -> float:
    """Return a number of seconds as an int or float; for None, the default if there is one.

    Raises:
        SettingsError: It is not a number above 0.
    """
    seconds: Any = default if value is None else plain_number(value)
    if type(seconds) not in (int, float) or not seconds > 0:
        raise SettingsError(f"{argument} must be a number of seconds above 0: got {value!r:.80}.")
    return seconds  # type: ignore[no-any-return] # a number
