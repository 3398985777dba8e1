"""Answers, names and messages of servers cannot control a terminal that prints them."""

import re

import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.extractions import make_extraction, receipt
from tests.kernels import in_process_shell
from vision_nb import errors
from vision_nb.demo import Fault
from vision_nb.magics.table import Table
from vision_nb.providers.local.discovery import LocalServer, LocalServers
from vision_nb.providers.local.server_types import LocalModel

HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b31mred\x08\x08\rnew\x00"
CONTROL = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f]")


def test_a_streamed_answer(capsys):
    pieces = [HOSTILE, "a\tb\n", HOSTILE]
    vn.display_stream(
        vn.CompletionResponse("".join(pieces[: end + 1]), delta=pieces[end], finish_reason="stop" if end == 2 else None)
        for end in range(3)
    )
    shown = capsys.readouterr().out
    assert "title" in shown and "a\tb\n" in shown and not CONTROL.search(shown)


def test_cells(tmp_path, capsys):
    with in_process_shell(tmp_path) as shell:
        shell.server.answer_with(f"{HOSTILE} [1]")
        for line in ("openai:gpt-4o", "openai:gpt-4o -f json", "openai:a -m openai:b", "openai:gpt-4o --dry-run"):
            shell.run_cell(f"%%vision {line} --api-key-env PATH\nGive JSON.;")
        shell.server.fail(Fault(status=400, body={"error": {"message": HOSTILE}}))
        shell.run_cell("%%vision openai:gpt-4o --api-key-env PATH --no-raise\nWhat?")
        shell.server.fail(Fault(status=400, body={"error": {"message": HOSTILE}}))
        shell.run_cell("%%vision openai:gpt-4o --api-key-env PATH\nWhat?")
    shown = "".join(capsys.readouterr())
    assert shown.count("title") >= 6 and not CONTROL.search(re.sub(r"\x1b\[[\d;]*m", "", shown)), "not only colors"


def test_tables_and_scores(tmp_path):
    schema = {"title": "S", "type": "object", "properties": {HOSTILE: {"enum": [HOSTILE, "x"]}}}
    image = vn.ImageDocument(image=picture(), image_name=HOSTILE)
    read = make_extraction(tmp_path, [[{HOSTILE: "x"}]], schema, images=[image])
    read.set_review(0, {HOSTILE: HOSTILE}, reviewer=HOSTILE)
    score = read.score()
    servers = LocalServers([LocalServer(HOSTILE, HOSTILE, (LocalModel(HOSTILE),), HOSTILE)], [1])
    response = vn.CompletionResponse(HOSTILE, model=HOSTILE, finish_reason=HOSTILE)
    shown = [score, score.models, score.errors(), servers, Table([HOSTILE], [[HOSTILE]], [HOSTILE]), read, image]
    for text in (*map(repr, shown), *map(str, shown), repr(response), repr(read.comparison), repr(vn.ledger)):
        assert not CONTROL.search(text), text


@pytest.mark.parametrize("kind", [errors.VisionError, errors.ServerError, errors.SettingsError])
def test_errors(kind):
    assert not CONTROL.search(str(kind(f"The server says {HOSTILE}.")))


def test_the_data_of_an_answer_is_unchanged(tmp_path):
    assert vn.CompletionResponse(HOSTILE).text == HOSTILE
    read = make_extraction(tmp_path, [[receipt(note=HOSTILE)]])
    assert read.to_dataframe().note[0] == HOSTILE
