"""OpenAI's Responses API through the true client: what is sent, what comes back, and when it is chosen."""

import json
from typing import Any

import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.forms import EIGHT_FORMS, FORMS, ask, ask_all
from vision_nb import errors
from vision_nb.cost.ledger import ledger
from vision_nb.demo import Fault
from vision_nb.store import Store

STREAMS = FORMS[2:]


def make(server, model="gpt-4o", **options):
    return vn.OpenAIMultiModal(model, "k", server.openai_base, **{"api": "responses", "max_retries": 0, **options})


def paths(server):
    return [request.path.rpartition("/")[2] for request in server.requests]


@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_all_eight_methods_send_input_items_and_store_nothing(server, form):
    server.answer_with("Two cats.")
    response = await ask(make(server), form, "Which?", [picture()])
    assert (response.text, response.finish_reason, response.model) == ("Two cats.", "stop", "gpt-4o")
    assert response.usage.input_tokens > 255 and response.cost == ledger.total > 0
    body = dict(server.requests[-1].body)
    body.pop("stream", None)
    (message,) = body.pop("input")
    assert body == {"model": "gpt-4o", "store": False} and message["role"] == "user"
    text, image = message["content"]
    assert text == {"type": "input_text", "text": "Which?"}
    assert set(image) == {"type", "image_url"} and image["image_url"].startswith("data:image/")


def test_a_conversation_sends_system_messages_and_earlier_answers(server):
    server.answer_with("Two.")
    chat = vn.Chat(make(server), system="Be brief.")
    chat.ask("How many?", [picture()])
    chat.ask("And now?")
    items = server.requests[-1].body["input"]
    assert [item["role"] for item in items] == ["system", "user", "assistant", "user"]
    assert (items[0]["content"], items[2]["content"], items[3]["content"]) == ("Be brief.", "Two.", "And now?")


def test_parameters_get_the_names_of_the_responses_api(server):
    make(server, "gpt-5.4", max_new_tokens=50, image_detail="low").complete(
        "Which?", picture(), reasoning_effort="low", verbosity="high", service_tier="flex", store=True, n=1
    )
    body = server.requests[-1].body
    assert body["input"][0]["content"][1]["detail"] == "low"
    assert (body["max_output_tokens"], body["service_tier"], body["store"]) == (50, "flex", True)
    assert (body["reasoning"], body["text"]) == ({"effort": "low"}, {"verbosity": "high"})
    assert "n" not in body
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        make(server, max_new_tokens=50).complete("Which?", **{name: 60})
        assert server.requests[-1].body["max_output_tokens"] == 60


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"stop": ["."]}, "does not have stop=.*api=\"chat\""), ({"n": 2}, "does not have n="),
        ({"seed": 7}, "does not have seed="), ({"logprobs": True}, "does not have logprobs="),
        ({"input": "x"}, "input="), ({"previous_response_id": "resp_1"}, "previous_response_id="),
        ({"extra_body": {"conversation": "c"}}, "conversation="), ({"background": True}, "background="),
    ],
)  # fmt: skip
async def test_a_parameter_that_the_api_does_not_have_is_refused_before_sending(server, form, settings, words):
    with pytest.raises(errors.SettingsError, match=words):
        await ask(make(server), form, **settings)
    assert not server.requests


def test_the_chat_api_is_used_unless_only_the_responses_api_can_do_what_is_asked(server):
    def used(model, api=None, image=None, **settings):
        make(server, model, api=api).complete("Which?", image or picture(), **settings)
        return paths(server)[-1]

    assert used("gpt-5.4") == used("gpt-5.4", image_detail="high") == "completions"
    assert used("gpt-5.4", image_detail="original") == "responses"
    assert used("gpt-5.4", image=vn.ImageDocument.of(picture(), detail="original")) == "responses"
    assert used("gpt-5.4", reasoning={"summary": "auto"}) == "responses"
    assert used("gpt-5.4", "chat", image_detail="original") == "completions"
    assert used("gpt-5.4", "responses") == "responses"


async def test_azure_has_the_api_at_its_v1_endpoint_only(server):
    options: dict[str, Any] = {"engine": "eyes", "model": "gpt-4o", "api_key": "k", "api": "responses"}
    with pytest.raises(errors.SettingsError, match="/openai/v1/"):
        vn.AzureOpenAIMultiModal(azure_endpoint=server.url, api_version="2024-10-21", **options)
    llm = vn.AzureOpenAIMultiModal(azure_endpoint=f"{server.url}/openai/v1/", **options)
    for form in EIGHT_FORMS:
        assert (await ask(llm, form, "Which?", [picture()])).text
    old = vn.AzureOpenAIMultiModal("eyes", "gpt-5.4", server.url, "2024-10-21", "k")
    with pytest.raises(errors.SettingsError, match="/openai/v1/"):
        old.complete("Which?", reasoning={"summary": "auto"})


