"""ImageDocument is a value made from any kind of source."""

import base64
import builtins
import io
import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.conftest import encoded, picture
from vision_nb import ChatMessage, ImageDocument, connect, errors, load_image_urls, load_images
from vision_nb.compat import SimpleDirectoryReader
from vision_nb.images import content


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
    "mislabeled data URI": ("data:image/jpeg;base64," + base64.b64encode(PNG).decode(), "image/png"),
    "file object": (io.BytesIO(PNG), "image/png"),
    "Pillow image": (picture(), "image/png"),
    "RGB array": (np.asarray(picture()), "image/png"),
    "figure": (figure(), "image/png"),
    "document": (ImageDocument(image=PNG), "image/png"),
    "JPEG bytes": (encoded(picture(), "JPEG"), "image/jpeg"),
    "WEBP bytes": (encoded(picture(), "WEBP"), "image/webp"),
}


@pytest.mark.parametrize("source, mimetype", SOURCES.values(), ids=SOURCES)
def test_a_document_can_be_made_from_every_kind_of_source(source, mimetype):
    document = ImageDocument.of(source)
    assert document.mimetype == mimetype
    if not hasattr(source, "savefig"):
        assert document.size == (64, 48)


def test_a_str_is_a_path_unless_it_is_passed_as_base64(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photo").write_bytes(PNG)
    assert ImageDocument.of("photo").mimetype == "image/png"
    assert ImageDocument(image=base64.b64encode(PNG).decode()).read() == PNG
    assert ImageDocument(image=base64.urlsafe_b64encode(PNG).decode().rstrip("=")).read() == PNG
    assert ImageDocument.of(f"file://{tmp_path}/photo").read() == PNG
    assert ImageDocument.of(Path("photo").rename("50%25 a#b.png").absolute().as_uri()).read() == PNG
    with pytest.raises(errors.UnsupportedImageError, match="not base64"):
        ImageDocument(image="photo")
    with pytest.raises(errors.UnsupportedImageError, match="pass base64 as str"):
        ImageDocument(image=base64.b64encode(PNG))
    with pytest.raises(errors.UnsupportedImageError, match=r"a PDF document; vn.load_images loads its pages\.$"):
        ImageDocument(image=b"%PDF-1.7")


@pytest.mark.parametrize(
    "array, pixel",
    [
        (np.full((4, 6), 200, np.uint8), (200, 200, 200)),
        (np.full((4, 6), 0.5), (128, 128, 128)),
        (np.full((4, 6, 1), True), (255, 255, 255)),
        (np.full((4, 6), 257 * 100, np.uint16), (100, 100, 100)),
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
        (np.zeros((3, 50, 60), np.uint8), "channels to the last axis"),
        (np.zeros(5), "shape 5"),
        (np.zeros((0, 4), np.uint8), "shape 0x4"),
        (np.full((4, 4), 255.0), "between 0 and 1"),
        (np.full((4, 4), -3), "uint8"),
        (np.array([["a", "b"]]), "uint8"),
        (np.zeros((2, 2, 2, 2)), "2x2x2x2"),
    ],
)
def test_an_unusable_array_is_an_error_that_suggests_a_fix(array, words):
    with pytest.raises(errors.UnsupportedImageError, match=words):
        ImageDocument.of(array)


def test_a_document_does_not_change_with_its_source():
    array = np.zeros((4, 4, 3), np.uint8)
    document, same = ImageDocument.of(array), ImageDocument.of(array.copy())
    array[:] = 255
    assert document == same
    assert hash(document) == hash(same)
    assert document.to_pil().getpixel((0, 0)) in (0, (0, 0, 0))
    assert pickle.loads(pickle.dumps(document)) == document
    with pytest.raises(AttributeError):
        document.detail = "low"  # type: ignore[misc]


def test_a_document_keeps_its_detail_level():
    document = ImageDocument.of(PNG, detail="low")
    assert ImageDocument.of(document, detail="high").detail == "high"
    assert ImageDocument.of(document).detail == "low"
    with pytest.raises(errors.SettingsError, match="auto, low, high, original"):
        ImageDocument(image=PNG, detail="huge")  # type: ignore[arg-type]


def test_the_header_of_a_file_is_read_once_until_the_file_changes(photo, monkeypatch):
    reads = []
    read_header = content.read_header  # type: ignore[attr-defined]
    monkeypatch.setattr(content, "read_header", lambda file, name: reads.append(name) or read_header(file, name))
    for _ in range(3):
        document = ImageDocument.of(photo)
        assert (document.size, document.mimetype) == ((640, 480), "image/jpeg")
        assert document.prepare().original_size == (640, 480)
    assert len(reads) == 1
    picture(320, 240).save(photo)
    assert document.size == document.prepare().original_size == (320, 240)
    assert len(reads) == 2


def test_the_header_of_an_image_in_memory_is_read_once(monkeypatch):
    document, reads = ImageDocument.of(PNG), []
    read_header = content.read_header  # type: ignore[attr-defined]
    monkeypatch.setattr(content, "read_header", lambda file, name: reads.append(name) or read_header(file, name))
    assert document.size == document.prepare().original_size and document.mimetype == "image/png"
    assert len(reads) == 1


def test_creating_a_document_reads_no_file_and_no_url():
    assert ImageDocument(image_path="/nowhere/at/all.png").name.endswith("all.png")
    assert repr(load_image_urls(["https://example.org/a.png?sig=secret"])) == (
        "[ImageDocument('https://example.org/a.png')]"
    )


def test_a_document_has_exactly_one_source():
    for wrong in ({}, {"image": PNG, "image_path": "x.png"}):
        with pytest.raises(errors.SettingsError, match="exactly one of"):
            ImageDocument(**wrong)


def test_an_open_file_is_read_from_its_start_and_keeps_its_position(photo):
    with photo.open("rb") as file:
        file.read(10)
        assert ImageDocument.of(file).size == (640, 480)
        assert file.tell() == 10
    with pytest.raises(errors.UnsupportedImageError, match="closed"):
        ImageDocument.of(file)
    with photo.open("r", errors="ignore") as text, pytest.raises(errors.UnsupportedImageError, match="'rb'"):
        ImageDocument.of(text)


def test_only_the_header_is_read_for_the_size(photo):
    cut = photo.read_bytes()[:2000]
    assert ImageDocument.of(cut).size == (640, 480)
    with pytest.raises(errors.CorruptImageError):
        ImageDocument.of(cut).prepare()


def test_size_and_pixels_include_the_exif_orientation():
    exif = picture().getexif()
    exif[0x0112] = 6
    document = ImageDocument.of(encoded(picture(60, 40), "JPEG", exif=exif))
    assert document.size == (40, 60)
    assert document.to_pil().size == (40, 60)


def test_a_thumbnail_is_small_even_for_noise():
    noise = np.random.default_rng(0).integers(0, 255, (2000, 2000, 3), dtype=np.uint8)
    assert len(ImageDocument.of(noise).thumbnail()) < 30_000
    assert len(ImageDocument.of(noise)._repr_html_()) < 31_000


def test_the_html_repr_escapes_names_and_shows_errors(tmp_path):
    evil = tmp_path / "<img src=x onerror=alert(1)>.png"
    evil.write_bytes(PNG)
    assert "<img src=x" not in ImageDocument.of(evil)._repr_html_()
    assert "There is no file" in ImageDocument.of(tmp_path / "missing.png")._repr_html_()


def test_each_file_of_a_folder_is_opened_once(tmp_path, monkeypatch):
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(PNG)
    (tmp_path / "notes.txt").write_text("notes")
    opened = []
    for module in (builtins, io, os):
        plain = module.open
        monkeypatch.setattr(
            module, "open", lambda path, *rest, plain=plain, **more: opened.append(path) or plain(path, *rest, **more)
        )
    with pytest.warns(UserWarning, match="notes.txt: it is text"):
        assert len(load_images(tmp_path)) == 5
    assert len(opened) == 6


@pytest.mark.posix
def test_links_to_files_are_followed_but_links_to_folders_only_where_they_are_named(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.png").write_bytes(PNG)
    (tmp_path / "inner" / "up").symlink_to(tmp_path)
    (tmp_path / "b.png").symlink_to(tmp_path / "inner" / "a.png")
    (tmp_path / "missing.png").symlink_to(tmp_path / "nothing")
    names = [Path(image.image_path).relative_to(tmp_path) for image in load_images(tmp_path, recursive=True)]
    assert [str(name) for name in names] == ["b.png", "inner/a.png"]
    assert len(load_images(tmp_path / "inner" / "up")) == 1


def test_a_folders_images_come_in_natural_order_and_skipped_files_are_listed(tmp_path):
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


def test_files_patterns_urls_and_images_can_be_mixed(tmp_path):
    for number in range(3):
        (tmp_path / f"a{number}.png").write_bytes(PNG)
    mixed = load_images(tmp_path / "a0.png", str(tmp_path / "a[12].png"), "https://example.org/x.png", picture(), [PNG])
    assert len(mixed) == 6
    assert "example.org" in mixed[3].name


def test_a_file_name_with_brackets_is_not_taken_as_a_pattern(tmp_path):
    path = tmp_path / "scan[1].png"
    path.write_bytes(PNG)
    assert load_images(str(path))[0].size == (64, 48)


@pytest.mark.parametrize("source", ["nothing.png", "*.png", "."])
def test_a_source_without_images_is_an_error(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.ImageNotFoundError):
        load_images(source)


def test_the_error_about_a_folder_without_images_says_why_a_file_was_skipped(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(errors.ImageNotFoundError, match=r"\(notes.txt: it is text\)"):
        load_images(tmp_path)
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4\n")
    with pytest.raises(errors.ImageNotFoundError, match=r"\(a.pdf: it is a PDF document; .*; 1 more skipped\)"):
        load_images(tmp_path)


def test_a_list_is_displayed_as_thumbnails_and_errors(tmp_path):
    images = load_images(picture())
    images.append(ImageDocument.of(tmp_path / "missing.png"))
    html = images._repr_html_()
    assert html.count("<img") == 1
    assert "There is no file" in html


def test_objects_of_other_packages_are_sources(tmp_path):
    path = tmp_path / "it.png"
    path.write_bytes(PNG)
    shapes = [  # as llama-index's ImageDocument and the datasets package have them
        SimpleNamespace(image=base64.b64encode(PNG).decode(), image_path=None, image_url=None, image_mimetype=None),
        SimpleNamespace(image=None, image_path=str(path), image_url=None),
        SimpleNamespace(
            image=None, image_path=None, image_url="data:image/png;base64," + base64.b64encode(PNG).decode()
        ),
        {"bytes": PNG, "path": "it.png"},
        {"bytes": None, "path": str(path)},
    ]
    assert [document.size for document in load_images(*shapes)] == [(64, 48)] * 5
    assert load_images(shapes[3])[0].name == "it.png"
    assert len(ChatMessage("user", ["What is it?", *shapes]).image_documents) == 5


def test_the_type_of_a_url_is_known_without_a_request_if_it_is_given_or_in_its_ending():
    assert ImageDocument(image_url="https://example.org/a", image_mimetype="image/png").mimetype == "image/png"
    assert ImageDocument(image_url="https://example.org/a.JPG?sig=b.png").mimetype == "image/jpeg"


class BrokenFile:
    def read(self):
        raise OSError("the disk is gone")


class BrokenFigure:
    def savefig(self, *arguments, **options):
        raise ValueError("unknown symbol")


class BrokenArray:
    def __array__(self, *arguments, **options):
        raise RuntimeError("on the GPU")


def closed_image():
    image = Image.open(io.BytesIO(encoded(picture())))
    image.close()
    return image


BROKEN = {
    "file": (BrokenFile, "disk is gone"), "figure": (BrokenFigure, "unknown symbol"), "array": (BrokenArray, "GPU"),
    "closed image": (closed_image, "closed"), "empty image": (lambda: Image.new("RGB", (0, 5)), "empty"),
    "damaged image": (lambda: Image.open(io.BytesIO(encoded(picture(400, 300), "JPEG")[:3000])), "truncated"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_an_object_that_cannot_be_read_is_an_error_that_says_why(name):
    make, words = BROKEN[name]
    for use in (ImageDocument.of, lambda image: connect("demo").complete("What?", image)):
        with pytest.raises(errors.UnsupportedImageError, match=words) as caught:
            use(make())
        assert len(str(caught.value)) <= 300


def test_a_table_or_column_of_pandas_is_not_taken_for_pixels():
    import pandas as pd

    for source in (pd.DataFrame({"a": [1, 2]}), pd.Series(["a.png"])):
        with pytest.raises(errors.UnsupportedImageError, match="pass its paths as a list"):
            ImageDocument.of(source)
