"""PDF documents, TIFF files and videos that tests draw."""

import io
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

COLORS = ("red", "green", "blue", "white", "black")


def pdf_of(*pages: tuple[Any, ...], catalog=b"", objects=()):
    """Return a PDF document; each page is (width, height, content) in points, and perhaps more dictionary entries."""
    kids, bodies = [], []
    number = 3 + len(objects)
    for width, height, content, *more in pages:
        kids.append(b"%d 0 R" % number)
        extra = more[0] if more else b""
        box = f"[0 0 {width} {height}]".encode()
        bodies.append(b"<</Type/Page/Parent 2 0 R/MediaBox%b/Contents %d 0 R%b>>" % (box, number + 1, extra))
        bodies.append(stream(content))
        number += 2
    head = [
        b"<</Type/Catalog/Pages 2 0 R%b>>" % catalog,
        b"<</Type/Pages/Count %d/Kids[%b]>>" % (len(kids), b" ".join(kids)),
    ]
    data, places = b"%PDF-1.7\n", []
    for index, body in enumerate([*head, *objects, *bodies], 1):
        places.append(len(data))
        data += b"%d 0 obj\n%b\nendobj\n" % (index, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n%b" % (len(places) + 1, table)
    return data + b"trailer<</Root 1 0 R/Size %d>>\nstartxref\n%d\n%%%%EOF\n" % (len(places) + 1, start)


def stream(content, entries=b""):
    return b"<<%b/Length %d>>stream\n%b\nendstream" % (entries, len(content), content)


def colored_pdf(count=3, size=(612, 792)):
    """Return a PDF document whose pages are red, green, blue, white and black in turn."""
    fills = (b"1 0 0", b"0 1 0", b"0 0 1", b"1 1 1", b"0 0 0")
    box = b"0 0 %d %d re f" % size
    return pdf_of(*[(*size, fills[number % 5] + b" rg " + box) for number in range(count)])


def nested_pdf(levels, fan=10):
    """Return a PDF document of a few hundred bytes whose page has ``fan ** levels`` parts."""
    objects = []
    for level in range(levels):
        inner = b"" if level == levels - 1 else b"/Resources<</XObject<</X %d 0 R>>>>" % (4 + level)
        content = b"/X Do " * fan if inner else b"0 0 9 9 re f"
        objects.append(stream(content, b"/Type/XObject/Subtype/Form/BBox[0 0 99 99]" + inner))
    return pdf_of((99, 99, b"/X Do", b"/Resources<</XObject<</X 3 0 R>>>>"), objects=objects)


def tiff_of(*images, **options):
    buffer = io.BytesIO()
    images[0].save(buffer, "TIFF", save_all=True, append_images=images[1:], **options)
    return buffer.getvalue()


def plain(color, size=(40, 30)):
    return Image.new("RGB", size, color)


def write_video(path, times=None, *, size=(64, 48), codec="mpeg4", rotation=None, shape=None, rate=10):
    """Write a video whose frame at ``t`` seconds has the gray value ``50 * t``, but red in the upper left quarter."""
    import av

    times = [number / rate for number in range(5 * rate)] if times is None else times
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=rate)
        video.width, video.height, video.pix_fmt = size[0], size[1], "yuv420p"
        clock = Fraction(1, rate if codec == "mpeg2video" else 1000)
        video.codec_context.time_base = clock
        if rotation is not None:
            video.set_display_rotation(rotation)
        if shape is not None:
            video.codec_context.sample_aspect_ratio = shape
        for time in times:
            pixels = np.full((size[1], size[0], 3), round(50 * time) % 256, np.uint8)
            pixels[: size[1] // 2, : size[0] // 2] = (255, 0, 0)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(time / clock), clock
            container.mux(video.encode(frame))
        container.mux(video.encode())
    return path


def pixel(document, x=3, y=3):
    """Return the color of a pixel as a tuple of red, green and blue."""
    return tuple(int(value) for value in np.asarray(document.to_pil().convert("RGB"))[y, x])


def gray(document):
    """Return the gray value of the lower right quarter of a frame."""
    width, height = document.size
    return pixel(document, width * 3 // 4, height * 3 // 4)[0]
