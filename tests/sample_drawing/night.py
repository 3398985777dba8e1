"""The sample night scene: an ancient arena lit in green, white and red."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tests.sample_drawing.people import figures

_WIDTH, _HEIGHT, _SCALE = 1024, 640, 2
_HORIZON = 496.0  # pixels from the top
_FOCUS, _DISTANCE, _EYE = 985.0, 2.55, 0.03  # the camera; lengths are in radii of the arena
_STORIES = (0.0, 0.20, 0.385, 0.565, 0.715)  # heights of the floors, and of the top
_BAYS = 15.0  # arches per radian

Floats = NDArray[np.float64]


@dataclass
class _Wall:
    """Where each pixel is on the arena's wall: angle, height, and how squarely the wall faces the camera."""

    angle: Floats
    height: Floats
    facing: Floats
    covered: NDArray[np.bool_]


def night_scene() -> Image.Image:
    """Draw the night scene, 1024 x 640 pixels."""
    random = np.random.default_rng(1912)
    columns, rows = np.meshgrid(np.arange(_WIDTH * _SCALE) / _SCALE, np.arange(_HEIGHT * _SCALE) / _SCALE)
    wall = _wall_at(columns, rows)
    lit = np.where(wall.covered[..., None], _masonry(wall, random), 0)
    pixels = np.where(wall.covered[..., None], lit, _sky(columns, rows, random))
    pixels = _with_ground(pixels, lit, wall, rows, random)
    pixels = _with_glow(pixels, lit)
    return figures(_image(pixels), horizon=_HORIZON, scale=_SCALE).reduce(_SCALE)


def _image(pixels: Floats) -> Image.Image:
    return Image.fromarray((np.clip(pixels, 0, 1) * 255).round().astype(np.uint8))


def _blurred(pixels: Floats, radius: float) -> Floats:
    return np.asarray(_image(pixels).filter(ImageFilter.GaussianBlur(radius * _SCALE))) / 255


def _mixed(where: Floats, stops: list[float], colors: list[tuple[float, float, float]]) -> Floats:
    return np.stack([np.interp(where, stops, channel) for channel in zip(*colors, strict=True)], axis=-1)


def _wall_at(columns: Floats, rows: Floats) -> _Wall:
    edge = np.arccos(1 / _DISTANCE)  # beyond this angle the wall turns away
    angles = np.linspace(-edge, edge, 4001)
    across = _FOCUS * np.sin(angles) / (_DISTANCE - np.cos(angles))
    offset = columns - _WIDTH / 2
    angle = np.interp(offset, across, angles)
    depth = _DISTANCE - np.cos(angle)
    height = _EYE + (_HORIZON - rows) * depth / _FOCUS
    facing = np.clip((_DISTANCE * np.cos(angle) - 1) / np.hypot(depth, np.sin(angle)), 0, 1)
    # The tall outer ring has fallen on the right, down a slope, as far as the second floor.
    bricks = np.floor((angle - 0.42) / 0.16 * 22) / 22
    top = _STORIES[4] + 0.012 - np.clip(bricks, 0, 1) * (_STORIES[4] - _STORIES[2])
    return _Wall(angle, height, facing, (height >= 0) & (height <= top) & (np.abs(offset) <= across[-1]))


def _sky(columns: Floats, rows: Floats, random: np.random.Generator) -> Floats:
    sky = _mixed(rows / _HORIZON, [0, 0.6, 1], [(0.012, 0.028, 0.10), (0.03, 0.075, 0.22), (0.11, 0.17, 0.36)])
    stars = np.zeros(rows.shape)
    for _ in range(230):
        x, y, size = random.uniform(3, _WIDTH - 3), random.uniform(3, 430), random.pareto(2.4)
        left, top = int(x * _SCALE), int(y * _SCALE)
        side = 2 if size < 1 else 3
        stars[top : top + side, left : left + side] = min(1, 0.35 + 0.45 * size) * (1 - y / 620)
    halo = _blurred(np.repeat(stars[..., None], 3, axis=2), 1.6) * 1.8
    moon = np.hypot(columns - 905, rows - 92)
    crescent = (moon < 21) & (np.hypot(columns - 896, rows - 87) > 20)
    shine = np.exp(-np.clip(moon - 14, 0, None) / 26) * 0.2
    sky = sky + (stars[..., None] + halo) * np.array([0.93, 0.96, 1.0]) + shine[..., None] * np.array([0.6, 0.7, 0.9])
    return np.where(crescent[..., None], np.array([0.99, 0.97, 0.88]), sky)


def _tint(angle: Floats) -> Floats:
    green, white, red = (0.05, 0.80, 0.28), (0.98, 0.95, 0.88), (0.96, 0.09, 0.11)
    return _mixed(angle, [-0.40, -0.27, 0.21, 0.34], [green, white, white, red])


