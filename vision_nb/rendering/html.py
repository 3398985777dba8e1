"""HTML and Markdown snippets for notebook output; their arguments are escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from vision_nb.rendering.sanitize import escape_text, inline_text, isolate_delimiters, terminal_text

MUTED_STYLE = "color:var(--jp-ui-font-color2,#666);font-size:90%"
_BORDER = "border:1px solid var(--jp-border-color2,#bbb);border-radius:4px"


def data_uri(data: bytes, mimetype: str) -> str:
    """Return bytes as a base64 data URI."""
    return f"data:{mimetype};base64,{base64.b64encode(data).decode('ascii')}"


def image_html(source: str, alt: str) -> str:
    """Return an image that is not wider than the page."""
    return f'<img src="{escape(source)}" alt="{escape(alt)}" style="max-width:100%">'


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 1) -> str:
    """Return a Markdown table; columns from ``numbers_from`` on are right-aligned."""
    rule = ["---" if column < numbers_from else "---:" for column in range(len(head))]
    return "\n".join("| " + " | ".join(map(markdown_text, row)) + " |" for row in (head, rule, *rows))


def markdown_text(text: str) -> str:
    """Escape a text for Markdown, on one line."""
    text = escape(text, quote=False).replace("|", "&#124;").replace("](", "]&#40;").replace("\n", " ")
    return isolate_delimiters(terminal_text(text))


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 1) -> str:
    """Return an HTML table; columns from ``numbers_from`` on are right-aligned."""

    def html_row(tag: str, cells: Sequence[str]) -> str:
        written = [
            f'<{tag} style="text-align:{"left" if column < numbers_from else "right"}">{escape_text(cell)}</{tag}>'
            for column, cell in enumerate(cells)
        ]
        return f"<tr>{''.join(written)}</tr>"

    body = "".join(html_row("td", row) for row in rows)
    return f"<table><thead>{html_row('th', head)}</thead><tbody>{body}</tbody></table>"


def error_box(message: str) -> str:
    """Return an error message in a box with a warning sign."""
    return f'<div style="padding:6px 10px;{_BORDER}">&#9888; {escape_text(message)}</div>'


def muted_text(text: str) -> str:
    """Return a line of muted text."""
    return f'<div style="{MUTED_STYLE}">{escape_text(text)}</div>'


def file_listing(name: str, text: str) -> str:
    """Return a file's name above its text."""
    return f'{muted_text(name)}<pre style="padding:6px 10px;{_BORDER}">{escape(text)}</pre>'


def footnote(details: Sequence[str]) -> str:
    """Return an answer's details (model, tokens, time) as collapsed Markdown."""
    text = " &middot; ".join(map(inline_text, details))
    return f"\n\n<details><summary><small>about this answer</small></summary><small>{text}</small></details>\n"