def test_other_services_refuse_the_api_before_sending(server):
    for make_model in (
        lambda: vn.connect("anthropic:claude-sonnet-5", api_key="k", api_base=server.openai_base, api="responses"),
        lambda: vn.LocalMultiModal("llava", server.openai_base, api="responses"),
        lambda: make(server, api="completions"),
    ):
        with pytest.raises(errors.SettingsError, match=r"Responses API|\"chat\" or \"responses\""):
            make_model()
    assert not server.requests


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("reason", "words"), [("length", "cut off at the length"), ("content_filter", "filter")])
async def test_an_incomplete_response_has_the_remark_of_its_reason(server, form, reason, words):
    server.fail(Fault(text="Two", finish_reason=reason))
    response = await ask(make(server), form)
    assert (response.text, response.finish_reason) == ("Two", reason) and words in response.remark


@pytest.mark.parametrize("form", FORMS)
async def test_a_limit_that_the_reasoning_used_up_is_reported(server, form):
    server.fail(Fault(message={"reasoning_content": "Let me see.", "content": ""}, finish_reason="length"))
    response = await ask(make(server, "gpt-5.4"), form)
    assert response.text == "" and "reasoning used the whole" in response.remark


@pytest.mark.parametrize("form", FORMS)
async def test_a_refusal_is_the_text_and_marked(server, form):
    server.fail(Fault(message={"refusal": "I cannot help with faces."}))
    response = await ask(make(server), form)
    assert (response.text, response.is_refusal) == ("I cannot help with faces.", True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("server_error", errors.ServerError), ("rate_limit_exceeded", errors.RateLimitError),
        ("invalid_image", errors.RequestRejectedError), ("image_content_policy_violation", errors.ContentFilterError),
        ("image_file_not_found", errors.UploadNotFoundError),
    ],
)  # fmt: skip
async def test_a_failed_response_raises_the_error_of_its_code_in_the_servers_words(server, form, code, kind):
    server.fail(Fault(answer={"status": "failed", "error": {"code": code, "message": "GPU lost"}}))
    with pytest.raises(kind, match="GPU lost") as caught:
        await ask(make(server), form)
    assert type(caught.value) is kind
    if form in STREAMS:
        assert caught.value.partial_text and [entry.is_estimate for entry in ledger.entries] == [True]


@pytest.mark.parametrize("form", STREAMS)
async def test_an_error_event_ends_the_stream_with_the_text_so_far(server, form):
    delta = {"type": "response.output_text.delta", "delta": "Two cats", "item_id": "m", "output_index": 0}
    error = {"type": "error", "code": "server_error", "message": "GPU lost", "param": None, "sequence_number": 3}
    server.fail(Fault(events=[delta, error]))
    with pytest.raises(errors.ServerError, match="GPU lost") as caught:
        await ask(make(server), form)
    assert caught.value.partial_text == "Two cats" and [entry.is_estimate for entry in ledger.entries] == [True]


@pytest.mark.parametrize("ending", [[], ["data: [DONE]\n\n"]], ids=["clean end", "end marker"])
@pytest.mark.parametrize("form", STREAMS)
async def test_a_stream_without_its_last_event_is_unfinished_and_not_stored(server, tmp_path, form, ending):
    delta = {"type": "response.output_text.delta", "delta": "Two cats", "item_id": "m", "output_index": 0}
    server.fail(Fault(events=[delta, *ending]))
    with pytest.raises(errors.IncompleteResponseError) as caught:
        await ask(make(server), form)
    assert caught.value.partial_text == "Two cats" and [entry.is_estimate for entry in ledger.entries] == [True]
    server.fail(Fault(cut_after=-1, end="clean"))
    with pytest.raises(errors.IncompleteResponseError):
        await ask(make(server), form)


@pytest.mark.parametrize("response", [{"output": []}, {"output": [], "incomplete_details": None}, None])
@pytest.mark.parametrize("form", STREAMS)
async def test_the_event_of_an_incomplete_response_needs_no_status(server, form, response):
    delta = {"type": "response.output_text.delta", "delta": "Two cats", "item_id": "m", "output_index": 0}
    server.fail(Fault(events=[delta, {"type": "response.incomplete", "response": response}]))
    with pytest.raises(errors.IncompleteResponseError) as caught:
        await ask(make(server), form)
    assert caught.value.partial_text == "Two cats"


@pytest.mark.parametrize("status", ["in_progress", "queued"])
@pytest.mark.parametrize("form", FORMS)
async def test_a_response_that_is_still_in_progress_is_unfinished(server, form, status):
    server.answer_with("Two cats")
    body = make(server).complete("Which?").raw.model_dump()
    server.fail(Fault(body={**body, "status": status}))
    if form in STREAMS:
        with pytest.raises(errors.IncompleteResponseError) as caught:
            await ask(make(server), form)
        assert caught.value.partial_text == "Two cats"
    else:
        response = await ask(make(server), form)
        assert response.text == "Two cats" and "cut off before it was finished" in response.remark


