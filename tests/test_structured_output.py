"""Answers that follow a schema, through the vendors' clients: found, validated, repaired, refused and priced."""

import dataclasses
import datetime as dt
import json
from decimal import Decimal
from typing import Any, Literal

import pydantic
import pytest
import typing_extensions

import vision_nb as vn
from tests.conftest import picture
from tests.forms import EIGHT_FORMS, FORMS, ask, ask_all, each_api
from tests.replicate_calls import created, maker
from vision_nb import errors
from vision_nb.demo import Fault
from vision_nb.providers.retries import without_rate_limit_retries


class Money(pydantic.BaseModel):
    amount: Decimal
    currency: Literal["EUR", "USD"]


class Receipt(pydantic.BaseModel):
    shop: str
    date: dt.date | None
    total: Money
    items: list[str]


DATA = {"shop": "Bäcker", "date": "2026-11-02", "total": {"amount": "4.20", "currency": "EUR"}, "items": ["Brot"]}
VALUE = Receipt(
    shop="Bäcker", date=dt.date(2026, 11, 2), total=Money(amount=Decimal("4.20"), currency="EUR"), items=["Brot"]
)
GOOD = json.dumps(DATA, ensure_ascii=False)
BAD = json.dumps({**DATA, "total": {"amount": "much", "currency": "GBP"}})


@pytest.fixture
def llm(server, request):
    server.answer_with(GOOD)
    api = getattr(request, "param", None)
    return vn.OpenAIMultiModal("gpt-4o", api_key="k", api_base=server.openai_base, max_retries=0, api=api)


def questions(server):
    return [one.body for one in server.requests if one.path.endswith(("/chat/completions", "/responses"))]


def format_of(body):
    """Return the response format of a request to either API, and the schema in it."""
    if "messages" in body:
        return body["response_format"], body["response_format"]["json_schema"]
    return body["text"]["format"], body["text"]["format"]


def sent_texts(body):
    """Return the texts of each message, with "<image>" in place of an image."""
    return [
        [part.get("text", "<image>") for part in message["content"]]
        if isinstance(message["content"], list)
        else [message["content"]]
        for message in body.get("messages") or body["input"]
    ]


@each_api
@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_all_eight_methods_return_the_parsed_value(llm, server, form):
    responses = await ask_all(llm, form, images=[picture()], schema=Receipt)
    assert responses[-1].parsed == VALUE
    assert [response.parsed for response in responses[:-1]] == [None] * (len(responses) - 1)
    assert json.loads(responses[-1].text) == DATA
    assert responses[-1].attempts == 1
    (body,) = questions(server)
    response_format, described = format_of(body)
    assert response_format["type"] == "json_schema"
    assert (described["name"], described["strict"]) == ("Receipt", True)
    assert described["schema"]["required"] == ["shop", "date", "total", "items"]
    assert sent_texts(body) == [["Which numbers?", "<image>"]]


