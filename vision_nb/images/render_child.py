"""Script of the child process: render pages of PDF documents and frames of videos.

It is run as a script and imports nothing from vision_nb. A damaged or hostile file can crash pdfium and FFmpeg, or keep
them busy forever, and neither can be stopped in a thread: the parent process ends this one instead.

A request on standard input is a line of JSON, followed by the file if its ``bytes`` is not None. The answer is a line
of JSON, followed by an image. The process ends when its standard input closes.
"""

from __future__ import annotations

import io
import json
import math
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import av
    from PIL import Image

MAX_MEMORY = 3 << 30  # bytes of address space; not limited on Windows
_QUALITY = 92  # of JPEG
_EARLY_END = 2.0  # seconds that a video may be shorter than its header says
_STRETCH = (0.2, 5.0)  # pixel aspect ratios outside this range are ignored

Answer = tuple[dict[str, Any], bytes]


class FileError(Exception):
    """A file cannot be used.

    Args:
        kind: What the parent maps to an error: "password", "damaged", "large", "empty", "missing" or "unsupported".
        details: What the library or this script says about it.
    """

    def __init__(self, kind: str, details: str = "") -> None:
        super().__init__(details)
        self.kind = kind


class Pdf:
    """A PDF document."""

    def __init__(self, file: IO[bytes], request: dict[str, Any]) -> None:
        import pypdfium2

        self._max_pixels = request["max_pixels"]
        with self._reading():
            self._document = pypdfium2.PdfDocument(file, password=request["password"])
            if self._document.get_formtype():
                self._document.init_forms()  # otherwise the values of form fields are not drawn

    @contextmanager
    def _reading(self) -> Iterator[None]:
        import pypdfium2

        try:
            yield
        except pypdfium2.PdfiumError as error:
            is_locked = error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD
            raise FileError("password" if is_locked else "damaged", str(error)) from error

    def close(self) -> None:
        """Close the document."""
        self._document.close()

    def describe(self, request: dict[str, Any]) -> Answer:
        """Return the number of pages."""
        return {"count": len(self._document)}, b""

    def size(self, request: dict[str, Any]) -> Answer:
        """Return the size in pixels at which a page would be rendered."""
        number, dpi = request["number"], request["dpi"]
        if number > len(self._document):
            raise FileError("missing", f"its last page is {len(self._document)}")
        with self._reading():
            points = self._document.get_page_size(number - 1)
        if not all(0 < side < math.inf for side in points):
            raise FileError("damaged", "a page has no size")
        width, height = (math.ceil(side * _scale(dpi)) for side in points)
        if width * height > self._max_pixels:
            raise FileError("large", f"{width:,} x {height:,} pixels at {dpi:g} dpi")
        return {"size": [width, height]}, b""

    def render(self, request: dict[str, Any]) -> Answer:
        """Render a page."""
        self.size(request)
        with self._reading():
            page = self._document[request["number"] - 1]
            image = page.render(scale=_scale(request["dpi"])).to_pil().convert("RGB")
        return _encoded(image)


def _scale(dpi: float) -> float:
    """Return pixels per point; a little fewer, because 792 * 150 / 72 is more than 1650 in binary."""
    return dpi / 72 * (1 - 1e-6)


