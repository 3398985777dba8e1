"""The options of ``%%vision``, and the parser of a cell's first line."""

from __future__ import annotations

import json
import keyword
import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable
from typing import Any, TypeVar

from IPython.core.error import UsageError as IPythonUsageError
from IPython.core.magic_arguments import ArgDecorator, MagicArgumentParser, argument, magic_arguments

from vision_nb.images.detail import DETAILS
from vision_nb.images.formats import type_of_name
from vision_nb.magics.settings import FORMATS
from vision_nb.magics.usage_errors import UsageError, truncate, unknown

F = TypeVar("F", bound=Callable[..., Any])

_WORD = re.compile(
    r"""(?P<head>-{0,2}[\w.-]+=)?(?P<quote>["'])(?P<quoted>.*?)(?P=quote)(?=\s|$)|(?P<bare>\S+)""", re.DOTALL
)
_MAX_DIGITS = 12
_NOT_PARAMETERS = {  # the keyword arguments of a call that are not request parameters
    "prompt": "write the question in the cell's body.",
    "messages": "write the question in the cell's body.",
    "images": "use -i.",
    "image_documents": "use -i.",
    "schema": "use --schema.",
    "stream": "use --no-stream.",
    "self": "choose another name.",
}


def _one_of(kind: str, known: tuple[str, ...]) -> Callable[[str], str]:
    def check(word: str) -> str:
        if word not in known:
            raise ArgumentTypeError(str(unknown(kind, word, known)))
        return word

    return check


def _token_count(word: str) -> int:
    if not word.isdecimal() or len(word) > _MAX_DIGITS or int(word) < 1:
        raise ArgumentTypeError(f"{truncate(word)!r} is not a number of tokens: use a whole number of at least 1.")
    return int(word)


