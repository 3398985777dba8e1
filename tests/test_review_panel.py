"""The review panel: its logic in Python with a real store, and its keys in a real browser."""

import asyncio
import enum
import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.extractions import RECEIPT, make_extraction, receipt
from tests.panel_page import panel_page
from vision_nb import errors
from vision_nb.schema.fields import Field, flatten, unflatten
from vision_nb.schema.schema import Schema
from vision_nb.store import Store
from vision_nb.widgets import review_form

DISAGREED = receipt(shop="Comer Shop", total={"amount": "125.0", "currency": None})


@pytest.fixture
def extraction(tmp_path):
    """Four images and two models: one row failed, one was repaired, and the models disagree once."""
    answers = [[RECEIPT, RECEIPT], [RECEIPT, DISAGREED], [RECEIPT, RECEIPT], [None, None]]
    return make_extraction(tmp_path, answers, repaired={5})


def panel_of(extraction, **options):
    panel = extraction.review(**{"reviewer": "ann", **options})
    panel._sent = []
    panel.send = panel._sent.append
    return panel


def tell(panel, action, values=None, **details):
    """Send a message as the page does, with some of the form's values changed."""
    sent = None if values is None else {**panel.card["values"], **values}
    panel._receive({"action": action, "row": panel.row, "values": sent, **details}, [])
    return panel._sent[-1]


def names(panel):
    """Return the names of the images in the order that the panel shows them in."""
    return [panel.extraction.document(row).title for row in panel._rows]


def test_images_that_need_a_look_come_first(extraction):
    order = ["receipt0003.png", "receipt0002.png", "receipt0001.png", "receipt0000.png"]
    assert names(panel_of(extraction)) == order
    assert names(panel_of(extraction, order="given")) == order[::-1]


def test_accepting_saves_the_data_with_name_and_time_and_goes_on(extraction):
    panel = panel_of(extraction, order="given")
    tell(panel, "accept", {"shop": "Baker", "total.amount": "13.00", "payment": 0, "is_paid": False})
    review = extraction.get_review(0)
    changed = receipt(shop="Baker", total={"amount": "13.00", "currency": "EUR"}, payment="cash", is_paid=False)
    assert review.value == changed and review.reviewer == "ann" and review.time > 1_700_000_000
    assert panel.row == 2 and panel.reviewed == 1 and "1 of 4 images reviewed" in repr(panel)
    assert panel.card["position"] == 2 and panel.card["listed"] == 4 and panel.card["state"] == "Not reviewed yet"
    tell(panel, "accept")
    assert extraction.get_review(2).value == RECEIPT
    assert panel.truth == {extraction[0].image: changed, extraction[2].image: RECEIPT}


def test_a_new_panel_shows_the_images_that_nobody_has_reviewed(extraction, tmp_path):
    panel = panel_of(extraction, order="given")
    panel.accept(receipt(shop="Baker"))
    again = panel_of(
        make_extraction(tmp_path, [[RECEIPT, RECEIPT], [RECEIPT, DISAGREED]]), reviewer="bob", order="given"
    )
    assert again.reviewed == 1 and names(again) == ["receipt0001.png"]
    tell(again, "view", order="given", show="all")
    assert names(again) == ["receipt0000.png", "receipt0001.png"] and again.row == 2
    tell(again, "move", by=-1)
    assert again.card["values"]["shop"] == "Baker" and again.card["state"].startswith("Reviewed by ann on 20")


def test_an_accepted_image_stays_in_the_list_until_the_list_is_chosen_again(extraction):
    panel = panel_of(extraction, order="given")
    tell(panel, "accept")
    tell(panel, "move", by=-1)
    assert panel.row == 0 and panel.card["is_reviewed"]
    tell(panel, "view", order="given", show="unreviewed")
    assert len(panel._rows) == 3