class Video:
    """A video."""

    def __init__(self, file: IO[bytes], request: dict[str, Any]) -> None:
        import av

        self._max_pixels = request["max_pixels"]
        with self._reading():
            # The format is given: FFmpeg would also read playlists, which name other files and addresses.
            options = {"max_pixels": str(self._max_pixels)}
            self._container = av.open(file, "r", format=request["format"], options=options)
            pictures = av.stream.Disposition.attached_pic
            streams = [one for one in self._container.streams.video if not one.disposition & pictures]
            if not streams:
                raise FileError("unsupported", "it has no video track")
            self._stream = streams[0]
            codec = self._stream.codec_context
            self._check_size(codec.width, codec.height)
            codec.thread_count = 2
            self._first = next(self._container.decode(self._stream), None)
        if self._first is None:
            raise FileError("damaged", "it has no frames")
        self._start = self._first.time or 0.0

    @contextmanager
    def _reading(self) -> Iterator[None]:
        import av

        try:
            yield
        except (av.error.FFmpegError, ValueError, OSError) as error:
            raise FileError("damaged", str(getattr(error, "strerror", None) or error)) from error

    def close(self) -> None:
        """Close the video."""
        self._container.close()

    def describe(self, request: dict[str, Any]) -> Answer:
        """Return the duration in seconds and the size of the first frame in pixels."""
        return {"seconds": self._duration(), "size": self._image(self._first).size}, b""

    def render(self, request: dict[str, Any]) -> Answer:
        """Return the frame that is shown at a time."""
        with self._reading():
            return _encoded(self._image(self._frame_at(request["seconds"])), is_photo=True)

    def _duration(self) -> float:
        stream = self._stream
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if self._container.duration:
            return float(self._container.duration / 1_000_000)
        end = 0.0
        with self._reading():
            self._container.seek(0)
            for packet in self._container.demux(stream):
                if packet.pts is not None and packet.time_base is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        return max(end - self._start, 0.0)

    def _frame_at(self, seconds: float) -> Any:
        target = self._start + seconds + 0.0005  # times are rounded to milliseconds
        for start in (target, None):  # some formats cannot find a frame before a time
            self._seek(start)
            shown, end = None, 0.0
            for packet in self._container.demux():
                if packet.pts is not None and packet.time_base is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream.index != self._stream.index:
                    continue
                for frame in cast("list[av.VideoFrame]", packet.decode()):
                    if frame.time is not None and frame.time > target:
                        if shown is not None:
                            return shown
                        break
                    shown = frame
                else:
                    continue
                break
            else:
                if shown is not None:
                    if end + _EARLY_END < target:
                        raise FileError("damaged", f"it ends after {end - self._start:.1f} s")
                    return shown
        return self._first

    def _seek(self, start: float | None) -> None:
        """Go to the last key frame before a time, or to the beginning."""
        base = self._stream.time_base or Fraction(1, 1000)
        if start is None:
            self._container.seek(0)
        else:
            self._container.seek(max(0, int(start / base)), stream=self._stream)

    def _image(self, frame: Any) -> Image.Image:
        self._check_size(frame.width, frame.height)
        image: Image.Image = frame.to_image()
        shape = float(self._stream.sample_aspect_ratio or 1)
        if shape != 1 and _STRETCH[0] <= shape <= _STRETCH[1]:
            self._check_size(round(image.width * shape), image.height)
            image = image.resize((max(1, round(image.width * shape)), image.height))
        return image.rotate(frame.rotation, expand=True) if frame.rotation else image

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            raise FileError("large", f"{width:,} x {height:,} pixels")


READERS: dict[str, type[Pdf] | type[Video]] = {"pdf": Pdf, "video": Video}


def _encoded(image: Image.Image, *, is_photo: bool = False) -> Answer:
    """Encode an image: as PNG, unless it takes more than a byte per pixel, as a scan or photograph does."""
    if not is_photo and _is_gray(image):
        image = image.convert("L")  # a third of the time and size
    data = b"" if is_photo else _saved(image, "PNG", compress_level=4)
    if is_photo or len(data) > max(image.width * image.height, 100_000):
        return {"size": image.size, "type": "image/jpeg"}, _saved(image, "JPEG", quality=_QUALITY, subsampling=0)
    return {"size": image.size, "type": "image/png"}, data


def _is_gray(image: Image.Image) -> bool:
    from PIL import ImageChops

    red, green, blue = image.split()
    return not (ImageChops.difference(red, green).getbbox() or ImageChops.difference(red, blue).getbbox())


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def answer(request: dict[str, Any], data: bytes) -> Answer:
    """Return the answer to a request."""
    try:
        with io.BytesIO(data) if request["path"] is None else Path(request["path"]).open("rb") as file:
            reader = READERS[request["kind"]](file, request)
            try:
                found: Answer = getattr(reader, request["do"])(request)
            finally:
                reader.close()
            return found
    except FileError as failure:
        return {"failure": failure.kind, "details": str(failure)}, b""
    except MemoryError:
        return {"failure": "memory", "details": ""}, b""
    except Exception as error:  # the libraries raise almost any exception for a damaged file
        return {"failure": "damaged", "details": f"{type(error).__name__}: {error}"}, b""


def limit_memory() -> None:
    """Limit the memory of this process, where the system can."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))


def main() -> None:
    """Answer requests until the standard input closes."""
    limit_memory()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is not an answer
    requests = sys.stdin.buffer
    data = b""
    while line := requests.readline():
        request = json.loads(line)
        if request["bytes"] is not None:
            data = requests.read(request["bytes"])
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, request["limit"])  # ends the process if the parent no longer can
        fields, image = answer(request, data)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(json.dumps({**fields, "bytes": len(image)}).encode() + b"\n" + image)
        answers.flush()


if __name__ == "__main__":
    main()
