"""`score`: reading the truth, comparing by type, accuracy with intervals, and the images that went wrong."""

import dataclasses
import datetime
import enum
import json
import re
import sys
import unicodedata
from decimal import Decimal

import matplotlib
import numpy as np
import pandas as pd
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vision_nb as vn
from tests.conftest import encoded, picture
from vision_nb.comparison.accuracy import effective_size, mean_price, wilson_interval
from vision_nb.comparison.canonical_values import canonical
from vision_nb.comparison.judgments import Prediction
from vision_nb.comparison.matching import Matching
from vision_nb.comparison.scoring import score_predictions
from vision_nb.comparison.truth import Truth, read_truth
from vision_nb.errors import SettingsError
from vision_nb.schema.fields import Field


def field(path, kind, choices=(), items=()):
    return Field(path=path, kind=kind, is_optional=True, choices=choices, description="", items=items)


ITEMS = (field("name", "text"), field("price", "decimal"))
FIELDS = (
    field("shop", "text"),
    field("date", "date"),
    field("total.amount", "decimal"),
    field("total.currency", "enum", ("EUR", "USD")),
    field("paid", "boolean"),
    field("items", "list", items=ITEMS),
)
RECEIPT = {
    "shop": "Café Corner",
    "date": "2026-03-09",
    "total.amount": "12.50",
    "total.currency": "EUR",
    "paid": True,
    "items": [{"name": "Tea", "price": "2.50"}, {"name": "Cake", "price": "10.00"}],
}
PIXEL = encoded(picture(8, 8))


def images(*names):
    return [vn.ImageDocument(image_path=name) for name in names or ("a.jpg", "b.jpg", "c.jpg")]


def answer(document, value=RECEIPT, *, model="m", error=None, usd="0.001", attempts=1):
    return Prediction(model, document, value, error, None if usd is None else Decimal(usd), attempts)


def score(value, truth, fields=FIELDS, **options):
    """Score one answer about one image."""
    (document,) = images("a.jpg")
    return score_predictions([answer(document, value)], {"a.jpg": truth}, fields, **options)


def outcomes(result):
    return {one.field.path: one.outcome for one in result.judgments}


def is_correct(truth, value, kind, *, choices=(), items=(), **options):
    one = field("x", kind, choices, items)
    return outcomes(score({"x": value}, {"x": truth}, [one], **options)) == {"x": "correct"}


# values


@pytest.mark.parametrize(
    ("kind", "truth", "value"),
    [
        ("number", 12.5, Decimal("12.50")),
        ("number", "12.50", 12.5),
        ("number", 0.3, 0.1 + 0.2),
        ("number", np.float32(0.1), 0.1),
        ("number", np.nan, None),
        ("decimal", Decimal("NaN"), None),
        ("decimal", 3, "3.00"),
        ("integer", 3.0, 3),  # pandas reads a column of ints with an empty cell as floats
        ("integer", np.int64(3), 3),
        ("integer", "3", 3),
        ("integer", pd.NA, None),
        ("boolean", "True", True),
        ("boolean", "no", False),
        ("boolean", 0.0, False),
        ("boolean", np.True_, True),
        ("date", pd.Timestamp("2026-03-09"), "2026-03-09"),
        ("date", "2026-03-09 00:00:00", datetime.date(2026, 3, 9)),
        ("date", np.datetime64("2026-03-09T00:00:00.000000000"), "2026-03-09"),
        ("date", pd.NaT, None),
        ("date", np.datetime64("NaT", "ns"), None),
        ("datetime", pd.Timestamp("2026-03-09 17:45"), "2026-03-09T17:45:00"),
        ("datetime", "2026-03-09T17:45", "2026-03-09T17:45:00Z"),
        ("datetime", "2026-03-09T17:45:00+01:00", "2026-03-09T16:45:00Z"),
        ("datetime", datetime.date(2026, 3, 9), "2026-03-09T00:00:00"),
        ("time", "17:45", datetime.time(17, 45)),
        ("duration", pd.Timedelta(minutes=90), "PT1H30M"),
        ("duration", "01:30:00", datetime.timedelta(minutes=90)),
        ("text", " CAFÉ\tcorner", unicodedata.normalize("NFD", "Café Corner")),
        ("text", "Straße ﬁve", "STRASSE five"),
        ("text", 123.0, "123"),
        ("text", float("nan"), None),
        ("text", "", None),
        ("list", [], None),
        ("list", '["a", "b"]', ["B", "a"]),
        ("list", "['a', 'b']", ["a", "b"]),  # how pandas writes a list to a CSV file
        ("list", np.array(["a", "b"]), ["a", "b"]),
        ("list", np.array([0.1], dtype="float32"), [0.1]),
        ("list", [1, 2, 2], [2, 1, 2.0]),
        ("object", '{"a": 1, "b": null}', {"a": 1.0}),
        ("any", "12.5", 12.5),
        ("any", ["x", {"y": 2}], [{"y": 2.0}, "X"]),
        ("any", True, "true"),
    ],
)
def test_the_same_value_in_another_form_is_correct(kind, truth, value):
    assert is_correct(truth, value, kind)


