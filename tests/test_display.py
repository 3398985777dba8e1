"""The image grid, and answers that are displayed while they are streamed."""

import asyncio
import base64
import io
import json
import math
import re
from itertools import pairwise

import numpy as np
import pytest
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.manager import start_new_kernel
from PIL import Image

import vision_nb as vn
from tests.conftest import encoded, picture
from vision_nb import errors
from vision_nb.images.prepare import to_webp
from vision_nb.notebook.display import StreamingDisplay
from vision_nb.notebook.figures import figure_png, new_figure, show_figure


def shown(axis):
    return np.asarray(axis.images[0].get_array())


def test_the_grid_gets_more_rows_for_more_images():
    figure = vn.display_image_uris([picture(seed=n) for n in range(11)], image_matrix=(2, 2))
    assert sum(bool(axis.images) for axis in figure.axes) == 11
    assert len(vn.display_image_uris([picture()] * 5, top_k=3).axes) == 3


@pytest.mark.parametrize(
    "image, color",
    [
        (Image.new("L", (9, 9), 90), (90, 90, 90)),
        (Image.new("1", (9, 9), 1), (255, 255, 255)),
        (Image.new("I;16", (9, 9), 257 * 100), (100, 100, 100)),
        (Image.new("P", (9, 9)), (0, 0, 0)),
        (Image.new("RGB", (9, 9), (10, 200, 30)), (10, 200, 30)),
    ],
    ids=["gray", "1-bit", "16-bit", "palette", "RGB"],
)
def test_the_grid_shows_true_colors(image, color, tmp_path):
    path = tmp_path / "it.png"
    image.save(path)
    axis = vn.display_image_uris([str(path)]).axes[0]
    assert shown(axis).shape == (9, 9, 3)
    assert tuple(shown(axis)[4, 4]) == color


def test_the_grid_converts_cmyk(tmp_path):
    path = tmp_path / "it.jpg"
    Image.new("CMYK", (9, 9), (0, 255, 255, 0)).save(path)
    red, green, blue = shown(vn.display_image_uris([path]).axes[0])[4, 4]
    assert red > 200 and green < 60 and blue < 60


def test_a_corrupt_file_does_not_affect_the_other_images(tmp_path):
    (tmp_path / "bad.png").write_bytes(encoded(picture())[:60])
    figure = vn.display_image_uris([tmp_path / "bad.png", picture(), 42])
    assert [len(axis.images) for axis in figure.axes] == [0, 1, 0]
    assert "could not be loaded" in figure.axes[0].texts[0].get_text()
    assert figure_png(figure).startswith(b"\x89PNG")


