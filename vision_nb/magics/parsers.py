"""An answer's text in another form: JSON and tables as values, formulas, HTML and code as they are shown."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any

from vision_nb.errors import MalformedResponseError

if TYPE_CHECKING:
    import pandas as pd

_FENCED = re.compile(
    r"^[ \t]*(`{3,}|~{3,})[ \t]*(?P<language>[\w+#.-]*)[^\n]*\n(?P<code>.*?)^[ \t]*\1[ \t]*$", re.M | re.S
)
_RULE = re.compile(r"\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*")
_CELL_END = re.compile(r"(?<!\\)\|")
_KEPT = "The text is in _vision."


def fenced(text: str, *languages: str) -> list[str]:
    """The fenced blocks of a text that are in one of some languages, or in none; all where none is asked for."""
    wanted = {*languages, ""} if languages else None
    return [match["code"] for match in _FENCED.finditer(text) if wanted is None or match["language"].lower() in wanted]


def code_of(text: str) -> str:
    r"""The code in an answer, or all of it where nothing is fenced.

    >>> code_of("Here:\n```python\nx = 1\n```\nDone.")
    'x = 1'
    """
    return "\n\n".join(block.rstrip() for block in fenced(text)) or text.strip()


def json_of(text: str) -> Any:
    r"""The JSON that an answer is, or that is fenced in it.

    Raises:
        MalformedResponseError: There is none; the message names the place in the answer.

    >>> json_of('Here it is:\n```json\n{"a": [1, 2]}\n```')
    {'a': [1, 2]}
    """
    blocks = fenced(text, "json")
    for block in blocks:
        try:
            return json.loads(block)
        except json.JSONDecodeError:
            continue
    candidate = blocks[0] if blocks else text
    try:
        return json.loads(candidate)
    except json.JSONDecodeError as error:
        at = text.index(candidate) + error.pos
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        near = text[at : at + 20].split("\n")[0]
        where = f"at line {line}, column {column}" + (f", before {near!r}" if near else ", where it ends")
        raise MalformedResponseError(
            f"The answer is no JSON: {error.msg} {where}. {_KEPT} Ask for JSON and nothing else.", partial_text=text
        ) from error


def table_of(text: str) -> pd.DataFrame:
    """The first Markdown table of an answer, or else its CSV, as a DataFrame; numbers become numbers.

    Raises:
        MalformedResponseError: There is no table, or a row does not fit its head; the message says which.
    """
    import pandas as pd

    rows = _markdown_rows(text) or _csv_rows(text)
    if not rows:
        raise MalformedResponseError(
            f"The answer has no table: no line of it is followed by one like |---|---|, and it is no CSV. {_KEPT} "
            "Ask for a Markdown table.",
            partial_text=text,
        )
    head, *body = rows
    for place, row in enumerate(body, 1):
        if len(row) != len(head):
            raise MalformedResponseError(
                f"Row {place} of the answer's table has {len(row)} cells, and its head has {len(head)}. {_KEPT}",
                partial_text=text,
            )
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)  # pandas then tells numbers from words, as in any file
    return pd.read_csv(io.StringIO(buffer.getvalue()), skipinitialspace=True)


def _markdown_rows(text: str) -> list[list[str]]:
    lines = text.splitlines()
    for place in range(len(lines) - 1):
        if "|" in lines[place] and "|" in lines[place + 1] and _RULE.fullmatch(lines[place + 1]):
            body = []
            for line in lines[place + 2 :]:
                if "|" not in line:
                    break
                body.append(_cells(line))
            return [_cells(lines[place]), *body]
    return []


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    return [cell.strip().replace("\\|", "|").strip("*`") for cell in _CELL_END.split(inner)]


def _csv_rows(text: str) -> list[list[str]]:
    blocks = fenced(text, "csv")
    rows = [row for row in csv.reader((blocks[0] if blocks else text).strip().splitlines()) if row]
    if len(rows) < 2 or len(rows[0]) < 2 or (not blocks and len({len(row) for row in rows}) > 1):
        return []  # prose has commas too
    return [[cell.strip() for cell in row] for row in rows]


def formula_of(text: str) -> str:
    r"""An answer as Markdown in which its formulas are typeset.

    ``\[ \]`` and ``\( \)`` become dollars, which every notebook front end knows; an answer that is nothing but a
    formula becomes one.

    >>> formula_of(r"\(x^2\)")
    '$x^2$'
    """
    blocks = fenced(text, "latex", "tex", "math")
    text = "\n\n".join(blocks).strip() if blocks else text.strip()
    text = re.sub(r"\\\[(.+?)\\\]", lambda match: f"$${match[1]}$$", text, flags=re.S)
    text = re.sub(r"\\\((.+?)\\\)", lambda match: f"${match[1].strip()}$", text, flags=re.S)
    looks_like_one = re.search(r"\\[A-Za-z]|[\^_=]", text) is not None and re.search(r"[.!?]\s", text) is None
    return f"$$\n{text}\n$$" if "$" not in text and looks_like_one else text


def html_of(text: str) -> str:
    """An answer as HTML that is safe to show, from HTML or from Markdown."""
    from vision_nb.rendering.markdown.html import markdown_to_html
    from vision_nb.rendering.sanitize import clean_html

    blocks = fenced(text, "html")
    source = "\n".join(blocks) if blocks else re.sub(r"\A\s*```\s*html[^\n]*\n", "", text)
    is_html = re.search(r"<(/?[a-zA-Z][\w-]*)\b[^>]*>", source) is not None
    return clean_html(source) if is_html else markdown_to_html(text)
