import io
import json

import numpy as np
import pytest
from matplotlib import cbook
from PIL import Image, ImageDraw, ImageFilter

from vision_nb.demo.answers import answer as answer_module
from vision_nb.demo.answers.answer import MOST_PICTURES, answer, topic_of
from vision_nb.demo.answers.colors import NAMES, main_colours, where
from vision_nb.demo.answers.measure import Measured, measure


def house() -> Image.Image:
    image = Image.new("RGB", (640, 480), "#78b8f0")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 300, 640, 480), fill="#2a9a42")
    draw.ellipse((500, 40, 580, 120), fill="#f9e021")
    draw.rectangle((220, 180, 380, 330), fill="#b34a3a")
    return image


def flag() -> Image.Image:
    image = Image.new("RGB", (300, 200), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 99, 200), fill="#0055a4")
    draw.rectangle((200, 0, 300, 200), fill="#ef4135")
    return image


def noise(seed: int = 0, size: tuple[int, int] = (120, 90)) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.fixture(scope="module")
def hopper() -> Image.Image:
    image = Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    image.load()
    return image


PICTURES = {
    "drawing": house,
    "flag": flag,
    "noise": noise,
    "one pixel": lambda: Image.new("RGB", (1, 1), "red"),
    "tall line": lambda: Image.new("L", (1, 5000), 10),
    "wide line": lambda: Image.new("L", (5000, 1), 250),
    "tiny": lambda: noise(1, (2, 2)),
    "clear": lambda: Image.new("RGBA", (40, 30), (0, 0, 0, 0)),
    "glass": lambda: Image.new("RGBA", (40, 30), (255, 0, 0, 100)),
}
QUESTIONS = [
    "What's in this image?",
    "Describe the images as an alternative text",
    "Which colours are there?",
    "How large is it?",
    "Is it bright?",
    "Is it sharp?",
    "can I know more?",
    "How many people are there?",
    "What is the difference?",
    "この画像を説明してください",
    "",
]


@pytest.fixture
def measured_once(monkeypatch):
    """Measure each picture once in a test that asks about it again and again."""
    found: dict[int, Measured] = {}
    monkeypatch.setattr(
        answer_module, "measure", lambda image: found.get(id(image)) or found.setdefault(id(image), measure(image))
    )


@pytest.mark.parametrize("name", PICTURES)
def test_prose_is_short_and_says_once_what_it_is(name, measured_once):
    picture, others = PICTURES[name](), [house(), flag(), noise()]
    for question in QUESTIONS:
        for images in ([picture], [picture, others[0]], [*others, picture, picture, others[0]]):
            text = answer(question, images)
            assert text.count("stand-in") == 1
            assert text.count("no language model") == 1
            assert text.count("measure pixels") == 1
            assert 40 <= len(text.split()) <= 120, text
            assert "{" not in text


@pytest.mark.parametrize("question", ["as JSON", "as a table", "write the code"])
def test_every_format_says_once_what_it_is(question):
    for images in ([noise()], [PICTURES["clear"](), house()], []):
        assert answer(question, images).count("stand-in") == 1


def test_the_same_question_gets_the_same_answer(hopper):
    assert answer("What is it?", [hopper, house()]) == answer("What is it?", [hopper, house()])


def test_a_drawing_is_told_by_size_colours_places_and_kind():
    text = answer("What's in this image?", [house()])
    assert "landscape" in text
    assert "640 x 480" in text
    assert "**sky blue** filling the upper half" in text
    assert "**green** along the bottom" in text
    assert "**brick red** in the centre" in text
    assert "**yellow** in the upper right" in text
    assert "suggest a drawing" in text


def test_a_photograph_is_told_believably(hopper):
    text = answer("What's in this image?", [hopper])
    assert "portrait format, **512 x 600 pixels**" in text
    assert "**black** along the bottom" in text  # the uniform
    assert "blue** on the right" in text  # the backdrop
    assert "**tan** in the centre" in text  # the face
    assert "edges are sharp" in text
    assert "suggest a photograph" in text


def test_blur_is_seen(hopper):
    blurred = hopper.filter(ImageFilter.GaussianBlur(6))
    assert "edges are blurred" in answer("Is it in focus?", [blurred])
    assert "Picture 1 is the sharper" in answer("Compare them", [hopper, blurred])


def test_blur_is_judged_alike_with_transparency(hopper):
    large = hopper.resize((1600, 1875))
    for image in (large, large.filter(ImageFilter.GaussianBlur(5)), large.filter(ImageFilter.GaussianBlur(25))):
        assert measure(image.convert("RGBA")).blur == pytest.approx(measure(image).blur, abs=0.06)


@pytest.mark.parametrize(
    ("colour", "word"),
    [("black", "very dark"), ("#303030", "rather dark"), ("#808080", "of medium brightness"), ("white", "very bright")],
)
def test_light_is_told(colour, word):
    assert f"is {word} overall" in answer("What is the lighting like?", [Image.new("RGB", (50, 50), colour)])


