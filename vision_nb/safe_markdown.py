r"""Makes untrusted Markdown safe for every front end's own parser; ``safe_html`` offers it to the package.

Parsers disagree about where code and formulas begin and end, and some set formulas aside before they look for
code. So nothing here rests on guessing what a parser will take for code:

* Prose holds no ``<`` that could open a tag, no stray backtick and no stray math delimiter; where it mentions
  one, a character reference such as ``&lt;`` says so, which no parser takes for markup.
* A fenced block at the left margin keeps its text, between blank lines and fences longer than any inside it.
  No formula, link definition or list of the prose around it can swallow its fence.
* Inline code stays between backticks where all parsers agree about it. Elsewhere, and in fenced blocks inside
  list items, it becomes ``<code>`` with each punctuation mark as a character reference: harmless as text too.
* A formula stays where it is plainly one. A space, which TeX ignores, keeps ``a<b`` from being a tag.

Each step takes time in proportion to the text's length.
"""

from __future__ import annotations

import html
import re
import string
from collections.abc import Iterator
from urllib.parse import quote

# Commands that make links, set HTML attributes or load something.
_ACTIVE_TEX = (
    "(?:href|url|class|cssId|style|data|htmlClass|htmlId|htmlStyle|htmlData|includegraphics|require|mmlToken|bbox)"
    r"(?=[^A-Za-z]|$|www\.|https?:|ftp:)"  # the end of a name, also where a parser makes a link of what follows
)
_TEX = re.compile(rf"(?<!\\)\\+({_ACTIVE_TEX})(?![A-Za-z])")
_BACKSLASH = "\N{SET MINUS}"  # looks like a backslash, and is none to TeX
_GOOD_URL = re.compile(r"https?://[^/\s]|mailto:[^/\s]", re.IGNORECASE)

_LINE_END = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")  # some parser ends a line at each of these
_UNWRITABLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")

_FENCE = r"(?P<fence>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)"
_INDENT = r"(?P<indent>[ \t]+|[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+)"
_OUTER_FENCE = re.compile(_FENCE)
_INNER_FENCE = re.compile(_INDENT + _FENCE)
_WRITTEN_BLOCK = re.compile(
    _INDENT + r'<pre><code(?: class="language-(?P<info>[^"<>]*)")?>(?P<code>[^<>`]*)</code></pre>'
)
_LANGUAGE = re.compile(r"[\w+#.-]+", re.ASCII)
# nbconvert writes a diagram's text as HTML, and diagrams load pictures. GitHub typesets a block of math.
_ACTIVE_LANGUAGES = {"mermaid": "text", "math": "latex"}
_TITLE = r"""(?:[ \t]+(?:"[^"\n]*"|'[^'\n]*'|\([^()\n]*\)))?[ \t]*"""
_DEFINITION = re.compile(rf" {{0,3}}\[(?P<label>[\w .,+-]{{1,80}})\]:[ \t]*<?(?P<url>[^\s<>]+)>?{_TITLE}")

_REFERENCES = {ord(mark): f"&#{ord(mark)};" for mark in string.punctuation + "\n\t"}
_MARK = re.compile(r"[\\<!\[\]`~$&]")
_DESCRIPTION = re.compile(r"^([ \t]*):(?=[ \t])", re.MULTILINE)
_ESCAPE_OR_CLOSE = re.compile(r"\\.|\]", re.DOTALL)
_OPEN_BRACKET = re.compile(r"(?<!\\)\[")
_TICKS = re.compile(r"`+|\n")
_PLAIN_CODE = re.compile(r"(?:[^$\\|@\]`]|\](?![(:\[])|@(?!@)|\\(?!begin|end)(?=[A-Za-z0-9]))*")

