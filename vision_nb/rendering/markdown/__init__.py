r"""Makes untrusted Markdown safe for every front end's own parser; ``safe_html`` offers it to the package.

Parsers disagree about where code and formulas begin and end, and some set formulas aside before they look for
code. So nothing here rests on guessing what a parser will take for code:

* A fenced block at the left margin keeps its text, between blank lines and fences longer than any inside it.
  No formula, link definition or list of the prose around it can swallow its fence.
* A fenced block inside a list item becomes ``<pre><code>`` on one line, with each punctuation mark as a
  character reference, so that it is harmless as text too.
* Everything else is prose; see ``vision_nb.rendering.markdown.prose``.

Each step takes time in proportion to the text's length.
"""

from __future__ import annotations

import re

from vision_nb.rendering.markdown.formulas import defuse_tex
from vision_nb.rendering.markdown.prose import (
    MARK,
    TITLE,
    escape_punctuation,
    is_safe_url,
    safe_prose,
    safe_url,
    unescape,
)

__all__ = ["defuse_tex", "escape_punctuation", "is_safe_url", "safe_markdown"]

_LINE_END = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")  # some parser ends a line at each of these
_UNWRITABLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")

_FENCE = r"(?P<fence>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)"
_INDENT = r"(?P<indent>[ \t]+|[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+)"
_OUTER_FENCE = re.compile(_FENCE)
_INNER_FENCE = re.compile(_INDENT + _FENCE)
_WRITTEN_BLOCK = re.compile(
    _INDENT + r'<pre><code(?: class="language-(?P<info>[^"<>]*)")?>(?P<code>[^<>`]*)</code></pre>'
)
_LANGUAGE = re.compile(r"[\w+#.-]+", re.ASCII)
# nbconvert writes a diagram's text as HTML, and diagrams load pictures. GitHub typesets a block of math.
_ACTIVE_LANGUAGES = {"mermaid": "text", "math": "latex"}
_DEFINITION = re.compile(rf" {{0,3}}\[(?P<label>[\w .,+-]{{1,80}})\]:[ \t]*<?(?P<url>[^\s<>]+)>?{TITLE}")


def safe_markdown(text: str) -> str:
    """Makes a model's answer safe for a ``text/markdown`` output; see ``vision_nb.rendering.sanitize``."""
    lines = _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", _LINE_END.sub("\n", text)).split("\n")
    written: list[str] = []
    paragraph: list[str] = []
    index = 0
    while index < len(lines):
        block, following = _block(lines, index)
        if block is None:
            paragraph.append(lines[index])
        else:
            if paragraph:
                written.append(safe_prose(paragraph))
                paragraph = []
            is_fence = block.startswith("```")
            if is_fence and written and written[-1]:
                written.append("")
            written.append(block)
            # A definition's title could be on the next line.
            is_apart = is_fence or block.startswith("[")
            if is_apart and following < len(lines) and lines[following].strip(" \t"):
                written.append("")
        index = following
    if paragraph:
        written.append(safe_prose(paragraph))
    return "\n".join(written)


def _block(lines: list[str], index: int) -> tuple[str | None, int]:
    """Writes a blank line, a block of code or a link definition that starts at a line.

    Returns:
        The block, or None for a line of prose, and the index of the line after it.
    """
    line = lines[index]
    if not line.strip(" \t"):
        return "", index + 1
    if not MARK.search(line):
        return None, index + 1
    if fence := _OUTER_FENCE.fullmatch(line) or _INNER_FENCE.fullmatch(line):
        code, following = _fenced(lines, index + 1, fence)
        return _code_block(fence, code), following
    if fence := _WRITTEN_BLOCK.fullmatch(line):
        return _code_block(fence, unescape(fence["code"])), index + 1
    if (definition := _DEFINITION.fullmatch(line)) and (url := safe_url(definition["url"])):
        return f"[{definition['label']}]: {url}", index + 1
    return None, index + 1


def _fenced(lines: list[str], start: int, fence: re.Match[str]) -> tuple[str, int]:
    """Reads a fenced block up to its closing fence, or to the end where there is none yet.

    Returns:
        The text in the block, and the index of the line after it.
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
    """Writes a block of code: fenced at the left margin, as HTML on one line elsewhere."""
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