def _masonry(wall: _Wall, random: np.random.Generator) -> Floats:
    light = np.full(wall.angle.shape, 0.9)
    bay = np.mod(wall.angle * _BAYS, 1) - 0.5  # from pillar to pillar, with the arch in the middle
    # What is visible through an arch shifts with the wall's thickness, more so where the wall turns away.
    shift = np.tan(np.arccos(np.clip(wall.facing, 0.25, 1))) * np.sign(wall.angle) * 0.12
    for floor, ceiling in pairwise(_STORIES):
        up = (wall.height - floor) / (ceiling - floor)
        shade = _attic(bay, up) if ceiling == _STORIES[-1] else _arcade(bay, up, shift, (ceiling - floor) * _BAYS)
        light = np.where((up >= 0) & (up < 1), shade, light)
    light = light * (0.42 + 0.58 * wall.facing) * _weather(wall, random)
    # Where the light is strongest, all colors are a little whiter.
    return np.asarray(_tint(wall.angle) * light[..., None] + np.clip(light - 0.8, 0, 1)[..., None] * 0.35)


def _arcade(bay: Floats, up: Floats, shift: Floats, aspect: float) -> Floats:
    spring, half = 0.47, 0.30

    def arch(middle: Floats | float, radius: float) -> NDArray[np.bool_]:
        square = (np.abs(bay - middle) < radius) & (up <= spring)
        return np.asarray(square | ((np.hypot(bay - middle, (up - spring) * aspect) < radius) & (up > spring)))

    shade = 0.98 - 0.42 * up  # lamps stand on every floor
    shade = np.where(arch(0.0, half + 0.045), shade * 1.14, shade)  # the frame around the arch
    within = arch(0.0, half) & (up > 0.035)
    beyond = within & arch(-shift, half - 0.01)
    shade = np.where(within, 0.66 - 0.34 * up, shade)
    shade = np.where(beyond, 0.06 + 0.36 * np.exp(-5.5 * np.clip(up, 0, 1)), shade)
    pillar = 0.5 - np.abs(bay)
    column = (pillar < 0.075) & (up < 0.84)
    shade = np.where(column, shade * (1.22 - 0.5 * (pillar / 0.075) ** 2), shade)
    return _cornice(shade, up)


def _attic(bay: Floats, up: Floats) -> Floats:
    shade = 0.96 - 0.38 * up
    window = (np.abs(bay) < 0.12) & (np.abs(up - 0.40) < 0.14)
    shade = np.where((np.abs(bay) < 0.16) & (np.abs(up - 0.40) < 0.18), shade * 1.13, shade)
    shade = np.where(window, 0.14, shade)
    pillar = 0.5 - np.abs(bay)
    shade = np.where((pillar < 0.06) & (up < 0.84), shade * 1.18, shade)
    return _cornice(shade, up)


def _cornice(shade: Floats, up: Floats) -> Floats:
    shade = np.where(up > 0.84, 0.62, shade)
    shade = np.where(up > 0.90, 0.30, shade)
    return np.where(up > 0.925, 0.92, shade)


def _weather(wall: _Wall, random: np.random.Generator) -> Floats:
    # Each block has its own shade.
    course, block = np.floor(wall.height * 95), wall.angle * 62
    block = np.floor(block + np.where(course % 2 == 0, 0.5, 0.0))
    shades = random.normal(1, 0.032, (97, 89))
    stone = shades[course.astype(int) % 97, block.astype(int) % 89]
    coarse = random.uniform(0, 255, (12, 18)).astype(np.uint8)
    size = (wall.angle.shape[1], wall.angle.shape[0])
    stains = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)) / 255
    return np.asarray(stone * (0.84 + 0.24 * stains))


def _with_ground(pixels: Floats, lit: Floats, wall: _Wall, rows: Floats, random: np.random.Generator) -> Floats:
    ground = (rows > _HORIZON) & ~wall.covered
    foot = _HORIZON + _EYE * _FOCUS / (_DISTANCE - np.cos(wall.angle))
    down = np.clip(rows - foot, 0, None)
    # Wet paving reflects the wall unevenly: the reflected row varies a little.
    ripple = np.asarray(random.normal(0, 0.35, (rows.shape[0], 1))) * np.sqrt(np.clip(rows - _HORIZON, 0, None))
    source = np.clip((foot - down * 1.9 + ripple) * _SCALE, 0, rows.shape[0] - 1).astype(int)
    soft = _blurred(lit * np.clip(wall.facing * 2.2, 0, 1)[..., None], 2.5)  # no hard edge where the wall turns away
    mirrored = soft[source, np.arange(rows.shape[1])[None, :]]
    pool = _blurred(mirrored * ground[..., None], 34)
    mirrored = 0.8 * _blurred(mirrored * ground[..., None], 2.2) + 0.45 * pool
    near = np.asarray(np.clip(down / (_HEIGHT - _HORIZON), 0, 1))[..., None]
    stone = np.array([0.036, 0.043, 0.085]) * (1.4 - 0.7 * near)
    return np.where(ground[..., None], stone + mirrored * (0.62 - 0.34 * near), pixels)


def _with_glow(pixels: Floats, light: Floats) -> Floats:
    pixels = np.clip(pixels, 0, 1)
    for radius, strength in ((9, 0.16), (64, 0.30)):
        pixels = 1 - (1 - pixels) * (1 - _blurred(light, radius) * strength)
    return pixels
