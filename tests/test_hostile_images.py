"""Files made to break a decoder are read, or are an ImageError; no other exception escapes."""

import functools
import io
import os
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.conftest import encoded, picture
from tests.drawn_files import plain, tiff_of, write_video
from vision_nb import ImageDocument, errors, load_images
from vision_nb.images.prepare import fit_within

KINDS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "ICO")


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, *, depth=8, color=2, body=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + body
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def flipped(data, seed):
    """The file with forty bytes changed, its magic bytes left as they are."""
    generator, damaged = np.random.default_rng(seed), bytearray(data)
    for position in generator.integers(16, len(data), 40):
        damaged[position] = generator.integers(0, 256)
    return bytes(damaged)


def corpus():
    made = {}
    for kind in KINDS:
        whole = encoded(picture(200, 150), kind)
        for part in (0.02, 0.3, 0.9, 0.99):
            made[f"{kind} cut at {part:.0%}"] = whole[: max(16, int(len(whole) * part))]
        for seed in range(3):
            made[f"{kind} damaged {seed}"] = flipped(whole, seed)
        made[f"{kind} begun twice"] = whole[:40] + whole
    made |= {
        "empty": b"",
        "one byte": b"\x89",
        "HTML": b"<!DOCTYPE html><html><img src=x onerror=alert(1)></html>",
        "SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        "PDF": b"%PDF-1.7 ...",
        "JSON": b'{"error": "no image"}',
        "zeros": bytes(1000),
        "PNG bomb": png(60_000, 60_000),
        "PNG wide bomb": png(2**31 - 1, 1),
        "PNG of no width": png(0, 10),
        "PNG of no height": png(10, 0),
        "PNG odd depth": png(10, 10, depth=7),
        "PNG odd color": png(10, 10, color=5),
        "PNG text bomb": png(10, 10, body=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100_000_000)))),
        "PNG profile bomb": png(10, 10, body=chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(50_000_000)))),
        "PNG no data": b"\x89PNG\r\n\x1a\n",
        "PNG endless chunk": b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 2**31 - 1) + b"IHDR",
        "JPEG only marks": b"\xff\xd8\xff" + b"\xff" * 200,
        "JPEG no end": b"\xff\xd8\xff\xe0" + b"\0\x10JFIF" + bytes(100),
        "GIF no frame": b"GIF89a" + bytes(10),
        "GIF endless blocks": b"GIF89a" + struct.pack("<HH", 10, 10) + b"\x00\0\0\x21\xfe" + b"\x01a" * 500,
        "GIF bomb": b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x00\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\x00;",
        "BMP bomb": b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 99999, 99999, 1, 24, 0, 0, 0, 0, 0, 0),
        "TIFF loop": b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 0) + struct.pack("<I", 8),
        "TIFF far directory": b"II*\0" + struct.pack("<I", 2**31),
        "WEBP of nothing": b"RIFF\x04\0\0\0WEBP",
        "WEBP odd chunk": b"RIFF\xff\xff\xff\x7fWEBPVP8 \xff\xff\xff\x7f",
        "AVIF of nothing": b"\0\0\0\x20ftypavif" + bytes(20),
        "HEIC of nothing": b"\0\0\0\x20ftypheic" + bytes(20),
        "JPEG 2000 of nothing": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40),
        "ICO of nothing": b"\0\0\x01\0" + bytes(4),
        "EXIF loop": encoded(picture(), "JPEG", exif=b"Exif\0\0II*\0" + struct.pack("<I", 8) + b"\xff\xff" + bytes(64)),
    }
    return made


CORPUS = corpus()


@pytest.mark.parametrize("data", CORPUS.values(), ids=CORPUS)
@pytest.mark.filterwarnings("ignore")  # Pillow warns about files that it can read in part
def test_a_hostile_file_is_read_or_is_an_image_error(data, tmp_path):
    path = tmp_path / "it.png"
    path.write_bytes(data)
    document = ImageDocument.of(path)
    for use in (lambda: document.size, document.prepare, document.to_pil, document.thumbnail, document._repr_html_):
        try:
            use()
        except errors.ImageError as error:
            assert 20 < len(str(error)) <= 300
            assert "it.png" in str(error)


@functools.cache
def files_with_parts():
    with tempfile.TemporaryDirectory() as folder:
        kinds = {"mp4": "mpeg4", "mkv": "mpeg4", "webm": "libvpx", "avi": "mpeg4"}
        videos = {kind: write_video(Path(folder) / f"v.{kind}", codec=codec) for kind, codec in kinds.items()}
        found = {kind: path.read_bytes() for kind, path in videos.items()}
    page = io.BytesIO()
    picture(200, 150).save(page, "PDF")
    return found | {"pdf": page.getvalue(), "tiff": tiff_of(*map(plain, ("red", "green", "blue")))}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["pdf", "tiff", "mp4", "mkv", "webm", "avi"])
