"""The demo model's answers: what it measures on images, and the forms in which it says so."""

import datetime as dt
import json
from decimal import Decimal
from typing import Literal

import numpy as np
import pydantic
import pytest
from PIL import Image, ImageDraw, ImageFilter

import vision_nb as vn
from vision_nb import samples
from vision_nb.demo.answers.answer import ENGLISH_ONLY, MAX_IMAGES, answer
from vision_nb.demo.answers.measure import measure


def house():
    image = Image.new("RGB", (640, 480), "#78b8f0")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 300, 640, 480), fill="#2a9a42")
    draw.ellipse((500, 40, 580, 120), fill="#f9e021")
    return image


@pytest.fixture(scope="module")
def hopper():
    with Image.open(samples.path("grace_hopper")) as image:
        return image.convert("RGB")


EDGE_CASES = {
    "noise": Image.effect_noise((90, 60), 80),
    "one pixel": Image.new("RGB", (1, 1), "red"),
    "tall": Image.new("L", (1, 5000), 10),
    "transparent": Image.new("RGBA", (40, 30), (0, 0, 0, 0)),
    "16 bits": Image.fromarray(np.linspace(0, 65535, 900).reshape(30, 30).astype(np.uint16)),
    **{mode: house().resize((64, 48)).convert(mode) for mode in ("1", "L", "LA", "P", "RGBA", "CMYK")},
}


@pytest.mark.parametrize("name", EDGE_CASES)
def test_every_image_gets_a_short_answer(name):
    for images in ([EDGE_CASES[name]], [EDGE_CASES[name], EDGE_CASES["noise"]]):
        for question in ("What's in this image?", "Describe it in an alternative text", "Compare them", "この画像は?"):
            text = answer(question, images)
            assert 5 <= len(text.split()) <= 110, text
        assert json.loads(answer("as JSON", images)) and answer("as a table", images).startswith("| Measured |")


def test_an_answer_has_size_colors_brightness_and_sharpness(hopper):
    text = answer("What's in this image?", [hopper])
    assert text.startswith("The image's size is **512 x 600 pixels** (portrait).")
    assert "**black** at the bottom" in text  # the uniform
    assert "**steel blue** in the top right" in text  # the background
    assert "Its brightness is low, with very high contrast." in text
    assert "looks like a photograph" in text
    assert "looks like a drawing" in answer("", [house()])


@pytest.mark.parametrize(
    ("question", "start"),
    [
        ("What colors do you see?", "The image's main colors are **sky blue** at the top"),
        ("Which colours?", "The image's main colors are"),
        ("How large is it?", "The image's size is **640 x 480 pixels** (landscape)"),
        ("How bright is it?", "The image's brightness is"),
        ("Is it sharp?", "The image's sharpness is"),
        ("Write an alternative text", "**Alternative text:** A landscape drawing with sky blue at the top"),
    ],
)
def test_the_answer_begins_with_what_the_question_asks_for(question, start):
    assert answer(question, [house()]).startswith(start)


@pytest.mark.parametrize("model", ["demo", "fuyu-8b", "minigpt-4"])
def test_the_size_of_an_image_that_was_scaled_is_that_as_sent(model):
    llm = vn.connect("demo")
    sizes = {(4000, 3000): "**1,024 x 768 pixels as sent**", (640, 480): "**640 x 480 pixels**"}
    for size, text in sizes.items():
        sent = llm.complete("How large is it?", [Image.new("RGB", size, "red")]).sent_images[0].seen_size
        assert text in answer("How large is it?", [Image.new("RGB", sent, "red")], model=model)


def test_blur_is_measured(hopper):
    assert measure(hopper).facts["sharpness"] == "very high"
    assert measure(hopper.filter(ImageFilter.GaussianBlur(6))).facts["sharpness"] == "very low"


def test_several_images_are_listed_and_compared(hopper):
    text = answer("What is the difference?", [house(), hopper.filter(ImageFilter.GaussianBlur(6))])
    assert text.startswith("The images are **")
    assert "Image 1 is brighter and sharper." in text
    assert "1. **640 x 480 pixels.** A landscape drawing with" in text
    text = answer("Which are alike?", [house(), hopper, house()])
    assert "Images 1 and 3 are the most similar (**100%**)." in text


def test_a_question_can_name_one_image(hopper):
    images = [house(), hopper]
    assert answer("How large is the second one?", images).startswith("Image 2's size is **512 x 600")
    assert answer("What is in image 1?", images).startswith("Image 1's size is **640 x 480")
    assert "similar" in answer("Is the first like the second?", images)
    assert "similar" in answer("What is in image 9?", images)


def test_json_holds_the_measurements(hopper):
    value = json.loads(answer("Answer as JSON, please", [house()]))
    assert (value["width"], value["height"], value["shape"]) == (640, 480, "landscape")
    color = value["colors"][0]
    assert (color["name"], color["hex"], color["where"]) == ("sky blue", "#78b8f0", "at the top")
    assert 55 <= color["percent"] <= 65
    value = json.loads(answer("JSON", [house(), hopper, house()]))
    assert [image["width"] for image in value["images"]] == [640, 512, 640]