def test_the_end_of_the_list_leads_to_the_images_that_were_skipped(extraction):
    panel = panel_of(extraction, order="given")
    tell(panel, "move", by=1)
    tell(panel, "accept")
    tell(panel, "accept")
    panel.accept(RECEIPT)
    assert panel.row == 0 and "not reviewed" in panel.card["message"]
    tell(panel, "accept")
    assert panel.card["message"] == "All images are reviewed." and panel.reviewed == 4


def test_undo_restores_the_changes_that_were_accepted(extraction):
    panel = panel_of(extraction, order="given")
    tell(panel, "accept", {"shop": "Baker"})
    tell(panel, "accept")
    tell(panel, "undo")
    tell(panel, "undo")
    assert panel.row == 0 and extraction.reviews() == {} and panel.reviewed == 0
    assert panel.card["values"]["shop"] == "Baker" and panel.card["state"].startswith("Changed")
    assert not panel.card["can_undo"]
    tell(panel, "undo")
    assert panel.row == 0


def test_undo_restores_an_earlier_review_with_its_time(extraction):
    extraction.set_review(0, receipt(shop="first"), reviewer="ann")
    first = extraction.get_review(0)
    panel = panel_of(extraction, order="given", show="all")
    tell(panel, "accept", {"shop": "second"})
    tell(panel, "undo")
    assert extraction.get_review(0) == first


def test_undo_keeps_the_review_of_another_person(extraction):
    extraction.set_review(0, receipt(shop="bob's"), reviewer="bob")
    panel = panel_of(extraction, order="given", show="all")
    tell(panel, "accept", {"shop": "ann's"})
    assert extraction.get_review(0).reviewer == "ann"
    tell(panel, "undo")
    assert extraction.get_review(0).value["shop"] == "bob's" and panel.card["is_reviewed"]


def test_changes_are_kept_while_moving_and_after_a_reload_of_the_page(extraction):
    panel = panel_of(extraction, order="given")
    tell(panel, "edit", {"shop": "Bak"})
    tell(panel, "move", {"shop": "Baker"}, by=1)
    assert panel.row == 2 and panel.card["values"]["shop"] == "Corner Shop"
    tell(panel, "move", by=-1)
    panel._receive({"action": "ready"}, [])
    assert panel.card["values"]["shop"] == "Baker" and panel.card["state"] == "Changed, not accepted yet"
    assert extraction.reviews() == {}
    tell(panel, "edit", {"shop": "Corner Shop"})
    assert panel._sent[-1]["state"] == "Not reviewed yet"


def test_changes_are_found_by_the_persons_next_panel(extraction, tmp_path):
    tell(panel_of(extraction, order="given"), "edit", {"shop": "Bak", "total.amount": "1,"})
    answers = [[RECEIPT, RECEIPT], [RECEIPT, DISAGREED], [RECEIPT, RECEIPT], [None, None]]
    again = make_extraction(tmp_path, answers)  # as after a restart of the kernel
    panel = panel_of(again, order="given")
    assert (panel.card["values"]["shop"], panel.card["values"]["total.amount"]) == ("Bak", "1,")
    assert panel.card["state"] == "Changed, not accepted yet" and again.reviews() == {}
    assert panel_of(again, order="given", reviewer="bob").card["values"]["shop"] == "Corner Shop"
    panel.accept(RECEIPT)
    assert panel_of(again, order="given", show="all").card["values"]["shop"] == "Corner Shop"


def test_a_key_press_does_not_open_the_store(tmp_path, monkeypatch):
    extraction = make_extraction(tmp_path, [[RECEIPT], [RECEIPT]])
    extraction.comparison.store.close()
    extraction.comparison._store = extraction.comparison.store.path  # as extract() leaves it
    panel = panel_of(extraction)
    monkeypatch.setattr(Store, "__init__", lambda *_: pytest.fail("the store was opened"))
    tell(panel, "accept", {"shop": "Baker"})
    tell(panel, "undo")


