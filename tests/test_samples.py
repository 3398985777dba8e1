"""The sample images are small, have no metadata, and match the scripts that draw them."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.draw_samples import main
from tests.sample_drawing.label import bars
from vision_nb import samples
from vision_nb.errors import ImageNotFoundError

DRAWN = ("chart", "street_sign", "label", "night_scene")
CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}


@pytest.fixture(scope="module")
def redrawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("redrawn") / "deeper"
    main([str(folder)])
    return folder


def pixels(file):
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"), dtype=float)


@pytest.mark.parametrize("name", samples.names())
def test_a_sample_is_found_with_and_without_its_extension(name):
    file = samples.path(name)
    assert file.is_file() and file.stem == name
    assert samples.path(file.name) == file
    with Image.open(file) as image:
        image.load()


@pytest.mark.parametrize("name", ["", "chart.jpg", "Chart", "../errors.py"])
def test_an_unknown_name_is_an_error_that_lists_the_samples(name):
    with pytest.raises(ImageNotFoundError) as caught:
        samples.path(name)
    assert repr(name) in str(caught.value)
    assert all(known in str(caught.value) for known in samples.names())


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawn_image_is_a_small_file_but_large_enough_to_read(name):
    file = samples.path(name)
    assert file.stat().st_size < 60_000
    with Image.open(file) as image:
        assert 768 <= image.width <= 1200


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.slow
def test_an_image_matches_its_drawing_script(name, redrawn):
    old = samples.path(name)
    new = redrawn / old.name
    assert pixels(new).shape == pixels(old).shape
    # Other versions of the libraries place edges or round colors slightly differently.
    assert np.abs(pixels(new) - pixels(old)).mean() < 4


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawn_image_has_no_metadata(name):
    file = samples.path(name)
    with Image.open(file) as image:
        assert not image.getexif()
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "progressive", "progression"}
    data = file.read_bytes()
    if file.suffix == ".png":
        at, kinds = 8, set()
        while at < len(data):
            kinds.add(data[at + 4 : at + 8])
            at += 12 + int.from_bytes(data[at : at + 4], "big")
        assert kinds <= CHUNKS
    else:
        at = 2
        while data[at + 1] != 0xDA:  # segments follow each other up to the first scan
            assert data[at + 1] not in (*range(0xE1, 0xF0), 0xFE)
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def test_the_bar_code_is_an_ean_13():
    digits, code = bars("400638133393")
    assert digits == "4006381333931"
    assert code == (
        "101" + "0001101" + "0100111" + "0101111" + "0111101" + "0001001" + "0110011"
        "01010" + "1000010" + "1000010" + "1000010" + "1110100" + "1000010" + "1100110" + "101"
    )


def test_the_path_of_a_drawn_image_needs_no_drawing_library():
    program = (
        "import sys, vision_nb.samples as samples; samples.path('chart'); "
        "print([name for name in ('PIL', 'matplotlib', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
