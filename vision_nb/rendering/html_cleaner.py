"""``clean_html``: untrusted HTML without everything that could act, load or change the page."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from vision_nb.rendering.markdown.formulas import typeset_formula
from vision_nb.rendering.markdown.prose import is_safe_url
from vision_nb.rendering.sanitize import escape_text
from vision_nb.rendering.tex import FormulaLimit

FORMULA = re.compile(
    r"""\$\$(?:\\.|[^`$\\])+\$\$ | \$(?![\s$])(?:\\.|[^`$\\\n])+(?<!\s)\$(?!\d)
    | (?P<slash>\\\\?)(?:\((?:(?!\\[()])[^`])+(?P=slash)\) | \[(?:(?!\\[\[\]])[^`])+(?P=slash)\])
    | \\begin\{(?P<environment>[A-Za-z]+\*?)\}[^`]{0,2000}?\\end\{(?P=environment)\}""",
    re.VERBOSE | re.DOTALL,
)
"""A formula between ``$``, ``$$``, ``\\(`` or ``\\[`` and their counterparts, or a LaTeX environment."""

_TAGS = set(
    "a b blockquote br code dd del dl dt em h1 h2 h3 h4 h5 h6 hr i kbd li ol p pre s span strong sub sup "
    "table tbody td tfoot th thead tr ul".split()
)
_DROPPED_WITH_CONTENT = set(
    "applet embed iframe math noembed noframes noscript object plaintext script select style svg "
    "template textarea title xmp".split()
)
_ATTRIBUTES = {"*": set[str](), "a": {"href"}, "code": {"class"}, "ol": {"start"}, "td": {"align"}, "th": {"align"}}
# Some pages draw a mermaid diagram in place of its code, and diagrams load images.
_LANGUAGE_CLASS = re.compile(r"language-(?!mermaid)[\w+#.-]+", re.ASCII | re.IGNORECASE)
_IMAGE = re.compile(r'<img((?: [\w-]+="[^"]*")*)>')
_TAG_OR_TEXT = re.compile(r'(<[^<>"]*(?:"[^"]*"[^<>"]*)*>)|([^<]+|<)')
_CODE_TAG = re.compile(r"</?(?:code|pre)\b")
_ATTRIBUTE = re.compile(r' ([\w-]+)="([^"]*)"')


def _keep_attribute(tag: str, name: str, value: str) -> str | None:
    """Return the allowed part of an attribute's value, or None to drop the attribute."""
    if name == "href":
        return value.replace("<", "%3C").replace(">", "%3E") if is_safe_url(value) else None
    if name == "class":
        languages = [word for word in value.split() if _LANGUAGE_CLASS.fullmatch(word)]
        return " ".join(languages) or None
    return value


@cache
def _cleaners() -> tuple[Callable[[str], str], Callable[[str], str]]:
    """Return a cleaner that keeps images, and the final one, which drops them."""
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
    return link_to_image(attributes.get("src", ""), attributes.get("alt", ""))


def link_to_image(url: str, name: str) -> str:
    """Return a link to an image.

    It replaces the image, because loading an image tells its server who reads the answer and when.
    """
    return f'<a href="{html.escape(url)}">{html.escape(name or "image")}</a>' if is_safe_url(url) else ""


def clean_html(untrusted: str) -> str:
    """Reduce HTML to text, formulas, lists, tables, code and links.

    Scripts, styles, forms, frames, ids and all other attributes are removed. Links to ``http``, ``https`` and
    ``mailto`` are kept and open in a new tab. An image becomes a link to it, and a formula with a TeX command that is
    not known to be harmless becomes code.

    Args:
        untrusted: HTML from any source, well-formed or not.

    Returns:
        HTML that is safe to show.

    >>> clean_html('<p onclick="f()">Hi <img src="https://a.org/b.png" alt="cat"></p>')
    '<p>Hi <a href="https://a.org/b.png" target="_blank" rel="noopener noreferrer">cat</a></p>'
    """
    keep_images, clean = _cleaners()
    # The first pass writes every tag in one canonical form, so that a pattern finds the images.
    return _with_safe_formulas(clean(_IMAGE.sub(_image_to_link, keep_images(untrusted))))


def _with_safe_formulas(cleaned: str) -> str:
    """Keep the safe formulas of cleaned HTML, show others as code, and isolate all other delimiters of formulas."""
    if "$" not in cleaned and "\\" not in cleaned:
        return cleaned
    limit = FormulaLimit()
    written, in_code = [], 0
    for tag, text in _TAG_OR_TEXT.findall(cleaned):
        if tag:
            if _CODE_TAG.match(tag):
                in_code += -1 if tag[1] == "/" else 1
            written.append(tag)
        elif in_code or text in ("$", "\\"):  # MathJax does not look into code; a single delimiter starts nothing
            written.append(text)
        else:
            written.append(_safe_text(html.unescape(text), limit))
    return "".join(written)


def _safe_text(text: str, limit: FormulaLimit) -> str:
    """Return the text between two tags as HTML, with each safe formula in its own element."""
    written, position = [], 0
    for match in FORMULA.finditer(text):
        safe = typeset_formula(match[0], limit)
        written.append(escape_text(text[position : match.start()]))
        written.append(f"<code>{html.escape(match[0])}</code>" if safe is None else f"<span>{html.escape(safe)}</span>")
        position = match.end()
    written.append(escape_text(text[position:]))
    return "".join(written)
