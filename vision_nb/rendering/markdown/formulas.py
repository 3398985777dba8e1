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

from vision_nb.rendering.tex import FormulaLimit

BARE_URL = re.compile(r"(?i:(?:https?|ftp)://|www\.)[^ \t\n`]*")

_OPENERS = ("$$", "$", r"\\(", r"\\[", r"\(", r"\[")

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


def without_formulas(url: str) -> str:
    """Percent-encode the characters of a URL that could start a formula."""
    return re.sub(r"[$\\]", lambda mark: quote(mark[0]), url)


def split_formula(formula: str) -> tuple[str, str, str]:
    """Return a formula's opening delimiter, its TeX and its closing delimiter; an environment has no delimiters."""
    size = next((len(opener) for opener in _OPENERS if formula.startswith(opener)), 0)
    end = len(formula) - size
    return formula[:size], formula[size:end], formula[end:]


def typeset_formula(formula: str, limit: FormulaLimit) -> str | None:
    """Return a formula that is safe to typeset, with its delimiters, or None if it must be shown as code."""
    opener, tex, closer = split_formula(formula)
    safe = limit.safe_tex(tex)
    return None if safe is None else opener + safe + closer


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


def safe_formula(text: str, start: int, end: int, limit: FormulaLimit) -> str | None:
    """Return a formula that is harmless even if a parser treats it as text, or None if it must be shown as code.

    Spaces are added, which TeX ignores.

    Args:
        text: The paragraph.
        start: The formula's start.
        end: The formula's end.
        limit: The limit of the answer's formulas.
    """
    safe = typeset_formula(text[start:end], limit)
    if safe is None:
        return None
    formula = _MARKUP.sub(r"\g<0> ", safe)
    return formula + " " if formula.endswith("]") and text[end : end + 1] in ("(", ":", "[") else formula


def break_after_display_formulas(text: str) -> str:
    """Break the line after ``$$x$$``.

    VS Code would otherwise continue the formula to the next ``$$``.
    """
    return _DISPLAY_FORMULA.sub(lambda match: match[1] + ("\n" if match[2] else ""), text)
