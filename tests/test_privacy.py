"""What the README and SECURITY.md promise about privacy, where no other test covers it."""

import base64
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial

import pytest
from PIL import Image

import vision_nb as vn
from tests.conftest import picture
from tests.secret_search import CANARY, appears_in, serving
from vision_nb.demo import sample_url
from vision_nb.store import default_path

CAMERA = "SecretCamera"


@pytest.fixture
def tagged(tmp_path):
    """Return the path of a photo with metadata."""
    exif = Image.Exif()
    exif[0x010F] = CAMERA
    picture(320, 240).save(tmp_path / "photo.jpg", exif=exif, comment=CAMERA.encode())
    return tmp_path / "photo.jpg"


@pytest.fixture
def connections(monkeypatch):
    """Return the hosts and ports that are looked up and connected to from now on."""
    found: list[tuple[str, int]] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def noted_connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            found.append(address[:2])
        return connect(self, address)

    def noted_look_up(host, port, *args, **options):
        found.append((host, port))
        return look_up(host, port, *args, **options)

    monkeypatch.setattr(socket.socket, "connect", noted_connect)
    monkeypatch.setattr(socket, "getaddrinfo", noted_look_up)
    return found


def ports_of(connections):
    return {int(port) for host, port in connections if port and host}


async def test_only_the_named_models_server_is_contacted(server, tagged, tmp_path, connections):
    vn.estimate_cost("What?", [tagged], models=["gpt-4o", "gpt-5.4", "replicate:llava-13b"])
    vn.image_tokens(tagged, "gpt-4o", "high")
    vn.cheapest_fit(tagged, "gpt-4o")
    plan = vn.compare(["openai:gpt-4o", "replicate:llava-13b"], ["What?"], [tagged], dry_run=True)
    assert str(plan) and connections == []
    with vn.OpenAIMultiModal("gpt-4o", CANARY, server.openai_base) as llm:
        chat = vn.Chat(llm)
        chat.ask("What?", [tagged])
        comparison = vn.compare([llm], ["What?"], [tagged], store=tmp_path / "answers.sqlite3")
        panel = vn.ChatPanel(llm, images=tagged)
        await panel.ask("Why?")
        assert comparison._repr_html_() and vn.ledger._repr_html_()
        chat.export(tmp_path / "talk.html")
        comparison.to_dataframe()
    assert ports_of(connections) == {int(server.url.rpartition(":")[2])} and {host for host, _ in connections} <= {
        "127.0.0.1",
        "::1",
    }


