"""Paths that do not exist, and folders where images are expected."""

import os
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

import vision_nb as vn
from tests.conftest import picture
from vision_nb import errors
from vision_nb.store import Store


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder with one image, in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    picture().save(tmp_path / "photos" / "night.png")
    return tmp_path / "photos"


@pytest.fixture
def home(photos, monkeypatch):
    """The home folder, which is that of the photos."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(photos.parent))
    return photos.parent


MISSING = [("photoss/", "photos"), ("photos/nigth.png", "photos/night.png"), ("photoss/night.png", "photos/night.png")]


@pytest.mark.parametrize(("typed", "meant"), MISSING)
@pytest.mark.parametrize(
    "use",
    [
        vn.load_images,
        vn.show,
        lambda path: vn.ChatPanel("demo", images=path),
        lambda path: vn.compare("demo", "What?", path, progress=False),
        lambda path: vn.extract(
            path, {"type": "object", "properties": {"kind": {"type": "string"}}}, model="demo", progress=False
        ),
        lambda path: vn.connect("demo").complete("What?", path),
    ],
    ids=["load_images", "show", "ChatPanel", "compare", "extract", "complete"],
)
def test_a_path_that_does_not_exist_is_an_error_that_names_a_similar_one(use, typed, meant, photos):
    with pytest.raises(errors.ImageNotFoundError) as caught:
        use(typed)
    kind = "file" if Path(typed).suffix else "file or folder"
    assert str(caught.value) == f"There is no {kind} {Path(typed)}: did you mean {Path(meant)}?"


def test_a_question_in_the_place_of_the_images_is_not_taken_for_a_pattern(photos):
    with pytest.raises(errors.ImageNotFoundError, match="a question comes before its images"):
        vn.connect("demo").complete("One more:", "What is this?")


@pytest.mark.parametrize("image", ["photos/night.png", "no.jpg", "photos"])
@pytest.mark.parametrize("question", ["What is this?", "Describe it"])
def test_a_question_and_an_image_that_are_swapped(photos, image, question):
    llm = vn.connect("demo")
    for ask in (llm.complete, llm.stream_complete, vn.Chat(llm).ask, partial(vn.estimate_cost, model="gpt-4o")):
        with pytest.raises(errors.SettingsError) as caught:
            ask(image, question)
        assert str(caught.value).startswith(f"The prompt '{image}' and the image '{question}' look swapped: ")


def test_a_folder_without_images_but_with_subfolders_suggests_to_search_them(photos):
    with pytest.raises(errors.ImageNotFoundError, match="recursive=True searches its subfolders"):
        vn.load_images(photos.parent)
    (photos / "night.png").unlink()
    with pytest.raises(errors.ImageNotFoundError, match="the working folder is"):
        vn.load_images(photos.parent, recursive=True)


def test_an_error_about_a_missing_file_names_the_working_folder_without_the_home_folder(photos, home, monkeypatch):
    monkeypatch.chdir(photos)
    with pytest.raises(errors.ImageNotFoundError) as caught:
        vn.load_images("elephant.png")
    assert str(caught.value) == f"There is no file elephant.png: the working folder is {Path('~/photos')}."


def use_deleted_store(home):
    """Write to a store whose file was deleted."""
    path = home / "deleted.sqlite3"
    with Store(path) as store:
        path.unlink()
        store.digests([vn.ImageDocument.of(home / "photos" / "night.png")])


@pytest.mark.parametrize(
    "use",
    [
        use_deleted_store,
        lambda home: vn.load_images(home / "photos" / "elephant.png"),
        lambda home: vn.load_images(home / "photos" / "*.jpg"),
        lambda home: vn.load_images(home / "empty"),
        lambda home: vn.connect("demo").complete("What?", home / "photos"),
        lambda home: vn.connect("demo").complete("What?", home / "photos" / "*.png"),
        lambda home: vn.connect("demo").complete("What?", home / "empty.png"),
        lambda home: vn.connect("demo").complete("What?", home / ("long" * 100)),
        lambda home: vn.connect("demo").complete("What?", home / "pipe"),
        lambda home: vn.load_images(home / "text.png")[0].size,
        lambda home: vn.load_images([home / "damaged.png"])[0].to_pil(),
        lambda home: vn.connect("demo").complete("What?", home / "damaged.png"),
        lambda home: vn.load_images(home / "damaged.pdf"),
        lambda home: vn.load_images(home / "stack.tiff", pages=9),
        lambda home: Store(home / "photos"),
        lambda home: Store(home / "empty.png" / "a.sqlite3"),
        lambda home: Store(home / "photos" / "night.png"),
        lambda home: vn.Chat.load(home / "elephant.json"),
        lambda home: vn.Chat.load(home / "photos" / "night.png"),
        lambda home: vn.Chat("demo").export(home / "no such folder" / "chat.json"),
        lambda home: vn.compare("demo", "?", home / "photos", progress=False).to_csv(home / "no" / "table.csv"),
    ],
)
def test_errors_about_paths_do_not_name_the_home_folder(use, home):
    (home / "empty").mkdir()
    (home / "empty.png").touch()
    (home / "text.png").write_text("no image")
    (home / "damaged.png").write_bytes((home / "photos" / "night.png").read_bytes()[:60])
    (home / "damaged.pdf").write_bytes(b"%PDF-1.7 no document")
    picture().save(home / "stack.tiff")
    if hasattr(os, "mkfifo"):
        os.mkfifo(home / "pipe")
    with pytest.raises(errors.VisionError) as caught:
        use(home)
    assert "~" in str(caught.value) and str(home) not in str(caught.value)


def test_no_similar_name_is_searched_in_a_folder_of_many_files(photos):
    for number in range(200):
        (photos / f"{number}.txt").touch()
    with pytest.raises(errors.ImageNotFoundError, match="the working folder is"):
        vn.load_images("photos/nigth.png")


@pytest.mark.parametrize("images", ["photos/", "photos/*.png", Path("photos"), ["photos", "photos/night.png"]])
def test_the_chat_panel_takes_folders_and_patterns(images, photos):
    panel = vn.ChatPanel("demo", images=images)
    names = [image.name for image in panel._composer.documents]
    assert set(names) == {str(Path("photos/night.png"))} and len(names) == (2 if isinstance(images, list) else 1)
    panel.close()


def test_the_paths_of_a_column_are_shown_without_the_home_folder(photos, home):
    for name in ("text.png", "other.png"):
        (home / name).write_text("no image")
    paths = pd.Series(
        [home / "photos" / "elephant.png", home / "text.png", "photos/elephant.png", "other.png"], dtype=object
    )
    comparison = vn.compare("demo", "?", paths, progress=False)
    shown = [Path("~/photos/elephant.png"), Path("~/text.png"), Path("photos/elephant.png"), Path("other.png")]
    for row, path in zip(comparison, shown, strict=True):
        assert f" {path}" in str(row.error) and str(home) not in str(row.error)
