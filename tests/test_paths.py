"""Paths of users who do not exist, and values that are not paths, are errors of the package."""

import pytest

import vision_nb as vn
from vision_nb import errors, tutorials
from vision_nb.store import Store

NOBODY = "~nobody-here/a.png"
CALLS = {
    "image": (lambda path: vn.connect("demo").complete("What?", path), errors.ImageNotFoundError),
    "document": (lambda path: vn.ImageDocument.of(path).size, errors.ImageNotFoundError),
    "images": (vn.load_images, errors.ImageNotFoundError),
    "tokens": (lambda path: vn.image_tokens(path, "gpt-4o"), errors.ImageNotFoundError),
    "compare": (lambda path: vn.compare("demo", "What?", path, progress=False), errors.ImageNotFoundError),
    "extract": (lambda path: vn.extract(path, int, model="demo", progress=False), errors.ImageNotFoundError),
    "store": (Store, errors.StoreError),
    "tutorials": (tutorials.copy_notebooks, errors.SettingsError),
    "LocalAI": (vn.write_localai_config, errors.SettingsError),
    "serve": (lambda path: vn.serve_llava(path, path), errors.SettingsError),
    "export": (lambda path: vn.Chat("demo").export(path), errors.SettingsError),
    "load": (vn.Chat.load, errors.SettingsError),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_path_of_a_user_who_does_not_exist_is_an_error_that_names_it(name):
    call, kind = CALLS[name]
    with pytest.raises(kind, match="~nobody-here") as caught:
        call(NOBODY)
    assert len(str(caught.value)) <= 300


def test_a_truth_of_a_user_who_does_not_exist_is_an_error(tmp_path):
    extraction = vn.extract(vn.samples.path("chart"), int, model="demo", store=tmp_path / "a.sqlite3", progress=False)
    for path in ("~nobody-here/truth.csv", "a\0b.csv"):
        with pytest.raises(errors.SettingsError, match="path"):
            extraction.score(path)
    for field in (["value"], "value"):
        with pytest.raises(errors.SettingsError, match="explode"):
            extraction.to_dataframe(explode=field)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["~nobody-here/a", "no-such-folder/a", "a\0b", "."])
def test_a_table_that_cannot_be_written_is_an_error_that_names_the_file(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    extraction = vn.extract(vn.samples.path("chart"), int, model="demo", store="a.sqlite3", progress=False)
    comparison = vn.compare("demo", "What?", vn.samples.path("chart"), store="a.sqlite3", progress=False)
    for write in (extraction.to_csv, extraction.to_json, comparison.to_csv):
        with pytest.raises(errors.SettingsError):
            write(path)
    extraction.to_csv("a.csv"), extraction.to_json("a.json"), comparison.to_csv(tmp_path / "b.csv")
    assert all((tmp_path / name).stat().st_size for name in ("a.csv", "a.json", "b.csv"))


@pytest.mark.parametrize("name", ["store", "tutorials", "LocalAI", "serve", "images", "image"])
def test_a_path_with_a_null_character_is_an_error(name):
    call, kind = CALLS[name]
    with pytest.raises((kind, errors.ImageError)):
        call("a\0b")


@pytest.mark.parametrize("name", ["store", "tutorials", "LocalAI", "export", "load"])
@pytest.mark.parametrize("value", [3, object(), ["a"], b"a"])
def test_a_value_that_is_not_a_path_is_an_error(name, value):
    call, kind = CALLS[name]
    with pytest.raises(kind, match="path"):
        call(value)
