r"""Makes untrusted text safe to show: a model's answer, a server's message, a file's name.

``escape``
    for a value inside markup of our own.
``replace_surrogates``
    for text that is to be encoded.
``inline_text``
    for a name in the middle of a line of Markdown or HTML.
``clean_html`` and ``markdown_to_html``
    for HTML that is shown as it is, as a widget does.
``safe_markdown``
    for ``text/markdown``, which each front end renders with a parser of its own: marked in JupyterLab,
    markdown-it in VS Code, cmark-gfm on GitHub, mistune in nbconvert. Some of them set math aside before they
    look for code. Those parsers disagree about where code begins and ends, so safety never rests on that:
    what is not plainly code is made harmless as text, and code that could be taken for something else is
    written so that it would be harmless as text too.

Pictures become links, as fetching one tells its server who reads the answer, and when. TeX commands that make
links, set HTML attributes or load something are defused, as MathJax typesets what it finds on the page.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from vision_nb.rendering.markdown import defuse_tex, escape_punctuation, is_safe_url, safe_markdown

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_core import StateCore
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

__all__ = ["clean_html", "escape", "inline_text", "markdown_to_html", "replace_surrogates", "safe_markdown"]

_FORMULA = re.compile(
    r"""\$\$(?:\\.|[^`$\\])+\$\$ | \$(?![\s$])(?:\\.|[^`$\\\n])+(?<!\s)\$(?!\d)
    | (?P<slash>\\\\?)(?:\((?:(?!\\[()])[^`])+(?P=slash)\) | \[(?:(?!\\[\[\]])[^`])+(?P=slash)\])""",
    re.VERBOSE | re.DOTALL,
)


def escape(text: str) -> str:
    """Escapes text for use in HTML, between tags or within a quoted attribute.

    Args:
        text: Any text.

    Returns:
        The text, with ``&``, ``<``, ``>`` and both quotes as entities.

    >>> escape('<img src="x">')
    '&lt;img src=&quot;x&quot;&gt;'
    """
    return html.escape(text, quote=True)


def replace_surrogates(text: str) -> str:
    r"""Writes text that may hold halves of surrogate pairs so that it can be encoded: halves that meet are joined.

    Args:
        text: Any text: JSON's escapes and names of files can bring in halves, which no file or page takes.

    Returns:
        The text, with a replacement character for each half that is alone.

    >>> replace_surrogates("\ud83d\ude00 caf\udce9")
    '😀 caf�'
    """
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def inline_text(text: str) -> str:
    """Writes text for the middle of a line of Markdown or HTML, where it is shown as it is and nothing else.

    Args:
        text: Any text, such as a name; line ends in it become spaces.

    Returns:
        The text, with each punctuation mark as a character reference, and with no TeX that does something.

    >>> inline_text("*a*")
    '&#42;a&#42;'
    """
    return escape_punctuation(defuse_tex(" ".join(text.split())))


_TAGS = set(
    "a b blockquote br code dd del dl dt em h1 h2 h3 h4 h5 h6 hr i kbd li ol p pre s strong sub sup "
    "table tbody td tfoot th thead tr ul".split()
)
_DROPPED_WITH_CONTENT = set(
    "applet embed iframe math noembed noframes noscript object plaintext script select style svg "
    "template textarea title xmp".split()
)
_ATTRIBUTES = {"*": set[str](), "a": {"href"}, "code": {"class"}, "ol": {"start"}, "td": {"align"}, "th": {"align"}}
_IMAGE = re.compile(r'<img((?: [\w-]+="[^"]*")*)>')
_ATTRIBUTE = re.compile(r' ([\w-]+)="([^"]*)"')


def _keep_attribute(tag: str, name: str, value: str) -> str | None:
    """Gives an attribute's value as it may stay, or None."""
    if name == "href":
        return value if is_safe_url(value) else None
    if name == "class":
        languages = [word for word in value.split() if re.fullmatch(r"language-[\w+#.-]+", word, re.ASCII)]
        return " ".join(languages) or None
    return value


@cache
def _cleaners() -> tuple[Callable[[str], str], Callable[[str], str]]:
    """Gives the cleaner that still keeps pictures, and the one that follows it."""
    import nh3

    common: dict[str, Any] = {
        "clean_content_tags": _DROPPED_WITH_CONTENT,
        "url_schemes": {"http", "https", "mailto"},
        "attribute_filter": _keep_attribute,
    }
    with_images = nh3.Cleaner(tags=_TAGS | {"img"}, attributes={**_ATTRIBUTES, "img": {"src", "alt"}}, **common)
    final = nh3.Cleaner(
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        set_tag_attribute_values={"a": {"target": "_blank"}},
        link_rel="noopener noreferrer",
        **common,
    )
    return with_images.clean, final.clean