@pytest.mark.parametrize(
    ("kind", "truth", "value"),
    [
        ("number", 12.5, 12.51),
        ("number", 0, 1e-9),
        ("integer", 123456789012345, 123456789012346),
        ("boolean", True, False),
        ("date", "2026-03-09", "2026-09-03"),
        ("datetime", "2026-03-09T17:45:00+01:00", "2026-03-09T17:45:00Z"),
        ("text", "Cafe", "Café"),
        ("list", ["a", "a", "b"], ["a", "b", "b"]),
        ("list", ["a"], ["a", "a"]),
        ("object", {"a": 1}, {"a": 1, "b": 2}),
        ("any", "12.5", 12.6),
        ("any", [1], {"a": 1}),
        ("any", True, 1),
    ],
)
def test_another_value_is_wrong(kind, truth, value):
    assert not is_correct(truth, value, kind)


def test_a_tolerance_is_relative_to_the_truth():
    assert is_correct(200, 202, "number", tolerance=0.01)
    assert is_correct(-200, Decimal("-198"), "decimal", tolerance=0.01)
    assert is_correct(200, 202, "integer", tolerance=0.01)
    assert not is_correct(200, 202.1, "number", tolerance=0.01)


def test_text_is_compared_exactly_or_by_similarity_on_request():
    assert not is_correct("Café", "CAFÉ", "text", text="exact")
    assert is_correct("Café", "Café", "text", text="exact")
    assert is_correct("Café Corner", "cafe corner", "text", text=90)
    assert not is_correct("Café Corner", "cafe corner", "text", text=95)
    assert not is_correct("Café Corner", "Tea House", "text", text=90)


def test_without_rapidfuzz_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidfuzz", None)
    with pytest.raises(SettingsError, match=r'text=90 needs .*: pip install "vision-nb\[scoring\]"\.'):
        is_correct("a", "a", "text", text=90)


def test_lists_are_compared_in_order_on_request():
    assert is_correct(["a", "b"], ["b", "a"], "list")
    assert not is_correct(["a", "b"], ["b", "a"], "list", lists="ordered")
    assert is_correct(["a", "b"], ["A", "B"], "list", lists="ordered")


def test_objects_in_lists_are_compared_by_the_keys_of_the_truth():
    answered = [{"name": "cake", "price": 10, "note": "?"}, {"name": "TEA", "price": Decimal("2.5")}]
    assert is_correct(RECEIPT["items"], answered, "list", items=ITEMS)
    assert is_correct([{"name": "Tea"}, {"name": "Cake"}], answered, "list", items=ITEMS)
    assert not is_correct([{"name": "Tea", "price": 2.6}, {"name": "Cake"}], answered, "list", items=ITEMS)


def test_items_are_matched_as_well_as_possible_within_the_tolerance():
    assert is_correct([104, 100], [104, 108], "list", items=(field("", "number"),), tolerance=0.05)
    many = list(range(100)) * 2
    assert is_correct(many, many[::-1], "list", items=(field("", "integer"),))
    assert is_correct(["x"] * 400, ["X"] * 400, "list", items=(field("", "text"),))


def test_an_enum_is_named_by_its_value_in_any_case():
    class Payment(enum.Enum):
        CARD = "card"

    for truth in ("card", "Card ", Payment.CARD):
        assert is_correct(truth, "card", "enum", choices=("card", "cash"))
    assert is_correct("2", 2, "enum", choices=(1, 2))
    assert not is_correct("card", "cash", "enum", choices=("card", "cash"))


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("number", "12,50", "is not a number: write it as in 1234.5"),
        ("integer", True, "is not a number"),
        ("boolean", "maybe", "is not true or false"),
        ("date", "09.03.2026", "is not a date: write it as in 2026-03-09"),
        ("date", 20260309, "is not a date"),
        ("duration", "long", "is not a duration"),
        ("time", "noon", "is not a time"),
        ("enum", "cheque", "is not one of card, cash"),
        ("list", "tea, cake", "is not a list: write it as JSON"),
        ("object", "tea", "is not an object: write it as JSON"),
    ],
)
def test_a_truth_of_another_type_is_an_error_that_names_field_and_image(kind, value, words):
    with pytest.raises(SettingsError) as caught:
        is_correct(value, None, kind, choices=("card", "cash"))
    assert str(caught.value).startswith("The truth of 'x' for 'a.jpg' ") and words in str(caught.value)
    assert str(caught.value).endswith(f"got {value!r}.")


def test_an_answer_of_another_type_is_wrong_and_shown_as_it_is():
    result = score({"x": "about twelve"}, {"x": 12}, [field("x", "number")])
    assert outcomes(result) == {"x": "wrong"} and "about twelve" in result.errors("x")._repr_html_()
    result = score({"x": [{"name": {"de": "Tee"}}, 5]}, {"x": []}, [field("x", "list", items=ITEMS)])
    assert outcomes(result) == {"x": "invented"} and "Tee" in repr(result.errors("x"))


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.integers(), st.floats(allow_nan=False), st.text(), st.booleans(), st.none()), max_size=6),
    st.randoms(),
)
def test_every_list_equals_itself_in_any_order(items, random):
    one = field("x", "list", items=(field("", "any"),))
    truth, shuffled = canonical(items, one), canonical(random.sample(items, len(items)), one)
    assert Matching().equal(truth, shuffled, one)