def test_contrast_is_told():
    checkers = Image.fromarray((np.indices((64, 64)).sum(axis=0) // 8 % 2 * 255).astype(np.uint8))
    assert "strong contrast" in answer("contrast?", [checkers])
    assert "hardly any contrast" in answer("contrast?", [Image.new("RGB", (64, 64), "teal")])


@pytest.mark.parametrize(
    ("question", "start"),
    [
        ("What colours do you see?", "The picture's main colours are"),
        ("is there any red?", "The picture's main colours are"),
        ("What are the dimensions?", "The picture is in landscape format"),
        ("How dark is it?", "The picture is of medium brightness"),
        ("Is it blurred?", "The edges are sharp"),
        ("Give me an alternative text", "**Alternative text:** A landscape-format drawing"),
        ("How many people are there?", "I cannot recognise people, things or writing"),
        ("Read the text on the sign", "I cannot recognise people, things or writing"),
        ("What is the difference?", "There is only one picture here"),
        ("can I know more?", "In figures: sky blue is `#78b8f0`"),
    ],
)
def test_the_question_decides_what_comes_first(question, start):
    assert answer(question, [house()]).startswith(start)


def test_a_caption_gives_the_shape_and_the_colours():
    assert "A square picture, wholly transparent." in answer("alt text", [Image.new("RGBA", (9, 9))])
    assert "a portrait" not in answer("alt text", [house().rotate(90, expand=True)])


def test_json_is_valid_and_holds_what_was_measured():
    value = json.loads(answer("Answer as JSON, please", [house()]))
    assert (value["width"], value["height"], value["shape"]) == (640, 480, "landscape")
    assert value["colours"][0] == {
        "name": "sky blue",
        "hex": "#78b8f0",
        "percent": 53,
        "where": "filling the upper half",
    }
    assert "stand-in" in value["note"]


def test_json_of_several_pictures_compares_them():
    value = json.loads(answer("JSON: compare", [house(), flag(), house()]))
    assert [image["width"] for image in value["images"]] == [640, 300, 640]
    assert value["comparison"]["most_alike"] == [1, 3]
    assert value["comparison"]["likeness_percent"] == 100


def test_json_without_a_picture_is_still_json():
    assert "%%vision" in json.loads(answer("json?", []))["note"]


def test_a_table_has_a_column_for_each_picture():
    lines = answer("Put that into a table", [house(), flag()]).split("\n\n")[0].splitlines()
    assert lines[0] == "| Measured | Picture 1 | Picture 2 |"
    assert {line.count("|") for line in lines} == {4}
    assert lines[2] == "| Size | 640 x 480 pixels | 300 x 200 pixels |"


def test_a_table_in_the_picture_is_no_wish_for_one():
    assert topic_of("What is on the table?") != "table"
    assert topic_of("Make a table of it") == "table"


def test_code_runs():
    text = answer("Write Python code with its palette", [house()])
    names: dict[str, object] = {}
    exec(text.split("```python")[1].split("```")[0], names)
    assert names["size"] == (640, 480)
    assert names["palette"]["green"] == "#2a9a42"


def test_identical_pictures_are_the_same():
    text = answer("Compare", [house(), house().convert("RGBA")])
    assert "**the same picture**, pixel for pixel" in text
    assert "The two are" in text


def test_one_other_pixel_makes_another_picture():
    other = house()
    other.putpixel((3, 3), (0, 0, 0))
    text = answer("Compare", [house(), other])
    assert "same picture" not in text
    assert "**99%** alike" in text


def test_the_same_bytes_in_another_shape_are_another_picture():
    assert "same picture" not in answer("Compare", [Image.new("L", (20, 10)), Image.new("L", (10, 20))])


def test_two_pictures_are_compared():
    text = answer("What is the relationship between those images?", [house(), flag()])
    assert text.startswith("The two are **")
    assert "Picture 1 is the larger" in text
    assert "1. **640 x 480**" in text
    assert "2. **300 x 200**" in text


def test_shared_colours_and_the_lighter_one_are_named():
    dark, light = Image.new("RGB", (90, 90), "black"), Image.new("RGB", (90, 90), "white")
    for image in (dark, light):
        ImageDraw.Draw(image).rectangle((0, 60, 90, 90), fill="#e1252b")
    text = answer("Compare", [dark, light])
    assert "Picture 2 is the lighter" in text
    assert "Both hold red." in text


def test_likeness_follows_the_eye(hopper):
    def percent(one: Image.Image, other: Image.Image) -> int:
        return int(answer("Compare", [one, other]).split("**")[1].rstrip("%"))

    shrunk = hopper.resize((200, 234))
    black, white = Image.new("L", (9, 9), 0), Image.new("L", (9, 9), 255)
    assert percent(hopper, shrunk) > 95
    assert percent(hopper, house()) < 40
    assert percent(black, white) == 0


def test_of_many_pictures_the_extremes_and_the_closest_pair_are_named():
    text = answer("Compare", [flag(), Image.new("RGB", (10, 10), "white"), noise(), house(), noise()])
    assert "Pictures 3 and 5 are **the same picture**" in text
    assert "Picture 2 is the lightest" in text
    assert "Picture 4 is the largest" in text
    assert "… and 2 more." in text


def test_more_pictures_than_are_measured_are_counted():
    images = [Image.new("RGB", (8, 8), (n, n, n)) for n in range(MOST_PICTURES + 20)]
    assert "The last 20 pictures are not measured." in answer("Compare", images)
    assert "The last 20 pictures are not measured." in answer("Make a table", images)
    assert json.loads(answer("JSON", images))["not_measured"] == 20


def test_a_question_can_single_out_one_picture():
    images = [house(), flag(), noise()]
    assert answer("How large is the second one?", images).startswith("Picture 2 is in landscape format")
    assert answer("What is in image 3?", images).startswith("Picture 3")
    assert answer("And the last?", images).startswith("Picture 3")
    assert "alike" in answer("Is the first like the second?", images)
    assert "alike" in answer("What is in image 9?", images)


def test_a_bare_follow_up_keeps_the_topic():
    text = answer("And the second one?", [house(), flag()], history=["How large is it?", "What colours are there?"])
    assert text.startswith("Picture 2's main colours are")


def test_without_a_picture_it_tells_how_to_add_one():
    text = answer("What's in this image?", [])
    assert "no picture" in text
    assert "%%vision -i" in text
    assert 40 <= len(text.split()) <= 120


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"])
def test_every_mode_is_measured(mode):
    source = house().convert("L").convert(mode) if mode in {"1", "LA", "PA"} else house()
    image = Image.new("LAB", (30, 20), (200, 128, 128)) if mode == "LAB" else source.convert(mode)
    assert measure(image).width == image.width
    assert "stand-in" in answer("What is it?", [image, house()])


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deep_greys_are_stretched_to_what_they_use(mode):
    ramp = np.linspace(1000, 3000, 64 * 64).reshape(64, 64)
    kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
    image = Image.fromarray(ramp.astype(kind))
    assert image.mode == mode
    measured = measure(image)
    assert measured.contrast > 0.9
    assert 0.4 < measured.light < 0.8


def test_a_float_picture_may_hold_nan_and_infinity():
    image = Image.fromarray(np.array([[np.nan, np.inf], [-np.inf, 1.0]], dtype=np.float32))
    assert "2 x 2" in answer("How large?", [image])


def test_a_palette_picture_with_a_transparent_colour_is_partly_clear():
    image = Image.new("P", (40, 40), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (0, 0, 40, 20))
    saved = io.BytesIO()
    image.save(saved, "PNG", transparency=0)
    measured = measure(Image.open(saved))
    assert measured.transparent == pytest.approx(0.5)
    assert [colour.name for colour in measured.colours] == ["blue"] or measured.colours[0].where != "everywhere"
    assert "50% transparent" in answer("bright?", [Image.open(saved)])


def test_what_is_transparent_has_no_colour():
    image = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 40, 20))
    assert [colour.hex for colour in measure(image).colours] == ["#0000ff"]


