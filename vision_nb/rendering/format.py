"""Numbers as text: token counts, prices and file sizes."""

from __future__ import annotations

from decimal import Decimal


def format_count(count: int | None, *, is_estimate: bool = False) -> str:
    """Return a count with thousands separators, or "unknown" for None.

    >>> format_count(25516), format_count(4740, is_estimate=True), format_count(None)
    ('25,516', 'about 4,740', 'unknown')
    """
    return "unknown" if count is None else f"{'about ' if is_estimate else ''}{count:,}"


def format_usd(amount: Decimal | None, *, decimals: int = 4) -> str:
    """Return an amount of US dollars, or "unknown" for None.

    The currency is written out because notebooks render the text between two ``$`` signs as a formula.

    >>> format_usd(Decimal("0.0125")), format_usd(Decimal(0)), format_usd(None)
    ('0.0125 USD', '0 USD', 'unknown')
    """
    if amount is None:
        return "unknown"
    return f"{amount:.{decimals}f} USD" if amount else "0 USD"


def format_price(
    amount: Decimal | None,
    *,
    decimals: int = 4,
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
    price = format_usd(amount, decimals=decimals) if amount else "free"
    price = f"about {price}" if amount and is_estimate else price
    price = f"would cost {price}" if amount and is_demo else price
    return f"{price} (reported)" if is_reported else price


def format_bytes(size: int) -> str:
    """Return a number of bytes in the largest decimal unit that fits.

    >>> format_bytes(4_081_004_224)
    '4.1 GB'
    """
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
