"""Image types by their first bytes, and a check for metadata."""

from __future__ import annotations

SENDABLE = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
"""The image types that the providers accept (OpenAI, Images and vision guide, read 2026-11)."""

SNIFF_BYTES = 64
"""How many bytes `sniff` needs."""

_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
_PNG_PIXEL_CHUNKS = {
    b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"bKGD", b"pHYs",
}  # fmt: skip
_WEBP_PIXEL_CHUNKS = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP"}


def sniff(data: bytes) -> str | None:
    """Return the MIME type of an image by its first bytes, or None if unknown.

    >>> sniff(bytes.fromhex("89504e470d0a1a0a"))
    'image/png'
    """
    for magic, mimetype in (
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"II*\x00", "image/tiff"),
        (b"MM\x00*", "image/tiff"),
        (b"\x00\x00\x01\x00", "image/x-icon"),
        (b"\x00\x00\x00\x0cjP  \r\n", "image/jp2"),
    ):
        if data.startswith(magic):
            return mimetype
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[:2] == b"BM" and data[6:10] == bytes(4):
        return "image/bmp"
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in (b"avif", b"avis"):
            return "image/avif"
        if brand in _HEIF_BRANDS:
            return "image/heic"
    return None


def describe_data(data: bytes) -> str:
    """Describe what non-image data seems to be, for an error message."""
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not data:
        return "it is empty"
    for beginning, description in (
        (b"<!doctype html", "it is an HTML page"),
        (b"<html", "it is an HTML page"),
        (b"<svg", "it is an SVG drawing; render it to PNG first"),
        (b"%pdf", "it is a PDF document; render its pages to images first"),
        (b"{", "it is text that looks like JSON"),
    ):
        if head.startswith(beginning):
            return description
    if head.startswith(b"<") and b"<svg" in head:
        return "it is an SVG drawing; render it to PNG first"
    if head.startswith(b"<"):
        return "it is XML or HTML text"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in data[:512]):
        return "it is text"
    return "its first bytes do not belong to a known image format"


def has_only_pixels(data: bytes, mimetype: str) -> bool:
    """Return whether an image file contains nothing but pixels and a color profile.

    The types PNG, JPEG, WEBP and GIF are supported.

    Everything else (EXIF, XMP, GPS, comments, an embedded video, trailing bytes) can reveal where and by whom an
    image was taken. If a file cannot be parsed, the result is False.
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
        if marker == 0xFE or (0xE0 <= marker <= 0xEF and not _is_plain_application(marker, content)):
            return False
        position += 2 + length
        if marker == 0xDA:
            position = _end_of_scan(data, position)
    return False


def _is_plain_application(marker: int, content: bytes) -> bool:
    """Whether an application segment only describes how to show the pixels."""
    return (
        (marker == 0xE0 and content.startswith(b"JFIF\0") and len(content) == 14)
        or (marker == 0xE2 and content.startswith(b"ICC_PROFILE\0"))
        or (marker == 0xEE and content.startswith(b"Adobe") and len(content) == 12)
    )


def _end_of_scan(data: bytes, position: int) -> int:
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
