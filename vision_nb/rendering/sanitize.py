"""Make untrusted text safe to display: answers, server messages, file names.

The standard library's ``html.escape`` escapes the value of an attribute inside our own markup. This module adds
``escape_text`` for text between tags, where MathJax looks for formulas, ``inline_text`` for a name in a line of
Markdown or HTML, ``terminal_text`` for text that a terminal prints, and ``replace_surrogates`` for text that is about
to be encoded. For HTML, see `vision_nb.rendering.html_cleaner`; for Markdown, `vision_nb.rendering.markdown`.
"""

from __future__ import annotations

import html
import re
import string


def replace_surrogates(text: str) -> str:
    r"""Make text encodable: join surrogate pairs, and replace lone surrogates.

    Args:
        text: Any text. JSON escapes and file names can contain surrogates, which cannot be written to a file.

    Returns:
        The text, with a replacement character for each lone surrogate.

    >>> replace_surrogates("\ud83d\ude00 caf\udce9")
    '😀 caf�'
    """
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def terminal_text(text: str) -> str:
    r"""Return a text without control characters, with which an answer could change a terminal.

    >>> terminal_text("a\x1b[2Jb\tc\n")
    'a�[2Jb\tc\n'
    """
    return re.sub(r"[\0-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", text.replace("\r", ""))


def escape_text(text: str) -> str:
    """Escape text for use between HTML tags, where MathJax finds no formula in it.

    >>> escape_text("<b> for $1")
    '&lt;b&gt; for <span>&#36;</span>1'
    """
    return isolate_delimiters(html.escape(text, quote=False))


_REFERENCES = {ord(mark): f"&#{ord(mark)};" for mark in string.punctuation + "\n\t"}


def escape_punctuation(text: str) -> str:
    """Write punctuation as character references, which no parser takes for markup."""
    return text.translate(_REFERENCES)


def isolate_delimiters(text: str) -> str:
    """Write each dollar sign and backslash as an element, so that MathJax finds no formula in Markdown or HTML."""
    return re.sub(r"[$\\]", lambda mark: f"<span>&#{ord(mark[0])};</span>", text)


_SHORT_NAME = 16  # characters of a name that fits into a column


def name_text(name: str) -> str:
    """Escape the name of a file or model for use between HTML tags; a long one can wrap after its punctuation.

    >>> name_text("holiday_in_the_mountains.jpg")
    'holiday_<wbr>in_<wbr>the_<wbr>mountains.jpg'
    """
    return "<wbr>".join(map(escape_text, [name] if len(name) <= _SHORT_NAME else name_parts(name)))


def name_parts(name: str) -> list[str]:
    """Return the parts of a name between which it can wrap: each but the last one ends with punctuation."""
    return re.split(r"(?<=[/_:-])(?=\w)", name)


def attribute_text(text: str) -> str:
    """Escape text for use as an attribute of an HTML tag in a line of Markdown; line breaks become spaces."""
    return escape_punctuation(" ".join(text.split()))


def inline_text(text: str) -> str:
    """Escape text for use within a line of Markdown or HTML, but not within a tag.

    Args:
        text: Any text, such as a name; its line breaks become spaces.

    Returns:
        The text, with its punctuation as character references, and without a delimiter of formulas.

    >>> inline_text("*a*")
    '&#42;a&#42;'
    """
    return re.sub("&#(?:36|92);", r"<span>\g<0></span>", attribute_text(text))
