"""`compare`: rows, resuming, errors, budgets, concurrency, the gallery and labels."""

import asyncio
import copy
import itertools
import pickle
import threading
import time
from decimal import Decimal

import pytest

import vision_nb as vn
from tests.conftest import encoded, picture, rows_in
from vision_nb import errors
from vision_nb.comparison.tables import comparison_columns
from vision_nb.demo import DemoServer, Fault
from vision_nb.store import Store

PROMPTS = ["what is shown in this image?", "how many people are shown in the image?"]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(encoded(picture(seed=number)))
    return folder


@pytest.fixture
def store(tmp_path):
    return tmp_path / "answers.sqlite3"


def models(server, *names, **options):
    chosen = {"api_key": "k", "api_base": server.openai_base, "max_new_tokens": 50, **options}
    return [vn.OpenAIMultiModal(name, **chosen) for name in names or ("gpt-4o", "gpt-4o-mini")]


def claimed_keys(store):
    """The questions that are claimed in the store's file."""
    return rows_in(store, "SELECT key FROM claims")


def compare(*what, **options):
    return vn.compare(*what, **{"progress": False, **options})


def test_rows_are_ordered_by_prompt_then_image_then_model(server, images, store):
    server.answer_with(lambda question: f"{question.model}: {question.prompt}")
    comparison = compare(models(server), PROMPTS, images, store=store)
    found = comparison.to_dataframe()
    assert list(found.columns) == [column.name for column in comparison_columns(None)]
    expected = [
        (prompt, str(images / f"{number}.png"), f"openai:{name}", f"{name}: {prompt}")
        for prompt in PROMPTS
        for number in range(3)
        for name in ("gpt-4o", "gpt-4o-mini")
    ]
    assert list(found[["prompt", "image", "model", "response"]].itertuples(index=False, name=None)) == expected
    assert found.error.isna().all() and (found.usd > 0).all() and (found.input_tokens > 85).all()


def test_a_second_run_makes_no_calls_unless_a_parameter_differs(server, images, store):
    first = compare(models(server), PROMPTS, images, store=store)
    asked = len(server.requests)
    again = compare(models(server), PROMPTS, images, store=store)
    assert asked == 12 and len(server.requests) == asked
    assert [row.response for row in again] == [row.response for row in first]
    assert all(row.from_store and row.usd == was.usd for row, was in zip(again, first, strict=True))
    compare(models(server, temperature=0.5), PROMPTS, images, store=store)
    compare(models(server), PROMPTS, images, store=store, resume=False)
    assert len(server.requests) == 3 * asked


def test_answers_are_reused_for_the_same_image_content_under_another_name(server, images, store, tmp_path):
    compare(models(server), PROMPTS, images / "0.png", store=store)
    asked = len(server.requests)
    compare(models(server), PROMPTS, (images / "0.png").read_bytes(), store=store)
    (images / "0.png").write_bytes(encoded(picture(seed=9)))
    assert len(server.requests) == asked
    compare(models(server), PROMPTS, images / "0.png", store=store)
    assert len(server.requests) == 2 * asked


def test_each_image_is_encoded_once_per_size(server, images, store, monkeypatch):
    from vision_nb.images import document as module

    calls, prepare = [], module.prepare  # type: ignore[attr-defined]

    def counted(data, *, fit, **options):
        calls.append((len(data), fit((3000, 2000))))
        return prepare(data, fit=fit, **options)

    monkeypatch.setattr(module, "prepare", counted)
    big = [encoded(picture(1500, 1000, seed=seed), "JPEG") for seed in range(3)]
    compare(models(server, "gpt-4o", "gpt-4.1", "gpt-6-astra"), [*PROMPTS, "third?"], big, store=store)
    assert len(server.requests) == 27
    assert sorted(size for _, size in calls) == [(1152, 768)] * 3 + [(1500, 1000)] * 3


