"""`%%vision` in a real kernel: asking, images, text, conversations, interrupts, and loading the extension."""

import json

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.conftest import encoded, picture
from tests.drawn_files import colored_pdf
from tests.kernels import error_of, markdown_of, run_cells, text_of

pytestmark = pytest.mark.kernel

SERVER = "from vision_nb.demo import shared_server\nserver = shared_server()\nlast = lambda: server.requests[-1].body"


def value_of(cell):
    """Return the text of a cell's value, or None."""
    return next((output.data["text/plain"] for output in cell.outputs if output.output_type == "execute_result"), None)


def test_a_cell_streams_its_answer_and_shows_it_once(photo):
    asked, kept, named, same, silent, quiet = run_cells(
        f"%%vision -i {photo}\nWhat are the main colors?",
        "print(type(_vision).__name__, Out[2] is _vision, len(_vision.text) > 40, _vision.usage.input_tokens > 85)",
        f"%%vision demo answer << -i {photo}\nWhat are they?",
        "answer is _vision",
        "%%vision demo\nBe quiet;",
        "_vision.text",
    )
    answers = markdown_of(asked)
    note, answer = asked.outputs
    assert note.data["text/plain"].startswith("demo answers: no model was named") and len(answers) == 1
    assert answers[0].count("demo: measures pixels, no language model") == 1
    assert text_of(kept) == "CompletionResponse True True True\n"
    assert len(named.outputs) == 1
    assert value_of(same) == "True"
    assert silent.outputs == [] and "no image" in value_of(quiet)
    facts = answer.metadata["vision_nb"]
    assert facts["model"] == "demo" and facts["usd"] == 0.0 and facts["from_store"] is False
    assert facts["input_tokens"] > 85 and facts["output_tokens"] > 10


def test_images_come_from_variables_files_patterns_folders_and_urls(tmp_path):
    (tmp_path / "folder").mkdir()
    for name in (
        "a1.png",
        "a2.png",
        "with space ü.png",
        "写真.png",
        "folder/b.png",
        "C:\\win\\c.png",
        "night.png",
        "several1.png",
        "several2.png",
    ):
        (tmp_path / name).write_bytes(encoded(picture(seed=len(name))))
    (tmp_path / "report.pdf").write_bytes(colored_pdf(2))
    questions = {
        "-i small": 1,
        "-i several": 2,
        "-i table['x']": 1,
        "-i holder.image": 1,
        "-i array -i figure": 2,
        "-i a*.png": 2,
        "-i folder": 1,
        '-i "with space ü.png"': 1,
        "-i 写真.png --image several[1]": 2,
        "-i C:\\win\\c.png": 1,
        '-i "C:\\win\\c.png"': 1,
        "-i night.png": 1,
        "-i report.pdf": 2,
        "-i report.pdf#page=2": 1,
        "-i column": 2,
        "-i http://127.0.0.1:9/x.png --no-raise": 1,
        "-i docs[:2]": 2,
        "-i docs[2]": 1,
        "-i docs[1:] -i docs[-1].images[0]": 3,
        "-i holder.nested.images[:1]": 1,
        '-i "docs.filter(lambda d: d.size[0] > 5)"': 3,
        '-i "docs[:1] + several"': 3,
        "-i several[n]": 1,
        "-i several[12].png": 2,
    }
    _, *cells = run_cells(
        f"{SERVER}\nserver.answer_with('Yes.')\nfrom PIL import Image\nimport numpy as np\n"
        "from matplotlib.figure import Figure\nfrom types import SimpleNamespace\n"
        "small = Image.new('RGB', (10, 10), 'red')\nseveral = [small, vn.ImageDocument.of('a1.png')]\n"
        "table, holder = {'x': small}, SimpleNamespace(image=small)\nnight = 7\n"
        "docs, n = vn.load_images(small, small, small), 0\nobject.__setattr__(docs[2], 'images', [small])\n"
        "holder.nested = SimpleNamespace(images=several)\n"
        "array, figure = np.zeros((5, 5, 3), 'uint8'), Figure()\ncolumn = np.array(['a1.png', 'a2.png'])\nvn.ImageDocument.of(small)",
        *(f"%%vision demo {words}\nWhat is {number}?" for number, words in enumerate(questions)),
        "%%vision demo -i Out[2]\nWhat?",
        "print([sum(part['type'] == 'image_url' for part in r.body['messages'][-1]['content']) for r in server.requests])",
        folder=tmp_path,
    )
    assert json.loads(text_of(cells[-1])) == [*questions.values(), 1]


