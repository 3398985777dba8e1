"""Whole HTML pages, and answers in them: with formulas as MathML, highlighted code and checkboxes."""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape

from vision_nb.rendering.code_blocks import CODE_CSS, highlight_code
from vision_nb.rendering.markdown.html import markdown_to_html
from vision_nb.rendering.math import MATH_FONTS, typeset_formulas

_TASK = re.compile(r'<li>(?P<start>\s*(?:<p>)?)<code class="language-task(?P<done>-done)?"></code>')

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
{body}
</body>
</html>
"""

PAGE_CSS = f"""{CODE_CSS}
math {{ font-family: {MATH_FONTS}; }}
pre[data-language]::before {{ content: attr(data-language); display: block; opacity: 0.75; font: 0.8rem system-ui; }}
li[data-task] {{ list-style: none; }}
li[data-task] input {{ margin: 0 0.3rem 0 -1.3rem; }}
"""
"""The styles of `answer_html` in a page without scripts; `widgets/answer.css` has those of the chat panel."""


def html_page(title: str, body: str, *, style: str, script: str = "") -> str:
    """Return a whole HTML page, which loads nothing and runs only its own script.

    Args:
        title: The page's title, as text.
        body: The content of the body, as HTML.
        style: The page's style rules.
        script: A script to run at the end of the body.
    """
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    if script:
        policy += f"; script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        body += f"\n<script>{script}</script>"
    return _PAGE.format(policy=policy, title=escape(title), style=style, body=body)


def answer_html(text: str) -> str:
    r"""Render untrusted Markdown as HTML with formulas as MathML, highlighted code and checkboxes.

    Everything is added to HTML that is already sanitized, so that an answer cannot contain the attributes and
    classes that are added here.

    Args:
        text: Markdown from a model or another untrusted source.

    Returns:
        HTML that is safe to show, with `PAGE_CSS`.

    >>> answer_html("Half: $x$").startswith("<p>Half: <math")
    True
    >>> answer_html("- [x] done")
    '<ul>\n<li data-task><input type="checkbox" disabled checked aria-label="done"> done</li>\n</ul>\n'
    """
    html = typeset_formulas(markdown_to_html(text, with_placeholders=True))
    return highlight_code(_TASK.sub(_checkbox, html))


def _checkbox(task: re.Match[str]) -> str:
    state = 'checked aria-label="done"' if task["done"] else 'aria-label="to do"'
    return f'<li data-task>{task["start"]}<input type="checkbox" disabled {state}>'
