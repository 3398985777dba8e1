"""`extract` and `Extraction`: images into a table, through the true client against the demo server."""

import datetime
import json
from decimal import Decimal
from enum import Enum
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.extractions import make_extraction
from tests.mathjax_finder import typeset_formulas
from vision_nb import errors
from vision_nb.comparison.tables import EXTRACTED
from vision_nb.demo import Fault


class Payment(Enum):
    CASH = "cash"
    CARD = "card"


class Total(BaseModel):
    amount: Decimal
    currency: str | None


class Item(BaseModel):
    name: str
    price: float


class Receipt(BaseModel):
    shop: str
    day: datetime.date | None
    payment: Payment | None
    paid: bool
    count: int
    total: Total
    items: list[Item]


RECEIPT = {
    "shop": "Corner Shop",
    "day": "2026-03-01",
    "payment": "card",
    "paid": True,
    "count": 2,
    "total": {"amount": "12.50", "currency": "EUR"},
    "items": [{"name": "Tea", "price": 2.5}, {"name": "Bread", "price": 10}],
}


COUNT = {"type": "object", "properties": {"count": {"type": "integer"}}}


@pytest.fixture
def llm(server):
    with vn.OpenAIMultiModal("gpt-4o-mini", api_key="sk-test-0123456789", api_base=f"{server.url}/v1") as llm:
        yield llm


@pytest.fixture
def disagreeing(server):
    """Two models that count differently in the last image."""
    server.answer_with(lambda asked: json.dumps({"count": 1 + (asked.model == "b" and asked.images[0].width == 42)}))
    with (
        vn.OpenAIMultiModal("a", "k", server.openai_base) as one,
        vn.OpenAIMultiModal("b", "k", server.openai_base) as other,
    ):
        yield [one, other]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "receipts"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(encoded(picture(40 + number, 30, seed=number)))
    return folder


def names(paths):
    return [Path(path).name for path in paths]


def by_width(answers):
    """Return a script for the demo server that answers by the width of the image."""
    return lambda question: answers[question.images[0].width]


def extract(images, llm, schema=Receipt, **options):
    return vn.extract(images, schema, model=llm, progress=False, **options)


def test_each_image_becomes_a_row_with_a_typed_column_per_field(server, llm, images):
    server.answer_with(json.dumps(RECEIPT))
    extraction = extract(images, llm)
    assert extraction[0].parsed == Receipt.model_validate(RECEIPT)
    table = extraction.to_dataframe()
    assert list(table.columns) == [
        "image", "shop", "day", "payment", "paid", "count", "total.amount", "total.currency", "items", *EXTRACTED,
    ]  # fmt: skip
    assert names(table["image"]) == ["0.png", "1.png", "2.png"]
    dtypes = {name: str(dtype) for name, dtype in table.dtypes.items()}
    assert dtypes["shop"] == "string" and dtypes["count"] == "Int64" and dtypes["paid"] == "boolean"
    assert dtypes["day"].startswith("datetime64") and table["day"][0] == pd.Timestamp("2026-03-01")
    assert table["payment"].cat.categories.tolist() == ["cash", "card"]
    assert table["total.amount"][0] == Decimal("12.50")
    assert table["items"][0] == [{"name": "Tea", "price": 2.5}, {"name": "Bread", "price": 10.0}]
    assert table["attempts"].tolist() == [1, 1, 1] and table["error"].isna().all()
    assert (table["usd"] > 0).all() and (table["input_tokens"] > 0).all()


def test_explode_makes_a_row_per_item_and_keeps_images_without_items(server, llm, images):
    answers = {40: RECEIPT, 41: {**RECEIPT, "items": []}, 42: "no receipt"}
    server.answer_with(by_width({width: json.dumps(answer) for width, answer in answers.items()}))
    table = extract(images, llm, max_repairs=0).to_dataframe(explode="items")
    assert names(table["image"]) == ["0.png", "0.png", "1.png", "2.png"]
    assert (
        table["items.name"].tolist()[:2] == ["Tea", "Bread"] and table["items.name"].isna().tolist()[2:] == [True] * 2
    )
    assert table["items.price"].dtype == "float64" and "items" not in table
    assert table["error"].notna().tolist() == [False, False, False, True]
    with pytest.raises(errors.SettingsError, match="'items'"):
        extract(images, llm, max_repairs=0).to_dataframe(explode="shop")