def test_a_failed_call_is_an_error_row_and_the_other_calls_are_made(server, images, store):
    (images / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    server.fail(Fault(status=400))
    comparison = compare(models(server), PROMPTS, [images, images / "missing.png"], store=store)
    kinds = [row.error.split(":")[0] for row in comparison.errors]
    assert sorted(kinds) == ["CorruptImageError"] * 4 + ["ImageNotFoundError"] * 4 + ["RequestRejectedError"]
    assert sum(row.finished for row in comparison) == 11
    table = comparison.to_dataframe()
    dtypes = {"input_tokens": "Int64", "output_tokens": "Int64", "usd": "float64", "relevance": "float64"}
    assert {name: str(table[name].dtype) for name in dtypes} == dtypes, "also with missing values"
    shown = table["error"].dropna()
    assert len(shown) == 9 and not shown.str.contains(str(images.parent)).any()
    (images / "broken.png").write_bytes(encoded(picture(seed=7)))
    mended = comparison.retry_errors(progress=False)
    assert [row.error.split(":")[0] for row in mended.errors] == ["ImageNotFoundError"] * 4
    assert len(server.requests) == 12 + 1 + 4


def test_rows_are_equal_and_pickled_as_a_tuple_is(server, images, store):
    server.fail(Fault(status=400))
    first = compare(models(server), PROMPTS, images, store=store)
    second = first.retry_errors(progress=False)
    third = second.retry_errors(progress=False)
    assert second.rows == third.rows == tuple(third) != first.rows and second.rows != second.rows[1:]
    assert pickle.loads(pickle.dumps(second.rows)) == copy.deepcopy(second.rows) == second.rows


def test_a_rate_limit_pauses_only_its_own_model(server, images, store):
    calm, busy = models(server, "gpt-4o", "gpt-4o-mini", max_retries=0)
    with DemoServer(tokens_per_second=5000) as other:
        busy.api_base = other.openai_base
        other.fail(Fault(status=429, retry_after=0.3), times=3)
        comparison = compare([calm, busy], PROMPTS, images, store=store, concurrency={str(busy): 1})
        assert not comparison.errors
        paused_until = other.requests[3].time
        assert max(request.time for request in server.requests) < paused_until
        assert len(other.requests) == 6 + 3


def test_concurrency_is_limited_in_total_and_per_model(server, images, store):
    under_way, most, lock = {}, {}, threading.Lock()

    def slow(question):
        with lock:
            under_way[question.model] = under_way.get(question.model, 0) + 1
            most[question.model] = max(most.get(question.model, 0), under_way[question.model])
            most["all"] = max(most.get("all", 0), sum(under_way.values()))
        time.sleep(0.03)
        with lock:
            under_way[question.model] -= 1
        return "x"

    server.answer_with(slow)
    compare(models(server), PROMPTS, images, store=store, concurrency=2)
    assert most["all"] <= 2
    most.clear()
    compare(models(server), PROMPTS, images, store=store, resume=False, concurrency={"openai:gpt-4o": 1})
    assert most["gpt-4o"] == 1 and most["gpt-4o-mini"] > 1


def test_a_dry_run_returns_calls_tokens_and_price_without_sending_anything(server, images, store):
    compare(models(server, "gpt-4o"), PROMPTS[:1], images, store=store)
    asked = len(server.requests)
    plan = compare(
        [*models(server), vn.LocalMultiModal("qwen", api_base="https://x.example/v1")],
        PROMPTS,
        images,
        store=store,
        dry_run=True,
    )
    assert len(server.requests) == asked
    assert [one.calls for one in plan.models] == [3, 6, 6] and plan.models[0].finished == 3
    assert plan.models[0].input_tokens > 3 * 255 and plan.models[0].usd > 0
    assert plan.models[2].usd is None and plan.usd is None
    assert "price unknown" in plan._repr_markdown_() and "Nothing was sent" in str(plan)
    table = plan.to_dataframe()
    assert table["calls"].tolist() == [3, 6, 6] and table["usd"].isna().tolist() == [False, False, True]
    assert table["usd"][0] == float(plan.models[0].usd) and table["input_tokens"][0] == plan.models[0].input_tokens


def test_a_dry_run_counts_unreadable_and_equal_images_for_each_prompt_and_model(server, images, store):
    compare(models(server, "gpt-4o"), PROMPTS[1:], images / "0.png", store=store)
    (images / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (images / "cut off.png").write_bytes((images / "1.png").read_bytes()[:-100])
    (images / "copy.png").write_bytes((images / "1.png").read_bytes())
    plan = compare(
        models(server), PROMPTS, [*sorted(images.iterdir()), images / "missing.png"], store=store, dry_run=True
    )
    assert [(one.calls, one.finished, one.unreadable) for one in plan.models] == [(5, 1, 6), (6, 0, 6)]


def test_a_budget_stops_the_run_before_a_call_that_could_exceed_it(server, images, store):
    plan = compare(models(server, "gpt-4o"), PROMPTS, images, store=store, dry_run=True)
    budget = plan.usd * Decimal("0.6")
    comparison = compare(models(server, "gpt-4o"), PROMPTS, images, store=store, budget=budget)
    spent = sum(row.usd for row in comparison if row.finished)
    assert 0 < sum(row.finished for row in comparison) < 6
    assert spent <= budget
    left = sum(not row.finished for row in comparison)
    assert "is spent" in comparison.incomplete and f"; {left} calls were not made" in comparison.incomplete
    assert "call not made" in comparison._repr_html_()
    nothing_spent = compare(models(server, "gpt-4o"), PROMPTS, images, store=store, budget=0)
    assert not nothing_spent.errors and "but the budget is 0 USD: raise budget=" in nothing_spent.incomplete
    rest = compare(models(server, "gpt-4o"), PROMPTS, images, store=store)
    assert all(row.finished for row in rest) and rest.incomplete is None


def test_a_budget_needs_known_prices_and_a_valid_amount(server, images, store):
    unknown = models(server, "a-model-of-tomorrow")
    with pytest.raises(errors.SettingsError, match="a-model-of-tomorrow"):
        compare(unknown, PROMPTS, images, store=store, budget=1)
    for wrong in (-1, float("nan"), "much"):
        with pytest.raises(errors.SettingsError, match="amount of US dollars"):
            compare(models(server), PROMPTS, images, store=store, budget=wrong)
    assert server.requests == []


async def test_acompare_and_compare_inside_a_running_loop(server, images, store):
    comparison = await vn.acompare(models(server), PROMPTS, images, store=store, progress=False)
    assert len(comparison) == 12
    assert len(compare(models(server), PROMPTS, images, store=store, resume=False)) == 12
    assert len(server.requests) == 24


def test_compare_inside_a_uvloop(server, images, store):
    uvloop = pytest.importorskip("uvloop")

    async def main():
        return compare(models(server), PROMPTS, images, store=store)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert all(row.finished for row in runner.run(main()))


@pytest.mark.parametrize("kind", ["no loop", "running loop", "uvloop"])
@pytest.mark.posix
def test_an_interrupt_returns_the_answers_so_far(server, images, store, kind):
    import os
    import signal

    returned = threading.Event()
    numbers = itertools.count(1)

    def answer(question):
        number = next(numbers)
        if number == 5:  # two at a time: three have an answer
            os.kill(os.getpid(), signal.SIGINT)
        if number >= 5:
            returned.wait(60)
        return "x"

    server.answer_with(answer)

    def interrupted():
        return compare(models(server), [*PROMPTS, *"abcdef"], images, store=store, concurrency=2)

    async def main():
        return interrupted()

    if kind == "no loop":
        comparison = interrupted()
    else:
        factory = pytest.importorskip("uvloop").new_event_loop if kind == "uvloop" else None
        loop = factory() if factory else asyncio.new_event_loop()
        comparison = loop.run_until_complete(main())
        loop.close()
    returned.set()
    assert comparison.incomplete.startswith("interrupted; ")
    assert claimed_keys(store) == []
    finished = sum(row.finished for row in comparison)
    assert 0 < finished < 48
    server.answer_with("x")
    asked = len(server.requests)
    assert all(row.finished for row in compare(models(server), [*PROMPTS, *"abcdef"], images, store=store))
    assert len(server.requests) - asked == 48 - finished


@pytest.mark.slow
def test_the_gallery_is_small_and_sanitized(server, tmp_path, store):
    server.answer_with("<img src=x onerror=alert(1)> **bold** " + "long " * 800)
    big = [picture(1200, 900, seed=seed) for seed in range(22)]
    comparison = compare(models(server), PROMPTS, big, store=store)
    html = comparison._repr_html_()
    assert len(html) < 200_000
    assert html.count("<img") == 22 and "onerror=alert" not in html.replace("&lt;img src=x onerror", "")
    assert "<strong>bold</strong>" in html and "not shown" not in html


def test_to_csv_and_to_parquet(server, images, store, tmp_path):
    undecodable = vn.ImageDocument(image=encoded(picture(seed=9)), image_name="caf\udce9.png")
    comparison = compare(models(server), [*PROMPTS, "What\ud800?"], [images, undecodable], store=store)
    comparison.to_csv(tmp_path / "it.csv")
    assert (tmp_path / "it.csv").read_bytes().startswith(b"\xef\xbb\xbfmodel,prompt,response")  # as Excel expects
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    comparison.to_parquet(tmp_path / "it.parquet")
    table = pandas.read_parquet(tmp_path / "it.parquet")
    assert table.response.tolist() == [row.response for row in comparison]
    assert (table.image.iloc[-1], table.prompt.iloc[-1]) == ("caf\ufffd.png", "What\ufffd?")
    assert "Comparison(24 rows, 24 answered, 0 failed)" in repr(comparison)


@pytest.mark.parametrize(
    "what, words",
    [
        (([], PROMPTS, [PNG := encoded(picture())]), "at least one model"),
        ((None, PROMPTS, [PNG]), "at least one model"),
        ((["demo"], [], [PNG]), "at least one prompt"),
        ((["demo"], PROMPTS, []), "at least one image"),
        ((["demo"], PROMPTS, [[], []]), "at least one image"),
        ((["demo", "demo"], PROMPTS, [PNG]), "model 'demo' is given twice"),
        ((["demo"], [3], [PNG]), "prompt must be a non-empty string"),
        ((["demo"], [" "], [PNG]), "prompt must be a non-empty string"),
        (([object()], PROMPTS, [PNG]), "not a model"),
        ((5, PROMPTS, [PNG]), "not a model"),
        ((["demo"], 5, [PNG]), "prompt must be a non-empty string"),
    ],
)
def test_invalid_arguments_raise(what, words, store):
    with pytest.raises(errors.SettingsError, match=words):
        compare(*what, store=store)


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, {"demo": 0}, {"nobody": 3}])
def test_an_invalid_concurrency_raises(concurrency, store):
    with pytest.raises(errors.SettingsError, match="concurrency"):
        compare("demo", PROMPTS, picture(), store=store, concurrency=concurrency)


