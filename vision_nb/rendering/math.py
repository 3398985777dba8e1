"""Formulas as MathML, which browsers typeset by themselves: no script, no font and no other host is needed."""

from __future__ import annotations

import re
from functools import lru_cache
from html import escape, unescape
from typing import TYPE_CHECKING

from vision_nb.rendering.sanitize import markdown_to_html

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LONGEST_FORMULA = 2_000
"""Characters from which on a formula is shown as it was written: a converter's time grows with the depth."""

_CODE = re.compile(
    r'(?P<pre><pre>)?<code class="language-math(?P<display>-display)?">(?P<tex>[^<]*)</code>(?(pre)</pre>)'
)
_ELEMENTS = frozenset(
    "math mi mn mo ms mtext mspace mrow mfrac msqrt mroot mstyle mpadded mphantom menclose "
    "msub msup msubsup munder mover munderover mmultiscripts mprescripts none mtable mtr mtd".split()
)
_ATTRIBUTES = frozenset(
    "display displaystyle scriptlevel mathvariant stretchy fence form separator accent accentunder largeop "
    "movablelimits minsize maxsize lspace rspace width height depth linethickness notation "
    "columnalign columnlines columnspacing rowspacing rowlines".split()
)
_VALUE = re.compile(r"[\w.%+ -]{1,40}")
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)")
_SMALLEST, _LARGEST = -3, 40  # of any number: a length beyond it would cover what is around the formula
_NAMESPACE = "{http://www.w3.org/1998/Math/MathML}"


def answer_html(text: str) -> str:
    r"""Renders a model's answer as HTML, its formulas typeset.

    Args:
        text: Markdown from anywhere.

    Returns:
        HTML that can be put on a page.

    >>> answer_html("Half: $x$").startswith("<p>Half: <math")
    True
    """
    return _CODE.sub(_typeset, markdown_to_html(text, formulas_as_code=True))


def _typeset(code: re.Match[str]) -> str:
    tex = unescape(code["tex"]).strip()
    return _mathml(tex, bool(code["display"] or code["pre"])) or f"<code>{escape(tex)}</code>"


@lru_cache(maxsize=1_000)
def _mathml(tex: str, is_display: bool) -> str | None:
    """A formula as MathML, or None where the converter does not understand it."""
    from xml.etree.ElementTree import fromstring

    from latex2mathml.converter import convert

    if not tex or len(tex) > LONGEST_FORMULA:
        return None
    try:
        return _written(fromstring(convert(tex, display="block" if is_display else "inline")))
    except Exception:  # the converter raises errors of many kinds, and a formula is no reason to lose an answer
        return None


def _is_modest(value: str) -> bool:
    if not _VALUE.fullmatch(value):
        return False
    return all(_SMALLEST <= float(number) <= _LARGEST for number in _NUMBER.findall(value.replace("100%", "")))


def _written(element: Element) -> str:
    """An element with what is inside it, written anew: nothing but MathML and text comes through."""
    tag = element.tag.removeprefix(_NAMESPACE)
    inside = escape(element.text or "") + "".join(_written(child) + escape(child.tail or "") for child in element)
    if tag not in _ELEMENTS:
        return inside
    kept = "".join(
        f' {name}="{escape(value)}"'
        for name, value in element.attrib.items()
        if name in _ATTRIBUTES and _is_modest(value)
    )
    return f"<{tag}{kept}>{inside}</{tag}>"
