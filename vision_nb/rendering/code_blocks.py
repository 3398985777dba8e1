"""Syntax highlighting of code blocks in sanitized HTML: language names and token classes, without styles or scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from html import escape, unescape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pygments.lexer import Lexer

_CODE_BLOCK = re.compile(r'<pre><code class="language-(?P<language>[^"]+)">(?P<code>[^<]*)</code></pre>')
_WINDOW = 2_000
"""Characters that are given to a lexer at once, because the time of some lexers grows with the square of the length."""

# The names after a fence, by the name that Pygments has for the language. Other languages are shown without colors:
# a lexer is added here only after tests/test_code_blocks.py has found it fast on hostile code.
_NAMES = {
    "bash": "bash sh shell zsh",
    "c": "c h",
    "cpp": "cpp c++ cc hpp",
    "csharp": "csharp cs c#",
    "css": "css",
    "diff": "diff patch",
    "docker": "dockerfile docker",
    "go": "go golang",
    "html": "html",
    "ini": "ini cfg",
    "java": "java",
    "javascript": "javascript js jsx mjs",
    "json": "json jsonc",
    "julia": "julia jl",
    "kotlin": "kotlin kt",
    "lua": "lua",
    "make": "makefile make",
    "matlab": "matlab",
    "php": "php",
    "powershell": "powershell ps1",
    "pycon": "pycon",
    "python": "python py python3 ipython",
    "r": "r",
    "ruby": "ruby rb",
    "rust": "rust rs",
    "scala": "scala",
    "scss": "scss",
    "sql": "sql",
    "swift": "swift",
    "toml": "toml",
    "typescript": "typescript ts tsx",
    "xml": "xml svg",
    "yaml": "yaml yml",
}
_LANGUAGES = {name: language for language, names in _NAMES.items() for name in names.split()}

# One class for each kind of token: the class of the first type here that contains it. Other tokens have no element,
# because a growing answer may send at most three times its length to the page.
_CLASSES = {
    "Comment": "c",
    "Keyword": "k",
    "Operator.Word": "k",
    "Literal.String": "s",
    "Literal.Number": "m",
    "Name.Function": "f",
    "Name.Class": "f",
    "Name.Tag": "k",
    "Name.Attribute": "f",
    "Name.Decorator": "d",
    "Name.Builtin": "b",
    "Generic.Deleted": "s",
    "Generic.Inserted": "f",
    "Generic.Prompt": "c",
}


def highlight_code(cleaned: str) -> str:
    """Highlight the code blocks of sanitized HTML.

    A block of a known language gets the attribute ``data-language`` with the language's name, and elements with the
    classes of its tokens. `tests/test_code_blocks.py` checks that the text of the page stays the same.

    Args:
        cleaned: HTML from `markdown_to_html`, in which no other element has these attributes and classes.

    >>> highlight_code('<pre><code class="language-py">x = 1</code></pre>')
    '<pre data-language="Python"><code>x = <i class=m>1</i></code></pre>'
    """
    return _CODE_BLOCK.sub(lambda block: _highlighted(block["language"].lower(), block["code"]) or block[0], cleaned)


def _highlighted(language: str, escaped_code: str) -> str | None:
    """Return a highlighted block, or None if its language is not known."""
    if language not in _LANGUAGES:
        return None
    language = _LANGUAGES[language]
    code = "".join(_span(css_class, text) for css_class, text in _spans(language, unescape(escaped_code)))
    return f'<pre data-language="{escape(_lexer(language).name)}"><code>{code}</code></pre>'


def _spans(language: str, code: str) -> Iterator[tuple[str, str]]:
    """Yield the parts of some code, each with the class of its tokens."""
    start = 0
    while start < len(code):
        window = code[start : start + _WINDOW]
        spans = _spans_of_window(language, window)
        end = len(window) if start + _WINDOW >= len(code) else _end_of_statement(spans) or len(window)
        start += end
        for css_class, text in spans:
            yield css_class, text[:end]
            end -= len(text)
            if end <= 0:
                break


@lru_cache(maxsize=256)  # while an answer grows, only its last window changes
def _spans_of_window(language: str, code: str) -> tuple[tuple[str, str], ...]:
    """Return the parts of a window; neighbors have different classes."""
    spans: list[tuple[str, str]] = []
    for _, token_type, text in _lexer(language).get_tokens_unprocessed(code):
        css_class = _css_class(token_type)
        if spans and spans[-1][0] == css_class:
            text = spans.pop()[1] + text
        spans.append((css_class, text))
    return tuple(spans)


def _end_of_statement(spans: Sequence[tuple[str, str]]) -> int:
    """Return the last position after an empty line, or after any line, outside strings and comments; 0 if none."""
    after_empty_line = after_line = position = 0
    for css_class, text in spans:
        if css_class not in ("s", "c"):
            after_empty_line = position + text.rfind("\n\n") + 2 if "\n\n" in text else after_empty_line
            after_line = position + text.rfind("\n") + 1 if "\n" in text else after_line
        position += len(text)
    return after_empty_line or after_line


@cache
def _lexer(language: str) -> Lexer:
    from pygments.lexers import get_lexer_by_name

    return get_lexer_by_name(language)


@cache
def _css_class(token_type: object) -> str:
    from pygments.token import string_to_tokentype

    return next((name for kind, name in _CLASSES.items() if token_type in string_to_tokentype(kind)), "")


def _span(css_class: str, text: str) -> str:
    escaped = escape(text, quote=False)
    return f"<i class={css_class}>{escaped}</i>" if css_class and not text.isspace() else escaped


def _color(css_class: str, variable: str, fallback: str) -> str:
    """Return the CSS rule of a class: the editor's color, mixed with the text's for a contrast of 4.5."""
    color = f"color-mix(in srgb, var({variable}, {fallback}) 70%, currentcolor)"
    return f"pre[data-language] .{css_class} {{ color: {color}; }}"


CODE_CSS = "\n".join(
    [
        "pre[data-language] i { font-style: normal; }",
        _color("c", "--jp-mirror-editor-comment-color", "#408080"),
        _color("k", "--jp-mirror-editor-keyword-color", "#008000"),
        _color("s", "--jp-mirror-editor-string-color", "#ba2121"),
        _color("m", "--jp-mirror-editor-number-color", "#008080"),
        _color("f", "--jp-mirror-editor-def-color", "#2a6fdb"),
        _color("b", "--jp-mirror-editor-builtin-color", "#008000"),
        _color("d", "--jp-mirror-editor-meta-color", "#aa22ff"),
    ]
)
"""Colors of highlighted code: those of JupyterLab's editor in its theme, and of its light theme elsewhere."""
