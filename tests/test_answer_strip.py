"""The thumbnails of a question's images below its answer, in each kind of output."""

import base64
import json
import re

import pytest

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.kernels import run_cells
from tests.secret_search import serving
from vision_nb.magics.compare import Answer, Answers
from vision_nb.magics.output import OUTPUT_FORMATS, AnswerView
from vision_nb.magics.question import Question
from vision_nb.notebook.display import StreamingDisplay

CHART, LABEL = vn.samples.path("chart"), vn.samples.path("label")
THUMBNAIL = re.compile(r'<img src="data:image/webp;base64,([A-Za-z0-9+/=]+)"')


@pytest.fixture
def llm(server):
    server.answer_with("Two.")
    return vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base)


def test_a_response_displays_the_images_of_its_question_in_order(llm):
    response = llm.complete("What?", [CHART, LABEL])
    markdown = response._repr_markdown_()
    assert len(THUMBNAIL.findall(markdown)) == 2 and markdown.index("chart.png") < markdown.index("label.png")
    assert markdown.index("Two.") < markdown.index("<img") < markdown.index("about this answer")
    assert response.images == tuple(map(vn.ImageDocument.of, (CHART, LABEL)))


def test_a_question_without_images_has_no_thumbnails(llm):
    assert "<img" not in llm.complete("What?")._repr_markdown_()


def test_ten_photographs_are_less_than_50_kb_and_the_others_are_counted(llm):
    markdown = llm.complete("What?", [picture(1200, 900, seed=seed) for seed in range(10)])._repr_markdown_()
    assert len(THUMBNAIL.findall(markdown)) == 8 and "and 2 more" in markdown and len(markdown) < 50_000


def test_a_thumbnail_has_no_metadata(llm, tmp_path):
    image, exif = picture(600, 400), picture().getexif()
    exif[0x010F] = "Secret camera"
    image.save(tmp_path / "it.jpg", exif=exif)
    (data,) = THUMBNAIL.findall(llm.complete("What?", [tmp_path / "it.jpg"])._repr_markdown_())
    assert b"Secret camera" in (tmp_path / "it.jpg").read_bytes() and b"Secret" not in base64.b64decode(data)


def test_a_name_is_neither_markdown_nor_a_formula(llm):
    image = vn.ImageDocument(image=picture(), image_name='a$x$ `b` \\(c\\)\n\n"><script>.png')
    markdown = llm.complete("What?", [image])._repr_markdown_()
    strip = markdown[markdown.index("<div") : markdown.index("</details></div>")]
    assert not re.search(r"[$`\\\n]", strip) and "<script" not in strip and "&#36;x&#36;" in strip


def test_nothing_is_downloaded_for_the_thumbnails(server, llm):
    with serving(lambda *_: (200, {"Content-Type": "image/png"}, encoded(picture()))) as (site, downloads):
        image = vn.ImageDocument.of(f"{site}/photo.png?token=secret")
        response = llm.complete("What?", [image])
        del downloads[:]  # by the demo server, as a service does
        markdown = response._repr_markdown_()
        assert (
            downloads == [] and "Image: photo.png" in markdown and "<img" not in markdown and "secret" not in markdown
        )
        assert image.to_pil().size == (64, 48)
        assert len(THUMBNAIL.findall(response._repr_markdown_())) == 1 and len(downloads) == 1


def test_an_image_whose_file_was_deleted_is_shown_as_a_warning_sign(llm, photo):
    response = llm.complete("What?", [photo])
    photo.unlink()
    markdown = response._repr_markdown_()
    assert "Two." in markdown and "&#9888;" in markdown and "<img" not in markdown


def test_an_environment_variable_leaves_the_thumbnails_out(llm, monkeypatch):
    response = llm.complete("What?", [CHART])
    monkeypatch.setenv("VISION_NB_THUMBNAILS", "0")
    assert "<img" not in response._repr_markdown_()


