"""Whatever is typed on a line, in a cell or is in the variables, the magics answer or raise one of our own errors."""

import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from IPython.core.error import UsageError

from tests.conftest import picture
from tests.kernels import in_process_shell
from vision_nb.errors import VisionError
from vision_nb.magics.image_args import image_variables

pytestmark = pytest.mark.slow

PROPERTY = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Hostile:
    """An object whose every use fails."""

    def fail(self, *args):
        raise RuntimeError("\ud800" + "x" * 1000)

    __getattr__ = __getitem__ = __iter__ = __len__ = __str__ = __repr__ = __bool__ = __fspath__ = fail
    __format__ = __array__ = fail


class HostileError(Exception):
    def __str__(self):
        raise RuntimeError("no message")


def raises_hostile_error():
    raise HostileError


CYCLE: list[object] = []
CYCLE.append(CYCLE)
VARIABLES = {
    "hostile": Hostile(), "hostiles": [Hostile()], "cycle": CYCLE, "photo": picture(), "none": None, "number": 3,
    "surrogate": "\ud800", "long": "x" * 5000, "table": {"a": picture(), "b": Hostile()}, "fails": raises_hostile_error,
    "data": b"\x89PNG", "kind": Hostile, "nested": [[[[]]]],
}  # fmt: skip


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    with in_process_shell(tmp_path_factory.mktemp("store")) as shell:
        shell.user_ns.update(VARIABLES)
        yield shell


def check(shell, line, cell=None):
    """Run a magic in the shell, and check that any error is ours, short and can be displayed."""
    result = None
    try:
        result = shell.run_line_magic("vision", line) if cell is None else shell.run_cell_magic("vision", line, cell)
    except (VisionError, UsageError) as error:
        assert 0 < len(str(error)) <= 300
        str(error).encode()
    finally:
        for name in ("model", "format"):
            setattr(shell.magics, name, type(shell.magics).class_traits()[name].default_value)
    for text in (getattr(result, "text", ""), *(request_text(one) for one in shell.server.requests)):
        text.encode()
    shell.server.requests.clear()


def request_text(request):
    return json.dumps(request.body, ensure_ascii=False)


CHARACTERS = st.characters(codec=None, exclude_characters="\n")
TEXTS = st.text(CHARACTERS, max_size=12)
NAMES = st.sampled_from(
    [*VARIABLES, "table['a']", "table['b']", "hostile.x", "hostile[0]", "photo.size", "Out[9]", "_"]
)
LONG = st.sampled_from(
    ["x" * 3000, "[" * 3000, "9" * 5000, "\ud800" * 500, "~nobody-here/a.png", "a\0b.png", "Out." + "a" * 300]
)
OPTIONS = st.sampled_from(
    "-i --image -d --detail -s -t --temperature --max-tokens -p --param -f --format -c --chat -m --dry-run --cost "
    "--no-stream --no-raise --cache --no-cache --api-key-env --yes --s -- - << --sytem demo answer".split()
)
WORDS = st.one_of(
    OPTIONS, NAMES, TEXTS, LONG, st.builds("{}={}".format, TEXTS | st.sampled_from(["seed", "stop", "x"]), TEXTS | LONG)
)
LINES = st.lists(WORDS, max_size=5).map(" ".join)
EXPRESSIONS = NAMES | TEXTS | LONG | st.sampled_from(["fails()", "1/0", "'\\ud800'", "-" * 5000 + "1", "[" * 200])
CELLS = st.lists(TEXTS | LONG | EXPRESSIONS.map("{{{{{}}}}}".format), max_size=3).map(
    lambda lines: "\n".join(lines) or "?"
)  # IPython itself refuses an empty cell


@PROPERTY
@given(line=LINES, cell=CELLS)
def test_any_line_and_cell_is_answered_or_our_own_error(shell, line, cell):
    check(shell, f"demo {line}", cell)
    check(shell, line, cell)


SUBCOMMANDS = st.sampled_from("list use alias dealias chat cost cache help version show reset export path".split())


@PROPERTY
@given(words=st.lists(SUBCOMMANDS | WORDS, max_size=4))
def test_any_subcommand_line_is_carried_out_or_our_own_error(shell, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check(shell, " ".join(words))


@pytest.mark.parametrize("line", ["fix", "fix x" + "y" * 999, "fix --\ud800", "fix demo demo", "fix demo"])
def test_fix_without_anybody_to_ask_sends_nothing(shell, monkeypatch, line):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    shell.run_cell("1 / 0")
    check(shell, line)


@pytest.mark.parametrize(
    "line, cell",
    [
        ("demo", "{{hostile}}"), ("demo", "{{fails()}}"), ("demo", "{{" + "-" * 50_000 + "1}}"), ("demo", "{{surrogate}}"),
        ("demo -i hostile", "What?"), ("demo -i hostile.x", "What?"), ("demo -i cycle", "What?"),
        ("demo -i ~nobody-here/a.png", "What?"), ("demo -i Out." + "a" * 300, "What?"), ("demo -i " + "x" * 2_000_000, "What?"),
        ("demo -p x=" + "9" * 5000, "What?"), ("demo -p x=" + "[" * 50_000, "What?"), ("demo --max-tokens " + "9" * 5000, "What?"),
        ("demo --no-such-" + "x" * 5000, "What?"), ("x" * 5000, "What?"), ("x" * 5000 + " <<", "What?"), ("demo --chat \ud800", "\ud800"),
        ("demo --chat " + "x" * 5000, "What?"), ("demo -f " + "x" * 5000, "What?"), ("demo -d", "What?"), ("demo '" + "x" * 5000, "What?"),
        ("chat export ~nobody-here/a.md", None), ("chat export a\0.md", None), ("help " + "x" * 5000, None), ("chat " + "x" * 5000, None),
    ],
)  # fmt: skip
def test_extreme_input_is_answered_or_our_own_error(shell, line, cell):
    shell.run_cell("%%vision demo -c\nWhat?")  # so that there is a conversation
    check(shell, line, cell)
    if cell is not None:  # as a front end runs it
        error = shell.run_cell(f"%%vision {line}\n{cell}").error_in_exec
        assert error is None or isinstance(error, (VisionError, UsageError))


def test_variables_that_fail_when_they_are_used_are_not_offered_as_images():
    assert image_variables(VARIABLES) == ["photo"]
