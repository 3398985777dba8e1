"""Text and drawings are sent sharp and in full color, and photographs as small JPEG files."""

import functools
import io

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from tests.conftest import encoded
from tests.drawn_pages import page_of_text, photograph, psnr, ssim
from vision_nb.images import encode
from vision_nb.images.prepare import prepare

PAGE, SIZE = (2000, 1500), (512, 384)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
HALVED_COLOR, FULL_COLOR = "4:2:0", "4:4:4"


def ready(data, **options):
    return prepare(data, name="it", **{"fit": lambda size: SIZE, **options})


def opened(prepared):
    image = Image.open(io.BytesIO(prepared.data))
    image.load()
    return image


def color_of(image):
    """Return how many pixels of a JPEG share a color."""
    return {(1, 1): FULL_COLOR, (2, 2): HALVED_COLOR}[image.layer[0][1:3]]


@functools.cache
def text():
    return page_of_text(*PAGE)


@functools.cache
def photo():
    return photograph(*PAGE)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "lossless WEBP", "lossless WEBP with a profile"])
def test_small_text_is_sent_in_full_color_and_close_to_the_exact_scaling(kind):
    page = text()
    webp = {"lossless": True, "method": 0, "icc_profile": PROFILE if "profile" in kind else None}
    data = encoded(page, "WEBP", **webp) if "WEBP" in kind else encoded(page, kind)
    prepared = ready(data)
    result, reference = opened(prepared), page.resize(SIZE, Image.Resampling.LANCZOS)
    assert prepared.mimetype == "image/jpeg" and color_of(result) == FULL_COLOR
    assert psnr(result, reference) > 33 and ssim(result, reference) > 0.99


@pytest.mark.parametrize("invert", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_text_stays_sharp_in_every_mode_and_on_dark_backgrounds(mode, invert):
    page = ImageOps.invert(text()) if invert else text()
    page = page.convert(mode)
    result = opened(ready(encoded(page)))
    reference = page.convert("L" if mode == "L" else "RGB").resize(SIZE, Image.Resampling.LANCZOS)
    assert psnr(result, reference) > 33 and ssim(result, reference) > 0.99


def test_a_drawing_that_is_smaller_as_png_is_sent_without_any_loss():
    blocks = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    drawing = Image.fromarray(blocks).resize((2000, 1500), Image.Resampling.NEAREST)
    prepared = ready(encoded(drawing.convert("RGBA")), fit=lambda size: size)
    jpeg = encoded(drawing, "JPEG", quality=92, subsampling=0)
    assert prepared.mimetype == "image/png" and 100_000 < len(prepared.data) < len(jpeg)
    assert psnr(opened(prepared), drawing) == float("inf")


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_photograph_is_sent_as_a_jpeg_of_halved_color(kind):
    prepared = ready(encoded(photo(), kind))
    assert prepared.mimetype == "image/jpeg" and color_of(opened(prepared)) == HALVED_COLOR
    smooth = photo().resize(SIZE, Image.Resampling.HAMMING, reducing_gap=2.0)
    assert prepared.data == encoded(smooth, "JPEG", quality=90)


@pytest.mark.parametrize("make", [lambda: photo(), lambda: text()], ids=["photograph", "text"])
def test_a_png_that_would_be_too_large_is_not_encoded_but_for_a_sample(make, monkeypatch):
    encodings, save = [], encode.save

    def recorded(pixels, kind, **options):
        encodings.append((kind, pixels.size))
        return save(pixels, kind, **options)

    monkeypatch.setattr(encode, "save", recorded)
    assert ready(encoded(make())).mimetype == "image/jpeg"
    assert sorted(encodings) == [("JPEG", SIZE), ("PNG", (256, 256))]


def test_text_from_a_jpeg_is_sent_as_a_photograph():
    prepared = ready(encoded(text(), "JPEG", quality=90))
    assert color_of(opened(prepared)) == HALVED_COLOR


def test_a_photograph_that_was_denoised_stays_a_png_if_that_is_small():
    gradient = np.add.outer(np.arange(1500) * 11 % 256, np.arange(2000) * 7 % 256) // 2
    prepared = ready(encoded(Image.fromarray(gradient.astype(np.uint8))))
    assert prepared.mimetype == "image/png"


def test_text_that_is_too_large_in_full_color_is_sent_with_halved_color():
    full = ready(encoded(text()))
    prepared = ready(encoded(text()), max_bytes=len(full.data) - 1)
    assert len(prepared.data) < len(full.data) and color_of(opened(prepared)) == HALVED_COLOR


@pytest.mark.parametrize("size", [(1, 1), (1, 9000), (9000, 1), (3, 700), (257, 256), (300, 300)])
def test_images_of_any_shape_are_prepared(size):
    for mode in ("L", "RGB", "RGBA", "LA"):
        image = Image.new(mode, size, 200 if mode == "L" else None)
        half = (max(1, size[0] // 2), max(1, size[1] // 2))
        assert ready(encoded(image), fit=lambda _, half=half: half).size == half