def test_a_concurrency_above_the_number_of_calls_starts_no_idle_workers(store):
    assert compare("demo", PROMPTS, picture(), store=store, concurrency=10**30).rows.answered == len(PROMPTS)


def test_labels_are_saved_at_once_and_are_in_the_dataframe(server, images, store):
    comparison = compare(models(server), PROMPTS, images, store=store)
    comparison.set_label(0, correctness=4, relevance=5, comment="good", annotator="ann")
    comparison.set_label(0, correctness=2, annotator="bob")
    comparison.set_label(1, relevance=3, annotator="ann")
    comparison.set_label(1, relevance=1, annotator="ann")
    frame = compare(models(server), PROMPTS, images, store=store).to_dataframe()
    assert frame.correctness[0] == 3 and frame.relevance[0] == 5 and frame.relevance[1] == 1
    assert frame.correctness[1:].isna().all()
    comparison.remove_label(0, "bob")
    assert comparison.to_dataframe().correctness[0] == 4
    assert comparison.get_label(0, "ann").comment == "good" and comparison.get_label(0, "nobody") is None


def test_set_label_keeps_earlier_values_and_accepts_numpy_integers(server, images, store):
    import numpy as np

    comparison = compare(models(server, "gpt-4o"), PROMPTS[:1], images, store=store)
    comparison.set_label(0, correctness=np.int64(4), comment="hm", annotator="ann")
    comparison.set_label(0, relevance=5, annotator="ann")
    label = comparison.get_label(0, "ann")
    assert (label.correctness, label.relevance, label.comment) == (4, 5, "hm")
    assert comparison.summary().models[0].correctness == 4


