"""The sample receipts: small files that match their drawing script, a menu, a damaged file, and the truth."""

import json
import shutil
from decimal import Decimal

import numpy as np
import pytest
from PIL import Image

import vision_nb as vn
from tests.draw_samples import draw_receipts
from tests.sample_drawing.receipts import RECEIPTS
from vision_nb.comparison.truth import read_truth
from vision_nb.errors import CorruptImageError, ImageError
from vision_nb.schema.fields import Field

FOLDER, TRUTH = vn.samples.receipts(), vn.samples.receipts_truth()
FIELDS = (
    Field("shop", "text"),
    Field("date", "date"),
    Field("currency", "enum", choices=("EUR", "USD")),
    Field("total", "decimal"),
    Field("tax", "decimal", is_optional=True),
    Field("payment", "enum", choices=("card", "cash", "mobile", "voucher")),
    Field("items", "list", items=(Field("name", "text"), Field("price", "decimal"))),
)


@pytest.fixture(scope="module")
def redrawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("redrawn")
    draw_receipts(folder)
    return folder


def pixels(file):
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"), dtype=float)


def test_the_folder_loads_as_fourteen_images_of_which_one_is_damaged():
    documents = vn.load_images(FOLDER)
    assert [document.title for document in documents] == [path.name for path in sorted(FOLDER.glob("receipt_*"))]
    assert documents.skipped == []
    for document in documents[:13]:
        assert document.to_pil().width >= 200
    with pytest.raises(CorruptImageError):
        documents[13].to_pil()
    with pytest.raises(ImageError):
        vn.connect("demo").complete("What is the total?", [documents[13]])


def test_the_files_are_small_and_have_no_metadata():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 350_000
    for path in FOLDER.glob("receipt_*"):
        with Image.open(path) as image:
            assert not image.getexif()
            assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


@pytest.mark.slow
def test_the_receipts_match_their_drawing_script(redrawn):
    assert sorted(path.name for path in (redrawn / "receipts").iterdir()) == sorted(
        path.name for path in FOLDER.iterdir()
    )
    assert (redrawn / "receipts_truth.csv").read_bytes() == TRUTH.read_bytes()
    for path in sorted(FOLDER.glob("receipt_*"))[:13]:
        assert pixels(redrawn / "receipts" / path.name).shape == pixels(path).shape
        # Other versions of the libraries place edges or round colors slightly differently.
        assert np.abs(pixels(redrawn / "receipts" / path.name) - pixels(path)).mean() < 4


def test_the_truth_is_what_is_printed_on_the_receipts():
    documents = vn.load_images(FOLDER)
    truth = read_truth(TRUTH, documents, FIELDS).values
    assert list(truth) == list(range(13))
    for known, receipt in zip(truth.values(), RECEIPTS, strict=False):
        assert known["items"] == [{"name": name, "price": Decimal(price)} for name, price in receipt.items]
        added = receipt.tax or 0 if receipt.currency == "USD" else 0
        assert known["total"] == sum(item["price"] for item in known["items"]) + added
        assert (known["shop"], known["date"], known["tax"]) == (receipt.shop, receipt.date, receipt.tax)
    assert set(truth[12].values()) == {None}
    assert {known["currency"] for known in truth.values()} == {"EUR", "USD", None}


def test_the_receipts_can_be_copied_and_scored_under_another_folder(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "mine")
    documents = vn.load_images(tmp_path / "mine")
    assert len(read_truth(TRUTH, documents, FIELDS).values) == 13


def test_receipts_are_extracted_reviewed_and_scored(server, tmp_path):
    """With two of the truth's fields, and one that it does not have."""
    server.answer_with(lambda question: json.dumps({"shop": "Mill Lane Bakery", "total": 9.3, "city": None}))
    schema = {
        "properties": {"shop": {"type": "string"}, "total": {"type": "number"}, "city": {"type": ["string", "null"]}}
    }
    model = vn.connect("openai:gpt-4o-mini", api_key="demo-key", api_base=server.openai_base)
    extraction = vn.extract(
        FOLDER, {"type": "object", **schema}, model=model, store=tmp_path / "store.db", progress=False
    )
    panel = extraction.review()
    panel.accept()
    by_truth, by_review = extraction.score(TRUTH), extraction.score()
    assert [(one.field, one.n, one.correct) for one in by_truth._accuracies.values()] == [
        ("shop", 13, 1),
        ("total", 13, 1),
        ("all fields", 26, 2),
    ]
    assert by_truth.notes[-1] == (
        "Not scored: city (not in the truth); currency, date, items, payment, tax (not in the schema)."
    )
    assert by_review.models[0].exact == by_review.models[0].images == 1
    assert repr(extraction.score(panel)) == repr(by_review)