# outcomes and accuracy


def test_missing_invented_wrong_and_failed_values_are_counted_apart():
    documents = images("a.jpg", "b.jpg")
    truth = {**RECEIPT, "shop": None}
    value = {**RECEIPT, "shop": "Tea House", "date": None, "paid": False}
    predictions = [answer(documents[0], value), answer(documents[1], None, error="SchemaError: not JSON", usd=None)]
    result = score_predictions(predictions, {"a": truth, "b": RECEIPT}, FIELDS)
    table = result.to_dataframe().set_index("field")
    assert list(result.to_dataframe().columns) == (
        ["model", "field", "n", "correct", "accuracy", "low", "high", "wrong", "missing", "invented", "failed"]
    )
    counts = table[["n", "correct", "wrong", "missing", "invented", "failed"]].T
    assert list(counts["shop"]) == [2, 0, 0, 0, 1, 1]
    assert list(counts["date"]) == [2, 0, 0, 1, 0, 1]
    assert list(counts["paid"]) == [2, 0, 1, 0, 0, 1]
    assert list(counts["items"]) == [2, 1, 0, 0, 0, 1]
    assert list(counts["all fields"]) == [12, 3, 1, 1, 1, 6]
    assert table.accuracy["all fields"] == 0.25
    (one,) = result.models
    assert (one.images, one.exact, one.failed) == (2, 0, 1)


def test_two_missing_values_are_equal():
    nothing = dict.fromkeys(RECEIPT)
    assert set(outcomes(score(nothing, nothing)).values()) == {"correct"}
    assert set(outcomes(score({}, {**nothing, "shop": float("nan"), "items": "[]"})).values()) == {"correct"}


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(1, 400))
def test_the_wilson_interval_contains_the_rate_and_is_within_0_and_1(correct, n):
    correct = min(correct, n)
    low, high = wilson_interval(correct, n)
    assert 0 <= low <= correct / n <= high <= 1
    assert low < high


def test_the_wilson_interval_matches_published_values():
    # R. G. Newcombe, Statistics in Medicine 17 (1998), pages 857-872, table I, method 3
    for (correct, n), published in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
    }.items():
        assert wilson_interval(correct, n) == pytest.approx(published, abs=5e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)).map(sorted).map(tuple), min_size=1, max_size=20))
def test_the_effective_size_is_at_most_the_number_of_values(clusters):
    n = sum(size for _, size in clusters)
    assert 0 < effective_size(clusters) <= n


def test_values_that_are_wrong_together_widen_the_interval_of_all_fields():
    documents = images(*(f"{n}.jpg" for n in range(12)))
    wrong = {"shop": "x", "date": None, "total.amount": 1, "total.currency": "USD", "paid": False, "items": []}
    truth = {document.title: RECEIPT for document in documents}
    together = [answer(one, wrong if n < 2 else RECEIPT) for n, one in enumerate(documents)]
    spread = [answer(one, {**RECEIPT, path: wrong[path]}) for one, path in zip(documents, [*wrong] * 2, strict=True)]
    first, second = (score_predictions(answers, truth, FIELDS).models[0] for answers in (together, spread))
    assert first.accuracy == second.accuracy == 60 / 72
    assert first.high - first.low > 1.8 * (second.high - second.low)
    assert (second.low, second.high) == wilson_interval(60, 72)


texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]))  # what CSV files can hold
values = st.fixed_dictionaries(
    {
        "shop": st.none() | texts,
        "date": st.none() | st.dates().map(str),
        "total.amount": st.none() | st.decimals(allow_nan=False, allow_infinity=False).map(str),
        "total.currency": st.sampled_from([None, "EUR", "USD"]),
        "paid": st.none() | st.booleans(),
        "items": st.none()
        | st.lists(st.fixed_dictionaries({"name": texts, "price": st.floats(-1e9, 1e9)}), max_size=4),
    }
)


@settings(deadline=None, max_examples=60)
@given(st.lists(values, min_size=1, max_size=4), st.sampled_from(["dict", "frame", "csv", "nested"]))
def test_truth_scored_against_itself_is_right(tmp_path_factory, known, form):
    documents = images(*(f"{n}.jpg" for n in range(len(known))))
    truth = dict(zip([document.title for document in documents], known, strict=True))
    if form == "frame":
        truth = pd.DataFrame(known, index=list(truth), columns=list(RECEIPT))
    elif form == "csv":
        rows = [{**one, "items": json.dumps(one["items"])} for one in known]
        truth = tmp_path_factory.mktemp("truth") / "truth.csv"
        pd.DataFrame(rows, index=pd.Index([one.title for one in documents], name="image")).to_csv(truth)
    elif form == "nested":
        for value in truth.values():
            value["total"] = {"amount": value.pop("total.amount"), "currency": value.pop("total.currency")}
        known = [
            {**one, "total.amount": one["total"]["amount"], "total.currency": one["total"]["currency"]} for one in known
        ]
    result = score_predictions([answer(*pair) for pair in zip(documents, known, strict=True)], truth, FIELDS)
    assert [one for one in result.judgments if one.outcome != "correct"] == []
    assert (result.best.accuracy, result.best.exact) == (1.0, len(known))


