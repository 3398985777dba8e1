"""The real llama.cpp server as a child process, with random weights."""

import asyncio
import contextlib
import copy
import importlib.util
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import httpx2
import pydantic
import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.forms import EIGHT_FORMS, ask
from tests.kernels import error_of, run_cells, text_of
from tests.llama_parts import ends, engines, free_port, is_alive
from tests.test_openai_provider import all_eight
from tests.tiny_models import NOT_ENDING, write_mmproj, write_model, write_pair
from tests.walkthrough_llava import both_samples_run
from vision_nb import errors
from vision_nb.providers.llamacpp.gguf import read_header
from vision_nb.providers.llamacpp.process import Engine, check_port

pytestmark = pytest.mark.slow

PROMPT = "日本語で答えてください。どんな風景ですか？"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_pair(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def llm(weights):
    """One deterministic engine for all tests that leave it running; its answers do not end with their first token."""
    with vn.serve(
        *weights, progress=False, n_threads=1, max_new_tokens=20, temperature=0, additional_kwargs=NOT_ENDING
    ) as served:
        yield served


@pytest.fixture(scope="module", autouse=True)
def no_engine_is_left():
    before = set(engines())
    yield
    assert set(engines()) <= before


@pytest.fixture
def own(weights):
    """An engine that a test may stop or kill."""
    with vn.serve(*weights, progress=False, n_threads=1, max_new_tokens=3000) as served:
        yield served


def long_answer(**options):
    """Return settings for a very long answer of whole words; 3,000 tokens take about 20 seconds."""
    words = {str(token): 30 for token in range(259, 279)}
    return {"temperature": 1.5, "logit_bias": words, "max_new_tokens": 3000, **options}


async def test_all_eight_methods_answer(llm):
    question = vn.generate_openai_multi_modal_chat_message(PROMPT, "user", [picture()])
    texts = await all_eight(llm, PROMPT, picture(), [question])
    assert len(texts) == 8 and all(texts.values())
    assert not any(text.startswith(("\n", " ")) or text.endswith("</s>") for text in texts.values())


class Look(pydantic.BaseModel):
    color: Literal["red", "green", "blue"]
    is_dark: bool
    parts: list[Literal["sky", "sea"]] = pydantic.Field(max_length=2)


async def test_the_engine_enforces_a_schema_in_all_eight_methods(llm):
    for form in EIGHT_FORMS:
        response = await ask(llm, form, PROMPT, [picture()], schema=Look, max_repairs=0, max_new_tokens=200)
        assert isinstance(response.parsed, Look)
        assert response.attempts == 1


def test_an_image_has_576_tokens(llm):
    words = llm.complete(PROMPT, max_new_tokens=1).usage.input_tokens
    with_picture = llm.complete(PROMPT, [picture()], max_new_tokens=1).usage.input_tokens
    assert abs(with_picture - words - 576) <= 8  # the text around it is tokenized differently
    assert not llm.complete(PROMPT, [picture()]).usage_is_implausible


def test_the_answer_depends_on_the_image(llm):
    answers = {llm.complete("What?", [picture(seed=seed)]).text for seed in range(4)}
    assert len(answers) > 1


def test_a_stream_reports_the_tokens_that_the_engine_counted(llm):
    *_, last = llm.stream_complete("What?", [picture()])
    assert last.usage.input_tokens > 576 and last.usage.output_tokens <= 20
    assert last.finish_reason in ("stop", "length")
    assert not vn.ledger.entries[0].is_estimate and vn.ledger.entries[0].usage.input_tokens > 576
    assert vn.ledger.entries[0].usd == 0


def test_concurrent_requests_are_all_answered_completely(llm):
    async def last(seed):
        stream = await llm.astream_complete("What?", [picture(seed=seed)], **long_answer(max_new_tokens=40))
        return [r async for r in stream][-1]

    async def ask():
        return await asyncio.gather(*map(last, range(3)))

    assert [one.finish_reason for one in asyncio.run(ask())] == ["length"] * 3


def test_a_conversation_that_is_too_long_is_rejected_before_it_is_sent(llm):
    message = r"about 4,6\d\d tokens, but local:llava holds 4,096.*serve it with a larger n_ctx"
    log = llm.engine.log()
    with pytest.raises(errors.ContextLengthError, match=message):
        llm.complete(PROMPT, [picture()] * 8)
    assert llm.engine.log() == log


async def test_a_context_error_of_the_engine_is_a_context_length_error_streamed_or_not(llm):
    unchecked = vn.connect("local:llava", context_length=10**6)
    message = r"request \(\d+ tokens\) exceeds the available context size \(4096 tokens\)"
    for form in EIGHT_FORMS:
        with pytest.raises(errors.ContextLengthError, match=message):
            await ask(unchecked, form, PROMPT, [picture()] * 8)


def test_n_ctx_limits_the_context_length(weights):
    with vn.serve(*weights, n_ctx=512, progress=False) as small:
        assert small.context_length == 512
        with pytest.raises(errors.ContextLengthError, match="holds 512"):
            small.complete("What?", [picture()])
        assert small.complete("What?", max_new_tokens=3).text is not None


async def test_an_abandoned_answer_frees_the_engine(llm):
    with llm.stream_complete("What?", [picture()], **long_answer()) as stream:
        for _ in range(5):
            next(stream)
    assert stream.text
    started = time.monotonic()
    assert llm.complete("What?", max_new_tokens=1).usage
    assert time.monotonic() - started < 2

    astream = await llm.astream_complete("What?", [picture()], **long_answer())

    async def read():
        async for _ in astream:
            pass

    task = asyncio.create_task(read())
    while len(astream.text) < 5:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    started = time.monotonic()
    await llm.acomplete("What?", max_new_tokens=1)
    assert time.monotonic() - started < 2


def test_a_killed_engine_is_a_connection_error_with_the_partial_text(own):
    stream = own.stream_complete("What?", [picture()], **long_answer())
    for _ in range(5):
        next(stream)
    os.kill(own.engine.pid, signal.SIGKILL)
    with pytest.raises(errors.ProviderConnectionError, match=r"killed by signal 9.*\nCall vn.serve to") as caught:
        list(stream)
    assert caught.value.partial_text == stream.text != ""
    with pytest.raises(errors.ProviderConnectionError, match="to start it again"):
        own.complete("What?")
    own.stop()
    with pytest.raises(errors.ProviderConnectionError, match=r"was stopped: call vn\.serve to start it again"):
        own.complete("What?")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_earlier_errors_in_the_log_are_not_the_reason_for_which_an_engine_ended(own, number):
    unchecked = vn.LocalMultiModal("llava", own.api_base, own.engine.api_key, context_length=10**6, max_retries=0)
    with pytest.raises(errors.ContextLengthError):
        unchecked.complete("What? " * 3000)
    assert "exceed" in own.engine.log()
    with own.stream_complete("What?", **long_answer()) as stream:
        next(stream)
        os.kill(own.engine.pid, number)
        with pytest.raises(errors.ProviderConnectionError) as caught:
            list(stream)
    assert f"killed by signal {int(number)}" in str(caught.value) and "vn.serve" in str(caught.value)
    assert "exceed" not in str(caught.value)


def test_stop_ends_the_child_at_once_and_can_be_called_twice(own):
    pid, port = own.engine.pid, own.engine.port
    started = time.monotonic()
    own.stop()
    own.stop()
    assert not is_alive(pid) and time.monotonic() - started < 2
    check_port(port)


async def test_async_with_stops_the_engine(weights):
    async with vn.serve(*weights, progress=False, max_new_tokens=2) as served:
        assert (await served.acomplete("What?")).usage
    assert served.engine.exit_code is not None


def test_a_child_that_does_not_respond_is_killed(own):
    os.kill(own.engine.pid, signal.SIGSTOP)
    own.stop()
    assert not is_alive(own.engine.pid)


def test_stored_answers_are_valid_after_a_restart(llm, weights):
    with vn.serve(*weights, progress=False, max_new_tokens=20, temperature=0, additional_kwargs=NOT_ENDING) as again:
        assert again.api_base != llm.api_base and again.identity == llm.identity
    assert "weights" in llm.identity


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="requires /proc/net/tcp")
def test_it_listens_on_loopback_only(llm):
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [row[1].split(":") for row in rows if row[3] == "0A"]
    assert [host for host, port in listening if int(port, 16) == llm.engine.port] == ["0100007F"]


