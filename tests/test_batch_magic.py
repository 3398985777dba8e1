"""``%vision batch list``."""

import math

import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.kernels import in_process_shell
from vision_nb.demo import BatchFault
from vision_nb.store import Store


@pytest.fixture
def shell(tmp_path):
    with in_process_shell(tmp_path) as shell:
        yield shell


def test_batches_are_listed_with_their_model_questions_state_and_age(shell, tmp_path, capsys):
    assert "No batch was submitted" in shell.run_line_magic("vision", "batch")._repr_markdown_()
    path, server = tmp_path / "answers.sqlite3", shell.server
    with vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base) as llm:
        options = {"store": path, "progress": False, "batch": True}
        images = [vn.ImageDocument.of(picture(seed=seed)) for seed in range(2)]
        server.batch_seconds = 0
        server.fail_batch(BatchFault(fails="Too many tokens."))
        vn.compare(llm, "One?", images, **options).wait(60, progress=False)
        vn.compare(llm, "Two?", images, **options).wait(60, progress=False)
        server.batch_seconds = math.inf
        waiting = vn.compare(llm, "Three?", images[:1], **options)
    with Store(path) as store:
        failed = next(one for one in store.batches() if one.message)
        store.update_batch(failed.token, created=failed.created - 7500)
    table = shell.run_line_magic("vision", "batch list")
    assert table.head == ("batch", "model", "questions", "done", "state", "submitted")
    newest, collected, oldest = table.rows
    assert newest[:4] == (waiting[0].batch, "openai:gpt-4o", "1", "0") and newest[5] == "just now"
    assert newest[4] in ("validating", "in progress")
    assert collected[2:] == ("2", "2", "completed, collected", "just now")
    assert oldest[4:] == ("failed, collected: Too many tokens.", "2 h 5 min ago")
    assert "run the cell with `batch=True` again" in table._repr_markdown_()


def test_other_actions_are_refused_and_the_subcommand_is_explained(shell, capsys):
    assert "List the batches" in shell.run_line_magic("vision", "help batch")._repr_markdown_()
    shell.run_cell("%vision batch lits")
    shown = capsys.readouterr()
    assert "did you mean list?" in shown.err + shown.out
