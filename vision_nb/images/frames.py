"""Frames of videos."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vision_nb.errors import CorruptImageError, ImageNotFoundError, ImageTooLargeError
from vision_nb.images.content import ImageContent
from vision_nb.images.parts import MAX_PARTS, Part, PartContent
from vision_nb.images.prepare import Header, Prepared
from vision_nb.images.renderer import rendered, renderer, size_in

DEFAULT_FRAMES = 8
"""How many frames of a video are loaded if the caller does not choose."""


@dataclass(frozen=True)
class VideoFrame(Part):
    """The frame that a video shows at a time.

    Args:
        milliseconds: The time from the beginning of the video.
    """

    milliseconds: int

    @property
    def fragment(self) -> str:
        """The time in seconds, such as "t=12.0"."""
        return f"t={self.milliseconds / 1000}"

    def header(self, content: ImageContent, name: str) -> Header:
        """Return the size of the first frame, and JPEG as the type."""
        fields, _ = renderer().ask(content, "video", "describe", name=name)
        return Header("image/jpeg", size_in(fields))

    def render(self, content: ImageContent, name: str) -> Prepared:
        """Decode the frame, and encode it as JPEG."""
        return rendered(*renderer().ask(content, "video", "render", name=name, seconds=self.milliseconds / 1000))


def video_frames(
    content: ImageContent, *, every_s: float | None, frames: int | None, times: Iterable[float] = ()
) -> list[PartContent]:
    """Return frames of a video: at given times, at equal distances from the beginning, or evenly spread.

    Args:
        content: The file.
        every_s: The seconds from one frame to the next, from the beginning.
        frames: How many frames, each from the middle of an equal part of the video; 8 if nothing is chosen.
        times: Seconds from the beginning.

    Raises:
        ImageError: The file cannot be read, is shorter than a time, or has too many frames.
    """
    fields, _ = renderer().ask(content, "video", "describe", name=content.label)
    seconds, header = float(fields["seconds"]), Header("image/jpeg", size_in(fields))
    chosen = list(times)
    if late := [time for time in chosen if time > seconds]:
        raise ImageNotFoundError(f"There is no frame at {late[0]:g} s in {content.label}: it is {seconds:.1f} s long.")
    if not chosen:
        if not 0 < seconds < 1e9:
            raise CorruptImageError(f"{content.label} is a damaged video (its length is {seconds:g} s): save it again.")
        count = seconds / every_s if every_s is not None else frames or DEFAULT_FRAMES
        if count > MAX_PARTS:
            raise ImageTooLargeError(
                f"{content.label} is {seconds:,.0f} s long, which would give more than {MAX_PARTS:,} frames: choose a "
                "larger every_s=, or frames=20."
            )
        if every_s is not None:
            chosen = [number * every_s for number in range(int(count) + 1) if number * every_s < seconds] or [0.0]
        else:
            chosen = [(number + 0.5) * seconds / count for number in range(int(count))]
    return [PartContent(content, VideoFrame(round(time * 1000)), header) for time in chosen]
