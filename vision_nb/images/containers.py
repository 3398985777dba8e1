"""Files that contain several images, by their first bytes: PDF documents and videos."""

from __future__ import annotations

from pathlib import PurePosixPath

HEAD_BYTES = 1024
"""How many bytes `container_kind` needs."""

AVIF_BRANDS = frozenset({b"avif", b"avis"})
HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
_AUDIO_BRANDS = {b"M4A ", b"M4B ", b"M4P "}
_VIDEO_MAGIC = (
    (b"\x1aE\xdf\xa3", "matroska"),  # WebM too
    (b"OggS", "ogg"),
    (b"FLV\x01", "flv"),
    (b"\x00\x00\x01\xba", "mpeg"),
    (b"0&\xb2u\x8ef\xcf\x11", "asf"),  # WMV
)
_QUICKTIME_ATOMS = (b"moov", b"mdat", b"wide", b"free", b"skip")
_ENDINGS = {
    "pdf": (".pdf",),
    "video": tuple(".mp4 .m4v .mov .webm .mkv .avi .mpg .mpeg .ts .m2ts .ogv .flv .wmv .3gp".split()),
}


def container_kind(head: bytes) -> str | None:
    """Return "pdf" or "video" by a file's first bytes, or None for another file.

    >>> container_kind(b"%PDF-1.7")
    'pdf'
    """
    if head.lstrip(b"\xef\xbb\xbf \t\r\n\0").startswith(b"%PDF-"):
        return "pdf"
    return None if video_format(head) is None else "video"


def video_format(head: bytes) -> str | None:
    """Return FFmpeg's name of a video's format by its first bytes, or None if it is not a video."""
    for magic, name in _VIDEO_MAGIC:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[4:8] == b"ftyp":
        return None if head[8:12] in AVIF_BRANDS | HEIF_BRANDS | _AUDIO_BRANDS else "mov"
    if head[4:8] in _QUICKTIME_ATOMS:
        return "mov"
    is_stream = len(head) > 752 and all(head[position] == 0x47 for position in range(0, 753, 188))
    return "mpegts" if is_stream else None


def kind_of_name(name: str) -> str | None:
    """Return "pdf" or "video" by the ending of a file name, or None for another file.

    >>> kind_of_name("talks/2026.MP4")
    'video'
    """
    ending = PurePosixPath(name).suffix.lower()
    return next((kind for kind, endings in _ENDINGS.items() if ending in endings), None)