def test_a_repaired_answer_counts_both_attempts(server, llm, images):
    seen = []

    def script(question):
        seen.append(question)
        return json.dumps(RECEIPT if len(seen) > 1 else {**RECEIPT, "count": "two"})

    server.answer_with(script)
    extraction = extract(images / "0.png", llm)
    once = vn.extract(images / "1.png", Receipt, model=llm, progress=False)
    assert extraction[0].parsed == Receipt.model_validate(RECEIPT) and extraction[0].attempts == 2
    assert extraction[0].input_tokens > once[0].input_tokens and extraction[0].usd > once[0].usd
    again = extract(images / "0.png", llm)
    assert again[0].from_store and again[0].attempts == 2 and again[0].parsed == extraction[0].parsed
    assert len(seen) == 3


ATTEMPTS = {
    "two service tiers": ({"service_tier": "priority"}, {"service_tier": "default"}),
    "one reported price": ({"usage": {"cost": 0.01}}, {}),
    "an implausible token count": ({"usage": {"prompt_tokens": 1}}, {}),
    "no token count of the tier": ({"service_tier": "unknown-tier"}, {}),
}


@pytest.mark.parametrize("attempts", ATTEMPTS.values(), ids=ATTEMPTS)
def test_a_repaired_answer_has_the_same_price_from_the_store(server, llm, images, attempts):
    for count, answer in zip(("two", "three", 2), (*attempts, {}), strict=True):
        server.fail(Fault(text=json.dumps({**RECEIPT, "count": count}), answer=answer))
    first = extract(images / "0.png", llm, max_repairs=2)
    again = extract(images / "0.png", llm, max_repairs=2)
    assert again[0].from_store and again[0].attempts == first[0].attempts == 3
    assert again[0].usd == first[0].usd
    if first[0].usd is not None:
        assert again[0].usd == sum(entry.usd for entry in vn.ledger.entries)


def test_a_repaired_answer_that_another_run_receives_meanwhile_has_its_price(server, llm, images, tmp_path):
    store, asked, repaired = tmp_path / "answers.sqlite3", [], []

    def script(question):
        asked.append(question)
        if len(asked) == 1:
            server.fail(Fault(text="no data"))
            other = vn.OpenAIMultiModal("gpt-4o-mini", api_key="sk-test-0123456789", api_base=f"{server.url}/v1")
            repaired.extend(extract(images / "1.png", other, store=store))
        return json.dumps(RECEIPT)

    server.answer_with(script)
    extraction = extract(images, llm, store=store, concurrency=1)
    assert len(server.requests) == 4 and repaired[0].attempts == 2
    assert extraction[1].from_store and extraction[1].usd == repaired[0].usd > extraction[0].usd


def test_an_answer_with_an_implausible_token_count_has_no_price_from_the_store_either(server, llm, images):
    server.fail(Fault(text=json.dumps(RECEIPT), answer={"usage": {"prompt_tokens": 1}}))
    first = extract(images / "0.png", llm)
    again = extract(images / "0.png", llm)
    assert again[0].from_store and first[0].usd is None and again[0].usd is None


def test_an_answer_that_never_fits_is_a_row_with_its_error_and_price(server, llm, images):
    answers = {40: json.dumps(RECEIPT), 41: json.dumps({**RECEIPT, "count": "many"}), 42: json.dumps(RECEIPT)}
    server.answer_with(by_width(answers))
    extraction = extract(images, llm)
    assert names(row.image for row in extraction.failed) == ["1.png"]
    failed = extraction[1]
    assert failed.error.startswith("SchemaError: ") and "count" in failed.error and failed.parsed is None
    assert failed.attempts == 2 and failed.usd > extraction[0].usd
    server.answer_with(json.dumps(RECEIPT))
    before = len(server.requests)
    retried = extraction.retry(progress=False)
    assert retried.failed == [] and len(server.requests) == before + 1
    assert extraction.failed  # the first result does not change


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(status=403), Fault(cut_after=0)])
def test_the_price_of_an_answer_whose_repair_fails_is_in_its_row(server, llm, images, fault):
    server.fail(Fault(text="{}"))
    server.fail(fault)
    llm.max_retries = 0
    (row,) = extract(images / "0.png", llm)
    assert row.error and not row.error.startswith("SchemaError")
    assert row.attempts == 1 and row.usd > 0 and row.input_tokens > 0


