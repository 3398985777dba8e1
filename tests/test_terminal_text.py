"""What terminals print for values: IPython, plain Python, and rich if it is installed."""

import dataclasses
import io
import re
import subprocess
import sys
from decimal import Decimal
from functools import partial

import pytest
from IPython.lib.pretty import pretty
from rich.console import Console

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.extractions import make_extraction, receipt
from vision_nb.conversation.turn import Turn
from vision_nb.cost.ledger import Entry, Ledger
from vision_nb.rendering.format import format_price, format_usd
from vision_nb.rendering.terminal import TextTable

RAW = re.compile(r"Decimal\(|=None|TextTokens\(|<[\w.]+ (object )?at 0x|b'\\x|<MessageRole")
USAGE = vn.Usage(1200, 43, 100)
HOSTILE = "\x1b]8;;http://evil.example\x07[red]bold[/red] [link](http://evil.example) \x1b[2J"


def rich_text(value, width=100):
    """Return what rich prints for a value on a terminal, with its escape sequences."""
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=True, color_system="truecolor").print(value)
    return file.getvalue()


def answer(text="It is **red**.", **options):
    known = {
        "model": "gpt-4o",
        "finish_reason": "stop",
        "latency": 1.25,
        "usage": USAGE,
        "reported_cost": Decimal("0.0034"),
    }
    return vn.CompletionResponse(text, **{**known, **options})


def _given(price, usage):
    return price


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")


@pytest.fixture
def comparison():
    images = [vn.ImageDocument(image=encoded(picture()), image_name=f"photos/{name}.png") for name in "ab"]
    return vn.compare(["demo", "demo:other"], ["How large is it?"], images, progress=False)


@pytest.fixture
def chat():
    llm = vn.connect("demo")
    chat = vn.Chat(llm, system="Be brief.")
    chat.ask("How large is it?", [vn.samples.path("chart")])
    return chat


def test_a_response_prints_its_text_tokens_time_and_price():
    shown = pretty(answer())
    assert shown == "It is **red**.\n\ngpt-4o, 1,200 tokens in, 43 out, 1.2 s, 0.0034 USD (reported)"
    assert pretty([answer()]) == "[CompletionResponse('It is **red**.', gpt-4o, 1,200 tokens in, 43 out, 1.2 s)]"
    assert "cut off at the length limit" in pretty(answer(finish_reason="length"))
    assert repr(answer("word " * 100, finish_reason="length")).endswith(
        "word...', gpt-4o, 1,200 tokens in, 43 out, 1.2 s, length)"
    )


def test_a_structured_response_prints_its_fields():
    schema = {"type": "object", "properties": {"width": {"type": "integer"}, "note": {"type": ["string", "null"]}}}
    response = vn.connect("demo").complete("Size?", [vn.samples.path("chart")], schema=schema)
    assert re.match(r"width  1000\nnote   .*\n\ndemo, ", pretty(response))


def test_no_value_prints_as_a_raw_dataclass(comparison, chat, tmp_path):
    llm, chart = vn.connect("demo"), vn.ImageDocument.of(vn.samples.path("chart"))
    extraction = make_extraction(tmp_path, [[receipt()]])
    sizes = [(1024, 768), (800, 600)]
    values = {
        "response": answer(),
        "usage": USAGE,
        "row": comparison[0],
        "comparison": comparison,
        "summary": comparison.summary(),
        "model scores": comparison.summary().models,
        "grid": comparison.grid,
        "budget": comparison.budget,
        "extraction": extraction,
        "extracted row": extraction[0],
        "plan": vn.compare("gpt-4o", "What?", chart, dry_run=True),
        "planned model": vn.compare("gpt-4o", "What?", chart, dry_run=True).models,
        "estimate": vn.estimate_cost("What?", sizes),
        "estimates": vn.estimate_cost("What?", sizes, models=["gpt-4o", "demo"]),
        "image tokens": vn.image_tokens((1024, 768)),
        "fits": vn.cheapest_fit((1024, 768)),
        "steps": vn.cheapest_fit((1024, 768)).steps,
        "calibration": vn.calibrate(llm),
        "document": chart,
        "documents": vn.load_images(chart, chart),
        "prepared": chart.prepare(),
        "message": chat.history[1],
        "chat": chat,
        "turns": chat.turns,
        "ledger": vn.ledger,
        "entries": vn.ledger.entries,
        "figure": vn.show_tiles(chart),
        "panel": vn.ChatPanel(chat=chat, store=False),
        "model": llm,
    }
    for name, value in values.items():
        for text in (pretty(value), repr(value), str(value), pretty([value])):
            assert not RAW.search(text), (name, text)


