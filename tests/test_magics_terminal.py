"""`%%vision` in IPython in a terminal: plain text, streamed, and printed once."""

import re
import sys

import pytest

pexpect = pytest.importorskip("pexpect")

pytestmark = pytest.mark.slow


@pytest.fixture
def terminal(tmp_path):
    child = pexpect.spawn(
        sys.executable,
        ["-m", "IPython", "--simple-prompt", "--no-banner", "--no-confirm-exit", "--colors=NoColor"],
        cwd=str(tmp_path),
        encoding="utf-8",
        timeout=20,
        echo=False,
    )

    def run(*lines):
        for line in lines:
            child.sendline(line)
        child.expect(r"In \[\d+\]: $")
        return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", child.before).replace("\r", "")

    child.expect(r"In \[\d+\]: ")
    run("%load_ext vision_nb")
    child.run = run
    yield child
    child.close(force=True)


def test_a_terminal_prints_an_answer_once(terminal):
    terminal.run("from vision_nb.demo import shared_server; shared_server().answer_with('Some **plain** words.')")
    shown = terminal.run("%%vision demo", "What?", "", "")
    assert shown.count("Some **plain** words.") == 1
    assert re.search(r"Out\[\d+\]: demo, .*tokens? in, .* out, .* s, free\n", shown) and "<details>" not in shown
    again = terminal.run("%%vision demo", "What?", "", "")
    assert again.count("Some **plain** words.") == 1 and "from the cache" in again
    assert "Some **plain** words.\n\ndemo, " in terminal.run("_vision")
    terminal.run("shared_server().answer_with('[1, 2]')")
    assert "[1, 2]" in terminal.run("%%vision demo -f json", "Numbers?", "", "")
    assert "Nothing was sent." in terminal.run("%%vision demo --dry-run", "What?", "", "")
    assert "--- a (demo) (" in terminal.run("%%vision demo:a -m demo:b", "What?", "", "")


SCHEMA = (
    "{'type': 'object', 'properties': {'shop': {'type': 'string'}, 'total': {'type': 'object', 'properties': "
    "{'amount': {'type': 'number'}}}, 'items': {'type': 'array', 'items': {'type': 'string'}}}}"
)
RECEIPT = '{"shop": "Corner Shop", "total": {"amount": 12.5}, "items": ["bread", "milk"]}'


def test_a_terminal_shows_the_fields_of_a_structured_answer_as_a_table(terminal):
    terminal.run(f"schema = {SCHEMA}", "from vision_nb.demo import shared_server")
    terminal.run(f"shared_server().answer_with('{RECEIPT}')")
    table = "shop          Corner Shop\ntotal.amount  12.5\nitems         bread, milk\n"
    for option in ("", " --no-stream --no-cache", ""):  # the last one comes from the cache
        shown = terminal.run(f"%%vision demo --schema schema{option}", "What?", "", "")
        assert shown.count(table) == 1 and '"' not in shown and "Out[" not in shown
    assert terminal.run("_['shop']").strip().endswith("'Corner Shop'")
    terminal.run("import vision_nb as vn")
    assert table in terminal.run("vn.display_stream(vn.connect('demo').stream_complete('What?', schema=schema));")


def test_ctrl_c_keeps_the_fields_of_a_structured_answer_that_have_arrived(terminal):
    terminal.run(f"schema = {SCHEMA}", "from vision_nb.demo import shared_server")
    terminal.run("""answer = '{"shop": "Corner Shop", "items": ["' + 'word ' * 4000 + '"]}'""")
    terminal.run("shared_server().answer_with(answer)")
    for line in ("%%vision demo --schema schema", "What?", "", ""):
        terminal.sendline(line)
    terminal.expect("characters, ")
    terminal.sendintr()
    terminal.expect("KeyboardInterrupt: stopped")
    shown = terminal.before
    terminal.expect(r"In \[\d+\]: $")
    assert "shop   Corner Shop\r\nitems  word word" in shown and '"shop"' not in shown


def test_a_terminal_lists_the_names_and_sizes_of_shown_images(terminal):
    terminal.run("import vision_nb as vn")
    for line in ("vn.show(vn.samples.path('chart'))", "vn.load_images(vn.samples.path('chart'))"):
        shown = terminal.run(line)
        assert "1 image\n" in shown and "chart.png" in shown and re.search(r"\d+ x \d+", shown), line


def test_a_terminal_shows_errors_in_two_lines_and_tb_the_full_traceback(terminal):
    shown = terminal.run("%%vision demo -i missing.jpg", "What?", "", "")
    assert "ImageNotFoundError: There is no file missing.jpg" in shown and len(shown.strip().splitlines()) <= 4
    assert "Traceback" in terminal.run("%tb")
    assert "did you mean --image?" in terminal.run("%%vision demo --imgae x", "What?", "", "")


def test_ctrl_c_keeps_the_partial_answer(terminal):
    terminal.run("from vision_nb.demo import shared_server; shared_server().answer_with('word ' * 4000)")
    for line in ("%%vision demo", "What?", "", ""):
        terminal.sendline(line)
    terminal.expect("word word word")
    terminal.sendintr()
    terminal.expect("KeyboardInterrupt: stopped")
    terminal.expect(r"In \[\d+\]: $")
    assert "interrupted" in terminal.run("_vision.finish_reason")


def test_fix_asks_for_confirmation_before_sending(terminal):
    terminal.run("1 / 0")
    terminal.sendline("%vision fix demo:other")
    terminal.expect(r"Send it\? \[y/N\] ")
    assert "Nothing was sent." in terminal.run("n")
    terminal.sendline("%vision fix demo:other")
    terminal.expect(r"Send it\? \[y/N\] ")
    assert "no image yet" in terminal.run("y")


def test_a_line_says_why_a_cell_waits_and_ctrl_c_ends_the_wait(terminal):
    terminal.run("from vision_nb.demo import Fault, shared_server")
    names = "('limit', 'remaining', 'reset')"
    terminal.run(f"headers = {{f'x-ratelimit-{{n}}-requests': v for n, v in zip({names}, ('1', '0', '50s'))}}")
    terminal.run("shared_server().fail(Fault(headers=headers))", "sent = len(shared_server().requests)")
    terminal.run("%%vision demo", "What?", "", "")
    for line in ("%%vision demo", "Where?", "", ""):
        terminal.sendline(line)
    terminal.expect("Waiting [0-9]+ s: the server of demo reports that its rate limit is used up.")
    terminal.sendintr()
    terminal.expect("KeyboardInterrupt")
    terminal.expect(r"In \[\d+\]: $")
    assert "SENT 1" in terminal.run("print('SENT', len(shared_server().requests) - sent)")
