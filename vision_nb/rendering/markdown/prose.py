r"""Prose in untrusted Markdown: words, inline code, formulas and links.

* A ``<`` that could open a tag and a stray backtick become character references such as ``&lt;``, which no parser
  treats as HTML.
* A ``$`` or backslash that stays on the page outside of formulas and code is written as ``<span>&#36;</span>``.
  MathJax looks for formulas in the text of the finished page, but not across elements.
* Inline code stays between backticks if all parsers agree about it. Otherwise it becomes ``<code>`` with its
  punctuation written as character references, which is harmless even if it is parsed as text.
* Unambiguous formulas stay if they contain only harmless commands; others become ``<code>``. A space, which TeX
  ignores, keeps ``a<b`` from being a tag.
* Links to ``http``, ``https`` and ``mailto`` stay, without their title. Images become links.
"""

from __future__ import annotations

import html
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from vision_nb.rendering.markdown.formulas import (
    BARE_URL,
    break_after_display_formulas,
    find_formulas,
    safe_formula,
    without_formulas,
)
from vision_nb.rendering.sanitize import escape_punctuation, isolate_delimiters
from vision_nb.rendering.tex import FormulaLimit

_SAFE_URL = re.compile(r"https?://[^/\s]|mailto:[^/\s]", re.IGNORECASE)

MARK = re.compile(r"[\\<!\[\]`~$&]")
_DESCRIPTION = re.compile(r"^([ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?):(?=[ \t]|::)", re.MULTILINE)
_ESCAPE_OR_CLOSE = re.compile(r"\\.|\]", re.DOTALL)
_OPEN_BRACKET = re.compile(r"(?<!\\)(?:\\\\)*\[")
_TICKS = re.compile(r"`+|\n")
_PLAIN_CODE = re.compile(r"(?:[^$\\|@\]`]|\](?![(:\[])|@(?!@)|\\(?!begin|end)(?=[A-Za-z0-9]))*")

TITLE = r"""(?:[ \t]+(?:"[^"\n]*"|'[^'\n]*'|\([^()\n]*\)))?[ \t]*"""
_PROSE = re.compile(
    rf"""(?=[\\<!\]`~$&]) (?:
         (?P<isolated>(?:<span>&\#(?:36|92);</span>)+)
       | <(?P<address>(?:https?://|mailto:)[^\s<>]+|[\w.+-]+@[\w.-]+)>
       | <code>(?P<code>[^<>`\n]*)</code>
       | (?P<newline><br\ ?/?>)
       | !(?P<unnamed>\[)(?=\]\()
       | \](?P<target>\([ \t]*(?:<(?P<angled>[^<>\n]*)>|(?P<bare>(?:[^\s()<>]|\([^\s()<>]*+\))*+)){TITLE}\))
       | \](?P<after>[(:])
       | (?P<slashes>\\*+)(?P<mark><(?![\s\d=<-]) | (?<!!)!+(?=\[) | `+ | ~{{3,}} | \$+
            | &(?:\#\d+ | \#[xX][0-9a-fA-F]+ | [A-Za-z][A-Za-z0-9]*(?=;));?)
       | (?P<backslashes>\\+)(?=(?P<next>(?s:.)?)) )""",
    re.VERBOSE,
)


def is_safe_url(url: str) -> bool:
    """Return whether the URL's scheme is ``http``, ``https`` or ``mailto``."""
    return bool(_SAFE_URL.match(url))


def safe_url(url: str) -> str | None:
    """Return a URL that cannot end its link early, or None if it is not safe."""
    url = unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", url))
    if not is_safe_url(url):
        return None
    return quote(url.encode("utf-8", "replace"), safe="-._~:/?#@&=+,%").replace("&#", "%26#")


def unescape(text: str) -> str:
    """Resolve character references, unless one has too many digits for Python."""
    try:
        return html.unescape(text)
    except ValueError:  # more than 4300 digits
        return text


def safe_prose(lines: list[str], limit: FormulaLimit) -> str:
    """Return a paragraph that reads the same and is harmless in every parser.

    Args:
        lines: Untrusted lines of Markdown without code blocks and blank lines.
        limit: The limit of the answer's formulas.
    """
    text = _DESCRIPTION.sub(r"\1&#58;", "\n".join(lines))  # description lists of nbconvert, blocks of MyST
    if not MARK.search(text):
        return text
    context = _Context(
        in_table=all(line.lstrip(" \t").startswith("|") for line in lines), has_one_dollar=text.count("$") == 1
    )
    code = list(_code_spans(text))
    prose = _masked(text, code)
    # After an unclosed bracket, marked and mistune look for "]:" even in a fenced block that follows.
    last = max((mark.end() for mark in _ESCAPE_OR_CLOSE.finditer(prose) if mark[0] == "]"), default=0)
    spans = [(start, end, "`") for start, end in code]
    spans += [(mark.end() - 1, mark.end(), "&#91;") for mark in _OPEN_BRACKET.finditer(prose, last)]
    spans += [
        (start, end, safe_formula(text, start, end, limit) or _code_html(text[start:end]))
        for start, end in find_formulas(prose)
        if not _OPEN_BRACKET.search(prose, max(start, last), end)
    ]
    written, position = [], 0
    for start, end, span in sorted(spans):
        written += [_prose(text[position:start], context), span]
        position = end
    written.append(_prose(text[position:], context))
    outline = break_after_display_formulas("".join(written))  # its only backticks stand for inline code, one each
    codes = (text[start:end].strip("`") for start, end in code)
    in_urls = {url.end() for url in BARE_URL.finditer(outline)} if code else set()

    def inline_code_at(tick: re.Match[str]) -> str:
        code_text, at = next(codes), tick.start()
        # Some parsers take the backticks for part of a URL, or of a formula between two stray dollar signs.
        agreed = at not in in_urls and not ("$" in outline and "<" in code_text)
        # GitHub reads $`...`$ as a formula, MyST {name}`...` as a role, and marked ~` as text.
        agreed = agreed and outline[at - 1 : at] not in tuple("$}~^@=&#%<")
        return _inline_code(code_text, agreed, context.in_table)

    return re.sub("`", inline_code_at, outline)


