"""The words on the line of ``%%vision``: the table of options, and how the line is read."""

from __future__ import annotations

import json
import keyword
import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable
from typing import Any, TypeVar

from IPython.core.magic_arguments import MagicArgumentParser, argument, magic_arguments

from vision_nb.images.detail import DETAILS
from vision_nb.magics.settings import FORMATS
from vision_nb.magics.usage_errors import UsageError, unknown

F = TypeVar("F", bound=Callable[..., Any])

_WORD = re.compile(
    r"""(?P<head>-{0,2}[\w.-]+=)?(?P<quote>["'])(?P<quoted>.*?)(?P=quote)(?=\s|$)|(?P<bare>\S+)""", re.DOTALL
)


def _one_of(what: str, known: tuple[str, ...]) -> Callable[[str], str]:
    def check(word: str) -> str:
        if word not in known:
            raise ArgumentTypeError(str(unknown(what, word, known)))
        return word

    return check


def _positive(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise ArgumentTypeError(f"{word!r} is no number of tokens: write a whole number from 1 on.")
    return int(word)


def _temperature(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ArgumentTypeError(f"{word!r} is no number, such as 0.2.") from None


def _parameter(word: str) -> tuple[str, Any]:
    """KEY=VALUE, the value as JSON where it is JSON."""
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise ArgumentTypeError(f"{word!r} is not KEY=VALUE, such as seed=7.")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError as error:
        if value[:1] in ("{", "["):
            raise ArgumentTypeError(
                f"{key}: {value} is no JSON ({error.msg} at character {error.pos + 1}). Quotes go around the whole, "
                """as in -p 'stop=["a", "b"]'."""
            ) from None
        return key, value


OPTIONS = (
    argument("model", nargs="*", metavar="MODEL", help="provider:model or an alias; left out: the default or the demo"),
    argument(
        "-i", "--image", metavar="SRC", action="append", default=[],
        help="a path, glob, folder, URL, Out[3], _ or a variable (repeat)",
    ),
    argument(
        "-d", "--detail", type=_one_of("detail level", DETAILS), help=f"how closely to look: {', '.join(DETAILS)}"
    ),
    argument("-s", "--system", metavar="TEXT", help="what the model is told before the question"),
    argument("-t", "--temperature", type=_temperature, metavar="T", help="how freely the model picks its words"),
    argument("--max-tokens", type=_positive, metavar="N", help="the most tokens of the answer"),
    argument(
        "-p", "--param", metavar="KEY=VALUE", type=_parameter, action="append", default=[],
        help="any other request parameter; the value is JSON where it parses (repeat)",
    ),
    argument(
        "-f", "--format", type=_one_of("format", FORMATS),
        help="markdown, text, html, code (a new cell below), json (parsed), math, dataframe (a table, parsed)",
    ),
    argument(
        "-c", "--continue", dest="continue_", action="store_true",
        help="go on with this notebook's conversation, its pictures included",
    ),
    argument("--chat", metavar="NAME", help="go on with the conversation of this name"),
    argument(
        "-m", "--compare", metavar="MODEL", action="append", default=[],
        help="ask this model too, answers side by side (repeat)",
    ),
    argument("--dry-run", action="store_true", help="show what would be sent, and send nothing"),
    argument("--cost", action="store_true", help="show the price with the answer"),
    argument("--no-stream", dest="stream", action="store_false", default=None, help="show the answer when it is whole"),
    argument("--no-raise", dest="raises", action="store_false", help="show an error, and let the notebook run on"),
    argument(
        "--cache", dest="cache", action="store_true", default=None,
        help="take the answer from the store where the same was asked before (the default)",
    ),
    argument("--no-cache", dest="cache", action="store_false", default=None, help="ask again"),
    argument("--api-base", metavar="URL", help="the base URL of another server"),
    argument("--api-key-env", metavar="NAME", help="the environment variable that holds the key"),
    argument("--yes", action="store_true", help="send many pictures without being asked"),
)  # fmt: skip
"""What a line may hold; the order is that of the help."""


def with_options(function: F) -> F:
    """Give a magic the table of options, and its help."""
    for option in reversed(OPTIONS):
        function = option(function)
    decorated: F = magic_arguments()(function)
    return decorated


def option_names(parser: MagicArgumentParser) -> list[str]:
    """Every spelling of every option."""
    return [spelling for action in parser._actions for spelling in action.option_strings]


def parse(parser: MagicArgumentParser, line: str) -> Namespace:
    """Read the line of a cell.

    Returns:
        The options; ``name`` is what stands before ``<<``, ``model`` one word or None, ``param`` a dict.

    Raises:
        UsageError: A word makes no sense there.
    """
    words = split(line)
    name = _assigned(words)
    options, rest = parser.parse_known_args(words)
    for word in rest:
        if word.startswith("-"):
            raise unknown("option", word.partition("=")[0], option_names(parser))
    models = [*options.model, *rest]
    if len(models) > 1:
        raise UsageError(
            f"{models[1]!r} is one word too many after the model {models[0]!r}: the question goes below the first "
            "line, and a text with spaces into quotes."
        )
    options.model, options.name = (models[0] if models else None), name
    options.param = dict(options.param)
    return options


def split(line: str) -> list[str]:
    r"""The words of a line, without the quotes around them; backslashes are as good as any other character.

    A quote of one kind holds the other, and one in the middle of a word is part of it.

    Raises:
        UsageError: A quote is not closed.

    >>> split('-i C:\\new\\a.jpg -s "a \'b\' c" --system="x y"')
    ['-i', 'C:\\new\\a.jpg', '-s', "a 'b' c", '--system=x y']
    """
    words = []
    for match in _WORD.finditer(line):
        bare = match["bare"]
        if bare is None:
            words.append((match["head"] or "") + match["quoted"])
        elif bare[0] in "\"'":
            raise UsageError(
                f"The quote before {bare[1:] or 'the end'} is not closed: a text stands between two alike."
            )
        else:
            words.append(bare)
    return words


def _assigned(words: list[str]) -> str | None:
    """Take ``NAME <<`` out of the words."""
    for place, word in enumerate(words):
        if word.endswith("<<"):
            name = word[:-2]
            if not name and place:
                name = words.pop(place - 1)
                place -= 1
            del words[place]
            _check_name(name)
            return name
    return None


def _check_name(name: str) -> None:
    if keyword.iskeyword(name):
        raise UsageError(f"{name!r} is a word of Python's and cannot be a name: write another before <<.")
    if not name.isidentifier():
        guess = re.sub(r"\W+|^(?=\d)", "_", name)
        hint = f"did you mean {guess}?" if guess.isidentifier() else "write NAME <<, as in answer <<."
        raise UsageError(f"{name!r} cannot be a name for the answer: {hint}")
