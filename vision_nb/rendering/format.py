"""Numbers (token counts, prices and file sizes), types and quoted words in sentences."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal


def format_count(count: int | None, *, is_estimate: bool = False) -> str:
    """Return a count with thousands separators, or "unknown" for None.

    >>> format_count(25516), format_count(4740, is_estimate=True), format_count(None)
    ('25,516', 'about 4,740', 'unknown')
    """
    return "unknown" if count is None else f"{'about ' if is_estimate else ''}{count:,}"


def pluralize(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun.

    Args:
        count: How many there are.
        noun: The noun in the singular, which may have words behind it if ``plural`` is given.
        plural: The noun in the plural; "" adds an s to the singular.

    >>> pluralize(1, "image"), pluralize(2500, "image"), pluralize(0, "box", "boxes")
    ('1 image', '2,500 images', '0 boxes')
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def format_usd(amount: Decimal | None) -> str:
    """Return an amount of US dollars, or "unknown" for None.

    Amounts below 1 have three significant digits and at least two decimals; amounts of 1,000 or more have no decimals.
    The currency is written out because notebooks render the text between two ``$`` signs as a formula.

    >>> format_usd(Decimal("0.0012")), format_usd(Decimal("1.234")), format_usd(Decimal("1204.4"))
    ('0.0012 USD', '1.23 USD', '1,204 USD')
    >>> format_usd(Decimal("0.0000004")), format_usd(Decimal(0)), format_usd(None)
    ('less than 0.000001 USD', '0 USD', 'unknown')
    """
    return "unknown" if amount is None else f"{_dollars(amount)} USD"


def format_usd_range(low: Decimal, high: Decimal) -> str:
    """Return a range of amounts of US dollars, or one amount if both look the same.

    >>> format_usd_range(Decimal("0.0019475"), Decimal("0.0049375"))
    '0.00195 to 0.00494 USD'
    """
    amounts = dict.fromkeys((_dollars(low), _dollars(high)))
    return f"{' to '.join(amounts)} USD"


def _dollars(amount: Decimal) -> str:
    size = abs(amount)
    if not size:
        return "0"
    if size < _SMALLEST:
        return f"less than {_SMALLEST}"
    if size >= 1:
        return f"{amount:,.2f}" if size < _NO_DECIMALS else f"{amount:,.0f}"
    rounded = f"{amount:.{2 - size.adjusted()}f}"  # three significant digits
    whole, _, decimals = rounded.partition(".")
    return f"{whole}.{decimals.rstrip('0'):0<2}"


_SMALLEST = Decimal("0.000001")
_NO_DECIMALS = Decimal("999.995")  # would be rounded to 1,000.00


def format_price(
    amount: Decimal | None,
    *,
    is_reported: bool = False,
    is_demo: bool = False,
    is_estimate: bool = False,
) -> str:
    """Return a price: "free" for 0, "price unknown" for None.

    It is marked if the service itself reported it, if the demo answered, at no cost, or if it is an estimate.

    >>> format_price(Decimal("0.0125")), format_price(Decimal(0)), format_price(None)
    ('0.0125 USD', 'free', 'price unknown')
    >>> format_price(Decimal("0.0125"), is_reported=True)
    '0.0125 USD (reported)'
    >>> format_price(Decimal("0.0125"), is_demo=True)
    'would cost 0.0125 USD'
    >>> format_price(Decimal("0.0125"), is_estimate=True)
    'about 0.0125 USD'
    """
    if amount is None:
        return "price unknown"
    price = format_usd(amount) if amount else "free"
    price = f"about {price}" if amount and is_estimate else price
    price = f"would cost {price}" if amount and is_demo else price
    return f"{price} (reported)" if is_reported else price


def total_price(prices: Iterable[Decimal | None]) -> Decimal | None:
    """Return the sum of prices in US dollars, or None if one is unknown."""
    found = list(prices)
    return None if None in found else sum((price for price in found if price is not None), Decimal(0))


def format_duration(seconds: float) -> str:
    """Return a duration in its largest units.

    >>> format_duration(0.4), format_duration(75), format_duration(7500)
    ('0.4 s', '1 min 15 s', '2 h 5 min')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes < 10 and rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"


def format_bytes(size: int) -> str:
    """Return a number of bytes in the largest decimal unit that fits.

    >>> format_bytes(4_081_004_224), format_bytes(999_960), format_bytes(1)
    ('4.1 GB', '1.0 MB', '1 byte')
    """
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= 0.99995 * unit:  # it is not rounded to 1000.0 of the smaller unit
            return f"{size / unit:.1f} {name}"
    return pluralize(size, "byte")


def type_name(value: object, article: str = "a") -> str:
    """Return the name of a value's type with its article; None is its own name.

    >>> import numpy as np
    >>> type_name("text"), type_name(1, "A"), type_name(np.array([1])), type_name(None)
    ('a str', 'An int', 'an ndarray', 'None')
    """
    return "None" if value is None else with_article(type(value).__name__, article)


def with_article(name: str, article: str = "a") -> str:
    """Return the name of a type with its article, as both are spoken."""
    begins_with_vowel = name.lower().startswith(tuple("aeio")) or name.startswith(("nd", "NA"))
    return f"{article}{'n' if begins_with_vowel else ''} {name}"


def as_sentence(words: str) -> str:
    """Return words of others that end like a sentence: with a full stop, unless they have another mark.

    >>> as_sentence("Bad image"), as_sentence("Bad image."), as_sentence("Sorry about that!")
    ('Bad image.', 'Bad image.', 'Sorry about that!')
    """
    words = words.rstrip(".")
    return words if words.endswith(("!", "?")) else f"{words}."
