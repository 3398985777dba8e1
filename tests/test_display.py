"""The image grid, and answers that are shown while they arrive."""

import numpy as np
import pytest
from conftest import encoded, picture
from PIL import Image

import vision_nb as vn
from vision_nb import errors
from vision_nb.notebook.display import StreamingDisplay, figure_png


def shown(axis):
    return np.asarray(axis.images[0].get_array())


def test_every_picture_has_its_place_however_many_there_are():
    figure = vn.display_image_uris([picture(seed=n) for n in range(11)], image_matrix=(2, 2))
    assert sum(bool(axis.images) for axis in figure.axes) == 11
    assert len(vn.display_image_uris([picture()] * 5, top_k=3).axes) == 3


@pytest.mark.parametrize(
    "image, colour",
    [
        (Image.new("L", (9, 9), 90), (90, 90, 90)),
        (Image.new("1", (9, 9), 1), (255, 255, 255)),
        (Image.new("I;16", (9, 9), 257 * 40), (40, 40, 40)),
        (Image.new("P", (9, 9)), (0, 0, 0)),
        (Image.new("RGB", (9, 9), (10, 200, 30)), (10, 200, 30)),
    ],
    ids=["gray", "1-bit", "16-bit", "palette", "RGB"],
)
def test_colours_are_true(image, colour, tmp_path):
    path = tmp_path / "it.png"
    image.save(path)
    axis = vn.display_image_uris([str(path)]).axes[0]
    assert shown(axis).shape == (9, 9, 3)
    assert tuple(shown(axis)[4, 4]) == colour


def test_cmyk_comes_out_red(tmp_path):
    path = tmp_path / "it.jpg"
    Image.new("CMYK", (9, 9), (0, 255, 255, 0)).save(path)
    red, green, blue = shown(vn.display_image_uris([path]).axes[0])[4, 4]
    assert red > 200 and green < 60 and blue < 60


def test_one_corrupt_file_stops_no_other(tmp_path):
    (tmp_path / "bad.png").write_bytes(encoded(picture())[:60])
    figure = vn.display_image_uris([tmp_path / "bad.png", picture(), 42])
    assert [len(axis.images) for axis in figure.axes] == [0, 1, 0]
    assert "could not be loaded" in figure.axes[0].texts[0].get_text()
    assert figure_png(figure).startswith(b"\x89PNG")


def test_nothing_to_show_is_an_error():
    for wrong in (([],), ([picture()], (3, 0))):
        with pytest.raises(errors.SettingsError):
            vn.display_image_uris(*wrong)


def test_outside_a_notebook_the_pieces_go_to_stdout(server, capsys):
    server.answer_with("One two three.")
    response = vn.display_stream(vn.connect("demo", api_base=server.openai_base).stream_complete("x"))
    assert response.text == "One two three."
    assert capsys.readouterr().out == "One two three.\n"


async def test_the_async_twin(server, capsys):
    server.answer_with("One two three.")
    llm = vn.connect("demo", api_base=server.openai_base)
    assert (await vn.adisplay_stream(await llm.astream_complete("x"))).text == "One two three."
    assert capsys.readouterr().out == "One two three.\n"


def test_an_empty_stream_is_an_error():
    with pytest.raises(errors.SettingsError, match="nothing in it"):
        vn.display_stream(iter(()))


def test_a_response_says_model_tokens_and_time_folded_away(server):
    server.answer_with("Blue.")
    text = vn.connect("demo", api_base=server.openai_base).complete("x")._repr_markdown_()
    assert text.startswith("Blue.")
    assert "<details>" in text and "demo" in text and "tokens in" in text


def test_hostile_answers_are_made_safe(server):
    server.answer_with("<img src=x onerror=alert(1)> ![x](https://evil.example/?q=1)")
    text = vn.connect("demo", api_base=server.openai_base).complete("x")._repr_markdown_()
    assert "<img" not in text and "![" not in text


def test_a_live_answer_needs_no_notebook():
    live = StreamingDisplay()
    live.show(vn.CompletionResponse(text="a", delta="a"))