def test_tables_print_as_aligned_columns(comparison, chat):
    plan = vn.compare(["gpt-4o", "demo"], "What?", vn.samples.path("chart"), dry_run=True)
    head, *models, total = repr(plan).splitlines()
    assert head.split()[:3] == ["model", "calls", "in"] and total.endswith("Nothing was sent.")
    assert [len(line) for line in models] == [len(head)] * 2, "right-aligned"
    assert "|" not in repr(plan) + str(comparison.summary()) and "correctness" not in str(comparison.summary())
    comparison.set_label(0, correctness=4)
    assert re.search(r"correctness +relevance +labels", str(comparison.summary()))
    shown = pretty(comparison)
    assert shown.startswith("How large is it?\n\nimage") and "a.png  demo" in shown and "photos/" not in shown
    assert "4 rows, 4 answered, 0 failed; free" in shown
    assert not re.search(r"\d s\b", shown), "the layout is the same in every run, as saved notebooks have this text"
    assert repr(comparison) == "Comparison(4 rows, 4 answered, 0 failed)", "one line, for logs"
    assert pretty(comparison[1]).startswith("a.png, other (demo)\nHow large is it?\n\n")
    assert "You: How large is it? [chart.png]\n\ndemo:\nThe image's size" in pretty(chat)
    assert repr(chat) == "Chat(demo, 1 turn)"


def test_an_extraction_prints_a_column_for_each_field(tmp_path):
    shown = pretty(make_extraction(tmp_path, [[receipt()], [None]]))
    assert (
        re.search(r"^image +shop ", shown, re.MULTILINE)
        and "Corner" in shown
        and "2 rows, 1 answered, 1 failed" in shown
    )


def test_the_error_of_an_image_names_it_without_its_folders(tmp_path):
    (tmp_path / "broken.png").write_bytes(encoded(picture())[:40])
    shown = pretty(vn.compare("demo", "How large is it?", [tmp_path / "broken.png"], progress=False))
    assert "broken.png is a damaged" in " ".join(shown.split()) and str(tmp_path) not in shown


def test_a_table_fits_the_terminal_and_keeps_words_whole_if_it_can():
    table = TextTable(
        ("name", "text", "n"), [("short", "several words that need a line each " * 3, "1,000")], numbers_from=2
    )
    lines = table.text(40).splitlines()
    assert max(map(len, lines)) <= 40 and len(lines) > 3
    assert (
        " ".join(line[7:33].strip() for line in lines[1:]).split()
        == ("several words that need a line each " * 3).split()
    )
    wide = TextTable((), [("日本語" * 10, "x" * 50)]).text(30).splitlines()
    assert all(sum(1 + (one > "\u3000") for one in line) <= 30 for line in wide)
    assert "".join(line.split()[-1] for line in wide).count("x") == 50, "nothing is cut off"
    names = TextTable((), [("receipt_01.jpg", "demo:scripted-large", "2026-03-09", "- a word\n- words")]).text(41)
    assert [" ".join(line.split()) for line in names.splitlines()] == [
        "receipt_ demo: 2026-03-09 - a",
        "01.jpg scripted- word",
        "large -",
        "words",
    ], "a long word is broken after its punctuation"
    assert TextTable((), []).text(80) == ""


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "0 USD"),
        ("0.0012", "0.0012 USD"),
        ("0.0029425", "0.00294 USD"),
        ("0.5", "0.50 USD"),
        ("0.9999", "1.00 USD"),
        ("1.234", "1.23 USD"),
        ("999.996", "1,000 USD"),
        ("1204.4", "1,204 USD"),
        ("0.0000000001", "less than 0.000001 USD"),
    ],
)
def test_amounts_have_sensible_digits(amount, shown):
    assert format_usd(Decimal(amount)) == shown
    assert (format_price(Decimal(amount)) == "free") == (amount == "0")


