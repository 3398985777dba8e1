"""Columns of tables, arrays of sources, rows of datasets and generators are lists of images."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import vision_nb as vn
from tests.conftest import encoded
from tests.drawn_files import colored_pdf, pixel, plain
from vision_nb import errors, load_images
from vision_nb.messages import as_images, user_message

RED, BLUE = encoded(plain("red")), encoded(plain("blue"))


@pytest.fixture
def paths(tmp_path):
    made = [tmp_path / "red.png", tmp_path / "blue.png"]
    for path, data in zip(made, (RED, BLUE), strict=True):
        path.write_bytes(data)
    return list(map(str, made))


def columns(paths):
    pixels = [np.asarray(plain(color)) for color in ("red", "blue")]
    return {
        "paths": pd.Series(paths),
        "paths of an index": pd.Series(paths, index=[7, 9]),
        "categories": pd.Series(paths, dtype="category"),
        "strings": pd.Series(paths, dtype="string"),
        "arrow strings": pd.Series(paths, dtype="string[pyarrow]"),
        "index": pd.Index(paths),
        "bytes": pd.Series([RED, BLUE]),
        "Pillow images": pd.Series([plain("red"), plain("blue")]),
        "arrays": pd.Series(pixels),
        "rows of a dataset": pd.Series([{"bytes": RED, "path": "r.png"}, {"bytes": None, "path": paths[1]}]),
        "numpy strings": np.array(paths),
        "numpy objects": np.array([paths[0], BLUE], dtype=object),
        "arrow array": pa.array(paths),
        "arrow column": pa.table({"path": paths})["path"],
        "set of one": {paths[0]: 1, paths[1]: 2}.keys(),
        "dict values": {"a": paths[0], "b": paths[1]}.values(),
        "generator": (path for path in paths),
        "nested": [paths[0], [pd.Series(paths[1:])]],
    }


@pytest.mark.parametrize("kind", columns(["", ""]))
def test_a_column_is_a_list_of_images(paths, kind):
    assert [pixel(document) for document in load_images(columns(paths)[kind])] == [(255, 0, 0), (0, 0, 255)]


@pytest.mark.parametrize("kind", [kind for kind in columns(["", ""]) if kind != "nested"])
def test_functions_that_take_images_take_columns(paths, kind):
    message = user_message("What is this?", columns(paths)[kind])
    assert [pixel(document) for document in message.image_documents] == [(255, 0, 0), (0, 0, 255)]


def test_a_polars_column_is_a_list_of_images_and_a_polars_table_is_the_truth(paths):
    polars = pytest.importorskip("polars")
    rows = [{"bytes": RED, "path": "r.png"}, {"bytes": None, "path": paths[1]}]
    for column in (paths, [RED, BLUE], rows):
        assert [pixel(document) for document in load_images(polars.Series(column))] == [(255, 0, 0), (0, 0, 255)]
    with pytest.raises(errors.UnsupportedImageError, match="Item 1 of the Series is missing"):
        load_images(polars.Series([paths[0], None]))

    table = polars.DataFrame({"image": paths, "width": [40, 41]})
    with pytest.raises(errors.UnsupportedImageError, match=r"pass one of its columns, such as table\['path'\]"):
        load_images(table)
    schema = {"type": "object", "properties": {"width": {"type": "integer"}}, "required": ["width"]}
    extraction = vn.extract(table["image"], schema, model="demo", progress=False)
    assert [one.outcome for one in extraction.score(table).judgments] == ["correct", "wrong"]
    with pytest.raises(errors.SettingsError, match=r'it needs a column "image" .+ Its columns are path, width'):
        extraction.score(table.rename({"image": "path"}))


def test_images_in_memory_are_named_by_their_place_in_the_list():
    dataset = [{"bytes": RED, "path": None}, {"bytes": BLUE, "path": "b.png"}]
    for images, names in (
        (pd.Series([RED, plain("blue")], index=[7, 9]), ["images[0]", "images[1]"]),
        ([dataset, np.zeros((4, 4), np.uint8)], ["images[0]", "b.png", "images[2]"]),
    ):
        assert [document.title for document in load_images(images)] == names
        assert [row.image for row in vn.compare("demo", "What is this?", images, progress=False)] == names
    with pytest.raises(errors.UnsupportedImageError, match=r"^images\[1\] is not an image: it is text"):
        load_images([RED, b"text"])


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((30, 40, 3), np.uint8),
        np.zeros((30, 40), np.uint8),
        np.zeros((30, 40), np.float64),
        np.zeros((2, 3), bool),
    ],
)
def test_an_array_of_pixels_is_one_image(pixels):
    assert [document.size for document in load_images(pixels)] == [pixels.shape[1::-1]]
    assert len(as_images(pixels)) == 1


def test_an_array_of_numbers_is_not_a_column():
    with pytest.raises(errors.UnsupportedImageError, match="An array of shape 5 is not an image"):
        load_images(np.zeros(5))


@pytest.mark.parametrize(
    "missing",
    [
        pd.Series(["a.png", None]),
        pd.Series(["a.png", np.nan]),
        pd.Series(["a.png", pd.NA], dtype="string"),
        np.array(["a.png", None]),
    ],
)
def test_a_missing_element_is_an_error_with_its_number(missing):
    for use in (load_images, as_images):
        with pytest.raises(errors.UnsupportedImageError, match=r"Item 1 of the \w+ is missing"):
            use(missing)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT, {"bytes": None, "path": None}])
def test_a_missing_image_is_an_error_that_says_to_leave_it_out(missing):
    llm = vn.connect("demo")
    for use in (vn.ImageDocument.of, lambda image: load_images([image]), lambda image: llm.complete("What?", [image])):
        with pytest.raises(errors.UnsupportedImageError, match=r"The image is missing \(.+dropna\(\)"):
            use(missing)


def test_a_table_is_an_error_that_says_to_pass_a_column(paths):
    for table in (pd.DataFrame({"path": paths}), pa.table({"path": paths})):
        with pytest.raises(errors.UnsupportedImageError, match=r"pass one of its columns, such as table\['path'\]"):
            load_images(table)


def test_a_generator_is_consumed_once_and_files_are_read_later(tmp_path):
    made = []

    def paths():
        for number in range(3):
            made.append(number)
            path = tmp_path / f"{number}.png"
            path.write_bytes(RED)
            yield path

    documents = load_images(paths())
    assert made == [0, 1, 2] and len(documents) == 3
    (tmp_path / "1.png").write_bytes(BLUE)
    assert pixel(documents[1]) == (0, 0, 255)


def test_a_column_may_name_pdf_documents_and_urls(tmp_path):
    (tmp_path / "a.pdf").write_bytes(colored_pdf(2))
    found = load_images(pd.Series([str(tmp_path / "a.pdf"), "https://example.org/a.png", f"{tmp_path}/a.pdf#page=2"]))
    assert [document.title for document in found] == ["a.pdf#page=1", "a.pdf#page=2", "a.png", "a.pdf#page=2"]


def test_compare_and_estimates_take_a_column(paths):
    comparison = vn.compare("demo", "What is this?", pd.Series(paths), progress=False)
    assert len(comparison) == 2
    two, one = (vn.estimate_cost("Hi", images, "gpt-4o").usd for images in (pd.Series(paths), paths[:1]))
    assert two > one