def test_the_picture_itself_is_left_alone(hopper):
    before = hopper.tobytes()
    answer("What is it?", [hopper])
    assert hopper.tobytes() == before


@pytest.mark.parametrize(("name", "value"), NAMES.items())
def test_every_named_colour_is_called_by_its_name(name, value):
    pixels = np.full((4, 4, 3), [value >> 16, value >> 8 & 255, value & 255], dtype=np.uint8)
    [colour] = main_colours(pixels, np.ones((4, 4), dtype=bool))
    assert (colour.name, colour.share, colour.where) == (name, 1.0, "everywhere")


@pytest.mark.parametrize(
    ("rows", "columns", "phrase"),
    [
        (slice(0, 10), slice(None), "across the top"),
        (slice(20, 30), slice(None), "along the bottom"),
        (slice(None), slice(0, 10), "down the left side"),
        (slice(None), slice(20, 30), "down the right side"),
        (slice(0, 15), slice(None), "filling the upper half"),
        (slice(None), slice(15, 30), "filling the right half"),
        (slice(10, 20), slice(None), "across the middle"),
        (slice(None), slice(10, 20), "down the middle"),
        (slice(13, 17), slice(13, 17), "in the centre"),
        (slice(0, 5), slice(25, 30), "in the upper right"),
        (slice(20, 30), slice(0, 10), "in the lower left"),
        (slice(0, 2), slice(13, 17), "at the top"),
        (slice(0, 30, 9), slice(0, 30, 9), "in many places"),
        (slice(0, 30, 2), slice(None), "spread all over"),
        (slice(0, 25), slice(None), "over most of it"),
    ],
)
def test_places_are_called_as_people_call_them(rows, columns, phrase):
    mask = np.zeros((30, 30), dtype=bool)
    mask[rows, columns] = True
    assert where(mask) == phrase


def test_a_frame_lies_round_the_edges():
    mask = np.ones((30, 30), dtype=bool)
    mask[5:25, 5:25] = False
    assert where(mask) == "all round the edges"


def test_a_small_vivid_spot_is_not_overlooked():
    image = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(image).ellipse((20, 150, 45, 175), fill="red")
    assert "**red** in the lower left (1%)" in answer("colours?", [image])
