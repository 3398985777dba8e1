"""The demo's badge, the label of the models that it plays, and its prices: wherever its answers are shown."""

import json
from html import unescape

import pytest

import vision_nb as vn
from tests.forms import EIGHT_FORMS, FORMS, ask
from vision_nb.demo.faults import Fault
from vision_nb.magics.compare import Answer, Answers
from vision_nb.magics.output import OUTPUT_FORMATS, AnswerView
from vision_nb.notebook.display import StreamingDisplay
from vision_nb.rendering.demo_badge import BADGE, BADGE_HTML
from vision_nb.store import Store
from vision_nb.widgets.view_model import TranscriptViewModel

CHART = vn.samples.path("chart")


def models(server):
    """A model of each provider and API, at the demo server."""
    return [
        vn.OpenAIMultiModal("gpt-4o", "key", server.openai_base),
        vn.AzureOpenAIMultiModal("gpt-4o", azure_endpoint=server.url, api_key="key", api_version="2024-10-21"),
        vn.ReplicateMultiModal("llava-13b", api_token="r8_key", api_base=server.replicate_base),
        vn.LocalMultiModal("gpt-4o", api_base=server.openai_base),
        vn.OpenAIMultiModal("gpt-4o", "key", server.openai_base, api="responses"),
    ]


@pytest.mark.parametrize("form", EIGHT_FORMS)
@pytest.mark.parametrize("number", range(5))
async def test_every_method_of_every_provider_says_that_the_demo_answered(server, number, form):
    llm = models(server)[number]
    response = await ask(llm, form, "How large is it?", [CHART])
    assert response.is_demo and response.shown_model.endswith(" (demo)")
    assert llm.is_demo and llm.label == f"{llm} (demo)"
    assert BADGE not in response.text


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_stream_that_is_closed_early_says_that_the_demo_answered(server, api):
    stream = vn.OpenAIMultiModal("gpt-4o", "key", server.openai_base, api=api).stream_complete("Colors?", [CHART])
    assert next(part for part in stream if part.text).is_demo
    stream.close()
    assert stream.response.is_demo


@pytest.mark.parametrize("number", [0, 4])
@pytest.mark.parametrize("form", FORMS)
async def test_a_script_that_plays_another_model_is_not_shown_as_the_demo(server, form, number):
    server.answer_with("A cat.")
    llm = models(server)[number]
    response = await ask(llm, form, "What is it?", [CHART])
    assert not response.is_demo and BADGE_HTML not in response._repr_markdown_()
    assert llm.label == str(llm) and response.shown_model == "gpt-4o"


def test_a_response_has_the_badge_once_at_its_foot(server):
    response = models(server)[0].complete("How large is it?", [CHART])
    markdown = response._repr_markdown_()
    assert markdown.count(BADGE_HTML) == 1 and markdown.index(BADGE_HTML) > markdown.index("drawing")
    bundle = StreamingDisplay().bundle(response, finished=True)
    assert bundle["text/markdown"].count(BADGE_HTML) == 1
    assert bundle["text/plain"].endswith(f"\n\n({BADGE})")


@pytest.mark.parametrize("name", OUTPUT_FORMATS)
def test_a_cell_has_the_badge_once_below_its_answer_in_each_format(server, name):
    response = models(server)[0].complete("How large is it?", [CHART])
    view = AnswerView(OUTPUT_FORMATS[name], with_cost=True)
    for text in view.bundle(response, finished=True).values():
        assert text.count(BADGE) == 1
    assert "Would cost: would" not in str(view.notes(response)) and "Would cost: 0." in str(view.notes(response))


def test_the_badge_is_the_last_line_in_a_terminal(server, capsys):
    vn.display_stream(models(server)[0].stream_complete("How large is it?", [CHART]))
    assert capsys.readouterr().out.endswith(f".\n(Image: chart.png)\n({BADGE})\n")


def test_a_stored_answer_keeps_the_badge(server, tmp_path):
    with Store(tmp_path / "store.sqlite3") as store:
        store.put("key", "gpt-4o", models(server)[0].complete("How large is it?", [CHART]))
        assert store.get("key").is_demo


def test_a_gallery_has_the_badge_once_and_labels_the_models(server, tmp_path):
    options = {"store": tmp_path / "store.sqlite3", "progress": False}
    llms = [vn.OpenAIMultiModal(name, "key", server.openai_base) for name in ("gpt-4o", "gpt-4o-mini")]
    plan = vn.compare(llms, ["How large?", "Colors?"], [CHART], dry_run=True, **options)
    assert "| openai:gpt-4o (demo) |" in plan._repr_markdown_() and "would cost 0." in str(plan)
    for _ in range(2):  # the second time from the store
        html = vn.compare(llms, ["How large?", "Colors?"], [CHART], **options)._repr_html_()
        assert html.count(BADGE_HTML) == 1 and html.endswith(BADGE_HTML)
        assert html.replace("<wbr>", "").count("openai:gpt-4o (demo)</th>") == 1
        assert html.count("would cost 0.") == 4


