"""`Chat`: requests, stopped and failed answers, exports, and loading saved conversations."""

import asyncio
import base64
import io
import json
import os
import threading

import nbformat
import pytest

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.forms import until
from vision_nb import errors
from vision_nb.conversation.export import totals
from vision_nb.conversation.serialization import FORMAT
from vision_nb.demo import Fault
from vision_nb.providers.streaming import Delta, ResponseAccumulator
from vision_nb.responses import ChatResponse


@pytest.fixture
def chat(server):
    server.answer_with(lambda question: f"answer to {question.prompt}")
    return vn.Chat(vn.OpenAIMultiModal("gpt-4o", "sk-secret-key", server.openai_base, max_retries=0))


def sent(server):
    """The messages of the last request."""
    return server.requests[-1].body["messages"]


def count_images(messages):
    return sum(
        part["type"] == "image_url" for message in messages if isinstance(message["content"], list)
        for part in message["content"]
    )  # fmt: skip


async def collect(stream):
    return [response async for response in stream]


@pytest.mark.parametrize("how", ["ask", "aask", "stream", "astream"])
async def test_each_question_is_sent_with_the_whole_conversation(chat, server, how):
    async def say(prompt, *images):
        result = getattr(chat, how)(prompt, *images)
        if how == "stream":
            return list(result)[-1]
        return (await collect(result))[-1] if how == "astream" else await result if how == "aask" else result

    chat.system = "Be brief."
    await say("one?", picture())
    answer = await say("two?")
    assert answer.text == "answer to two?"
    assert [message["role"] for message in sent(server)] == ["system", "user", "assistant", "user"]
    assert count_images(sent(server)) == 1
    assert [turn.question.text for turn in chat.turns] == ["one?", "two?"] and len(chat) == 2
    assert [str(message.role.value) for message in chat.history] == ["user", "assistant"] * 2
    assert chat.usage.output_tokens == sum(response.usage.output_tokens for response in chat.responses) > 0


@pytest.mark.parametrize("how", ["aask", "astream"])
async def test_the_event_loop_runs_while_an_image_is_opened(chat, how):
    was_running, is_running = [], threading.Event()

    class SlowFile(io.BytesIO):
        def read(self, *args):
            if not was_running:
                was_running.append(is_running.wait(10))
            return super().read(*args)

    asyncio.get_running_loop().call_later(0.05, is_running.set)
    answer = getattr(chat, how)("one?", SlowFile(encoded(picture())))
    await (answer if how == "aask" else collect(answer))
    assert was_running == [True] and len(chat) == 1


@pytest.mark.parametrize("how", ["ask", "aask", "stream", "astream"])
async def test_a_failed_question_leaves_the_conversation_unchanged(chat, server, how):
    chat.ask("one?")
    server.fail(Fault(status=500))
    with pytest.raises(errors.ServerError):
        result = getattr(chat, how)("two?")
        if how == "stream":
            list(result)
        elif how == "astream":
            await collect(result)
        elif how == "aask":
            await result
    assert len(chat) == 1 and chat.answering is None and chat.failed_turn.question.text == "two?"
    assert chat.ask("three?").text == "answer to three?" and chat.failed_turn is None


def test_closing_a_stream_keeps_the_part_that_has_arrived(chat, server):
    server.answer_with("one two three four five six seven eight " * 40)
    stream = chat.stream("count?")
    next(stream)
    next(stream)
    stream.close()
    assert chat.responses[-1].finish_reason == "interrupted" and 0 < len(chat.responses[-1].text) < 200
    assert chat.answering is None