def test_an_images_own_detail_level_is_part_of_the_answers_key(server, images, store):
    llm = models(server, "gpt-4o")
    for detail in ("low", "high"):
        document = vn.ImageDocument.of(images / "0.png", detail=detail)
        (row,) = compare(llm, PROMPTS[:1], document, store=store)
        assert not row.from_store
    assert len(server.requests) == 2


def test_a_retry_keeps_the_budget_and_unknown_usage_costs_the_reserved_amount(server, images, store):
    server.fail(Fault(no_usage=True), times=6)
    plan = compare(models(server, "gpt-4o"), PROMPTS, images, store=store, dry_run=True)
    comparison = compare(models(server, "gpt-4o"), PROMPTS, images, store=store, budget=plan.usd / 2)
    finished = sum(row.finished for row in comparison)
    assert 0 < finished <= 3 and "budget" in comparison.incomplete
    assert sum(row.finished for row in comparison.retry_errors(progress=False)) == finished


@pytest.mark.parametrize(
    ("status", "code", "name"),
    [
        (429, "insufficient_quota", "QuotaExceededError"),
        (401, "invalid_api_key", "AuthenticationError"),
        (403, "permission_denied", "AuthenticationError"),
        (404, "model_not_found", "UnknownModelError"),
    ],
)
def test_a_model_that_would_refuse_every_call_is_asked_once(server, images, store, status, code, name):
    body = {"error": {"message": "No.", "code": code}}
    calm, refusing = models(server, "gpt-4o", "gpt-4o-mini", max_retries=0)
    with DemoServer() as other:
        refusing.api_base = other.openai_base
        other.fail(Fault(status=status, body=body), times=50)
        comparison = compare([calm, refusing], PROMPTS, images, store=store, concurrency={str(refusing): 1})
        assert len(other.requests) == 1
        alone = compare(refusing, PROMPTS, images, store=store, concurrency=1)
        assert len(other.requests) == 2
    assert [row.error.split(":")[0] for row in comparison.errors] == [name] * 6
    assert "All 6 calls failed" not in comparison._repr_html_()
    for shown in (alone._repr_html_(), str(alone)):
        assert shown.count(name) == 1 and "All 6 calls failed: " in shown
    assert [row.error.split(":")[0] for row in alone] == [name] * 6 and comparison.retry_errors(progress=False)