def test_an_estimate_says_whether_the_images_share_a_call():
    sizes = [(1024, 1024)] * 30
    together = vn.estimate_cost("What is this?", sizes, "gpt-4o", max_new_tokens=100)
    apart = vn.estimate_cost("What is this?", sizes, "gpt-4o", max_new_tokens=100, per_image=True)
    assert (together.calls, apart.calls) == (1, 30)
    assert (
        together.alternative.usd
        == apart.usd
        == 30 * vn.estimate_cost("What is this?", sizes[:1], max_new_tokens=100).usd
    )
    assert together.tokens - 30 * 765 == together.text.tokens and apart.tokens - 30 * 765 == 30 * apart.text.tokens
    for shown in (pretty(together), together._repr_markdown_()):
        assert "1 call with 30 images: 0.0" in shown and "As 30 calls, one per image: 0.0" in shown
    assert "30 calls, one per image: 0.0" in pretty(apart) and "30 x 1 to 100" in pretty(apart)
    assert "1 call with 30 images, " in str(together) and "30 to 3,000 out" in str(apart)
    single = vn.estimate_cost("What is this?", sizes[:1])
    assert single.alternative is None and "call" not in pretty(single) + str(single)
    table = pretty(vn.estimate_cost("What is this?", sizes[:4], models=["gpt-4o", "demo", "openai:unknown"]))
    assert "1 call with 4 images  4 calls, one per image" in table
    assert re.search(r"demo .* free +free\n", table) and re.search(r"unknown +price unknown +price unknown", table)


def test_a_ledger_prints_its_table_with_free_and_unknown_prices():
    ledger = Ledger()
    assert pretty(ledger) == "0 calls, 0 USD" and ledger._repr_html_() == "<div>0 calls, 0 USD</div>"
    for model, price in (("demo", Decimal(0)), ("gpt-4o", Decimal("0.0012")), ("new", None)):
        ledger.record(Entry(model, USAGE, False, 1200, partial(_given, price), 1.0))
    *rows, total = pretty(ledger).splitlines()
    assert [row.split()[-2:] for row in rows[1:]] == [["43", "free"], ["0.0012", "USD"], ["price", "unknown"]]
    assert total == str(ledger) == "3 calls, 0.0012 USD and 1 call of unknown price"


def test_images_print_as_file_names(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(encoded(picture()))
    (tmp_path / "notes.txt").write_text("not an image")
    with pytest.warns(UserWarning, match="Skipped"):
        shown = pretty(vn.load_images(tmp_path))
    assert re.fullmatch(
        r"2 images\n\S+/a\.png +\d+ x \d+\n\S+/b\.png +\d+ x \d+\nskipped notes\.txt: it is text", shown
    )
    assert "example.org" in pretty(vn.load_images("https://example.org/c.png")), "nothing is downloaded"


def test_rich_draws_tables_and_answers(comparison):
    shown = rich_text(answer("# Title\n\nIt is **red**."))
    assert "**" not in shown and "Title" in shown and "1,200 tokens in" in shown
    assert "a.png" in rich_text(comparison) and "2 calls" in rich_text(
        vn.compare("gpt-4o", ["a", "b"], vn.samples.path("chart"), dry_run=True)
    )


def test_untrusted_text_controls_neither_a_terminal_nor_rich(tmp_path):
    extraction = make_extraction(tmp_path, [[receipt(shop=HOSTILE, note=HOSTILE)]])
    message = vn.ChatMessage("user", HOSTILE)
    values = [
        answer(HOSTILE, model=HOSTILE),
        extraction,
        extraction[0],
        message,
        vn.load_images(vn.ImageDocument(image=picture(), image_name=HOSTILE)),
        Turn(message, vn.ChatResponse(HOSTILE, model=HOSTILE)),
    ]
    for value in values:
        for text in (pretty(value), repr(value), pretty([value])):
            assert "\x1b" not in text and "\x07" not in text, value
        shown = re.sub(r"\x1b\[[\d;]*m", "", rich_text(value))
        assert "\x1b" not in shown, "no link and no command"
        assert "[red]" in shown.replace("\n", ""), "markup is text"


def test_rich_is_not_needed_and_not_loaded():
    code = (
        "import sys; sys.modules['rich'] = None\n"
        "import vision_nb as vn\n"
        "print(vn.Usage(1, 2), repr(vn.compare('gpt-4o', 'What?', vn.samples.path('chart'), dry_run=True)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "1 tokens in, 2 out" in shown and "Nothing was sent." in shown


def test_a_response_that_was_displayed_prints_only_its_tokens_time_and_price(monkeypatch):
    response = answer()
    monkeypatch.setattr(type(response), "is_displayed", property(lambda self: True))
    assert pretty(response).startswith("gpt-4o, 1,200 tokens in") and "red" not in pretty(response)
    assert dataclasses.replace(response).text == "It is **red**."