_URL_RUN = r"(?i:(?:https?|ftp)://|www\.)[^ \t\n`]*"
_BARE_URL = re.compile(_URL_RUN)
_FORMULA_START = re.compile(r"\$|\\(?=\\|begin)")
_DELIMITER = re.compile(
    rf"""(?=[\\`~$\nhfwHFW]) (?:
         \\(?P<step>begin|end)[ \t]*\{{(?P<name>[A-Za-z]*\*?)\}}
       | (?P<stop>{_URL_RUN} | ` | ~{{3,}} | \\\\?(?:begin|end)\s*\{{)
       | \\\\[()\[\]] | \\[!-/:-@\[-_{{-~] | \$+ | \n )""",
    re.VERBOSE,
)
_CLOSERS = {"$": "$", "$$": "$$", r"\\(": r"\\)", r"\\[": r"\\]"}
_MARKUP_IN_FORMULA = re.compile(r"<(?=[A-Za-z/!?])|\](?=[(:])|!(?=\[)|&(?=#|[A-Za-z][A-Za-z0-9]*;)")
_FORMULA_THEN_TEXT = re.compile(
    r"^((?:[ \t>*+-]|\d{1,9}[.)])*\$\$(?:\\\$|[^$\n])+\$\$)(?:[ \t]+$|[ \t]*(?=[^ \t\n](?:[^$\n]|\$(?!\$))*$)())",
    re.MULTILINE,
)
_PROSE = re.compile(
    rf"""(?=[\\<!\]`~$&]) (?:
         (?P<tex>\\+(?:{_ACTIVE_TEX}|begin(?=\s*\{{)))
       | <(?P<address>(?:https?://|mailto:)[^\s<>]+|[\w.+-]+@[\w.-]+)>
       | <code>(?P<code>[^<>`\n]*)</code>
       | (?P<newline><br\ ?/?>)
       | !(?P<unnamed>\[)(?=\]\()
       | \](?P<target>\([ \t]*(?:<(?P<angled>[^<>\n]*)>|(?P<bare>(?:[^\s()<>]|\([^\s()<>]*+\))*+)){_TITLE}\))
       | \](?P<after>[(:])
       | (?P<slashes>\\*+)(?P<mark><(?![\s\d=<-]) | (?<!!)!+(?=\[) | `+ | ~{{3,}} | \${{2,}} | (?<=\\\\)[(\[]
            | &(?:\#\d+ | \#[xX][0-9a-fA-F]+ | [A-Za-z][A-Za-z0-9]*(?=;));?)
       | \\+ )""",
    re.VERBOSE,
)


def is_good_url(url: str) -> bool:
    """Tells whether a link may lead to the URL: ``http``, ``https`` and ``mailto`` are good."""
    return bool(_GOOD_URL.match(url))


def defuse_tex(text: str) -> str:
    r"""Takes the backslash from TeX commands that make links, set HTML attributes or load something.

    Args:
        text: Text that MathJax or KaTeX may see.

    Returns:
        The text, with a look-alike for the backslash of each such command.
    """
    return _TEX.sub(rf"{_BACKSLASH}\1", text)


def safe_markdown(text: str) -> str:
    """Makes a model's answer safe for a ``text/markdown`` output; see ``vision_nb.safe_html``."""
    lines = _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", _LINE_END.sub("\n", text)).split("\n")
    written: list[str] = []
    paragraph: list[str] = []
    index = 0
    while index < len(lines):
        block, following = _block(lines, index)
        if block is None:
            paragraph.append(lines[index])
        else:
            if paragraph:
                written.append(_paragraph(paragraph))
                paragraph = []
            is_fence = block.startswith("```")
            if is_fence and written and written[-1]:
                written.append("")
            written.append(block)
            # A definition's title could be on the next line.
            is_apart = is_fence or block.startswith("[")
            if is_apart and following < len(lines) and lines[following].strip(" \t"):
                written.append("")
        index = following
    if paragraph:
        written.append(_paragraph(paragraph))
    return "\n".join(written)


def _block(lines: list[str], index: int) -> tuple[str | None, int]:
    """Writes a blank line, a block of code or a link definition that starts at a line.

    Returns:
        The block, or None for a line of prose, and the index of the line after it.
    """
    line = lines[index]
    if not line.strip(" \t"):
        return "", index + 1
    if not _MARK.search(line):
        return None, index + 1
    if fence := _OUTER_FENCE.fullmatch(line) or _INNER_FENCE.fullmatch(line):
        code, following = _fenced(lines, index + 1, fence)
        return _code_block(fence, code), following
    if fence := _WRITTEN_BLOCK.fullmatch(line):
        return _code_block(fence, _unescape(fence["code"])), index + 1
    if (definition := _DEFINITION.fullmatch(line)) and (url := _safe_url(definition["url"])):
        return f"[{definition['label']}]: {url}", index + 1
    return None, index + 1


def _fenced(lines: list[str], start: int, fence: re.Match[str]) -> tuple[str, int]:
    """Reads a fenced block up to its closing fence, or to the end where there is none yet.

    Returns:
        The text in the block, and the index of the line after it.
    """
    indent = len(fence.groupdict().get("indent", "").expandtabs(4))
    closing = re.compile(rf"[ \t]{{0,{max(indent, 3)}}}{fence['fence'][0]}{{{len(fence['fence'])},}}[ \t]*")
    margin = re.compile(rf"[ \t]{{0,{indent}}}")
    code: list[str] = []
    for index in range(start, len(lines)):
        if closing.fullmatch(lines[index]):
            return "\n".join(code), index + 1
        code.append(margin.sub("", lines[index], count=1) if indent else lines[index])
    return "\n".join(code), len(lines)