def _temperature(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ArgumentTypeError(f"{truncate(word)!r} is not a number: use a value such as 0.2.") from None


def _conversation_name(word: str) -> str:
    if not word.strip():
        raise ArgumentTypeError("a conversation needs a name, as in --chat cats.")
    return word


def _parameter(word: str) -> tuple[str, Any]:
    """Parse KEY=VALUE; the value is JSON if it is valid JSON."""
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise ArgumentTypeError(f"{truncate(word)!r} is not KEY=VALUE: write it as in seed=7.")
    if key in _NOT_PARAMETERS:
        raise ArgumentTypeError(f"{key} is not a request parameter: {_NOT_PARAMETERS[key]}")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError as error:
        if value[:1] in ("{", "["):
            raise ArgumentTypeError(
                f"{key}: {truncate(value)} is not valid JSON ({error.msg} at character {error.pos + 1}). "
                """Quote the whole parameter, as in -p 'stop=["a", "b"]'."""
            ) from None
        return key, value
    except (ValueError, RecursionError) as error:  # a number of too many digits, or too many brackets
        raise ArgumentTypeError(f"{key}: {truncate(value)} cannot be read as JSON: {truncate(str(error))}") from None


OPTIONS = (
    argument("model", nargs="*", metavar="MODEL", help="provider:model or an alias; NAME << assigns the answer"),
    argument(
        "-i", "--image", metavar="SRC", action="append", default=[],
        help="an image: path, glob pattern, folder, URL, Out[3], _ or a variable (repeatable)",
    ),
    argument("-d", "--detail", type=_one_of("detail level", DETAILS), help=f"detail level: {', '.join(DETAILS)}"),
    argument("-s", "--system", metavar="TEXT", help="system message"),
    argument("-t", "--temperature", type=_temperature, metavar="T", help="sampling temperature"),
    argument("--max-tokens", type=_token_count, metavar="N", help="maximum number of tokens in the answer"),
    argument(
        "-p", "--param", metavar="KEY=VALUE", type=_parameter, action="append", default=[],
        help="any other request parameter; the value is parsed as JSON if possible (repeatable)",
    ),
    argument(
        "-f", "--format", type=_one_of("format", FORMATS),
        help="output format: markdown, text, html, code (in a new cell), json (parsed), math, dataframe (parsed table)",
    ),
    argument(
        "--schema", metavar="NAME",
        help="a class or JSON schema in the notebook; the value is the validated answer",
    ),
    argument(
        "-c", "--continue", dest="continue_", action="store_true",
        help="continue this notebook's conversation, including its images",
    ),
    argument("--chat", type=_conversation_name, metavar="NAME", help="continue or start the conversation of this name"),
    argument(
        "-m", "--compare", metavar="MODEL", action="append", default=[],
        help="also ask this model, and show the answers side by side (repeatable)",
    ),
    argument("--dry-run", action="store_true", help="show what would be sent, without sending it"),
    argument("--cost", action="store_true", help="show the price with the answer"),
    argument(
        "--no-thumbnails", dest="thumbnails", action="store_false", default=None,
        help="do not show the images of the question below the answer",
    ),
    argument("--no-stream", dest="stream", action="store_false", default=None, help="wait for the complete answer"),
    argument("--no-raise", action="store_true", help="show an error without stopping Run All"),
    argument(
        "--cache", dest="cache", action="store_true", default=None,
        help="reuse the cached answer to an identical question (default)",
    ),
    argument("--no-cache", dest="cache", action="store_false", default=None, help="ask again, ignoring the cache"),
    argument("--api-base", metavar="URL", help="base URL of the server"),
    argument("--api-key-env", metavar="NAME", help="environment variable that holds the API key"),
    argument("--yes", action="store_true", help="send many images to a paid model"),
)  # fmt: skip
"""The options, in the order of ``%vision help``."""

OPTION_NAMES = tuple(name for option in OPTIONS for name in option.args if name.startswith("-"))
"""Every short and long option name."""


class _PlainHelp(ArgDecorator):
    """Keeps the colors of Python 3.14 out of the help, which is the magic's docstring."""

    def add_to_parser(self, parser: Any, group: Any) -> None:
        parser.color = False


def with_options(function: F) -> F:
    """Decorate a magic with the options, their parser and their help."""
    for option in reversed((_PlainHelp(), *OPTIONS)):
        function = option(function)
    decorated: F = magic_arguments()(function)
    return decorated


def parse(parser: MagicArgumentParser, line: str) -> Namespace:
    """Parse the first line of a cell.

    Returns:
        The options. ``name`` is the variable before ``<<``, ``model`` one name or None, ``param`` a dict.

    Raises:
        UsageError: An option or a value is invalid.
    """
    words = split(line)
    name = _take_assignment(words)
    try:
        options, rest = parser.parse_known_args(words)
    except IPythonUsageError as error:  # IPython's parser quotes words in full
        raise UsageError(str(error)) from error
    for word in rest:
        if word in ("--help", "-h"):
            raise UsageError("%vision help lists the options and the subcommands.")
        if word.startswith("-"):
            raise unknown("option", word.partition("=")[0], OPTION_NAMES)
    models = [*options.model, *rest]
    if len(models) > 1:
        advice = "write the question below the cell's first line, and put values with spaces in quotes."
        if type_of_name(models[1]) is not None or "://" in models[1]:
            advice = "write -i before an image."
        unexpected = truncate(" ".join(models[1:]))
        raise UsageError(f"Unexpected text {unexpected!r} after {truncate(models[0])!r}: {advice}")
    options.model, options.name = (models[0] if models else None), name
    options.param = dict(options.param)
    return options


def split(line: str) -> list[str]:
    r"""Split a line into words, without the quotes around them.

    Backslashes have no special meaning. Quotes of one kind may contain the other kind, and a quote inside a word is
    part of the word.

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
            raise UsageError(f"The quote in {truncate(bare)} is not closed: end the text with the same quote.")
        else:
            words.append(bare)
    return words


def _take_assignment(words: list[str]) -> str | None:
    """Remove ``NAME <<`` from the words and return the name."""
    for position, word in enumerate(words):
        if word.endswith("<<") and " " not in word:  # not in a quoted text
            name = word[:-2]
            if not name and position:
                name = words.pop(position - 1)
                position -= 1
            del words[position]
            _check_variable_name(name)
            return name
    return None


def _check_variable_name(name: str) -> None:
    if keyword.iskeyword(name):
        raise UsageError(f"{name!r} is a Python keyword: write another variable name before <<.")
    if not name.isidentifier():
        guess = re.sub(r"\W+|^(?=\d)", "_", name)
        hint = f"did you mean {truncate(guess)}?" if guess.isidentifier() else "write NAME <<, as in answer <<."
        raise UsageError(f"{truncate(name)!r} is not a valid variable name: {hint}")
