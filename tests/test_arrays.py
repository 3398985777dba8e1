"""Arrays and Pillow images keep their pixels until they are scaled, and their keys in the store."""

import gc
import hashlib
import io
import pickle

import numpy as np
import pytest
from PIL import Image

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.drawn_pages import photograph
from vision_nb import ImageDocument
from vision_nb.images import encode, pixel_content
from vision_nb.images.prepare import fit_within
from vision_nb.store import Store


def half(size):
    return size[0] // 2, size[1] // 2


SOURCES = {
    "RGB array": np.asarray(picture(300, 200)),
    "gray array": np.asarray(picture(300, 200, "L")),
    "RGBA array": np.asarray(picture(300, 200, "RGBA")),
    "transparent array": np.dstack([np.asarray(picture(300, 200)), np.full((200, 300), 90, np.uint8)]),
    "LA image": picture(300, 200, "LA"),
    "Pillow image": picture(300, 200),
    "opened file": Image.open(io.BytesIO(encoded(picture(300, 200), "JPEG"))),
    "float array": np.asarray(picture(300, 200, "L")) / 255,
}
each_source = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


@pytest.fixture
def encodings(monkeypatch):
    """Record the type and size of each image that is encoded."""
    recorded, save = [], encode.save

    def recording(pixels, kind, **options):
        recorded.append((kind, pixels.size))
        return save(pixels, kind, **options)

    monkeypatch.setattr(encode, "save", recording)
    return recorded


@each_source
def test_pixels_are_prepared_as_a_png_file_of_them_is(source):
    document = ImageDocument(image=source)
    file = ImageDocument(image=document.read())
    assert (document.size, document.mimetype, document.title) == (file.size, file.mimetype, file.title)
    for fit in (half, lambda size: size):
        mine, whole = document.prepare(fit), file.prepare(fit)
        assert (mine.data, mine.mimetype, mine.size, mine.original_size, mine.notes) == (
            whole.data, whole.mimetype, whole.size, whole.original_size, whole.notes
        )  # fmt: skip
    assert document.thumbnail(60) == file.thumbnail(60) and document.to_pil().tobytes() == file.to_pil().tobytes()
    assert repr(document) == repr(file) and document.name == file.name


@each_source
def test_the_key_of_pixels_in_the_store_is_that_of_their_png_file(source, tmp_path):
    with Store(tmp_path / "store.sqlite3") as store:
        document = ImageDocument(image=source)
        assert store.digest(document) == hashlib.sha256(document.read()).hexdigest()
        assert store.digest(document) == store.digest(ImageDocument(image=document.read()))
        assert store.digest(document) == store.digest(pickle.loads(pickle.dumps(document)))


def test_the_png_file_of_pixels_is_the_one_that_earlier_versions_kept():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    file = encoded(Image.fromarray(pixels), compress_level=1)
    assert ImageDocument(image=pixels).read() == file and ImageDocument(image=Image.fromarray(pixels)).read() == file


def test_images_that_differ_in_one_pixel_or_in_their_shape_have_different_keys(tmp_path):
    pixels = np.zeros((400, 600, 3), np.uint8)
    changed = pixels.copy()
    changed[201, 301, 1] = 1
    arrays = [pixels, changed, pixels.reshape(600, 400, 3), pixels[:, :, 0], np.dstack([pixels, pixels[:, :, :1]])]
    documents = [ImageDocument(image=array) for array in arrays]
    with Store(tmp_path / "store.sqlite3") as store:
        assert len({store.digest(document) for document in documents}) == len({*documents}) == len(arrays)
    assert ImageDocument(image=pixels) == ImageDocument(image=pixels.copy())
    assert len({document.fingerprint() for document in [*documents, ImageDocument(image=pixels)]}) == len(arrays) + 1


def test_a_large_array_is_scaled_without_being_encoded_as_png_first(encodings):
    document = ImageDocument(image=np.asarray(photograph(1600, 1200)))
    prepared = document.prepare(half)
    assert prepared.mimetype == "image/jpeg" and prepared.notes == ("scaled from 1600 x 1200 pixels to 800 x 600",)
    assert sorted(encodings) == [("JPEG", (800, 600)), ("PNG", (256, 256))]


@pytest.mark.parametrize("source", ["RGB array", "gray array", "RGBA array", "Pillow image"])
def test_later_changes_to_an_array_or_image_do_not_affect_the_document(source):
    original = SOURCES[source].copy()
    document = ImageDocument(image=original)
    before = document.to_pil().tobytes()
    if isinstance(original, np.ndarray):
        original[:] = 0
    else:
        original.paste(0, (0, 0, *original.size))
    assert document.to_pil().tobytes() == before
    document.to_pil().paste(0, (0, 0, 10, 10))
    assert document.to_pil().tobytes() == before


def test_a_large_array_is_asked_about_without_a_png_of_it(server, encodings):
    with vn.DemoMultiModal(api_base=server.openai_base) as llm:
        response = llm.complete("What is this?", [np.asarray(photograph(1600, 1200))])
    assert response.text and ("PNG", (1600, 1200)) not in encodings


def test_the_pixels_that_are_kept_are_limited_and_further_images_are_compressed(monkeypatch):
    gc.collect()
    held = pixel_content._held_bytes
    monkeypatch.setattr(pixel_content, "MAX_HELD_BYTES", held + 10_000_000)  # two and a half of these images
    documents = [ImageDocument(image=Image.new("RGB", (1000, 1000), color)) for color in ("red", "green", "blue")]
    kinds = [type(document._content).__name__ for document in documents]
    assert kinds == ["PixelContent", "PixelContent", "MemoryContent"]
    assert [document.prepare(half).size for document in documents] == [(500, 500)] * 3
    del documents
    gc.collect()
    assert pixel_content._held_bytes <= held


def test_boxes_are_drawn_on_an_array_without_a_png_of_it(encodings):
    drawn = vn.draw_boxes(np.asarray(picture(600, 400)), [(10, 10, 100, 100)], max_side=300)
    assert drawn.size == fit_within((600, 400), 300) and encodings == []
