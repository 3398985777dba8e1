r"""The formulas in untrusted Markdown: where they are beyond doubt, and how they are written safely.

Front ends know ``$x$`` and ``$$x$$``, some also ``\\(x\\)``, ``\\[x\\]`` and LaTeX's environments. They look for
them in different ways, and more than one sets a formula aside before it looks for code: a delimiter that stays
open could then take the start of a block of code along.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

# Commands that make links, set HTML attributes or load something.
ACTIVE_TEX = (
    "(?:href|url|class|cssId|style|data|htmlClass|htmlId|htmlStyle|htmlData|includegraphics|require|mmlToken|bbox)"
    r"(?=[^A-Za-z]|$|www\.|https?:|ftp:)"  # the end of a name, also where a parser makes a link of what follows
)
BACKSLASH = "\N{SET MINUS}"  # looks like a backslash, and is none to TeX
BARE_URL = re.compile(r"(?i:(?:https?|ftp)://|www\.)[^ \t\n`]*")

_ACTIVE_COMMAND = re.compile(rf"(?<!\\)\\+({ACTIVE_TEX})")
_FORMULA_START = re.compile(r"\$|\\(?=\\|begin)")

# What opens, closes or breaks a formula, and the escapes that do none of it.
_TOKEN = re.compile(
    rf"""(?=[\\`~$&\nhfwHFW]) (?:  # a quick look first: most characters begin nothing
         \\(?P<step>begin|end)[ \t]*\{{(?P<environment>[A-Za-z]*\*?)\}}
       | (?P<break> {BARE_URL.pattern} | ` | ~{{3,}} | &\# | \\\\?(?:begin|end)\s*\{{ )
       | \\\\[()\[\]]
       | \\[!-/:-@\[-_{{-~]
       | \$+
       | \n )""",
    re.VERBOSE,
)
_CLOSERS = {"$": "$", "$$": "$$", r"\\(": r"\\)", r"\\[": r"\\]"}
_INLINE = ("$", r"\\(")
_ALONE = re.compile(r"^[ \t]*(?=\$\$[ \t]*$)", re.MULTILINE)
_MARKUP = re.compile(r"<(?=[A-Za-z/!?])|\](?=[(:])|!(?=\[)|&(?=[A-Za-z][A-Za-z0-9]*;)")
_DISPLAY_FORMULA = re.compile(
    r"""^( (?:[ \t>*+-]|\d{1,9}[.)])*  # the marks of quotations and lists
           \$\$ (?:\\\$|[^$\n])+ \$\$ )
        [ \t]*
        (?= ([^ \t\n](?:[^$\n]|\$(?!\$))*)? $ )""",
    re.MULTILINE | re.VERBOSE,
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
    return _ACTIVE_COMMAND.sub(rf"{BACKSLASH}\1", text)


def without_formulas(url: str) -> str:
    """Percent-encodes what could start a formula in a URL."""
    return _FORMULA_START.sub(lambda mark: quote(mark[0]), url)


@dataclass
class _Opened:
    """A formula that has begun, in a paragraph.

    Attributes:
        opener: One of `_CLOSERS`, or "begin".
        start: Where it starts.
        indent: What stands before it on its line.
        environments: LaTeX's environments that are open in it, outermost first.
    """

    opener: str
    start: int
    indent: str
    environments: list[str]

    def reaches(self, text: str, line_start: int) -> bool:
        """Tells whether the formula can go on in the next line."""
        return self.opener not in _INLINE and not self.indent.strip(" \t") and text.startswith(self.indent, line_start)

    def meets(self, token: re.Match[str], before: str, after: str) -> Literal["closed", "open", "broken"]:
        """Tells what a token makes of the formula."""
        mark = token[0]
        if token["step"] == "begin":
            self.environments.append(token["environment"])
            return "open"
        if token["step"] == "end":
            if self.environments[-1:] != [token["environment"]]:
                return "broken"
            self.environments.pop()
            return "open" if self.environments or self.opener != "begin" else "closed"
        if mark == _CLOSERS.get(self.opener) and not self.environments and before not in ("\\", "$"):
            return "broken" if mark == "$" and (before.isspace() or after.isdigit()) else "closed"
        # nbconvert looks for display formulas first, also inside the others.
        is_display = mark == r"\\[" and self.opener in _INLINE
        return "open" if mark[0] == "\\" and not token["break"] and not is_display else "broken"


def _opened(token: re.Match[str], before: str, after: str, indent: str) -> _Opened | None:
    """Opens a formula where a token can begin one."""
    opener = token["step"] or token[0]
    if opener not in ("begin", *_CLOSERS) or before in ("\\", "$") or (opener == "$" and after.isspace()):
        return None
    return _Opened(opener, token.start(), indent, [token["environment"]] if opener == "begin" else [])


def find_formulas(text: str) -> Iterator[tuple[int, int]]:
    """Finds the formulas whose extent no parser can mistake.

    One over several lines starts on a line of its own and keeps its indent, as VS Code stops where a line has
    less; and its two ``$$`` both have a line to themselves, with the same indent, or neither has.

    Args:
        text: A paragraph, with backticks in place of inline code.

    Yields:
        Where a formula starts, and where it ends.
    """
    if "$" not in text and "\\" not in text:
        return
    alone = {match.end(): match[0] for match in _ALONE.finditer(text)}
    formula: _Opened | None = None
    line_start = 0
    for token in _TOKEN.finditer(text):
        at, end = token.span()
        if token[0] == "\n":
            line_start = end
            if formula and not formula.reaches(text, line_start):
                formula = None
            continue
        before, after = text[at - 1 : at], text[end : end + 1]
        fate = formula.meets(token, before, after) if formula else "broken"
        if formula and fate == "closed" and alone.get(formula.start) == alone.get(at):
            yield formula.start, end
            formula = None
        elif fate != "open":
            formula = _opened(token, before, after, indent=text[line_start:at])


def safe_formula(text: str, start: int, end: int) -> str:
    """Writes a formula so that it is harmless as text too: TeX ignores the spaces that go in.

    Args:
        text: The paragraph.
        start: Where the formula starts in it.
        end: Where it ends.
    """
    formula = _MARKUP.sub(r"\g<0> ", defuse_tex(text[start:end]))
    return formula + " " if formula.endswith("]") and text[end : end + 1] in ("(", ":", "[") else formula


def break_after_display_formulas(text: str) -> str:
    """Puts what follows ``$$x$$`` on the next line, as VS Code would read on to the next ``$$`` in the answer."""
    return _DISPLAY_FORMULA.sub(lambda match: match[1] + ("\n" if match[2] else ""), text)
