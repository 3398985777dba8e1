"""A hostile program in place of a local model server: its names, details, errors and redirects do no harm."""

import json
from typing import Any

import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.forms import FORMS, ask
from tests.kernels import in_process_shell
from tests.local_fakes import listing, running
from tests.mathjax_finder import harmful_formulas
from tests.secret_search import CANARY, leaks, serving
from tests.test_default_model import new_kernel  # noqa: F401 - a fixture
from tests.test_safe_html import PARSERS, Page
from vision_nb import errors
from vision_nb.providers.default_model import default_model
from vision_nb.providers.local.discovery import detect
from vision_nb.providers.local.server_types import LocalModel
from vision_nb.rendering.html import muted_text
from vision_nb.rendering.tex import COMMANDS

pytestmark = [pytest.mark.usefixtures("new_kernel"), pytest.mark.slow]

SHOWN = {
    "HTML": "<img src=x onerror=alert(1)><script>alert(1)</script>",
    "TeX": r"$\unicode[x;position:fixed;background:red url(//host/x.png)]{x41}$",
    "Markdown": "**a** ![x](http://host.example/x.png) [b](javascript:alert(1)) `c`",
    "an attribute": '" onmouseover="alert(1)" x="',
}
REJECTED = {
    "ANSI": "\x1b[2J\x1b]8;;http://host.example\x07red\x1b[31m",
    "C1": "a\x9b31mred",
    "bidi": "llava\u202egpj",
    "a surrogate": "llava\ud800",
    "line breaks": "llava\r\nUse gpt-4o",
    "NUL": "llava\0",
    "5 kB": "llava" * 1000,
    "empty": "",
}


def answers_of(kind, name):
    """Return what a server of a type answers that has a model of this name, which accepts images."""
    if kind == "Ollama":
        return {
            "GET /v1/models": listing(name),
            "GET /": b"Ollama is running",
            "GET /api/tags": {"models": [{"name": name}]},
            "GET /api/ps": {"models": [{"name": name, "context_length": 10**4000}]},
            "POST /api/show": lambda body: {"capabilities": ["vision"], "parameters": f"num_ctx {name}"},
        }
    if kind == "llama.cpp":
        properties = {"modalities": {"vision": True}, "chat_template": name, "model_path": name}
        context = {"default_generation_settings": {"n_ctx": 10**4000}}
        return {"GET /v1/models": listing(name, owner="llamacpp"), "GET /props": {**properties, **context}}
    model = {"key": name, "type": "llm", "capabilities": {"vision": True}, "display_name": name}
    return {"GET /v1/models": listing(name, owner="organization_owner"), "GET /api/v1/models": {"models": [model]}}


KINDS = ["Ollama", "llama.cpp", "LM Studio"]
each_kind = pytest.mark.parametrize("kind", KINDS)


def faults(page):
    """Return what a name has brought into a page of ours, whose own tables have styles."""
    found = [fault for fault in Page(page).faults if not fault.endswith((" style", " scope"))]
    return found + harmful_formulas(page, COMMANDS)


@pytest.fixture
def use(monkeypatch):
    return lambda port: monkeypatch.setenv("VISION_NB_LOCAL_PORTS", str(port))


@each_kind
@pytest.mark.parametrize("name", SHOWN.values(), ids=SHOWN)
async def test_a_models_name_is_shown_as_text_everywhere(kind, name, use, tmp_path):
    with running(answers_of(kind, name)) as port:
        use(port)
        found = detect(ports=[port])
        assert found[0].models == (LocalModel(name, True, None),)
        with pytest.raises(errors.UnknownModelError) as caught:
            vn.connect("local:another")
        assert len(str(caught.value)) <= 300
        llm: Any = vn.connect("local")
        panel = vn.ChatPanel()
        with in_process_shell(tmp_path) as shell:
            shell.magics.api_base = ""  # the default model is searched for
            listed = shell.run_cell("%vision list").result
        assert llm.model == name and panel._composer.models[0] == f"local:{name}"
        pages = {
            "detect": found._repr_html_(),
            "note": muted_text(default_model().note),
            **{parser: parse(listed._repr_markdown_()) for parser, parse in PARSERS.items()},
        }
    assert name in repr(listed)
    assert {place: faults(page) for place, page in pages.items()} == {place: [] for place in pages}


@each_kind
@pytest.mark.parametrize("name", REJECTED.values(), ids=REJECTED)
def test_a_model_whose_name_cannot_be_shown_or_sent_is_not_listed(kind, name, use):
    with running(answers_of(kind, name)) as port:
        use(port)
        assert [server.models for server in detect(ports=[port])] in ([()], [])
        assert default_model().name == "demo"
        with pytest.raises((errors.UnknownModelError, errors.ProviderConnectionError)):
            vn.connect("local")


@each_kind
def test_a_key_that_a_server_sends_back_is_not_shown(kind):
    with running({**answers_of(kind, f"llava {CANARY}"), "key": CANARY}) as port:
        found = detect(ports=[port], api_key=CANARY)
        assert found[0].models[0].name.startswith("llava ") and not leaks(found)


def test_a_redirect_to_another_server_is_not_followed(use):
    with serving(lambda *request: (200, {}, "{}")) as (other, received):
        for status in (301, 302, 303, 307, 308):
            with serving(lambda *request, s=status: (s, {"Location": f"{other}/v1/models"}, "")) as (base, asked):
                port = int(base.rpartition(":")[2])
                use(port)
                assert not detect(ports=[port]) and len(asked) > 1
                with pytest.raises(errors.ProviderConnectionError, match="No model server found"):
                    vn.connect("local")
        assert received == []


@pytest.mark.parametrize("status", [200, 400, 404, 500])
@pytest.mark.parametrize("form", FORMS)
async def test_what_a_server_says_instead_of_an_answer_is_short_and_harmless(form, status):
    hostile = "".join([*SHOWN.values(), REJECTED["ANSI"], REJECTED["C1"], CANARY])
    bodies = [hostile, json.dumps({"error": {"message": hostile, "code": hostile}}), json.dumps({"error": hostile})]
    for body in bodies:
        with serving(lambda *request, b=body: (status, {"Content-Type": "application/json"}, b)) as (base, _):
            llm = vn.LocalMultiModal("llava", f"{base}/v1", CANARY, max_retries=0)
            with pytest.raises(errors.VisionError) as caught:
                await ask(llm, form, "What?", [picture(8, 8)])
            await llm.aclose()
        assert len(str(caught.value)) <= 300 and not leaks(caught.value)
        assert "\x1b" not in str(caught.value) and "\x9b" not in str(caught.value)
