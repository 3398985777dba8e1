"""The sample street signs, at an invented crossing."""

from __future__ import annotations

import math

from PIL import Image, ImageFilter

from tests.sample_drawing.canvas import SCALE, Canvas, Color, Point, font, gradient, in_perspective

_WIDTH, _HEIGHT = 960, 720
_WHITE: Color = (250, 251, 250)
_GREEN: Color = (0, 98, 66)
_RED: Color = (186, 24, 32)
_GLASS: Color = (92, 122, 146)

# A house: left edge, width, eaves, ridge, wall, roof, door.
_House = tuple[float, float, float, float, Color, Color, Color]
_HOUSES: tuple[_House, ...] = (
    (-60, 206, 440, 372, (196, 120, 92), (104, 70, 66), (44, 72, 92)),
    (146, 168, 468, 396, (232, 214, 178), (122, 84, 72), (150, 52, 48)),
    (314, 196, 428, 356, (150, 170, 178), (82, 84, 98), (236, 226, 206)),
    (510, 166, 462, 392, (222, 188, 148), (116, 78, 66), (52, 88, 72)),
    (676, 190, 434, 360, (178, 100, 86), (92, 66, 66), (238, 230, 214)),
    (866, 170, 470, 398, (214, 220, 212), (96, 92, 100), (120, 60, 58)),
)
_STREET = 622.0  # where the houses end and the far sidewalk begins


def street_sign() -> Image.Image:
    """Draw the crossing, 960 x 720 pixels."""
    sky = [(0.0, (62, 132, 206)), (0.45, (142, 194, 234)), (0.85, (222, 236, 244)), (1.0, (222, 236, 244))]
    canvas = Canvas(gradient(_WIDTH, _HEIGHT, sky))
    for x, y, size in ((120, 96, 1.0), (790, 70, 1.25), (900, 262, 0.7), (60, 290, 0.6)):
        _cloud(canvas, x, y, size)
    for house in _HOUSES:
        _house(canvas, *house)
    for x, size in ((142, 0.8), (505, 0.7), (668, 0.95), (930, 1.1), (10, 1.0)):
        _tree(canvas, x, size)
    _road(canvas)
    # The background is slightly out of focus, as in a photograph.
    canvas = Canvas(canvas.image.filter(ImageFilter.GaussianBlur(0.9 * SCALE)))
    _signs(canvas)
    return canvas.final()


def _cloud(canvas: Canvas, x: float, y: float, size: float) -> None:
    puffs = ((-62, 8, 34), (-28, -10, 44), (16, -22, 50), (58, -2, 40), (90, 12, 26))
    for color, drop in (((226, 236, 245), 5), ((248, 251, 253), 0)):
        for right, down, radius in puffs:
            middle = y + (down + drop) * size
            canvas.ellipse(x + right * size, middle, radius * size, radius * 0.62 * size, color)


def _house(
    canvas: Canvas, left: float, width: float, eaves: float, ridge: float, wall: Color, roof: Color, door: Color
) -> None:
    dark = (int(wall[0] * 0.86), int(wall[1] * 0.86), int(wall[2] * 0.86))
    canvas.box(left + width * 0.68, ridge - 22, 24, 60, dark)
    canvas.box(left + width * 0.68 - 3, ridge - 27, 30, 8, roof)
    canvas.box(left, eaves, width, _STREET - eaves, wall)
    canvas.box(left + width - 10, eaves, 10, _STREET - eaves, dark)
    canvas.polygon([(left - 8, eaves), (left + 22, ridge), (left + width - 22, ridge), (left + width + 8, eaves)], roof)
    canvas.box(left - 6, eaves, width + 12, 6, (240, 238, 232))
    count = 3 if width > 180 else 2
    stories = (eaves + 26, eaves + 98)
    for row, top in enumerate(stories):
        for n in range(count):
            x = left + width * (n + 0.5) / count
            if row == 1 and n == count - 1:
                canvas.box(x - 19, top - 4, 38, _STREET - top + 4, (240, 238, 232))
                canvas.box(x - 15, top, 30, _STREET - top, door)
                canvas.box(x - 9, top + 7, 18, 15, _GLASS)
                continue
            canvas.box(x - 19, top - 4, 38, 52, (240, 238, 232))
            canvas.box(x - 15, top, 30, 44, _GLASS)
            canvas.polygon(
                [(x - 15, top + 22), (x + 5, top), (x + 15, top), (x + 15, top + 6), (x - 15, top + 36)],
                (134, 164, 186),
            )
            canvas.box(x - 1.5, top, 3, 44, (240, 238, 232))
            canvas.box(x - 15, top + 20.5, 30, 3, (240, 238, 232))
            canvas.box(x - 22, top + 48, 44, 5, dark)


