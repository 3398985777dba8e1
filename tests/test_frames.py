"""Frames of videos are images, named by their time."""

import pickle
import shutil

import av
import pytest
from PIL import Image

from tests.drawn_files import gray, pixel, write_video
from vision_nb import ImageDocument, errors, load_images
from vision_nb.images import render_child
from vision_nb.images.containers import video_format
from vision_nb.messages import user_message
from vision_nb.store import Store

FORMATS = {"mp4": "mpeg4", "mov": "mpeg4", "mkv": "mpeg4", "webm": "libvpx", "avi": "mpeg4", "flv": "flv"}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "talk.mp4")
    return folder


@pytest.fixture
def talk(videos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return shutil.copy(videos / "talk.mp4", tmp_path / "talk.mp4")


def is_near(value, expected):
    return abs(value - expected) <= 8  # of lossy codecs


def test_a_frame_is_named_by_its_time_and_shows_the_video_at_that_time(talk):
    documents = load_images("talk.mp4", every_s=1)
    assert [document.name for document in documents] == [f"talk.mp4#t={second}.0" for second in range(5)]
    assert all(is_near(gray(document), 50 * second) for second, document in enumerate(documents))
    assert documents[0].size == (64, 48) and documents[0].mimetype == "image/jpeg"
    assert documents[0].prepare().notes == ()


def test_frames_are_evenly_spread_and_eight_if_nothing_is_chosen(talk):
    assert [document.title for document in load_images(talk, frames=2)] == ["talk.mp4#t=1.25", "talk.mp4#t=3.75"]
    documents = load_images(talk)
    assert len(documents) == 8 and len({document.read() for document in documents}) == 8
    assert len(user_message("What is this?", [talk]).image_documents) == 8


def test_the_name_of_a_frame_is_a_source(talk):
    assert is_near(gray(ImageDocument.of("talk.mp4#t=3.05")), 150)
    assert is_near(gray(load_images("talk.mp4#t=4.9")[0]), 245)
    with pytest.raises(errors.ImageNotFoundError, match=r"no frame at 9 s in talk.mp4: it is 5.0 s long"):
        load_images("talk.mp4#t=9")


@pytest.mark.parametrize("ending, codec", FORMATS.items())
def test_common_formats_are_read(tmp_path, ending, codec):
    path = write_video(tmp_path / f"talk.{ending}", codec=codec)
    documents = load_images(path, every_s=2)
    assert [is_near(gray(document), 100 * number) for number, document in enumerate(documents)] == [True] * 3
    assert is_near(gray(load_images(path.read_bytes(), every_s=2)[1]), 100)


def test_a_transport_stream_starts_at_its_first_frame(tmp_path):
    path = write_video(tmp_path / "talk.ts", codec="mpeg2video", times=[n / 25 for n in range(125)], rate=25)
    documents = load_images(path, every_s=2)
    assert [is_near(gray(document), 100 * number) for number, document in enumerate(documents)] == [True] * 3


def test_a_video_of_variable_frame_rate_shows_the_last_frame_before_a_time(tmp_path):
    path = write_video(tmp_path / "screen.mp4", times=[0, 0.04, 0.1, 2, 2.04, 4, 4.5])
    found = {t: gray(ImageDocument.of(f"{path}#t={t}")) for t in (0.2, 1.9, 2.0, 3.9, 4.2)}
    assert [is_near(found[t], value) for t, value in ((0.2, 5), (1.9, 5), (2.0, 100), (3.9, 102), (4.2, 200))] == [
        True
    ] * 5


@pytest.mark.parametrize("rotation, corner", [(0, (5, 5)), (90, (5, 58)), (-90, (42, 5)), (180, (58, 42))])
def test_a_frame_is_upright(tmp_path, rotation, corner):
    path = write_video(tmp_path / "phone.mp4", rotation=rotation)
    frame = load_images(path, frames=1)[0]
    assert frame.size == frame.to_pil().size == ((48, 64) if abs(rotation) == 90 else (64, 48))
    red, green, _ = pixel(frame, *corner)
    assert red > 200 and green < 60


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    path = write_video(tmp_path / "dv.mkv", shape=2)
    assert load_images(path, frames=1)[0].to_pil().size == (128, 48)


def test_a_frame_is_pickled_and_its_stored_answers_are_found_again(talk, tmp_path):
    frame = load_images(talk, every_s=1)[2]
    copy = pickle.loads(pickle.dumps(frame))
    assert copy == frame and copy.read() == frame.read()
    store = Store(tmp_path / "answers.sqlite")
    assert (
        store.digest(load_images("talk.mp4#t=2.0")[0])
        == store.digest(copy)
        != store.digest(ImageDocument.of("talk.mp4#t=1.0"))
    )


def test_a_folder_says_that_it_skips_videos_unless_frames_are_chosen(talk, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "photo.png")
    with pytest.warns(UserWarning, match=r"talk.mp4: it is a video; pass its path, or vn.load_images\(..., frames=8\)"):
        assert len(load_images(tmp_path)) == 1
    assert len(load_images(tmp_path, frames=3)) == 4
    assert len(load_images("*.mp4", every_s=1)) == 5


def test_a_video_that_is_passed_as_an_image_is_an_error_that_says_so(talk):
    with pytest.raises(errors.UnsupportedImageError, match=r"talk.mp4 is not an image: it is a video; vn.load_images"):
        ImageDocument.of("talk.mp4").prepare()


def test_a_damaged_video_is_an_image_error(talk, tmp_path):
    data = (tmp_path / "talk.mp4").read_bytes()
    for cut in (40, len(data) // 2, len(data) - 100):
        (tmp_path / "broken.mp4").write_bytes(data[:cut])
        with pytest.raises(errors.ImageError, match=r"broken.mp4"):
            load_images(tmp_path / "broken.mp4")[-1].prepare()


def test_a_video_that_ends_early_is_an_error_at_the_missing_frames(tmp_path):
    path = write_video(tmp_path / "talk.mkv", times=[number / 10 for number in range(150)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    documents = load_images(path, every_s=1)
    assert len(documents) == 15 and is_near(gray(documents[0]), 0)
    with pytest.raises(errors.CorruptImageError, match=r"talk.mkv#t=14.0 is a damaged video \(it ends after \d"):
        documents[-1].read()


def test_a_file_that_only_plays_sound_is_an_error(tmp_path):
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame(format="s16", layout="mono", samples=800)
        frame.sample_rate = 8000
        container.mux(audio.encode(frame))
    with pytest.raises(errors.UnsupportedImageError, match=r"sound.mkv cannot be used \(it has no video track\)"):
        load_images(path)


def test_frames_with_too_many_pixels_or_too_many_frames_are_errors(talk, monkeypatch):
    with pytest.raises(errors.ImageTooLargeError, match="more than 10,000 frames"):
        load_images(talk, frames=10_001)
    with pytest.raises(errors.SettingsError, match="every_s= or frames=, not both"):
        load_images(talk, frames=1, every_s=1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(errors.ImageTooLargeError, match=r"talk.mp4 would have 64 x 48 pixels, more than the 1,000"):
        load_images(talk)


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


def test_a_playlist_that_names_other_files_is_not_read(tmp_path):
    (tmp_path / "list.mp4").write_bytes(PLAYLIST)
    assert video_format(PLAYLIST) is None
    with pytest.raises(errors.UnsupportedImageError, match="it is text"):
        load_images(tmp_path / "list.mp4")[0].prepare()
    (tmp_path / "mixed.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(20) + PLAYLIST * 20)
    with pytest.raises(errors.CorruptImageError, match="damaged video"):
        load_images(tmp_path / "mixed.mp4")


def test_a_video_is_only_read_as_what_its_first_bytes_say(talk, tmp_path):
    data = (tmp_path / "talk.mp4").read_bytes()
    request = {"path": None, "kind": "video", "do": "describe", "max_pixels": 10**6}
    assert render_child.answer({**request, "format": "mov"}, data)[0]["size"] == (64, 48)
    assert render_child.answer({**request, "format": "matroska"}, data)[0]["failure"] == "damaged"
