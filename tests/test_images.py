"""ImageDocument: from any source, as a value."""

import base64
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from conftest import encoded, picture

from vision_nb import ImageDocument, errors, load_image_urls, load_images
from vision_nb.compat import SimpleDirectoryReader


def figure():
    from matplotlib.figure import Figure

    made = Figure(figsize=(2, 1))
    made.subplots().plot([1, 2])
    return made


PNG = encoded(picture())
SOURCES = {
    "bytes": (PNG, "image/png"),
    "bytearray": (bytearray(PNG), "image/png"),
    "memoryview": (memoryview(PNG), "image/png"),
    "data URI": ("data:image/png;base64," + base64.b64encode(PNG).decode(), "image/png"),
    "mislabelled data URI": ("data:image/jpeg;base64," + base64.b64encode(PNG).decode(), "image/png"),
    "file object": (io.BytesIO(PNG), "image/png"),
    "Pillow image": (picture(), "image/png"),
    "RGB array": (np.asarray(picture()), "image/png"),
    "figure": (figure(), "image/png"),
    "document": (ImageDocument(image=PNG), "image/png"),
    "JPEG bytes": (encoded(picture(), "JPEG"), "image/jpeg"),
    "WEBP bytes": (encoded(picture(), "WEBP"), "image/webp"),
}


@pytest.mark.parametrize("source, mimetype", SOURCES.values(), ids=SOURCES)
def test_every_kind_of_source_becomes_a_document(source, mimetype):
    document = ImageDocument.of(source)
    assert document.mimetype == mimetype
    if not hasattr(source, "savefig"):
        assert document.size == (64, 48)


def test_a_str_is_a_path_and_base64_only_where_it_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photo").write_bytes(PNG)
    assert ImageDocument.of("photo").mimetype == "image/png"
    assert ImageDocument(image=base64.b64encode(PNG).decode()).read() == PNG
    assert ImageDocument(image=base64.urlsafe_b64encode(PNG).decode().rstrip("=")).read() == PNG
    assert ImageDocument.of(f"file://{tmp_path}/photo").read() == PNG
    with pytest.raises(errors.UnsupportedImageError, match="not base64"):
        ImageDocument(image="photo")
    with pytest.raises(errors.UnsupportedImageError, match="bytes are taken as they are"):
        ImageDocument(image=base64.b64encode(PNG))


@pytest.mark.parametrize(
    "array, pixel",
    [
        (np.full((4, 6), 200, np.uint8), (200, 200, 200)),
        (np.full((4, 6), 0.5), (128, 128, 128)),
        (np.full((4, 6, 1), True), (255, 255, 255)),
        (np.full((4, 6), 257 * 10, np.uint16), (10, 10, 10)),
        (np.full((4, 6, 3), [10, 20, 30], np.int64), (10, 20, 30)),
        (np.full((4, 6, 4), [10, 20, 30, 255], np.uint8), (10, 20, 30)),
        (np.full((4, 6, 3), np.nan, np.float32), (0, 0, 0)),
        (np.asfortranarray(np.full((4, 6, 3), 7, np.uint8))[::-1], (7, 7, 7)),
    ],
    ids=["gray", "float", "bool", "uint16", "int64", "RGBA", "NaN", "strided"],
)
def test_arrays_keep_their_brightness(array, pixel):
    document = ImageDocument.of(array)
    assert document.size == (6, 4)
    assert document.to_pil().convert("RGB").getpixel((0, 0)) == pixel


@pytest.mark.parametrize(
    "array, words",
    [
        (np.zeros((3, 50, 60), np.uint8), "channels last"),
        (np.zeros(5), "shape 5"),
        (np.zeros((0, 4), np.uint8), "shape 0x4"),
        (np.full((4, 4), 255.0), "between 0 and 1"),
        (np.full((4, 4), -3), "uint8"),
        (np.array([["a", "b"]]), "uint8"),
        (np.zeros((2, 2, 2, 2)), "2x2x2x2"),
    ],
)
def test_an_array_that_is_no_picture_is_refused_with_a_way_out(array, words):
    with pytest.raises(errors.UnsupportedImageError, match=words):
        ImageDocument.of(array)


def test_a_document_is_a_value():
    array = np.zeros((4, 4, 3), np.uint8)
    document, same = ImageDocument.of(array), ImageDocument.of(array.copy())
    array[:] = 255
    assert document == same
    assert hash(document) == hash(same)
    assert document.to_pil().getpixel((0, 0)) in (0, (0, 0, 0))
    assert pickle.loads(pickle.dumps(document)) == document
    with pytest.raises(AttributeError):
        document.detail = "low"


