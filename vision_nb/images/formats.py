"""Image types by their first bytes, and a check for metadata."""

from __future__ import annotations

import io
import re
from pathlib import PurePosixPath
from typing import IO

from vision_nb.images.containers import AVIF_BRANDS, HEIF_BRANDS, video_format

SENDABLE = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
"""The image types that the providers accept (OpenAI, Images and vision guide, read 2026-11)."""

SNIFF_BYTES = 64
"""How many bytes `sniff` needs."""

_ENDS = {"image/png": b"IEND\xaeB`\x82", "image/jpeg": b"\xff\xd9", "image/gif": b";"}
_BMP_HEADERS = tuple(length.to_bytes(4, "little") for length in (12, 40, 52, 56, 64, 108, 124))
_PNG_PIXEL_CHUNKS = {
    b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD", b"pHYs",
}  # fmt: skip
_JPEG_PIXEL_MARKERS = {*range(0xC0, 0xC8), *range(0xC9, 0xD0), 0xDA, 0xDB, 0xDD}  # frames, tables and scans
_WEBP_PIXEL_CHUNKS = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH"}


_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"II+\x00", "image/tiff"),  # BigTIFF
    (b"MM\x00+", "image/tiff"),
    (b"\x00\x00\x00\x0cjP  \r\n", "image/jp2"),
    (b"\xff\x4f\xff\x51", "image/jp2"),  # without a container
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"qoif", "image/qoi"),
    (b"icns", "image/icns"),
    (b"DDS ", "image/vnd-ms.dds"),
    (b"\x01\xda\x00", "image/sgi"),
    (b"\x01\xda\x01", "image/sgi"),
    (b"\x59\xa6\x6a\x95", "image/x-sun-raster"),
    (b"\xb1\x68\xde\x3a", "image/x-dcx"),
    (b"/* XPM */", "image/x-xpixmap"),
    (b"P7 332", "image/x-xv-thumbnail"),
    (b"DanM", "image/x-msp"),
    (b"LinS", "image/x-msp"),
    (b"BLP1", "image/x-blp"),
    (b"BLP2", "image/x-blp"),
    (b"FTEX", "image/x-ftex"),
    (b"\x80\xe8\x00\x00", "image/x-pixar"),
    (b"Image type: ", "image/x-im"),
    (bytes(7) + b"\x04", "image/x-mcidas"),
)

PILLOW_FORMATS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/avif": "AVIF",
    "image/heic": "HEIF",
    "image/tiff": "TIFF",
    "image/jp2": "JPEG2000",
    "image/bmp": "BMP",
    "image/x-dib": "DIB",
    "image/x-icon": "ICO",
    "image/x-cursor": "CUR",
    "image/x-portable-anymap": "PPM",
    "image/vnd.adobe.photoshop": "PSD",
    "image/qoi": "QOI",
    "image/icns": "ICNS",
    "image/vnd-ms.dds": "DDS",
    "image/sgi": "SGI",
    "image/x-tga": "TGA",
    "image/x-pcx": "PCX",
    "image/x-dcx": "DCX",
    "image/x-sun-raster": "SUN",
    "image/x-xpixmap": "XPM",
    "image/x-xbitmap": "XBM",
    "image/x-xv-thumbnail": "XVTHUMB",
    "image/x-msp": "MSP",
    "image/x-blp": "BLP",
    "image/x-ftex": "FTEX",
    "image/x-fli": "FLI",
    "image/x-gimp-brush": "GBR",
    "image/x-pixar": "PIXAR",
    "image/x-im": "IM",
    "image/x-mcidas": "MCIDAS",
}
"""The one reader of Pillow's that may open a type.

Pillow's other readers are not used: EPS runs Ghostscript, WMF and EMF run code of Windows; FITS and IPTC decompress or
open embedded data without a limit; FPX and MIC need another package; BUFR, GRIB, HDF5 and MPEG read no pixels; and
SPIDER, PCD and IMT have no signature in their first bytes.
"""


def format_name(mimetype: str) -> str:
    """Return the name of an image type for messages.

    >>> format_name("image/x-icon")
    'ICO'
    """
    return "HEIC" if mimetype == "image/heic" else PILLOW_FORMATS[mimetype]