def test_the_price_of_an_answer_whose_repair_meets_a_spent_quota_is_in_its_row_only(server, llm, images):
    server.fail(Fault(text="{}"))
    server.fail(Fault(status=429, body={"error": {"message": "No.", "code": "insufficient_quota"}}))
    extraction = extract(images, llm, concurrency=1)
    assert len(server.requests) == 2 and {row.error for row in extraction} == {extraction[0].error}
    assert extraction[0].usd > 0 and [(row.attempts, row.usd) for row in extraction][1:] == [(0, None)] * 2


@pytest.mark.parametrize("last", [Fault(), Fault(text="{}"), Fault(status=403), Fault(status=429, retry_after=0)])
def test_a_question_that_is_asked_again_after_its_repair_was_rate_limited_has_both_prices(server, llm, images, last):
    server.answer_with(json.dumps(RECEIPT))
    llm.max_retries = 0
    for fault in (Fault(text="{}"), Fault(status=429, retry_after=0), last):
        server.fail(fault)
    (row,) = extract(images / "0.png", llm)
    assert row.attempts == len(vn.ledger.entries) and row.usd == sum(entry.usd for entry in vn.ledger.entries)
    if row.finished:
        (again,) = extract(images / "0.png", llm)
        assert again.from_store and (again.attempts, again.usd, again.parsed) == (row.attempts, row.usd, row.parsed)


def test_the_price_of_an_answer_whose_repair_the_budget_forbids_is_in_its_row(server, llm, images):
    server.fail(Fault(text="{}", answer={"usage": {"cost": 0.5}}))
    extraction = extract(images / "0.png", llm, budget=0.1)
    assert len(server.requests) == 1 and (extraction[0].usd, extraction[0].attempts) == (Decimal("0.5"), 1)
    assert not extraction[0].finished and "budget" in repr(extraction) + extraction._repr_html_()
    server.answer_with(json.dumps(RECEIPT))
    assert extract(images / "0.png", llm)[0].parsed and len(server.requests) == 2


def test_a_broken_image_is_a_row_and_the_others_go_on(server, llm, images):
    (images / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"broken")
    server.answer_with(json.dumps(RECEIPT))
    extraction = extract(images, llm)
    assert [row.error is None for row in extraction] == [True, False, True]
    assert len(extraction.to_dataframe()) == 3 and "1.png" in extraction._repr_html_()


def test_a_changed_field_asks_again_and_a_renamed_class_does_not(server, llm, images):
    server.answer_with('{"count": 3}')
    extract(images, llm, type("A", (BaseModel,), {"__annotations__": {"count": int}}))
    asked = len(server.requests)
    renamed = extract(images, llm, type("B", (BaseModel,), {"__annotations__": {"count": int}}))
    assert len(server.requests) == asked and all(row.from_store for row in renamed)
    extract(images, llm, type("A", (BaseModel,), {"__annotations__": {"count": int | None}}))
    assert len(server.requests) == asked + 3


def test_a_stored_answer_that_a_validator_now_rejects_is_asked_again(server, llm, images):
    from pydantic import field_validator

    class Count(BaseModel):
        count: int

    class Few(Count):
        @field_validator("count")
        @classmethod
        def check(cls, value):
            if value > 5:
                raise ValueError("must be at most 5")
            return value

    Few.__name__ = "Count"
    server.answer_with('{"count": 9}')
    extract(images / "0.png", llm, Count)
    server.answer_with('{"count": 4}')
    asked = len(server.requests)
    assert extract(images / "0.png", llm, Few)[0].parsed.count == 4
    assert len(server.requests) == asked + 1


