"""A prepared image is upright, sRGB, resized, and contains nothing but pixels."""

import base64
import functools
import io
import re
import struct
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from tests.conftest import encoded, picture
from vision_nb import ImageDocument, errors
from vision_nb.cost.image_rules import sent_size, view_of
from vision_nb.cost.rule_table import RULES
from vision_nb.images.formats import has_only_pixels
from vision_nb.images.prepare import fit_within, prepare
from vision_nb.images.worker_document import worker_document


def ready(data, **options):
    return prepare(data, name="it", **options)


def opened(prepared):
    return Image.open(io.BytesIO(prepared.data))


def exif_with_place(orientation=1):
    exif = picture().getexif()
    exif.update({0x010F: "SecretCamera", 0x0112: orientation})
    exif.get_ifd(0x8825)[1] = "N"
    return exif


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_file_without_metadata_that_fits_is_sent_unchanged(kind):
    data = encoded(picture(), kind)
    assert ready(data).data is data


def test_a_prepared_image_carries_its_original_size():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    small = ready(encoded(picture(60, 40), "JPEG", exif=exif), fit=lambda size: fit_within(size, 30))
    assert small.size == (20, 30) and small.original_size == (40, 60)


def text_chunk(**options):
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "SecretCamera", **options)
    return encoded(picture(), pnginfo=info)


def international_text_chunk():
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "SecretCamera", zip=True)
    return encoded(picture(), pnginfo=info)


def profiled(kind):
    return encoded(picture(), kind, icc_profile=wide_profile(b"sRGB of SecretCamera"))


def gif_with_xmp():
    data = encoded(picture(), "GIF")
    return data[:-1] + b"!\xff\x0bXMP DataXMP\x0cSecretCamera\0" + data[-1:]


def two_pictures():
    second = picture(seed=1)
    return encoded(picture(), "MPO", save_all=True, append_images=[second], exif=exif_with_place())


def trailing(kind):
    return encoded(picture(), kind) + b"SecretCamera film with a place in it"


def with_segment(marker, body, *, before_end=False):
    """A JPEG with one more segment: after its beginning, or between its last scan and its end."""
    data, segment = encoded(picture(), "JPEG"), b"\xff" + bytes([marker]) + (len(body) + 2).to_bytes(2, "big") + body
    return data[:-2] + segment + data[-2:] if before_end else data[:2] + segment + data[2:]


CARRIERS = {
    "JPEG late comment": lambda: with_segment(0xFE, b"SecretCamera", before_end=True),
    "JPEG late EXIF": lambda: with_segment(0xE1, b"Exif\0\0SecretCamera", before_end=True),
    "JPEG odd APP0": lambda: with_segment(0xE0, b"SecretCamera"),
    "JPEG odd APP14": lambda: with_segment(0xEE, b"SecretCamera"),
    "JPEG late DNL": lambda: with_segment(0xDC, b"SecretCamera", before_end=True),
    "JPEG EXIF": lambda: encoded(picture(), "JPEG", exif=exif_with_place()),
    "JPEG EXIF with an invalid orientation": lambda: encoded(picture(), "JPEG", exif=exif_with_place(orientation=300)),
    "JPEG thumbnail": lambda: with_segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\2\2SecretCamera"),  # of 2 x 2 pixels
    "PNG EXIF": lambda: encoded(picture(), exif=exif_with_place()),
    "WEBP EXIF": lambda: encoded(picture(), "WEBP", exif=exif_with_place()),
    "JPEG XMP": lambda: encoded(picture(), "JPEG", xmp=b"<x:xmpmeta>SecretCamera</x:xmpmeta>"),
    "WEBP XMP": lambda: encoded(picture(), "WEBP", xmp=b"<x:xmpmeta>SecretCamera</x:xmpmeta>"),
    "JPEG comment": lambda: encoded(picture(), "JPEG", comment="SecretCamera"),
    "GIF comment": lambda: encoded(picture(), "GIF", comment="SecretCamera"),
    "PNG text": text_chunk,
    "JPEG film": lambda: trailing("JPEG"),
    "PNG trailing": lambda: trailing("PNG"),
    "GIF trailing": lambda: trailing("GIF"),
    "WEBP trailing": lambda: trailing("WEBP"),
    "TIFF": lambda: encoded(picture(), "TIFF", tiffinfo={270: "SecretCamera"}),
    "HEIC": lambda: heic(exif=exif_with_place().tobytes()),
    "HEIC XMP": lambda: heic(xmp=b"<x:xmpmeta>SecretCamera</x:xmpmeta>"),
    "AVIF EXIF": lambda: encoded(picture(), "AVIF", exif=exif_with_place()),
    "AVIF XMP": lambda: encoded(picture(), "AVIF", xmp=b"<x:xmpmeta>SecretCamera</x:xmpmeta>"),
    "TIFF XMP": lambda: encoded(picture(), "TIFF", tiffinfo={700: b"SecretCamera"}),
    "TIFF IPTC": lambda: encoded(picture(), "TIFF", tiffinfo={33723: b"SecretCamera"}),
    "JPEG IPTC": lambda: with_segment(0xED, b"Photoshop 3.0\08BIM\4\4\0\0\0\0\0\x11\x1c\2\x50\0\x0cSecretCamera\0"),
    "JPEG profile": lambda: profiled("JPEG"),
    "PNG profile": lambda: profiled("PNG"),
    "WEBP profile": lambda: profiled("WEBP"),
    "MPO": two_pictures,
    "PNG compressed text": lambda: text_chunk(zip=True),
    "PNG international text": international_text_chunk,
    "GIF XMP": gif_with_xmp,
}


