"""Metadata of images stays on this machine, whichever way an image leaves the program."""

import base64
import inspect
import re
import socket
import sqlite3
from contextlib import closing
from functools import partial

import pytest

import vision_nb as vn
from tests.extractions import RECEIPT, make_extraction
from tests.kernels import in_process_shell
from tests.test_prepare import CARRIERS, with_inflated
from tests.test_services import MODELS, NAMES
from vision_nb.demo.openai.dialects import service_path
from vision_nb.images.formats import has_only_pixels, sniff
from vision_nb.services.table import SERVICES
from vision_nb.widgets.image_viewer import enlarged_image

pytestmark = pytest.mark.slow

MARK = b"SecretCamera"
BATCH = 5  # images in one request or table: the smallest limit of a service


@pytest.fixture
def sent(monkeypatch):
    """Return the bytes that sockets send from now on."""
    found = bytearray()
    for name in ("send", "sendall", "sendmsg"):
        original = getattr(socket.socket, name)

        def noted(self, data, *arguments, original=original, name=name):
            found.extend(b"".join(data) if name == "sendmsg" else data)
            return original(self, data, *arguments)

        monkeypatch.setattr(socket.socket, name, noted)
    return found


def openai(server, **options):
    return vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base, **options)


def with_chat_completions(server, images, folder):
    openai(server).complete("What?", images)


def with_responses_api(server, images, folder):
    openai(server, api="responses").complete("What?", images)


def with_uploads(server, images, folder):
    with openai(server) as llm:
        llm.complete("What?", [image.upload(llm) for image in images])


def with_tiles(server, images, folder):
    openai(server).complete("What?", [image.split(1, 2)[0] for image in images])


def with_local_server(server, images, folder):
    vn.LocalMultiModal("llava", server.openai_base, context_length=0).complete("What?", images)


def with_replicate(server, images, folder):
    with vn.ReplicateMultiModal("llava-13b", api_token="t", api_base=server.replicate_base) as llm:
        for image in images:
            llm.complete("What?", [image])


def with_replicate_files(server, images, folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vision_nb.providers.replicate.model.MAX_DATA_URI_LENGTH", 0)
        with_replicate(server, images, folder)


def with_comparison(server, images, folder):
    comparison = vn.compare([openai(server)], ["What?"], images, store=folder / "compared.sqlite3", progress=False)
    panel = comparison.label()
    cards = []
    for _ in images:
        cards.append(str(panel.card))
        panel._move(1)
        panel._show()
    return comparison._repr_html_() + str(cards)


def with_review(server, images, folder):
    extraction = make_extraction(folder, [[RECEIPT]] * len(images), images=images)
    panel = extraction.review(reviewer="ann")
    cards = []
    for _ in images:
        cards += [str(panel.card), enlarged_image(extraction.document(panel.row))]
        panel.accept()
    return str(cards)


def with_exports(server, images, folder):
    chat = vn.Chat(openai(server))
    chat.ask("What?", images)
    return "".join(chat.export(folder / f"talk{kind}").read_text() for kind in (".html", ".md", ".ipynb", ".json"))


def with_views(server, images, folder):
    return images._repr_html_() + str([image.data_uri() + image._repr_html_() for image in images])


def with_dry_run(server, images, folder):
    with in_process_shell(folder) as shell:
        shell.user_ns["images"] = images
        return shell.run_cell("%%vision openai:gpt-4o -i images --dry-run\nWhat?").result._repr_html_()


async def with_chat_panel(server, images, folder):
    path = folder / "talks.sqlite3"
    panel = vn.ChatPanel(openai(server), images, name="talk", store=path)
    await panel.ask("What?")
    panel._record.flush()
    with closing(sqlite3.connect(path)) as connection:
        stored = "\n".join(connection.iterdump())
    return stored + str([widget.get_state() for widget in (panel, *panel.children)])


async def with_service(server, images, folder, name):
    row = server.service = SERVICES[name]
    base = server.url + service_path(row)
    await vn.connect(f"{name}:{MODELS[name]}", api_key="k", api_base=base).acomplete("What?", images)


def images_in(data):
    """Return the images in bytes that were sent or saved: as base64, and as parts of a multipart form."""
    found = [base64.b64decode(text + b"==") for text in re.findall(rb"(?<![\w+/])[\w+/]{200,}", data)]
    found += [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in re.split(rb"--[\w-]{16,}", data)]
    return [image for image in found if sniff(image[:64])]


PATHS = [
    with_chat_completions,
    with_responses_api,
    with_uploads,
    with_tiles,
    with_local_server,
    with_replicate,
    with_replicate_files,
    with_comparison,
    with_review,
    with_exports,
    with_views,
    with_dry_run,
    with_chat_panel,
    *(pytest.param(partial(with_service, name=name), id=f"with_{name}") for name in NAMES),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return the paths of images, each with a mark in one kind of metadata."""
    folder = tmp_path_factory.mktemp("images")
    for number, make in enumerate(CARRIERS.values()):
        (folder / str(number)).write_bytes(make())
    return [str(folder / str(number)) for number in range(len(CARRIERS))]


@pytest.mark.parametrize("leave", PATHS)
async def test_no_metadata_leaves_by_any_way(server, sent, files, tmp_path, leave):
    for start in range(0, len(files), BATCH):
        (folder := tmp_path / f"from {start}").mkdir()
        images = vn.load_images(*files[start : start + BATCH])
        sent.clear()
        saved = leave(server, images, folder)
        saved = await saved if inspect.isawaitable(saved) else saved
        data = bytes(sent) + (saved or "").encode("latin-1", "replace")
        assert MARK not in data
        shown = images_in(data)
        assert len({image.prepare().data for image in images}) <= len(shown)
        for image in shown:
            assert MARK not in with_inflated(image) and has_only_pixels(image, sniff(image[:64]))