async def test_cancelling_a_task_keeps_the_part_that_has_arrived(chat, server):
    server.answer_with("one two three four five six seven eight " * 40)
    server.fail(Fault(hang=60))
    task = asyncio.ensure_future(collect(chat.astream("count?")))
    await until(lambda: chat.answering and chat.answering.answer.text, task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert chat.responses[-1].finish_reason == "interrupted" and chat.responses[-1].text
    await until(lambda: server.disconnects == 1)


async def test_cancelling_before_any_text_arrives_adds_no_turn(chat, server):
    server.fail(Fault(delay=60))
    task = asyncio.ensure_future(collect(chat.astream("count?")))
    await until(lambda: chat.answering, task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(chat) == 0 and chat.answering is None


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_answer_is_not_sent_back_empty(chat, server, text):
    chat.add(vn.ChatMessage("user", "one?"), ChatResponse(text, finish_reason="stop"))
    chat.ask("two?")
    assert sent(server)[1] == {"role": "assistant", "content": "(no answer)"} and chat.responses[0].text == text
    chat.llm.chat([{"role": "user", "content": "one?"}, {"role": "assistant"}, {"role": "user", "content": "two?"}])
    assert sent(server)[1]["content"] == "(no answer)"


def test_a_question_of_images_alone_has_no_empty_text(chat, server):
    chat.ask("", picture())
    assert [part["type"] for part in sent(server)[0]["content"]] == ["image_url"]


def test_a_second_question_during_an_answer_is_rejected(chat):
    stream = chat.stream("one?")
    next(stream)
    with pytest.raises(errors.SettingsError, match="still being answered"):
        chat.ask("two?")
    list(stream)
    assert chat.ask("two?").text == "answer to two?" and len(chat) == 2


def test_watchers_are_called_after_every_change_until_they_are_removed(chat):
    calls = []
    stop_watching = chat.watch(lambda: calls.append((len(chat), chat.answering is not None)))
    list(chat.stream("one?"))
    assert calls[0] == (0, True) and calls[-1] == (1, False) and len(calls) > 3
    stop_watching()
    stop_watching()
    calls.clear()
    chat.undo()
    assert calls == []


def test_undo_removes_turns_and_a_fork_is_independent(chat):
    chat.ask("one?")
    fork = chat.fork()
    chat.ask("two?")
    chat.undo(2)
    assert len(chat) == 0 and len(fork) == 1
    with pytest.raises(errors.SettingsError, match="Cannot undo 2 turns: the conversation has 1"):
        fork.undo(2)


def test_keep_images_limits_the_request_to_the_most_recent_images(chat, server):
    chat.keep_images = 2
    for seed in range(3):
        chat.ask(f"picture {seed}?", picture(seed=seed))
    assert count_images(sent(server)) == 2
    assert sent(server)[0]["content"][1] == {"type": "text", "text": "(Earlier image omitted.)"}
    question = vn.ChatMessage("user", ["both?", *(vn.ImageDocument(image=picture(seed=seed)) for seed in (7, 8, 9))])
    assert len(chat.dropped_images(question)) == 3
    assert sum(len(message.image_documents) for message in chat.messages_with(question)) == 3
    chat.keep_images = None
    chat.ask("all?")
    assert count_images(sent(server)) == 3
    with pytest.raises(errors.SettingsError, match="keep_images must be an integer of at least 0: got -1"):
        vn.Chat(chat.llm, keep_images=-1)


def test_an_image_that_occurs_twice_is_dropped_once(chat, server):
    chat.keep_images = 1
    shown = vn.ImageDocument(image=picture())
    chat.ask("one?", shown)
    chat.ask("two?", shown)
    chat.ask("three?")
    assert count_images(sent(server)) == 1 and count_images(sent(server)[2:3]) == 1


def test_a_model_that_accepts_one_image_gets_the_most_recent(server):
    chat = vn.Chat(vn.ReplicateMultiModal("llava-13b", api_token="r8_secret", api_base=server.replicate_base))
    chat.ask("one?", picture(seed=1))
    chat.ask("two?", picture(seed=2))
    assert len(chat) == 2 and len(chat.dropped_images(vn.ChatMessage("user", "three?"))) == 1


@pytest.fixture
def rich_chat(chat, photo):
    """A conversation with images, a table, a formula and hostile HTML."""
    chat.system = "Be brief."
    chat.ask("What *is* it?", [photo, vn.ImageDocument(image=encoded(picture()), image_name="a `b`.png", detail="low")])
    server_answer = "| a | b |\n|---|---|\n| 1 | $x^2$ |\n\n<script>alert(1)</script> ![x](https://evil.org/x.png)"
    chat.add(vn.ChatMessage("user", "And <b>that</b>?"), vn.ChatResponse(server_answer, model="<i>m</i>"))
    return chat


def test_a_conversation_survives_export_to_json_and_load(rich_chat, tmp_path):
    path = rich_chat.export(tmp_path / "talk.json")
    again = vn.Chat.load(path, rich_chat.llm)
    assert [turn.question.text for turn in again.turns] == [turn.question.text for turn in rich_chat.turns]
    assert [answer.text for answer in again.responses] == [answer.text for answer in rich_chat.responses]
    first, before = again.turns[0], rich_chat.turns[0]
    assert first.answer.usage == before.answer.usage and first.answer.cost == before.answer.cost
    assert [document.title for document in first.question.image_documents] == ["photo.jpg", "a `b`.png"]
    assert first.question.image_documents[1].detail == "low"
    assert first.question.image_documents[0].size == (640, 480)
    assert again.system == "Be brief." and again.keep_images is None
    assert again.ask("more?").text == "answer to more?"


def test_load_reads_a_file_written_by_version_0_1(tmp_path):
    answer = {
        "text": "Red.",
        "model": "gpt-4o",
        "finish_reason": "stop",
        "latency": 1.5,
        "usage": [90, 3, 0],
        "usd": "0.0003",
    }
    question = {"role": "user", "parts": [{"text": "What color?"}]}
    turn = {"question": question, "answer": answer, "left_out": 2}
    content = {"vision_nb_chat": 1, "model": "demo", "system": "Be brief.", "keep_images": 1, "turns": [turn]}
    (tmp_path / "talk.json").write_text(json.dumps(content))
    chat = vn.Chat.load(tmp_path / "talk.json")
    assert (str(chat.llm), chat.system, chat.keep_images, len(chat)) == ("demo", "Be brief.", 1, 1)
    (loaded,) = chat.turns
    assert (loaded.question.text, loaded.answer.text, loaded.dropped_images) == ("What color?", "Red.", 2)
    assert loaded.answer.usage == vn.Usage(90, 3) and str(loaded.answer.cost) == "0.0003"


def test_load_connects_to_the_model_named_in_the_file(tmp_path):
    chat = vn.Chat(vn.DemoMultiModal())
    chat.add(vn.ChatMessage("user", "a?"), vn.ChatResponse("b"))
    again = vn.Chat.load(chat.export(tmp_path / "a.json"))
    assert str(again.llm) == "demo" and len(again) == 1
    assert str(vn.Chat.load(tmp_path / "a.json", "demo").llm) == "demo"


def test_exports_contain_no_api_key_metadata_or_folder(rich_chat, tmp_path):
    gps = picture().getexif()
    gps[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0)}
    rich_chat.ask("where?", encoded(picture(), "JPEG", exif=gps))
    for ending in ("md", "html", "ipynb", "json"):
        text = rich_chat.export(tmp_path / f"talk.{ending}").read_text()
        assert "sk-secret" not in text and str(tmp_path) not in text
        for data in text.split("base64,")[1:] if ending != "json" else []:
            assert b"Exif" not in base64.b64decode(data.split('"')[0].rstrip("\\"))
    for turn in json.loads((tmp_path / "talk.json").read_text())["turns"]:
        for part in turn["question"]["parts"]:
            assert b"Exif" not in base64.b64decode(part.get("data", ""))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".", "talk"))) == [
        "talk.html", "talk.ipynb", "talk.json", "talk.md",
    ]  # fmt: skip


