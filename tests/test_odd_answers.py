"""Answers in unusual but readable forms: none of them is lost, and what cannot be read is in the ledger."""

import gzip
import json
import zlib
from typing import Any

import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.forms import FORMS, ask, ask_all
from vision_nb import errors
from vision_nb.demo import Fault

STREAMS, WHOLES = FORMS[2:], FORMS[:2]
WORDS = ["3, ", "5 and ", "7: é 😀."]
TEXT = "".join(WORDS)
USAGE = {"prompt_tokens": 300, "completion_tokens": 9, "total_tokens": 309}
BOM = b"\xef\xbb\xbf"


@pytest.fixture
def llm(server):
    return vn.OpenAIMultiModal("gpt-4o", "a-key-of-a-test", server.openai_base, max_retries=0, timeout=30)


def chunk(*choices, **fields):
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    return json.dumps({**head, "choices": list(choices), **fields}, ensure_ascii=False).encode()


def choice(text="", finish_reason=None, index=0):
    return {"index": index, "delta": {"content": text}, "finish_reason": finish_reason}


CHUNKS = [*(chunk(choice(word)) for word in WORDS), chunk(choice(finish_reason="stop")), chunk(usage=USAGE), b"[DONE]"]


def events(separator=b"\n\n", prefix=b"data: ", chunks=CHUNKS):
    return b"".join(prefix + data + separator for data in chunks)


WHOLE: dict[str, Any] = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
    "usage": USAGE,
}


def check_answer(response):
    assert (response.text, response.finish_reason, response.usage) == (TEXT, "stop", vn.Usage(300, 9))
    assert [entry.is_estimate for entry in vn.ledger.entries] == [False]
    vn.ledger.reset()


def check_estimate(server):
    (entry,) = vn.ledger.entries
    assert entry.is_estimate and entry.usd > 0 and len(server.requests) == 1


EVENTS = {
    "as usual": events(),
    "byte order mark at the start": BOM + events(),
    "byte order mark before each event": events(prefix=BOM + b"data: "),
    "byte order mark in the data": events(prefix=b"data: " + BOM),
    "CRLF": events(b"\r\n\r\n"),
    "CR": events(b"\r\r"),
    "no space": events(prefix=b"data:"),
    "event names": events(prefix=b"event: message\ndata: "),
    "IDs, then a comment": events(prefix=b": waiting\n\nid: 7\ndata: "),
    "event without data": b"event: ping\n\n" + events(),
    "event with empty data": events(b"\n\ndata:\n\n"),
    "retry": b"retry: 3000\n\n" + events(),
    "no blank lines": events(b"\n"),
    "no line end at the end": events().rstrip(),
    "no end marker, no line end": events(chunks=CHUNKS[:-1]).rstrip(),
    "blank lines first": b"\n\n\r\n" + events(),
    "data over several lines": b"".join(
        b"".join(b"data: " + line + b"\n" for line in data.split(b"\n")) + b"\n"
        for data in [json.dumps(json.loads(data), indent=1).encode() for data in CHUNKS[:-1]]
    ),
}


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("stream", EVENTS.values(), ids=EVENTS)
@pytest.mark.parametrize("form", STREAMS)
async def test_a_stream_in_an_unusual_form_is_read_to_its_end(server, llm, form, stream, size):
    server.fail(Fault(events=[stream[start : start + size] for start in range(0, len(stream), size)]))
    responses = await ask_all(llm, form, images=picture())
    check_answer(responses[-1])
    assert "".join(response.delta for response in responses) == TEXT


@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain"])
@pytest.mark.parametrize("stream", EVENTS.values(), ids=EVENTS)
@pytest.mark.parametrize("form", WHOLES)
async def test_a_stream_in_place_of_a_whole_answer_is_that_answer(server, llm, form, stream, content_type):
    server.fail(Fault(events=[stream], content_type=content_type))
    response = await ask(llm, form, images=picture())
    assert [request.path for request in server.requests] == ["/v1/chat/completions"]  # no one else took the fault
    check_answer(response)


@pytest.mark.parametrize("start", [b"", BOM, b"\n\n " + BOM], ids=["plain", "byte order mark", "white space"])
@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", "text/plain"])
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("form", FORMS)
async def test_a_whole_answer_is_read_whether_or_not_a_stream_was_asked_for(
    server, llm, form, indent, content_type, start
):
    body = start + json.dumps(WHOLE, indent=indent).encode()
    server.fail(Fault(body=body, status=200, content_type=content_type))
    check_answer(await ask(llm, form, images=picture()))


@pytest.mark.parametrize("form", FORMS)
async def test_all_choices_of_an_answer_in_the_other_form_are_read(server, llm, form):
    other = {"index": 1, "message": {"role": "assistant", "content": "4"}, "finish_reason": "length"}
    body = {**WHOLE, "choices": [*WHOLE["choices"], other]}
    stream = [chunk(choice(TEXT)), chunk(choice("4", "length", 1)), chunk(choice("", "stop")), b"[DONE]"]
    fault = Fault(body=body, status=200) if form in STREAMS else Fault(events=[events(chunks=stream)])
    server.fail(fault)
    response = await ask(llm, form, n=2)
    assert [(one.text, one.finish_reason) for one in response.choices] == [(TEXT, "stop"), ("4", "length")]


