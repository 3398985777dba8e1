"""Receipts of invented shops, with the values that are printed on them."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal

from PIL import Image

from tests.sample_drawing.canvas import SCALE, Canvas, Color, font
from tests.sample_drawing.label import bars

WIDTH = 380  # pixels of the final image
_MARGIN = 26
_LINE = 21


@dataclass(frozen=True)
class Receipt:
    """A receipt.

    Attributes:
        shop: The shop's name.
        place: The lines below it.
        date: The date.
        currency: "EUR" or "USD".
        items: The names and prices.
        payment: "card", "cash", "mobile" or "voucher".
        paid_with: The line that says so.
        tax_percent: The tax, included in prices in EUR and added to those in USD; None if it is not printed.
        words: What the receipt calls the total, the tax, the date and the subtotal.
        date_format: How the date is printed, for `strftime`.
        comma: Whether prices have a decimal comma.
        family: The font.
        thanks: The last line.
        number: A bar code's first twelve digits, or "".
    """

    shop: str
    place: tuple[str, ...]
    date: datetime.date
    currency: str
    items: tuple[tuple[str, str], ...]
    payment: str
    paid_with: str
    tax_percent: int | None
    words: tuple[str, str, str, str] = ("TOTAL", "incl. VAT", "Date", "Subtotal")
    date_format: str = "%Y-%m-%d"
    comma: bool = False
    family: str = "DejaVu Sans Mono"
    thanks: str = "Thank you for your visit!"
    number: str = ""

    @property
    def subtotal(self) -> Decimal:
        """The sum of the prices."""
        return sum((Decimal(price) for _, price in self.items), Decimal(0))

    @property
    def tax(self) -> Decimal | None:
        """The tax as printed."""
        if self.tax_percent is None:
            return None
        base = 100 if self.currency == "USD" else 100 + self.tax_percent
        return (self.subtotal * self.tax_percent / base).quantize(Decimal("0.01"))

    @property
    def total(self) -> Decimal:
        """The amount paid."""
        return self.subtotal + (self.tax or 0) if self.currency == "USD" else self.subtotal

    def money(self, amount: Decimal | str) -> str:
        """Return an amount as printed."""
        return str(amount).replace(".", ",") if self.comma else str(amount)


_GERMAN = ("SUMME", "enth. MwSt.", "Datum", "Zwischensumme")
_US = ("TOTAL", "Sales tax", "Date", "Subtotal")

RECEIPTS = (
    Receipt(
        "Mill Lane Bakery",
        ("14 Mill Lane", "Kilbrook"),
        datetime.date(2026, 3, 9),
        "EUR",
        (("Sourdough loaf", "4.80"), ("Croissant", "1.90"), ("Cinnamon bun", "2.60")),
        "card",
        "CARD  **** 4471",
        9,
    ),
    Receipt(
        "GREEN BASKET",
        ("Grocery & Deli", "88 Station Road, Kilbrook"),
        datetime.date(2026, 2, 21),
        "EUR",
        (
            ("Oat milk 1 l", "2.19"),
            ("Eggs, free range", "3.45"),
            ("Basil", "1.29"),
            ("Tomatoes 500 g", "2.75"),
            ("Mozzarella", "1.85"),
            ("Pasta", "1.59"),
            ("Olive oil 0.5 l", "7.99"),
            ("Dark chocolate", "2.49"),
        ),
        "cash",
        "CASH",
        13,
        date_format="%d %b %Y",
        number="200310022101",
    ),
    Receipt(
        "Kaffeehaus Lindner",
        ("Am Markt 3", "Neustadt an der Elm"),
        datetime.date(2026, 1, 30),
        "EUR",
        (("Melange", "4.20"), ("Espresso", "2.80"), ("Apfelstrudel", "5.40"), ("Mineralwasser", "3.10")),
        "cash",
        "BAR",
        19,
        words=_GERMAN,
        date_format="%d.%m.%Y",
        comma=True,
        family="DejaVu Serif",
        thanks="Vielen Dank, auf Wiedersehen!",
    ),
    Receipt(
        "HARBOR BOOKS",
        ("210 Pier Street", "Port Alder, ME"),
        datetime.date(2026, 3, 14),
        "USD",
        (("Atlas of Tides", "34.00"), ("Notebook, ruled", "8.50"), ("Bookmark", "2.25")),
        "card",
        "CREDIT  **** 0932",
        5,
        words=_US,
        date_format="%m/%d/%Y",
        number="201403142600",
    ),
    Receipt(
        "Pixel & Pine",
        ("Electronics", "5 Cedar Mall, Alder Falls"),
        datetime.date(2025, 12, 27),
        "USD",
        (("USB-C cable 2 m", "12.99"), ("HDMI adapter", "24.50"), ("AA batteries x8", "9.75"), ("Desk lamp", "39.00")),
        "mobile",
        "MOBILE PAY",
        8,
        words=_US,
        date_format="%b %d, %Y",
        family="DejaVu Sans",
        thanks="Returns within 30 days",
    ),
    Receipt(
        "SUNRISE DINER",
        ("Route 9", "Alder Falls"),
        datetime.date(2026, 4, 22),
        "USD",
        (("Pancakes", "9.50"), ("Two eggs, bacon", "11.25"), ("Orange juice", "4.00"), ("Coffee", "3.25")),
        "cash",
        "CASH",
        7,
        words=_US,
        date_format="%m/%d/%Y",
    ),
    Receipt(
        "Tram Kiosk 12",
        ("Central Square",),
        datetime.date(2026, 3, 28),
        "EUR",
        (("Day ticket", "5.60"), ("Newspaper", "2.90"), ("Mints", "1.20")),
        "cash",
        "CASH",
        None,
        date_format="%d/%m/%Y",
        thanks="Have a nice day",
    ),
    Receipt(
        "City Pharmacy",
        ("31 Hospital Street", "Kilbrook"),
        datetime.date(2026, 2, 25),
        "EUR",
        (("Plasters", "3.95"), ("Throat lozenges", "6.49"), ("Sun cream SPF 50", "14.90")),
        "card",
        "CARD  **** 7720",
        23,
        date_format="%d-%m-%Y",
    ),
    Receipt(
        "GARDEN & TOOLS",
        ("Industrial Park 7", "Neustadt an der Elm"),
        datetime.date(2026, 4, 18),
        "EUR",
        (("Blumenerde 40 l", "8.99"), ("Gartenschere", "24.95"), ("Tomatenpflanze", "3.49"), ("Handschuhe", "6.29")),
        "card",
        "GIROCARD  **** 1188",
        19,
        words=_GERMAN,
        date_format="%d.%m.%Y",
        comma=True,
        thanks="Vielen Dank!",
        number="200418260007",
    ),
    Receipt(
        "Night Line Cabs",
        ("Car 41", "Port Alder"),
        datetime.date(2026, 1, 11),
        "USD",
        (("Fare 6.2 mi", "18.60"), ("Night surcharge", "3.00"), ("Tip", "4.00")),
        "mobile",
        "MOBILE PAY",
        None,
        words=_US,
        date_format="%b %d, %Y",
        thanks="Ride safely",
    ),
    Receipt(
        "Pizzeria Aurora",
        ("Harbor Promenade 2", "Kilbrook"),
        datetime.date(2026, 3, 1),
        "EUR",
        (("Pizza Margherita", "10.50"), ("Pizza Funghi", "12.00"), ("House salad", "6.80"), ("Tiramisu", "6.50")),
        "voucher",
        "GIFT VOUCHER",
        9,
        date_format="%d %B %Y",
        family="DejaVu Serif",
        thanks="Grazie e a presto!",
    ),
    Receipt(
        "SUPER FRESH MARKET",
        ("1200 Orchard Avenue", "Alder Falls"),
        datetime.date(2026, 2, 14),
        "USD",
        (
            ("Bananas", "1.38"),
            ("Whole milk 1 gal", "4.29"),
            ("Cheddar", "5.99"),
            ("Rye bread", "3.79"),
            ("Chicken breast", "11.42"),
            ("Broccoli", "2.49"),
            ("Rice 2 lb", "3.15"),
            ("Salsa, mild", "3.89"),
            ("Paper towels", "7.99"),
            ("Dish soap", "2.79"),
            ("Coupon", "-2.00"),
        ),
        "card",
        "DEBIT  **** 5508",
        6,
        words=_US,
        date_format="%m/%d/%Y",
        number="201202142611",
    ),
)


def paper(receipt: Receipt, *, ink: Color = (52, 50, 54), color: Color = (252, 251, 247)) -> Image.Image:
    """Draw a receipt as a strip of paper, at the scale of the canvas, with transparency below its torn edge."""
    height = 214 + _LINE * (len(receipt.place) + len(receipt.items)) + (62 if receipt.number else 0)
    height += _LINE * ((receipt.currency == "USD") + (receipt.tax is not None))
    canvas = Canvas(Image.new("RGBA", (WIDTH * SCALE, height * SCALE), (0, 0, 0, 0)))
    teeth = [(x, height - (0 if n % 2 else 6)) for n, x in enumerate(range(WIDTH, -1, -10))]
    canvas.polygon([(0, 0), (WIDTH, 0), *teeth], color)
    plain, bold = font(15, family=receipt.family), font(15, bold=True, family=receipt.family)
    size = min(25, 470 / len(receipt.shop))
    canvas.text(WIDTH / 2, 38, receipt.shop, font(size, bold=True, family=receipt.family), ink)
    y = 66.0
    for line in receipt.place:
        canvas.text(WIDTH / 2, y, line, font(14, family=receipt.family), ink)
        y += _LINE
    total_word, tax_word, date_word, subtotal_word = receipt.words
    rows = [
        (
            f"{date_word}: {receipt.date.strftime(receipt.date_format)}",
            f"No. {receipt.date:%j}{len(receipt.shop)}",
            plain,
        )
    ]
    rows += [("", "", plain)]
    rows += [(name, receipt.money(price), plain) for name, price in receipt.items]
    rows += [("", "", plain)]
    if receipt.currency == "USD":
        rows += [(subtotal_word, receipt.money(receipt.subtotal), plain)]
    tax = (f"{tax_word} {receipt.tax_percent}%", receipt.money(receipt.tax or Decimal(0)), plain)
    rows += [tax] if receipt.tax is not None and receipt.currency == "USD" else []
    sign = "$" if receipt.currency == "USD" else "EUR "
    rows += [(total_word, f"{sign}{receipt.money(receipt.total)}", bold)]
    rows += [tax] if receipt.tax is not None and receipt.currency == "EUR" else []
    rows += [(receipt.paid_with, "", plain)]
    for left, right, face in rows:
        if not left:
            _dashes(canvas, y + 3, ink)
            y += 16
            continue
        canvas.text(_MARGIN, y, left, face, ink, anchor="lm")
        canvas.text(WIDTH - _MARGIN, y, right, face, ink, anchor="rm")
        y += _LINE
    if receipt.number:
        _bar_code(canvas, receipt.number, y + 4, ink)
        y += 62
    canvas.text(WIDTH / 2, y + 14, receipt.thanks, font(13.5, family=receipt.family), ink)
    return canvas.image


def _dashes(canvas: Canvas, y: float, ink: Color) -> None:
    for x in range(_MARGIN, WIDTH - _MARGIN - 3, 9):
        canvas.box(x, y - 0.6, 5, 1.2, ink)


def _bar_code(canvas: Canvas, number: str, top: float, ink: Color) -> None:
    digits, code = bars(number)
    left = (WIDTH - 95 * 2) / 2
    for at, dark in enumerate(code):
        if dark == "1":
            canvas.box(left + at * 2, top, 2, 40, ink)
    canvas.text(WIDTH / 2, top + 49, digits, font(12, family="DejaVu Sans Mono"), ink)
