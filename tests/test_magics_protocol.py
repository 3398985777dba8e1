"""`%%vision` over the kernel protocol: completion as front ends request it, and cell IDs."""

import pytest
from jupyter_client.manager import start_new_kernel

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.kernels import cell_runner
from vision_nb.magics.options import OPTION_NAMES
from vision_nb.magics.subcommands import SUBCOMMANDS

pytestmark = pytest.mark.kernel

SETUP = (
    "%load_ext vision_nb\nfrom PIL import Image\nphoto = Image.new('L', (9, 9))\nphotos = [photo]\nphrase = 'none'\n"
    "%vision alias fast openai:gpt-4o-mini\nimport vision_nb as vn"
)


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    (folder / "phone.png").write_bytes(encoded(picture()))
    (folder / "phone.txt").write_text("not an image")
    manager, client = start_new_kernel(cwd=str(folder))
    try:
        assert client.execute_interactive(SETUP, timeout=180)["content"]["status"] == "ok"

        def ask(code, cursor=None):
            reply = client.complete(code, cursor, reply=True, timeout=180)["content"]
            return {code[: reply["cursor_start"]] + match for match in reply["matches"]}

        yield ask
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.mark.parametrize(
    "typed, offered",
    [
        ("%%vision --im", "%%vision --image"),
        ("%%vision demo -", "%%vision demo -i"),
        ("%%vision dem", "%%vision demo"),
        ("%%vision fa", "%%vision fast"),
        ("%%vision openai:gpt-4o-m", "%%vision openai:gpt-4o-mini"),
        ("%%vision demo -m fas", "%%vision demo -m fast"),
        ("%%vision demo -i pho", "%%vision demo -i photos"),
        ("%%vision demo -i phone.", "%%vision demo -i phone.png"),
        ("%%vision -d h", "%%vision -d high"),
        ("%%vision -f data", "%%vision -f dataframe"),
        ("%vision li", "%vision list"),
        ("%vision use fa", "%vision use fast"),
        ("%vision dealias f", "%vision dealias fast"),
        ("%vision chat e", "%vision chat export"),
        ("%vision cache c", "%vision cache clear"),
        ("%vision cache p", "%vision cache path"),
        ("%vision help ChatP", "%vision help ChatPanel"),
        ("x = 1\n%vision li", "x = 1\n%vision list"),
    ],
)
def test_tab_completes(complete, typed, offered):
    assert offered in complete(typed)


def test_tab_offers_only_images_after_the_image_option(complete):
    assert complete("%%vision demo -i ph") == {f"%%vision demo -i {name}" for name in ("photo", "photos", "phone.png")}


def test_tab_offers_no_python_names_on_the_line_of_a_magic(complete):
    """IPython's own completer, with Jedi as it is by default, would add its names: -abs, images/abs ..."""
    assert complete("%vision ") == {f"%vision {name}" for name in SUBCOMMANDS}
    assert complete("%%vision demo -") == {f"%%vision demo {name}" for name in OPTION_NAMES}
    assert complete("%%vision demo -i ./") == {"%%vision demo -i ./phone.png"}


def test_tab_offers_only_the_public_names_of_the_package(complete):
    assert complete("vn.") == {f"vn.{name}" for name in vn.__all__}


def test_tab_completes_the_first_line_of_a_cell_with_a_body(complete):
    assert "%%vision demo --dry-run" in complete("%%vision demo --dr\nWhat is this?", 18)


def test_rerunning_a_cell_of_a_conversation_replaces_its_own_turn():
    setup = "%load_ext vision_nb\nfrom vision_nb.demo import shared_server\nrequests = shared_server().requests"
    sent = "(len(requests), len(requests[-1].body['messages']))"
    with cell_runner() as run:
        run("load", setup)
        cells = [("one", "%%vision demo\nOne?"), ("two", "%%vision -c\nTwo?"), ("three", "%%vision -c\nThree?")]
        assert [run(*cell, sent) for cell in cells] == [(1, 1), (2, 3), (3, 5)]
        assert [run(*cell, sent) for cell in cells] == [(3, 5)] * 3  # Run All on the executed notebook
        assert [run(*cell, sent) for cell in cells[1:]] == [(3, 5)] * 2
        assert run("two", "%%vision -c\nTwo, differently?", sent) == (4, 3)
        run("code", "chat = %vision chat show\nchat.undo()")  # code can change the conversation too
        assert run("two", "%%vision -c\nTwo again?", sent) == (5, 3)
        run("code", "chat = %vision chat show\nchat.ask('By code?')")
        assert run("two", "%%vision -c\nTwo once more?", sent) == (7, 3)