def test_importing_and_loading_contacts_nobody():
    code = (
        "import socket\n"
        "def refuse(*args, **options): raise SystemExit('a connection')\n"
        "socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse\n"
        "import vision_nb as vn\n"
        "[getattr(vn, name) for name in vn.__all__]\n"
        "print(vn.estimate_cost('What?', models=['gpt-4o', 'gpt-5.4-mini']))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("inline", [False, True])
def test_of_an_image_behind_a_url_only_the_url_is_sent_unless_it_is_inlined(tagged, inline):
    chunk = b'{"choices": [{"message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}]}'
    answer = lambda *request: (200, {"Content-Type": "application/json"}, chunk)  # noqa: E731
    photo = lambda *request: (200, {"Content-Type": "image/jpeg"}, tagged.read_bytes())  # noqa: E731
    with serving(photo) as (site, downloads), serving(answer) as (base, asked):
        llm = vn.OpenAIMultiModal("gpt-4o", CANARY, f"{base}/v1", inline_urls=inline)
        llm.complete("What?", [f"{site}/photo.jpg"])
        body = asked[0][2].decode()
        assert ((f"{site}/photo.jpg" in body) is not inline and bool(downloads) is inline) or not inline
        assert "Authorization" not in str([headers for _, headers, _ in downloads]).title()
        if inline:
            (sent,) = re.findall(r"base64,([\w+/=]+)", body)
            assert CAMERA.encode() in tagged.read_bytes() and CAMERA.encode() not in base64.b64decode(sent)


@pytest.mark.parametrize(
    "make",
    [
        partial(vn.OpenAIMultiModal, "gpt-4o", CANARY),
        partial(vn.ReplicateMultiModal, "llava-13b", api_token=CANARY),
        partial(vn.connect, "xai:grok-4", api_key=CANARY),
    ],
)
def test_a_url_on_this_machine_is_not_sent_to_a_server_on_another_one(server, make):
    here = vn.ImageDocument.of(sample_url(server, "chart"))
    elsewhere = vn.ImageDocument.of("https://images.example.org/chart.png")
    sent = make().outgoing(here).prepared
    assert sent is not None and sent.size == here.size
    assert make().outgoing(elsewhere).prepared is None
    assert make(api_base=server.url).outgoing(here).prepared is None


def test_outputs_contain_thumbnails_without_metadata(server, tagged, tmp_path):
    llm = vn.OpenAIMultiModal("gpt-4o", CANARY, server.openai_base)
    comparison = vn.compare([llm], ["What?"], [tagged], store=tmp_path / "answers.sqlite3")
    chat = vn.Chat(llm)
    chat.ask("What?", [tagged])
    documents = vn.load_images(str(tagged))
    exported = chat.export(tmp_path / "talk.html").read_text()
    for output in (documents._repr_html_(), documents[0]._repr_html_(), comparison._repr_html_(), exported):
        images = re.findall(r"base64,([\w+/=]+)", output)
        assert images and not [one for one in images if CAMERA.encode() in base64.b64decode(one)]
        assert CAMERA not in output and str(tmp_path) not in output


def test_the_store_holds_answers_paths_and_labels_but_no_images_and_no_keys(server, tagged, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    monkeypatch.setattr("getpass.getuser", lambda: "annotator-seven")
    server.answer_with("The answer is forty-two.")
    llm = vn.OpenAIMultiModal("gpt-4o", api_base=server.openai_base)
    comparison = vn.compare([llm], ["What?"], [tagged])
    comparison.set_label(0, correctness=4, relevance=5)
    path = default_path()
    with closing(sqlite3.connect(path)) as connection:
        stored = "\n".join(connection.iterdump())
    assert "The answer is forty-two." in stored and str(tagged) in stored and "annotator-seven" in stored
    data = tagged.read_bytes()
    for file in path.parent.glob(f"{path.name}*"):
        content = file.read_bytes()
        assert not appears_in(content.decode("latin-1"))
        assert CAMERA.encode() not in content and data[2000:2064] not in content
        assert base64.b64encode(data[2001:2061]) not in content


def test_the_stores_file_is_complete_on_its_own_between_calls(server, tagged, tmp_path):
    server.answer_with("The answer is forty-two.")
    llm = vn.OpenAIMultiModal("gpt-4o", CANARY, server.openai_base)
    vn.compare([llm], ["What?"], [tagged], store=tmp_path / "answers.sqlite3")
    log = tmp_path / "answers.sqlite3-wal"
    assert not log.exists() or log.stat().st_size == 0
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "answers.sqlite3", tmp_path / "copy")
    before = len(server.requests)
    again = vn.compare([llm], ["What?"], [tagged], store=tmp_path / "copy" / "answers.sqlite3")
    assert again[0].response == "The answer is forty-two." and len(server.requests) == before


async def test_a_widgets_saved_state_has_neither_images_nor_answers(server, tagged):
    server.answer_with("The answer is forty-two.")
    panel = vn.ChatPanel(vn.OpenAIMultiModal("gpt-4o", CANARY, server.openai_base), images=tagged)
    await panel.ask("What?")
    saved = str([widget.get_state() for widget in (panel, *panel.children)])
    assert panel.chat.turns and "forty-two" not in saved and "base64" not in saved and str(tagged) not in saved