@pytest.mark.parametrize("form", FORMS)
async def test_a_refusal_in_the_other_form_is_a_refusal(server, llm, form):
    message = {"role": "assistant", "content": None, "refusal": "No."}
    whole = {**WHOLE, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    part = {"index": 0, "delta": {"refusal": "No."}, "finish_reason": "stop"}
    fault = Fault(body=whole, status=200) if form in STREAMS else Fault(events=[events(chunks=[chunk(part)])])
    server.fail(fault)
    response = await ask(llm, form)
    assert response.is_refusal and response.text == "No."


@pytest.mark.parametrize("form", WHOLES)
async def test_a_stream_in_place_of_a_whole_answer_that_is_cut_off_is_an_error_with_an_estimate(server, llm, form):
    server.fail(Fault(events=[events(chunks=CHUNKS[:2])]))
    with pytest.raises(errors.IncompleteResponseError) as caught:
        await ask(llm, form, images=picture())
    assert caught.value.partial_text == "3, 5 and "
    check_estimate(server)


UNREADABLE = {
    "half a whole answer": json.dumps(WHOLE)[:-40].encode(),
    "lines of JSON": b"\n".join(CHUNKS[:-1]),
    "no choices": b'{"id": "x", "choices": []}',
    "nothing": b"",
    "bytes": bytes(range(128, 200)),
}


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("form", FORMS)
async def test_an_answer_that_cannot_be_read_is_our_error_with_an_estimate(server, llm, form, body, content_type):
    server.fail(Fault(body=body, status=200, content_type=content_type))
    with pytest.raises(errors.MalformedResponseError):
        await ask(llm, form, images=picture())
    check_estimate(server)


@pytest.mark.parametrize("form", STREAMS)
async def test_an_error_of_the_server_in_place_of_a_stream_is_not_an_answer(server, llm, form):
    server.fail(Fault(body={"error": {"message": "GPU lost"}}, status=200))
    with pytest.raises(errors.ServerError, match="GPU lost"):
        await ask(llm, form)


@pytest.mark.parametrize("form", STREAMS)
async def test_parts_of_one_choice_in_the_same_chunk_are_all_read(server, llm, form):
    parts = [choice(WORDS[0]), choice("4", index=1), choice(WORDS[1]), choice(WORDS[2], "stop"), choice("!", "stop", 1)]
    server.fail(Fault(events=[events(chunks=[chunk(*parts), b"[DONE]"])]))
    response = await ask(llm, form)
    assert [(one.text, one.finish_reason) for one in response.choices] == [(TEXT, "stop"), ("4!", "stop")]


@pytest.mark.parametrize("form", STREAMS)
async def test_bytes_that_are_not_utf_8_lose_only_themselves(server, llm, form):
    server.fail(Fault(events=[events().replace("é".encode(), b"\xe9")]))
    assert (await ask(llm, form)).text == TEXT.replace("é", "\ufffd")


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def in_two_parts(data):
    return gzip.compress(data[:50]) + gzip.compress(data[50:]) + b"\0\0\0\0"


COMPRESSED = {
    "gzip": (gzip.compress, "gzip"),
    "gzip in two parts": (in_two_parts, "gzip"),
    "deflate": (zlib.compress, "deflate"),
    "deflate without a header": (raw_deflate, "deflate"),
}


@pytest.mark.parametrize("drip", [0, 0.00001], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("compress, encoding", COMPRESSED.values(), ids=COMPRESSED)
@pytest.mark.parametrize("form", FORMS)
async def test_a_compressed_answer_is_read_to_its_end(server, llm, form, compress, encoding, drip):
    data = events() if form in STREAMS else json.dumps(WHOLE).encode()
    kind = "text/event-stream" if form in STREAMS else "application/json"
    headers = {"Content-Encoding": encoding}
    server.fail(Fault(body=compress(data), status=200, headers=headers, content_type=kind, drip=drip))
    check_answer(await ask(llm, form, images=picture()))


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br"])
@pytest.mark.parametrize("form", FORMS)
async def test_an_answer_in_an_encoding_that_was_not_accepted_is_our_error_with_an_estimate(
    server, llm, form, encoding
):
    server.fail(Fault(body=b"\x8b\x02\x80", status=200, headers={"Content-Encoding": encoding}))
    with pytest.raises(errors.MalformedResponseError, match=f"encoding is '{encoding}'"):
        await ask(llm, form, images=picture())
    check_estimate(server)


def test_files_that_the_user_downloads_with_the_client_are_not_changed(server, llm):
    data = BOM + b"data: \xff\r\r\n"
    server.fail(Fault(body=data, status=200, content_type="application/octet-stream"))
    assert llm.client.files.content("file-1").content == data


@pytest.mark.parametrize("fields", [{}, {"created": "1", "extra": {"a": [1]}}, {"usage": {**USAGE, "x": None}}])
async def test_the_raw_response_is_what_the_openai_client_makes_of_it(server, llm, fields):
    from openai.types.chat import ChatCompletion

    server.fail(Fault(200, body=json.dumps({**WHOLE, **fields})))
    raw = (await llm.acomplete("What?")).raw
    expected = ChatCompletion.construct(**{**WHOLE, **fields})
    assert type(raw) is ChatCompletion and raw == expected and repr(raw) == repr(expected)
    assert raw.model_fields_set - set(fields) == expected.model_fields_set - set(fields)