def post(llm, headers):
    """Ask the engine a question without the package; return the response."""
    question = {"model": "llava", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    with httpx2.Client(trust_env=False, timeout=60) as client:
        return client.post(f"{llm.api_base}/chat/completions", json=question, headers=headers)


@pytest.mark.parametrize("page", ["https://example.org", "null", "http://127.0.0.1:8888"])
def test_web_pages_cannot_read_answers(llm, page):
    preflight = {"Origin": page, "Access-Control-Request-Method": "POST"}
    with httpx2.Client(trust_env=False, timeout=60) as client:
        allowed = client.options(f"{llm.api_base}/chat/completions", headers=preflight)
    answered = post(llm, {"Origin": page, "Authorization": f"Bearer {llm.engine.api_key}"})
    assert answered.status_code == 200
    for response in (allowed, answered):
        assert not response.headers.get("access-control-allow-origin")


def test_only_requests_with_the_key_are_answered(llm):
    for headers in ({}, {"Authorization": "Bearer EMPTY"}, {"Authorization": f"Bearer {llm.engine.api_key[:-1]}"}):
        response = post(llm, headers)
        assert response.status_code == 401 and "Invalid API Key" in response.text
    assert post(llm, {"Authorization": f"Bearer {llm.engine.api_key}"}).status_code == 200
    with pytest.raises(errors.AuthenticationError, match="Invalid API Key"):
        vn.LocalMultiModal("llava", llm.api_base, "wrong-key", max_retries=0).complete("What?")


def test_each_engine_has_a_key_of_its_own_or_the_one_that_is_passed(llm, weights):
    with vn.serve(*weights, progress=False, n_threads=1, api_key="my-own-key") as other:
        assert other.engine.api_key == "my-own-key" and len(llm.engine.api_key) > 40
        assert post(other, {"Authorization": "Bearer my-own-key"}).status_code == 200
        assert post(other, {"Authorization": f"Bearer {llm.engine.api_key}"}).status_code == 401
        for served in (llm, other):  # two engines at once
            assert served.complete("What?", [picture()], max_new_tokens=2).usage.input_tokens > 576


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="requires /proc")
def test_the_key_is_not_in_arguments_environments_logs_and_representations(llm):
    key, process = llm.engine.api_key, Path(f"/proc/{llm.engine.pid}")
    assert llm.engine._api_key.reveal() == key
    for text in (
        (process / "cmdline").read_text(),
        (process / "environ").read_text(),
        llm.engine.log(),
        repr(vars(llm)),
        repr(vars(llm.engine)),
    ):
        assert key not in text