def heic(**options):
    import pillow_heif

    pillow_heif.register_heif_opener()
    return encoded(picture(), "HEIF", **options)


def with_inflated(data):
    """Return bytes followed by the content of each zlib stream in them, as PNG files have."""
    parts = [data]
    for found in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", data):
        with suppress(zlib.error):
            parts.append(zlib.decompressobj().decompress(data[found.start() :]))
    return b"".join(parts)


@pytest.mark.parametrize("make", CARRIERS.values(), ids=CARRIERS)
@pytest.mark.parametrize("side", [64, 32], ids=["fits", "scaled"])
def test_no_metadata_leaves_the_machine(make, side):
    data = make()
    assert b"SecretCamera" in with_inflated(data)
    prepared = ready(data, fit=lambda size: fit_within(size, side))
    assert b"SecretCamera" not in with_inflated(prepared.data)
    assert not opened(prepared).getexif()
    assert has_only_pixels(prepared.data, prepared.mimetype)


@pytest.mark.parametrize("kind", [kind for kind in CARRIERS if kind != "JPEG profile"])  # colors need the profile
def test_an_image_in_memory_is_given_to_a_worker_without_metadata(kind):
    document = worker_document(ImageDocument(image=CARRIERS[kind]()))
    assert b"SecretCamera" not in with_inflated(document.read()) and document.size == (64, 48)


ORIENTED: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95},
    "TIFF": {},
    "TIFF LZW": {"compression": "tiff_lzw"},
    "TIFF JPEG": {"compression": "jpeg", "quality": 95},
    "PNG": {},
    "WEBP": {"quality": 95},
    "HEIF": {"quality": 95},
    "AVIF": {"quality": 95},
}