def _code_block(fence: re.Match[str], code: str) -> str:
    """Writes a block of code: fenced at the left margin, as HTML on one line elsewhere."""
    word = _LANGUAGE.match((fence["info"] or "").strip())
    language = word[0] if word else ""
    for name, shown_as in _ACTIVE_LANGUAGES.items():
        if language.lower().startswith(name):
            language = shown_as
    if fence.re is _OUTER_FENCE:
        ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
        return f"{ticks}{language}\n{code}\n{ticks}"
    attribute = f' class="language-{language}"' if language else ""
    return f"{fence['indent']}<pre><code{attribute}>{_as_references(code)}</code></pre>"


def _paragraph(lines: list[str]) -> str:
    """Writes lines that hold no block of code and no blank line: prose with inline code and formulas."""
    text = _DESCRIPTION.sub(r"\1&#58;", "\n".join(lines))  # nbconvert alone has lists of descriptions
    if not _MARK.search(text):
        return text
    in_table = all(line.lstrip(" \t").startswith("|") for line in lines)
    code = list(_code_spans(text))
    prose = _masked(text, code)
    spans = []
    closed = len(prose)
    if "[" in prose:
        # Where a bracket stays open, marked and mistune look for "]:" even in a fenced block that follows.
        closed = max((mark.end() for mark in _ESCAPE_OR_CLOSE.finditer(prose) if mark[0] == "]"), default=0)
        spans = [(mark.start(), mark.end(), "&#91;") for mark in _OPEN_BRACKET.finditer(prose, closed)]
    spans += [
        (start, end, _formula(text, start, end))
        for start, end in _formulas(prose)
        if not _OPEN_BRACKET.search(prose, max(start, closed), end)
    ]
    in_urls = {url.end() for url in _BARE_URL.finditer(prose)} if code else set()
    for start, end in code:
        # Some parsers take the backticks for a part of the URL, or of a formula between two stray dollars.
        agreed = start not in in_urls and not ("$" in prose and "<" in text[start:end])
        spans.append((start, end, _inline_code(text, start, end, agreed=agreed, in_table=in_table)))
    written, position = [], 0
    for start, end, span in sorted(spans):
        written += [_prose(text[position:start], in_table), span]
        position = end
    written.append(_prose(text[position:], in_table))
    # VS Code reads on to the next "$$" where text follows on the line of a formula.
    return _FORMULA_THEN_TEXT.sub(lambda line: line[1] + ("" if line[2] is None else "\n"), "".join(written))


def _code_spans(text: str) -> Iterator[tuple[int, int]]:
    """Finds inline code: a run of backticks up to the next of the same length on the line."""
    if "`" not in text:
        return
    runs = list(_TICKS.finditer(text))
    partners: list[int | None] = [None] * len(runs)
    next_of_length: dict[str, int] = {}
    for index in reversed(range(len(runs))):
        if runs[index][0] == "\n":
            next_of_length = {}
        else:
            partners[index] = next_of_length.get(runs[index][0])
            next_of_length[runs[index][0]] = index
    index = 0
    while index < len(runs):
        partner, start = partners[index], runs[index].start()
        if partner is not None and text[start - 1 : start] != "\\":
            yield start, runs[partner].end()
            index = partner
        index += 1


def _masked(text: str, spans: list[tuple[int, int]]) -> str:
    """Covers spans with backticks."""
    pieces, position = [], 0
    for start, end in spans:
        pieces += [text[position:start], "`" * (end - start)]
        position = end
    return "".join([*pieces, text[position:]])


def _inline_code(text: str, start: int, end: int, *, agreed: bool, in_table: bool) -> str:
    """Writes inline code: between backticks where every parser sees it so, as HTML elsewhere."""
    code = text[start:end].strip("`")
    # GitHub has a formula in $`...`$, MyST a role in {name}`...`, marked takes ~` for text, and ) may end a URL.
    agreed = agreed and (start == 0 or text[start - 1] not in "$}~)^@=&#%<")
    if agreed and _PLAIN_CODE.fullmatch(code) and not _TEX.search(code):
        return f"`{code}`"
    if code.startswith(" ") and code.endswith(" ") and code.strip(" "):
        code = code[1:-1]
    return _code_html(code.replace("\\|", "|") if in_table else code)


def _code_html(code: str) -> str:
    return f"<code>{_as_references(code)}</code>"