def test_restore_shows_the_models_data_and_can_be_undone(extraction):
    panel = panel_of(extraction, order="given", show="all")
    tell(panel, "accept", {"shop": "Baker"})
    tell(panel, "move", by=-1)
    tell(panel, "restore", {"shop": "Butcher"})
    assert panel.card["values"]["shop"] == "Corner Shop" and extraction.get_review(0).value["shop"] == "Baker"
    tell(panel, "undo")
    assert panel.card["values"]["shop"] == "Butcher"


def test_no_value_is_told_apart_from_an_empty_text(extraction):
    panel = panel_of(extraction, order="given")
    assert panel.card["values"]["note"] is None
    tell(panel, "accept", {"note": "", "total.currency": None, "tags": []})
    saved = extraction.get_review(0).value
    assert (saved["note"], saved["total"]["currency"], saved["tags"]) == ("", None, [])


def test_errors_are_sent_by_field_and_nothing_is_saved(extraction):
    panel = panel_of(extraction, order="given")
    rows = [{"name": "Tea", "price": "2,50", "count": "one"}, {"name": None, "price": "1", "count": "1"}]
    sent = tell(panel, "accept", {"total.amount": "12,50", "day": "", "shop": None, "items": rows})
    assert sent["kind"] == "errors" and sent["is_final"] and panel.row == 0
    assert {path: text for path, text in sent["errors"].items() if path != "items[1].name"} == {
        "total.amount": "is not a number: write it as 1234.50",
        "day": "is not complete",
        "shop": "is required",
        "items[0].price": "is not a number: write it as 1234.50",
        "items[0].count": "is not a whole number",
    }
    assert "string" in sent["errors"]["items[1].name"]
    assert extraction.reviews() == {} and panel.reviewed == 0
    with pytest.raises(errors.SchemaError, match="has errors") as raised:
        panel.accept()
    assert "total.amount" in raised.value.errors
    with pytest.raises(errors.SchemaError):
        panel.accept({"shop": 3})
    assert extraction.reviews() == {}


def test_a_failed_image_has_an_empty_form_and_its_error(extraction):
    panel = panel_of(extraction)
    assert panel.row == 6 and panel.card["values"].pop("items") == []
    assert set(panel.card["values"].values()) == {None}
    both = "demo:gpt-4o-0, demo:gpt-4o-1"
    assert panel.card["notes"] == [f"{both} gave no answer: SchemaError: The answer has no JSON."]
    tell(panel, "accept", {"shop": "Baker", "total.amount": "3", "items": []})
    saved = extraction.get_review(6).value
    assert (saved["shop"], saved["total"]["amount"], saved["items"], saved["note"]) == ("Baker", "3", [], None)
    assert panel.card["notes"] == ["demo:gpt-4o-1 answered after 1 repair"]


def test_the_answers_of_models_that_disagree_can_be_taken(extraction):
    panel = panel_of(extraction, order="given")
    assert panel.card["others"] == {}
    tell(panel, "move", by=1)
    others = panel.card["others"]
    assert set(others) == {"shop", "total.amount", "total.currency"}
    assert [(one["models"], one["value"], one["text"]) for one in others["total.currency"]] == [
        (["demo:gpt-4o-0"], "EUR", "EUR"),
        (["demo:gpt-4o-1"], None, "no value"),
    ]
    tell(panel, "accept", {"shop": others["shop"][1]["value"]})
    assert extraction.get_review(2).value["shop"] == "Comer Shop"


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Everything(BaseModel):
    size: int
    ratio: float
    color: Color | None
    level: Literal["low", "high", 3] | None
    anything: int | list[str] | None
    matrix: list[list[int]]


EVERYTHING = {
    "size": 2**70,
    "ratio": 0.1 + 0.2,
    "color": 2,
    "level": 3,
    "anything": ["a"],
    "matrix": [[1, 2], []],
}


