"""Read an answer's text as JSON, a table, code, formulas or HTML."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any

from vision_nb.errors import MalformedResponseError
from vision_nb.rendering.data_frame import without_formulas
from vision_nb.rendering.html_cleaner import clean_html
from vision_nb.rendering.markdown.html import markdown_to_html
from vision_nb.schema import json_text

if TYPE_CHECKING:
    import pandas as pd

_FENCED = re.compile(
    r"^[ \t]*(`{3,}|~{3,})[ \t]*(?P<language>[\w+#.-]*)[^\n]*\n(?P<code>.*?)^[ \t]*\1[ \t]*$", re.M | re.S
)
_TABLE_RULE = re.compile(r"\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*")
_CELL_END = re.compile(r"(?<!\\)\|")
_TEXT_IS_KEPT = "The text is in _vision."


def fenced_blocks(text: str, *languages: str) -> list[str]:
    """Return the fenced code blocks in some languages, or all of them.

    Blocks without a language are always included.
    """
    wanted = {*languages, ""} if languages else None
    return [match["code"] for match in _FENCED.finditer(text) if wanted is None or match["language"].lower() in wanted]


def extract_code(text: str) -> str:
    r"""Return the code blocks of an answer, or the whole answer if it has none.

    >>> extract_code("Here:\n```python\nx = 1\n```\nDone.")
    'x = 1'
    """
    return "\n\n".join(block.rstrip() for block in fenced_blocks(text)) or text.strip()


def parse_json(text: str) -> Any:
    r"""Parse an answer that is JSON or contains a code block of JSON.

    Raises:
        MalformedResponseError: The JSON is invalid; the message states the position in the answer.

    >>> parse_json('Here it is:\n```json\n{"a": [1, 2]}\n```')
    {'a': [1, 2]}
    """
    blocks = fenced_blocks(text, "json")
    for block in blocks:
        try:
            return json_text.parse_json(block, strict=True)
        except ValueError:
            continue
    candidate = (blocks[0] if blocks else text).removeprefix("\ufeff")
    try:
        return json_text.parse_json(candidate, strict=True)
    except ValueError as error:
        reason = _place_of(error, text, candidate) if isinstance(error, json.JSONDecodeError) else f"{error!s:.100}"
        raise MalformedResponseError(
            f"The answer is not valid JSON: {reason}. {_TEXT_IS_KEPT} Ask for JSON only.", partial_text=text
        ) from error


def _place_of(error: json.JSONDecodeError, text: str, candidate: str) -> str:
    """Return what is wrong with a part of an answer, and where in the answer."""
    position = text.index(candidate) + error.pos
    line, column = text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)
    following = text[position : position + 20].split("\n")[0]
    where = f"at line {line}, column {column}" + (f", before {following!r}" if following else ", at the end")
    return f"{error.msg} {where}"


def parse_table(text: str) -> pd.DataFrame:
    """Parse the first Markdown table of an answer, or else its CSV.

    Raises:
        MalformedResponseError: There is no table, or a row has the wrong number of cells.
    """
    import pandas as pd

    rows = _markdown_rows(text) or _csv_rows(text)
    if not rows:
        raise MalformedResponseError(
            f"The answer contains neither a Markdown table nor CSV. {_TEXT_IS_KEPT} Ask for a Markdown table.",
            partial_text=text,
        )
    head, *body = rows
    for number, row in enumerate(body, 1):
        if len(row) != len(head):
            raise MalformedResponseError(
                f"Row {number} of the answer's table has {len(row)} cells, but the header has {len(head)}. "
                f"{_TEXT_IS_KEPT}",
                partial_text=text,
            )
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)  # so that pandas infers the types, as for any file
    return without_formulas(pd.read_csv(io.StringIO(buffer.getvalue()), skipinitialspace=True))


def _markdown_rows(text: str) -> list[list[str]]:
    lines = text.splitlines()
    for number in range(len(lines) - 1):
        if "|" in lines[number] and "|" in lines[number + 1] and _TABLE_RULE.fullmatch(lines[number + 1]):
            body = []
            for line in lines[number + 2 :]:
                if "|" not in line:
                    break
                body.append(_cells(line))
            return [_cells(lines[number]), *body]
    return []


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    return [cell.strip().replace("\\|", "|").strip("*`") for cell in _CELL_END.split(inner)]


def _csv_rows(text: str) -> list[list[str]]:
    blocks = fenced_blocks(text, "csv")
    rows = [row for row in csv.reader((blocks[0] if blocks else text).strip().splitlines()) if row]
    if len(rows) < 2 or len(rows[0]) < 2 or (not blocks and len({len(row) for row in rows}) > 1):
        return []  # prose contains commas too
    return [[cell.strip() for cell in row] for row in rows]


def normalize_math(text: str) -> str:
    r"""Delimit the formulas of an answer with dollar signs, which all front ends support.

    ``\[ \]`` and ``\( \)`` are replaced, and an answer that is only a formula becomes a display formula.

    >>> normalize_math(r"\(x^2\)")
    '$x^2$'
    """
    blocks = fenced_blocks(text, "latex", "tex", "math")
    text = "\n\n".join(blocks).strip() if blocks else text.strip()
    text = re.sub(r"\\\[(.+?)\\\]", lambda match: f"$${match[1]}$$", text, flags=re.S)
    text = re.sub(r"\\\((.+?)\\\)", lambda match: f"${match[1].strip()}$", text, flags=re.S)
    is_formula = re.search(r"\\[A-Za-z]|[\^_=]", text) is not None and re.search(r"[.!?]\s", text) is None
    return f"$$\n{text}\n$$" if "$" not in text and is_formula else text


def answer_html(text: str) -> str:
    """Return an answer, which can be HTML or Markdown, as sanitized HTML."""
    blocks = fenced_blocks(text, "html")
    source = "\n".join(blocks) if blocks else re.sub(r"\A\s*```\s*html[^\n]*\n", "", text)
    is_html = re.search(r"<(/?[a-zA-Z][\w-]*)\b[^>]*>", source) is not None
    return clean_html(source) if is_html else markdown_to_html(text)
