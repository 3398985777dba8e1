"""The tests' Ctrl-C helper ignores interrupts that other libraries lose, and nothing else."""

import signal
import sys
import sysconfig
import weakref
from functools import partial
from pathlib import Path

import pytest

import vision_nb
from tests.forms import interrupted_when

LIBRARY = str(Path(sysconfig.get_path("purelib"), "library", "client.py"))
OURS = str(Path(vision_nb.__file__).parent / "store.py")
PRESS = partial(signal.raise_signal, signal.SIGINT)


@pytest.fixture
def reported(monkeypatch):
    """Return the types of the exceptions that Python ignored and reported, each of which would fail a test."""
    types = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: types.append(unraisable.exc_type))
    return types


def lose(function, *files):
    """Call a function where Python ignores exceptions, through code of these files."""
    for file in reversed(files):
        names = {"function": function}
        exec(compile("def call(*_): function()", file, "exec"), names)
        function = names["call"]
    freed = {1}
    _reference = weakref.ref(freed, function)
    del freed


@pytest.mark.posix
@pytest.mark.parametrize("files", [["<frozen abc>"], [LIBRARY], [LIBRARY, weakref.__file__]])
def test_an_interrupt_that_another_library_loses_is_not_reported(reported, files):
    with interrupted_when(lambda: False):
        lose(PRESS, *files)
    assert reported == []


@pytest.mark.posix
@pytest.mark.parametrize(
    "files", [[OURS], [OURS, LIBRARY], [LIBRARY, OURS], [OURS, "<frozen abc>"], [weakref.__file__]]
)
def test_an_interrupt_that_our_code_loses_is_reported(reported, files):
    with interrupted_when(lambda: False):
        lose(PRESS, *files)
    assert reported == [KeyboardInterrupt]


@pytest.mark.posix
def test_other_exceptions_and_later_interrupts_are_reported(reported):
    with interrupted_when(lambda: False):
        lose(lambda: 1 / 0, "<frozen abc>")
    lose(PRESS, "<frozen abc>")
    assert reported == [ZeroDivisionError, KeyboardInterrupt]