_ENDINGS = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
    ".tif": "image/tiff", ".tiff": "image/tiff", ".bmp": "image/bmp", ".avif": "image/avif", ".heic": "image/heic",
}  # fmt: skip


def type_of_name(name: str) -> str | None:
    """Return the MIME type that the ending of a file name suggests, or None.

    >>> type_of_name("photos/Colosseum.JPG")
    'image/jpeg'
    """
    return _ENDINGS.get(PurePosixPath(name).suffix.lower())


def sniff(data: bytes) -> str | None:
    """Return the MIME type of an image by its first bytes, or None if unknown.

    >>> sniff(bytes.fromhex("89504e470d0a1a0a"))
    'image/png'
    """
    for magic, mimetype in _MAGIC:
        if data.startswith(magic):
            return mimetype
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in AVIF_BRANDS or (brand in HEIF_BRANDS and b"avif" in data[16:SNIFF_BYTES]):
            return "image/avif"
        return "image/heic" if brand in HEIF_BRANDS else None
    if data[:1] == b"P" and data[1:2] in b"123456f" and data[2:3].isspace():
        return "image/x-portable-anymap"
    if data[:2] == b"BM" and (data[6:10] == bytes(4) or data[14:18] in _BMP_HEADERS):
        return "image/bmp"
    if re.match(rb"\s*#define[ \t]+\S+_width[ \t]+\d", data):
        return "image/x-xbitmap"
    return _sniff_header(data) if len(data) >= 18 else "image/x-icon" if data[:4] == b"\0\0\1\0" else None


def _sniff_header(data: bytes) -> str | None:
    """Recognize a type without magic bytes by the values that its header can have."""
    if data[:4] in _BMP_HEADERS and data[12:14] == b"\1\0":
        return "image/x-dib"
    if data[:2] == b"\0\0" and data[2:4] in (b"\1\0", b"\2\0") and (data[2] == 1 or data[4:6] != bytes(2)):
        return "image/x-icon" if data[2] == 1 else "image/x-cursor"
    if data[0] == 10 and data[1] in (0, 2, 3, 5) and data[2] <= 1 and data[3] in (1, 2, 4, 8):
        return "image/x-pcx"
    if data[4:6] in (b"\x11\xaf", b"\x12\xaf") and data[14:16] in (b"\0\0", b"\3\0"):
        return "image/x-fli"
    if data[20:24] == b"GIMP" and data[4:8] in (b"\0\0\0\1", b"\0\0\0\2"):
        return "image/x-gimp-brush"
    is_indexed = data[1] == 1 and data[2] in (1, 9) and data[7] in (15, 16, 24, 32) and data[16] == 8
    is_direct = data[1] == 0 and data[2] in (2, 3, 10, 11) and data[16] in (1, 8, 15, 16, 24, 32)
    has_size = data[12:14] != bytes(2) and data[14:16] != bytes(2)
    if (is_indexed or is_direct) and has_size and data[17] & 0xC0 == 0:
        return "image/x-tga"
    return None


def lacks_end(file: IO[bytes], mimetype: str) -> bool:
    """Return whether an image file ends without its end marker; it is then probably cut off.

    Args:
        file: A seekable binary file.
        mimetype: Its type. Only PNG, JPEG, GIF and WebP are checked.
    """
    size = file.seek(0, io.SEEK_END)
    if mimetype == "image/webp":
        file.seek(4)
        return int.from_bytes(file.read(4), "little") + 8 > size
    file.seek(max(0, size - SNIFF_BYTES))
    tail = file.read(SNIFF_BYTES).rstrip(b"\0\r\n")
    return mimetype in _ENDS and not tail.endswith(_ENDS[mimetype])


def is_web_page(data: bytes | bytearray) -> bool:
    """Return whether data is an HTML page, such as a form to sign in.

    >>> is_web_page(b"<!DOCTYPE html><html>")
    True
    """
    return bytes(data[:512]).lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html"))


TEXT = "it is text"
"""What `describe_data` says about text of no known format."""