def oriented(kind, orientation):
    """A file whose pixels are stored in an orientation; the viewer sees 60 x 90 pixels with red at top left."""
    upright = Image.new("RGB", (60, 90), "white")
    upright.paste((220, 20, 20), (0, 0, 30, 45))
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # how a camera stores what a viewer shows
    stored = upright.transpose(Image.Transpose(turns[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    if kind.startswith("TIFF"):
        return encoded(stored, "TIFF", tiffinfo={0x0112: orientation}, **ORIENTED[kind])
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    return encoded(stored, kind, exif=exif.tobytes(), **ORIENTED[kind])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ORIENTED)
def test_every_orientation_is_applied_once_in_every_format(kind, orientation):
    data = oriented(kind, orientation)
    document = ImageDocument(image=data)
    assert document.size == (60, 90)
    small = Image.open(io.BytesIO(base64.b64decode(document.thumbnail(45).partition(",")[2])))
    half = opened(ready(data, fit=lambda size: fit_within(size, 45)))
    for result in (opened(ready(data)), half, document.to_pil(), small):
        width, height = result.size
        assert width * 3 == height * 2
        corners: dict[tuple[int, int], Any] = {
            (x, y): result.getpixel((x * width // 4, y * height // 4)) for x in (1, 3) for y in (1, 3)
        }
        assert {place for place, (_, green, _) in corners.items() if green < 90} == {(1, 1)}


def late_exif(data):
    """Move the EXIF data of a PNG behind its pixels."""
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    return data[:start] + data[end:-12] + data[start:end] + data[-12:]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_png_may_follow_its_pixels(orientation):
    data = late_exif(oriented("PNG", orientation))
    assert data.index(b"IDAT") < data.index(b"eXIf")
    assert ImageDocument(image=data).size == (60, 90)
    assert opened(ready(data)).convert("RGB").getpixel((5, 5))[1] < 90


def wide_profile(name=b"Display P3"):
    """A wide-gamut RGB profile as phones embed one, built from the Display P3 primaries."""

    def s15(value):
        return struct.pack(">i", round(value * 65536))

    def tag(kind, body):
        return kind + bytes(4) + body

    primaries = {  # Display P3 adapted to D50, as in the ICC registry
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    gamma = tag(b"curv", struct.pack(">IH", 1, round(2.2 * 256))) + bytes(2)
    name += b"\0"
    tags = {
        b"desc": tag(b"desc", struct.pack(">I", len(name)) + name + bytes(78)),
        b"cprt": tag(b"text", b"none\0"),
        b"wtpt": tag(b"XYZ ", s15(0.9642) + s15(1.0) + s15(0.8249)),
        **{key: tag(b"XYZ ", b"".join(map(s15, value))) for key, value in primaries.items()},
        b"rTRC": gamma,
        b"gTRC": gamma,
        b"bTRC": gamma,
    }
    offset, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for key, value in tags.items():
        value += bytes(-len(value) % 4)
        table += key + struct.pack(">II", offset + len(body), len(value))
        body += value
    rest = struct.pack(">I", len(tags)) + table + body
    head = struct.pack(">I4sI4s4s4s", 128 + len(rest), b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + s15(0.9642) + s15(1.0) + s15(0.8249)
    return head + bytes(128 - len(head)) + rest


@pytest.mark.parametrize("kind, mode", [("PNG", "RGB"), ("PNG", "RGBA"), ("JPEG", "RGB"), ("PNG", "P")])
def test_wide_gamut_colors_are_converted_to_srgb(kind, mode):
    rose = Image.new("RGB", (8, 8), (200, 100, 100)).convert(mode)
    prepared = ready(encoded(rose, kind, icc_profile=wide_profile()))
    red, green, blue = opened(prepared).convert("RGB").getpixel((4, 4))
    assert red > 207 and green < 98 and blue < 101  # the same rose lies further out in sRGB
    assert "icc_profile" not in opened(prepared).info


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_srgb_profile_is_removed_without_changing_the_colors(kind):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rose = Image.new("RGB", (8, 8), (200, 100, 100))
    prepared = ready(encoded(rose, kind, icc_profile=profile))
    assert "icc_profile" not in opened(prepared).info and not prepared.notes
    color = opened(prepared).convert("RGB").getpixel((4, 4))
    assert all(abs(value - sent) <= 3 for value, sent in zip((200, 100, 100), color, strict=True))


def test_an_image_with_a_broken_color_profile_is_sent_with_a_note():
    prepared = ready(encoded(picture(), icc_profile=b"garbage" * 40))
    assert "color profile cannot be read" in prepared.notes[0]


def test_cmyk_is_converted_to_rgb():
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red, green, blue = opened(ready(encoded(cmyk, "JPEG"))).getpixel((4, 4))
    assert red > 200 and green < 60 and blue < 60


def test_sixteen_bits_and_floats_keep_their_brightness():
    sixteen = Image.fromarray(np.full((8, 8), 257 * 100, np.uint16))
    assert opened(ready(encoded(sixteen))).getpixel((0, 0)) == 100
    unit = Image.fromarray(np.full((8, 8), 0.5, np.float32))
    assert opened(ready(encoded(unit, "TIFF"))).getpixel((0, 0)) == 128
    measured = Image.fromarray(np.linspace(-40, 60, 64, dtype=np.float32).reshape(8, 8))
    assert opened(ready(encoded(measured, "TIFF"))).getextrema() == (0, 255)


def hidden(mode):
    """Transparent pixels over a hidden color, in a mode that can hold both."""
    clear = Image.new("RGBA", (64, 64), (13, 200, 77, 0))
    if mode == "LA":
        return encoded(clear.convert("LA"))
    if mode == "P":
        indexed = Image.new("P", (64, 64), 1)
        indexed.putpalette([0, 0, 0, 13, 200, 77])
        return encoded(indexed, transparency=1)
    if mode == "RGB":
        return encoded(clear.convert("RGB"), transparency=(13, 200, 77))
    if mode == "1":
        return encoded(Image.new("1", (64, 64)), transparency=0)
    if mode == "I;16":
        return encoded(Image.new("I;16", (64, 64), 300), transparency=300)
    if mode == "GIF":
        indexed = Image.new("P", (64, 64), 1)
        indexed.putpalette([0, 0, 0, 13, 200, 77])
        return encoded(indexed, "GIF", transparency=1)
    return encoded(clear, mode, **({"exact": True, "lossless": True} if mode == "WEBP" else {}))


@pytest.mark.parametrize("mode", ["PNG", "LA", "P", "RGB", "1", "I;16", "GIF", "WEBP", "TIFF"])
@pytest.mark.parametrize("side", [64, 32], ids=["fits", "scaled"])
def test_transparent_pixels_are_sent_as_opaque_white(mode, side):
    prepared = ready(hidden(mode), fit=lambda size: fit_within(size, side))
    result = opened(prepared)
    assert "transparency" not in result.info and result.mode in ("L", "RGB")
    assert set(result.convert("RGB").get_flattened_data()) == {(255, 255, 255)}
    assert any("transparent parts" in note for note in prepared.notes)


def test_an_opaque_alpha_channel_is_removed_without_a_note():
    prepared = ready(encoded(picture(mode="RGBA")))
    assert opened(prepared).mode == "RGB" and prepared.notes == ()


def test_a_transparent_photo_is_sent_as_jpeg_on_white():
    noise = np.random.default_rng(0).integers(0, 255, (900, 900, 4), dtype=np.uint8)
    noise[:, :450, 3] = 0
    prepared = ready(encoded(Image.fromarray(noise)), fit=lambda _: (800, 800))
    assert prepared.mimetype == "image/jpeg"
    assert opened(prepared).getpixel((50, 400)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["WEBP", "GIF"])
def test_a_type_that_the_server_does_not_take_is_converted_with_a_note(kind):
    prepared = ready(encoded(picture(), kind), types=frozenset({"image/png", "image/jpeg"}))
    assert prepared.mimetype in ("image/png", "image/jpeg")
    assert opened(prepared).format == prepared.mimetype.removeprefix("image/").upper()
    assert prepared.notes == (f"converted from {kind}",)


def test_only_the_first_frame_of_an_animation_is_sent_with_a_note():
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue", "green")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        prepared = ready(data)
        assert "only the first of its 3 frames is sent" in prepared.notes, kind
        assert opened(prepared).convert("RGB").getpixel((5, 5))[0] > 200


def gradient(bits, *, steps=256):
    """A row from black to the brightest value of a camera with this many bits, as 16-bit values."""
    return np.tile(np.linspace(0, (1 << bits) - 1, steps).round().astype(np.uint16), (8, 1))


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_gray_values_of_fewer_than_16_bits_keep_their_brightness(kind, bits):
    prepared = ready(encoded(Image.fromarray(gradient(bits)), kind))
    pixels = np.asarray(opened(prepared))
    assert pixels[0, 0] == 0 and pixels[0, -1] == 255 and abs(int(pixels[0, 128]) - 128) <= 1
    assert any(f"use {bits} of 16 bits" in note for note in prepared.notes) == (bits < 16)


@pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
def test_an_array_of_12_bit_values_keeps_its_brightness_with_a_warning(order):
    with pytest.warns(UserWarning, match="use 12 of 16 bits"):
        document = ImageDocument.of(gradient(12).astype(f"{order}u2"))
    assert document.to_pil().getextrema() == (0, 255)


def test_colors_of_12_bits_in_a_16_bit_file_keep_their_brightness():
    values = np.repeat(gradient(12, steps=64)[:, :, None], 3, axis=2).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 64, 8, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    prepared = ready(data)
    assert opened(prepared).convert("L").getextrema() == (0, 255)
    assert any("use 12 of 16 bits" in note for note in prepared.notes)


def big_tiff():
    return encoded(picture(), "TIFF", big_tiff=True)


OTHER_FORMATS = {
    **{
        kind: functools.partial(encoded, picture(), kind)
        for kind in ("BMP", "TIFF", "ICO", "JPEG2000", "AVIF", "PPM", "TGA", "QOI", "ICNS", "DDS", "SGI", "PCX", "DIB")
    },
    "BigTIFF": big_tiff,
    "PGM": lambda: encoded(picture(mode="L"), "PPM"),
    "PBM": lambda: encoded(picture(mode="1"), "PPM"),
    "XBM": lambda: encoded(picture(mode="1"), "XBM"),
    "MSP": lambda: encoded(picture(mode="1"), "MSP"),
    "TGA gray, run lengths": lambda: encoded(picture(mode="L"), "TGA", compression="tga_rle"),
    "TGA palette": lambda: encoded(picture(mode="P"), "TGA"),
    "JPEG 2000 codestream": lambda: encoded(picture(), "JPEG2000", no_jp2=True),
    "PSD": lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 48, 64, 8, 3) + bytes(14) + bytes(3 * 64 * 48),
}


@pytest.mark.parametrize("make", OTHER_FORMATS.values(), ids=OTHER_FORMATS)
def test_every_format_that_pillow_reads_safely_is_converted(make):
    prepared = ready(make())
    assert prepared.mimetype in ("image/png", "image/jpeg") and prepared.notes[0].startswith("converted from")
    assert min(opened(prepared).size) > 1


@pytest.mark.parametrize(
    "data, words",
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "only Ghostscript"),
        (b"\xd7\xcd\xc6\x9a" + bytes(40), "only Windows"),
        (b"SIMPLE  =                    T" + b" " * 200, "astropy"),
    ],
    ids=["EPS", "WMF", "FITS"],
)
def test_a_format_without_a_safe_reader_is_refused_with_the_reason(data, words):
    with pytest.raises(errors.UnsupportedImageError, match=words):
        ready(data)


def test_heic_without_its_package_is_an_error_that_names_the_extra(monkeypatch):
    import sys

    data = heic()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(errors.UnsupportedImageError, match=r"vision-nb\[heic\]"):
        ready(data)


@pytest.mark.slow
def test_the_size_limit_applies_after_resizing():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (3200, 3200, 3), dtype=np.uint8))
    data = encoded(noise, compress_level=0)
    assert len(data) > 30_000_000
    assert len(ready(data, fit=lambda size: fit_within(size, 2048)).data) < 20_000_000
    with pytest.raises(errors.ImageTooLargeError, match="MB at 3200 x 3200 pixels, but the limit is 1 MB"):
        ready(data, max_bytes=1_000_000)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 900), st.integers(1, 900), st.sampled_from(sorted(RULES)), st.sampled_from(["auto", "low", "high"])
)
def test_preparing_never_enlarges_an_image_nor_changes_its_token_count(width, height, model, detail):
    data = encoded(Image.new("L", (width, height), 128))
    prepared = ready(data, fit=lambda size: sent_size(size, model, detail))
    assert prepared.size[0] <= width and prepared.size[1] <= height
    before, after = view_of((width, height), model, detail), view_of(prepared.size, model, detail)
    assert (before and before.tokens) == (after and after.tokens)