def _tree(canvas: Canvas, x: float, size: float) -> None:
    canvas.box(x - 5 * size, _STREET - 90 * size, 10 * size, 94 * size, (92, 70, 54))
    crown = ((0, -130, 44), (-30, -108, 34), (32, -106, 34), (-12, -162, 32), (18, -150, 30), (0, -96, 34))
    for color, shift, share in (((52, 98, 58), 0, 1.0), ((74, 126, 70), -6, 0.78), ((104, 154, 84), -13, 0.42)):
        for right, up, radius in crown:
            canvas.ellipse(
                x + (right + shift) * size,
                _STREET + (up + shift) * size,
                radius * share * size,
                radius * share * size,
                color,
            )


def _road(canvas: Canvas) -> None:
    canvas.box(0, _STREET, _WIDTH, 18, (196, 192, 184))
    canvas.box(0, _STREET + 18, _WIDTH, 5, (164, 160, 154))
    canvas.box(0, _STREET + 23, _WIDTH, 75, (98, 101, 107))
    for n in range(-1, 9):
        x = n * 130.0
        canvas.polygon([(x, 657), (x + 62, 657), (x + 60, 662), (x - 3, 662)], (226, 222, 206))
    canvas.box(0, 692, _WIDTH, 5, (170, 166, 160))
    canvas.box(0, 697, _WIDTH, 23, (204, 200, 192))


def _signs(canvas: Canvas) -> None:
    steel = [(0.0, (96, 102, 108)), (0.35, (206, 211, 215)), (1.0, (104, 110, 116))]
    canvas.paste(gradient(16, 668, steel, across=True), 472, 52)
    canvas.box(469, 44, 22, 10, (120, 126, 132), radius=3)
    # Seen from below, both signs slope down towards the horizon.
    _blade(canvas, "LINDEN STREET", "1200", [(150, 62), (806, 96), (806, 178), (150, 170)])
    _blade(canvas, "4TH AVENUE", "300", [(206, 214), (760, 194), (760, 296), (206, 292)])
    canvas.box(466, 184, 28, 16, (120, 126, 132), radius=3)
    _stop(canvas, 480, 436, 116)


def _blade(canvas: Canvas, text: str, number: str, corners: list[Point]) -> None:
    width, height = 660, 108
    blade = Image.new("RGBA", (width * SCALE, height * SCALE), (0, 0, 0, 0))
    flat = Canvas(blade)
    flat.box(0, 0, width, height, (206, 212, 210), radius=12)
    flat.box(3, 3, width - 6, height - 6, _GREEN, radius=10)
    flat.box(8, 8, width - 16, height - 16, _WHITE, radius=8)
    flat.box(12, 12, width - 24, height - 24, _GREEN, radius=6)
    flat.text(width / 2 - 34, height / 2, text, font(56, bold=True), _WHITE)
    flat.text(width - 30, 38, number, font(26, bold=True), _WHITE, anchor="rm")
    flat.polygon(
        [
            (width - 78, 70),
            (width - 50, 70),
            (width - 50, 61),
            (width - 30, 75),
            (width - 50, 89),
            (width - 50, 80),
            (width - 78, 80),
        ],
        _WHITE,
    )
    seen = in_perspective(blade, corners, canvas.image.size)
    canvas.image.paste(seen.convert("RGB"), (0, 0), seen.getchannel("A"))


def _stop(canvas: Canvas, x: float, y: float, radius: float) -> None:
    for size, color in ((radius, (214, 216, 216)), (radius - 2, _WHITE), (radius - 9, _RED)):
        turns = [math.pi / 8 + n * math.pi / 4 for n in range(8)]
        canvas.polygon([(x + size * math.cos(turn), y + size * math.sin(turn)) for turn in turns], color)
    canvas.text(x, y, "STOP", font(58, bold=True), _WHITE)
    canvas.box(x - 72, y + radius + 4, 144, 42, _WHITE, radius=5)
    canvas.box(x - 69, y + radius + 7, 138, 36, _RED, radius=4)
    canvas.text(x, y + radius + 25, "ALL WAY", font(24, bold=True), _WHITE)
    for bolt in (y - radius + 26, y + radius - 26):
        canvas.ellipse(x, bolt, 4, 4, (206, 196, 196))
