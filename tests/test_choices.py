"""Several answers to one request, with ``n=2``."""

import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.forms import FORMS, ask, ask_all
from vision_nb import errors
from vision_nb.demo import Fault
from vision_nb.responses import Choice
from vision_nb.store import Store


@pytest.fixture
def llm(server):
    answers = iter(["The sky is blue.", "A red house stands there."] * 10)
    server.answer_with(lambda _: next(answers))
    return vn.OpenAIMultiModal("gpt-4o", "a-key-of-a-test", server.openai_base, max_retries=0)


@pytest.mark.parametrize("form", FORMS)
async def test_both_choices_are_on_the_response_and_their_texts_are_not_mixed(llm, form):
    responses = await ask_all(llm, form, n=2)
    choices = [Choice("The sky is blue.", "stop"), Choice("A red house stands there.", "stop")]
    assert list(responses[-1].choices) == choices
    assert str(responses[-1].choices[0]) == responses[-1].text
    if "stream" in form:
        assert "".join(response.delta for response in responses) == "The sky is blue."
        assert all(choices[1].text.startswith(response.choices[-1].text) for response in responses[1:])


async def test_an_answer_without_n_is_its_only_choice(llm):
    response = await ask(llm, "complete")
    assert response.choices == (Choice("The sky is blue.", "stop"),)
    assert "choice" not in repr(response).lower()


@pytest.mark.parametrize("form", FORMS)
async def test_each_choice_has_its_own_reasoning_and_finish_reason(server, llm, form):
    choices = [("<think>Hm.</think>One", "stop"), ("<think>Oh.</think>Two", "length")]
    if "stream" in form:
        pieces = [
            {"index": index, "delta": {"content": text[start : start + 4]}, "finish_reason": None}
            for start in range(0, 24, 4)
            for index, (text, _) in enumerate(choices)
        ]
        pieces += [{"index": i, "delta": {}, "finish_reason": reason} for i, (_, reason) in enumerate(choices)]
        server.fail(Fault(events=[*({"choices": [piece]} for piece in pieces), "data: [DONE]\n\n"]))
    else:
        messages = [
            {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
            for index, (text, reason) in enumerate(choices)
        ]
        server.fail(Fault(status=200, body={"choices": messages}))
    response = await ask(llm, form, n=2)
    assert response.choices == (Choice("One", "stop", "Hm."), Choice("Two", "length", "Oh."))


@pytest.mark.parametrize("form", ["stream_complete", "astream_complete"])
async def test_a_stream_whose_second_choice_is_cut_off_is_incomplete(server, llm, form):
    events = [
        {"choices": [{"index": 1, "delta": {"content": "A red"}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"content": "Blue."}, "finish_reason": "stop"}]},
    ]
    server.fail(Fault(events=events))
    with pytest.raises(errors.IncompleteResponseError):
        await ask(llm, form, n=2)
    server.fail(Fault(events=[*events, "data: [DONE]\n\n"]))
    assert (await ask(llm, form, n=2)).choices == (Choice("Blue.", "stop"), Choice("A red", "stop"))


@pytest.mark.parametrize("form", ["stream_complete", "astream_complete"])
@pytest.mark.parametrize("index", [-1, 10**9, "1", None, 1.5, True])
async def test_an_invalid_number_of_a_choice_does_not_lose_the_answer(server, llm, form, index):
    choice = {"index": index, "delta": {"content": "Blue."}, "finish_reason": "stop"}
    server.fail(Fault(events=[{"choices": [choice]}]))
    assert (await ask(llm, form)).text == "Blue."


def test_all_choices_are_displayed_and_counted(server, llm):
    server.fail(Fault(no_usage=True))
    text = llm.complete("What?", n=2)._repr_markdown_()
    assert "The sky is blue." in text and "Choice 2" in text and "A red house" in text
    both = vn.ledger.entries[0].usage.output_tokens
    server.fail(Fault(no_usage=True))
    llm.complete("What?")
    assert both > vn.ledger.entries[1].usage.output_tokens * 1.5


def test_a_budget_reserves_the_tokens_of_all_choices(llm):
    vn.ledger.budget = vn.estimate_cost("What?", (64, 48), llm, max_new_tokens=1000).usd * 2
    with pytest.raises(errors.BudgetExceededError):
        llm.complete("What?", picture(), max_tokens=1000, n=3)
    assert llm.complete("What?", picture(), max_tokens=1000).text


def test_the_store_keeps_all_choices(llm, tmp_path):
    response = llm.complete("What?", n=2)
    with Store(tmp_path / "a.sqlite3") as store:
        store.put("key", str(llm), response)
        assert store.get("key").choices == response.choices


@pytest.mark.parametrize("form", FORMS)
async def test_a_choice_that_was_cut_off_is_not_shown_as_whole(server, llm, form):
    pieces = [{"index": 0, "finish_reason": "stop"}, {"index": 1, "finish_reason": "length"}]
    if "stream" in form:
        events = [{"choices": [{**piece, "delta": {"content": "A red"}}]} for piece in pieces]
        server.fail(Fault(events=[*events, "data: [DONE]\n\n"]))
    else:
        server.fail(Fault(body={"choices": [{**piece, "message": {"content": "A red"}} for piece in pieces]}))
    response = await ask(llm, form, n=2)
    assert response.choices[0].remark is None and "cut off" in response.choices[1].remark
    assert response.remark == f"Choice 2: {response.choices[1].remark}"
    assert "Choice 2: The answer was cut off at the length limit" in response._repr_markdown_()
