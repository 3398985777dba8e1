"""Answers as HTML for pages of our own: with formulas as MathML, highlighted code and checkboxes."""

from __future__ import annotations

import re

from vision_nb.rendering.code_blocks import highlight_code
from vision_nb.rendering.markdown.html import markdown_to_html
from vision_nb.rendering.math import typeset_formulas

_TASK = re.compile(r'<li>(?P<start>\s*(?:<p>)?)<code class="language-task(?P<done>-done)?"></code>')


def answer_html(text: str) -> str:
    r"""Render untrusted Markdown as HTML with formulas as MathML, highlighted code and checkboxes.

    Everything is added to HTML that is already sanitized, so that an answer cannot contain the attributes and
    classes that are added here.

    Args:
        text: Markdown from a model or another untrusted source.

    Returns:
        HTML that is safe to show, with `CODE_CSS` for its colors.

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
