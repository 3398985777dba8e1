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
    with pytest.raises(errors.SettingsError, match="~nobody-here"):
        extraction.score("~nobody-here/truth.csv")


@pytest.mark.parametrize("name", ["store", "tutorials", "LocalAI", "export", "load"])
@pytest.mark.parametrize("value", [3, object(), ["a"], b"a"])
def test_a_value_that_is_not_a_path_is_an_error(name, value):
    call, kind = CALLS[name]
    with pytest.raises(kind, match="path"):
        call(value)
