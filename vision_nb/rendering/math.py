"""Formulas as MathML, which browsers typeset without scripts, fonts and requests."""

from __future__ import annotations

import re
from functools import lru_cache
from html import escape, unescape
from typing import TYPE_CHECKING

from vision_nb.rendering.tex import safe_tex

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MATH_FONTS = '"Latin Modern Math", "STIX Two Math", "Cambria Math", "XITS Math", "DejaVu Math TeX Gyre", math'
"""CSS fonts with all letters of formulas, of which most systems have one: otherwise letters and digits differ."""

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
_LINE_SPACE = re.compile(r"(?<=\\\\)\*?\s*\[[^\]]*\]")  # the converter would show it
_UNKNOWN_ENVIRONMENT = re.compile(
    r"\\(begin|end)\{(?:aligned|gathered|(?:equation|gather|multline|flalign|eqnarray)\*)\}"
)  # to the converter; all are similar to align*
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)")
_SMALLEST, _LARGEST = -3, 40  # limits of any number: a longer space or line would cover the text around the formula
_NAMESPACE = "{http://www.w3.org/1998/Math/MathML}"


def typeset_formulas(cleaned: str) -> str:
    """Replace the formulas of sanitized HTML by MathML.

    Args:
        cleaned: HTML from `markdown_to_html` with placeholders.
    """
    return _CODE.sub(_typeset, cleaned)


def _typeset(code: re.Match[str]) -> str:
    tex = unescape(code["tex"]).strip()
    return _mathml(tex, bool(code["display"] or code["pre"])) or f"<code>{escape(tex)}</code>"


@lru_cache(maxsize=1_000)
def _mathml(tex: str, is_display: bool) -> str | None:
    """Return a formula as MathML, or None if it cannot be converted."""
    from xml.etree.ElementTree import fromstring

    from latex2mathml.converter import convert

    safe = safe_tex(tex)
    if not safe:
        return None
    tex = _LINE_SPACE.sub("", _UNKNOWN_ENVIRONMENT.sub(r"\\\1{align*}", safe))
    try:
        return _serialize(fromstring(convert(tex, display="block" if is_display else "inline")))
    except Exception:  # the converter raises many kinds of errors, and the answer must be shown anyway
        return None


def _is_within_limits(value: str) -> bool:
    if not _VALUE.fullmatch(value):
        return False
    return all(_SMALLEST <= float(number) <= _LARGEST for number in _NUMBER.findall(value.replace("100%", "")))


def _serialize(element: Element) -> str:
    """Return an element with its allowed MathML descendants and attributes."""
    tag = element.tag.removeprefix(_NAMESPACE)
    content = escape(element.text or "") + "".join(_serialize(child) + escape(child.tail or "") for child in element)
    if tag not in _ELEMENTS:
        return content
    attributes = "".join(
        f' {name}="{escape(value)}"'
        for name, value in element.attrib.items()
        if name in _ATTRIBUTES and _is_within_limits(value)
    )
    return f"<{tag}{attributes}>{content}</{tag}>"
