r"""Formulas in untrusted Markdown: finding unambiguous ones, writing them safely.

All front ends support ``$x$`` and ``$$x$$``; some also ``\\(x\\)``, ``\\[x\\]`` and LaTeX environments. They find
formulas in different ways, and some set them aside before they look for code: an unclosed delimiter could then
include the start of a code block.
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
    r"(?=[^A-Za-z]|$|www\.|https?:|ftp:)"  # the end of the name; a parser may turn what follows into a link
)
BACKSLASH = "\N{SET MINUS}"  # looks like a backslash, and is not one to TeX
BARE_URL = re.compile(r"(?i:(?:https?|ftp)://|www\.)[^ \t\n`]*")

_ACTIVE_COMMAND = re.compile(rf"(?<!\\)\\+({ACTIVE_TEX})")
_FORMULA_START = re.compile(r"\$|\\(?=\\|begin)")

# Everything that opens, closes or breaks a formula, and escapes, which do not.
_TOKEN = re.compile(
    rf"""(?=[\\`~$&\nhfwHFW]) (?:  # a fast check first: most characters begin no token
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
    r"""^( (?:[ \t>*+-]|\d{1,9}[.)])*  # quotation and list markers
           \$\$ (?:\\\$|[^$\n])+ \$\$ )
        [ \t]*
        (?= ([^ \t\n](?:[^$\n]|\$(?!\$))*)? $ )""",
    re.MULTILINE | re.VERBOSE,
)


def defuse_tex(text: str) -> str:
    r"""Disable the TeX commands that make links, set HTML attributes or load files.

    Args:
        text: Text that MathJax or KaTeX may process.

    Returns:
        The text, with the backslash of each such command replaced by a similar character.

    >>> defuse_tex(r"\frac{a}{b} \url{c}") == rf"\frac{{a}}{{b}} {BACKSLASH}url{{c}}"
    True
    """
    return _ACTIVE_COMMAND.sub(rf"{BACKSLASH}\1", text)


def without_formulas(url: str) -> str:
    """Percent-encode the characters of a URL that could start a formula."""
    return _FORMULA_START.sub(lambda mark: quote(mark[0]), url)


@dataclass
class _OpenFormula:
    """A formula whose end has not been found yet.

    Attributes:
        opener: One of `_CLOSERS`, or "begin".
        start: Its position in the paragraph.
        indent: The text before it on its line.
        environments: The LaTeX environments that are open in it, outermost first.
    """

    opener: str
    start: int
    indent: str
    environments: list[str]

    def continues(self, text: str, line_start: int) -> bool:
        """Return whether the formula can continue on the next line."""
        return self.opener not in _INLINE and not self.indent.strip(" \t") and text.startswith(self.indent, line_start)

    def after(self, token: re.Match[str], before: str, after: str) -> Literal["closed", "open", "broken"]:
        """Return the formula's state after a token, given the characters around the token."""
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
        # nbconvert looks for display formulas first, also inside other formulas.
        is_display = mark == r"\\[" and self.opener in _INLINE
        return "open" if mark[0] == "\\" and not token["break"] and not is_display else "broken"


def _open_formula(token: re.Match[str], before: str, after: str, indent: str) -> _OpenFormula | None:
    """Return the formula that a token starts, or None if it cannot start one."""
    opener = token["step"] or token[0]
    if opener not in ("begin", *_CLOSERS) or before in ("\\", "$") or (opener == "$" and after.isspace()):
        return None
    return _OpenFormula(opener, token.start(), indent, [token["environment"]] if opener == "begin" else [])


def find_formulas(text: str) -> Iterator[tuple[int, int]]:
    """Find the formulas that every parser delimits in the same way.

    A formula over several lines must start its line and keep its indent, because VS Code ends it at a line with less.
    Its two ``$$`` must both be alone on their line with the same indent, or neither.

    Args:
        text: A paragraph in which inline code is replaced by backticks.

    Yields:
        The start and end of a formula.
    """
    if "$" not in text and "\\" not in text:
        return
    alone = {match.end(): match[0] for match in _ALONE.finditer(text)}
    formula: _OpenFormula | None = None
    line_start = 0
    for token in _TOKEN.finditer(text):
        at, end = token.span()
        if token[0] == "\n":
            line_start = end
            if formula and not formula.continues(text, line_start):
                formula = None
            continue
        before, after = text[at - 1 : at], text[end : end + 1]
        state = formula.after(token, before, after) if formula else "broken"
        if formula and state == "closed" and alone.get(formula.start) == alone.get(at):
            yield formula.start, end
            formula = None
        elif state != "open":
            formula = _open_formula(token, before, after, indent=text[line_start:at])


def safe_formula(text: str, start: int, end: int) -> str:
    """Return a formula that is harmless even if a parser treats it as text.

    Spaces are added, which TeX ignores.

    Args:
        text: The paragraph.
        start: The formula's start.
        end: The formula's end.
    """
    formula = _MARKUP.sub(r"\g<0> ", defuse_tex(text[start:end]))
    return formula + " " if formula.endswith("]") and text[end : end + 1] in ("(", ":", "[") else formula


def break_after_display_formulas(text: str) -> str:
    """Break the line after ``$$x$$``.

    VS Code would otherwise continue the formula to the next ``$$``.
    """
    return _DISPLAY_FORMULA.sub(lambda match: match[1] + ("\n" if match[2] else ""), text)