def test_text_is_sent_as_typed_except_for_double_braces():
    body = "  Sum $x_i$ {y} \\alpha %d \"quoted\" 'single' `code` #no /slash ?\n!ls ~ \\frac{a}{b} 夜空の色は何ですか。\n\tIt's ("
    cells = run_cells(
        f"{SERVER}\nx = y = z = 'WRONG'",
        f"%%vision demo\n{body}",
        f"last()['messages'][0]['content'] == {body!r}",
        "%%vision demo\n{{x.lower()}} {{ {'a': {'b': 1}}['a'] }} \\{{z}} {{ {'k': 2} }}",
        "print(last()['messages'][0]['content'])",
        "%%vision demo\nThis is {{color}}.",
        "%%vision demo\nThis is {{1 +}}.",
        "len(server.requests)",
        allow_errors=True,
    )
    assert value_of(cells[2]) == "True"
    assert text_of(cells[4]) == "wrong {'b': 1} {{z}} {'k': 2}\n"
    assert "{{color}}: color is not defined" in error_of(cells[5])
    assert "is not a valid Python expression" in error_of(cells[6])
    assert value_of(cells[7]) == "2"


def test_an_unchanged_cell_takes_its_answer_from_the_cache_and_says_so(photo):
    ask = f"%%vision demo -i {photo} -s short -t 0.5\nWhat?"
    cells = run_cells(
        SERVER,
        ask,
        ask,
        ask.replace("What?", "What then?"),
        ask.replace("0.5", "0.6"),
        ask.replace("-s short", "-s long"),
        ask.replace("demo", "demo --no-cache"),
        "len(server.requests)",
        "%config VisionMagics.cache = False",
        ask,
        ask.replace("demo", "demo --cache"),
        "print(len(server.requests), _vision.usage.input_tokens > 0)",
    )
    assert "from the cache" in markdown_of(cells[2])[0]
    assert cells[2].outputs[0].metadata["vision_nb"]["from_store"] is True
    assert all("from the cache" not in markdown_of(cell)[0] for cell in cells[3:7])
    assert value_of(cells[7]) == "5"
    assert "from the cache" in markdown_of(cells[10])[0]
    assert text_of(cells[11]) == "6 True\n"


def test_conversations_continue_independently(photo):
    said = "print([m['role'][0] for m in last()['messages']])"
    cells = run_cells(
        f"{SERVER}\nserver.answer_with(lambda question: f'Answer {{len(server.requests)}}')",
        f"%%vision demo:mine -i {photo} -s Short.\nFirst?",
        "%%vision -c\nSecond?",
        f"{said}\nprint(last()['model'], type(last()['messages'][1]['content']).__name__)",
        "%%vision demo --chat cats\nOf cats?",
        "%%vision --chat cats\nMore of cats?",
        said,
        "%%vision -c\nThird?",
        said,
        "%vision chat",
        "%vision chat show cats",
        "%vision chat export cats cats.md",
        "print(open('cats.md').read().count('**You**'))",
        "%vision chat reset cats",
        "%%vision demo --chat cats\nOnce more?",
        said,
        "%%vision demo\nA new one?",
        said,
        folder=photo.parent,
    )
    assert text_of(cells[3]) == "['s', 'u', 'a', 'u']\nmine list\n"
    assert text_of(cells[6]) == "['u', 'a', 'u']\n"
    assert text_of(cells[8]) == "['s', 'u', 'a', 'u', 'a', 'u']\n"
    assert "notebook      demo:mine  3" in value_of(cells[9]) and "cats" in value_of(cells[9])
    assert "Of cats?" in markdown_of(cells[10])[0]
    assert text_of(cells[12]) == "2\n"
    assert text_of(cells[15]) == text_of(cells[17]) == "['u']\n"


def test_an_interrupt_keeps_the_partial_answer_and_closes_the_connection():
    cells = run_cells(
        f"{SERVER}\nimport signal, os, threading, time\n"
        "server.answer_with('word ' * 4000)\n"
        "def interrupt():\n"
        "    while not server.requests:\n"
        "        time.sleep(0.05)\n"
        "    time.sleep(0.7)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=interrupt).start()",
        "%%vision demo\nWhat?",
        "time.sleep(0.3)\nprint(server.disconnects, _vision.finish_reason, _vision.text[:9])",
        "server.answer_with('Done.')",
        "%%vision demo\nWhat?",
        "print(len(server.requests))",
        allow_errors=True,
    )
    assert "word word" in markdown_of(cells[1])[0] and "The answer was interrupted" in markdown_of(cells[1])[0]
    assert len(markdown_of(cells[1])) == 1
    assert error_of(cells[1]).splitlines()[0] == "KeyboardInterrupt: stopped."
    assert text_of(cells[2]) == "1 interrupted word word\n"
    assert "Done." in markdown_of(cells[4])[0] and text_of(cells[5]) == "2\n"  # a partial answer is not cached


