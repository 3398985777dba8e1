"""No way of looking at what the package makes shows a key."""

import io
import json
import logging

import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.kernels import run_cells
from tests.secret_search import CANARY, CORE, appears_in, leaks
from tests.test_secrets_keys import PROVIDERS, connect
from vision_nb import errors
from vision_nb.demo import Fault

pytestmark = pytest.mark.slow

MESSAGE = f"Authorization: Bearer {CANARY}"


@pytest.fixture(params=PROVIDERS)
def llm(request, server):
    server.answer_with("An answer.")
    server.models = None
    return connect(request.param, CANARY, server.url)


def failing(server):
    if server is not None:
        server.fail(Fault(status=400, body={"error": {"message": MESSAGE}, "detail": MESSAGE, "title": MESSAGE}))


@pytest.fixture
def photo_path(tmp_path):
    picture().save(tmp_path / "a.png")
    return tmp_path / "a.png"


async def test_responses_streams_and_the_ledger_show_no_key(llm, server, photo_path):
    stream = llm.stream_complete("What?", [photo_path])
    first = next(stream)
    for shown in (first, stream, llm.complete("What?", [photo_path]), await llm.acomplete("What?", [photo_path])):
        assert not leaks(shown)
    list(stream)
    failing(server)
    with pytest.raises(errors.ProviderError):
        llm.complete("What?", [photo_path])
    assert not leaks(vn.ledger) and not leaks(vn.estimate_cost("What?", [photo_path], models=["gpt-4o"]))
    await llm.aclose()


def test_conversations_and_their_exports_show_no_key(llm, server, photo_path, tmp_path):
    chat = vn.Chat(llm, system="Be brief.")
    chat.ask("What?", [photo_path])
    failing(server)
    with pytest.raises(errors.ProviderError) as caught:
        chat.ask("And now?")
    assert not leaks(chat) and not leaks(caught.value)
    for suffix in (".json", ".md", ".html", ".ipynb"):
        assert not appears_in(chat.export(tmp_path / f"talk{suffix}").read_text())
    llm.close()


def test_comparisons_their_tables_and_their_store_show_no_key(llm, server, photo_path, tmp_path):
    store = tmp_path / "answers.sqlite3"
    failing(server)
    comparison = vn.compare([llm], ["What?", "Why?"], [photo_path], store=store, concurrency=1)
    comparison.set_label(1, correctness=5, relevance=5, annotator="me")
    assert not leaks(comparison) and not leaks(comparison.to_dataframe()) and not leaks(comparison.rows)
    for file in tmp_path.glob("answers.sqlite3*"):
        assert not appears_in(file.read_bytes().decode("latin-1")), file
    llm.close()


async def test_the_chat_panel_shows_no_key(llm, server, photo_path):
    panel = vn.ChatPanel(llm, images=photo_path)
    await panel.ask("What?")
    failing(server)
    with pytest.raises(errors.VisionError):
        await panel.ask("And now?")
    states = [widget.get_state() for widget in (panel, *panel.children)]
    assert len(states) > 1 and not leaks(panel) and not leaks([str(state) for state in states])
    await llm.aclose()


CELLS = [
    f"""
import logging, os, sys
from vision_nb.demo import DemoServer, Fault
os.environ["THE_KEY"] = bytes.fromhex("{CANARY.encode().hex()}").decode()
os.environ["OPENAI_API_KEY"] = os.environ["REPLICATE_API_TOKEN"] = os.environ["THE_KEY"]
logging.basicConfig(stream=sys.stdout, level=logging.DEBUG, force=True)
for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2", "replicate"):
    logging.getLogger(name).setLevel(logging.DEBUG)
server = DemoServer().start()
def fail():
    server.fail(Fault(status=400, body={{"error": {{"message": os.environ["THE_KEY"]}}}}))
%xmode Verbose
""",
    "llm = vn.OpenAIMultiModal('gpt-4o', api_base=server.openai_base, max_retries=0)\nllm",
    "llm.complete('What?')",
    "print(vars(llm), repr(llm.client), vars(llm.client))",
    "fail()\nllm.complete('What?')",
    "%tb",
    "fail()\nlist(llm.stream_complete('What?'))",
    "%tb",
    "fail()\nawait llm.acomplete('What?', extra_headers={'X-Key': os.environ['THE_KEY']})",
    "%tb",
    "key = os.environ['THE_KEY']\nvn.OpenAIMultiModal('gpt-4o', key, max_side=0)",
    "%tb",
    "vn.connect('replicate:llava-13b', api_token=key, api_base='http://me:' + key[:20] + '@[::1/v1')",
    "%tb",
    "azure = vn.AzureOpenAIMultiModal('d', azure_endpoint=server.url, api_version='2024-10-21', api_key=key)\n"
    "fail()\nazure.complete('What?')",
    "%tb",
    "vn.LocalMultiModal('m', 'http://127.0.0.1:9/v1', key, max_retries=0).complete('What?')",
    "%tb",
    "fail()\nvn.ReplicateMultiModal(api_base=server.replicate_base, max_retries=0).complete('?', vn.samples.path('chart'))",
    "%tb",
    "1 / len([x for x in [llm, azure] if not x])",
    "%config VisionMagics.api_base = server.openai_base\n%vision list",
    "%%vision openai:gpt-4o --no-cache\nWhat?",
    "fail()",
    "%%vision openai:gpt-4o --no-cache --api-key-env THE_KEY\nWhat?",
    "%tb",
    "%vision fix --yes",
    "vn.ledger",
    "comparison = vn.compare([llm], ['What?'], [vn.samples.path('chart')], store='answers.sqlite3')\ncomparison",
    "chat = vn.Chat(llm)\nchat.ask('What?')\nchat",
    "vn.ChatPanel(llm)",
    "import traceback\ntry:\n    fail()\n    llm.complete('What?')\nexcept Exception as error:\n"
    "    print(''.join(traceback.TracebackException.from_exception(error.__cause__, capture_locals=True).format()))",
    "import copy, pickle\nprint(pickle.dumps(llm), copy.deepcopy(llm), %who_ls)".replace("%who_ls", "list(globals())"),
]


@pytest.mark.kernel
def test_a_notebook_with_verbose_tracebacks_and_debug_logs_shows_no_key(tmp_path):
    cells = run_cells(*CELLS, folder=tmp_path, allow_errors=True)
    outputs = {cell.source: json.dumps(cell.outputs) for cell in cells}
    assert [source for source, shown in outputs.items() if appears_in(shown)] == []
    tracebacks = [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert len(tracebacks) >= 10 and "DEBUG" in str(outputs)
    assert "***" in str(outputs) and "max_side" in str(outputs)


def test_a_log_with_an_exception_shows_no_key(server):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("openai")
    logger.addHandler(handler)
    try:
        llm = connect("openai", CANARY, server.url)
        failing(server)
        with pytest.raises(errors.ProviderError) as caught:
            llm.complete("What?")
        logger.error("%s failed with %r", MESSAGE, caught.value, exc_info=caught.value)
    finally:
        logger.removeHandler(handler)
    assert "failed with" in stream.getvalue() and CORE not in stream.getvalue()