def test_there_is_no_web_page_and_no_endpoint_that_shows_or_changes_the_engine(llm):
    headers = {"Authorization": f"Bearer {llm.engine.api_key}"}
    with httpx2.Client(trust_env=False, timeout=60, headers=headers) as client:
        base = llm.api_base.removesuffix("/v1")
        assert client.get(f"{base}/").status_code == 404
        for method, path in (
            ("GET", "/slots"),
            ("POST", "/slots/0?action=erase"),
            ("GET", "/metrics"),
            ("POST", "/props"),
        ):
            assert client.request(method, base + path, json={}).status_code in (400, 501)


@pytest.mark.skipif(not Path("/proc/self/fdinfo").exists(), reason="requires /proc/self/fdinfo")
def test_reading_the_log_does_not_move_its_write_position(llm):
    def place():
        return int(Path(f"/proc/{llm.engine.pid}/fdinfo/2").read_text().split()[1])

    assert "listening on http" in llm.engine.log()
    llm.engine._log.seek(0)
    assert place() > 0


def test_no_log_file_is_left_behind(weights, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(errors.EngineError):
        vn.serve(*weights, load_timeout=0.01, progress=False)
    assert list(tmp_path.glob("*.log")) == []


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="requires /proc")
def test_it_does_not_inherit_the_api_keys_of_services(weights, monkeypatch):
    names = ("OPENAI_API_KEY", "REPLICATE_API_TOKEN", "AWS_SECRET_ACCESS_KEY")
    for name in names:
        monkeypatch.setenv(name, "c4n4ry")
    with vn.serve(*weights, progress=False, n_threads=1) as served:
        environment = Path(f"/proc/{served.engine.pid}/environ").read_text()
    assert "PATH=" in environment and "c4n4ry" not in environment


def test_environment_variables_do_not_change_its_settings(weights, monkeypatch):
    for name, value in {"HOST": "0.0.0.0", "PORT": "1", "API_KEY": "secret", "CTX_SIZE": "64", "MODEL": "/x"}.items():
        monkeypatch.setenv(f"LLAMA_ARG_{name}", value)
    with vn.serve(*weights, progress=False, n_threads=1, max_new_tokens=2) as served:
        assert served.complete("What?", [picture()]).usage.input_tokens > 576