def test_answers_of_several_models_to_a_cell_have_the_badge_once(server):
    response = models(server)[0].complete("How large is it?", [CHART])
    answers = Answers([Answer("openai:gpt-4o", "openai:gpt-4o (demo)", response)] * 2)
    for shown in (answers._repr_html_().replace("<wbr>", ""), repr(answers)):
        assert shown.count(BADGE) == 1 and shown.count("openai:gpt-4o (demo)") == shown.count("would cost 0.") == 2


def test_an_extraction_has_the_badge_once_and_says_what_it_would_cost(server, tmp_path):
    llms = [vn.OpenAIMultiModal(name, "key", server.openai_base) for name in ("gpt-4o", "gpt-4o-mini")]
    schema = {"type": "object", "properties": {"width": {"type": "integer"}}, "required": ["width"]}
    table = vn.extract([CHART], schema, model=llms, store=tmp_path / "store.sqlite3", progress=False)
    html = table._repr_html_().replace("<wbr>", "")
    assert html.count(BADGE_HTML) == 1 and "openai:gpt-4o-mini (demo)" in html
    assert "0 repaired; would cost 0." in html


def test_an_export_has_the_badge_once_in_each_format(server, tmp_path):
    chat = vn.Chat(models(server)[0])
    chat.ask("How large is it?", [CHART])
    chat.ask("How bright is it?")
    for suffix in ("md", "html", "ipynb"):
        text = chat.export(tmp_path / f"talk.{suffix}").read_text(encoding="utf-8")
        assert text.count(BADGE) == 1
        assert "gpt-4o (demo)" in unescape(text) and "would cost 0." in unescape(text)
    again = vn.Chat.load(chat.export(tmp_path / "talk.json"), models(server)[0])
    assert [turn.answer.is_demo for turn in again.turns] == [True, True]


@pytest.mark.parametrize("claimed", ["true", 1, None])
def test_only_true_in_a_saved_conversation_makes_an_answer_the_demos(server, tmp_path, claimed):
    server.answer_with("A cat.")
    chat = vn.Chat(models(server)[0])
    chat.ask("What is it?", [CHART])
    path = chat.export(tmp_path / "talk.json")
    saved = json.loads(path.read_text(encoding="utf-8"))
    saved["turns"][0]["answer"]["is_demo"] = claimed
    path.write_text(json.dumps(saved), encoding="utf-8")
    assert not vn.Chat.load(path, models(server)[0]).turns[0].answer.is_demo


def test_a_panel_has_the_badge_once_and_labels_its_models(server):
    panel = vn.ChatPanel([vn.OpenAIMultiModal(name, "key", server.openai_base) for name in ("gpt-4o", "gpt-4o-mini")])
    view = panel._view
    assert panel._composer.models[:2] == ["openai:gpt-4o (demo)", "openai:gpt-4o-mini (demo)"]
    assert view.status["badge"] == ""
    panel.chat.ask("How large is it?", [CHART])
    panel.chat.ask("How bright is it?")
    panel._redraw_timer.now()
    assert view.status["badge"] == BADGE and "would cost 0." in view.status["totals"]
    shown = TranscriptViewModel(panel._thumbnails).views(panel.chat, None)
    assert [(one["model"], BADGE in str(one), "would cost 0." in one["details"]) for one in shown] == [
        ("gpt-4o (demo)", False, True)
    ] * 2
    panel.close()


def test_the_ledger_keeps_the_demos_calls_apart(server, ledger):
    llm = models(server)[0]
    llm.complete("How large is it?", [CHART])
    assert str(ledger).startswith("1 call, would cost 0.")
    server.answer_with("A cat.")
    llm.complete("How large is it?", [CHART])
    assert list(ledger.by_model()) == ["openai:gpt-4o (demo)", "openai:gpt-4o"]
    assert ", of which the demo's answers would cost 0." in str(ledger)
    assert ledger._repr_html_().count(">would cost 0.") == 1


@pytest.mark.parametrize("id", ["chatcmpl-1_vision_nb_demo", "<b>my badge</b>_vision_nb_demo"])
def test_a_server_that_claims_to_be_the_demo_gets_only_the_fixed_badge(server, id):
    server.answer_with("A cat. <small><kbd>demo: pay here</kbd></small> `demo: measures pixels, no language model`")
    server.fail(Fault(answer={"id": id, "model": "real-model"}))
    response = models(server)[0].complete("What is it?", [CHART])
    markdown = response._repr_markdown_()
    assert response.is_demo and response.shown_model == "real-model (demo)"
    assert markdown.count("<kbd>") == 1 and "my badge" not in markdown and BADGE_HTML in markdown


def test_a_server_on_another_machine_cannot_claim_to_be_the_demo(server, monkeypatch):
    llm = models(server)[0]
    monkeypatch.setattr("vision_nb.providers.base.is_on_this_machine", lambda address: False)
    assert not llm.complete("What is it?", [CHART]).is_demo


def test_the_demos_own_models_are_labeled_before_its_server_starts(monkeypatch):
    monkeypatch.setattr("vision_nb.demo.shared_server", None)
    assert [vn.connect(name).label for name in ("demo", "demo:second")] == ["demo", "second (demo)"]