def test_an_image_that_moderation_refuses_does_not_end_the_run(server, images, store):
    body = {"error": {"message": "Your chosen model requires moderation, and your input was flagged.", "code": 403}}
    server.fail(Fault(status=403, body=body))
    comparison = compare(models(server, "gpt-4o"), PROMPTS, images, store=store, concurrency=1)
    assert [row.error.split(":")[0] for row in comparison.errors] == ["ContentFilterError"]


def test_a_call_waits_while_other_calls_reserve_the_ledgers_budget(server, images, store):
    server.answer_with(lambda question: time.sleep(0.02) or "x")
    (llm,) = models(server, "gpt-4o")
    vn.ledger.budget = vn.estimate_cost(PROMPTS[0], [(64, 48)], llm).usd * 3
    comparison = compare(llm, [f"question {n}?" for n in range(4)], images / "0.png", store=store, concurrency=4)
    assert all(row.finished for row in comparison)


@pytest.mark.parametrize("score", [0, 6, 2.5, "5", True])
def test_an_invalid_score_or_row_raises(server, images, store, score):
    comparison = compare(models(server, "gpt-4o"), PROMPTS[:1], images, store=store)
    with pytest.raises(errors.SettingsError, match="from 1 to 5"):
        comparison.set_label(0, correctness=score)
    with pytest.raises(errors.SettingsError, match="There is no row 99: there are"):
        comparison.set_label(99, correctness=3)


def test_labeling_a_row_without_an_answer_raises(server, images, store):
    server.fail(Fault(status=400))
    comparison = compare(models(server, "gpt-4o"), PROMPTS[:1], images / "0.png", store=store)
    with pytest.raises(errors.SettingsError, match=r"no answer to score: .*[^.]\.$"):
        comparison.set_label(0, correctness=3)


