"""`%%vision` and displays in a real kernel."""

import pytest
from conftest import encoded, picture
from kernels import error_of, markdown_of, run_cells, text_of

pytestmark = pytest.mark.kernel


def test_a_cell_asks_streams_and_leaves_its_answer_once(photo):
    asked, kept = run_cells(
        f"%%vision -i {photo}\nWhat are the main colours?",
        "print(type(_vision).__name__, Out[2] is _vision, len(_vision.text) > 40, _vision.usage.input_tokens > 85)",
    )
    answers = markdown_of(asked)
    assert len(asked.outputs) == len(answers) == 1
    assert "stand-in" in answers[0]
    assert "no model was named" in answers[0]
    assert text_of(kept) == "CompletionResponse True True True\n"


def test_pictures_come_from_variables_lists_paths_globs_and_quoted_names(tmp_path):
    for name in ("a1.png", "a2.png", "with space ü.png"):
        (tmp_path / name).write_bytes(encoded(picture()))
    cells = run_cells(
        "from PIL import Image\nsmall = Image.new('RGB', (10, 10), 'red')\nseveral = [small, vn.ImageDocument.of('a1.png')]",
        "%%vision demo -i small\nWhat?",
        "%%vision demo -i several -i a*.png\nWhat?",
        '%%vision demo -i "with space ü.png"\nWhat?',
        "print(_vision.model)",
        folder=tmp_path,
    )
    assert all(markdown_of(cell) for cell in cells[1:4])
    assert "no model was named" not in markdown_of(cells[1])[0]
    assert text_of(cells[4]) == "demo\n"


def test_text_arrives_as_typed(photo):
    body = "Sum $x_i$ {y} {{z}} \\alpha %d \"quoted\" 'single' `code` #no /slash ?"
    cells = run_cells(
        "from vision_nb.demo import shared_server\nx = y = z = 'WRONG'",
        f"%%vision demo\n{body}",
        "print(shared_server().requests[-1].body['messages'][0]['content'])",
    )
    assert text_of(cells[2]).strip() == body


def test_a_slip_is_short_and_says_what_to_do(tmp_path):
    cells = run_cells(
        "%%vision demo -i missing.jpg\nWhat?",
        "%%vision demo\n\n",
        "%%vision demo --nonsense\nWhat?",
        "%%vision opnai:gpt-4o\nWhat?",
        "%%vision openai:gpt-4o\nWhat?",
        folder=tmp_path,
        allow_errors=True,
    )
    shown = [error_of(cell) for cell in cells]
    assert "There is no file missing.jpg" in shown[0]
    assert "has no prompt" in shown[1]
    assert "unrecognized arguments: --nonsense" in shown[2]
    assert "did you mean 'openai'" in shown[3]
    assert "OPENAI_API_KEY" in shown[4] and 'connect("demo")' in shown[4]
    assert all(len(text.splitlines()) <= 3 for text in shown)


def test_display_stream_and_its_twin_leave_one_plain_markdown_output():
    cells = run_cells(
        "llm = vn.connect('demo')",
        "vn.display_stream(llm.stream_complete('What?'))",
        "answer = vn.display_stream(llm.stream_complete('What?'))",
        "await vn.adisplay_stream(await llm.astream_complete('What?'))",
        "answer",
    )
    for cell in cells[1:]:
        assert len(cell.outputs) == 1 and len(markdown_of(cell)) == 1
        assert set(cell.outputs[0].data) == {"text/markdown", "text/plain"}


def test_the_grid_is_shown_once_as_a_value_or_not(photo):
    cells = run_cells(
        f"vn.display_image_uris(['{photo}'])",
        f"figure = vn.display_image_uris(['{photo}'])\nother = 1",
        "figure",
        "%matplotlib inline",
        f"vn.display_image_uris(['{photo}'])",
    )
    for cell in (cells[0], cells[1], cells[2], cells[4]):
        images = [output for output in cell.outputs if {"image/png", "image/jpeg"} & set(output.get("data", {}))]
        assert len(images) == len(cell.outputs) == 1


def test_a_long_stream_is_redrawn_twelve_times_a_second_at_most():
    cells = run_cells(
        "from vision_nb.demo import shared_server\n"
        "shared_server().tokens_per_second = 2000\n"
        "shared_server().answer_with('word ' * 4000)\n"
        "import vision_nb.display, time\n"
        "drawn, draw = [], vision_nb.display.LiveAnswer._draw\n"
        "vision_nb.display.LiveAnswer._draw = lambda self, response: (drawn.append(time.time()), draw(self, response))",
        "%%vision demo\nWhat?",
        "print(len(drawn) / (drawn[-1] - drawn[0]) < 13, len(drawn) > 5)",
    )
    assert text_of(cells[2]) == "True True\n"


def test_an_interrupt_keeps_what_had_arrived_and_closes_the_connection():
    cells = run_cells(
        "from vision_nb.demo import shared_server\n"
        "import signal, os, threading, time\n"
        "shared_server().answer_with('word ' * 4000)\n"
        "def interrupt():\n"
        "    while not shared_server().requests:\n"
        "        time.sleep(0.05)\n"
        "    time.sleep(0.7)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=interrupt).start()",
        "%%vision demo\nWhat?",
        "time.sleep(0.3)\nprint(shared_server().disconnects)",
        allow_errors=True,
    )
    assert "word word" in markdown_of(cells[1])[0]
    assert "KeyboardInterrupt" in error_of(cells[1])
    assert text_of(cells[2]) == "1\n"


def test_the_extension_loads_twice_and_unloads():
    cells = run_cells(
        "%reload_ext vision_nb",
        "%%vision demo\nWhat?",
        "%unload_ext vision_nb",
        "%%vision demo\nWhat?",
        "%load_ext vision_nb",
        "%%vision demo\nWhat?",
        allow_errors=True,
    )
    assert markdown_of(cells[1]) and markdown_of(cells[5])
    assert "not found" in (error_of(cells[3]) or text_of(cells[3]))