def test_values_that_a_person_did_not_change_stay_exactly_as_they_are(tmp_path):
    extraction = make_extraction(tmp_path, [[EVERYTHING]], Everything)
    panel = panel_of(extraction)
    assert panel.card["values"]["size"] == str(2**70) and panel.card["values"]["color"] == 1
    tell(panel, "accept", {"level": 0})
    assert extraction.get_review(0).value == {**EVERYTHING, "level": "low"}


def test_keys_that_the_form_does_not_display_stay_in_the_data(tmp_path):
    item = {"type": "object", "properties": {"name": {"type": "string"}}}
    properties = {"items": {"type": "array", "items": item}, "note": {"type": "string"}}
    data = {"items": [{"name": "Tea", "code": 7}], "note": ""}
    extraction = make_extraction(tmp_path, [[data]], {"type": "object", "properties": properties})
    tell(panel_of(extraction), "accept", {"note": "x"})
    assert extraction.get_review(0).value == {**data, "note": "x"}


@pytest.mark.parametrize("text", ["nan", "inf", "-1e999", "9" * 400, "one", "1,5", ""])
def test_a_text_that_is_not_a_finite_number_is_an_error_at_its_field(tmp_path, text):
    schema = {"type": "object", "properties": {"size": {"type": "number"}}}
    extraction = make_extraction(tmp_path, [[{"size": 1}]], schema)
    sent = tell(panel_of(extraction), "accept", {"size": text})
    assert sent["errors"] == {"size": "is not a number: write it as 1234.5"} and extraction.reviews() == {}


def test_choices_that_are_equal_in_python_are_told_apart():
    field = Field("level", "enum", choices=(1, True, "1"))
    assert [review_form.form_value(choice, field) for choice in (1, True, "1", 1.0, 2)] == [0, 1, 2, 0, None]


@given(
    st.fixed_dictionaries(
        {
            "size": st.integers(),
            "ratio": st.floats(allow_nan=False, allow_infinity=False),
            "color": st.sampled_from([None, 1, 2]),
            "level": st.sampled_from([None, "low", "high", 3]),
            "anything": st.none() | st.integers() | st.lists(st.text()),
            "matrix": st.lists(st.lists(st.integers())),
        }
    )
)
def test_every_value_survives_the_way_to_the_page_and_back(data):
    schema = Schema.of(Everything)
    shown = review_form.form_values(flatten(data, schema.fields), schema.fields)
    sent = review_form.clean_values(json.loads(json.dumps(shown)), schema.fields)
    found: dict[str, str] = {}
    read = {field.path: review_form.read_value(sent[field.path], field, field.path, found) for field in schema.fields}
    assert unflatten(read, schema.fields) == data and not found


JUNK: list[Any] = [
    None, True, 0, -1, 10**400, 1.5, float("nan"), float("inf"), "", "\ud800", "[" * 100_000, [], [[]], [None], {}, {"": 1},
    {"name": {"name": []}}, [{"name": 1, "price": {}, "count": []}], ["x"] * 3,
]  # fmt: skip


@pytest.mark.parametrize("schema", [None, Everything], ids=["receipt", "everything"])
def test_messages_of_any_shape_raise_nothing_and_save_nothing_invalid(extraction, tmp_path, schema):
    if schema is not None:
        (tmp_path / "other").mkdir()
        extraction = make_extraction(tmp_path / "other", [[EVERYTHING], [EVERYTHING]], schema)
    panel = panel_of(extraction, order="given", show="all")
    fields = panel.card["values"]
    for junk in JUNK:
        panel._receive({"action": junk, "row": junk}, [])
        panel._receive({"action": "move", "row": panel.row, "by": junk}, [])
        panel._receive({"action": "view", "row": panel.row, "order": junk, "show": junk}, [])
        for action in ("edit", "accept", "restore", "undo", "unknown"):
            panel._receive({"action": action, "row": panel.row, "values": junk}, [])
            panel._receive({"action": action, "row": panel.row, "values": dict.fromkeys(fields, junk)}, [])
            for path in fields:
                tell(panel, action, {path: junk, "unknown": junk})
        json.dumps(panel._sent[-1]).encode()
    for review in extraction.reviews().values():
        assert extraction.schema.dump(extraction.schema.validate(review.value)) == review.value
        json.dumps(review.value, allow_nan=False)
    store = extraction.comparison.store
    with store._locked() as connection:
        (count,) = connection.execute("SELECT COUNT(*) FROM reviews").fetchone()
    keys = {extraction.review_keys[row] for row in extraction.reviews()}
    assert count == len(keys)