def test_detect_and_connect_find_it(llm):
    (server,) = [one for one in vn.LocalMultiModal.detect() if one.api_base == llm.api_base]
    assert (server.kind, server.models[0].name, server.models[0].sees_images) == ("llama.cpp", "llava", True)
    connected = vn.connect("local:llava")
    assert connected.complete("What?", max_new_tokens=2).model == "llava"
    assert (connected.inline_urls, connected.max_retries, connected.timeout) == (True, 0, llm.timeout) == (True, 0, 600)
    assert vn.connect("local:llava", max_retries=2).max_retries == 2


def test_the_walkthroughs_samples_run_with_another_endpoint(llm, photo, monkeypatch):
    both_samples_run(llm.api_base, photo, monkeypatch, llm.engine.api_key)


# Starting, and failures to start.


def engine(weights, **options):
    """Start an engine without waiting for it."""
    return Engine(*weights, **{"name": "llava", "context_length": 4096, "chat_template": "", "n_threads": 1, **options})


def test_a_requested_port_is_used_or_rejected(weights):
    model, projector = weights
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(errors.SettingsError, match=f"Port {port} cannot be opened"):
            vn.serve(model, projector, port=port)
    with vn.serve(model, projector, port=port, progress=False) as served:
        assert served.api_base == f"http://127.0.0.1:{port}/v1"


def test_of_two_engines_on_one_port_only_one_becomes_ready(weights):
    port = free_port()
    both = [engine(weights, port=port) for _ in range(2)]
    lost = []
    try:
        for one in both:
            try:
                one.wait(60, lambda part: None)
            except errors.EngineError as error:
                lost.append(str(error))
        assert len(lost) == 1 and "took the port" in lost[0]
    finally:
        for one in both:
            one.stop()


def test_headers_written_by_the_gguf_package_are_read(weights):
    text, image = map(read_header, weights)
    assert (text.architecture, text.embedding_length) == ("llama", 64)
    assert (image.architecture, image.projected_length) == ("clip", 64)


def test_unusable_files_and_arguments_are_rejected_before_anything_is_started(weights, tmp_path):
    model, mmproj = weights
    page = tmp_path / "page.gguf"
    page.write_text("<html>")
    short = tmp_path / "short.gguf"
    short.write_bytes(model.read_bytes()[:100_000])
    write_mmproj(tmp_path / "other.gguf", embedding=96)
    before = engines()
    for files, kind in (
        ((tmp_path / "nothing.gguf", mmproj), errors.ModelFileNotFoundError),
        ((page, mmproj), errors.ModelFileError),
        ((short, mmproj), errors.ModelFileError),
        ((mmproj, model), errors.ModelFileError),
        ((model, tmp_path / "other.gguf"), errors.ProjectorMismatchError),
    ):
        with pytest.raises(kind):
            vn.serve(*files)
    for wrong in (
        {"n_ctx": 0},
        {"n_ctx": "4096"},
        {"name": ""},
        {"name": " "},
        {"port": "8080"},
        {"port": True},
        {"n_threads": 0},
        {"n_gpu_layers": -2},
        {"load_timeout": 0},
        {"load_timeout": "60"},
    ):
        with pytest.raises(errors.SettingsError, match=next(iter(wrong))):
            vn.serve(*weights, **wrong)
    assert engines() == before


def test_a_name_can_look_like_an_option(weights):
    with vn.serve(*weights, name="--port", progress=False) as served:
        assert served.complete("What?", max_new_tokens=1).usage


@pytest.mark.parametrize("store", [copy.copy, copy.deepcopy, pickle.dumps])
def test_copying_is_rejected_with_an_alternative(llm, store):
    with pytest.raises(errors.SettingsError, match=f"LocalMultiModal.'llava', '{llm.api_base}'"):
        store(llm)