ANSWERS = {
    "fenced": f"```json\n{GOOD}\n```",
    "after a sentence": f"Here is the receipt: {GOOD} I hope this helps!",
    "after reasoning": f"<think>It could be {BAD}.</think>\n{GOOD}",
    "after a draft": f"First I thought {BAD}, but it is:\n{GOOD}",
    "before a draft": f"{GOOD}\nI did not choose {BAD}",
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("form", FORMS)
async def test_json_is_found_wherever_it_is_in_the_answer(llm, server, name, form):
    server.answer_with(ANSWERS[name])
    response = await ask(llm, form, schema=Receipt)
    assert (response.parsed, response.attempts) == (VALUE, 1)


@each_api
@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_an_invalid_answer_is_repaired_once_with_the_images_and_the_errors(llm, server, ledger, form):
    server.fail(Fault(text=BAD))
    responses = await ask_all(llm, form, "Read it.", [picture()], schema=Receipt)
    response = responses[-1]
    assert (response.parsed, response.text, response.attempts) == (VALUE, GOOD, 2)
    first, second = questions(server)
    question, answer, repair = sent_texts(second)
    assert (question, answer) == (["Read it.", "<image>"], [BAD])
    assert 'total.amount: should be a valid decimal, not "much"' in repair[0]
    assert "total.currency: should be 'EUR' or 'USD', not \"GBP\"" in repair[0]
    assert format_of(second) == format_of(first)
    assert second.get("stream") is None
    assert response.usage == sum(entry.usage for entry in ledger.entries)
    assert response.cost == ledger.total > 0
    assert len(ledger.entries) == 2
    if "stream" in form:
        assert (response.delta, responses[-2].text) == ("", BAD)


@pytest.mark.parametrize("form", FORMS)
async def test_an_answer_that_stays_invalid_is_an_error_by_field(llm, server, ledger, form):
    server.answer_with(BAD)
    with pytest.raises(errors.SchemaError) as caught:
        await ask(llm, form, schema=Receipt, max_repairs=2)
    error = caught.value
    assert set(error.errors) == {"total.amount", "total.currency"}
    assert "total.amount should be a valid decimal" in str(error)
    assert (error.text, error.attempts, len(questions(server))) == (BAD, 3, 3)
    assert error.response.usage == sum(entry.usage for entry in ledger.entries)
    assert error.response.cost == ledger.total > 0


async def test_without_repairs_the_first_invalid_answer_is_an_error(llm, server):
    server.answer_with(BAD)
    with pytest.raises(errors.SchemaError):
        llm.complete("Read it.", schema=Receipt, max_repairs=0)
    assert len(questions(server)) == 1


UNUSABLE = {  # the fault, words of the error, requests
    "cut off": (Fault(text=GOOD[:60], finish_reason="length"), "raise max_new_tokens", 1),
    "cut off after a whole object": (Fault(text=GOOD + " or", finish_reason="length"), "raise max_new_tokens", 1),
    "cut off, in another word": (Fault(text=GOOD, finish_reason="model_length"), "raise max_new_tokens", 1),
    "only reasoning": (Fault(text="", message={"reasoning_content": "Hm."}, finish_reason="length"), "reasoning", 1),
    "only reasoning, to its end": (Fault(text="", message={"reasoning_content": "Hm."}), "no answer", 2),
    "filtered": (Fault(text=GOOD[:60], finish_reason="content_filter"), "content filter", 1),
    "refused": (Fault(message={"content": None, "refusal": "I cannot help with faces."}), "cannot help with faces", 1),
    "empty": (Fault(text=" "), "empty", 2),
    "half an object": (Fault(text=GOOD[:-30]), "no complete JSON object", 2),
    "prose": (Fault(text="It is a receipt."), "no complete JSON object", 2),
}


@each_api
@pytest.mark.parametrize("name", UNUSABLE)
@pytest.mark.parametrize("form", FORMS)
async def test_an_answer_without_a_value_says_why(llm, server, name, form):
    if llm.api == "responses" and "another word" in name:
        pytest.skip("a finish reason of other services")
    fault, words, requests = UNUSABLE[name]
    server.fail(fault, times=2)
    with pytest.raises(errors.SchemaError, match=words) as caught:
        await ask(llm, form, schema=Receipt)
    assert len(questions(server)) == requests
    assert caught.value.attempts == requests
    assert caught.value.response.usage is not None


REFUSALS = {
    "OpenAI, an old model": (400, {"error": {"message": "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.", "param": "response_format"}}),
    "Azure, an old version": (400, {"error": {"message": "response_format value as json_schema is enabled only for api versions 2024-08-01-preview and later"}}),
    "vLLM": (400, {"object": "error", "message": "The provided JSON schema contains features not supported by xgrammar.", "type": "BadRequestError", "code": 400}),
    "llama.cpp": (400, {"error": {"code": 400, "message": 'response_format type must be one of "text" or "json_object", but got: json_schema'}}),
    "llama.cpp, a grammar": (500, {"error": {"code": 500, "message": "Failed to parse grammar", "type": "server_error"}}),
    "llama-cpp-python": (422, {"detail": [{"loc": ["body", "response_format", "type"], "msg": "Input should be 'text' or 'json_object'"}]}),
    "LM Studio": (400, {"error": "'response_format.type' must be 'json_schema' or 'text'"}),
    "Groq": (400, {"error": {"message": "This model does not support response format `json_schema`."}}),
    "Gemini": (400, [{"error": {"code": 400, "message": "Invalid JSON payload received. Unknown name \"additionalProperties\" at 'generation_config.response_schema'"}}]),
    "DeepSeek": (400, {"error": {"message": "This response_format type is unavailable now"}}),
    "OpenRouter, inside 200": (200, {"error": {"code": 400, "message": "Provider returned error", "metadata": {"raw": "response_format is not supported"}}}),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("form", FORMS)
async def test_a_refused_schema_goes_into_the_prompt_and_the_model_remembers_it(server, name, form):
    status, body = REFUSALS[name]
    llm = vn.LocalMultiModal("qwen", server.openai_base, max_retries=2)
    server.answer_with(GOOD)
    server.fail(Fault(status=status, body=body))
    response = await ask(llm, form, "Read it.", [picture()], schema=Receipt)
    assert (response.parsed, response.attempts) == (VALUE, 1)
    assert (await ask(llm, form, "Read it.", schema=Receipt)).parsed == VALUE
    refused, second, third = questions(server)
    assert "response_format" in refused
    assert "response_format" not in {**second, **third}
    assert "follows this JSON schema" in sent_texts(second)[-1][0]
    assert '"currency"' in sent_texts(third)[-1][0]


@pytest.mark.parametrize("form", ["stream_complete", "astream_complete"])
async def test_a_schema_that_is_refused_inside_a_stream_goes_into_the_prompt(server, form):
    llm = vn.LocalMultiModal("qwen", server.openai_base)
    server.answer_with(GOOD)
    server.fail(Fault(events=[{"error": {"code": 400, "message": "response_format is not supported"}}]))
    (response,) = await ask_all(llm, form, schema=Receipt)
    assert (response.parsed, response.delta) == (VALUE, GOOD)


async def test_a_refusal_for_another_reason_is_not_repeated(llm, server):
    server.fail(Fault(status=400, body={"error": {"message": "The image is too small."}}))
    with pytest.raises(errors.RequestRejectedError, match="too small"):
        llm.complete("Read it.", schema=Receipt)
    assert len(questions(server)) == 1


async def test_a_server_that_ignores_the_schema_is_asked_in_the_prompt_from_then_on(llm, server):
    server.fail(Fault(text="A receipt of a bakery."))
    assert llm.complete("Read it.", schema=Receipt).parsed == VALUE
    assert llm.complete("Read it.", schema=Receipt).parsed == VALUE
    ignored, repair, next_question = questions(server)
    assert "response_format" in ignored
    assert "response_format" not in {**repair, **next_question}
    assert "follows this JSON schema" in sent_texts(repair)[-1][0]
    assert "follows this JSON schema" in sent_texts(next_question)[-1][0]


@pytest.mark.parametrize(
    "settings", [{"response_format": {"type": "json_object"}}, {"extra_body": {"response_format": {}}}]
)
def test_a_response_format_cannot_be_combined_with_a_schema(llm, server, settings):
    with pytest.raises(errors.SettingsError, match="response_format= cannot be combined with schema="):
        llm.complete("Read it.", schema=Receipt, **settings)
    llm.additional_kwargs.update(settings)
    with pytest.raises(errors.SettingsError, match="response_format= cannot be combined with schema="):
        llm.complete("Read it.", schema=Receipt)
    assert not server.requests


@pytest.mark.parametrize("max_repairs", [-1, 1.5, "1", None, True])
def test_an_impossible_number_of_repairs_is_an_error(llm, max_repairs):
    with pytest.raises(errors.SettingsError, match="max_repairs must be an integer"):
        llm.complete("Read it.", schema=Receipt, max_repairs=max_repairs)


@pytest.mark.parametrize("form", FORMS)
async def test_images_from_a_generator_are_sent_again_with_the_repair(llm, server, form):
    server.fail(Fault(text=BAD))
    await ask(llm, form, images=(one for one in [picture()]), schema=Receipt)
    assert [sum(texts.count("<image>") for texts in sent_texts(body)) for body in questions(server)] == [1, 1]


@pytest.mark.parametrize("form", FORMS)
async def test_a_budget_that_is_too_small_for_the_repair_leaves_the_first_cost_recorded(llm, server, ledger, form):
    server.answer_with(json.dumps({**DATA, "shop": "word " * 700, "date": 3}))
    with pytest.raises(errors.SchemaError):
        await ask(llm, form, schema=Receipt, max_repairs=0, max_new_tokens=1000)
    first = ledger.total
    ledger.reset()
    ledger.budget = vn.estimate_cost("Which numbers?", [], llm, max_new_tokens=1000).usd * Decimal("1.2")
    with pytest.raises(errors.BudgetExceededError) as caught:
        await ask(llm, form, schema=Receipt, max_new_tokens=1000)
    assert caught.value.response.cost == ledger.total == first
    assert len(questions(server)) == 2


def test_the_tokens_of_a_schema_are_reserved(llm, ledger):
    llm.complete("Read it.")
    llm.complete("Read it.", schema=Receipt)
    without, with_schema = (entry.expected_tokens for entry in ledger.entries)
    assert with_schema > without + 50


@pytest.mark.parametrize("form", FORMS)
async def test_a_rate_limit_repeats_the_repair_and_not_the_answer_that_was_paid_for(server, form):
    llm = vn.OpenAIMultiModal("gpt-4o", api_key="k", api_base=server.openai_base)
    server.answer_with(GOOD)
    server.fail(Fault(text=BAD))
    server.fail(Fault(status=429, retry_after=0.01))
    with without_rate_limit_retries():  # as in a comparison, which repeats whole questions
        assert (await ask(llm, form, schema=Receipt)).parsed == VALUE
    assert ["much" in json.dumps(body["messages"]) for body in questions(server)] == [False, True, True]


@pytest.mark.parametrize("form", FORMS)
async def test_a_failed_repair_keeps_the_response_that_was_paid_for(llm, server, form):
    server.fail(Fault(text=BAD))
    server.fail(Fault(status=403))
    with pytest.raises(errors.AuthenticationError) as caught:
        await ask(llm, form, schema=Receipt)
    assert (caught.value.response.text, caught.value.response.attempts) == (BAD, 1)


ATTEMPTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a reported price, then none": ({"usage": {"cost": 0.01}}, {}),
    "two reported prices": ({"usage": {"cost": 0.01}}, {"usage": {"cost": 0.02}}),
    "two service tiers": ({"service_tier": "priority"}, {"service_tier": "default"}),
}


@pytest.mark.parametrize("name", ATTEMPTS)
@pytest.mark.parametrize("form", FORMS)
async def test_each_attempt_has_its_own_price(llm, server, ledger, name, form):
    for text, answer in zip((BAD, GOOD), ATTEMPTS[name], strict=True):
        server.fail(Fault(text=text, answer=answer))
    response = await ask(llm, form, schema=Receipt)
    assert response.attempts == 2 and response.cost == ledger.total == sum(entry.usd for entry in ledger.entries)


@pytest.mark.parametrize("form", ["stream_complete", "astream_complete"])
async def test_a_stream_has_the_fields_that_have_arrived(llm, form):
    responses = await ask_all(llm, form, schema=Receipt)
    seen = [response.partial for response in responses]
    assert seen[0] == {}
    assert {"shop": "Bäcker"} in seen
    assert any(one and one.get("total") == {"amount": "4.20"} for one in seen)
    assert seen[-1] == DATA


async def test_a_stream_that_is_closed_early_asks_for_nothing_more(llm, server):
    server.answer_with(BAD)
    with llm.stream_complete("Read it.", schema=Receipt) as stream:
        next(stream)
    assert len(questions(server)) == 1


async def test_a_chat_keeps_the_repaired_answer_only(llm, server):
    chat = vn.Chat(llm)
    server.fail(Fault(text=BAD))
    assert chat.ask("Read it.", [picture()], schema=Receipt).parsed == VALUE
    assert [response.parsed async for response in chat.astream("Again.", schema=Receipt)][-1] == VALUE
    assert [message.text for message in chat.history] == ["Read it.", GOOD, "Again.", GOOD]
    server.answer_with(BAD)
    with pytest.raises(errors.SchemaError):
        list(chat.stream("Once more.", schema=Receipt))
    assert len(chat.turns) == 2
    assert chat.failed_turn.question.text == "Once more."


@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_azure_asks_for_a_schema(server, form):
    llm = vn.AzureOpenAIMultiModal("ours", "gpt-4o", server.url, "2024-10-21", "k")
    server.answer_with(GOOD)
    server.fail(Fault(text=BAD))
    assert (await ask(llm, form, schema=Receipt)).parsed == VALUE
    assert {body["response_format"]["json_schema"]["name"] for body in questions(server)} == {"Receipt"}


@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_replicate_gets_the_schema_in_the_prompt(server, monkeypatch, form):
    llm = maker(server, monkeypatch)()
    answers = [BAD, GOOD]
    server.answer_with(lambda _: answers.pop(0))
    response = await ask(llm, form, "Read it.", [picture()], schema=Receipt)
    assert (response.parsed, response.attempts, response.usage, response.cost) == (VALUE, 2, None, None)
    first, second = (body["input"] for body in created(server))
    assert "Read it." in first["prompt"]
    assert '"currency"' in first["prompt"]
    assert "should be a valid decimal" in second["prompt"]
    assert first["image"] == second["image"]


async def test_a_list_and_an_enum_are_wrapped_on_the_wire_only(llm, server):
    server.answer_with(json.dumps({"value": [DATA, DATA]}))
    response = llm.complete("Read them.", schema=list[Receipt])
    assert response.parsed == [VALUE, VALUE]
    assert response.partial == [DATA, DATA]
    server.answer_with('{"value": "dark"}')
    assert llm.complete("Which?", schema=Literal["dark", "light"]).parsed == "dark"


async def test_a_schema_from_the_notebook_is_compiled_off_the_event_loop_and_once(llm, monkeypatch):
    import threading

    from vision_nb.schema import schema

    threads = []
    compile_schema = schema._compile
    monkeypatch.setattr(
        schema, "_compile", lambda *args: threads.append(threading.current_thread()) or compile_schema(*args)
    )

    class Own(pydantic.BaseModel):
        shop: str

    for _ in range(3):
        await llm.acomplete("Read it.", schema=Own)
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


class Figures(pydantic.BaseModel):
    total: int
    ratio: float | None = None
    at: dt.datetime | None = None


@dataclasses.dataclass
class FiguresDataclass:
    total: int
    ratio: float | None = None
    at: dt.datetime | None = None


class FiguresDict(typing_extensions.TypedDict, total=False):
    total: typing_extensions.Required[int]
    ratio: float | None
    at: dt.datetime | None


MISREAD = {
    "true as an integer": ({"total": True}, "total should be of type integer, not true"),
    "false as a float": ({"total": 1, "ratio": False}, "ratio should be of type number, not false"),
    "a number as a time": ({"total": 1, "at": 2024}, "at should be a valid date-time, not 2024"),
    "digits as a time": ({"total": 1, "at": "20240115"}, "at should be a valid date-time, not '20240115'"),
}


@pytest.mark.parametrize("schema", [Figures, FiguresDataclass, FiguresDict])
@pytest.mark.parametrize("data, words", MISREAD.values(), ids=MISREAD)
@pytest.mark.parametrize("form", FORMS)
async def test_a_value_of_another_json_type_is_refused_and_repaired(llm, server, form, data, words, schema):
    server.fail(Fault(text=json.dumps(data)))
    with pytest.raises(errors.SchemaError) as caught:
        await ask(llm, form, schema=schema, max_repairs=0)
    (path, sentence), *others = caught.value.errors.items()
    assert words.replace("'", "") == f"{path} {sentence}".replace('"', "").replace("'", "") and not others
    server.answer_with(json.dumps({"total": 3}))
    server.fail(Fault(text=json.dumps(data)))
    assert (await ask(llm, form, schema=schema)).attempts == 2


async def test_values_that_only_look_like_another_type_are_kept(llm, server):
    class Mixed(pydantic.BaseModel):
        flag: int | bool
        number: dt.datetime | int
        words: dt.datetime | str
        price: Decimal
        nested: list[bool | None]

    data = {"flag": True, "number": 7, "words": "2024", "price": 3, "nested": [True, None]}
    server.answer_with(json.dumps(data))
    parsed = llm.complete("Read it.", schema=Mixed).parsed
    assert parsed.flag is True and parsed.number == 7 and parsed.price == 3


@pytest.mark.parametrize("form", FORMS)
async def test_numbers_that_json_does_not_have_are_refused_in_structured_answers(llm, server, form):
    for schema in (Figures, {"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}):
        for number in ("NaN", "Infinity", "1e999"):
            server.fail(Fault(text=f'{{"total": 1, "ratio": 0.5, "x": {number}}}'))
            with pytest.raises(errors.SchemaError):
                await ask(llm, form, schema=schema, max_repairs=0)