def test_a_message_about_an_earlier_image_is_ignored(extraction):
    panel = panel_of(extraction, order="given")
    first = {"action": "accept", "row": panel.row, "values": panel.card["values"]}
    panel._receive(first, [])
    panel._receive(first, [])
    assert panel.row == 2 and list(extraction.reviews()) == [0, 1]


def test_text_from_models_and_file_names_can_be_sent(tmp_path):
    odd = vn.ImageDocument(image=encoded(picture()), image_name="odd\udce9.png")
    extraction = make_extraction(tmp_path, [[receipt(shop="a\ufffd"), DISAGREED]], images=[odd])
    json.dumps(panel_of(extraction).card, ensure_ascii=False).encode("utf-8")


def test_images_with_the_same_content_share_their_review(tmp_path):
    images = [encoded(picture()), encoded(picture()), encoded(picture(seed=1))]
    extraction = make_extraction(tmp_path, [[RECEIPT]] * 3, images=images)
    panel = panel_of(extraction)
    panel.accept()
    assert panel.reviewed == 2
    panel.undo()
    assert panel.reviewed == 0


def test_images_that_cannot_be_read_are_left_out(tmp_path):
    picture().save(tmp_path / "good.png")
    (tmp_path / "broken.png").write_bytes(b"x")
    images = [tmp_path / "missing.png", tmp_path / "broken.png", tmp_path / "good.png"]
    broken = errors.CorruptImageError("broken.png is damaged.")
    answers = [[errors.ImageNotFoundError("no"), None], [broken, broken], [RECEIPT, broken]]
    panel = panel_of(make_extraction(tmp_path, answers, images=images))
    assert names(panel) == ["good.png"] and panel.card["unreadable"] == 2
    panel = panel_of(make_extraction(tmp_path, [[RECEIPT]], images=images[1:2]))
    assert panel.card["image"] == ""  # it has become unreadable
    with pytest.raises(errors.SettingsError, match="No image can be shown"):
        vn.ReviewPanel(make_extraction(tmp_path, answers[:2], images=images[:2]))


def test_wrong_arguments_are_named(extraction):
    for options, message in (
        ({"order": "x"}, 'order must be "doubt" or "given"'),
        ({"show": None}, 'show must be "unreviewed" or "all"'),
        ({"reviewer": 3}, "reviewer must be a name"),
    ):
        with pytest.raises(errors.SettingsError, match=message):
            extraction.review(**options)
    with pytest.raises(errors.SettingsError, match="A Comparison cannot be reviewed"):
        vn.ReviewPanel(extraction.comparison)


def test_neither_images_nor_data_are_in_the_widgets_state_or_the_saved_output(extraction, tmp_path):
    large = tmp_path / "large.png"
    picture(2000, 1000).save(large)
    panel = panel_of(make_extraction(tmp_path, [[RECEIPT]], images=[large]))
    assert panel.card["image"].startswith("data:image/jpeg;base64,") and len(panel.card["image"]) < 200_000
    sent = tell(panel, "enlarge")
    assert sent["kind"] == "enlarged" and len(panel.card["image"]) < len(sent["image"]) < 2_700_000
    state = json.dumps(panel.get_state(), default=str)
    assert "data:image" not in state and "Corner" not in state
    shown = panel._repr_mimebundle_()
    bundle = shown[0] if isinstance(shown, tuple) else shown
    assert bundle["text/plain"] == (
        "ReviewPanel(0 of 1 images reviewed): a notebook shows the panel; here, use .set_review(...) of the extraction"
    )