def test_the_summary_and_the_plot_show_the_number_of_labels(server, images, store):
    comparison = compare(models(server), PROMPTS, images, store=store)
    for place in range(6):
        comparison.set_label(place, correctness=place % 5 + 1, relevance=5)
    summary = comparison.summary()
    assert [one.labels for one in summary.models] == [3, 3]
    assert summary.models[0].correctness == 3 and summary.models[0].answered == 6
    assert "openai:gpt-4o" in summary._repr_markdown_() and len(summary.to_dataframe()) == 2
    figure = comparison.plot()
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["n = 3", "n = 3"]


def test_the_error_bars_of_the_plot_leave_room_for_the_number_of_labels(server, images, store):
    comparison = compare(models(server, "gpt-4o"), PROMPTS, images, store=store)
    for place in range(4):
        comparison.set_label(place, correctness=1 if place else 5, relevance=5 if place else 1)
    for axis in comparison.plot().axes:
        _, _, (bars,) = axis.containers[0]
        low, high = bars.get_segments()[0][:, 1]
        bottom, top = axis.get_ylim()
        assert bottom < low and high < axis.texts[0].xy[1] < top


def test_models_with_one_name_share_a_row_of_the_summary_and_a_place_in_the_plot(server, images, store):
    settings = [models(server, "gpt-4o", temperature=temperature)[0] for temperature in (0, 1)]
    comparison = compare(settings, PROMPTS[:1], images / "0.png", store=store)
    for place in range(2):
        comparison.set_label(place, correctness=4)
    assert [one.labels for one in comparison.summary().models] == [2]
    assert [text.get_text() for text in comparison.plot().axes[0].texts] == ["n = 2"]


@pytest.mark.slow
def test_agreement_as_percentage_and_kappa(server, images, store):
    comparison = compare(models(server), PROMPTS, images, store=store)
    for place, (one, other) in enumerate([(5, 5), (4, 4), (3, 1), (2, 2)]):
        comparison.set_label(place, correctness=one, annotator="ann")
        comparison.set_label(place, correctness=other, annotator="bob")
    (agreement,) = comparison.agreement()
    assert (agreement.annotators, agreement.n, agreement.percent) == (("ann", "bob"), 4, 75.0)
    pytest.importorskip("sklearn")
    assert 0.6 < agreement.kappa < 0.75


def test_agreement_without_scikit_learn_has_no_kappa(server, images, store, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    comparison = compare(models(server), PROMPTS, images, store=store)
    for who, so_far in (("ann", "nobody"), ("bob", "ann")):
        with pytest.warns(
            UserWarning, match=rf"No answer .+ two annotators \(so far: {so_far}\).+ label\(annotator=NAME"
        ):
            assert comparison.agreement() == []
        comparison.set_label(0, correctness=4, annotator=who)
    (agreement,) = comparison.agreement()
    assert (agreement.percent, agreement.kappa) == (100.0, None)


def test_the_progress_counts_finished_and_failed_rows(server, images, store, capsys):
    server.fail(Fault(status=400))
    compare(models(server), PROMPTS, images, store=store, progress=True)
    line = capsys.readouterr().err
    assert line.startswith("comparing: 12 of 12, 1 failed, ") and line.count("\n") == 1, "a log has the last line only"


@pytest.mark.slow
def test_pandas_is_imported_only_for_a_dataframe():
    import subprocess
    import sys

    code = (
        "import sys, tempfile\nimport vision_nb as vn\n"
        "found = vn.compare('demo', 'What?', vn.samples.path('chart'), store=tempfile.mkdtemp() + '/a', progress=False)\n"
        "found._repr_html_(), found.summary()._repr_markdown_()\nassert 'pandas' not in sys.modules\n"
        "found.to_dataframe()\nassert 'pandas' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_store_can_be_shared_by_comparisons(server, images, store):
    kept = Store(store)
    compare(models(server), PROMPTS, images, store=kept)
    compare(models(server), PROMPTS, images, store=kept)
    assert len(server.requests) == 12


def test_a_dry_run_needs_no_api_key(images, store, monkeypatch):
    for name in ("OPENAI_API_KEY", "REPLICATE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    models = ["openai:gpt-4o", "replicate:llava-13b"]
    plan = vn.compare(models, ["How bright is it?"], images, dry_run=True, store=store)
    assert plan.models[0].usd > 0 and plan.models[1].usd is None
    with pytest.raises(errors.MissingKeyError):
        vn.compare(models, ["How bright is it?"], images, store=store)
