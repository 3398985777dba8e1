"""Untrusted Markdown, block by block: fenced code, link definitions and prose."""

from __future__ import annotations

import re

from vision_nb.rendering.markdown.prose import (
    MARK,
    TITLE,
    safe_prose,
    safe_url,
    unescape,
)
from vision_nb.rendering.sanitize import escape_punctuation
from vision_nb.rendering.tex import FormulaLimit

_LINE_END = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")  # each of these ends a line in some parser
_CONTROL_OR_SURROGATE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")

_FENCE = r"(?P<fence>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)"
_INDENT = r"(?P<indent>[ \t]+|[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+)"
_OUTER_FENCE = re.compile(_FENCE)
_INNER_FENCE = re.compile(_INDENT + _FENCE)
_CODE_HTML = re.compile(_INDENT + r'<pre><code(?: class="language-(?P<info>[^"<>]*)")?>(?P<code>[^<>`]*)</code></pre>')
_LANGUAGE = re.compile(r"[\w+#.-]+", re.ASCII)
# nbconvert writes the text of a diagram as HTML, and diagrams load images. GitHub typesets a block of math.
_ACTIVE_LANGUAGES = {"mermaid": "text", "math": "latex"}
_DEFINITION = re.compile(rf" {{0,3}}\[(?P<label>[\w .,+-]{{1,80}})\]:[ \t]*<?(?P<url>[^\s<>]+)>?{TITLE}")


def safe_markdown(text: str) -> str:
    """Make untrusted Markdown safe for a ``text/markdown`` output.

    Images become links, because loading an image tells its server who reads the answer and when. A formula with a TeX
    command that is not known to be harmless is shown as code.

    Args:
        text: Markdown from a model or another untrusted source.

    Returns:
        Markdown that reads the same and is harmless in every front end.

    >>> safe_markdown("![cat](https://a.org/b.png)")
    '[cat](https://a.org/b.png)'
    """
    lines = _CONTROL_OR_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", _LINE_END.sub("\n", text)).split("\n")
    limit = FormulaLimit()
    written: list[str] = []
    paragraph: list[str] = []
    index = 0
    while index < len(lines):
        block, following = _block(lines, index)
        if block is None:
            paragraph.append(lines[index])
        else:
            if paragraph:
                written.append(safe_prose(paragraph, limit))
                paragraph = []
            is_fence = block.startswith("```")
            if is_fence and written and written[-1]:
                written.append("")
            written.append(block)
            # The title of a link definition could be on the next line.
            needs_blank_line = is_fence or block.startswith("[")
            if needs_blank_line and following < len(lines) and lines[following].strip(" \t"):
                written.append("")
        index = following
    if paragraph:
        written.append(safe_prose(paragraph, limit))
    return "\n".join(written)


def _block(lines: list[str], index: int) -> tuple[str | None, int]:
    """Return the safe form of the block that starts at a line.

    A block is a blank line, a code block or a link definition.

    Returns:
        The block (None for a line of prose) and the index of the line after it.
    """
    line = lines[index]
    if not line.strip(" \t"):
        return "", index + 1
    if not MARK.search(line):
        return None, index + 1
    if fence := _OUTER_FENCE.fullmatch(line) or _INNER_FENCE.fullmatch(line):
        code, following = _fenced(lines, index + 1, fence)
        return _code_block(fence, code), following
    if fence := _CODE_HTML.fullmatch(line):
        return _code_block(fence, unescape(fence["code"])), index + 1
    if (definition := _DEFINITION.fullmatch(line)) and (url := safe_url(definition["url"])):
        return f"[{definition['label']}]: {url}", index + 1
    return None, index + 1


def _fenced(lines: list[str], start: int, fence: re.Match[str]) -> tuple[str, int]:
    """Read a fenced block up to its closing fence, or to the end of the text.

    Returns:
        The text in the block and the index of the line after it.
    """
    indent = len(fence.groupdict().get("indent", "").expandtabs(4))
    closing = re.compile(rf"[ \t]{{0,{max(indent, 3)}}}{fence['fence'][0]}{{{len(fence['fence'])},}}[ \t]*")
    margin = re.compile(rf"[ \t]{{0,{indent}}}")
    code: list[str] = []
    for index in range(start, len(lines)):
        if closing.fullmatch(lines[index]):
            return "\n".join(code), index + 1
        code.append(margin.sub("", lines[index], count=1) if indent else lines[index])
    return "\n".join(code), len(lines)


def _code_block(fence: re.Match[str], code: str) -> str:
    """Return a code block: fenced if at the left margin, otherwise as a line of HTML."""
    word = _LANGUAGE.match((fence["info"] or "").strip())
    language = word[0] if word else ""
    for name, shown_as in _ACTIVE_LANGUAGES.items():
        if language.lower().startswith(name):
            language = shown_as
    if fence.re is _OUTER_FENCE:
        ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
        return f"{ticks}{language}\n{code}\n{ticks}"
    attribute = f' class="language-{language}"' if language else ""
    return f"{fence['indent']}<pre><code{attribute}>{escape_punctuation(code)}</code></pre>"