def _image_to_link(match: re.Match[str]) -> str:
    attributes = {name: html.unescape(value) for name, value in _ATTRIBUTE.findall(match[1])}
    return _link_to_image(attributes.get("src", ""), attributes.get("alt", ""))


def _link_to_image(url: str, name: str) -> str:
    """A picture as a link to it; fetching one would tell its server who reads the answer, and when."""
    return f'<a href="{escape(url)}">{escape(name or "image")}</a>' if is_safe_url(url) else ""


def clean_html(html: str) -> str:
    """Keeps of some HTML what an answer needs: text, lists, tables, code and links.

    Scripts, styles, forms, frames, ids and every other attribute go. Links lead to ``http``, ``https`` and
    ``mailto`` only and open in a new tab. A picture becomes a link to it.

    Args:
        html: HTML from anywhere, well-formed or not.

    Returns:
        HTML that can be put on a page.

    >>> clean_html('<p onclick="f()">Hi <img src="https://a.org/b.png" alt="cat"></p>')
    '<p>Hi <a href="https://a.org/b.png" target="_blank" rel="noopener noreferrer">cat</a></p>'
    """
    keep_images, clean = _cleaners()
    # The first pass writes every tag in one canonical form, so that a pattern finds the pictures.
    return clean(_IMAGE.sub(_image_to_link, keep_images(html)))


@cache
def _renderer() -> MarkdownIt:
    from markdown_it import MarkdownIt

    renderer = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    renderer.inline.ruler.before("escape", "formula", _inline_formula)
    renderer.block.ruler.before("paragraph", "formula", _display_formula, {"alt": ["paragraph"]})
    renderer.core.ruler.push("align", _align)
    renderer.add_render_rule("text", _text)
    renderer.add_render_rule("formula", _formula)
    renderer.add_render_rule("image", _image)
    return renderer


def _align(state: StateCore) -> None:
    """Says how a table's cells are aligned by the attribute that stays, in place of a style."""
    for token in state.tokens:
        if token.type in ("th_open", "td_open") and "style" in token.attrs:
            token.attrs = {"align": str(token.attrs["style"]).removeprefix("text-align:")}


def _text(_: Any, tokens: Sequence[Token], index: int, *__: Any) -> str:
    return escape(defuse_tex(tokens[index].content))


def _formula(_: Any, tokens: Sequence[Token], index: int, __: Any, env: dict[str, Any]) -> str:
    formula = defuse_tex(tokens[index].content)
    if not env.get("formulas_as_code"):
        return escape(formula)
    side = 1 if formula.startswith("$") and not formula.startswith("$$") else 2
    kind = "math-display" if formula.startswith(("$$", r"\[")) else "math"
    return f'<code class="language-{kind}">{escape(formula[side:-side].strip())}</code>'


def _image(_: Any, tokens: Sequence[Token], index: int, *__: Any) -> str:
    name = "".join(token.content for token in tokens[index].children or ())
    return _link_to_image(str(tokens[index].attrs["src"]), defuse_tex(name)) or escape(defuse_tex(name))


def _inline_formula(state: StateInline, silent: bool) -> bool:
    """Keeps Markdown out of a formula; a rule of markdown-it."""
    match = _FORMULA.match(state.src, state.pos, state.posMax)
    if match is None:
        return False
    if not silent:
        formula = match[0]
        if match["slash"] == r"\\":  # as one has to write it where no rule like this one is at work
            formula = formula[1:-3] + formula[-2:]
        state.push("formula", "", 0).content = formula
    state.pos = match.end()
    return True


def _display_formula(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Keeps lists and the like out of a formula over several lines; a rule of markdown-it."""
    match = _FORMULA.match(state.src, state.bMarks[start] + state.tShift[start])
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


def markdown_to_html(text: str, *, formulas_as_code: bool = False) -> str:
    r"""Renders a model's answer as HTML that can be put on a page.

    Raw HTML in it is shown as text, and pictures become links. Formulas stay as they are between ``$``,
    ``$$``, ``\(`` or ``\[`` and their counterparts, for a page that typesets them.

    Args:
        text: Markdown from anywhere.
        formulas_as_code: Write a formula as ``<code class="language-math">``, or ``language-math-display``, for
            `vision_nb.rendering.math`.

    Returns:
        HTML that can be put on a page.

    >>> markdown_to_html("**Hi** <b>")
    '<p><strong>Hi</strong> &lt;b&gt;</p>\n'
    """
    return clean_html(_renderer().render(replace_surrogates(text), {"formulas_as_code": formulas_as_code}))
