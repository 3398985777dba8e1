"""The sample label: a bottle of an invented drink."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from tests.sample_drawing.canvas import SCALE, Canvas, Color, Point, font, gradient

_WIDTH, _HEIGHT = 900, 1040
_CREAM: Color = (251, 246, 232)
_GREEN: Color = (34, 78, 54)
_RED: Color = (172, 32, 54)
_INK: Color = (48, 42, 38)
_NUMBER = "200451700832"  # numbers that begin with 2 are not assigned to manufacturers
_LABEL = (620, 610)  # width and height

_ODD = ("0001101", "0011001", "0010011", "0111101", "0100011", "0110001", "0101111", "0111011", "0110111", "0001011")
_PARITY = ("LLLLLL", "LLGLGG", "LLGGLG", "LLGGGL", "LGLLGG", "LGGLLG", "LGGGLL", "LGLGLG", "LGLGGL", "LGGLGL")


def label() -> Image.Image:
    """Draw the bottle and its label, 900 x 1040 pixels."""
    wall = [(0.0, (232, 226, 214)), (0.86, (214, 205, 190)), (0.8601, (176, 142, 106)), (1.0, (148, 114, 80))]
    canvas = Canvas(gradient(_WIDTH, _HEIGHT, wall))
    _bottle(canvas)
    paper = Canvas(Image.new("RGB", (_LABEL[0] * SCALE, _LABEL[1] * SCALE), _CREAM))
    _front(paper)
    _small_print(paper)
    _wrap(canvas, paper.image, (_WIDTH - _LABEL[0]) / 2, 372)
    return canvas.final()


def bars(number: str) -> tuple[str, str]:
    """Compute an EAN-13 bar code.

    Args:
        number: The first twelve digits.

    Returns:
        All thirteen digits, and the code's modules: ``"1"`` is black, ``"0"`` is white.
    """
    check = -sum(int(digit) * (3 if at % 2 else 1) for at, digit in enumerate(number)) % 10
    digits = f"{number}{check}"
    code = "101"
    for digit, kind in zip(digits[1:7], _PARITY[int(digits[0])], strict=True):
        odd = _ODD[int(digit)]
        code += odd if kind == "L" else _inverted(odd)[::-1]
    code += "01010" + "".join(_inverted(_ODD[int(digit)]) for digit in digits[7:]) + "101"
    return digits, code


def _inverted(modules: str) -> str:
    return modules.translate(str.maketrans("01", "10"))


def _bottle(canvas: Canvas) -> None:
    shadow = Image.new("L", canvas.image.size, 0)
    ImageDraw.Draw(shadow).ellipse([v * SCALE for v in (100, 980, 850, 1030)], 84)
    shadow = shadow.filter(ImageFilter.GaussianBlur(8 * SCALE))
    canvas.image.paste((70, 46, 30), (0, 0), shadow)
    syrup = [
        (0.0, (60, 10, 22)),
        (0.05, (112, 18, 38)),
        (0.10, (206, 92, 104)),
        (0.14, (150, 28, 50)),
        (0.5, (136, 20, 44)),
        (0.85, (92, 12, 30)),
        (0.93, (140, 40, 58)),
        (1.0, (50, 8, 18)),
    ]
    body = gradient(680, _HEIGHT, syrup, across=True)
    large = Image.new("RGB", canvas.image.size)
    large.paste(body, (110 * SCALE, 0))
    canvas.fill(_outline(), large)
    # The neck is narrower, so its highlights and shadows are closer together.
    large.paste(gradient(190, 90, syrup, across=True), (355 * SCALE, 100 * SCALE))
    canvas.fill([(355, 112), (545, 112), (545, 172), (355, 172)], large)
    gold = [
        (0.0, (104, 78, 34)),
        (0.2, (246, 222, 158)),
        (0.45, (200, 160, 84)),
        (0.8, (150, 112, 50)),
        (1.0, (84, 60, 24)),
    ]
    canvas.paste(gradient(226, 92, gold, across=True), 337, 30, radius=10)
    for n in range(1, 22):
        canvas.box(337 + n * 226 / 22 - 1, 52, 2, 62, (150, 114, 52))
    canvas.box(337, 48, 226, 3, (132, 98, 44))


def _outline() -> list[Point]:
    turns = np.linspace(0, np.pi / 2, 40)
    shoulder = [(790 - 245 * (1 - np.sin(turn)), 340 - 172 * np.cos(turn)) for turn in turns]
    foot = [(750 + 40 * np.cos(turn), 968 + 40 * np.sin(turn)) for turn in turns]
    right = [(float(x), float(y)) for x, y in [*shoulder, *foot]]
    return [*right, *((_WIDTH - x, y) for x, y in reversed(right))]


def _wrap(canvas: Canvas, paper: Image.Image, left: float, top: float) -> None:
    # Seen from above, the middle of a label around a bottle is lowest.
    across = np.linspace(-1, 1, paper.width)
    drop = (np.sqrt(1 - (across * 0.9) ** 2) - np.sqrt(1 - 0.81)) * 16 * SCALE
    shade = [(0.0, (176, 168, 164)), (0.10, (238, 235, 232)), (0.2, (255, 255, 255)), (0.82, (255, 255, 255))]
    shade += [(0.92, (232, 228, 225)), (1.0, (168, 160, 156))]
    light = gradient(*_LABEL, shade, across=True)
    pixels = np.asarray(ImageChops.multiply(paper, light))
    height = paper.height + round(float(drop.max()))
    rows = np.arange(height)[:, None] - drop.round().astype(int)[None, :]
    wrapped = pixels[np.clip(rows, 0, paper.height - 1), np.arange(paper.width)[None, :]]
    mask = Image.fromarray(((rows >= 0) & (rows < paper.height)).astype(np.uint8) * 255)
    canvas.image.paste(Image.fromarray(wrapped), (round(left * SCALE), round(top * SCALE)), mask)


def _front(canvas: Canvas) -> None:
    middle, serif = _LABEL[0] / 2, "DejaVu Serif"
    for y in (12, _LABEL[1] - 17):
        canvas.box(0, y, _LABEL[0], 5, _GREEN)
    for y in (21, _LABEL[1] - 22):
        canvas.box(0, y, _LABEL[0], 1.4, _GREEN)
    _raspberry(canvas, middle, 76)
    canvas.text(middle, 142, "ORCHARD HILL", font(21, bold=True), _GREEN, spacing=7)
    canvas.text(middle, 200, "Raspberry", font(68, bold=True, family=serif), _RED)
    canvas.text(middle, 264, "Cordial", font(44, family=serif), _GREEN)
    canvas.text(middle, 309, "with a hint of garden mint", font(18, family=serif), _INK)
    canvas.box(middle - 150, 334, 300, 46, _GREEN, radius=23)
    canvas.text(middle, 357, "NET VOLUME 250 ml", font(22, bold=True), _CREAM)


def _raspberry(canvas: Canvas, x: float, y: float) -> None:
    for side in (-1, 1):
        leaf = [(x + side * 12, y - 18), (x + side * 44, y - 38), (x + side * 92, y - 24), (x + side * 52, y - 6)]
        canvas.polygon(leaf, (62, 120, 70))
        canvas.line([leaf[0], leaf[2]], (150, 190, 130), 1.5)
    for row, count in enumerate((4, 5, 4, 3, 2)):
        for n in range(count):
            right, down = x + (n - (count - 1) / 2) * 13, y - 16 + row * 11
            canvas.ellipse(right, down, 8.2, 8.2, (140, 22, 44))
            canvas.ellipse(right - 0.5, down - 0.7, 6.6, 6.6, (196, 44, 70))
            canvas.ellipse(right - 2, down - 2.4, 1.9, 1.9, (240, 168, 180))
    for end in (-24, -12, 0, 12, 24):
        canvas.polygon([(x - 6, y - 25), (x + 6, y - 25), (x + end, y - 14 - abs(end) / 4)], _GREEN)
    canvas.line([(x, y - 24), (x + 4, y - 42)], _GREEN, 4)


def _small_print(canvas: Canvas) -> None:
    small, mono = font(14.5), font(16, family="DejaVu Sans Mono")
    canvas.text(44, 416, "INGREDIENTS", font(14.5, bold=True), _GREEN, anchor="lm")
    lines = (
        "Water, raspberry juice (32 %), cane",
        "sugar, lemon juice, mint extract (0.4 %).",
        "Dilute 1 part with 6 parts of water.",
        "Once opened, keep cool for 14 days.",
    )
    for row, line in enumerate(lines):
        canvas.text(44, 440 + row * 22, line, small, _INK, anchor="lm")
    canvas.text(44, 543, "BATCH        L24-0917", mono, _INK, anchor="lm")
    canvas.text(44, 568, "BEST BEFORE  09/2026", mono, _INK, anchor="lm")
    _bar_code(canvas, 386, 418)


def _bar_code(canvas: Canvas, left: float, top: float) -> None:
    digits, code = bars(_NUMBER)
    module, black = 2, (20, 20, 20)
    canvas.box(left - 22, top - 10, 95 * module + 36, 162, (255, 255, 255), radius=4)
    for at, dark in enumerate(code):
        guard = at < 3 or at > 91 or 45 <= at <= 49
        if dark == "1":
            canvas.box(left + at * module, top, module, 128 if guard else 118, black)
    letters = font(14.5, family="DejaVu Sans Mono")
    canvas.text(left - 12, top + 132, digits[0], letters, black)
    canvas.text(left + 24 * module, top + 132, digits[1:7], letters, black, spacing=3.5)
    canvas.text(left + 71 * module, top + 132, digits[7:], letters, black, spacing=3.5)