def _code_spans(text: str) -> Iterator[tuple[int, int]]:
    """Find inline code: from some backticks to as many backticks on the same line."""
    if "`" not in text:
        return
    runs = list(_TICKS.finditer(text))
    partners: list[int | None] = [None] * len(runs)
    next_of_length: dict[str, int] = {}
    for index in reversed(range(len(runs))):
        if runs[index][0] == "\n":
            next_of_length = {}
        else:
            partners[index] = next_of_length.get(runs[index][0])
            next_of_length[runs[index][0]] = index
    index = 0
    while index < len(runs):
        partner, start = partners[index], runs[index].start()
        if partner is not None and text[start - 1 : start] != "\\":
            yield start, runs[partner].end()
            index = partner
        index += 1


def _masked(text: str, spans: list[tuple[int, int]]) -> str:
    """Replace spans by backticks."""
    pieces, position = [], 0
    for start, end in spans:
        pieces += [text[position:start], "`" * (end - start)]
        position = end
    return "".join([*pieces, text[position:]])


def _inline_code(code: str, agreed: bool, in_table: bool) -> str:
    """Return inline code in backticks if all parsers agree on it, otherwise as HTML."""
    if agreed and _PLAIN_CODE.fullmatch(code):
        return f"`{code}`"
    if code.startswith(" ") and code.endswith(" ") and code.strip(" "):
        code = code[1:-1]
    return _code_html(code.replace("\\|", "|") if in_table else code)


def _code_html(code: str) -> str:
    return f"<code>{escape_punctuation(code)}</code>"


@dataclass(frozen=True)
class _Context:
    """The paragraph around some prose.

    Attributes:
        in_table: Whether it is a table.
        has_one_dollar: Whether it has a single dollar sign, which cannot delimit a formula.
    """

    in_table: bool
    has_one_dollar: bool


def _prose(text: str, context: _Context) -> str:
    """Return text without code and formulas, made safe."""
    # JupyterLab puts formulas back unescaped, even into the attribute of a link made from a bare URL.
    text = BARE_URL.sub(lambda url: without_formulas(url[0]), text) if "$" in text or "\\" in text else text
    return _PROSE.sub(lambda match: _prose_mark(match, context), text)


def _prose_mark(match: re.Match[str], context: _Context) -> str:
    """Return the safe form of something in prose that could be markup."""
    if match["isolated"]:
        return match[0]
    if match["backslashes"]:
        return _backslashes(match["backslashes"], match["next"])
    if match["address"]:
        url = safe_url(match["address"] if ":" in match["address"] else f"mailto:{match['address']}")
        if not url:
            return "&lt;" + _prose(match[0][1:], context)
        text = re.sub(r"[*_~]", lambda mark: escape_punctuation(mark[0]), url.removeprefix("mailto:"))
        # After an exclamation mark a link would be an image.
        return text if match.string[match.start() - 1 : match.start()] == "!" else f"[{text}]({url})"
    if match["code"] is not None:
        return _code_html(unescape(match["code"]))
    if match["newline"]:
        return "<br>" if context.in_table else f"&lt;{match[0][1:]}"  # on a line of its own it would open an HTML block
    if match["unnamed"]:
        return "[image"
    if match["target"]:
        url = safe_url(match["angled"] or match["bare"] or "")
        return f"]({url})" if url else "]&#40;" + _prose(match["target"][1:], context)
    if match["after"]:
        return "]" + escape_punctuation(match["after"])
    mark = match["mark"]
    if not mark:
        return match[0]
    slashes = match["slashes"]
    escaped = len(slashes) % 2 == 1
    if mark == "$" and context.has_one_dollar and len(slashes) < 2:
        return match[0]
    kept = isolate_delimiters("\\" * (len(slashes) // 2))
    if mark[0] == "&":
        return kept + ("&amp;" + mark[1:] if escaped else _reference(mark))
    if mark[0] == "$":
        return kept + isolate_delimiters(mark)
    if mark == "!" and not slashes and not match.string[match.start() - 1 : match.start()].isalnum():
        return ""  # an image becomes a link
    return kept + ("&lt;" if mark == "<" else escape_punctuation(mark))


def _backslashes(run: str, following: str) -> str:
    """Return backslashes in prose; those that the parser keeps and does not treat as an escape are isolated."""
    escapes = len(run) % 2 == 1 and following != "" and following in string.punctuation + "\n"
    kept = len(run) // 2 + (len(run) % 2 == 1 and not escapes)
    return isolate_delimiters("\\" * kept) + ("\\" if escapes else "")


def _reference(reference: str) -> str:
    """Return a character reference; one of a letter, digit or control character is shown as text."""
    character = unescape(reference)
    if character in ("$", "\\") and reference.endswith(";"):
        return isolate_delimiters(character)
    return "&amp;" + reference[1:] if re.search(r"[$\\A-Za-z0-9\x00-\x1f]", character) else reference