@pytest.mark.parametrize("form", FORMS)
async def test_reasoning_summaries_are_kept_apart_from_the_answer(server, form):
    server.answer_with("Three.")
    server.fail(Fault(message={"reasoning_content": ("I look.", "I count.")}))
    responses = await ask_all(make(server, "gpt-5.4"), form, reasoning={"effort": "low", "summary": "auto"})
    assert (responses[-1].text, responses[-1].reasoning) == ("Three.", "I look.\n\nI count.")
    assert "".join(one.reasoning_delta for one in responses) == responses[-1].reasoning
    assert "<details><summary>" in responses[-1]._repr_markdown_()
    asked = await ask(make(server, "gpt-5.4", api=None), form, reasoning={"summary": "auto"})
    assert asked.reasoning and asked.text == "Three."


def test_cached_tokens_and_the_service_tier_are_read(server):
    usage = {"input_tokens": 2000, "input_tokens_details": {"cached_tokens": 1500}, "output_tokens": 10}
    server.fail(Fault(answer={"usage": usage, "service_tier": "priority"}))
    response = make(server).complete("Which?")
    assert response.usage == vn.Usage(2000, 10, 1500) and response.service_tier == "priority"


@pytest.mark.parametrize(
    "usage",
    ["many", {"input_tokens": "12", "output_tokens": 3}, {"input_tokens": -5, "output_tokens": [], "x": None}],
)
def test_malformed_usage_does_not_lose_the_answer(server, usage):
    server.fail(Fault(text="Blue.", answer={"usage": usage}))
    assert make(server).complete("Which?").text == "Blue."


@pytest.mark.parametrize("output", [7, "words", [], None, [7], [{"type": "message", "content": "x"}]])
def test_a_response_without_readable_output_is_malformed_or_empty(server, output):
    server.fail(Fault(answer={"output": output}))
    try:
        assert make(server).complete("Which?").remark == "The answer is empty: ask again."
    except errors.MalformedResponseError as error:
        assert "no output" in str(error)


def test_a_budget_refuses_a_response_before_sending(server, monkeypatch):
    monkeypatch.setattr(vn.ledger, "budget", 0.000001)
    with pytest.raises(errors.BudgetExceededError):
        make(server, max_new_tokens=10_000).complete("Which?", picture())
    assert not server.requests


def test_the_store_tells_the_apis_apart_only_if_one_was_chosen(server, tmp_path):
    path = tmp_path / "answers.sqlite3"
    for api in (None, "responses", "chat", None, "responses"):
        vn.compare(make(server, api=api), "Which?", picture(), store=path, progress=False)
    assert paths(server) == ["completions", "responses", "completions"]
    with Store(path) as store:
        assert store.count() == 3


def test_connect_and_a_comparison_take_the_api(server, tmp_path):
    llm = vn.connect("gpt-4o", api_key="k", api_base=server.openai_base, api="responses")
    (row,) = vn.compare(llm, "Which?", picture(), store=tmp_path / "a.sqlite3", progress=False)
    assert row.finished and paths(server) == ["responses"]


def test_a_schema_that_is_refused_goes_into_the_prompt(server):
    server.answer_with(json.dumps({"count": 2}))
    refusal = "Invalid parameter: 'text.format' of type 'json_schema' is not supported with this model."
    server.fail(Fault(status=400, body={"error": {"message": refusal, "param": "text.format"}}))
    schema = {"title": "Cats", "type": "object", "properties": {"count": {"type": "integer"}}}
    assert make(server).complete("How many?", schema=schema).parsed == {"count": 2}
    assert ["text" in request.body for request in server.requests] == [True, False]


def test_the_token_counter_counts_what_would_be_sent(server):
    llm = make(server)
    assert llm.count_input_tokens("Which?", picture()) == llm.complete("Which?", picture()).usage.input_tokens
    assert paths(server) == ["input_tokens", "responses"]


@pytest.mark.parametrize("body", [{}, {"input_tokens": None}, {"input_tokens": "x"}, {"input_tokens": -1}, [1]])
def test_an_unreadable_token_count_is_a_malformed_response(server, body):
    server.fail(Fault(body=body))
    with pytest.raises(errors.MalformedResponseError, match="no token count"):
        make(server).count_input_tokens("Which?")


@pytest.mark.parametrize("form", STREAMS)
async def test_an_answer_that_was_not_streamed_is_read_as_a_whole(server, form):
    server.answer_with("Two cats.")
    body = make(server).complete("Which?").raw.model_dump()
    server.fail(Fault(body=body))
    response = await ask(make(server), form)
    assert (response.text, response.finish_reason) == ("Two cats.", "stop") and response.usage.output_tokens