def test_all_cells_of_the_grid_have_the_same_shape_and_images_keep_theirs(tmp_path):
    sizes = [(400, 300), (300, 400), (600, 100), (50, 50)]
    figure = vn.display_image_uris([picture(*size) for size in sizes] + [tmp_path / "missing.png"], (2, 3))
    figure.draw_without_rendering()
    boxes = [axis.get_window_extent() for axis in figure.axes]
    assert len({(round(box.width), round(box.height)) for box in boxes}) == 1
    for axis, box, (width, height) in zip(figure.axes, boxes, sizes, strict=False):
        (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
        assert box.width / (right - left) == pytest.approx(box.height / (bottom - top), rel=0.02)
        assert left <= -0.5 and right >= width - 0.5 and top == -0.5 and bottom >= height - 0.5
    captions = [axis.title.get_window_extent() for axis in figure.axes]
    assert (
        len({round(caption.y0) for caption in captions[:3]})
        == len({round(caption.y0) for caption in captions[3:5]})
        == 1
    )


def test_the_grid_is_transparent_and_its_captions_are_readable_on_any_page():
    figure = vn.display_image_uris([picture(100, 100), picture(400, 100)])
    pixels = np.asarray(Image.open(io.BytesIO(figure_png(figure))).convert("RGBA"))
    assert (pixels[..., 3] == 0).mean() > 0.1
    assert figure.axes[0].title.get_bbox_patch().get_facecolor() == (1, 1, 1, 1)
    assert figure.axes[0].title.get_color() == "black"


def test_a_large_transparent_figure_is_small_in_the_notebook():
    noise = np.random.default_rng(0).integers(0, 255, (900, 900, 4), dtype=np.uint8)
    noise[:300, :, 3] = 0
    small = to_webp(encoded(Image.fromarray(noise)), max_bytes=100_000)
    image = Image.open(io.BytesIO(small))
    assert len(small) <= 100_000 and image.width > 200 and image.getchannel("A").getextrema()[0] == 0


def test_a_displayed_grid_ends_right_below_its_images():
    png = figure_png(vn.display_image_uris([str(vn.samples.path("night_scene"))]))
    with Image.open(io.BytesIO(png)) as shown:
        assert shown.getchannel("A").getbbox()[3] == shown.height


def test_a_grid_without_images_or_columns_is_an_error():
    for wrong in (([],), ([picture()], (3, 0))):
        with pytest.raises(errors.SettingsError):
            vn.display_image_uris(*wrong)


def test_outside_a_notebook_a_stream_is_written_to_stdout(server, capsys):
    server.answer_with("One two three.")
    response = vn.display_stream(vn.connect("demo", api_base=server.openai_base).stream_complete("x"))
    assert response.text == "One two three."
    assert capsys.readouterr().out == "One two three.\n"


async def test_an_async_stream_is_written_to_stdout(server, capsys):
    server.answer_with("One two three.")
    llm = vn.connect("demo", api_base=server.openai_base)
    assert (await vn.adisplay_stream(await llm.astream_complete("x"))).text == "One two three."
    assert capsys.readouterr().out == "One two three.\n"


class Interrupted:
    """A stream that is interrupted after its first part."""

    closed = False

    def __iter__(self):
        yield vn.CompletionResponse(text="One", delta="One")
        raise KeyboardInterrupt

    async def __aiter__(self):
        yield vn.CompletionResponse(text="One", delta="One")
        raise asyncio.CancelledError

    def close(self):
        self.closed = True

    async def aclose(self):
        self.closed = True


async def test_an_interrupted_stream_is_closed_and_its_part_stays_marked_as_interrupted(capsys):
    for show, interrupt in ((vn.display_stream, KeyboardInterrupt), (vn.adisplay_stream, asyncio.CancelledError)):
        stream, live = Interrupted(), StreamingDisplay()
        with pytest.raises(interrupt):
            shown = show(stream, live=live)
            await shown
        assert stream.closed and live.response.finish_reason == "interrupted"
        assert capsys.readouterr().out == "One\n(The answer was interrupted.)\n"


def test_an_empty_stream_is_an_error():
    with pytest.raises(errors.SettingsError, match="stream is empty"):
        vn.display_stream(iter(()))
    with pytest.raises(errors.SettingsError, match="has an int in place of a response"):
        vn.display_stream([1])


def test_a_response_has_its_model_tokens_and_time_in_collapsed_details(server):
    server.answer_with("Blue.")
    text = vn.connect("demo", api_base=server.openai_base).complete("x")._repr_markdown_()
    assert text.startswith("Blue.")
    assert "<details>" in text and "demo" in text and "token in" in text


def test_hostile_answers_are_sanitized(server):
    server.answer_with("<img src=x onerror=alert(1)> ![x](https://evil.example/?q=1)")
    text = vn.connect("demo", api_base=server.openai_base).complete("x")._repr_markdown_()
    assert "<img" not in text and "![" not in text


def test_a_streaming_display_works_outside_a_notebook():
    live = StreamingDisplay()
    live.show(vn.CompletionResponse(text="a", delta="a"))


def growing(words):
    """Yield the responses of a stream of words."""
    text = ""
    for word in words:
        text += word
        yield vn.CompletionResponse(text=text, delta=word)


def drawn_lengths(monkeypatch, words):
    """Return the length of the answer at each update while it is streamed into a notebook, all at any time."""
    drawn = []
    monkeypatch.setattr("vision_nb.notebook.display.in_notebook", lambda: True)
    monkeypatch.setattr("vision_nb.notebook.display.UPDATES_PER_SECOND", 1e9)
    monkeypatch.setattr("vision_nb.notebook.display.INTERVAL", math.inf)
    monkeypatch.setattr(StreamingDisplay, "_draw", lambda self, bundle, _: drawn.append(sum(map(len, bundle.values()))))
    vn.display_stream(growing(words))
    return drawn


def test_a_long_answer_is_redrawn_each_time_it_has_grown_by_a_fifth(monkeypatch):
    words = ["word "] * 10_000
    *updates, final = drawn_lengths(monkeypatch, words)
    steps = [(after - before) / before for before, after in pairwise(updates) if before > 5_000]
    assert len(steps) > 10 and max(steps) < 1 / 4
    assert sum(updates) + final < 10 * sum(map(len, words))


def test_a_short_answer_is_redrawn_at_every_word(monkeypatch):
    assert len(drawn_lengths(monkeypatch, ["word "] * 60)) == 61


class VirtualClock:
    """Stands in for the module ``time``: its time passes when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


class Recorder(DisplayPublisher):
    """Keeps the messages to the front end, each with its time."""

    def __init__(self, clock):
        super().__init__()
        self.clock, self.sent = clock, []

    def publish(self, data, metadata=None, source=None, *, transient=None, update=False, **_):
        self.sent.append((self.clock.now, {"data": data, "metadata": metadata or {}, "transient": transient}))


@pytest.fixture
def recorder(monkeypatch):
    """The messages of streams whose time is virtual."""
    clock = VirtualClock()
    monkeypatch.setattr("vision_nb.notebook.display.time", clock)
    monkeypatch.setattr("vision_nb.notebook.stream_status.time", clock)
    for module in ("display", "progress"):
        monkeypatch.setattr(f"vision_nb.notebook.{module}.in_notebook", lambda: True)
    shell = InteractiveShell.instance()
    monkeypatch.setattr(shell, "display_pub", Recorder(clock))
    yield shell.display_pub
    InteractiveShell.clear_instance()


def test_a_plot_is_dark_in_dark_themes_and_a_figure_with_images_keeps_its_colors(recorder):
    for facecolor in ("white", "none"):
        show_figure(new_figure(facecolor=facecolor), alt='A "plot"')
    plot, images = (message["data"] for _, message in recorder.sent)
    assert "[data-jp-theme-light=false] .vnb-plot" in plot["text/html"] and "A &quot;plot&quot;" in plot["text/html"]
    assert Image.open(io.BytesIO(base64.b64decode(plot["image/png"]))).convert("RGB").getpixel((0, 0)) == (
        255,
        255,
        255,
    )
    assert set(images) == {"image/png", "text/plain"}


def slowly(recorder, responses, per_second=100):
    for response in responses:
        recorder.clock.now += 1 / per_second
        yield response


def streamed(recorder, words, per_second):
    """Stream words into a notebook, and return the messages."""
    vn.display_stream(slowly(recorder, growing(words), per_second))
    return recorder.sent


def size(sent):
    return sum(len(json.dumps(message).encode()) for _, message in sent)


def outputs(sent):
    """Return the last content of each output."""
    return list({message["transient"]["display_id"]: message["data"] for _, message in sent}.values())


def test_something_changes_every_second_while_a_long_answer_arrives_within_ten_times_its_length(recorder):
    words = [f"word{number % 10} " for number in range(10_000)]
    sent = streamed(recorder, words, 100)
    assert max(after - before for (before, _), (after, _) in pairwise(sent)) < 1.1
    assert size(sent) < 10 * sum(map(len, words))
    lines = [message["data"]["text/plain"] for _, message in sent if "text/html" in message["data"]]
    assert len(lines) > 50 and re.fullmatch(r"\u2026 (word\d ){10,}\(\d\d,\d{3} characters, 1 min \d+ s\)", lines[-1])


def test_a_slow_answer_sends_at_most_ten_times_its_length_too(recorder):
    words = [f"word{number % 10} " for number in range(10_000)]
    assert size(streamed(recorder, words, 5)) < 10 * sum(map(len, words))


def test_the_line_below_a_long_answer_is_empty_at_the_end(recorder):
    answer, line = outputs(streamed(recorder, ["word "] * 10_000, 100))
    assert answer["text/plain"] == "word " * 10_000 and line == {}


def test_the_line_below_a_long_answer_is_empty_after_an_interrupt(recorder):
    def interrupted():
        yield from growing(["word "] * 10_000)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vn.display_stream(slowly(recorder, interrupted()))
    answer, line = outputs(recorder.sent)
    assert "The answer was interrupted." in answer["text/markdown"] and line == {}


def test_a_short_answer_has_a_single_output_however_slowly_it_arrives(recorder):
    assert len(outputs(streamed(recorder, ["word "] * 500, 10))) == 1


def test_the_line_shows_the_end_of_the_reasoning_before_the_answer_begins(recorder):
    def reasoning():
        for number in range(1, 10_000):
            yield vn.CompletionResponse(text="", delta="", reasoning="thought " * number)

    vn.display_stream(slowly(recorder, reasoning()))
    assert any("thought thought (" in message["data"].get("text/plain", "") for _, message in recorder.sent)


def test_untrusted_text_in_the_line_is_escaped(recorder):
    sent = streamed(recorder, ["<img src=x onerror=alert(1)> $x$ "] * 3_000, 30)
    lines = [message["data"]["text/html"] for _, message in sent if "text/html" in message["data"]]
    assert lines and not any("<img" in line for line in lines)


@pytest.mark.kernel
def test_a_long_answer_sends_at_most_ten_times_its_length_to_the_notebook():
    manager, client = start_new_kernel()
    try:
        client.execute(
            "%load_ext vision_nb\nimport vision_nb as vn\nfrom vision_nb.demo import shared_server\n"
            "shared_server().tokens_per_second = 4000\n"
            "text = ''.join(f'This is **sentence** {number} of the answer, with a few more words.\\n\\n' for number in range(700))\n"
            "shared_server().answer_with(text)",
            reply=True,
            timeout=180,
        )
        for code in ("vn.display_stream(vn.connect('demo').stream_complete('What?'))", "%%vision demo\nWhat?"):
            sent = []
            client.execute_interactive(code, output_hook=sent.append, timeout=180)
            displays = [message["content"] for message in sent if "data" in message["content"]]
            shown = [content for content in displays if "text/markdown" in content["data"]]
            assert "sentence** 699 " in shown[-1]["data"]["text/markdown"] and "text/plain" in shown[-1]["data"]
            assert len(shown) > 5
            assert sum(len(json.dumps(content).encode()) for content in displays) < 10 * len(
                shown[-1]["data"]["text/markdown"]
            )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