def test_a_table_has_a_column_for_each_image(hopper):
    lines = answer("as a table", [house(), hopper]).split("\n\n")[0].splitlines()
    assert lines[0] == "| Measured | Image 1 | Image 2 |"
    assert lines[2] == "| width | 640 | 512 |"
    assert {line.count("|") for line in lines} == {4}


def test_code_runs():
    names = {}
    exec(answer("Write Python code with its palette", [house()]).split("```python")[1].split("```")[0], names)
    assert names["size"] == (640, 480)
    assert names["palette"]["green"] == "#2a9a42"


def test_images_beyond_the_limit_are_counted():
    images = [Image.new("RGB", (8, 8), "red")] * (MAX_IMAGES + 20)
    for question in ("Compare", "as a table", "as JSON"):
        assert "20 more images were not measured" in answer(question, images)


def test_without_an_image_the_answer_says_how_to_add_one():
    text = answer("What's in this image?", [])
    assert "no image" in text and "%%vision -i" in text
    assert "%%vision -i" in json.loads(answer("as JSON", []))["note"]


@pytest.mark.parametrize("names", [("llava-13b", "fuyu-8b", "minigpt-4"), ("demo", "demo/two", "demo/one")])
def test_three_model_names_give_true_answers_of_different_length_and_form(names, hopper):
    for images, questions in (([hopper], ("What's in this image?", "How large is it?")), ([hopper, house()], ("?",))):
        for question in questions:
            sentences, brief, listed = (answer(question, images, model=name) for name in names)
            assert 2 * len(brief) < len(sentences)
            assert listed.count("\n- ") >= 2 and not sentences.count("\n- ")
            assert all(
                text == answer(question, images, model=name)
                for name, text in zip(names, (sentences, brief, listed), strict=True)
            )
    assert all("512 x 600 pixels" in answer("How large is it?", [hopper], model=name) for name in names)
    texts = {answer("Write an alternative text", [hopper], model=name) for name in names}
    assert len(texts) == 3


@pytest.mark.parametrize(
    "question",
    [
        "Was zeigt das Bild?",
        "Wie groß ist es?",
        "Décris cette image.",
        "Qu'est-ce que c'est ?",
        "¿Qué hay en la imagen?",
        "Che cosa vedi?",
        "Wat zie je op de foto?",
        "この画像は?",
        "Что на картинке?",
        "ما هذا؟",
    ],
)
def test_a_question_in_another_language_is_told_that_the_demo_knows_english_only(question):
    assert answer(question, [house()]).startswith(f"{ENGLISH_ONLY}\n\nThe image's size is")
    assert answer(question, []).startswith(ENGLISH_ONLY)
    assert json.loads(answer(question + " JSON", [house()]))["note"] == ENGLISH_ONLY


@pytest.mark.parametrize(
    "question",
    [
        "What does 'das Bild' mean?",
        "What does 東京都 mean?",
        "Translate: これは日本語の長い文章です",
        "Is the Rue de la Paix on it?",
        "Who painted La Gioconda?",
        "What does Das Bild der Frau mean on this page?",
        "Las Vegas or Los Angeles?",
        "How large?",
        "Colors?",
        "?",
    ],
)
def test_an_english_question_with_foreign_words_is_not_called_foreign(question):
    assert ENGLISH_ONLY not in answer(question, [house()])


def test_a_small_vivid_spot_is_an_additional_color():
    image = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(image).ellipse((20, 150, 45, 175), fill="red")
    assert "**red** in the bottom left (1%)" in answer("colors?", [image])


def test_transparent_pixels_have_no_color():
    image = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 40, 20))
    assert [color["hex"] for color in measure(image).colors] == ["#0000ff"]


class Money(pydantic.BaseModel):
    amount: Decimal
    currency: Literal["EUR", "USD"]


class Look(pydantic.BaseModel):
    width: int
    height: int
    brightness: float
    sharpness: str
    main_color: Literal["black", "white", "red"]
    background: Literal["red", "blue", "white"]
    mood: Literal["happy", "sad", "unknown"]
    shop: str | None
    date: dt.date | None
    total: Money | None
    items: list[Money]
    price: Decimal
    description: str


def test_a_schema_is_filled_with_what_was_measured_and_null_where_nothing_is_known():
    look = vn.connect("demo").complete("Read it.", [vn.samples.path("chart")], schema=Look).parsed
    assert (look.width, look.height) == (1000, 600)
    assert 0.7 < look.brightness < 1
    assert look.sharpness == "very high"
    assert (look.main_color, look.background, look.mood) == ("white", "white", "unknown")
    assert (look.shop, look.date, look.total, look.items) == (None, None, None, [])
    assert look.price == 0
    assert look.description.startswith("A landscape drawing with white")