def test_a_detail_travels_with_the_picture_and_must_exist():
    document = ImageDocument.of(PNG, detail="low")
    assert ImageDocument.of(document, detail="high").detail == "high"
    assert ImageDocument.of(document).detail == "low"
    with pytest.raises(errors.SettingsError, match="auto, low, high, original"):
        ImageDocument(image=PNG, detail="huge")


def test_making_a_document_reads_nothing():
    assert ImageDocument(image_path="/nowhere/at/all.png").name.endswith("all.png")
    assert repr(load_image_urls(["https://example.org/a.png?sig=secret"])) == (
        "[ImageDocument('https://example.org/a.png')]"
    )


def test_one_source_exactly():
    for wrong in ({}, {"image": PNG, "image_path": "x.png"}):
        with pytest.raises(errors.SettingsError, match="takes one of"):
            ImageDocument(**wrong)


def test_a_file_object_may_have_been_read_and_stays_where_it_was(photo):
    with photo.open("rb") as file:
        file.read(10)
        assert ImageDocument.of(file).size == (640, 480)
        assert file.tell() == 10
    with pytest.raises(errors.UnsupportedImageError, match="closed"):
        ImageDocument.of(file)
    with photo.open("r", errors="ignore") as text, pytest.raises(errors.UnsupportedImageError, match="'rb'"):
        ImageDocument.of(text)


def test_size_comes_from_the_header_alone(photo):
    cut = photo.read_bytes()[:2000]
    assert ImageDocument.of(cut).size == (640, 480)
    with pytest.raises(errors.CorruptImageError):
        ImageDocument.of(cut).prepare()


def test_the_orientation_counts_in_size_and_pixels():
    exif = picture().getexif()
    exif[0x0112] = 6
    document = ImageDocument.of(encoded(picture(60, 40), "JPEG", exif=exif))
    assert document.size == (40, 60)
    assert document.to_pil().size == (40, 60)


def test_the_thumbnail_is_small_even_for_noise():
    noise = np.random.default_rng(0).integers(0, 255, (2000, 2000, 3), dtype=np.uint8)
    assert len(ImageDocument.of(noise).thumbnail()) < 30_000
    assert len(ImageDocument.of(noise)._repr_html_()) < 31_000


def test_a_repr_escapes_its_name_and_tells_an_error(tmp_path):
    evil = tmp_path / "<img src=x onerror=alert(1)>.png"
    evil.write_bytes(PNG)
    assert "<img src=x" not in ImageDocument.of(evil)._repr_html_()
    assert "There is no file" in ImageDocument.of(tmp_path / "missing.png")._repr_html_()


def test_a_folder_gives_its_pictures_in_natural_order_and_says_what_it_skipped(tmp_path):
    for name in ("img10.png", "img2.png", "IMG1.png"):
        (tmp_path / name).write_bytes(PNG)
    (tmp_path / "no_extension").write_bytes(PNG)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "fake.png").write_text("<html></html>")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / ".hidden.png").write_bytes(PNG)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "img3.png").write_bytes(PNG)
    with pytest.warns(UserWarning, match="Skipped 3 files"):
        documents = load_images(tmp_path)
    assert [Path(document.name).name for document in documents] == ["IMG1.png", "img2.png", "img10.png", "no_extension"]
    assert {path.name: reason for path, reason in documents.skipped} == {
        "notes.txt": "it is text",
        "fake.png": "it is an HTML page",
        "empty.jpg": "it is empty",
    }
    with pytest.warns(UserWarning):
        assert len(load_images(tmp_path, recursive=True)) == 5
    with pytest.warns(UserWarning):
        assert SimpleDirectoryReader(str(tmp_path)).load_data() == documents


def test_files_patterns_urls_and_values_mix(tmp_path):
    for number in range(3):
        (tmp_path / f"a{number}.png").write_bytes(PNG)
    mixed = load_images(tmp_path / "a0.png", str(tmp_path / "a[12].png"), "https://example.org/x.png", picture(), [PNG])
    assert len(mixed) == 6
    assert "example.org" in mixed[3].name


def test_brackets_in_a_real_name_are_no_pattern(tmp_path):
    path = tmp_path / "scan[1].png"
    path.write_bytes(PNG)
    assert load_images(str(path))[0].size == (64, 48)


@pytest.mark.parametrize("source", ["nothing.png", "*.png", "."])
def test_finding_nothing_is_an_error(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.ImageNotFoundError):
        load_images(source)


def test_a_list_shows_thumbnails_and_what_is_wrong(tmp_path):
    sheet = load_images(picture())
    sheet.append(ImageDocument.of(tmp_path / "missing.png"))
    html = sheet._repr_html_()
    assert html.count("<img") == 1
    assert "There is no file" in html
