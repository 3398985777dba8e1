"""The options of exported HTML pages, and their files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vision_nb.checks.numbers import plain_number
from vision_nb.errors import SettingsError
from vision_nb.paths import writable_path
from vision_nb.rendering.sanitize import replace_surrogates

_MAX_SIDE = 4_096


@dataclass(frozen=True)
class PageOptions:
    """The options of an exported page.

    Attributes:
        title: The page's title.
        image_side: The largest width and height of an image, in pixels.
        page_size: The number of images, or rows of an extraction, that are shown at once.

    Raises:
        SettingsError: The title is not text, or a number is too small or too large.
    """

    title: str
    image_side: int
    page_size: int

    def __post_init__(self) -> None:
        if not isinstance(self.title, str):
            raise SettingsError(f"title must be text, not {self.title!r:.80}.")
        for name, value, least, most in (
            ("image_side", self.image_side, 16, _MAX_SIDE),
            ("page_size", self.page_size, 1, 1_000_000),
        ):
            if type(plain_number(value)) is not int or not least <= value <= most:
                raise SettingsError(f"{name} must be an integer from {least} to {most:,}, not {value!r:.80}.")

    @property
    def image_bytes(self) -> int:
        """The largest file of an image in bytes; about twice what a photograph needs."""
        return max(2_000, self.image_side**2 // 4)


def write_page(html: Callable[[], str], path: str | Path | None) -> str | None:
    """Write a page to a file, or return it if there is no path.

    Args:
        html: Makes the page, which takes minutes if it has very many images.
        path: The file.

    Raises:
        SettingsError: The file cannot be written.
    """
    if path is None:
        return replace_surrogates(html())
    with writable_path(path, ".html", ".htm") as file:
        file.write_text(replace_surrogates(html()), encoding="utf-8")
    return None