def test_the_error_for_an_unknown_architecture_has_the_engines_log(weights, tmp_path):
    unknown = tmp_path / "unknown.gguf"
    unknown.write_bytes(weights[0].read_bytes().replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0lamax", 1))
    with pytest.raises(errors.ModelFileError, match="unknown model architecture: 'lamax'") as caught:
        vn.serve(unknown, weights[1], progress=False)
    assert "unknown model architecture" in caught.value.log and "Traceback" not in str(caught.value)


def test_an_encoder_that_only_the_engine_rejects_is_a_projector_mismatch(weights, tmp_path):
    odd = tmp_path / "odd.gguf"
    odd.write_bytes(weights[1].read_bytes().replace(b"\x03\0\0\0\0\0\0\0mlp", b"\x03\0\0\0\0\0\0\0mlq", 1))
    with pytest.raises(
        errors.ProjectorMismatchError, match=r"rejects the image encoder.*\n.*unknown projector type: mlq"
    ):
        vn.serve(weights[0], odd, progress=False)


MEMORY = """
import resource, sys
import vision_nb as vn
resource.setrlimit(resource.RLIMIT_AS, (3_000_000_000, 3_000_000_000))
try:
    vn.serve(*sys.argv[1:], n_ctx=8_000_000)
except vn.errors.EngineMemoryError as error:
    print("TYPED", error)
"""


def test_a_lack_of_memory_is_an_engine_memory_error(weights):
    run = subprocess.run([sys.executable, "-c", MEMORY, *map(str, weights)], capture_output=True, text=True, timeout=60)
    assert "TYPED There is not enough memory" in run.stdout, run.stderr


def test_an_engine_that_loads_too_slowly_is_stopped(weights):
    before = engines()
    with pytest.raises(errors.EngineError, match=r"did not respond within 0\.01 seconds: raise load_timeout"):
        vn.serve(*weights, load_timeout=0.01, progress=False)
    assert engines() == before


MISTAKES = [
    ({"max_new_token": 3}, "max_new_token'.* did you mean max_new_tokens"),
    ({"n_gpu_layer": 1}, "n_gpu_layer'.* did you mean n_gpu_layers"),
    ({"temprature": 0}, "temprature'.* did you mean temperature"),
    ({"threads": 4}, "threads'.* did you mean n_threads"),
    ({"clip_model_path": "x"}, "did you mean mmproj"),
    ({"ngl": 4}, "did you mean n_gpu_layers"),
    ({"colour": "red"}, "colour'.* the options are .*max_new_tokens"),
    ({"api_base": "http://x/v1"}, "no option 'api_base'"),
    ({"image_detail": "hgih"}, "hgih"),
]


@pytest.mark.parametrize("options, message", MISTAKES)
def test_a_mistaken_option_is_found_before_the_model_is_loaded(weights, monkeypatch, options, message):
    def started(*_, **__):
        pytest.fail("the engine was started")

    monkeypatch.setattr("vision_nb.providers.llamacpp.serve.Engine", started)
    monkeypatch.setattr("vision_nb.providers.llamacpp.serve.download_gguf", started)
    with pytest.raises(errors.SettingsError, match=message) as caught:
        vn.serve(*weights, repo_id="owner/name", **options)
    assert len(str(caught.value)) <= 300


def test_a_chat_format_that_does_not_exist_is_rejected_before_the_model_is_loaded(weights):
    before = engines()
    cases: Any = (
        ("no-such", r"chat_format='no-such' does not exist\. Omit it to use the template in the model's file"),
        ("llava-1.6", "Did you mean 'llava-1-6'"),
        ("", "does not exist"),
        (3, "does not exist"),
        ("qwen2.5-vl", "is not needed: omit it, and the engine uses the chat template"),
    )
    for chat_format, message in cases:
        with pytest.raises(errors.SettingsError, match=message) as caught:
            vn.serve(*weights, chat_format=chat_format)
        assert len(str(caught.value)) <= 300
    assert engines() == before


def prompt_of(weights, **options):
    """Return the prompt that the engine makes of two questions and an answer."""
    turns = [("user", "One?"), ("assistant", "Yes."), ("user", "Two?")]
    messages = [{"role": role, "content": text} for role, text in turns]
    with vn.serve(*weights, progress=False, n_threads=1, **options) as served:
        headers = {"Authorization": f"Bearer {served.engine.api_key}"}
        url = served.api_base.removesuffix("/v1") + "/apply-template"
        return httpx2.post(url, json={"messages": messages}, headers=headers, timeout=60, trust_env=False).json()[
            "prompt"
        ]


def test_the_template_is_the_one_of_the_file_or_the_argument_or_llavas(weights, tmp_path):
    conversation = (
        "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the human's questions.\nUSER: One?\nASSISTANT: Yes.</s>\nUSER: Two?\nASSISTANT:"
    )
    assert prompt_of(weights) == prompt_of(weights, chat_format="llava-1-5") == conversation
    own = "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
    own += "{% if add_generation_prompt %}<assistant>{% endif %}"
    assert prompt_of(weights, chat_format=own) == "<user>One?<assistant>Yes.<user>Two?<assistant>"
    write_model(tmp_path / "model.gguf", chat_template=own.replace("<", "["))
    assert prompt_of((tmp_path / "model.gguf", weights[1])) == "[user>One?[assistant>Yes.[user>Two?[assistant>"


def test_a_schema_is_enforced_with_the_template_of_a_file(weights, tmp_path):
    own = "{% for message in messages %}{{ message.role }}: {{ message.content }}{% endfor %}"
    own += "{% if add_generation_prompt %}ASSISTANT: {% endif %}"
    write_model(tmp_path / "model.gguf", chat_template=own)
    with vn.serve(tmp_path / "model.gguf", weights[1], progress=False, n_threads=1) as served:
        assert served.complete("What?", [picture()], schema=Look, max_repairs=0, max_new_tokens=200).attempts == 1


def test_an_interrupt_during_loading_leaves_no_child(weights, monkeypatch):
    before = engines()

    def interrupted(self, seconds, on_progress):
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        vn.serve(*weights, progress=False)
    assert engines() == before


def test_without_an_engine_the_error_says_what_to_install(weights, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "xllamacpp" else find(name))
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(errors.EngineMissingError, match=r'pip install "vision-nb\[local\]"'):
        vn.serve("nothing.gguf", "nothing.gguf", repo_id="owner/name")


# No child outlives the process that started it.

START = "import sys, time, vision_nb as vn\nllm = vn.serve(*sys.argv[1:], progress=False, n_threads=1)\nprint(llm.engine.pid, flush=True)\n"


@contextlib.contextmanager
def python(code, weights):
    """Run another Python that starts an engine; yield it and the engine's process ID."""
    process = subprocess.Popen(
        [sys.executable, "-c", START + code, *map(str, weights)], stdout=subprocess.PIPE, text=True
    )
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_child_ends_when_its_parent_is_killed(weights, how):
    with python("time.sleep(60)", weights) as (process, pid):
        assert is_alive(pid)
        process.send_signal(how)
        assert ends(pid)


def test_the_child_ends_with_a_killed_parent_while_another_child_holds_the_pipe(weights):
    fork = "import os\nif os.fork() == 0:\n    time.sleep(8)\n    os._exit(0)\ntime.sleep(60)"
    with python(fork, weights) as (process, pid):
        process.kill()
        process.wait()
        assert ends(pid)


@pytest.mark.parametrize("code", ["", "raise SystemExit(3)", "import gc\ndel llm\ngc.collect()\ntime.sleep(60)"])
def test_the_child_ends_with_its_parent_or_its_last_reference(weights, code):
    with python(code, weights) as (_, pid):
        assert ends(pid)


def test_the_end_of_a_fork_does_not_end_the_engine(weights):
    code = "import os\nif os.fork() == 0:\n    sys.exit(0)\nos.wait()\nprint('forked', flush=True)\ntime.sleep(60)"
    with python(code, weights) as (process, pid):
        assert process.stdout.readline() == "forked\n"
        time.sleep(0.3)
        assert is_alive(pid)


@pytest.mark.kernel
def test_in_a_kernel_it_displays_progress_survives_interrupts_and_ends_with_the_kernel(weights):
    start = f"llm = vn.serve({str(weights[0])!r}, {str(weights[1])!r}, max_new_tokens=3)"
    interrupt = "import os, signal, time\nos.killpg(os.getpgrp(), signal.SIGINT)\ntime.sleep(5)"
    cells = run_cells(start, interrupt, "print(llm.engine.pid, bool(llm.complete('What?').usage))", allow_errors=True)
    (shown,) = cells[0].outputs
    assert shown.output_type == "display_data" and "llava is served at http://127.0.0.1:" in shown.data["text/plain"]
    assert "loaded in" in shown.data["text/html"]
    assert "KeyboardInterrupt" in error_of(cells[1])
    pid, answered = text_of(cells[2]).split()
    assert answered == "True" and ends(int(pid))