def test_a_color_is_found_among_the_choices_of_an_enum():
    red = {"properties": {"tint": {"enum": ["blue", "red"]}}}
    image = Image.new("RGB", (30, 30), (190, 20, 20))
    assert json.loads(answer("What?", [image], red)) == {"tint": "red"}
    assert json.loads(answer("What?", [image], {"properties": {"tint": {"enum": ["blue", None]}}})) == {"tint": None}
    listed = {"properties": {"colors": {"type": "array", "minItems": 1, "items": {"enum": ["blue", "x"]}}}}
    assert json.loads(answer("What?", [Image.new("RGB", (30, 30), (120, 180, 250))], listed)) == {"colors": ["blue"]}


@pytest.mark.parametrize(
    ("name", "choices", "expected"),
    [
        ("brightness", ["dark", "medium", "bright"], "bright"),
        ("brightness", ["very low", "low"], "low"),
        ("brightness", ["Low", "High"], "High"),
        ("background", ["light", "dark"], "light"),
        ("quality", ["blurry", "sharp"], "sharp"),
        ("layout", ["vertical", "horizontal"], "horizontal"),
        ("kind", ["photo", "illustration"], "illustration"),
        ("main_color", ["navy", "dark-red", "ivory"], "ivory"),
        ("risk", ["low", "high"], "low"),  # not measured: the first
        ("brightness", ["heavy", "dark"], "heavy"),  # no scale
    ],
)
def test_an_enum_gets_the_choice_that_is_nearest_to_what_is_seen(name, choices, expected):
    with Image.open(vn.samples.path("chart")) as image:
        value = json.loads(answer("What?", [image], {"properties": {name: {"enum": choices}}}))
    assert value == {name: expected}


def test_a_schema_in_the_question_is_followed_too(server):
    llm = vn.ReplicateMultiModal("llava-13b", api_token="r8_demo", api_base=server.replicate_base)
    assert llm.complete("Read it.", [vn.samples.path("chart")], schema=Look).parsed.width == 1000


def test_a_schema_that_cannot_be_filled_is_reported():
    class Code(pydantic.BaseModel):
        code: str = pydantic.Field(pattern="^[A-Z]{3}-[0-9]{4}$")

    with pytest.raises(vn.errors.SchemaError, match="The demo model cannot fill this schema: code"):
        vn.connect("demo").complete("Read it.", [vn.samples.path("chart")], schema=Code)


@pytest.mark.filterwarnings("ignore:Automatically retrieving")
def test_the_documents_that_a_schema_refers_to_are_not_downloaded(server):
    text = answer("What?", [], {"properties": {"a": {"$ref": f"{server.url}/schema"}}})
    assert "the schema refers to" in text
    assert not server.requests


@pytest.mark.parametrize(
    "question, expected",
    [
        ("Return bounding boxes as JSON.", {"green": (0, 300, 640, 480), "yellow": (500, 40, 580, 120)}),
        ("Give the bounding box of the yellow area.", {"yellow": (500, 40, 580, 120)}),
        ("Boxes of the sky blue and the green parts?", {"sky blue": (0, 0, 640, 300), "green": (0, 300, 640, 480)}),
    ],
)
def test_the_demo_answers_a_request_for_boxes_with_areas_of_colors(server, question, expected):
    with vn.connect("demo", api_base=server.openai_base) as llm:
        response = llm.complete(question, house().resize((1280, 960)))  # sent smaller, at 1,024 x 768
    found = {box.label: tuple(box) for box in response.boxes()}
    assert found.keys() == expected.keys()
    for label, sides in expected.items():
        assert found[label] == pytest.approx([2 * side for side in sides], abs=16)


def test_the_demo_says_on_which_image_boxes_are_and_that_a_color_is_missing():
    images = [house(), Image.new("RGB", (10, 10), "red")]
    assert answer("Bounding boxes?", images).startswith("On image 1:")
    assert '"label": "red"' in answer("Bounding boxes on the second image?", images)
    assert answer("The bounding box of the purple area?", images[:1]) == "The image has no matching area."


def test_a_color_that_is_missing_is_found_in_its_shades():
    image = Image.new("RGB", (20, 10), (0x8A, 0x12, 0x20))
    assert '"bbox_2d": [0, 0, 1000, 1000], "label": "dark red"' in answer("Boxes of the red areas?", [image])
    image.paste((0xE1, 0x25, 0x2B), (10, 0, 20, 10))
    assert '"label": "dark red"' not in answer("Boxes of the red areas?", [image])


@pytest.mark.parametrize("name", EDGE_CASES)
def test_every_image_has_an_answer_to_a_question_for_boxes(name):
    text = answer("Bounding boxes?", [EDGE_CASES[name]])
    assert text == "The image has no matching area." or json.loads(text.removeprefix("```json").removesuffix("```"))
