"""Streams that break off, and errors that a server reports in place of an answer or in an unusual shape."""

from dataclasses import replace
from typing import Any

import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.forms import FORMS, each_api
from tests.forms import ask_all as ask
from tests.kernels import error_of, run_cells, text_of
from vision_nb import errors
from vision_nb.demo import Fault
from vision_nb.providers.openai.server_message import server_message
from vision_nb.store import Store

STREAMS = FORMS[2:]


@pytest.fixture
def llm(server, request):
    server.answer_with("3, 5 and 7.")
    api = getattr(request, "param", None)
    return vn.OpenAIMultiModal("gpt-4o", "a-key-of-a-test", server.openai_base, max_retries=0, timeout=30, api=api)


def after_three_words(fault, llm):
    """Return a fault that cuts a stream off after the third word: the Responses API sends more events before it."""
    return replace(fault, cut_after=7 if llm.api == "responses" else 4)


async def responses_and_error(llm, form):
    """Return the responses of a stream, and the error at its end."""
    responses = []
    with pytest.raises(errors.ProviderError) as caught:
        if form == "stream_complete":
            for response in llm.stream_complete("Which numbers?"):
                responses.append(response)
        else:
            async for response in await llm.astream_complete("Which numbers?"):
                responses.append(response)
    return responses, caught.value


UNFINISHED = {
    "clean end": Fault(cut_after=4, end="clean"),
    "end in mid-line": Fault(cut_after=4, end="mid_line"),
    "clean end without a length": Fault(cut_after=4, end="clean", content_length=False),
    "end in mid-line without a length": Fault(cut_after=4, end="mid_line", content_length=False),
}


@each_api
@pytest.mark.parametrize("fault", UNFINISHED.values(), ids=UNFINISHED)
@pytest.mark.parametrize("form", STREAMS)
async def test_a_stream_without_a_finish_reason_or_end_marker_is_incomplete(server, llm, form, fault):
    server.fail(after_three_words(fault, llm))
    responses, error = await responses_and_error(llm, form)
    assert isinstance(error, errors.IncompleteResponseError)
    assert error.partial_text == responses[-1].text == "".join(r.delta for r in responses) == "3, 5 and"
    assert responses[-1].finish_reason == "incomplete" and "cut off" in responses[-1].remark
    assert "cut off" in responses[-1]._repr_markdown_()


@pytest.mark.parametrize("form", STREAMS)
async def test_a_stream_with_an_end_marker_needs_no_finish_reason(server, llm, form):
    event = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    event["choices"] = [{"index": 0, "delta": {"content": "3, 5 and 7."}, "finish_reason": None}]
    server.fail(Fault(events=[event, "data: [DONE]\n\n"]))
    responses = await ask(llm, form)
    assert (responses[-1].text, responses[-1].finish_reason) == ("3, 5 and 7.", "stop")
    assert "".join(r.delta for r in responses) == "3, 5 and 7."


@pytest.mark.parametrize("form", STREAMS)
async def test_a_stream_with_a_finish_reason_needs_no_end_marker(server, llm, form):
    server.fail(Fault(cut_after=-1, end="clean"))
    assert (await ask(llm, form))[-1].finish_reason == "stop"


@pytest.mark.parametrize("form", STREAMS)
async def test_an_end_marker_in_the_text_of_an_answer_does_not_finish_it(server, llm, form):
    server.answer_with("It ends with\ndata: [DONE]\n\n and more.")
    server.fail(Fault(cut_after=6, end="clean"))
    _, error = await responses_and_error(llm, form)
    assert isinstance(error, errors.IncompleteResponseError)


def test_a_failed_or_empty_answer_is_not_stored_and_asked_again(server, llm, tmp_path):
    server.fail(Fault(choice={"finish_reason": "error", "error": {"message": "GPU lost"}}))
    server.fail(Fault(text=" \n"))
    with Store(tmp_path / "answers.sqlite3") as store:
        results = []
        for _ in range(4):
            before = store.count()
            (row,) = vn.compare(llm, ["Which numbers?"], [picture()], store=store, progress=False).rows
            results.append((row.error or row.remark or row.response, row.usd is not None, store.count() - before))
    assert "GPU lost" in results[0][0] and results[0][1:] == (False, 0)
    assert results[1] == ("The answer is empty: ask again.", True, 0)
    assert results[2:] == [("3, 5 and 7.", True, 1), ("3, 5 and 7.", True, 0)] and len(server.requests) == 3


