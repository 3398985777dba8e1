"""How fast a 24-megapixel photograph is made ready, against decoding it whole and scaling it down.

Run: python -m tests.benchmarks.prepare_speed
"""

import base64
import io
import statistics
import time

import numpy as np
from PIL import Image

from vision_nb.cost.image_rules import sent_size
from vision_nb.images.prepare import prepare

ROUNDS = 7


def photograph():
    """A JPEG of 6000 x 4000 pixels with the detail and noise of a camera's, of about 10 MB."""
    generator = np.random.default_rng(0)
    scene = Image.fromarray(generator.integers(0, 255, (60, 90, 3), dtype=np.uint8)).resize((6000, 4000), 3)
    noise = generator.normal(0, 8, (4000, 6000, 1)).astype(np.int16)
    pixels = np.clip(np.asarray(scene, dtype=np.int16) + noise, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def ours(data):
    # Not through ImageDocument, which remembers what it has made ready.
    return prepare(data, name="the photograph", fit=lambda size: sent_size(size, "gpt-4o", "high")).data


def decode_all_then_resize(data):
    image = Image.open(io.BytesIO(data)).convert("RGB").resize((1152, 768), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def median_seconds(function, data):
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        function(data)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main():
    data = photograph()
    mine, peer = median_seconds(ours, data), median_seconds(decode_all_then_resize, data)
    plain, sent = len(base64.b64encode(data)), len(base64.b64encode(ours(data)))
    print(f"prepare: {mine * 1000:.0f} ms, decode all then Lanczos: {peer * 1000:.0f} ms")
    print(f"ratio {peer / mine:.1f}x (wanted: at least 4x)")
    print(f"payload: {sent / 1e6:.2f} MB of base64 against {plain / 1e6:.2f} MB")
    print(f"ratio 1/{plain / sent:.0f} (wanted: under 1/20)")


if __name__ == "__main__":
    main()