@settings(deadline=None, max_examples=25)
@given(st.randoms())
def test_the_order_of_images_and_rows_does_not_matter(random):
    documents = images("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    predictions = [
        answer(document, {**RECEIPT, "paid": n % 2 == 0, "items": random.sample(RECEIPT["items"], 2)}, model=model)
        for n, document in enumerate(documents)
        for model in ("m", "n")
    ]
    frame = pd.DataFrame([RECEIPT] * 4, index=["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
    first = score_predictions(predictions, frame, FIELDS).to_dataframe()
    shuffled = frame.sample(frac=1, random_state=random.randrange(100))[random.sample(list(frame), len(frame.columns))]
    predictions = random.sample(predictions, 8)
    again = score_predictions(predictions, shuffled, FIELDS).to_dataframe()
    order = ["model", "field"]
    pd.testing.assert_frame_equal(*(one.sort_values(order).reset_index(drop=True) for one in (first, again)))


# truth


def test_truth_from_a_csv_file_keeps_text_as_it_is(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text(
        'image,shop,date,total.amount,total.currency,paid,items\na.jpg,007,2026-03-09,12.50,eur,TRUE,"[{""name"": ""Tea""}]"\n'
        "b.jpg,NA,,,,,\n",
        encoding="utf-8-sig",
    )
    found = read_truth(path, images(), FIELDS).values
    assert found[0] == {
        "shop": "007",
        "date": datetime.date(2026, 3, 9),
        "total.amount": Decimal("12.50"),
        "total.currency": "EUR",
        "paid": True,
        "items": [{"name": "Tea"}],
    }
    assert found[1] == {**dict.fromkeys(RECEIPT), "shop": "NA"}
    assert read_truth(str(path), images(), FIELDS).values == found


def test_a_csv_file_with_semicolons_is_read(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("image;shop;items\na;Tea, cake;[1, 2]\n")
    fields = [field("shop", "text"), field("items", "list", items=(field("", "integer"),))]
    assert read_truth(path, images(), fields).values == {0: {"shop": "Tea, cake", "items": [Decimal(1), Decimal(2)]}}


def test_a_data_frame_names_images_in_a_column_or_the_index():
    frame = pd.DataFrame(
        {"image": ["a.jpg", "c.jpg"], "shop": ["A", None], "date": pd.to_datetime(["2026-03-09", None])}
    )
    expected = {0: {"shop": "A", "date": datetime.date(2026, 3, 9)}, 2: {"shop": None, "date": None}}
    for truth in (frame, frame.set_index("image"), frame.convert_dtypes(), frame.astype({"shop": "category"})):
        assert read_truth(truth, images(), FIELDS).values == expected
    narrow = frame[["image"]].assign(total=np.array([0.1, np.nan], dtype="float32"))
    assert read_truth(narrow, images(), [field("total", "number")]).values == {
        0: {"total": Decimal("0.1")},
        2: {"total": None},
    }
    series = pd.Series({"a": "A", "b": "B"})
    assert read_truth(series, images(), [field("shop", "text")]).values == {0: {"shop": "A"}, 1: {"shop": "B"}}


def test_numbers_that_name_images_are_stems():
    frame = pd.DataFrame({"image": [2, 1.0], "shop": ["two", "one"]})
    documents = images("10.jpg", "1.jpg", "2.jpg")
    assert read_truth(frame, documents, FIELDS).values == {2: {"shop": "two"}, 1: {"shop": "one"}}


def test_the_table_of_results_is_a_truth_with_its_other_columns_ignored(tmp_path):
    frame = pd.DataFrame(
        {"image": ["a.jpg"], "shop": ["A"], "error": [None], "attempts": [1], "model": ["m"], "usd": [0.1]}
    )
    frame.to_csv(tmp_path / "truth.csv")  # with pandas' column of row numbers
    for truth in (frame, tmp_path / "truth.csv"):
        assert read_truth(truth, images(), FIELDS).values == {0: {"shop": "A"}}


def test_fields_that_are_called_as_other_columns_are_read_from_their_own():
    fields = [field("model", "text"), field("image", "text"), field("error", "text")]
    table = {"image": ["a.jpg"], "value.model": ["X200"], "value.image": ["a bird"], "model": ["openai:gpt-4o"]}
    assert read_truth(pd.DataFrame(table), images(), fields).values == {0: {"model": "X200", "image": "a bird"}}
    by_hand = pd.DataFrame({"image": ["a.jpg"], "model": ["X200"]})
    assert read_truth(by_hand, images(), fields).values == {0: {"model": "X200"}}


def test_objects_and_bare_values_are_truths():
    class Total(pydantic.BaseModel):
        amount: Decimal
        currency: str | None = None

    class Receipt(pydantic.BaseModel):
        shop: str
        total: Total | None

    @dataclasses.dataclass
    class Short:
        shop: str

    truth = {
        "a": Receipt(shop="A", total=Total(amount=Decimal("1.5"))),
        "b": Receipt(shop="B", total=None),
        "c": Short("C"),
    }
    total = {"total.amount": Decimal("1.5"), "total.currency": None}
    assert read_truth(truth, images(), FIELDS).values == {
        0: {"shop": "A", **total},
        1: {"shop": "B", "total.amount": None, "total.currency": None},
        2: {"shop": "C"},
    }
    assert read_truth({"a": "cat"}, images(), [field("value", "text")]).values == {0: {"value": "cat"}}
    assert read_truth({"a": ["x"]}, images(), [field("value", "list")]).values == {0: {"value": ["x"]}}


def test_a_list_names_its_images_or_has_one_value_for_each():
    named = [{"image": "c.jpg", "shop": "C"}, {"image": "a.jpg", "shop": "A"}]
    assert read_truth(named, images(), FIELDS).values == {2: {"shop": "C"}, 0: {"shop": "A"}}
    unnamed = [vn.ImageDocument(image=PIXEL), vn.ImageDocument(image=PIXEL)]
    assert read_truth([{"shop": "A"}, {"shop": "B"}], unnamed, FIELDS).values == {0: {"shop": "A"}, 1: {"shop": "B"}}
    with pytest.raises(SettingsError, match=r"one value for each of the 3 images.*got 1\. Add the key"):
        read_truth([{"shop": "A"}], images(), FIELDS)


@pytest.mark.parametrize(
    "name", ["one.jpg", "one", "photos/one.jpg", "photos\\one", "./photos/one.jpg", "x/../photos/one"]
)
def test_an_image_is_named_by_its_path_or_its_end(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    documents = images("photos/two.jpg", "photos/one.jpg")
    truth = read_truth({name: {"shop": "A"}}, documents, FIELDS)
    assert truth.values == {1: {"shop": "A"}}
    assert read_truth({str(tmp_path / "photos" / "one.jpg"): {"shop": "A"}}, documents, FIELDS).values == truth.values
    absolute = images(str(tmp_path / "photos/two.jpg"), str(tmp_path / "photos/one.jpg"))
    assert read_truth({"photos/one.jpg": {"shop": "A"}}, absolute, FIELDS).values == truth.values


def test_urls_documents_and_decomposed_letters_name_images():
    documents = [
        vn.ImageDocument(image_url="https://example.org/a/cafe.jpg?size=2"),
        vn.ImageDocument(image_path=unicodedata.normalize("NFD", "Café.jpg")),
    ]
    truth = {"https://example.org/a/cafe.jpg": {"shop": "A"}, "Café": {"shop": "B"}}
    assert read_truth(truth, documents, FIELDS).values == {0: {"shop": "A"}, 1: {"shop": "B"}}
    assert read_truth({"cafe": {"shop": "A"}}, documents, FIELDS).values == {0: {"shop": "A"}}


def test_an_image_that_was_asked_about_twice_has_one_truth():
    documents = images("a.jpg", "a.jpg")
    assert read_truth({"a": {"shop": "A"}}, documents, FIELDS).values == {0: {"shop": "A"}, 1: {"shop": "A"}}


@pytest.mark.parametrize(
    "truth",
    [
        pd.DataFrame({"image": ["a.jpg"], "shop": ["A"], "items": ['[{"name": "Tea", "note": "hot"}]'], "tax": [0.5]}),
        {"a.jpg": {"shop": "A", "items": [{"name": "Tea", "note": "hot"}], "tax": 0.5}},
        [{"image": "a.jpg", "shop": "A", "items": [{"name": "Tea", "note": "hot"}], "tax": 0.5}],
    ],
    ids=["table", "dict", "list"],
)
def test_columns_and_keys_that_are_not_fields_are_left_out_and_named(truth):
    found = read_truth(truth, images(), FIELDS)
    assert found.values == {0: {"shop": "A", "items": [{"name": "Tea"}]}}
    result = score_predictions([answer(found.documents[0], {"shop": "A"})], found, FIELDS)
    assert result.notes[-1] == (
        "Not scored: date, total.amount, total.currency, paid (not in the truth); items.note, tax (not in the schema)."
    )


def test_a_column_is_not_a_misspelled_field_if_the_truth_has_the_field():
    table = pd.DataFrame({"image": ["a.jpg"], "shop": ["A"], "shops": ["B"]})
    assert read_truth(table, images(), FIELDS).left_out == ("shops",)


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        ({}, "The truth is empty"),
        (pd.DataFrame({"image": [], "shop": []}), "The truth is empty"),
        ([], "one value for each of the 3 images"),
        ({"z.jpg": {}, "y.jpg": {}, "a.jpg": {}}, "names 2 images that no model was asked about: 'z.jpg', 'y.jpg'"),
        ({"a.jpg": {}, "a": {"shop": "A"}}, "names an image twice with different values, as 'a.jpg' and 'a'"),
        (pd.DataFrame({"image": ["b.jpg", "b.jpg"], "shop": ["x", "y"]}), "names an image twice with different values, as 'b.jpg' and 'b.jpg'"),
        (pd.DataFrame({"image": ["a.jpg", None], "shop": ["x", "y"]}), "Row 2 of the truth does not name its image"),
        (pd.DataFrame({"shop": ["x"]}), "does not name its images: it needs a column \"image\""),
        (pd.DataFrame({"image": ["a.jpg"], "shpo": ["x"]}), "The truth of 'a.jpg' has 'shpo', which is not a field of the schema. Did you mean 'shop'?"),
        (pd.DataFrame([["a.jpg", 1, 2]], columns=["image", "shop", "shop"]), "has 2 columns named 'shop'"),
        ({"a.jpg": {"weight": 1}}, "truth of 'a.jpg' has 'weight', which is not a field of the schema. The fields are"),
        ({"a.jpg": {"SHOP": 1}}, "has 'SHOP', which is not a field of the schema. Did you mean 'shop'"),
        ({"a.jpg": {"shop": "A", "total": 5}}, "has 'total', which is not a field of the schema. The fields are"),
        ({"a.jpg": {"items": [{"nmae": "Tea"}]}}, "of 'items' for 'a.jpg' has the unknown key 'nmae'"),
        ({"a.jpg": "Café Corner"}, "pass a dict with the fields as keys"),
        ("missing.csv", "'missing.csv' cannot be read (No such file or directory)"),
        (5, "The truth cannot be of type int"),
    ],
)  # fmt: skip
def test_a_truth_that_does_not_fit_is_an_error_that_names_image_or_field(truth, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as caught:
        read_truth(truth, images(), FIELDS)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"image,shop\na.jpg,tea,cake\n", "Row 2 of truth.csv has 3 cells for 2 columns"),
        (b"file,shop\na.jpg,tea\n", 'needs a column "image"'),
        (b"image,shop\na.jpg,caf\xe9\n", "is not a CSV file in UTF-8"),
        (b"image,shop,shop\na.jpg,1,2\n", "has 2 columns named 'shop'"),
        (b"", "The truth is empty"),
        (b"image,shop\n", "The truth is empty"),
    ],
)
def test_a_csv_file_that_does_not_fit_is_an_error(data, words, tmp_path):
    (tmp_path / "truth.csv").write_bytes(data)
    with pytest.raises(SettingsError) as caught:
        read_truth(tmp_path / "truth.csv", images(), FIELDS)
    assert words in str(caught.value)


def test_an_ambiguous_name_is_an_error_that_names_both_images():
    documents = images("march/a.jpg", "april/a.jpg", "a.png")
    with pytest.raises(
        SettingsError, match=r"'a\.jpg', which could be 2 images: march.a\.jpg or april.a\.jpg\. Name them by"
    ):
        read_truth({"a.jpg": {}}, documents, FIELDS)
    assert read_truth({"april/a.jpg": {}, "a.png": {}}, documents, FIELDS).values == {1: {}, 2: {}}
    unnamed = [vn.ImageDocument(image=PIXEL), vn.ImageDocument(image=PIXEL)]
    with pytest.raises(SettingsError, match="could be 2 images"):
        read_truth({"PNG image": {}}, unnamed, FIELDS)


def test_unknown_images_are_ignored_on_request():
    truth = {"a.jpg": RECEIPT, "other.jpg": RECEIPT}
    (document,) = images("a.jpg")
    result = score_predictions([answer(document)], truth, FIELDS, ignore_unknown=True)
    assert result.best.exact == 1
    with pytest.raises(SettingsError, match="The truth is empty"):
        read_truth({"other.jpg": RECEIPT}, [document], FIELDS, ignore_unknown=True)


def test_a_truth_by_place_is_used_as_it_is():
    documents = images("a.jpg", "a.jpg")
    truth = Truth(tuple(documents), {1: {"shop": "Café Corner"}})
    result = score_predictions([answer(one) for one in documents], truth, FIELDS)
    assert [one.prediction.document for one in result.judgments] == documents[1:]


# the score


@pytest.fixture
def result():
    """Three models on four images, three of which have a truth."""
    documents = images("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    truth = {one.title: {k: v for k, v in RECEIPT.items() if k != "items"} for one in documents[:3]}
    truth["c.jpg"] = dict.fromkeys(truth["c.jpg"])
    predictions = []
    for document in documents:
        known = truth.get(document.title, RECEIPT)
        wrong = {**known, "total.currency": "USD", "shop": "<b>Tea & House</b>"}
        predictions += [
            answer(document, known, model="good", usd="0.004"),
            answer(document, wrong, model="cheap", usd="0.0001", attempts=2),
            answer(document, None, model="broken", error="SchemaError: <i>not</i> JSON", usd=None),
        ]
    return score_predictions(predictions, truth, FIELDS)


def test_each_model_has_accuracy_exact_images_and_price(result):
    good, cheap, broken = result.models
    assert (good.accuracy, good.exact, good.images, good.n, good.usd_per_1000) == (1.0, 3, 3, 15, Decimal(4))
    assert (cheap.accuracy, cheap.exact, cheap.repaired, cheap.usd_per_1000) == (0.6, 0, 3, Decimal("0.1"))
    assert (broken.accuracy, broken.failed, broken.usd_per_1000) == (0.0, 3, None)
    assert list(result.models.to_dataframe().model) == ["good", "cheap", "broken"]
    assert re.search(r"^broken +0% +0% to .* unknown$", str(result.models), re.MULTILINE)


def test_the_best_model_is_named_with_its_interval(result):
    assert result.best.model == "good"
    assert result.conclusion == (
        "good is right most often: in 100% of 15 values (95% interval 80% to 100%). "
        "The interval of cheap (60%) overlaps with it: the difference may be chance. "
        "Cheapest of these: cheap (0.10 USD per 1,000 images)."
    )
    assert result.notes == [
        "Truth for 3 of 4 images; the others are not scored.",
        "Not scored: items (not in the truth).",
    ]
    assert repr(result) == f"Score of 3 models on 3 images: {' '.join([result.conclusion, *result.notes])}"


def test_a_clear_difference_is_named_as_such():
    documents = images(*(f"{n}.jpg" for n in range(40)))
    predictions = [answer(one, {"shop": "A"}, model="good") for one in documents]
    predictions += [answer(one, {"shop": "B" if n % 2 else "A"}, model="bad") for n, one in enumerate(documents)]
    result = score_predictions(predictions, {one.title: {"shop": "A"} for one in documents}, FIELDS)
    assert result.conclusion.endswith(
        "The other interval does not overlap with it: the difference is unlikely to be chance."
    )


def test_no_model_is_named_as_best_if_none_was_right():
    (document,) = images("1.jpg")
    predictions = [answer(document, {"shop": "B"}, model=model) for model in ("one", "other")]
    result = score_predictions(predictions, {document.title: {"shop": "A"}}, FIELDS)
    assert result.conclusion == "None is right: 0% of 1 value (95% interval 0% to 79%)."


def test_prompts_are_scored_separately_and_are_not_called_models(tmp_path):
    schema = {"type": "object", "properties": {"width": {"type": "integer"}}}
    start = "How wide is the image? Look at it closely, and then answer in pixels"
    prompts = [f"{start}.", f"{start}, please."]
    options = {"schema": schema, "store": tmp_path / "store.db", "progress": False}
    comparison = vn.compare("demo", prompts, [vn.samples.path("chart")], **options)
    result = comparison.score({"chart": {"width": 1000}})
    assert [one.model for one in result.models] == [f"demo: 1. {start[:60]}", f"demo: 2. {start[:60]}"]
    assert repr(result).startswith("Score of 1 model with 2 prompts on 1 image: demo: 1. How wide")
    assert f"demo: 1. {start[:60]} is right as often as demo: 2. {start[:60]}: in 100%" in result.conclusion
    assert not re.search("Cheapest|overlap", result.conclusion)  # both are free, and equally often right


def test_of_equally_accurate_models_the_cheaper_one_is_best():
    documents = images()
    prices = {"dear": "0.01", "unknown": None, "cheap": "0.001"}
    predictions = [answer(one, model=model, usd=usd) for one in documents for model, usd in prices.items()]
    assert score_predictions(predictions, {"a": RECEIPT}, FIELDS).best.model == "cheap"


def test_calls_that_were_not_made_are_not_scored():
    documents = images("a.jpg", "b.jpg")
    predictions = [answer(documents[0]), answer(documents[1], None, usd=None)]
    result = score_predictions(predictions, {"a": RECEIPT, "b": RECEIPT}, FIELDS)
    assert (result.best.images, result.best.n) == (1, 6)
    assert result.notes == ["1 call was not made, and is not scored."]
    nothing = score_predictions(predictions[1:], {"b": RECEIPT}, FIELDS)
    assert nothing.best is None and "No answers were scored" in repr(nothing)
    assert "not scored" in nothing._repr_html_() and nothing.to_dataframe().accuracy.isna().all()
    assert nothing.errors()._repr_html_() and nothing.plot()


def test_the_mean_price_leaves_out_calls_that_failed_without_a_price():
    assert mean_price([(Decimal("0.002"), True), (Decimal("0.004"), False), (None, False)]) == Decimal(3)
    assert mean_price([(Decimal("0.002"), True), (None, True)]) is None
    assert mean_price([]) is None
    assert mean_price([(Decimal(0), True)]) == 0
    documents = images("a.jpg", "b.jpg")
    failed = answer(documents[1], None, error="CorruptImageError: damaged", usd=None)
    (model,) = score_predictions([answer(documents[0], usd="0.002"), failed], {"a": RECEIPT}, FIELDS).models
    assert model.usd_per_1000 == Decimal(2)


def test_the_html_shows_the_conclusion_and_escapes_names(result):
    text = result._repr_html_()
    assert "good is right most often" in text and "100% (3 of 3)" in text and "4.00 USD" in text
    assert "0% (0 of 3, 3 failed)" in text and "Truth for 3 of 4 images" in text
    hostile = score({"shop": "$x$ \ud800"}, {"shop": "y"}).errors()._repr_html_()
    assert "$" not in hostile and hostile.encode()
    hostile = score_predictions([answer(images("a.jpg")[0], model="<script>x</script>")], {"a": RECEIPT}, FIELDS)
    assert "<script>" not in hostile._repr_html_() + hostile.errors()._repr_html_()


def test_the_confusion_counts_each_answer_by_true_value(result):
    table = result.confusion("total.currency")
    assert (table.index.name, table.columns.name) == ("truth", "answer")
    assert table.to_dict("index") == {
        "EUR": {"EUR": 2, "USD": 2, "(no value)": 0, "(failed)": 2},
        "USD": {"EUR": 0, "USD": 0, "(no value)": 0, "(failed)": 0},
        "(no value)": {"EUR": 0, "USD": 1, "(no value)": 1, "(failed)": 1},
    }
    assert result.confusion("total.currency", "good").to_numpy().trace() == 3
    assert result.confusion("paid", model="good").loc["true", "true"] == 2
    with pytest.raises(
        SettingsError, match=r"'shop' is neither an enum nor a boolean \(kind: text\): use errors\('shop'\)"
    ):
        result.confusion("shop")
    with pytest.raises(SettingsError, match=r"'item' is not a scored field\. The scored fields are shop, date"):
        result.confusion("item")
    with pytest.raises(SettingsError, match="'gpt' is not one of the models: good, cheap, broken"):
        result.confusion("paid", "gpt")


def test_errors_lists_the_values_that_are_not_correct_by_image(result):
    errors = result.errors("shop", model="cheap")
    assert [one.outcome for one in errors] == ["wrong", "wrong", "invented"]
    table = errors.to_dataframe()
    assert list(table.columns) == ["model", "image", "field", "outcome", "truth", "answer", "error"]
    assert list(table.image) == ["a.jpg", "b.jpg", "c.jpg"] and set(table.answer) == {"<b>Tea & House</b>"}
    text = errors._repr_html_()
    assert "&lt;b&gt;Tea &amp; House&lt;/b&gt;" in text and "<b>Tea" not in text and "3 values are not correct." in text
    assert "Café Corner" in text and "no value" in text and ">field<" not in text and ">model<" not in text
    assert len(result.errors()) == 6 + 15 and result.errors()._repr_html_().count("&lt;i&gt;not&lt;/i&gt; JSON") == 3
    assert (
        len(result.errors(model="good")) == 0 and "Every value is correct" in result.errors(model="good")._repr_html_()
    )
    assert "a.jpg, cheap, shop: wrong, truth: Café Corner, answer: <b>Tea & House</b>" in repr(result.errors("shop"))


def test_errors_in_a_list_show_the_items_that_differ():
    value = {**RECEIPT, "items": [{"name": "Cake", "price": 10}, {"name": "Tea", "price": "3.50"}]}
    errors = score(value, RECEIPT).errors("items")
    text = errors._repr_html_()
    assert (
        "name: Tea, price: 2.50\n... and 1 equal item" in text
        and "name: Tea, price: 3.50\n... and 1 equal item" in text
    )
    assert "Cake" not in text


def test_errors_shows_thumbnails_of_the_first_images_and_stays_small(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    for number in range(25):
        (tmp_path / f"{number}.png").write_bytes(encoded(vn.ImageDocument(image=noise).to_pil()))
    documents = images(*(str(tmp_path / f"{number}.png") for number in range(25)), str(tmp_path / "gone.png"))
    predictions = [
        answer(one, {"shop": "$<&>" * 9000, "paid": False}, model=f"model {n}") for one in documents for n in range(3)
    ]
    result = score_predictions(predictions, {one.title: {"shop": "A", "paid": True} for one in documents}, FIELDS)
    text = result.errors()._repr_html_()
    assert len(text) < 500_000 and 10 <= text.count("<img") < 20
    assert "of 26 images; to_dataframe() has all values." in text
    gone = score_predictions(predictions[-3:], {"gone": {"shop": "A"}}, FIELDS)
    assert "gone.png" in gone.errors()._repr_html_()


def test_the_plot_shows_accuracy_against_price_and_names_models_without_a_price(result):
    figure = result.plot()
    (axis,) = figure.axes
    assert axis.get_xscale() == "log" and axis.get_xlabel() == "USD per 1,000 images"
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["good: 100%", "cheap: 60%"]
    assert figure.get_supxlabel() == "Price unknown: broken (0%)"
    figure.draw_without_rendering()


def test_the_plot_has_a_row_for_each_model_if_no_price_is_known_and_a_linear_axis_for_free_models():
    documents = images()
    unknown = [answer(one, model=model, usd=None) for one in documents for model in ("m", "n")]
    figure = score_predictions(unknown, {"a": RECEIPT}, FIELDS).plot()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["m", "n"]
    assert figure.get_supxlabel() == "No price is known."
    free = [answer(one, model=model, usd=usd) for one in documents for model, usd in (("m", "0"), ("n", "0.01"))]
    assert score_predictions(free, {"a": RECEIPT}, FIELDS).plot().axes[0].get_xscale() == "linear"
    assert isinstance(figure, matplotlib.figure.Figure)


@pytest.mark.parametrize(
    "options",
    [
        {"tolerance": -0.1},
        {"tolerance": "1%"},
        {"tolerance": float("nan")},
        {"tolerance": True},
        {"text": "fuzzy"},
        {"text": 101},
        {"text": True},
        {"lists": "bag"},
    ],
)
def test_an_invalid_option_is_an_error_that_names_it(options):
    (name,) = options
    with pytest.raises(SettingsError, match=f"^{name} must be "):
        score(RECEIPT, RECEIPT, **options)
