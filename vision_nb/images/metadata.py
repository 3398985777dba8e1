"""Removal of metadata from an image file, without loss."""

from __future__ import annotations

import io

from vision_nb.errors import ImageError
from vision_nb.images.decode import decode_upright, open_image, orientation_of, upright_size
from vision_nb.images.encode import png_from_pixels
from vision_nb.images.formats import end_of_jpeg_scan, has_only_pixels, is_pixel_segment, sniff


def without_metadata(data: bytes, name: str) -> bytes:
    """Return an image file of the same pixels without metadata, such as the GPS position.

    A JPEG file keeps its data, its color profile and its orientation. Files of other types that have metadata become
    PNG files of upright sRGB pixels.

    Args:
        data: The file; data that cannot be read as an image is returned unchanged.
        name: The image's name in error messages.
    """
    mimetype = sniff(data)
    if mimetype is None or has_only_pixels(data, mimetype):
        return data
    try:
        with open_image(io.BytesIO(data), name) as (image, _):
            if mimetype != "image/jpeg":
                return png_from_pixels(decode_upright(image, upright_size(image), [], name))
            return _jpeg(data, orientation_of(image))
    except ImageError:
        return data  # the call reports the damage


def _jpeg(data: bytes, orientation: int) -> bytes:
    """Copy a JPEG file segment by segment, with its orientation and no other metadata."""
    copied, position = bytearray(data[:2]), 2
    if orientation != 1:
        tag = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + bytes([0, orientation]) + b"\0\0\0\0\0\0"
        copied += b"\xff\xe1" + (len(tag) + 8).to_bytes(2, "big") + b"Exif\0\0" + tag
    while data[position : position + 1] == b"\xff" and position + 1 < len(data):
        marker = data[position + 1]
        if marker == 0xD9:
            return bytes(copied + b"\xff\xd9")
        if marker == 0xFF:  # padding
            position += 1
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xDA:
            end = end_of_jpeg_scan(data, end)
        content = data[position + 4 : end]
        if is_pixel_segment(marker, content) or content.startswith(b"ICC_PROFILE\0"):
            copied += data[position:end]
        position = end
    return bytes(copied)