@pytest.mark.filterwarnings("ignore")  # Pillow warns about files that it can read in part
def test_a_damaged_file_with_pages_or_frames_is_read_or_is_an_image_error(kind, seed, tmp_path):
    whole = files_with_parts()[kind]
    path = tmp_path / f"it.{kind}"
    path.write_bytes(flipped(whole, seed) if seed else whole[: len(whole) * 2 // 3])
    try:
        for document in load_images(path)[:3]:
            document.prepare()
            document.thumbnail()
    except errors.ImageError as error:
        assert 20 < len(str(error)) <= 300 and f"it.{kind}" in str(error)


def test_a_tiff_file_with_a_huge_page_or_endless_pages_is_an_image_error():
    entries = [(256, 60_000), (257, 60_000), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 1)]
    directory = struct.pack("<H", 9) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    small = directory.replace(struct.pack("<I", 60_000), struct.pack("<I", 1))
    second = 8 + len(small) + 4
    huge = b"II*\0" + struct.pack("<I", 8) + small + struct.pack("<I", second) + directory + bytes(4)
    documents = load_images(huge)
    assert len(documents) == 2
    with pytest.raises(errors.ImageTooLargeError, match="MAX_IMAGE_PIXELS"):
        documents[1].prepare()
    pages = b"".join(small + struct.pack("<I", 8 + (number + 1) * (len(small) + 4)) for number in range(10_100))
    with pytest.raises(errors.ImageTooLargeError, match="more than 10,000 pages"):
        load_images(b"II*\0" + struct.pack("<I", 8) + pages, pages=1)


@pytest.mark.parametrize("name", ["PNG bomb", "PNG wide bomb", "GIF bomb", "BMP bomb"])
def test_a_decompression_bomb_is_refused_by_its_header(name):
    document = ImageDocument.of(CORPUS[name])
    with pytest.raises(errors.ImageTooLargeError, match="MAX_IMAGE_PIXELS"):
        _ = document.size


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_truncated_file_that_needs_no_conversion_is_an_error(kind):
    whole = encoded(picture(200, 150), kind)
    with pytest.raises(errors.ImageError):
        ImageDocument.of(whole[:-200]).prepare()


@pytest.mark.parametrize(
    "data, words",
    [("HTML", "HTML page"), ("SVG", "render it to PNG"), ("PDF", "PDF"), ("empty", "empty"), ("JSON", "JSON")],
)
def test_the_error_says_what_a_file_is_instead_of_an_image(data, words, tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(CORPUS[data])
    with pytest.raises(errors.UnsupportedImageError, match=words):
        ImageDocument.of(path).prepare()


def test_missing_files_folders_and_invalid_paths_are_errors(tmp_path):
    with pytest.raises(errors.ImageNotFoundError, match="There is no file") as caught:
        ImageDocument.of(tmp_path / "none.jpg").prepare()
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(errors.UnsupportedImageError, match="is a folder"):
        _ = ImageDocument.of(tmp_path).size
    for path in ("a\0b.png", "x" * 5000):
        with pytest.raises(errors.ImageError):
            _ = ImageDocument.of(path).size


@pytest.mark.parametrize("url", ["ftp://example.org/a.png", "javascript://x", "gopher://x/y", "sftp://10.0.0.1/a.png"])
def test_urls_with_another_scheme_are_refused(url):
    with pytest.raises(errors.UnsupportedImageError, match="http or https"):
        ImageDocument.of(url)


def test_no_decoder_setting_of_the_user_is_changed():
    before = Image.MAX_IMAGE_PIXELS
    ImageDocument.of(encoded(picture())).prepare()
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.posix
@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="requires /proc")
def test_only_regular_files_are_read(tmp_path):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    link = tmp_path / "link.png"
    link.symlink_to(pipe)
    for path in (pipe, link, "/dev/zero"):
        for use in (lambda d: d.size, lambda d: d.read(), lambda d: d.prepare()):
            with pytest.raises(errors.UnsupportedImageError, match="not a regular file"):
                use(load_images(path)[0])
    for path in ("/proc/self/mem", "/proc/self/status"):
        with pytest.raises(errors.UnsupportedImageError, match="empty"):
            ImageDocument.of(path).prepare()


class Broken(io.BytesIO):
    def read(self, size=-1):
        raise OSError(5, "Input/output error")


def test_a_file_that_cannot_be_read_is_an_image_error(tmp_path, monkeypatch):
    path = tmp_path / "it.png"
    path.write_bytes(encoded(picture()))
    monkeypatch.setattr(Path, "open", lambda *arguments: Broken())
    for use in (lambda: ImageDocument.of(path).size, ImageDocument.of(path).read):
        with pytest.raises(errors.UnsupportedImageError, match="cannot be read"):
            use()


@pytest.mark.filterwarnings("ignore")  # Pillow's own warning about many pixels
def test_an_image_with_more_pixels_than_the_limit_is_not_decoded(monkeypatch):
    row = zlib.compress(bytes(13_001) * 1000)
    header = struct.pack(">IIBBBBB", 13_000, 13_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", row) + chunk(b"IEND", b"")
    document = ImageDocument.of(bomb)
    with monkeypatch.context() as context:
        context.setattr(Image.Image, "load", None)  # the header is enough for the size
        context.setattr(ImageFile.ImageFile, "load", None)
        assert document.size == (13_000, 13_000)
    shrunk = functools.partial(document.prepare, lambda size: fit_within(size, 2048))
    for use in (document.prepare, shrunk, document.to_pil, document.thumbnail):
        with pytest.raises(errors.ImageTooLargeError, match=r"13,000 x 13,000 pixels.*89,478,485.*MAX_IMAGE_PIXELS"):
            use()


@pytest.mark.filterwarnings("ignore")
def test_a_large_jpeg_is_decoded_at_a_smaller_size():
    large = ImageDocument.of(encoded(Image.new("L", (10_000, 9_000)), "JPEG"))
    assert large.prepare(lambda size: fit_within(size, 2048)).size == (2048, 1843)
    with pytest.raises(errors.ImageTooLargeError, match="MAX_IMAGE_PIXELS"):
        large.to_pil()