def test_dry_run_counts_the_schema_and_sends_nothing(server, llm, images):
    plan = extract(images, llm, dry_run=True)
    without = vn.compare(llm, "Extract the data.", images, dry_run=True)
    assert plan.calls == 3 and plan.models[0].input_tokens > without.models[0].input_tokens + 100
    assert server.requests == []


def test_a_budget_stops_the_run(server, llm, images):
    server.answer_with(json.dumps(RECEIPT))
    extraction = extract(images, llm, budget=0.000001)
    assert extraction.incomplete and "3 calls were not made" in extraction.incomplete
    assert extraction.to_dataframe()["attempts"].tolist() == [0, 0, 0]


async def test_aextract_reads_the_same_data(server, llm, images):
    server.answer_with(json.dumps(RECEIPT))
    extraction = await vn.aextract(images, Receipt, model=llm, progress=False)
    assert [row.parsed for row in extraction] == [Receipt.model_validate(RECEIPT)] * 3


def test_a_json_schema_gives_plain_data_and_the_same_columns(server, llm, images):
    server.answer_with(json.dumps(RECEIPT))
    typed = extract(images, llm).to_dataframe()
    plain = extract(images, llm, Receipt.model_json_schema())
    assert plain[0].parsed["total"]["currency"] == "EUR"
    assert list(plain.to_dataframe().columns) == list(typed.columns)


def test_a_list_schema_has_one_column(server, llm, images):
    server.answer_with('{"value": ["red", "blue"]}')
    extraction = extract(images, llm, list[str])
    assert extraction[0].parsed == ["red", "blue"]
    assert extraction.to_dataframe()["value"].tolist() == [["red", "blue"]] * 3
    assert len(extraction.to_dataframe(explode="value")) == 6


def test_a_field_with_the_name_of_a_column_keeps_both(server, llm, images):
    server.answer_with('{"model": "Beetle", "error": "none"}')
    schema = {"type": "object", "properties": {"model": {"type": "string"}, "error": {"type": "string"}}}
    table = extract(images, llm, schema).to_dataframe()
    assert table["value.model"].tolist() == ["Beetle"] * 3 and table["model"].tolist() == ["openai:gpt-4o-mini"] * 3
    assert table["value.error"].tolist() == ["none"] * 3 and table["error"].isna().all()


def test_an_integer_beyond_64_bits_is_kept(server, llm, images):
    server.answer_with('{"count": 123456789012345678901234567890}')
    table = extract(images, llm, {"type": "object", "properties": {"count": {"type": "integer"}}}).to_dataframe()
    assert table["count"][0] == 123456789012345678901234567890


def test_the_table_is_written_as_csv_and_json(server, llm, images, tmp_path):
    server.answer_with(json.dumps(RECEIPT))
    extraction = extract(images, llm)
    extraction.to_csv(tmp_path / "data.csv", explode="items")
    assert len(pd.read_csv(tmp_path / "data.csv")) == 6
    extraction.to_json(tmp_path / "data.json")
    records = json.loads((tmp_path / "data.json").read_text())
    assert records[0]["total.amount"] == "12.50" and records[0]["items"][1]["name"] == "Bread"


def test_names_of_fields_are_shown_as_text(tmp_path):
    name = "<img src=x onerror=alert(1)> $\\def\\alpha{x}$"
    text = {"type": "string"}
    rows = {"type": "array", "items": {"type": "object", "properties": {name: text}}}
    schema = {"type": "object", "properties": {name: text, f"list {name}": rows}}
    extraction = make_extraction(tmp_path, [[{name: "1", f"list {name}": [{name: "2"}]}]], schema)
    exploded = extraction.to_dataframe(explode=f"list {name}", thumbnails=True)
    for table in (extraction, extraction.to_dataframe(thumbnails=True), exploded):
        html = table._repr_html_()
        assert "onerror" in html and "<img src=x" not in html
        assert typeset_formulas(html) == []


