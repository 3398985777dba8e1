"""Boxes in answers, in pixels of the original image, and crops."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageColor, ImageDraw, ImageFont

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.forms import EIGHT_FORMS, ask
from vision_nb import errors
from vision_nb.demo import sample_url
from vision_nb.images.box_conventions import CONVENTIONS
from vision_nb.images.box_drawing import COLORS, images_with_boxes
from vision_nb.images.boxes import SentImage
from vision_nb.notebook.display import StreamingDisplay
from vision_nb.store import Store

QWEN_3 = "Qwen/Qwen3-VL-8B-Instruct"
JSON = '```json\n[\n\t{{"{key}": {box}, "label": "a cat"}}\n]\n```'


def blank(width, height, *, is_rotated=False):
    """Return an image; if it is rotated, its file has the sides exchanged and an EXIF orientation."""
    image = Image.new("RGB", (height, width) if is_rotated else (width, height), "gray")
    exif = Image.Exif()
    exif[0x0112] = 6
    return vn.ImageDocument(image=encoded(image, "JPEG", **({"exif": exif} if is_rotated else {})))


def answer(text, model, size=(2000, 1000), **values):
    """Return an answer about one image that the model saw at its original size."""
    return vn.CompletionResponse(text, model=model, sent_images=(SentImage("a.jpg", size, size),), **values)


def sides(boxes):
    return [tuple(box) for box in boxes]


@pytest.mark.parametrize(
    "model, size, seen, text, expected",
    [
        (  # Qwen2-VL: its special tokens, in 0..1000
            "Qwen/Qwen2-VL-7B-Instruct",
            (2000, 1000),
            (1988, 1008),
            "<|object_ref_start|>a cat<|object_ref_end|><|box_start|>(100,250),(500,750)<|box_end|>",
            (200, 250, 1000, 750),
        ),
        (  # Qwen-VL's own
            "Qwen/Qwen2-VL-7B-Instruct",
            (2000, 1000),
            (1988, 1008),
            "<ref>a cat</ref><box>(100,250),(500,750)</box>",
            (200, 250, 1000, 750),
        ),
        (  # what servers leave of Qwen2-VL's answer when they skip special tokens
            "Qwen/Qwen2-VL-7B-Instruct",
            (2000, 1000),
            (1988, 1008),
            "a cat(100,250),(500,750)",
            (200, 250, 1000, 750),
        ),
        (  # Qwen2.5-VL: pixels after its own rounding to 107 x 143 patches of 28 pixels
            "Qwen/Qwen2.5-VL-7B-Instruct",
            (3000, 4000),
            (2996, 4004),
            JSON.format(key="bbox_2d", box=[749, 1001, 1498, 2002]),
            (750, 1000, 1500, 2000),
        ),
        (  # Qwen2.5-VL: the image is scaled down before it is sent, to 180 x 90 patches
            "qwen2.5-vl-72b-instruct",
            (6000, 3000),
            (5068, 2520),
            JSON.format(key="bbox_2d", box=[1267, 630, 2534, 1260]),
            (1500, 750, 3000, 1500),
        ),
        (  # Qwen3-VL
            QWEN_3,
            (3000, 4000),
            (3008, 4000),
            JSON.format(key="bbox_2d", box=[100, 250, 500, 750]),
            (300, 1000, 1500, 3000),
        ),
        (  # Gemini: y first
            "gemini-2.5-flash",
            (2000, 1000),
            (2000, 1000),
            JSON.format(key="box_2d", box=[250, 100, 750, 500]),
            (200, 250, 1000, 750),
        ),
        (  # Claude: pixels of the image scaled to a longest side of 1,568
            "claude-sonnet-4-5",
            (2000, 1000),
            (1568, 784),
            JSON.format(key="box", box=[784, 196, 1568, 588]),
            (1000, 250, 2000, 750),
        ),
    ],
)
@pytest.mark.parametrize("is_rotated", [False, True], ids=["upright", "rotated by EXIF"])
def test_boxes_are_in_pixels_of_the_upright_original(server, model, size, seen, text, expected, is_rotated):
    server.answer_with(text)
    with vn.LocalMultiModal(model, api_base=server.openai_base) as llm:
        response = llm.complete("Where is the cat?", blank(*size, is_rotated=is_rotated))
    (sent,) = response.sent_images
    assert (sent.size, sent.seen_size) == (size, seen)
    (box,) = response.boxes()
    assert tuple(box) == pytest.approx(expected, abs=0.1)
    assert (box.label, box.image) == ("a cat", 0)


def test_the_rows_of_a_comparison_have_boxes_also_when_they_come_from_the_store(server, tmp_path):
    server.answer_with(JSON.format(key="bbox_2d", box=[1267, 630, 2534, 1260]))
    image = blank(6000, 3000)
    with vn.LocalMultiModal("qwen2.5-vl-72b-instruct", api_base=server.openai_base) as llm:
        for _ in range(2):
            (row,) = vn.compare(llm, "Where?", image, store=tmp_path / "a.sqlite3", progress=False)
            (box,) = row.boxes()
            assert tuple(box) == pytest.approx((1500, 750, 3000, 1500), abs=0.1)
    assert row.from_store and box.label == "a cat"


@pytest.mark.parametrize(
    "text, expected",
    [
        ('<point x="25.0" y="50.0" alt="a cat">a cat</point>', [(500, 500)]),
        ('<points x1="25.0" y1="50.0" x2="75.5" y2=" 10" alt="a cat">cats</points>', [(500, 500), (1510, 100)]),
        ('<point x="25.0" y="110.0" alt="a cat">a cat</point>', []),  # outside the image
    ],
)
def test_molmos_points_are_in_percent(text, expected):
    boxes = answer(text, "allenai/Molmo-7B-D-0924").boxes()
    assert [box.center for box in boxes] == expected
    assert all(box.is_point and box.label == "a cat" for box in boxes)
    assert answer(text, "some-model").boxes() == boxes  # the notation is Molmo's own


@pytest.mark.parametrize(
    "model, text, expected",
    [
        (QWEN_3, '{"point_2d": [250, 500], "label": "eye"}', (500, 500, 500, 500)),
        ("gemini-3-flash", '[{"point": [500, 250], "label": "eye"}]', (500, 500, 500, 500)),
        ("claude-opus-4-8", '{"label": "eye", "bounding_box": {"x1": 1, "y1": 2, "x2": 3, "y2": 4}}', (1, 2, 3, 4)),
        ("gemini-2.5-pro", '{"label": "eye", "box": {"ymin": 1, "xmin": 2, "ymax": 3, "xmax": 4}}', (4, 1, 8, 3)),
        ("claude-opus-4-8", '{"items": {"left": [{"name": "eye", "box": [1, 2, 3, 4]}]}}', (1, 2, 3, 4)),
    ],
)
def test_points_named_sides_and_nested_json_are_read(model, text, expected):
    (box,) = answer(text, model).boxes()
    assert (tuple(box), box.label) == (expected, "eye")


def test_a_key_with_several_boxes_gives_all_of_them():
    assert len(answer('{"bbox_2d": [[1, 2, 3, 4], [5, 6, 7, 8]], "label": "eyes"}', QWEN_3).boxes()) == 2


def test_lists_without_a_name_are_boxes_only_of_models_with_a_known_convention():
    text = "The tables are at [[100, 200, 300, 400], [9, 9, 1, 1]], see [1]."
    assert sides(answer(text, "claude-sonnet-5").boxes()) == [(100, 200, 300, 400)]
    assert answer(text, "gpt-4o").boxes() == []
    assert sides(answer(text, "gpt-4o").boxes(convention="pixels")) == [(100, 200, 300, 400)]


@pytest.mark.parametrize("model", ["gpt-4o", "claude-sonnet-5", "gemini-2.5-pro", QWEN_3])
def test_pairs_of_numbers_in_prose_are_not_boxes(model):
    text = "The line goes through (1, 2), (3, 4)."
    assert answer(text, model).boxes() == []
    assert len(answer(text, model).boxes(convention="qwen2-vl")) == 1


def test_geminis_key_has_geminis_order_for_every_model():
    text = JSON.format(key="box_2d", box=[250, 100, 750, 500])
    assert sides(answer(text, "my-deployment").boxes()) == [(200, 250, 1000, 750)]
    assert sides(answer(text, "qwen3-vl-plus").boxes()) == [(200, 250, 1000, 750)]
    assert sides(answer(text, "gemini-2.5-pro").boxes(convention="thousandths")) == [(500, 100, 1500, 500)]


def test_without_a_known_convention_the_error_names_the_argument():
    response = answer(JSON.format(key="bbox_2d", box=[100, 200, 300, 400]), "my-deployment")
    with pytest.raises(
        errors.SettingsError, match="How my-deployment writes coordinates is not known: pass convention="
    ):
        response.boxes()
    for convention, expected in {
        "pixels": (100, 200, 300, 400),
        "qwen3-vl": (200, 200, 600, 400),
        "original": (100, 200, 300, 400),
    }.items():
        assert sides(response.boxes(convention=convention)) == [expected]
    with pytest.raises(errors.SettingsError, match="Unknown convention 'yolo': use one of qwen2-vl, "):
        response.boxes(convention="yolo")


def test_pixels_refer_to_the_image_as_seen_and_original_to_the_original():
    image = SentImage("a.jpg", (4000, 2000), (1000, 500))
    response = vn.CompletionResponse('{"box": [10, 20, 30, 40]}', sent_images=(image,))
    assert sides(response.boxes(convention="pixels")) == [(40, 80, 120, 160)]
    assert sides(response.boxes(convention="original")) == [(10, 20, 30, 40)]
    assert sides(replace(response, text='{"box": [0.1, 0.2, 0.5, 1]}').boxes(convention="fractions")) == [
        (400, 400, 2000, 2000)
    ]


def test_boxes_beyond_the_image_are_clamped_and_boxes_outside_are_left_out():
    text = json.dumps([{"bbox_2d": box} for box in ([-50, 900, 200, 1100], [1001, 0, 1100, 10], [500, 600, 100, 200])])
    assert sides(answer(text, QWEN_3).boxes()) == [(0, 900, 400, 1000), (200, 200, 1000, 600)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "There is no cat.",
        "[]",
        '{"bbox_2d": null}',
        '{"bbox_2d": "1, 2, 3, 4"}',
        '{"bbox_2d": [1, 2, 3]}',
        '{"bbox_2d": [1, 2, 3, true]}',
        '{"bbox_2d": [1, 2, 3, NaN]}',
        '{"bbox_2d": [1, 2, 3, 1e999]}',
        '{"bbox_2d": [1, 2, 3, ' + "9" * 400 + "]}",
        '{"bbox_2d": [1, 2, 3, ' + "9" * 5000 + "]}",
        '{"bbox_2d": [1, 2, {"x": [3, 4]}]}',
        "[" * 100_000,
        '{"a":' * 100_000,
        "<point " + 'x="1" ' * 10_000,
        "<points " * 10_000,
        "(1,2),(" * 10_000,
        "<ref>" * 10_000,
        "<box>" + "(1," * 10_000,
    ],
    ids=lambda text: text[:24],
)
def test_nothing_found_and_malformed_boxes_give_an_empty_list(text):
    assert answer(text, QWEN_3).boxes() == []


def test_the_complete_boxes_of_an_answer_that_was_cut_off_are_read():
    text = '```json\n[{"bbox_2d": [1, 2, 3, 4], "label": "a"}, {"bbox_2d": [5, 6, 7, 8], "label": "b"}, {"bbox_2d": [9'
    assert [box.label for box in answer(text, QWEN_3).boxes()] == ["a", "b"]


def test_json_that_is_nested_too_deeply_for_boxes_is_not_an_error():
    box, documents = '{"bbox_2d": [1, 2, 3, 4]}', [blank(2000, 1000)]
    for depth, count in ((20, 1), (300, 0), (5000, 0)):
        for opening, closing in ("[]", ('{"a":', "}")):
            nested = answer(opening * depth + box + closing * depth, "demo")
            assert len(nested.boxes()) == count
            assert (images_with_boxes(documents, nested) == documents) is (count == 0)
    assert answer("[" * 300 + "1, 2, 3, 4" + "]" * 300, "demo").boxes() == []


def test_labels_are_one_line_of_at_most_200_characters():
    label = "two\nlines \ud800 " + "x" * 300
    (box,) = answer(json.dumps({"bbox_2d": [1, 2, 3, 4], "label": label}), QWEN_3).boxes()
    assert box.label.startswith("two lines \ufffd xxx") and len(box.label) == 200


def test_a_question_with_several_images_needs_the_index(server):
    server.answer_with(JSON.format(key="bbox_2d", box=[100, 200, 300, 400]))
    with vn.LocalMultiModal(QWEN_3, api_base=server.openai_base) as llm:
        response = llm.complete("Where is the cat?", [blank(100, 100), blank(200, 100)])
    with pytest.raises(errors.SettingsError, match="The question has 2 images: pass image=0"):
        response.boxes()
    assert [(*box, box.image) for box in response.boxes(image=-1)] == [(20, 20, 60, 40, 1)]
    for wrong in (2, -3):
        with pytest.raises(errors.SettingsError, match="must be an index of the question's 2 images"):
            response.boxes(image=wrong)


@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_every_form_of_answer_knows_its_images(server, form):
    server.answer_with(JSON.format(key="bbox_2d", box=[100, 200, 300, 400]))
    async with vn.LocalMultiModal(QWEN_3, api_base=server.openai_base) as llm:
        response = await ask(llm, form, images=[blank(200, 100)])
    assert sides(response.boxes()) == [(20, 20, 60, 40)]


def test_in_a_conversation_boxes_are_on_the_images_of_the_last_question_that_has_any(server):
    server.answer_with(JSON.format(key="bbox_2d", box=[100, 200, 300, 400]))
    with vn.LocalMultiModal(QWEN_3, api_base=server.openai_base) as llm:
        chat = vn.Chat(llm)
        chat.ask("What is this?", [blank(900, 900)])
        chat.ask("And this?", [blank(200, 100)])
        response = chat.ask("Where is the cat?")
    assert sides(response.boxes()) == [(20, 20, 60, 40)]


def test_an_image_sent_as_a_url_needs_its_size(server):
    server.answer_with(JSON.format(key="bbox_2d", box=[100, 200, 300, 400]))
    with vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base) as llm:
        response = llm.complete("Where?", vn.ImageDocument(image_url=sample_url(server, "chart")))
    with pytest.raises(
        errors.SettingsError, match=r"The size of chart.png is not known.*images=, or .*inline_urls=True"
    ):
        response.boxes(convention="qwen3-vl")
    assert sides(response.boxes(convention="qwen3-vl", images=blank(200, 100))) == [(20, 20, 60, 40)]


def test_an_answer_without_known_images_needs_them():
    response = vn.CompletionResponse(JSON.format(key="bbox_2d", box=[100, 200, 300, 400]), model=QWEN_3)
    with pytest.raises(errors.SettingsError, match="its images are not known: pass them as images="):
        response.boxes()
    assert sides(response.boxes(images=[blank(200, 100)])) == [(20, 20, 60, 40)]


def test_an_answer_from_the_store_has_its_boxes(tmp_path):
    response = answer(JSON.format(key="bbox_2d", box=[100, 200, 300, 400]), QWEN_3, finish_reason="stop")
    response = replace(response, sent_images=(*response.sent_images, SentImage("by-url.jpg")))
    with Store(tmp_path / "answers.sqlite3") as store:
        store.put("key", "local:m", response)
        stored = store.get("key")
    assert stored.sent_images == response.sent_images
    assert stored.boxes(image=0) == response.boxes(image=0)


def test_a_loaded_conversation_knows_its_boxes_and_maps_them_to_the_saved_image(server, tmp_path):
    server.answer_with(JSON.format(key="bbox_2d", box=[1267, 630, 2534, 1260]))
    with vn.LocalMultiModal("qwen2.5-vl-72b-instruct", api_base=server.openai_base) as llm:
        chat = vn.Chat(llm)
        asked = chat.ask("Where is the cat?", [blank(6000, 3000)])
        chat.export(tmp_path / "chat.json")
        (turn,) = vn.Chat.load(tmp_path / "chat.json", llm).turns
    assert turn.answer.boxes() == asked.boxes() and sides(asked.boxes()) == [(1500, 750, 3000, 1500)]
    saved = turn.question.image_documents
    assert saved[0].size == (2048, 1024)
    assert sides(turn.answer.boxes(images=saved)) == [(512, 256, 1024, 512)]


@pytest.mark.parametrize("size", [[1], [0, 5], "ab", [1, 2.5], [True, 5], {}, 7, [10**9, 5]])
def test_a_damaged_size_in_a_saved_conversation_is_refused(server, tmp_path, size):
    with vn.connect("demo", api_base=server.openai_base) as llm:
        chat = vn.Chat(llm)
        chat.ask("How large is it?", [blank(60, 30)])
        path = tmp_path / "chat.json"
        chat.export(path)
        content = json.loads(path.read_text())
        content["turns"][0]["answer"]["sent_images"][0]["size"] = size
        path.write_text(json.dumps(content))
        with pytest.raises(errors.SettingsError, match="damaged"):
            vn.Chat.load(path, llm)


def test_every_convention_has_a_source_and_a_date():
    assert all(row.source and row.read for row in CONVENTIONS.values())


def test_a_crop_has_the_pixels_of_the_upright_image_and_a_name(tmp_path):
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(64, 48).save(path, quality=95, exif=exif)
    document = vn.ImageDocument(image_path=path, detail="high")
    crop = document.crop((10, 20, 40, 50))
    assert document.crop(10, 20, 40, 50).title == crop.title
    assert (crop.title, crop.size, crop.detail) == ("photo.jpg#xywh=10,20,30,30", (30, 30), "high")
    assert crop.to_pil().tobytes() == document.to_pil().crop((10, 20, 40, 50)).tobytes()
    assert crop.crop((5, 5, 15, 25)).title == "photo.jpg#xywh=15,25,10,20"


def test_a_crop_includes_partly_covered_pixels_and_nothing_outside_the_image():
    document = blank(100, 60)
    assert document.crop(vn.Box(10.4, 20.6, 30.2, 40.9)).title == "JPEG image#xywh=10,20,21,21"
    assert document.crop((-10, 30, 500, 70)).size == (100, 30)


@pytest.mark.parametrize("box", [(100, 0, 120, 10), (-20, 0, 0, 10), (5, 5, 5, 9), (200, 200, 300, 300)])
def test_a_crop_without_pixels_is_an_error(box):
    with pytest.raises(errors.SettingsError, match="contains no pixel of JPEG image, which is 100 x 60 pixels"):
        blank(100, 60).crop(box)


@pytest.mark.parametrize("box", [(1, 2, 3), "abcd", None, 5, (1, 2, 3, float("nan")), (1, 2, 3, "4"), (9, 0, 1, 5)])
def test_an_invalid_box_is_an_error(box):
    with pytest.raises(errors.SettingsError, match=r"A box (is|has)"):
        blank(100, 60).crop(box)


def contrast(one, other):
    """Return the contrast of two colors as WCAG 2.2 defines it."""

    def luminance(color):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in color)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("background", ["black", "white", "gray", *COLORS])
@pytest.mark.parametrize("side", [60, 600, 1500])
def test_boxes_and_labels_are_readable_on_any_background(background, side):
    image = Image.new("RGB", (side, side), background)
    box = vn.Box(side * 0.2, side * 0.4, side * 0.8, side * 0.9, "a cat")
    drawn = vn.draw_boxes(image, [box]).to_pil()
    assert drawn.size == image.size
    line = {drawn.getpixel((x, side * 2 // 3)) for x in range(side // 10, side // 3)}
    assert max(contrast(color, ImageColor.getrgb(background)) for color in line) > 4.5
    label = drawn.crop((round(box.left) + 3, round(box.top) - 10, round(box.left) + 20, round(box.top) - 4))
    assert max(contrast(color, ImageColor.getrgb(COLORS[0])) for _, color in label.getcolors(1000)) > 4.5


def test_every_color_of_labels_has_a_readable_text():
    boxes = [vn.Box(5, 60 + 80 * n, 200, 100 + 80 * n, f"label {n}") for n in range(len(COLORS))]
    drawn = vn.draw_boxes(Image.new("RGB", (600, 700), "white"), boxes).to_pil()
    for number, box in enumerate(boxes):
        label = drawn.crop((round(box.left) + 8, round(box.top) - 14, round(box.left) + 40, round(box.top) - 5))
        shares = {color: count for count, color in label.getcolors(10_000)}
        background = ImageColor.getrgb(COLORS[number])
        assert max(shares, key=shares.get) == background
        assert max(contrast(color, background) for color in shares) > 4.5


def test_equal_labels_have_the_same_color_and_other_labels_another_one():
    boxes = [vn.Box(20, 60, 100, 160, "cat"), vn.Box(120, 60, 200, 160, "dog"), vn.Box(220, 60, 300, 160, "cat")]
    drawn = vn.draw_boxes(Image.new("RGB", (400, 200), "white"), boxes, labels=False).to_pil()
    first, second, third = (drawn.getpixel((round(box.left), 110)) for box in boxes)
    assert first == third != second


def test_labels_stay_within_the_image():
    image = Image.new("RGB", (200, 200), "gray")
    boxes = [vn.Box(150, 0, 200, 30, "a label at the corner"), vn.Box(0, 190, 5, 200, "a very long label " * 20)]
    vn.draw_boxes(image, boxes)  # Pillow draws nothing outside, so see that there is something inside
    white = sum(count for count, color in vn.draw_boxes(image, boxes).to_pil().getcolors(40_000) if color == (255,) * 3)
    assert white > 200


def test_only_the_beginning_of_a_long_label_is_measured(monkeypatch):
    measured = []
    textlength = ImageDraw.ImageDraw.textlength
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "textlength",
        lambda self, text, *a: measured.append(len(text)) or textlength(self, text, *a),
    )
    boxes = [vn.Box(9, 40, 90, 90, f"{number} {'x' * 20_000}") for number in range(10)]
    vn.draw_boxes(blank(200, 100), boxes)
    assert max(measured) <= 201 and len(measured) <= 100


def test_a_label_is_shortened_to_the_width_of_its_image(monkeypatch):
    texts = []
    text = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw, "text", lambda self, xy, *a, **k: texts.append(a[0]) or text(self, xy, *a, **k)
    )
    vn.draw_boxes(Image.new("RGB", (90, 60)), [vn.Box(0, 30, 50, 50, "a" * 99)])
    font, draw = ImageFont.load_default(12), ImageDraw.Draw(Image.new("RGB", (90, 60)))
    letters = texts[0].removesuffix("…")
    assert set(letters) == {"a"} and texts[0] == f"{letters}…"
    assert draw.textlength(texts[0], font) + 4 <= 90 < draw.textlength(f"a{texts[0]}", font) + 4


def test_below_an_answer_the_first_300_boxes_are_drawn():
    boxes = [{"bbox_2d": [number, 100, number + 100, 300]} for number in range(800)]
    first, all_boxes = (answer(json.dumps(found), "demo") for found in (boxes[:300], boxes))
    assert len(all_boxes.boxes()) == 800
    drawn, expected = (images_with_boxes([blank(2000, 1000)], one)[0].read() for one in (all_boxes, first))
    assert drawn == expected


def test_a_label_of_several_lines_is_drawn_on_one():
    drawn, expected = (vn.draw_boxes(blank(200, 100), [vn.Box(9, 40, 90, 90, label)]) for label in ("a\ncat", "a cat"))
    assert drawn.read() == expected.read()


def test_transparent_parts_are_white_below_the_boxes_as_the_model_saw_them():
    image = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
    assert vn.draw_boxes(image, [(5, 5, 20, 20)]).to_pil().getpixel((50, 35)) == (255, 255, 255)


def test_boxes_outside_the_image_are_not_drawn_and_the_original_is_unchanged():
    image = picture(80, 60)
    before = image.tobytes()
    drawn = vn.draw_boxes(image, [(100, 100, 120, 120)])
    assert drawn.to_pil().tobytes() == image.tobytes() == before


def test_one_box_is_drawn_as_a_list_of_one():
    image = picture(80, 60)
    drawn = vn.draw_boxes(image, [vn.Box(1, 2, 30, 40)]).to_pil().tobytes()
    assert drawn != image.tobytes()
    for box in (vn.Box(1, 2, 30, 40), (1, 2, 30, 40), np.array([1, 2, 30, 40])):
        assert vn.draw_boxes(image, box).to_pil().tobytes() == drawn
    with pytest.raises(errors.SettingsError, match=r"pixels, not \[1, 2, 30\]"):
        vn.draw_boxes(image, (1, 2, 30))


def test_a_smaller_result_has_the_boxes_at_their_places():
    document = blank(1000, 500, is_rotated=True)
    drawn = vn.draw_boxes(document, [(400, 100, 600, 300)], max_side=200)
    assert (drawn.size, drawn.title) == ((200, 100), "JPEG image with boxes")
    pixels = drawn.to_pil()
    columns = [x for x in range(200) if pixels.getpixel((x, 40)) == ImageColor.getrgb(COLORS[0])]
    assert min(columns) == 80 and max(columns) == 120
    with pytest.raises(errors.SettingsError, match="max_side must be an integer of at least 1"):
        vn.draw_boxes(document, [], max_side=0)


def test_a_point_is_drawn_as_a_circle():
    drawn = vn.draw_boxes(Image.new("RGB", (400, 400), "gray"), [vn.Box(200, 200, 200, 200)]).to_pil()
    assert drawn.getpixel((200, 200)) == (128, 128, 128) != drawn.getpixel((206, 200))


def test_the_images_below_an_answer_have_its_boxes():
    document = blank(2000, 1000)
    response = answer(JSON.format(key="bbox_2d", box=[100, 200, 300, 400]), QWEN_3)
    (shown,) = images_with_boxes([document], response)
    assert (shown.size, shown.title) == ((640, 320), "JPEG image with boxes")
    assert images_with_boxes([document], replace(response, text="There is no cat.")) == [document]


@pytest.mark.parametrize("form", ["complete", "stream"])
def test_an_answer_is_displayed_with_its_boxes_on_the_image(server, form):
    image = blank(2000, 1000)
    server.answer_with(JSON.format(key="bbox_2d", box=[100, 200, 300, 400]))
    with vn.LocalMultiModal(QWEN_3, api_base=server.openai_base) as llm:
        if form == "complete":
            shown = llm.complete("Where is the cat?", image)._repr_markdown_()
        else:
            *_, response = llm.stream_complete("Where is the cat?", image)
            shown = StreamingDisplay().bundle(response, finished=True)["text/markdown"]
        assert "JPEG image with boxes" in shown
        server.answer_with("There is no cat.")
        assert "with boxes" not in llm.complete("Where is the cat?", image)._repr_markdown_()


def test_no_image_is_downloaded_to_draw_boxes_on_it(server):
    image = vn.ImageDocument(image_url=sample_url(server, "chart"))
    response = answer(JSON.format(key="bbox_2d", box=[100, 200, 300, 400]), QWEN_3, images=(image,))
    assert response.boxes() and response.shown_images == (image,)
    assert server.requests == []
    assert image.to_pil().size == (1000, 600)
    assert answer(response.text, QWEN_3, images=(image,)).shown_images[0].title == "chart.png with boxes"


@pytest.mark.parametrize(
    "model, images, sent",
    [
        ("my-deployment", 1, [SentImage("a.jpg", (2000, 1000))]),
        (QWEN_3, 2, [SentImage("a.jpg", (2000, 1000))] * 2),
        (QWEN_3, 1, [SentImage("by-url.jpg")]),
    ],
    ids=["unknown convention", "several images", "unknown size"],
)
def test_images_below_an_answer_are_unchanged_if_the_places_of_its_boxes_are_not_known(model, images, sent):
    response = answer(JSON.format(key="bbox_2d", box=[100, 200, 300, 400]), model)
    documents = [blank(2000, 1000)] * images
    assert images_with_boxes(documents, replace(response, sent_images=tuple(sent))) == documents
