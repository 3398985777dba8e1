r"""The formulas in untrusted Markdown: where they are beyond doubt, and how they are written safely.

Most front ends know ``$x$`` and ``$$x$$``, some also ``\\\\(x\\\\)``, ``\\\\[x\\\\]`` and LaTeX's environments. They look for
them at different times and in different ways, and more than one sets a formula aside before it looks for code:
a delimiter left open would then take the start of a block of code with it.
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
_TEX = re.compile(rf"(?<!\\)\\+({ACTIVE_TEX})(?![A-Za-z])")
BACKSLASH = "\N{SET MINUS}"  # looks like a backslash, and is none to TeX

_URL_RUN = r"(?i:(?:https?|ftp)://|www\.)[^ \t\n`]*"
BARE_URL = re.compile(_URL_RUN)
_FORMULA_START = re.compile(r"\$|\\(?=\\|begin)")
_DELIMITER = re.compile(
    rf"""(?=[\\`~$\nhfwHFW]) (?:
         \\(?P<step>begin|end)[ \t]*\{{(?P<name>[A-Za-z]*\*?)\}}
       | (?P<stop>{_URL_RUN} | ` | ~{{3,}} | \\\\?(?:begin|end)\s*\{{)
       | \\\\[()\[\]] | \\[!-/:-@\[-_{{-~] | \$+ | \n )""",
    re.VERBOSE,
)
_CLOSERS = {"$": "$", "$$": "$$", r"\\(": r"\\)", r"\\[": r"\\]"}
_MARKUP_IN_FORMULA = re.compile(r"<(?=[A-Za-z/!?])|\](?=[(:])|!(?=\[)|&(?=#|[A-Za-z][A-Za-z0-9]*;)")
_FORMULA_THEN_TEXT = re.compile(
    r"^((?:[ \t>*+-]|\d{1,9}[.)])*\$\$(?:\\\$|[^$\n])+\$\$)(?:[ \t]+$|[ \t]*(?=[^ \t\n](?:[^$\n]|\$(?!\$))*$)())",
    re.MULTILINE,
)


def defuse_tex(text: str) -> str:
    r"""Takes the backslash from TeX commands that make links, set HTML attributes or load something.

    Args:
        text: Text that MathJax or KaTeX may see.

    Returns:
        The text, with a look-alike for the backslash of each such command.
    """
    return _TEX.sub(rf"{_BACKSLASH}\1", text)


def _formulas(text: str) -> Iterator[tuple[int, int]]:
    """Finds formulas whose extent no parser can mistake.

    One over several lines starts on a line of its own and keeps its indent, as VS Code stops at another.
    """
    if "$" not in text and "\\" not in text:
        return
    opener, start, line_start, indent = "", 0, 0, ""
    environments: list[str] = []
    for token in _DELIMITER.finditer(text):
        mark, at = token[0], token.start()
        before, after = text[at - 1 : at], text[token.end() : token.end() + 1]
        closed = False
        inline = opener in ("$", r"\\(")
        if mark == "\n":
            line_start = token.end()
            if inline or indent.strip(" \t") or not text.startswith(indent, line_start):
                opener = ""
            continue
        if opener and token["step"] == "begin":
            environments.append(token["name"])
            continue
        if opener and token["step"] == "end" and environments[-1:] == [token["name"]]:
            environments.pop()
            closed = opener == "begin" and not environments
            if not closed:
                continue
        elif opener and mark == _CLOSERS.get(opener) and not environments and before not in ("\\", "$"):
            closed = mark != "$" or not (before.isspace() or after.isdigit())
        elif opener and mark[0] == "\\" and not (token["step"] or token["stop"] or (inline and mark == r"\\[")):
            continue  # but a display formula inside: nbconvert looks for those first
        if closed:
            yield start, token.end()
            opener = ""
        elif before not in ("\\", "$") and (token["step"] == "begin" or mark in _CLOSERS):
            opener, start, indent = token["step"] or mark, at, text[line_start:at]
            environments = [token["name"]] if token["step"] else []
            if mark == "$" and after.isspace():
                opener = ""
        else:
            opener = ""


def _formula(text: str, start: int, end: int) -> str:
    """Writes a formula so that it is harmless as text too."""
    formula = _MARKUP_IN_FORMULA.sub(r"\g<0> ", defuse_tex(text[start:end]))
    return formula + " " if formula.endswith("]") and text[end : end + 1] in ("(", ":", "[") else formula


