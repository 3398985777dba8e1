"""Cards and strips of thumbnails: what they contain, and that they are small, escaped and fit for any front end."""

import re
from datetime import datetime

import numpy as np
import pytest
from PIL import Image

import vision_nb as vn
from tests.conftest import encoded, picture
from vision_nb.images.cards import image_cards, image_figure, image_strip, read_card
from vision_nb.images.document import ImageDocument, ImageList

DATA = re.compile(r'src="data:image/webp;base64,([^"]*)"')


def documents(count, size=(64, 48)):
    return ImageList(ImageDocument(image=picture(*size), image_name=f"{number}.png") for number in range(count))


def noise(width=1600, height=1200):
    return ImageDocument.of(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


def test_a_card_has_the_name_and_size_and_a_broken_image_the_reason(tmp_path):
    html = image_cards([*documents(1), ImageDocument.of(tmp_path / "missing.png")])
    assert "0.png<br>64 × 48 PNG" in html and 'alt="0.png"' in html
    assert html.count("<img") == html.count("<details") == html.count("<summary") == 1
    assert "missing.png<br>There is no file missing.png" in html and str(tmp_path) not in html


def test_a_page_has_20_cards_and_counts_the_others():
    html = documents(1000)._repr_html_()
    assert html.count("<details") == 20 and "and 980 more" in html


def test_a_page_of_photographs_is_under_100_kb():
    photo = noise()
    assert len(image_cards([photo] * 20)) < 90_000
    assert len(image_strip([photo] * 20)) < 35_000
    assert len(image_cards([photo])) < 30_000


def test_a_strip_has_no_captions_but_names_for_screen_readers():
    html = image_strip(documents(10))
    assert html.count("<img") == 8 and 'alt="0.png, 64 × 48 PNG"' in html and "<br>" not in html
    assert "and 2 more" in html
    assert image_strip([]) == ""


@pytest.mark.parametrize("show", [image_cards, image_strip, lambda documents: documents[0]._repr_html_()])
def test_names_are_escaped_in_text_and_attributes(show):
    document = ImageDocument(image=picture(), image_name='"><script>alert(1)</script>$x$ & \' onerror="f()".png')
    for one in (document, ImageDocument(image_path="\"><img src=x onerror='f()'>.png")):
        html = show([one])
        assert "<script" not in html and "<img src=x" not in html and "$x$" not in re.sub('"[^"]*"', "", html)
        assert not re.search(r'<[^>"]*(?:"[^"]*"[^>"]*)* onerror=', html)


@pytest.mark.parametrize("size", [(1, 400), (400, 1), (3, 2000), (1, 1)])
def test_extremely_wide_and_tall_images_stay_visible(size):
    for html in (image_cards(documents(1, size)), image_strip(documents(1, size))):
        assert int(re.search(r"width:(\d+)px", html)[1]) >= 24
        assert float(re.search(r"min-width:([\d.]+)%", html)[1]) > 0


def test_html_has_neither_scripts_nor_styles_nor_variables():
    html = image_cards(documents(3), columns=2) + image_strip(documents(2)) + documents(1)[0]._repr_html_()
    assert not re.search(r"<style|<script|class=|var\(|on\w+=", html)


def test_a_link_is_not_downloaded():
    link = ImageDocument(image_url="http://127.0.0.1:1/photo.jpg")
    link.show_as_link()
    assert read_card(link).facts == "not downloaded"
    assert "not downloaded" in image_cards([link])


def test_fewer_thumbnails_are_sharper():
    photo = noise()
    few, many = (DATA.search(image_cards([photo] * count))[1] for count in (1, 20))
    assert len(few) > 3 * len(many)


def test_a_webp_thumbnail_is_a_webp():
    document = ImageDocument.of(encoded(picture(640, 480)))
    assert document.thumbnail(100, mimetype="image/webp").startswith("data:image/webp")
    assert ImageDocument(image_url=document.thumbnail(100, mimetype="image/webp")).size == (100, 75)
    assert document.thumbnail().startswith("data:image/jpeg")


def images(tmp_path, *names, skipped=()):
    for name in names:
        (tmp_path / name).write_bytes(encoded(picture()))
    return ImageList((ImageDocument(image_path=tmp_path / name) for name in names), skipped)


def test_slices_sums_and_copies_are_lists_of_images_with_their_skipped_files(tmp_path):
    notes, other = (tmp_path / "notes.txt", "it is text"), (tmp_path / "b.csv", "it is text")
    first, second = images(tmp_path, "1.png", "2.png", skipped=[notes]), images(tmp_path, "3.png", skipped=[other])
    total = first + second
    assert [image.title for image in total] == ["1.png", "2.png", "3.png"] and total.skipped == [notes, other]
    assert first.skipped == [notes] and len(first) == 2
    more = first.copy()
    more += second
    assert more == total and more.skipped == [notes, other] and first.skipped == [notes]
    for found, titles in (
        (first[:1], ["1.png"]),
        (first[::-1], ["2.png", "1.png"]),
        (first.reversed(), ["2.png", "1.png"]),
        (first * 2, ["1.png", "2.png"] * 2),
        (2 * first, ["1.png", "2.png"] * 2),
        (first.copy(), ["1.png", "2.png"]),
        (first + [second[0]], ["1.png", "2.png", "3.png"]),  # noqa: RUF005
        ([second[0]] + first, ["3.png", "1.png", "2.png"]),  # noqa: RUF005
        (first.filter(lambda image: "2" in image.title), ["2.png"]),
        (first.sorted_by(lambda image: image.title, reverse=True), ["2.png", "1.png"]),
    ):
        assert isinstance(found, ImageList) and [image.title for image in found] == titles
        assert found.skipped == [notes] and found.skipped is not first.skipped
    assert first[1].title == "2.png"
    assert isinstance(vn.load_images(tmp_path / "*.png")[:2], ImageList)


def test_a_data_frame_of_images_has_sizes_times_and_tokens_and_the_reasons_of_broken_ones(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    exif.get_ifd(0x8769)[0x9003] = "2024:05:17 18:30:05"
    (tmp_path / "photo.jpg").write_bytes(encoded(picture(60, 40), "JPEG", exif=exif))
    (tmp_path / "drawing.png").write_bytes(encoded(picture(1024, 1024)))
    (tmp_path / "broken.png").write_bytes(encoded(picture())[:30])
    documents = ImageList(
        ImageDocument(image_path=tmp_path / name) for name in ("photo.jpg", "drawing.png", "broken.png")
    )
    table = documents.to_dataframe(model="gpt-4o")
    assert list(table.columns) == ["path", "width", "height", "type", "taken", "tokens", "error"]
    assert list(table.path) == [str(tmp_path / name) for name in ("photo.jpg", "drawing.png", "broken.png")]
    assert table.iloc[0][["width", "height", "type", "tokens"]].tolist() == [40, 60, "JPEG", 255]
    assert table.taken[0] == datetime(2024, 5, 17, 18, 30, 5) and table.taken[1:].isna().all()
    assert table.tokens[1] == 765 and "damaged" in table.error[2] and table.error[:2].isna().all()
    assert table.iloc[2][["width", "height", "type", "taken", "tokens"]].isna().all()
    assert "tokens" not in documents.to_dataframe() and len(ImageList().to_dataframe("gpt-4o")) == 0
    with pytest.raises(vn.errors.SettingsError, match="gpt-4o"):
        documents.to_dataframe("gtp-4o")


def test_cards_with_a_caption_are_not_wider_than_a_narrow_page():
    html = image_figure(ImageDocument(image=picture(800, 400)))
    assert not re.search(r"min-width:\d+px", html) and "width:480px;max-width:100%" in html


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
def test_the_table_of_images_says_which_files_are_cut_off(tmp_path, kind):
    data = encoded(picture(400, 300), kind)
    (tmp_path / "whole").write_bytes(data)
    (tmp_path / "padded").write_bytes(data + bytes(100))
    (tmp_path / "cut").write_bytes(data[: len(data) * 3 // 4])
    table = vn.load_images(tmp_path).to_dataframe()
    assert table["error"].isna().tolist() == [False, True, True]
    assert "cut is a damaged" in table["error"][0]


@pytest.mark.parametrize("text", ["", "0000:00:00 00:00:00", "yesterday", "2024:13:01 00:00:00"])
def test_an_invalid_time_in_exif_data_is_ignored(text):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = text
    exif[0x0132] = text
    assert ImageDocument(image=encoded(picture(), "JPEG", exif=exif)).taken is None


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_the_time_is_read_from_other_types_too(kind):
    exif = Image.Exif()
    exif[0x0132] = "2020:01:02 03:04:05"
    assert ImageDocument(image=encoded(picture(), kind, exif=exif)).taken == datetime(2020, 1, 2, 3, 4, 5)