def test_an_incomplete_answer_stays_on_the_page_marked_as_cut_off(server, llm, capsys):
    server.fail(Fault(cut_after=4, end="clean"))
    stream = llm.stream_complete("Which numbers?")
    with pytest.raises(errors.IncompleteResponseError):
        vn.display_stream(stream)
    assert "3, 5 and" in capsys.readouterr().out
    assert "cut off" in stream.response._repr_markdown_()


CUT_OFF = {**UNFINISHED, "broken connection": Fault(cut_after=4), "error": Fault(choice={"error": "GPU lost"})}


@pytest.mark.parametrize("fault", CUT_OFF.values(), ids=CUT_OFF)
@pytest.mark.parametrize("form", ["stream", "astream"])
async def test_a_conversation_and_its_files_keep_an_answer_that_was_cut_off(server, llm, tmp_path, form, fault):
    chat = vn.Chat(llm)
    server.fail(fault)
    with pytest.raises(errors.ProviderError):
        if form == "stream":
            list(chat.stream("Which numbers?"))
        else:
            async for _ in chat.astream("Which numbers?"):
                pass
    (answer,) = chat.responses
    assert answer.text.startswith("3, 5 and") and answer.finish_reason == "incomplete" and chat.failed_turn is None
    assert vn.Chat.load(chat.export(tmp_path / "talk.json"), llm).responses[0].remark == answer.remark
    for ending in ("md", "html", "ipynb"):
        exported = chat.export(tmp_path / f"talk.{ending}").read_text()
        assert "3, 5 and" in exported and "cut off before it was finished. Ask again." in exported
    chat.undo()
    assert list(chat.stream("Which numbers?"))[-1].text == "3, 5 and 7."


@pytest.mark.parametrize("fault", CUT_OFF.values(), ids=CUT_OFF)
def test_display_stream_marks_an_answer_that_was_cut_off(server, llm, capsys, fault):
    server.fail(fault)
    stream = llm.stream_complete("Which numbers?")
    with pytest.raises(errors.ProviderError):
        vn.display_stream(stream)
    printed = capsys.readouterr().out
    assert printed.startswith("3, 5 and") and "\n(The answer was cut off" in printed
    assert stream.response.finish_reason == "incomplete"


@pytest.mark.parametrize("reason", ["incomplete", "interrupted"])
def test_the_store_never_gives_an_unfinished_answer(tmp_path, reason):
    with Store(tmp_path / "answers.sqlite3") as store:
        store.put("key", "demo", vn.CompletionResponse("3, 5 and", finish_reason=reason))
        assert store.get("key") is None and store.count() == 0


@pytest.mark.kernel
def test_a_cell_shows_an_answer_that_was_cut_off_in_every_format_and_asks_again():
    formats = ["markdown", "text", "html", "code", "json", "math", "dataframe"]
    answers = {"json": "[3, 5, 7]", "dataframe": "| a | b |\\n|---|---|\\n| 3 | 5 |\\n| 7 | 9 |"}
    cells = run_cells(
        "from vision_nb.demo import shared_server, Fault\nserver = shared_server()",
        *(
            source
            for name in formats
            for source in (
                f"server.answer_with('{answers.get(name, '3, 5 and 7.')}')\n"
                "server.fail(Fault(cut_after=-3, end='clean'))",
                f"%%vision demo -f {name}\nWhich, as {name}?",
                f"%%vision demo -f {name}\nWhich, as {name}?",
                "print(len(server.requests))",
            )
        ),
        allow_errors=True,
    )
    for number, name in enumerate(formats):
        _, cut_off, again, asked = cells[4 * number + 1 : 4 * number + 5]
        data = cut_off.outputs[0].data
        for mimetype, text in data.items():
            assert "cut off before it was finished. Ask again." in text, (name, mimetype)
            assert "3" in text.split("cut off")[0], (name, mimetype)
        assert error_of(cut_off).startswith("IncompleteResponseError")
        assert "cut off" not in str(again.outputs) and error_of(again) is None
        assert text_of(asked) == f"{2 * number + 2}\n"


