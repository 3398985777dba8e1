"""Images are prepared on all cores, with a limit on the memory for decoding."""

import io
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.forms import FORMS, ask
from vision_nb.images.content import MemoryContent
from vision_nb.images.decode import load_pixels, open_image
from vision_nb.images.decode_limit import DecodeLimit


class MeetingContent(MemoryContent):
    """An image that can be prepared only while another one is being prepared."""

    def __init__(self, barrier, seed):
        super().__init__(encoded(picture(seed=seed)), f"{seed}.png")
        self.barrier = barrier

    def fingerprint(self):
        self.barrier.wait(timeout=60)
        return super().fingerprint()


@pytest.mark.parametrize("form", FORMS)
async def test_two_images_of_one_call_are_prepared_at_the_same_time(server, form):
    barrier = threading.Barrier(2)
    images = [vn.ImageDocument(image=MeetingContent(barrier, seed)) for seed in (100, 101)]
    with vn.DemoMultiModal(api_base=server.openai_base) as llm:
        assert (await ask(llm, form, "What is this?", images)).text


def test_the_first_image_that_cannot_be_used_is_the_error_of_the_call(server, tmp_path):
    missing = [tmp_path / f"{number}.png" for number in range(5)]
    with vn.DemoMultiModal(api_base=server.openai_base) as llm, pytest.raises(vn.errors.ImageNotFoundError, match="0"):
        llm.complete("What is this?", missing)


class CountingFile(io.BytesIO):
    """A file that counts how many times it is read."""

    reads = 0

    def read(self, *arguments):
        self.reads += 1
        return super().read(*arguments)


def test_a_jpeg_is_decoded_in_one_step_that_does_not_wait_for_other_threads():
    data = encoded(picture(1600, 1200), "JPEG", quality=95)
    assert len(data) > 4 * 65536  # Pillow would read it in blocks of this size
    file = CountingFile(data)
    with open_image(file, "photo.jpg") as (image, _):
        before = file.reads
        load_pixels(image)
    assert file.reads - before == 1


class Decoder:
    """Decodes images in threads that wait for one another, and records how many pixels are decoded at once."""

    def __init__(self, limit):
        self.limit = limit
        self.lock = threading.Lock()
        self.pixels = self.most = 0

    def decode(self, pixels):
        with self.limit.reserved(pixels):
            with self.lock:
                self.pixels += pixels
                self.most = max(self.most, self.pixels)
            sum(range(2000))
            with self.lock:
                self.pixels -= pixels


def test_no_more_pixels_than_the_limit_are_decoded_at_the_same_time():
    decoder = Decoder(DecodeLimit(100))
    with ThreadPoolExecutor(16) as executor:
        list(executor.map(decoder.decode, [30, 60, 10, 90] * 100))
    assert 0 < decoder.most <= 100 and decoder.pixels == 0


def test_an_image_larger_than_the_limit_is_decoded_alone():
    limit, events = DecodeLimit(100), []
    with ThreadPoolExecutor(2) as executor:
        with limit.reserved(1000):
            other = executor.submit(Decoder(limit).decode, 1)
            events.append(other.done())
        other.result(timeout=60)
    assert events == [False]


def test_a_failed_decoding_releases_its_pixels():
    limit = DecodeLimit(100)
    with pytest.raises(ValueError), limit.reserved(100):
        raise ValueError
    Decoder(limit).decode(100)


def test_a_plain_photograph_is_prepared_without_numpy(tmp_path):
    path = tmp_path / "photo.jpg"
    picture(1600, 1200).save(path)
    code = f"""
import sys, vision_nb as vn
prepared = vn.ImageDocument.of({str(path)!r}).prepare(lambda size: (800, 600))
assert prepared.size == (800, 600) and prepared.mimetype == "image/jpeg"
print([name for name in ("numpy", "pandas", "matplotlib") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