def test_changes_made_elsewhere_are_shown_with_the_image_and_after_a_reload(extraction):
    panel = panel_of(extraction, order="given")
    extraction.set_review(0, receipt(shop="elsewhere"), reviewer="bob")
    extraction.set_review(6, receipt(shop="elsewhere"), reviewer="bob")
    tell(panel, "view", order="given", show="all")
    assert panel.card["values"]["shop"] == "elsewhere" and panel.reviewed == 1
    panel._receive({"action": "ready"}, [])
    assert panel.reviewed == 2


def test_a_key_press_reads_the_review_of_one_image_only(extraction, monkeypatch):
    panel, read = panel_of(extraction), []
    reviews = Store.reviews

    def counted(self, keys):
        keys = list(keys)
        read.append(len(keys))
        return reviews(self, keys)

    monkeypatch.setattr(Store, "reviews", counted)
    panel.accept(RECEIPT)
    tell(panel, "accept", {"shop": "Baker"})
    tell(panel, "edit", {"shop": "Bak"})
    tell(panel, "undo")
    assert set(read) == {1}


def test_the_next_image_is_prepared_in_advance(extraction, monkeypatch):
    panel = panel_of(extraction, order="given")
    panel._content.wait()
    monkeypatch.setattr(vn.ImageDocument, "thumbnail", lambda *_, **__: pytest.fail("the image was not ready"))
    tell(panel, "move", by=1)
    assert panel.card["image"]


def test_a_panel_is_the_truth_of_a_score(extraction):
    panel = panel_of(extraction, order="given")
    panel.accept(RECEIPT)
    panel.accept(RECEIPT)
    for score in (extraction.score(panel), extraction.score()):
        shop = score.to_dataframe().query("field == 'shop'").set_index("model")
        assert shop.loc["demo:gpt-4o-0", "accuracy"] == 1 and shop.loc["demo:gpt-4o-1", "accuracy"] == 0.5


@pytest.mark.browser
async def test_typed_text_is_kept_when_a_card_arrives_and_goes_to_the_next_one_after_enter(extraction):
    panel = panel_of(extraction, order="given")
    async with panel_page(panel) as page:
        await page.clock.set_fixed_time(0)  # the kernel is never displayed as busy
        shop = page.get_by_label("shop", exact=True)
        await shop.press("End")
        await shop.press_sequentially("s")
        panel._show(message="A card that the page did not ask for.")
        await page.wait_for_selector(".vnb-review-message:text('did not ask')")
        await shop.press_sequentially(" Ltd")
        await shop.evaluate(
            """(shop) => ["Enter", "N", "p", "Backspace", "o"].forEach((key) =>
              shop.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true })))"""
        )
        await page.wait_for_selector(".vnb-review-title:text('Image 2')")
        assert extraction.get_review(0).value["shop"] == "Corner Shops Ltd"
        await page.wait_for_function("() => document.activeElement.value?.includes('No')")
        assert "No" in await shop.input_value() and await shop.input_value() != "No"
        await page.wait_for_selector(".vnb-review-state:text('Changed')")
        second = panel.row
        await shop.press("End")
        await shop.press_sequentially("w")
        panel.undo()  # displays the first image before the page has sent the text
        await page.wait_for_selector(".vnb-review-title:text('Image 1')")
        await page.wait_for_function("() => document.activeElement.value?.includes('Corner')")
        async with asyncio.timeout(20):
            while "w" not in panel._draft(second)["shop"]:
                await asyncio.sleep(0.02)
    assert "No" in panel._draft(second)["shop"]
