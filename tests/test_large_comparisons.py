"""Comparisons whose answers are not kept in memory, but read from the store."""

import contextlib
import gc
import math
import re
import sys

import pytest

import vision_nb as vn
from tests.conftest import fill_up, picture
from vision_nb import errors
from vision_nb.comparison import parquet, prepared_queue, rows, run
from vision_nb.comparison.calls import LocalCalls
from vision_nb.comparison.grid import Row, make_grid
from vision_nb.comparison.lookup import Lookup
from vision_nb.comparison.prepared_queue import PreparedQueue
from vision_nb.demo import Fault
from vision_nb.storage import answers
from vision_nb.store import Store

IMAGES = 12
SCHEMA = {
    "type": "object",
    "title": "Receipt",
    "properties": {
        "shop": {"type": "string"},
        "count": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "kind": {"enum": ["cash", "card"]},
        "items": {"type": "array", "items": {"type": "object", "properties": {"price": {"type": "number"}}}},
    },
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.sqlite3"


@pytest.fixture
def llm(server):
    return vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base, max_retries=0)


@pytest.fixture
def large(monkeypatch):
    """Makes all comparisons of more than ten rows large."""
    monkeypatch.setattr(rows, "ROWS_IN_MEMORY", 10)
    monkeypatch.setattr(rows, "PAGE", 4)


@pytest.fixture
def images():
    return [vn.ImageDocument(image=picture(40, 30, seed=seed), image_name=f"{seed}.png") for seed in range(IMAGES)]


def small_copy(comparison, monkeypatch, path):
    """The same comparison, with all answers in memory."""
    with monkeypatch.context() as patched:
        patched.setattr(rows, "ROWS_IN_MEMORY", 20_000)
        grid = comparison.grid
        copy = vn.compare(
            list(grid.models), list(grid.prompts), list(grid.documents), store=path, progress=False,
            schema=SCHEMA if grid.schema else None,
        )  # fmt: skip
    assert not copy.rows.is_large and comparison.rows.is_large
    return copy


def number_answers(server):
    """Answer each question with its number."""
    asked = []

    def answer(question):
        asked.append(question)
        return f"answer {len(asked)}"

    server.answer_with(answer)
    return asked


def receipts(server):
    """Answer each question with a receipt; the first four have no gaps, and the others have."""
    asked = []

    def answer(question):
        asked.append(question)
        number = len(asked)
        count = number if number < 5 else "null"
        items = '[{"price": 1.5}]' if number % 2 else "[]"
        return f'{{"shop": "shop {number}", "count": {count}, "kind": "cash", "items": {items}}}'

    server.answer_with(answer)


def without_ids(html):
    """HTML without the random part of names."""
    return re.sub(r"vnb-static-[0-9a-f]+", "", html)


