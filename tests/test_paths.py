"""Paths of users who do not exist, and values that are not paths, are errors of the package."""

from collections.abc import Callable

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


WRITERS: dict[str, Callable[..., object]] = {
    "csv": vn.Comparison.to_csv,
    "html": vn.Comparison.to_html,
    "parquet": vn.Comparison.to_parquet,
    "csv of an extraction": vn.Extraction.to_csv,
    "html of an extraction": vn.Extraction.to_html,
    "json of an extraction": vn.Extraction.to_json,
    "parquet of an extraction": vn.Extraction.to_parquet,
    "md of a chat": vn.Chat.export,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_is_replaced_as_a_whole_or_left_as_it_was(tmp_path, monkeypatch, name):
    resource = pytest.importorskip("resource")
    monkeypatch.chdir(tmp_path)
    extraction = vn.extract(vn.samples.path("chart"), int, model="demo", store="a.sqlite3", progress=False)
    write, suffix = WRITERS[name], name.split()[0]
    result: object = (
        vn.Chat("demo") if "chat" in name else extraction if "extraction" in name else extraction.comparison
    )
    file, image, folder = tmp_path / f"a.{suffix}", tmp_path / "chart.png", tmp_path / f"b.{suffix}"
    image.write_bytes(b"an image"), folder.mkdir(), (tmp_path / f"link.{suffix}").symlink_to(file.name)
    for path in (
        "~nobody-here/a",
        "no-such-folder/a",
        f"chart.png/a.{suffix}",
        "a\0b",
        ".",
        folder,
        image,
        f".{suffix}",
    ):
        with pytest.raises(errors.SettingsError, match=r"path|Cannot write"):
            write(result, path)
    write(result, file)
    file.chmod(0o640)
    written = file.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, limits[1]))  # as if the disk were full
    try:
        with pytest.raises(errors.VisionError, match=r"File too large|disk I/O error"):
            write(result, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == written and image.read_bytes() == b"an image"
    write(result, f"link.{suffix}")
    assert (tmp_path / f"link.{suffix}").is_symlink() and file.stat().st_mode & 0o777 == 0o640
    assert not list(tmp_path.glob(".*")), "no unfinished file is left"


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