@pytest.mark.parametrize("cell", ["%%vision demo -i missing.jpg\nWhat?", "%%vision demo --sytem x\nWhat?"])
def test_an_error_stops_run_all(cell):
    cells = [nbformat.v4.new_code_cell(source) for source in ("%load_ext vision_nb", cell, "print('continued')")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with pytest.raises(CellExecutionError):
        NotebookClient(notebook, timeout=180).execute()
    assert notebook.cells[2].outputs == []


def test_an_error_is_two_lines_and_tb_shows_the_full_traceback(tmp_path):
    cells = run_cells(
        "%%vision demo -i missing.jpg\nWhat?",
        "%tb",
        "%%vision openai:gpt-4o\nWhat?",
        "%%vision demo --no-raise -i missing.jpg\nWhat?",
        "%xmode Plain\nfrom vision_nb.demo import shared_server, Fault\nshared_server().fail(Fault(status=401), 9)",
        "%%vision demo\nWhat?",
        folder=tmp_path,
        allow_errors=True,
    )
    assert error_of(cells[0]).startswith("ImageNotFoundError: There is no file missing.jpg")
    assert "Traceback" in error_of(cells[1]) and "run_cell_magic" in error_of(cells[1])
    assert "OPENAI_API_KEY" in error_of(cells[2]) and 'the model "demo"' in error_of(cells[2])
    assert error_of(cells[5]).startswith("AuthenticationError: ")
    for cell in (cells[0], cells[2], cells[5]):
        lines = error_of(cell).splitlines()
        assert len(lines) == 2 and "%tb" in lines[1]
    assert error_of(cells[3]) is None and "no file missing.jpg" in cells[3].outputs[0].data["text/html"]


def test_a_long_stream_is_redrawn_at_most_twelve_times_a_second():
    cells = run_cells(
        f"{SERVER}\nserver.tokens_per_second = 2000\nserver.answer_with('word ' * 4000)\n"
        "import vision_nb.notebook.display, time\n"
        "drawn, draw = [], vision_nb.notebook.display.StreamingDisplay._draw\n"
        "vision_nb.notebook.display.StreamingDisplay._draw = lambda *given: (drawn.append(time.time()), draw(*given))",
        "%%vision demo\nWhat?",
        "print(len(drawn) / (drawn[-1] - drawn[0]) < 13, len(drawn) > 5)",
    )
    assert text_of(cells[2]) == "True True\n"


def test_the_extension_can_be_reloaded_and_unloading_removes_everything():
    left = (
        "ip = get_ipython()\n"
        "print([name for kind in ip.magics_manager.magics.values() for name in kind if 'vision' in name], "
        "[name for name in [*map(repr, ip.configurables), *ip.magics_manager.registry] if 'Vision' in name], "
        "[one for one in ip.Completer.custom_matchers if 'vision' in repr(one)], "
        "[one for one in ip.events.callbacks['post_run_cell'] if 'vision' in repr(one)])"
    )
    cells = run_cells(
        left,
        "%load_ext vision_nb",
        "%reload_ext vision_nb",
        "import vision_nb\nvision_nb.load_ipython_extension(get_ipython())",
        "%%vision demo\nWhat?",
        "print(len([one for one in get_ipython().configurables if type(one).__name__ == 'VisionMagics']))",
        "%unload_ext vision_nb",
        left,
        "%%vision demo\nWhat?",
        "%load_ext vision_nb",
        "%%vision demo\nWhat?",
        allow_errors=True,
        load=False,
    )
    assert len(markdown_of(cells[4])) == len(markdown_of(cells[10])) == 1
    assert text_of(cells[5]) == "1\n"
    assert text_of(cells[0]) == text_of(cells[7]) == "[] [] [] []\n"
    assert "not found" in (error_of(cells[8]) or text_of(cells[8]))


def test_display_stream_and_adisplay_stream_leave_one_markdown_output():
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


def test_the_image_grid_is_shown_once_whether_or_not_it_is_the_cells_value(photo):
    cells = run_cells(
        f"vn.display_image_uris(['{photo}'])",
        f"figure = vn.display_image_uris(['{photo}'])\nother = 1",
        "figure",
        "%matplotlib inline",
        f"vn.display_image_uris(['{photo}'])",
    )
    for cell in (cells[0], cells[1], cells[2], cells[4]):
        images = [output for output in cell.outputs if {"image/png", "text/html"} & set(output.get("data", {}))]
        assert len(images) == len(cell.outputs) == 1