def test_the_html_shows_failed_rows_first_in_pages_and_escapes_values(server, llm, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(45):
        (folder / f"{number:02}.png").write_bytes(encoded(picture(40 + number, 30, seed=number)))
    evil = json.dumps({"title": "<script>alert(1)</script>"})
    server.answer_with(lambda question: "nothing" if question.images[0].width == 80 else evil)
    schema = {"type": "object", "properties": {"title": {"type": "string"}}}
    html = extract(folder, llm, schema, max_repairs=0)._repr_html_()
    assert html.index("40.png") < html.index("00.png")
    assert html.count("<details") == 2 and "Rows 21 to 40" in html and "Rows 41 to 45" in html
    assert "<script" not in html and len(html) < 500_000
    assert "45 rows, 44 answered, 1 failed, 0 repaired" in html


def test_the_html_of_a_single_image_counts_one_row(server, llm, images):
    server.answer_with(json.dumps(RECEIPT))
    assert "1 row, 1 answered" in extract(images / "0.png", llm)._repr_html_()


def test_thumbnails_make_a_styled_table_that_stays_small(server, llm, images):
    server.answer_with(json.dumps({**RECEIPT, "shop": "<b>Shop</b>"}))
    html = extract(images, llm).to_dataframe(explode="items", thumbnails=True).to_html()
    assert html.count("data:image/webp") == 6 and "<b>Shop" not in html and len(html) < 60_000


def test_a_review_replaces_the_answer_and_is_shared_by_models_and_later_runs(server, llm, images):
    answers = {40: json.dumps(RECEIPT), 41: "no receipt", 42: json.dumps(RECEIPT)}
    server.answer_with(by_width(answers))
    extraction = extract(images, llm, max_repairs=0)
    assert extraction.by_doubt()[0] == 1
    corrected = {**RECEIPT, "count": 7}
    extraction.set_review(1, corrected, reviewer="Ada")
    table = extraction.to_dataframe(reviewed=True)
    assert table["count"].tolist() == [2, 7, 2] and table["error"].isna().all()
    assert table["reviewer"].tolist()[1] == "Ada" and table["reviewed_at"].notna().tolist() == [False, True, False]
    assert extraction.to_dataframe()["count"].isna().tolist() == [False, True, False]
    other = vn.extract(images, Receipt, model="demo", progress=False)
    assert {index: review.value["count"] for index, review in other.reviews().items()} == {1: 7}
    assert other.truth() == {str(images / "1.png"): Receipt.model_validate(corrected).model_dump(mode="json")}
    extraction.set_review(1, {"total.amount": "9.75"}, reviewer="Ada")
    assert extraction.reviews()[1].value["total"] == {"amount": "9.75", "currency": "EUR"}
    assert extraction.reviews()[1].value["count"] == 7
    with pytest.raises(errors.SettingsError, match="A builtin_function_or_method is not a value of Receipt"):
        extraction.set_review(0, len)
    extraction.set_review(0, {"count": 8, "total": {"amount": "1", "currency": None}}, reviewer="Ada")
    assert extraction.reviews()[0].value["shop"] == RECEIPT["shop"]
    assert extraction.reviews()[0].value["total"] == {"amount": "1", "currency": None}
    with pytest.raises(errors.SettingsError, match=r"'cuont' is not a field of the schema\. Did you mean 'count'"):
        extraction.set_review(2, {"cuont": 8})
    for index in (0, 1):
        extraction.remove_review(index, reviewer="Ada")
    assert extraction.reviews() == {}
    with pytest.raises(errors.SettingsError, match="No image has been reviewed"):
        extraction.truth()


def test_a_review_must_fit_the_schema_and_survives_a_change_that_allows_it(server, llm, images):
    server.answer_with('{"count": 1}')
    fields = {"count": {"type": "integer"}}
    schema = {"title": "Count", "type": "object", "properties": fields, "required": ["count"]}
    extraction = extract(images, llm, schema)
    with pytest.raises(errors.SchemaError, match="count"):
        extraction.set_review(0, {"count": "many"})
    extraction.set_review(0, {"count": np.int64(5)})
    assert type(extraction.reviews()[0].value["count"]) is int
    described = {**schema, "properties": {"count": {"type": "integer", "description": "how many"}}}
    assert extract(images, llm, described).reviews()[0].value == {"count": 5}
    stricter = {**schema, "properties": {"count": {"type": "integer", "maximum": 4}}}
    assert extract(images, llm, stricter).reviews() == {}


def test_images_that_the_models_answer_differently_come_before_the_others(disagreeing, images):
    extraction = extract(images, disagreeing, COUNT)
    assert names(extraction[index].image for index in extraction.by_doubt()) == ["2.png", "0.png", "1.png"]


@pytest.mark.parametrize("schema", [None, "Receipt", 3, lambda: None, Receipt.model_construct()])
def test_something_that_is_not_a_schema_is_an_error_before_any_call(server, llm, images, schema):
    with pytest.raises(errors.SettingsError, match="schema"):
        extract(images, llm, schema)
    assert server.requests == []


def test_a_comparison_with_a_schema_has_a_column_per_field_and_marks_disagreement(disagreeing, images):
    comparison = vn.compare(disagreeing, "How many?", images, schema=COUNT, progress=False)
    table = comparison.to_dataframe()
    assert table["count"].tolist() == [1, 1, 1, 1, 1, 2] and table["attempts"].tolist() == [1] * 6
    assert comparison._repr_html_().count('title="the models disagree"') == 2


def test_the_readme_way_in_ten_lines(tmp_path):
    extraction = vn.extract([vn.samples.path("chart"), Path(vn.samples.path("label"))], {
        "type": "object",
        "properties": {"width": {"type": "integer"}, "height": {"type": "integer"}},
    }, model="demo", progress=False)  # fmt: skip
    assert extraction.to_dataframe()["width"].tolist()[0] == 1000


def test_the_score_says_which_model_is_right_and_what_it_costs(server, images, tmp_path):
    def script(question):
        count = question.images[0].width - 39
        return json.dumps({"count": count + (question.model == "gpt-4o-mini" and count == 3)})

    server.answer_with(script)
    models = [
        vn.OpenAIMultiModal(name, api_key="sk-test-0123456789", api_base=f"{server.url}/v1")
        for name in ("gpt-4o", "gpt-4o-mini")
    ]
    extraction = extract(images, models, COUNT)
    truth = pd.DataFrame({"image": ["0.png", "1", "2.png"], "count": [1, 2, 3]})
    truth.to_csv(tmp_path / "truth.csv", index=False)
    expected = [["openai:gpt-4o", 3, 3], ["openai:gpt-4o-mini", 3, 2]]
    for index, count in enumerate((1, 1, 2, 2, 3, 3)):
        extraction.set_review(index, {"count": count})
    for source in (truth, tmp_path / "truth.csv", {"0": {"count": 1}, "1": {"count": 2}, "2": {"count": 3}}, None):
        scores = extraction.score(source).to_dataframe()
        assert scores[scores["field"] == "count"][["model", "n", "correct"]].values.tolist() == expected
    assert extraction.comparison.score(truth).errors("count").to_dataframe()["answer"].tolist() == [4]
    reviewed = extraction.to_dataframe(reviewed=True)  # with a row per model
    assert extraction.score(reviewed).to_dataframe()["n"].tolist() == extraction.score().to_dataframe()["n"].tolist()
    with pytest.raises(errors.SettingsError, match=r"5\.png"):
        extraction.score({"5.png": {"count": 1}})
    for model in models:
        model.close()


def test_a_table_that_was_saved_and_corrected_is_a_truth(server, llm, images, tmp_path):
    class Part(BaseModel):
        model: str
        took: datetime.timedelta
        seen: datetime.datetime | None
        tags: list[str]
        total: Total
        items: list[Item]
        paid: bool | None

    part = {
        "model": "X200",
        "took": "PT26H30M",
        "seen": "2026-03-01T10:00:00Z",
        "tags": ["it's", 'a "b"'],
        "paid": None,
        "total": {"amount": "12.50", "currency": None},
        "items": RECEIPT["items"],
    }
    server.answer_with(lambda question: json.dumps(part))
    extraction = extract(images, llm, Part)
    extraction.to_csv(tmp_path / "truth.csv")
    for truth in (tmp_path / "truth.csv", extraction.to_dataframe(), extraction.to_dataframe().set_index("image")):
        score = extraction.score(truth)
        assert (score.best.exact, score.best.n) == (3, 24), score.errors()
    extraction.set_review(0, part)
    extraction.to_csv(tmp_path / "reviewed.csv", reviewed=True)
    for truth in (tmp_path / "reviewed.csv", extraction.to_dataframe(reviewed=True)):
        assert (extraction.score(truth).best.exact, extraction.score(truth).best.images) == (1, 1)
    assert extraction.comparison.score(extraction).best.images == 1


def test_images_in_memory_of_the_same_name_are_scored_with_their_reviews(server, llm):
    server.answer_with(lambda question: json.dumps({"count": 1}))
    images = [vn.ImageDocument(image=encoded(picture(seed=seed), "BMP")) for seed in range(3)]
    extraction = extract(images, llm, COUNT)
    assert len({row.image for row in extraction}) == 1
    assert "BMP image" in repr(extraction[0]) and "BMP image" in str(extraction)
    extraction.set_review(1, {"count": 1})
    extraction.set_review(2, {"count": 7})
    assert extraction.score().best.exact == 1
    assert extraction.score().errors("count").to_dataframe()["truth"].tolist() == [7]


def test_a_comparison_of_texts_has_no_score(server, llm, images):
    with pytest.raises(errors.SettingsError, match="schema="):
        vn.compare(llm, "What is it?", images, progress=False).score({})


def test_the_bar_shows_what_is_done_failed_and_spent(server, llm, images, capsys):
    server.answer_with(by_width({40: json.dumps(RECEIPT), 41: "nothing", 42: json.dumps(RECEIPT)}))
    vn.extract(images, Receipt, model=llm, max_repairs=0)
    shown = capsys.readouterr().err
    assert "extracting" in shown and "3 of 3, 1 failed" in shown and shown.endswith(" USD\n")


def test_the_html_has_no_remark_on_a_complete_answer_and_ends_in_deep_values(server, llm, images):
    from vision_nb.rendering.values import value_html

    server.answer_with(json.dumps(RECEIPT))
    assert "empty" not in extract(images / "0.png", llm)._repr_html_()
    deep = []
    for _ in range(10_000):
        deep = [deep]
    assert "<li>...</li>" in value_html(deep)


def test_a_list_of_objects_has_a_line_for_each_of_the_first_ones(tmp_path):
    item = {"type": "object", "properties": {"name": {"type": "string"}, "price": {"type": "number"}}}
    schema = {"type": "object", "properties": {"items": {"type": "array", "items": item}}}
    items = [{"name": f"Tea {number}", "price": number + 30.0} for number in range(9)]
    extraction = make_extraction(tmp_path, [[{"items": items}]], schema)
    html, text = extraction._repr_html_(), str(extraction)
    assert html.count("<li>") == 7 and "<li>name: Tea 4, price: 34</li>" in html and "<li>and 3 more</li>" in html
    assert "Tea 4" in text and "and 3" in text and "34.0" not in html + text and "Tea 6" not in html + text


def test_a_table_of_the_demo_says_which_values_are_not_data():
    fields = {"width": {"type": "integer"}, "total": {"type": "number"}, "tax": {"type": ["number", "null"]}}
    schema = {"type": "object", "properties": fields, "required": ["width", "total"]}
    table = vn.extract([encoded(picture(2000, 1500))], schema, model="demo", progress=False)
    assert [table.values(0)[name] for name in ("width", "total", "tax")] == [1024, 0, None]
    for shown in (str(table), table._repr_html_()):
        assert '0 and "unknown" stand for what the demo does not measure' in shown
        assert "sizes are those of the images as sent" in shown
    schema["required"] = []
    assert "stand for" not in str(vn.extract([encoded(picture(200, 100))], schema, model="demo", progress=False))