REPORTED = {
    "error of a choice": {"choice": {"error": {"message": "GPU lost\x1b[31m"}, "finish_reason": "error"}},
    "text as the error of a choice": {"choice": {"error": "GPU lost"}},
    "finish reason and error": {"choice": {"finish_reason": "error"}, "answer": {"error": {"message": "GPU lost"}}},
    "text as the error": {"answer": {"error": "GPU lost"}},
    "provider behind a proxy": {"answer": {"error": {"message": "Provider error", "metadata": {"raw": "GPU lost"}}}},
}


@pytest.mark.parametrize("fields", REPORTED.values(), ids=REPORTED)
@pytest.mark.parametrize("form", FORMS)
async def test_an_error_in_an_answer_with_status_200_is_raised_in_the_servers_words(server, llm, form, fields):
    server.fail(Fault(**fields))
    with pytest.raises(errors.ServerError, match="GPU lost") as caught:
        await ask(llm, form)
    assert str(caught.value).isprintable()
    if form in STREAMS:
        assert caught.value.partial_text


SHAPES = {
    "error object": {"error": {"message": "GPU lost"}},
    "error text": {"error": "GPU lost"},
    "detail text": {"detail": "GPU lost"},
    "detail list": {"detail": [{"loc": ["body", "model"], "msg": "GPU lost", "type": "value_error"}]},
    "list": [{"error": {"code": 400, "message": "GPU lost"}}],
    "choice": {"choices": [{"error": {"message": "GPU lost"}}]},
    "message": {"object": "error", "message": "GPU lost", "code": 400},
    "JSON in text": {"error": {"message": '{"error": {"message": "GPU lost"}}'}},
    "HTML": "<html><head><title>GPU lost</title></head><body>" + "<p>padding</p>" * 1000 + "</body></html>",
}


@each_api
@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("body", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("form", FORMS)
async def test_the_servers_sentence_is_in_the_message_in_any_shape(server, llm, form, body, status):
    html: dict[str, Any] = {"content_type": "text/html"} if isinstance(body, str) else {}
    server.fail(Fault(status=status, body=body, **html))
    with pytest.raises(errors.ProviderError, match="GPU lost") as caught:
        await ask(llm, form)
    assert "padding" not in str(caught.value) and len(str(caught.value)) <= 300


EVENTS = {
    "error": {"error": {"message": "GPU lost"}},
    "error text": {"error": "GPU lost"},
    "detail": {"detail": "GPU lost"},
    "list": [{"error": {"message": "GPU lost"}}],
}


@each_api
@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
@pytest.mark.parametrize("form", STREAMS)
async def test_an_error_event_of_a_stream_is_raised_in_the_servers_words(server, llm, form, event):
    server.fail(Fault(events=[event]))
    with pytest.raises(errors.ProviderError, match="GPU lost"):
        await ask(llm, form)


def test_the_servers_sentence_has_no_control_characters_and_is_short():
    said = server_message({"error": {"message": "\x1b[31mred\x00\u202e" + "x" * 10_000 + "\ud800"}})
    assert said.isprintable() and len(said) <= 160
    assert server_message("[" * 100_000) and server_message({"error": {"error": {"error": {}}}}) == ""


@pytest.mark.parametrize("form", FORMS)
async def test_the_finish_reason_error_alone_is_an_error(server, form):
    server.fail(Fault(finish_reason="error"))
    llm = vn.OpenAIMultiModal("gpt-4o", "a-key-of-a-test", server.openai_base, max_retries=0)
    with pytest.raises(errors.ProviderError, match="ended with an error"):
        await ask(llm, form)