def describe_data(data: bytes) -> str:
    """Describe what non-image data seems to be, for an error message."""
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not data:
        return "it is empty"
    if is_web_page(data):
        return "it is an HTML page"
    for beginning, description in (
        (b"%pdf", "it is a PDF document; vn.load_images loads its pages"),
        (b"%!ps", "it is an EPS or PostScript drawing, which only Ghostscript can read; convert it to PNG first"),
        (b"\xc5\xd0\xd3\xc6", "it is an EPS drawing, which only Ghostscript can read; convert it to PNG first"),
        (b"\xd7\xcd\xc6\x9a", "it is a WMF drawing, which only Windows can read; convert it to PNG first"),
        (b"simple  =", "it is a FITS file; read it with astropy, and pass the array"),
        (b"{", "it is text that looks like JSON"),
    ):
        if head.startswith(beginning):
            return description
    if head.startswith(b"<"):
        return "it is an SVG drawing; render it to PNG first" if b"<svg" in head else "it is XML or HTML text"
    if video_format(data) is not None:
        return "it is a video; vn.load_images loads frames of it"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in data[:512]):
        return TEXT
    return "its first bytes do not belong to a known image format"


def has_only_pixels(data: bytes, mimetype: str) -> bool:
    """Return whether an image file contains nothing but pixels.

    The types PNG, JPEG, WEBP and GIF are supported.

    Everything else (EXIF, XMP, GPS, comments, an embedded video, trailing bytes, the texts of a color profile) can
    reveal where and by whom an image was taken, or on which device. If a file cannot be parsed, the result is False.
    """
    reader = {"image/png": _png, "image/jpeg": _jpeg, "image/webp": _webp, "image/gif": _gif}.get(mimetype)
    return reader is not None and reader(data)


def _png(data: bytes) -> bool:
    position = 8
    while position + 12 <= len(data):
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if kind not in _PNG_PIXEL_CHUNKS:
            return False
        position += 12 + length
    return position == len(data)


def _jpeg(data: bytes) -> bool:
    """Check every segment: metadata can be anywhere, even between scans."""
    position = 2
    while data[position : position + 1] == b"\xff" and position + 1 < len(data):
        marker = data[position + 1]
        if marker == 0xD9:
            return position + 2 == len(data)
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        content = data[position + 4 : position + 2 + length]
        if not is_pixel_segment(marker, content):
            return False
        position += 2 + length
        if marker == 0xDA:
            position = end_of_jpeg_scan(data, position)
    return False


def is_pixel_segment(marker: int, content: bytes) -> bool:
    """Return whether a segment of a JPEG has pixels, or says how to show them: not a thumbnail or other metadata."""
    is_jfif = marker == 0xE0 and content.startswith(b"JFIF\0") and len(content) == 14
    is_adobe = marker == 0xEE and content.startswith(b"Adobe") and len(content) == 12
    return marker in _JPEG_PIXEL_MARKERS or is_jfif or is_adobe


def end_of_jpeg_scan(data: bytes, position: int) -> int:
    """Return the position of the next marker after a scan.

    Within a scan, FF is followed by 00 or by a restart marker.
    """
    while 0 <= (position := data.find(b"\xff", position)) < len(data) - 1:
        if data[position + 1] != 0 and not 0xD0 <= data[position + 1] <= 0xD7:
            return position
        position += 2
    return len(data)


def _webp(data: bytes) -> bool:
    position = 12
    while position + 8 <= len(data):
        kind, length = (
            data[position : position + 4],
            int.from_bytes(data[position + 4 : position + 8], "little"),
        )
        if kind not in _WEBP_PIXEL_CHUNKS:
            return False
        position += 8 + length + length % 2
    return position == len(data)


def _gif(data: bytes) -> bool:
    position = 13 + (3 << (data[10] & 7) + 1 if len(data) > 10 and data[10] & 0x80 else 0)
    while position < len(data):
        introducer = data[position]
        if introducer == 0x3B:
            return position == len(data) - 1
        if introducer == 0x21 and data[position + 1 : position + 2] == b"\xf9":
            position = _skip_blocks(data, position + 2)
        elif introducer == 0x2C and position + 9 < len(data):
            flags = data[position + 9]
            position = _skip_blocks(data, position + 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0))
        else:
            return False
    return False


def _skip_blocks(data: bytes, position: int) -> int:
    while position < len(data) and data[position]:
        position += 1 + data[position]
    return position + 1
