"""HTML and Markdown as pure functions: data in, text out, everything escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from vision_nb.rendering.sanitize import inline_text

MUTED_STYLE = "color:var(--jp-ui-font-color2,#666);font-size:90%"
_BORDER = "border:1px solid var(--jp-border-color2,#bbb);border-radius:4px"


def data_uri(data: bytes, mimetype: str) -> str:
    """Bytes as a base64 data URI."""
    return f"data:{mimetype};base64,{base64.b64encode(data).decode('ascii')}"


def image_figure(thumbnail: str, name: str, size: tuple[int, int], mimetype: str) -> str:
    """One picture with its name, size and type below."""
    kind = mimetype.removeprefix("image/").upper()
    return (
        f'<figure style="display:inline-block;margin:0"><img src="{escape(thumbnail)}" alt="{escape(name)}" '
        f'style="max-width:100%;{_BORDER}"><figcaption style="{MUTED_STYLE}">{escape(name)} &middot; '
        f"{size[0]} &times; {size[1]} {escape(kind)}</figcaption></figure>"
    )


def thumbnail_grid(tiles: Iterable[tuple[str | None, str]], remarks: Sequence[str] = ()) -> str:
    """A sheet of small pictures, each a thumbnail (or None where there is none) and its caption."""
    cells = []
    for thumbnail, caption in tiles:
        picture = (
            f'<img src="{escape(thumbnail)}" alt="{escape(caption)}" style="max-width:120px;max-height:120px">'
            if thumbnail
            else '<span style="font-size:200%">&#9888;</span>'
        )
        cells.append(
            f'<div style="width:130px;padding:4px;text-align:center;overflow-wrap:anywhere;{_BORDER}">{picture}'
            f'<div style="{MUTED_STYLE}">{escape(caption)}</div></div>'
        )
    below = "".join(map(muted_text, remarks))
    return f'<div style="display:flex;flex-wrap:wrap;gap:6px">{"".join(cells)}</div>{below}'


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 1) -> str:
    """A Markdown table; the columns from ``numbers_from`` on are aligned to the right."""
    rule = ["---" if place < numbers_from else "---:" for place in range(len(head))]
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in (head, rule, *rows))


def _cell(text: str) -> str:
    return escape(text, quote=False).replace("|", "&#124;").replace("\n", " ")


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 1) -> str:
    """An HTML table; the columns from ``numbers_from`` on are aligned to the right."""

    def line(tag: str, cells: Sequence[str]) -> str:
        styles = [f"text-align:{'left' if place < numbers_from else 'right'}" for place in range(len(cells))]
        made = (f'<{tag} style="{style}">{escape(cell)}</{tag}>' for style, cell in zip(styles, cells, strict=True))
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(line("td", row) for row in rows)
    return f"<table><thead>{line('th', head)}</thead><tbody>{body}</tbody></table>"


def error_box(message: str) -> str:
    """A message in a box that is marked as an error by a sign, not by colour alone."""
    return f'<div style="padding:6px 10px;{_BORDER}">&#9888; {escape(message)}</div>'


def muted_text(text: str) -> str:
    """A line of faint text."""
    return f'<div style="{MUTED_STYLE}">{escape(text)}</div>'


def file_listing(name: str, text: str) -> str:
    """Return a file's name above its text."""
    return f'{muted_text(name)}<pre style="padding:6px 10px;{_BORDER}">{escape(text)}</pre>'


def footnote(facts: Sequence[str]) -> str:
    """A folded line of facts below an answer, as Markdown: model, tokens, time."""
    shown = " &middot; ".join(map(inline_text, facts))
    return f"\n\n<details><summary><small>about this answer</small></summary><small>{shown}</small></details>\n"