def _formulas(text: str) -> Iterator[tuple[int, int]]:
    """Finds formulas whose extent no parser can mistake.

    One over several lines starts on a line of its own and keeps its indent, as VS Code stops at another.
    """
    if "$" not in text and "\\" not in text:
        return
    opener, start, line_start, indent = "", 0, 0, ""
    environments: list[str] = []
    for token in _DELIMITER.finditer(text):
        mark, at = token[0], token.start()
        before, after = text[at - 1 : at], text[token.end() : token.end() + 1]
        closed = False
        inline = opener in ("$", r"\\(")
        if mark == "\n":
            line_start = token.end()
            if inline or indent.strip(" \t") or not text.startswith(indent, line_start):
                opener = ""
            continue
        if opener and token["step"] == "begin":
            environments.append(token["name"])
            continue
        if opener and token["step"] == "end" and environments[-1:] == [token["name"]]:
            environments.pop()
            closed = opener == "begin" and not environments
            if not closed:
                continue
        elif opener and mark == _CLOSERS.get(opener) and not environments and before not in ("\\", "$"):
            closed = mark != "$" or not (before.isspace() or after.isdigit())
        elif opener and mark[0] == "\\" and not (token["step"] or token["stop"] or (inline and mark == r"\\[")):
            continue  # but a display formula inside: nbconvert looks for those first
        if closed:
            yield start, token.end()
            opener = ""
        elif before not in ("\\", "$") and (token["step"] == "begin" or mark in _CLOSERS):
            opener, start, indent = token["step"] or mark, at, text[line_start:at]
            environments = [token["name"]] if token["step"] else []
            if mark == "$" and after.isspace():
                opener = ""
        else:
            opener = ""


def _formula(text: str, start: int, end: int) -> str:
    """Writes a formula so that it is harmless as text too."""
    formula = _MARKUP_IN_FORMULA.sub(r"\g<0> ", defuse_tex(text[start:end]))
    return formula + " " if formula.endswith("]") and text[end : end + 1] in ("(", ":", "[") else formula


def _prose(text: str, in_table: bool) -> str:
    """Writes text that is neither code nor formula."""
    if "$" in text or "\\" in text:
        # JupyterLab puts a formula back unescaped, also into the attribute of a link made from a bare URL.
        text = _BARE_URL.sub(lambda url: _FORMULA_START.sub(lambda mark: quote(mark[0]), url[0]), text)
    return _PROSE.sub(lambda match: _prose_mark(match, in_table), text)


def _prose_mark(match: re.Match[str], in_table: bool) -> str:
    """Writes what could be markup in prose."""
    if match["tex"]:
        return _BACKSLASH + match["tex"].lstrip("\\")
    if match["address"]:
        url = _safe_url(match["address"] if ":" in match["address"] else f"mailto:{match['address']}")
        if not url:
            return "&lt;" + _prose(match[0][1:], in_table)
        shown = re.sub(r"[*_~]", lambda mark: _as_references(mark[0]), url.removeprefix("mailto:"))
        # After an exclamation mark a link would be a picture.
        return shown if match.string[match.start() - 1 : match.start()] == "!" else f"[{shown}]({url})"
    if match["code"] is not None:
        return _code_html(_unescape(match["code"]))
    if match["newline"]:
        return "<br>" if in_table else f"&lt;{match[0][1:]}"  # on a line of its own it opens a block of HTML
    if match["unnamed"]:
        return "[image"
    if match["target"]:
        url = _safe_url(match["angled"] or match["bare"] or "")
        return f"]({url})" if url else "]&#40;" + _prose(match["target"][1:], in_table)
    if match["after"]:
        return "]" + _as_references(match["after"])
    mark = match["mark"]
    if not mark:
        return match[0]
    slashes = match["slashes"]
    escaped = len(slashes) % 2 == 1
    kept = slashes[:-1] if escaped else slashes
    if mark[0] == "&":
        return kept + ("&amp;" + mark[1:] if escaped or not _is_harmless(mark) else mark)
    if mark == "!" and not slashes and not match.string[match.start() - 1 : match.start()].isalnum():
        return ""  # a picture becomes a link
    return kept + ("&lt;" if mark == "<" else _as_references(mark))


def _as_references(text: str) -> str:
    """Writes punctuation as character references, which every parser shows and none takes for markup."""
    return text.translate(_REFERENCES)


def _is_harmless(reference: str) -> bool:
    """Tells whether a character reference may stay: it must not smuggle in a letter or a backslash."""
    shown = _unescape(reference)
    return not re.search(r"[\\A-Za-z0-9\x00-\x1f]", shown)


def _unescape(text: str) -> str:
    try:
        return html.unescape(text)
    except ValueError:  # Python reads no number of more than 4300 digits
        return text


def _safe_url(url: str) -> str | None:
    """Gives a link's URL with every character that could end or change a link percent-encoded."""
    url = _unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", url))
    if not is_good_url(url):
        return None
    return quote(url.encode("utf-8", "replace"), safe="-._~:/?#@&=+,%").replace("&#", "%26#")
