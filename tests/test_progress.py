"""The progress of `compare` and `extract`: what is under way, the rate, the time left and the cost, in one output."""

import re
import sys
import time

import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.kernels import run_cells
from vision_nb.demo import Fault


class Terminal:
    """Standard error, as a terminal receives it."""

    def __init__(self, capsys):
        self._capsys, self._shown = capsys, ""

    @property
    def text(self):
        self._shown += self._capsys.readouterr().err
        return self._shown

    @property
    def lines(self):
        """Everything that has been shown on the line, in order."""
        return [line.rstrip("\n") for line in self.text.split("\r\x1b[K") if line]


@pytest.fixture
def terminal(capsys, monkeypatch):
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True)  # each phase of a test has its own
    monkeypatch.setenv("COLUMNS", "200")
    return Terminal(capsys)


@pytest.fixture
def images():
    return [vn.ImageDocument(image=picture(seed=number), image_name=f"photo-{number}.png") for number in range(8)]


def answer_slowly(server, seconds=0.3):
    def answer(question):
        time.sleep(seconds)
        return "Yes."

    server.answer_with(answer)


def compare(server, images, path, **options):
    llm = vn.OpenAIMultiModal("gpt-4o", api_key="k", api_base=server.openai_base, max_new_tokens=50)
    return vn.compare(llm, "What?", images, store=path, **{"concurrency": 2, **options})


def test_a_terminal_shows_what_is_under_way_the_rate_the_time_left_and_the_cost(server, images, tmp_path, terminal):
    answer_slowly(server)
    compare(server, images, tmp_path / "store")
    *shown, last = terminal.lines
    running = next(line for line in shown if "left" in line and "asking" in line)
    speed = r"[\d.]+ calls/(s|min), about [\d.]+ s left"
    assert re.match(rf"comparing: \d of 8, {speed}, 0\.00\d+ USD; asking photo-\d\.png", running)
    assert re.fullmatch(r"comparing: 8 of 8, [\d.]+ s, 0\.00\d+ USD", last)
    assert terminal.text.count("\n") == 1 and terminal.text.endswith("\n"), "one line, updated in place"
    compare(server, images, tmp_path / "store")
    assert "8 of 8, 8 from the store, " in terminal.lines[-1] and terminal.lines[-1].endswith(", 0 USD")


def test_a_line_is_no_wider_than_the_terminal(server, images, tmp_path, terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    answer_slowly(server)
    compare(server, images, tmp_path / "store")
    assert len(terminal.lines) > 3 and all(len(line) < 40 for line in terminal.lines[:-1])


def test_the_last_line_counts_failures_and_duplicates(server, tmp_path, terminal):
    server.fail(Fault(status=400))
    compare(server, [picture(), picture(seed=1), picture(seed=1)], tmp_path / "store", concurrency=1)
    ending = r"3 of 3, 1 failed, 1 from the store, .* USD\. 1 of 3 images is a duplicate and is asked about once$"
    assert re.search(ending, terminal.lines[-1])


def test_a_pause_after_a_rate_limit_is_shown(server, tmp_path, terminal):
    server.fail(Fault(status=429, headers={"retry-after": "1"}))
    compare(server, [picture()], tmp_path / "store")
    assert any("openai:gpt-4o pauses for" in line for line in terminal.lines)


def test_unknown_prices_and_free_models_are_stated(server, tmp_path, terminal):
    unknown = vn.OpenAIMultiModal("new-model", api_key="k", api_base=server.openai_base)
    vn.compare(unknown, "What?", picture(), store=tmp_path / "store")
    assert terminal.lines[-1].endswith(", price unknown")
    vn.compare("demo", "What?", picture(), store=tmp_path / "store")
    assert terminal.lines[-1].endswith(", free")


@pytest.mark.kernel
def test_a_notebook_keeps_the_last_line_only():
    (cell,) = run_cells(
        "from vision_nb.demo import shared_server\n"
        "import time\n"
        "shared_server().answer_with(lambda question: time.sleep(0.4) or 'Yes.')\n"
        "from PIL import Image\n"
        "images = [Image.new('RGB', (9, 9), (number, 0, 0)) for number in range(4)]\n"
        "found = vn.compare('demo', 'What?', images, concurrency=1)"
    )
    (output,) = cell.outputs
    assert re.fullmatch(r"comparing: 4 of 4, [\d.]+ s, free", output.data["text/plain"])
    assert set(output.data) == {"text/plain", "text/html"} and "<progress" not in output.data["text/html"], "no widget"


def test_a_model_that_has_reached_its_rate_limit_is_named(server, images, tmp_path, terminal, monkeypatch):
    monkeypatch.setattr("vision_nb.cost.request_window.WINDOW", 1.0)
    compare(server, images[:2], tmp_path / "store", rate_limits={"gpt-4o": vn.RateLimit(requests_per_minute=1)})
    *shown, last = terminal.lines
    assert any("waiting for the rate limit of openai:gpt-4o" in line for line in shown)
    assert "waiting" not in last and "2 of 2" in last