@contextlib.contextmanager
def reads_counted(monkeypatch):
    """Counts the reads of answers."""
    reads = []

    def read(*arguments):
        reads.append(arguments)
        return answers.read_answers(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(rows, "read_answers", read)
        yield reads


def test_a_large_comparison_has_the_rows_of_a_small_one(server, llm, path, images, large, monkeypatch):
    number_answers(server)
    fresh = vn.compare(llm, ["What?", "Why?"], images, store=path, progress=False)
    assert len(server.requests) == 2 * IMAGES and not any(row.from_store for row in fresh)
    assert len({row.response for row in fresh}) == 2 * IMAGES and fresh[-1].prompt == "Why?"
    resumed = vn.compare(llm, ["What?", "Why?"], images, store=path, progress=False)
    copy = small_copy(fresh, monkeypatch, path)
    assert list(resumed) == list(copy) and resumed[3:7] == copy[3:7] and resumed[-1] == copy[-1]
    assert [row.usd for row in fresh] == [row.usd for row in copy] and repr(fresh) == repr(copy)
    assert [row.document for row in resumed] == images * 2
    with pytest.raises(IndexError):
        resumed[2 * IMAGES]


def test_a_large_comparison_keeps_no_answers_in_memory(server, llm, path, images, large):
    comparison = vn.compare(llm, [f"{number}?" for number in range(20)], images, store=path, progress=False)
    own, rows_alive = set(map(id, images)), []
    for number, _ in enumerate(comparison):
        if number % 60 == 0:
            gc.collect()
            alive = [one for one in gc.get_objects() if isinstance(one, Row)]
            rows_alive.append(sum(id(row.document) in own for row in alive))
            del alive
    assert len(comparison) == 20 * IMAGES and max(rows_alive) <= 3 * rows.PAGE


def test_iterating_reads_the_store_once_a_page(server, llm, path, images, large, monkeypatch):
    comparison = vn.compare(llm, ["What?", "Why?"], images, store=path, progress=False)
    with reads_counted(monkeypatch) as reads:
        assert len([row.response for row in comparison]) == 2 * IMAGES
    assert len(reads) == 2 * IMAGES / rows.PAGE
    with reads_counted(monkeypatch) as reads:
        assert len(comparison.errors) == 0 and repr(comparison) and comparison.rows.notes() == []
    assert not reads, "counts and errors need no answers"


def test_html_reads_only_the_images_that_it_shows(server, llm, path, images, large, monkeypatch):
    from vision_nb.comparison import gallery

    number_answers(server)
    comparison = vn.compare(llm, "What?", images, store=path, progress=False, concurrency=1)
    monkeypatch.setattr(gallery, "MAX_IMAGES", 3)
    with reads_counted(monkeypatch) as reads:
        html = comparison._repr_html_()
    assert len(reads) == 1 and "answer 1<" in html and "answer 5<" not in html
    assert f"Shown: 3 of {IMAGES} images, the failed ones first" in html


def test_html_of_many_questions_reads_only_the_answers_that_it_shows(server, llm, path, images, large, monkeypatch):
    from vision_nb.comparison import gallery

    monkeypatch.setattr(gallery, "MAX_IMAGES", 3)
    monkeypatch.setattr(gallery, "MAX_PROMPTS", 4)
    prompts = [f"question {number}?" for number in range(20)]
    vn.compare(llm, prompts[:10], images, store=path, progress=False)
    server.fail(Fault(status=400), times=1)
    comparison = vn.compare(llm, prompts, images, store=path, progress=False, concurrency=1)
    with reads_counted(monkeypatch) as reads:
        html = comparison._repr_html_()
    assert len(reads) == 3 * 4 / rows.PAGE
    assert f"Shown: 3 of {IMAGES} images and 4 of 20 questions, the failed ones first" in html
    assert [number for number in range(20) if f"question {number}?" in html] == [0, 1, 2, 10]
    assert '<li value="11"><b>question 10?' in html and "400" in html
    assert all(f"question {number}?" in comparison.to_html() for number in range(20)), "the page has all"


def test_html_of_many_questions_about_few_images_shows_the_images(server, llm, path, images):
    comparison = vn.compare(llm, [f"question {n}?" for n in range(400)], images[:2], store=path, progress=False)
    html = comparison._repr_html_()
    assert len(html) < 300_000 and html.count("data:image") >= 2
    assert "Shown: 50 of 400 questions, the failed ones first" in html


def test_html_shows_the_failed_images_of_a_large_comparison_first(server, llm, path, images, large, monkeypatch):
    from vision_nb.comparison import gallery

    monkeypatch.setattr(gallery, "MAX_IMAGES", 3)
    number_answers(server)
    missing = [*images, path.parent / "missing.png"]
    comparison = vn.compare(llm, "What?", missing, store=path, progress=False, concurrency=1)
    assert "missing.png" in comparison._repr_html_() and "answer 3<" not in comparison._repr_html_()


def test_a_large_comparison_says_so_if_its_store_is_gone(server, llm, path, images, large, monkeypatch):
    comparison = vn.compare(llm, "What?", images, store=path, progress=False)
    copy = small_copy(comparison, monkeypatch, path)
    with Store(path) as store:
        store.clear()
    with pytest.raises(errors.StoreError, match=r"answers\.sqlite3 no longer has the answer of row 0 .*run it again"):
        list(comparison)
    path.unlink()
    with pytest.raises(errors.StoreError, match=r"answers\.sqlite3 cannot be read .*restore the file"):
        comparison.to_dataframe(columns=["response"])
    assert not path.exists(), "reading does not create a store"
    assert len(copy.to_dataframe()) == len(list(copy)) == IMAGES, "a small one needs no store"


def test_errors_of_a_large_comparison_are_kept_and_can_be_asked_again(server, llm, path, images, large, tmp_path):
    asked = number_answers(server)
    server.fail(Fault(status=400), times=2)
    late = tmp_path / "late.png"
    comparison = vn.compare(llm, "What?", [*images, late], store=path, progress=False, concurrency=1)
    assert len(comparison.errors) == 3 and comparison.rows.answered == IMAGES - 2
    assert [row.image for row in comparison.errors] == ["0.png", "1.png", str(late)]
    picture(40, 30, seed=99).save(late)
    again = comparison.retry_errors(progress=False)
    assert len(asked) == IMAGES + 1 and not again.errors and len(comparison.errors) == 3
    assert len({row.response for row in again}) == IMAGES + 1
    assert [row.key for row in again] == [row.key for row in vn.compare(llm, "What?", [*images, late], store=path)]


def test_answers_keep_their_parameters_when_others_are_asked_again(server, llm, path, images, large):
    number_answers(server)
    server.fail(Fault(status=400), times=1)
    comparison = vn.compare(llm, "What?", images, store=path, progress=False, concurrency=1)
    before = [row.response for row in comparison]
    llm.temperature = 0.5
    again = comparison.retry_errors(progress=False)
    assert before[0] is None and again[0].response == f"answer {IMAGES}"
    assert [row.response for row in again][1:] == before[1:]
    assert again[0].key != comparison[0].key and again[1].key == comparison[1].key


@pytest.mark.parametrize("in_memory", [0, 20_000])
def test_an_answer_to_an_image_that_has_changed_is_not_copied(server, llm, path, tmp_path, monkeypatch, in_memory):
    monkeypatch.setattr(rows, "ROWS_IN_MEMORY", in_memory)
    number_answers(server)
    server.fail(Fault(status=400), times=1)
    changed, late = tmp_path / "changed.png", tmp_path / "late.png"
    picture(40, 30, seed=1).save(changed)
    options = {"store": path, "progress": False, "concurrency": 1}
    comparison = vn.compare(llm, ["What?", "Why?"], [changed, late], **options)
    assert [row.response for row in comparison] == [None, None, "answer 1", None]
    for file in (changed, late):
        picture(40, 30, seed=2).save(file)
    again = comparison.retry_errors(progress=False)
    assert [row.response for row in again] == ["answer 2", "answer 2", "answer 1", "answer 3"]
    fresh = vn.compare(llm, ["What?", "Why?"], [changed, late], **options)
    assert [row.response for row in fresh] == ["answer 2", "answer 2", "answer 3", "answer 3"]
    assert len(server.requests) == 1 + 3, "the failed request, and one for each answer"


@pytest.mark.parametrize("in_memory", [0, 20_000])
@pytest.mark.parametrize("is_ahead", [True, False])
def test_an_answer_belongs_to_what_was_sent_if_the_image_changes_during_the_run(
    server, llm, path, tmp_path, monkeypatch, in_memory, is_ahead
):
    if not is_ahead:
        monkeypatch.setattr(prepared_queue, "MAX_AHEAD_BYTES", 0)
    monkeypatch.setattr(rows, "ROWS_IN_MEMORY", in_memory)
    first, changed, equal = (tmp_path / name for name in ("first.png", "changed.png", "equal.png"))
    for seed, file in enumerate((first, changed)):
        picture(40, 30, seed=seed).save(file)
    equal.write_bytes(changed.read_bytes())

    def script(question):
        if question.images[0].size == (40, 30) and len(server.requests) == 1:
            picture(50, 20).save(changed)
        return "x".join(map(str, question.images[0].size))

    server.answer_with(script)
    options = {"store": path, "progress": False, "concurrency": 1}
    comparison = vn.compare(llm, "What?", [first, changed, equal], **options)
    asked = 2 if is_ahead else 3
    assert [row.response for row in comparison] == ["40x30", "40x30" if is_ahead else "50x20", "40x30"]
    assert len(server.requests) == asked and comparison.rows.tally().paid == asked
    again = vn.compare(llm, "What?", [first, changed, equal], **options)
    assert [row.response for row in again] == ["40x30", "50x20", "40x30"] and len(server.requests) == 3
    changed.write_bytes(equal.read_bytes())
    again = vn.compare(llm, "What?", [first, changed, equal], **options)
    assert [row.response for row in again] == ["40x30"] * 3 and len(server.requests) == 3


async def test_an_image_that_changes_between_the_look_ups_of_two_models_is_found(
    server, llm, path, tmp_path, monkeypatch
):
    file = tmp_path / "changed.png"
    picture(40, 30, seed=1).save(file)
    grid = make_grid([llm, vn.OpenAIMultiModal("gpt-4o-mini", "k", server.openai_base)], "What?", [file])
    with Store(path) as store:
        asked, calls = rows.Rows(grid, path), LocalCalls(grid, store)
        lookup = Lookup(grid, asked, store, calls, resume=True)
        assert [batch async for batch in lookup.missing(0)] == [[(0, 0, 0)]]
        picture(40, 30, seed=2).save(file)
        asked.identify(0, store.file_digest(grid.documents[0]))
        assert [batch async for batch in lookup.missing(1)] == [[(1, 0, 1)]]


@pytest.mark.parametrize("changes", [1, 100])
def test_an_image_that_changes_while_it_is_prepared_is_prepared_again(
    server, llm, path, tmp_path, monkeypatch, changes
):
    server.answer_with(lambda question: "x".join(map(str, question.images[0].size)))
    file, prepared, outgoing = tmp_path / "camera.png", [], type(llm).outgoing
    picture(40, 30).save(file)

    def change(self, document):
        made = outgoing(self, document)
        prepared.append(made)
        if len(prepared) <= changes:
            picture(50 + len(prepared), 20).save(file)
        return made

    monkeypatch.setattr(type(llm), "outgoing", change)
    comparison = vn.compare(llm, "What?", file, store=path, progress=False)
    if changes == 1:
        assert comparison[0].response == "51x20" and len(prepared) == 2
        assert vn.compare(llm, "What?", file, store=path, progress=False)[0].from_store
    else:
        assert "camera.png changes each time it is read" in comparison[0].error and not server.requests


@pytest.mark.parametrize("change", ["image", "parameters"])
def test_the_price_counts_each_row_once_after_a_retry(server, llm, path, tmp_path, monkeypatch, change):
    monkeypatch.setattr(rows, "ROWS_IN_MEMORY", 0)
    server.fail(Fault(status=400), times=1)
    file = tmp_path / "image.png"
    picture(40, 30, seed=1).save(file)
    comparison = vn.compare(llm, ["What?", "Why?"], file, store=path, progress=False, concurrency=1)
    if change == "image":
        picture(40, 30, seed=2).save(file)
    else:
        llm.temperature = 0.5
    again = comparison.retry_errors(progress=False)
    assert again.rows.tally().usd == sum(row.usd for row in again) > 0


def test_answers_of_a_batch_are_read_from_the_store_after_other_rows_of_their_page(
    server, llm, path, images, large, monkeypatch
):
    monkeypatch.setattr(rows, "PAGE", 5)
    server.batch_seconds = 0
    vn.compare(llm, "What?", images, store=path, progress=False)
    comparison = vn.compare(llm, ["What?", "Why?"], images, store=path, progress=False, batch=True)
    assert comparison[IMAGES - 1].finished and not comparison[IMAGES].finished, "they are on the same page"
    comparison.wait(60, progress=False)
    assert [comparison[index] for index in range(2 * IMAGES)] == list(comparison)
    assert all(row.finished for row in comparison)


def test_equal_images_of_a_large_comparison_are_asked_once(server, llm, path, images, large):
    number_answers(server)
    comparison = vn.compare(llm, "What?", [*images, *images], store=path, progress=False)
    assert len(server.requests) == IMAGES and len({row.response for row in comparison}) == IMAGES
    assert [row.from_store for row in comparison] == [False] * IMAGES + [True] * IMAGES
    assert "12 of 24 images are duplicates" in str(comparison)


def test_an_answer_that_was_not_stored_stays_in_memory(server, llm, path, images, large):
    with Store(path) as store:

        def fill(question):
            with store._lock:
                fill_up(store)
            return "a long answer " * 5000

        server.answer_with(fill)
        comparison = vn.compare(llm, "What?", images, store=store, progress=False, concurrency=1)
    assert len(server.requests) == 1 and comparison[0].response.startswith("a long answer")
    assert f"{IMAGES - 1} calls were not made" in comparison.incomplete


def test_rows_wait_in_a_queue_of_limited_length(server, llm, path, images, monkeypatch):
    monkeypatch.setattr(run, "_QUEUED", 2)
    found = []

    class CountedQueue(PreparedQueue):
        async def put(self, item):
            await super().put(item)
            found.append(self.qsize())

    monkeypatch.setattr("vision_nb.comparison.run.PreparedQueue", CountedQueue)
    models = [llm, vn.OpenAIMultiModal("gpt-4o-mini", "k", server.openai_base)]
    comparison = vn.compare(models, ["What?", "Why?"], images, store=path, progress=False, concurrency=3)
    assert comparison.rows.answered == len(server.requests) == 4 * IMAGES and max(found) <= 2


def test_a_large_comparison_has_the_tables_of_a_small_one(server, llm, path, images, large, monkeypatch, tmp_path):
    import pandas as pd

    receipts(server)
    other = vn.OpenAIMultiModal("gpt-4o-mini", "k", server.openai_base)
    vn.compare([llm, other], "What?", images, store=path, progress=False, schema=SCHEMA)
    comparison = vn.compare([llm, other], "What?", images, store=path, progress=False, schema=SCHEMA)
    comparison.set_label(3, correctness=4, relevance=2, annotator="ann")
    copy = small_copy(comparison, monkeypatch, path)
    extraction, small = vn.Extraction(comparison), vn.Extraction(copy)
    extraction.set_review(2, {"shop": "corrected", "count": 7, "kind": "card", "items": []}, reviewer="ann")
    for options in ({}, {"explode": "items"}, {"reviewed": True}):
        pd.testing.assert_frame_equal(extraction.to_dataframe(**options), small.to_dataframe(**options))
    pd.testing.assert_frame_equal(comparison.to_dataframe(), copy.to_dataframe())
    assert repr(comparison.summary()) == repr(copy.summary()) and comparison.summary().models[1].labels == 1
    assert repr(extraction.score()) == repr(small.score()) and extraction.by_doubt() == small.by_doubt()
    assert str(comparison) == str(copy) and str(extraction) == str(small)
    for of_large, of_small in ((comparison, copy), (extraction, small)):
        assert without_ids(of_large.to_html()) == without_ids(of_small.to_html())
        assert without_ids(of_large._repr_html_()) == without_ids(of_small._repr_html_())
    for name, table in (("a", extraction), ("b", small)):
        table.to_csv(tmp_path / f"{name}.csv")
        table.to_json(tmp_path / f"{name}.json")
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()
    panel = comparison.label(annotator="ann")
    assert panel.labeled == 1 and "shop" in panel.card["answer"]


def test_columns_are_selected_by_name(server, llm, path, images):
    receipts(server)
    extraction = vn.extract(images, SCHEMA, model=llm, store=path, progress=False)
    assert list(extraction.to_dataframe(columns=["usd", "shop"]).columns) == ["usd", "shop"]
    assert list(extraction.to_dataframe(columns=["items.price"], explode="items").columns) == ["items.price"]
    comparison = extraction.comparison
    assert list(comparison.to_dataframe(columns=["image", "count"]).columns) == ["image", "count"]
    for call, words in (
        (lambda: comparison.to_dataframe(columns=["respons"]), "'respons' is not a column .* Did you mean 'response'?"),
        (lambda: comparison.to_dataframe(columns="usd"), "must be a list of column names: got 'usd'"),
        (lambda: extraction.to_dataframe(columns=["prices"], explode="items"), "'prices' is not a column"),
        (lambda: extraction.to_dataframe(columns=["usd"], thumbnails=True), 'needs the column "image"'),
    ):
        with pytest.raises(errors.SettingsError, match=words):
            call()


@pytest.mark.parametrize("rows_of_a_part", [5, 1000])
def test_parquet_written_in_parts_has_the_whole_table(server, llm, path, images, monkeypatch, rows_of_a_part):
    import pandas as pd
    import pyarrow.parquet

    receipts(server)
    server.fail(Fault(status=400), times=1)
    extraction = vn.extract(images, SCHEMA, model=llm, store=path, progress=False, concurrency=1)
    monkeypatch.setattr(parquet, "_ROWS", rows_of_a_part)
    for table, name in ((extraction, "extraction.parquet"), (extraction.comparison, "comparison.parquet")):
        table.to_parquet(path.parent / name)
        read, whole = pd.read_parquet(path.parent / name), table.to_dataframe()
        assert list(read.columns) == list(whole.columns) and len(read) == IMAGES
        for column in ("image", "error", "shop", "count", "kind", "usd", "input_tokens"):
            assert [None if pd.isna(one) else one for one in read[column]] == [
                None if pd.isna(one) else one for one in whole[column]
            ]
        assert [None if one is None else len(one) for one in read["items"]] == [None, *[1, 0] * 5, 1]
    one = vn.extract(images[1], SCHEMA, model=llm, store=path, progress=False)
    for whole, few in ((extraction, one), (extraction.comparison, one.comparison)):
        schemas = []
        for table in (whole, few):
            table.to_parquet(path.parent / "a.parquet")
            schemas.append(pyarrow.parquet.read_schema(path.parent / "a.parquet").remove_metadata())
        assert schemas[0] == schemas[1], "files of several runs are one data set"
    extraction.to_parquet(path.parent / "some.parquet", columns=["usd", "shop"])
    assert list(pd.read_parquet(path.parent / "some.parquet").columns) == ["usd", "shop"]


def test_parquet_needs_pyarrow_and_values_of_one_type(server, llm, path, images, monkeypatch):
    schema = {"type": "object", "properties": {"any": {"anyOf": [{"type": "integer"}, {"type": "string"}]}}}
    values = iter(['{"any": 1}', '{"any": "text"}', *['{"any": 2}'] * IMAGES])
    server.answer_with(lambda question: next(values))
    extraction = vn.extract(images, schema, model=llm, store=path, progress=False)
    with pytest.raises(errors.SettingsError, match=r"cannot be written as Parquet .*choose other columns"):
        extraction.to_parquet(path.parent / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for table in (extraction, extraction.comparison):
        with pytest.raises(errors.SettingsError, match=r'needs pyarrow: pip install "vision-nb\[parquet\]"'):
            table.to_parquet(path.parent / "b.parquet")


def statements(store, call):
    """The SQL statements that a call executes."""
    executed: list[str] = []
    store._connection.set_trace_callback(executed.append)
    try:
        call()
    finally:
        store._connection.set_trace_callback(None)
    return executed


@pytest.mark.parametrize("dry_run", [True, False])
def test_planning_and_resuming_read_the_store_once_a_batch(server, llm, path, images, dry_run, large):
    prompts = [f"{number}?" for number in range(20)]
    with Store(path) as store:
        vn.compare(llm, prompts, images, store=store, progress=False)
        executed = statements(
            store, lambda: vn.compare(llm, prompts, images, store=store, progress=False, dry_run=dry_run)
        )
    batches = math.ceil(math.log2(IMAGES + 1))  # of 2, 4 and then 6 images
    assert len(executed) < 8 * (batches + 1) < IMAGES * len(prompts)
    assert len(server.requests) == IMAGES * len(prompts)
