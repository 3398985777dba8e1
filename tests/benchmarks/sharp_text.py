"""How well small text survives preparation, and how long screenshots, photographs and arrays take.

Limits: a page of small text that is scaled to a quarter has a PSNR of at least 33 dB and an SSIM of at least 0.99
against Lanczos scaling; a 12-megapixel array is prepared within 1.3 times of scaling and encoding it directly.

Run: python -m tests.benchmarks.sharp_text
"""

import io
import statistics
import time
from functools import partial

import numpy as np
from PIL import Image

import vision_nb as vn
from tests.drawn_pages import page_of_text, photograph, psnr, ssim
from vision_nb.images.prepare import prepare

ROUNDS = 7
SIZE = (1024, 768)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def prepared(data):
    return prepare(data, name="the page", fit=lambda size: SIZE)


def measure_quality():
    print("letters  PSNR  SSIM    kB   | scaled as a photograph: PSNR  SSIM    kB")
    for letters in (14, 18, 22, 36):
        page = page_of_text(letters=letters)
        reference = page.resize(SIZE, Image.Resampling.LANCZOS)
        plain = encoded(page.resize(SIZE, Image.Resampling.HAMMING, reducing_gap=2.0), "JPEG", quality=90)
        values = []
        for data in (prepared(encoded(page, "PNG", compress_level=1)).data, plain):
            image = Image.open(io.BytesIO(data))
            values += [f"{psnr(image, reference):5.1f}  {ssim(image, reference):.4f}  {len(data) // 1000:4}"]
        print(f"{letters:7}  {values[0]} |                          {values[1]}")
    print("(wanted: at least 33 dB and 0.99)")


def directly(array, resampling, **options):
    """Scale and encode an array with Pillow alone, with the filter and the encoder that ours chooses."""
    pixels = Image.fromarray(array).resize(SIZE, resampling, reducing_gap=2.0)
    return encoded(pixels, "JPEG", **options)


def ours(array):
    return vn.ImageDocument(image=array).prepare(lambda size: SIZE)


def medians(*functions):
    """Return the median CPU time of functions in seconds; they use a single thread."""
    times = [[] for _ in functions]
    for _ in range(ROUNDS):
        for function, measured in zip(functions, times, strict=True):
            started = time.thread_time()
            function()
            measured.append(time.thread_time() - started)
    return [statistics.median(measured) for measured in times]


def measure_arrays():
    lanczos, hamming = Image.Resampling.LANCZOS, Image.Resampling.HAMMING
    for name, image, resampling, options in (
        ("photograph", photograph(), hamming, {"quality": 90}),
        ("page of text", page_of_text(), lanczos, {"quality": 92, "subsampling": 0}),
    ):
        array = np.asarray(image)
        mine, peer = medians(partial(ours, array), partial(directly, array, resampling, **options))
        print(f"array of a {name}: {mine * 1000:.0f} ms, directly {peer * 1000:.0f} ms")
        print(f"ratio {mine / peer:.2f} (wanted: at most 1.3)")


if __name__ == "__main__":
    measure_quality()
    measure_arrays()