def test_exports_are_readable_and_contain_no_active_content(rich_chat, tmp_path):
    markdown = rich_chat.export(tmp_path / "talk.md").read_text()
    assert markdown.count("**You**") == 2 and "**gpt&#45;4o**" in markdown and "| 1 | $x^2$ |" in markdown
    assert "<script" not in markdown and "![" not in markdown and "<i>" not in markdown and "<b>" not in markdown
    page = rich_chat.export(tmp_path / "talk.html").read_text()
    assert "<math" in page and "<td>1</td>" in page and "default-src 'none'" in page
    assert "<script" not in page and "<i>" not in page and 'src="https' not in page
    notebook = nbformat.read(rich_chat.export(tmp_path / "talk.ipynb"), as_version=4)
    nbformat.validate(notebook)
    assert [cell.cell_type for cell in notebook.cells] == ["markdown"] * 6
    assert "<script" not in str(notebook)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.md", "x", "export the conversation as .json"),
        ("a.json", None, "Cannot read"),
        ("a.json", "{", "not valid JSON"),
        ("a.json", "[" * 100_000, "not valid JSON"),
        ("a.json", "[]", "not a saved conversation"),
        ("a.json", json.dumps({"vision_nb_chat": FORMAT + 1}), "newer version"),
        ("a.json", json.dumps({"vision_nb_chat": FORMAT, "turns": [{}]}), "damaged"),
        ("a.json", json.dumps({"vision_nb_chat": FORMAT, "turns": 3}), "damaged"),
        ("a.json", json.dumps({"vision_nb_chat": FORMAT, "turns": [], "model": 3}), "damaged"),
    ],
)
def test_load_rejects_a_file_that_is_not_a_saved_conversation(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(errors.SettingsError, match=message):
        vn.Chat.load(tmp_path / name)


def test_load_rejects_a_file_with_a_damaged_image(rich_chat, tmp_path):
    content = json.loads(rich_chat.export(tmp_path / "talk.json").read_text())
    for broken in ({"data": "%%%", "name": "a", "detail": None}, {"data": 3, "name": "a", "detail": None}, {}):
        content["turns"][0]["question"]["parts"] = [broken]
        (tmp_path / "talk.json").write_text(json.dumps(content))
        with pytest.raises(errors.SettingsError, match="damaged"):
            vn.Chat.load(tmp_path / "talk.json")


def test_export_explains_why_it_fails(rich_chat, tmp_path, photo):
    with pytest.raises(errors.SettingsError, match=r"must end in .md or .html or .ipynb or .json"):
        rich_chat.export(tmp_path / "talk.txt")
    with pytest.raises(errors.SettingsError, match="Cannot write"):
        rich_chat.export(tmp_path / "nowhere" / "talk.md")
    photo.unlink()
    with pytest.raises(errors.SettingsError, match=r"one of its images cannot be read.*photo.jpg"):
        rich_chat.export(tmp_path / "talk.json")
    assert "(image)" in rich_chat.export(tmp_path / "talk.md").read_text()


def test_totals_mention_unknown_tokens_and_prices(chat):
    assert totals(chat.turns) == ""
    stopped = ChatResponse("as far as", finish_reason="interrupted", pricing=chat.llm.pricing)
    chat.add(vn.ChatMessage("user", "Go on?"), stopped)
    assert totals(chat.turns) == "1 answer · tokens and price unknown"
    chat.add(
        vn.ChatMessage("user", "And then?"), ChatResponse("then", usage=vn.Usage(1000, 100), pricing=chat.llm.pricing)
    )
    assert totals(chat.turns) == "2 answers · 1,000 tokens in, 100 out · 0.0035 USD · tokens and price unknown for 1"
    chat.replace(chat.turns[1:])
    chat.add(vn.ChatMessage("user", "Where?"), ChatResponse("here", usage=vn.Usage(5, 5)))
    assert totals(chat.turns) == "2 answers · 1,005 tokens in, 105 out · 0.0035 USD · price unknown for 1"


def test_an_error_in_a_watcher_does_not_block_the_conversation(chat):
    stop_watching = chat.watch(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        chat.ask("one?")
    stop_watching()
    assert chat.answering is None and chat.ask("two?").text == "answer to two?"


@pytest.mark.parametrize("how", ["stream", "astream", "aask"])
async def test_stop_ends_an_answer_started_elsewhere(chat, server, how):
    server.answer_with("one two three four five six seven eight " * 40)
    if how == "stream":
        calls = []
        for response in chat.stream("count?"):
            calls.append(response)
            chat.stop()
        assert len(calls) == 2
    else:
        server.fail(Fault(hang=60) if how == "astream" else Fault(delay=60))
        task = asyncio.ensure_future(collect(chat.astream("count?")) if how == "astream" else chat.aask("count?"))
        await until(lambda: server.requests if how == "aask" else chat.answering and chat.answering.answer.text, task)
        chat.stop()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [answer.finish_reason for answer in chat.responses] == ([] if how == "aask" else ["interrupted"])
    chat.stop()
    assert chat.ask("two?").finish_reason == "stop"


async def test_surrogate_halves_in_a_stream_are_joined_or_replaced(chat):
    accumulator = ResponseAccumulator(ChatResponse())
    for text in ("a\ud83d", "\ude00 b\ude00", "c\ud83d"):
        accumulator.add(Delta(text))
    assert accumulator.has_held_back
    assert (
        accumulator.add(Delta(), last=True).text
        == "a\N{GRINNING FACE} b\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}"
    )
    assert not accumulator.has_held_back


def test_exports_accept_image_names_and_text_that_cannot_be_encoded(chat, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    picture().save(tmp_path / "cafe.png")
    document = vn.ImageDocument(image=(tmp_path / "cafe.png").read_bytes(), image_name=name)
    chat.ask("one?", document)
    chat.add(vn.ChatMessage("user", "half \ud83d"), ChatResponse("half \ud83d"))
    for ending in ("md", "html", "ipynb", "json"):
        assert "caf" in chat.export(tmp_path / f"talk.{ending}").read_text()
    with pytest.raises(errors.SettingsError, match="Cannot write"):
        chat.export(tmp_path / "cafe.png" / "talk.md")
    assert chat.export(tmp_path / f"{'x' * 250}.md").exists() and not list(tmp_path.glob("*.part"))
    assert not list(tmp_path.glob(".*"))
    assert vn.Chat.load(tmp_path / "talk.json", chat.llm).turns[0].question.image_documents[0].title.startswith("caf")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("finish_reason", [1]), ("latency", "<b>"), ("latency", -1), ("usage", "abc"), ("usage", [1, 2, None, 4]),
        ("usage", ["1", 2, 0]), ("usd", "sNaN"), ("usd", "Infinity"), ("usd", 3), ("keep_images", "x"),
        ("keep_images", -1), ("left_out", "1"), ("detail", [1]), ("detail", "vast"),
    ],
)  # fmt: skip
def test_load_rejects_values_of_the_wrong_type(rich_chat, tmp_path, field, value):
    content = json.loads(rich_chat.export(tmp_path / "talk.json").read_text())
    turn = content["turns"][0]
    holder = {
        "keep_images": content, "left_out": turn,
        "detail": next(part for part in turn["question"]["parts"] if "text" not in part),
    }.get(field, turn["answer"])  # fmt: skip
    assert field in holder
    holder[field] = value
    (tmp_path / "talk.json").write_text(json.dumps(content))
    with pytest.raises(errors.SettingsError, match="damaged"):
        vn.Chat.load(tmp_path / "talk.json", rich_chat.llm)


def test_a_loaded_file_causes_no_download_and_cannot_choose_an_unknown_server(chat, tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr("vision_nb.images.content.download", lambda url, **_: fetched.append(url) or encoded(picture()))
    document = vn.ImageDocument(image_url="https://example.org/beacon.png")
    chat.add(vn.ChatMessage("user", ["one?", document]), ChatResponse("one", model="m"))
    content = json.loads(chat.export(tmp_path / "talk.json").read_text())
    loaded = vn.Chat.load(tmp_path / "talk.json", chat.llm)
    for ending in ("md", "html", "ipynb"):
        assert "beacon.png" in loaded.export(tmp_path / f"a.{ending}").read_text().replace("&#46;", ".")
    assert vn.ChatPanel(chat=loaded)._static_transcript._bundle(loaded) and fetched == []
    kept = loaded.turns[0].question.image_documents[0]
    kept.read()  # as when it is sent to a model
    assert "base64" in loaded.export(tmp_path / "a.md").read_text()
    for name in ("replicate:owner/model:1234", "azure:deployment", "elsewhere:x"):
        (tmp_path / "talk.json").write_text(json.dumps({**content, "model": name}))
        with pytest.raises(errors.SettingsError, match="pass llm="):
            vn.Chat.load(tmp_path / "talk.json")
        assert len(vn.Chat.load(tmp_path / "talk.json", chat.llm)) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"llm": 3}, "not an int"), ({"llm": "nobody:x"}, "Unknown provider"), ({"system": 3}, "system= must be a string"),
        ({"keep_images": "two"}, "at least 0: got 'two'"), ({"keep_images": -1}, "of at least 0: got -1"),
        ({"keep_images": True}, "keep_images must be an integer"),
    ],
)  # fmt: skip
def test_invalid_settings_are_rejected_in_the_constructor_and_on_assignment(chat, settings, message):
    with pytest.raises(errors.SettingsError, match=message):
        vn.Chat(**{"llm": chat.llm, **settings})
    for name, value in settings.items():
        with pytest.raises(errors.SettingsError, match=message):
            setattr(chat, name, value)
    assert chat.ask("one?").text == "answer to one?"


def test_a_model_can_be_given_by_name(chat):
    assert str(vn.Chat("demo").llm) == "demo"
    chat.llm = "demo"
    assert str(chat.llm) == "demo"
