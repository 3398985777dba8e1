r"""The formulas in untrusted Markdown: where they are beyond doubt, and how they are written safely.

Front ends know ``$x$`` and ``$$x$$``, some also ``\\(x\\)``, ``\\[x\\]`` and LaTeX's environments. They look for
them in different ways, and more than one sets a formula aside before it looks for code: a delimiter that stays
open could then take the start of a block of code along.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

# Commands that make links, set HTML attributes or load something.
ACTIVE_TEX = (
    "(?:href|url|class|cssId|style|data|htmlClass|htmlId|htmlStyle|htmlData|includegraphics|require|mmlToken|bbox)"
    r"(?=[^A-Za-z]|$|www\.|https?:|ftp:)"  # the end of a name, also where a parser makes a link of what follows
)
BACKSLASH = "\N{SET MINUS}"  # looks like a backslash, and is none to TeX
BARE_URL = re.compile(r"(?i:(?:https?|ftp)://|www\.)[^ \t\n`]*")

_TEX = re.compile(rf"(?<!\\)\\+({ACTIVE_TEX})")
_START = re.compile(r"\$|\\(?=\\|begin)")
_TOKEN = re.compile(
    rf"""(?=[\\`~$&\nhfwHFW]) (?:
         \\(?P<step>begin|end)[ \t]*\{{(?P<name>[A-Za-z]*\*?)\}}
       | (?P<stop>{BARE_URL.pattern} | ` | ~{{3,}} | &\# | \\\\?(?:begin|end)\s*\{{)
       | \\\\[()\[\]] | \\[!-/:-@\[-_{{-~] | \$+ | \n )""",
    re.VERBOSE,
)
_CLOSERS = {"$": "$", "$$": "$$", r"\\(": r"\\)", r"\\[": r"\\]"}
_ALONE = re.compile(r"^([ \t]*)(\$\$)[ \t]*$", re.MULTILINE)
_MARKUP = re.compile(r"<(?=[A-Za-z/!?])|\](?=[(:])|!(?=\[)|&(?=[A-Za-z][A-Za-z0-9]*;)")
_DISPLAY_AND_MORE = re.compile(
    r"^((?:[ \t>*+-]|\d{1,9}[.)])*\$\$(?:\\\$|[^$\n])+\$\$)(?:[ \t]+$|[ \t]*(?=[^ \t\n](?:[^$\n]|\$(?!\$))*$)())",
    re.MULTILINE,
)


def defuse_tex(text: str) -> str:
    r"""Takes the backslash from TeX commands that make links, set HTML attributes or load something.

    Args:
        text: Text that MathJax or KaTeX may see.

    Returns:
        The text, with a look-alike for the backslash of each such command.

    >>> defuse_tex(r"\frac{a}{b} \url{c}") == rf"\frac{{a}}{{b}} {BACKSLASH}url{{c}}"
    True
    """
    return _TEX.sub(rf"{BACKSLASH}\1", text)


def without_formulas(url: str) -> str:
    """Percent-encodes what could start a formula in a URL."""
    return _START.sub(lambda mark: quote(mark[0]), url)


def find_formulas(text: str) -> Iterator[tuple[int, int]]:
    """Finds the formulas whose extent no parser can mistake.

    One over several lines starts on a line of its own and keeps its indent, as VS Code stops where a line has
    less; and its two ``$$`` both have a line to themselves, or neither has.

    Args:
        text: A paragraph, with backticks in place of inline code.

    Yields:
        Where a formula starts, and where it ends.
    """
    if "$" not in text and "\\" not in text:
        return
    alone = {match.start(2): match[1] for match in _ALONE.finditer(text)}
    opener, start, line_start, indent = "", 0, 0, ""
    environments: list[str] = []
    for token in _TOKEN.finditer(text):
        mark, at = token[0], token.start()
        before, after = text[at - 1 : at], text[token.end() : token.end() + 1]
        is_inline = opener in ("$", r"\\(")
        if mark == "\n":
            line_start = token.end()
            if is_inline or indent.strip(" \t") or not text.startswith(indent, line_start):
                opener = ""
            continue
        closes = False
        if opener and token["step"] == "begin":
            environments.append(token["name"])
            continue
        if opener and token["step"] == "end" and environments[-1:] == [token["name"]]:
            environments.pop()
            if environments or opener != "begin":
                continue
            closes = True
        elif opener and mark == _CLOSERS.get(opener) and not environments and before not in ("\\", "$"):
            closes = alone.get(start) == alone.get(at) and (mark != "$" or not (before.isspace() or after.isdigit()))
        elif opener and mark[0] == "\\" and not (token["step"] or token["stop"] or (is_inline and mark == r"\\[")):
            continue  # an escape, but no display formula: nbconvert looks for those first
        if closes:
            yield start, token.end()
            opener = ""
            continue
        opener = token["step"] or mark
        if opener not in ("begin", *_CLOSERS) or before in ("\\", "$") or (opener == "$" and after.isspace()):
            opener = ""
        start, indent, environments = at, text[line_start:at], [token["name"]]
        if opener != "begin":
            environments.clear()


def safe_formula(text: str, start: int, end: int) -> str:
    """Writes a formula so that it is harmless as text too: TeX ignores the spaces that go in.

    Args:
        text: The paragraph.
        start: Where the formula starts in it.
        end: Where it ends.
    """
    formula = _MARKUP.sub(r"\g<0> ", defuse_tex(text[start:end]))
    return formula + " " if formula.endswith("]") and text[end : end + 1] in ("(", ":", "[") else formula


def settle_display_formulas(text: str) -> str:
    """Puts what follows ``$$x$$`` on the next line, as VS Code would read on to the next ``$$`` in the answer."""
    return _DISPLAY_AND_MORE.sub(lambda match: match[1] + ("" if match[2] is None else "\n"), text)