def test_only_the_turn_with_images_shows_them(llm):
    chat = vn.Chat(llm)
    assert "<img" in chat.ask("What?", [CHART])._repr_markdown_()
    assert "<img" not in chat.ask("And why?")._repr_markdown_()


def test_a_repaired_answer_shows_the_images(server, llm):
    answers = iter(["nothing", '{"count": 2}'])
    server.answer_with(lambda _: next(answers))
    schema = {"type": "object", "properties": {"count": {"type": "integer"}}}
    response = llm.complete("How many?", [CHART], schema=schema)
    assert response.attempts == 2 and "<img" in response._repr_markdown_()


async def test_a_stream_shows_the_images_below_the_finished_answer_only(llm):
    *_, last = llm.stream_complete("What?", [CHART])
    display = StreamingDisplay()
    assert "<img" not in display.bundle(last, finished=False)["text/markdown"]
    assert "<img" in display.bundle(last, finished=True)["text/markdown"]
    assert "<img" not in StreamingDisplay(thumbnails=False).bundle(last, finished=True)["text/markdown"]
    last = [response async for response in await llm.astream_complete("What?", [CHART])][-1]
    assert "<img" in display.bundle(last, finished=True)["text/markdown"]


def test_a_terminal_names_the_images(llm, capsys):
    vn.display_stream(llm.stream_complete("What?", [CHART, LABEL]))
    assert "\n(Images: chart.png, label.png)\n" in capsys.readouterr().out
    vn.display_stream(llm.stream_complete("What?", [CHART, LABEL]), thumbnails=False)
    assert "chart.png" not in capsys.readouterr().out
    assert "(Image: chart.png)" in list(llm.complete("What?", [CHART])._terminal_parts())


@pytest.mark.parametrize("name", OUTPUT_FORMATS)
def test_a_cell_has_the_thumbnails_once_in_each_format(server, llm, name):
    server.answer_with('[{"a": 1}]')
    response = llm.complete("What?", [CHART])
    bundle = AnswerView(OUTPUT_FORMATS[name]).bundle(response, finished=True)
    shown = [kind for kind, text in bundle.items() if THUMBNAIL.search(text)]
    assert shown == [kind for kind in bundle if kind != "text/plain"]
    assert "<img" not in str(AnswerView(OUTPUT_FORMATS[name], thumbnails=False).bundle(response, finished=True))


def test_an_answer_from_the_store_shows_the_images_of_the_question(llm, tmp_path):
    chat, store = vn.Chat(llm), vn.store.Store(tmp_path / "answers.sqlite3")
    question = Question(llm, chat, "What?", [vn.ImageDocument.of(CHART)])
    store.put("key", "gpt-4o", llm.complete("What?", [CHART]))
    assert store.get("key").images == ()
    assert "<img" in question.as_answer(store.get("key"))._repr_markdown_()
    store.close()


def test_answers_of_several_models_show_the_images_once(llm):
    response = llm.complete("What?", [CHART])
    answers = Answers([Answer("a", "a", response), Answer("b", "b", response)], response.images)
    assert len(THUMBNAIL.findall(answers._repr_html_())) == 1 and repr(answers).count("(Image: chart.png)") == 1


@pytest.mark.kernel
def test_cells_save_the_thumbnails_unless_an_option_or_setting_leaves_them_out(photo):
    cells = run_cells(
        f"%%vision demo -i {photo}\nHow large is it?",
        f"%%vision demo --no-thumbnails -i {photo}\nHow bright is it?",
        f"%%vision demo -m demo:second -i {photo}\nHow large is it?",
        f"answer = vn.display_stream(vn.connect('demo').stream_complete('How large?', ['{photo}']))",
        "%config VisionMagics.thumbnails = False",
        f"%%vision demo -i {photo}\nHow large is it?",
    )
    assert [len(THUMBNAIL.findall(json.dumps(cell.outputs).replace('\\"', '"'))) for cell in cells] == [
        1,
        0,
        1,
        1,
        0,
        0,
    ]
