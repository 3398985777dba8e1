"""Rendering of untrusted Markdown as HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

from vision_nb.rendering.html_cleaner import FORMULA, clean_html, link_to_image
from vision_nb.rendering.markdown.formulas import split_formula
from vision_nb.rendering.sanitize import escape_text, replace_surrogates

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_core import StateCore
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

_TASK = re.compile(r"\[([ xX])\](?= )")


def markdown_to_html(text: str, *, with_placeholders: bool = False) -> str:
    r"""Render untrusted Markdown as HTML.

    Raw HTML is shown as text, and images become links. Formulas between ``$``, ``$$``, ``\(`` or ``\[`` and their
    counterparts are kept for a page that typesets them; one with a TeX command that is not known to be harmless is
    shown as code.

    Args:
        text: Markdown from a model or another untrusted source.
        with_placeholders: Whether to write a formula as ``<code class="language-math">`` (or
            ``language-math-display``), and the box of a task as ``<code class="language-task">`` (or
            ``language-task-done``), for `vision_nb.rendering.page`.

    Returns:
        HTML that is safe to show.

    >>> markdown_to_html("**Hi** <b>")
    '<p><strong>Hi</strong> &lt;b&gt;</p>\n'
    """
    return clean_html(_renderer().render(replace_surrogates(text), {"with_placeholders": with_placeholders}))


@cache
def _renderer() -> MarkdownIt:
    from markdown_it import MarkdownIt

    renderer = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    renderer.inline.ruler.before("escape", "formula", _inline_formula)
    renderer.block.ruler.before("paragraph", "formula", _display_formula, {"alt": ["paragraph"]})
    renderer.core.ruler.push("align", _align)
    renderer.core.ruler.push("tasks", _tasks)
    renderer.add_render_rule("text", _text)
    renderer.add_render_rule("formula", _formula)
    renderer.add_render_rule("image", _image)
    renderer.add_render_rule("task", _task)
    return renderer


def _align(state: StateCore) -> None:
    """Align table cells by an attribute, which `clean_html` keeps, instead of a style."""
    for token in state.tokens:
        if token.type in ("th_open", "td_open") and "style" in token.attrs:
            token.attrs = {"align": str(token.attrs["style"]).removeprefix("text-align:")}


def _tasks(state: StateCore) -> None:
    """Replace the ``[ ]`` or ``[x]`` at the start of a list item by a token of its own, as GitHub does."""
    from markdown_it.token import Token

    for item, paragraph, inline in zip(state.tokens, state.tokens[1:], state.tokens[2:], strict=False):
        if item.type != "list_item_open" or paragraph.type != "paragraph_open" or not inline.children:
            continue
        first = inline.children[0]
        if first.type == "text" and (task := _TASK.match(first.content)):
            box = Token("task", "", 0, content=task[1].lower())
            first.content = first.content[task.end() :]
            inline.children.insert(0, box)


def _text(_: Any, tokens: Sequence[Token], index: int, *__: Any) -> str:
    return escape_text(tokens[index].content)


def _formula(_: Any, tokens: Sequence[Token], index: int, __: Any, env: dict[str, Any]) -> str:
    formula = tokens[index].content
    if not env["with_placeholders"]:
        return escape(formula)  # `clean_html` checks it
    opener, tex, _ = split_formula(formula)
    kind = "math" if opener in ("$", r"\(") else "math-display"
    return f'<code class="language-{kind}">{escape(tex.strip())}</code>'


def _task(_: Any, tokens: Sequence[Token], index: int, __: Any, env: dict[str, Any]) -> str:
    is_done = tokens[index].content == "x"
    if env["with_placeholders"]:
        return f'<code class="language-task{"-done" if is_done else ""}"></code>'
    return "\N{BALLOT BOX WITH CHECK}" if is_done else "\N{BALLOT BOX}"


def _image(_: Any, tokens: Sequence[Token], index: int, *__: Any) -> str:
    name = "".join(token.content for token in tokens[index].children or ())
    return link_to_image(str(tokens[index].attrs["src"]), name) or escape_text(name)


def _inline_formula(state: StateInline, silent: bool) -> bool:
    """Keep inline formulas out of the Markdown parser; a markdown-it rule."""
    match = FORMULA.match(state.src, state.pos, state.posMax)
    if match is None:
        return False
    if not silent:
        formula = match[0]
        if match["slash"] == r"\\":  # the notation for parsers without such a rule
            formula = formula[1:-3] + formula[-2:]
        state.push("formula", "", 0).content = formula
    state.pos = match.end()
    return True


def _display_formula(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Keep multi-line formulas out of the block parser; a markdown-it rule."""
    match = FORMULA.match(state.src, state.bMarks[start] + state.tShift[start])
    if match is None or re.search(r"\n[ \t]*(?:\n|>)", match[0]):
        return False
    last = start + match[0].count("\n")
    if last == start or last >= end or state.src[match.end() : state.eMarks[last]].strip():
        return False
    if not silent:
        state.push("paragraph_open", "p", 1)
        inline = state.push("inline", "", 0)
        inline.content, inline.children = match[0], []
        state.push("paragraph_close", "p", -1)
        state.line = last + 1
    return True
