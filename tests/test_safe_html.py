"""Untrusted text is safe in every parser, and ordinary answers still read the same."""

import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from typing import Any

import mistune
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from nbconvert.filters.markdown_mistune import markdown2html_mistune

from vision_nb.rendering.html_cleaner import clean_html
from vision_nb.rendering.markdown.blocks import safe_markdown
from vision_nb.rendering.markdown.html import markdown_to_html
from vision_nb.rendering.page import answer_html
from vision_nb.rendering.sanitize import inline_text, replace_surrogates

# Parsers that let raw HTML through, as those of the front ends do.
MARKDOWN_IT = MarkdownIt("js-default", {"html": True, "linkify": False})
MISTUNE = mistune.create_markdown(escape=False, plugins=["strikethrough", "table", "url", "footnotes", "def_list"])
PARSERS: dict[str, Any] = {"markdown-it": MARKDOWN_IT.render, "mistune": MISTUNE, "nbconvert": markdown2html_mistune}

TAGS = set(
    "a b blockquote br code dd del div dl dt em h1 h2 h3 h4 h5 h6 hr i kbd li ol p pre s section span strong sub "
    "sup table tbody td tfoot th thead tr ul".split()
)
ATTRIBUTES = {"href", "class", "start", "align", "id", "target", "rel"}
ACTIVE_TEX = re.compile(
    r"\\(href|url|class|cssId|style|data|html(Class|Id|Style|Data)|includegraphics|require|mmlToken|bbox)(?![A-Za-z])"
)


class Page(HTMLParser):
    """The contents of a page: its tags and text in order, and everything that must not be there."""

    def __init__(self, html, style_is_fine=False):
        super().__init__(convert_charrefs=True)
        self.faults, self.events, self.inside = [], [], []
        self.style_is_fine = style_is_fine
        self.feed(html)
        self.close()

    @property
    def in_code(self):
        return "code" in self.inside or "pre" in self.inside

    def handle_starttag(self, tag, attributes):
        if tag == "input" and {"type": "checkbox", "disabled": None}.items() <= dict(attributes).items():
            return  # a task list of nbconvert
        if tag not in TAGS:
            self.faults.append(f"<{tag}>")
        for name, value in attributes:
            if name == "style" and value.startswith("text-align:"):
                continue  # written by the parser itself, for table cells
            if name not in ATTRIBUTES:
                self.faults.append(f"{tag} {name}")
            if name == "href" and not re.match(r"https?://|mailto:|#", value or "", re.IGNORECASE):
                self.faults.append(f"{tag} {name}={value}")
            if re.search("[<>]", value or ""):
                self.faults.append(f"{tag} {name}={value}")
        kept = {name: value for name, value in attributes if name in ("href", "class", "start")}
        self.events.append((tag, kept))
        if tag not in ("br", "hr"):
            self.inside.append(tag)

    def handle_endtag(self, tag):
        if tag in self.inside:
            while self.inside.pop() != tag:
                pass
        self.events.append(("/" + tag, {}))

    def handle_data(self, data):
        if not self.in_code and ACTIVE_TEX.search(data):
            self.faults.append(data)
        if self.events and self.events[-1][0] == "":
            self.events[-1] = ("", self.events[-1][1] + data)
        else:
            self.events.append(("", data))

    def handle_comment(self, data):
        self.faults.append(f"<!--{data}")

    handle_decl = unknown_decl = handle_pi = handle_comment


def reading(markdown):
    """What a reader sees of an answer: elements, links and words, without invisible spaces."""
    html = re.sub(r"<span>(&#\d+;|[$\\])</span>", r"\1", MARKDOWN_IT.render(markdown))
    events = Page(html).events
    return [(tag, " ".join(data.split()) if tag == "" else data) for tag, data in events if data != "\n"]


def faults(markdown):
    return {name: found for name, parse in PARSERS.items() if (found := Page(parse(markdown)).faults)}


ORDINARY = {
    "prose": "Two cats sleep on a pink couch.\nThey *look* **content**, and a < b, 3<4, x <- 5, *why?*\n\nThe end!",
    "punctuation": "50% off! (really) [sic] {a} #1 & co; ~10 €5 – “yes” | no ^ @home a_b_c 2*3*4 \\*not emphasised\\*",
    "amounts": "It costs $5 now, and $10 later.",
    "amount": "It costs $5 \\* 2.",
    "paths": r"It is in C:\Users\new and \\\\server\share, \alpha and &dollar; &bsol; and a\\b\\.",
    "headings": "# One\n\n## Two\n\nThree\n=====\n\nFour\n----\n\ntext\n\n---\n\ntext",
    "lists": "- a\n- b\n  - c\n    - d\n\n1. one\n2. two\n\n   more of two\n3. three",
    "quote": "> said\n> she\n\nand\n> > twice",
    "table": "| a | b |\n|:--|--:|\n| `x` | **y** |\n| 1 < 2 | [l](https://a.org) |",
    "strikethrough": "~~old~~ new",
    "inline code": 'Use `vec![1]`, `a[0]`, `Vec<T>`, `<div class="x">`, `a && b`, `C:\\new`, `x -> y` and `&amp;`.',
    "code with backticks": "Write `` `code` `` or ``a`b``.",
    "code with dollars": "Set `$HOME` and `${x}`, then `$$`.",
    "code in a sentence with an amount": "For $5 you get `<b>` and `x<y>`.",
    "fence": "So:\n```python\nif a < b:\n\tprint('<b>')  # ![x](y)\n\n    return\n```\nDone.",
    "fence with templates": "```cpp\nstd::vector<std::map<int, T>> v;\n#include <vector>\n```",
    "fence with Markdown": "````markdown\n```js\n# hi\n```\n[a](b)\n````",
    "fence of tildes": '~~~html\n<p onclick="f()">\n~~~',
    "fence of TeX": "```latex\n\\href{https://a.org}{a} $x$ \\begin{align}\n```",
    "fence in a list": "1. Install:\n   ```bash\n   pip install x | tee log\n\n   python -m x <in\n   ```\n2. Run",
    "fence in a bullet": "- ```\n  a <b> c\n  ```\n- next",
    "math": "With $E = mc^2$ and\n\n$$\n\\sum_{i=1}^n x_i \\le \\alpha\n$$\n\nso \\\\(x \\ge 1\\\\).",
    "links": "See [the docs](https://a.org/b?c=1&d=2#e), [`code`](http://a.org), <https://a.org/b> and <me@a.org>.",
    "reference links": "See [the docs][1] or [this].\n\n[1]: https://a.org/one\n\n[this]: https://a.org/two",
    "entities": "&copy; 2024 &mdash; R&amp;D &lt;b&gt; &nbsp; &eacute;",
    "escaped": "\\# not a heading, 1\\. not a list, \\[not a link\\], \\`not code\\`, \\<not a tag>",
    "words": "Größe, 東京の写真, Привет, 👍🏽 and a line\\\nbroken",
    "a bracket left open": "The interval [0, 1) and the list [1, 2\n\nEnd",
    "unfinished fence": "```js\nlet a = '<b>';",
    "unfinished code": "Use `pip inst",
}


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_answer_reads_the_same(name):
    answer = ORDINARY[name]
    assert reading(safe_markdown(answer)) == reading(answer)


@pytest.mark.parametrize("name", ORDINARY)
def test_safe_markdown_is_not_changed_again(name):
    once = safe_markdown(ORDINARY[name])
    assert safe_markdown(once) == once


@pytest.mark.parametrize("name", ["prose", "amount", "headings", "lists", "quote", "table", "inline code", "math"])
def test_common_markdown_is_returned_unchanged(name):
    assert safe_markdown(ORDINARY[name]) == ORDINARY[name]


def test_fenced_code_is_unchanged():
    code = "a\t<b>\n\n  ![x](y) `c` $$ \\href{x}{y}\n~~~\n[a]: javascript:b"
    assert safe_markdown(f"```js\n{code}\n```") == f"```js\n{code}\n```"


@pytest.mark.parametrize("cut", range(0, 120, 3))
def test_a_partial_answer_is_safe_too(cut):
    answer = "# Hi <b>\n\n```js\nlet a = `<img src=x onerror=alert(1)>`;\n```\n- `a`\n  ```\n  <b>\n  ```\n![a](http://e/x.png)"
    assert not faults(safe_markdown(answer[:cut]))


def test_a_formula_cannot_contain_a_tag():
    assert safe_markdown("$a<b$ and $$x[i](t) <c$$") == "$a< b$ and $$x[i] (t) < c$$"


def test_a_line_break_in_a_table_is_kept():
    assert safe_markdown("| a |\n|---|\n| b<br>c |").endswith("| b<br>c |")


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("![a cat](https://a.org/c.png)", "[a cat](https://a.org/c.png)"),
        ("![](https://a.org/c.png)", "[image](https://a.org/c.png)"),
        ('![a](<https://a.org/c.png> "title")', "[a](https://a.org/c.png)"),
        ("![a][b]\n\n[b]: https://a.org/c.png", "[a][b]\n\n[b]: https://a.org/c.png"),
        ("[![a](https://a.org/b.png)](https://a.org)", "[[a](https://a.org/b.png)](https://a.org)"),
    ],
)
def test_an_image_becomes_a_link(markdown, expected):
    assert safe_markdown(markdown) == expected


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        # lines and fences
        ("a\r\n```\rb\u2028```", "a\n\n```\nb\n```"),
        ("\0a\x1b\ud800", "\ufffda\ufffd\ufffd"),
        ("a\n```\nb\n```\nc", "a\n\n```\nb\n```\n\nc"),
        ("[a]: https://b.org 'c'\n'd'", "[a]: https://b.org\n\n'd'"),
        ("```a`b\nc", "&#96;&#96;&#96;a&#96;b\nc"),
        ("- ```\n    a\n   b\n  ```", "- <pre><code>  a&#10; b</code></pre>"),
        ("> ~~~\n> a", "> &#126;&#126;&#126;\n> a"),
        # description lists of nbconvert
        ("a\n: b", "a\n&#58; b"),
        # directives of MyST, which can load images
        (":::{image} https://a.org/b.png\n:::", "&#58;::{image} https://a.org/b.png\n&#58;::"),
        ("> ::::{a}\n- :::{b}", "> &#58;:::{a}\n- &#58;::{b}"),
        # a link label whose end marked would look for in a fence
        ("[a\n\n[b] [c\n[d", "&#91;a\n\n[b] &#91;c\n&#91;d"),
        ("$$\n[a\n$$", "<span>&#36;</span><span>&#36;</span>\n&#91;a\n<span>&#36;</span><span>&#36;</span>"),
        # code that some parser would take for text
        ("$5 `<b>`", "$5 <code>&#60;b&#62;</code>"),
        ("~`<b>`", "~<code>&#60;b&#62;</code>"),
        ("https://a.org/`b`", "https://a.org/<code>b</code>"),
        ('[a](https://a.org "t")b`c`', "[a](https://a.org)b<code>c</code>"),
        ("`a](b)`", "<code>a&#93;&#40;b&#41;</code>"),
        ("`a]: b`", "<code>a&#93;&#58; b</code>"),
        ("`[a][b]`", "<code>&#91;a&#93;&#91;b&#93;</code>"),
        ("`a|b`", "<code>a&#124;b</code>"),
        ("| `a\\|b` |", "| <code>a&#124;b</code> |"),
        ("`$a`", "<code>&#36;a</code>"),
        ("`@@0@@`", "<code>&#64;&#64;0&#64;&#64;</code>"),
        ("`\\(a`", "<code>&#92;&#40;a</code>"),
        ("`\\begin`", "<code>&#92;begin</code>"),
        ("`\\href`", "`\\href`"),
        ("`` `a` ``", "<code>&#96;a&#96;</code>"),
        # formula delimiters that could pair with others in a fence
        ("$$\na\n$$ b", "<span>&#36;</span><span>&#36;</span>\na\n<span>&#36;</span><span>&#36;</span> b"),
        ("a $$b\nc$$", "a <span>&#36;</span><span>&#36;</span>b\nc<span>&#36;</span><span>&#36;</span>"),
        ("- $$\n  a\n  $$", "- <span>&#36;</span><span>&#36;</span>\n  a\n  <span>&#36;</span><span>&#36;</span>"),
        ("  $$\n  a\n$$", "  <span>&#36;</span><span>&#36;</span>\n  a\n<span>&#36;</span><span>&#36;</span>"),
        ("$a \\\\[ b$", "<span>&#36;</span>a <span>&#92;</span>&#91; b<span>&#36;</span>"),
        ("$a$$b$", "<span>&#36;</span>a<span>&#36;</span><span>&#36;</span>b<span>&#36;</span>"),
        ("$$a\\$$", "<span>&#36;</span><span>&#36;</span>a<span>&#36;</span><span>&#36;</span>"),
        ("\\\\\\[a\\\\]", "<span>&#92;</span>\\[a<span>&#92;</span>]"),
        ("\\begin{a}\\begin{b}\\end{a}", "<span>&#92;</span>begin{a}<span>&#92;</span>begin{b}<span>&#92;</span>end{a}"),
        ("$\\begin{split}b\\end{split}$", "$\\begin{split}b\\end{split}$"),
        ("\\begin{a}b\\end{c}", "<span>&#92;</span>begin{a}b<span>&#92;</span>end{c}"),
        ("$$\\begin{a1}$$", "<span>&#36;</span><span>&#36;</span><span>&#92;</span>begin{a1}<span>&#36;</span><span>&#36;</span>"),
        ("\\\\\\\\[a\\\\]", "<span>&#92;</span><span>&#92;</span>[a<span>&#92;</span>]"),
        ("\\\\[a\\\\](b)", "\\\\[a\\\\] (b)"),
        ("$a https://b.org/c$", "<span>&#36;</span>a https://b.org/c%24"),
        ("$$a$$, b", "$$a$$\n, b"),
        ("$$a$$ \nb", "$$a$$\nb"),
        # URLs
        ("https://a.org/$b\\\\(c", "https://a.org/%24b%5C%5C(c"),
        ("[a](<https://a.org/b\"c d`e>)", "[a](https://a.org/b%22c%20d%60e)"),
        ("[a](https://a.org?b=c&amp;d&#35;)", "[a](https://a.org?b=c&d#)"),
        ("!<https://a.org>", "!https://a.org"),
    ],
)  # fmt: skip
def test_ambiguous_text_is_written_with_character_references(markdown, expected):
    assert safe_markdown(markdown) == expected
    assert safe_markdown(expected) == expected


@pytest.mark.parametrize("language", ["mermaid", "Mermaid", "mermaid-x", "mermaid {init}", "math"])
def test_a_diagram_or_formula_in_a_fence_is_shown_as_code(language):
    assert safe_markdown(f"```{language}\n</pre><b>\n```").partition("\n")[0] in ("```text", "```latex")


def test_a_fence_keeps_only_the_name_of_its_language():
    assert safe_markdown('```js" onmouseover="alert(1)\nx\n```') == "```js\nx\n```"


IMAGE = "<img src=x onerror=alert(1)>"
HOSTILE = [
    # HTML
    IMAGE,
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//e.org/x.js></SCRIPT>",
    "<svg/onload=alert(1)>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<form id=cookie><input name=location></form>",
    "<a id=config name=config href=x>x</a>",
    "<base href=//e.org>",
    "<meta http-equiv=refresh content='0;url=//e.org'>",
    "<link rel=stylesheet href=//e.org/x.css>",
    "<style>body{background:url(//e.org)}</style>",
    "<video poster=//e.org/x><source src=//e.org/y></video>",
    "<details open ontoggle=alert(1)>",
    "<p style='background:url(//e.org)'>x</p>",
    f"<!-- x -->{IMAGE}",
    f"<!-->{IMAGE}-->",
    f"<![CDATA[{IMAGE}]]>",
    "<!DOCTYPE html [<!ENTITY x 'y'>]>",
    f"<?php {IMAGE} ?>",
    f"<div>\n\n{IMAGE}",
    f"<pre><code>`</code></pre>{IMAGE}",
    f"<code>{IMAGE}</code>",
    f"<code>`{IMAGE}`</code>",
    f"\\<b>\\\\{IMAGE}",
    f"a\x00<\x00img src=x>\x0b{IMAGE}",
    f"text\u2028{IMAGE}\u2028```\u2028{IMAGE}",
    f"<br>\n`{IMAGE}`",
    f"| a |\n|---|\n| `b | {IMAGE} `|",
    # links
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))",
    "[a](<javascript:alert(1)>)",
    "[a](java\tscript:alert(1))",
    "[a](&#106;avascript:alert(1))",
    "[a](javascript&colon;alert(1))",
    "[a](\\javascript:alert(1))",
    "[a](%6aavascript:alert(1))",
    "[a](data:text/html;base64,PHNjcmlwdD4=)",
    "[a](vbscript:x)",
    "[a](file:///etc/passwd)",
    "[a](//e.org)",
    "[a](/lab?reset)",
    "[a](command:workbench.action)",
    '[a](https://e.org "x" onclick=alert(1))',
    '[a](https://e.org/"onclick="alert(1))',
    "[a][b]\n\n[b]: javascript:alert(1)",
    "[a]\n\n[a]: <javascript:alert(1)> 'x'",
    "[a]\n\n[a]:\n   javascript:alert(1)",
    "[a]\n\n> [a]: javascript:alert(1)",
    "[a]\n\n- [a]: data:text/html,x",
    "[a\nb]: javascript:alert(1)\n\n[a b]",
    "<javascript:alert(1)>",
    "<https://e.org/<img/src=x>>",
    "[a\\](javascript:alert(1))",
    "[a](b](javascript:alert(1))",
    "[``a](javascript:alert(1))``",
    # images
    "![a](https://e.org/x.png)",
    "!\\[a](https://e.org/x.png)![b](https://e.org/x.png)",
    "\\\\![a](https://e.org/x.png)",
    "!![a](https://e.org/x.png)",
    "!\x00[a](https://e.org/x.png)",
    "&#33;[a](https://e.org)!&#91;a](https://e.org)",
    "![a]\n\n[a]: https://e.org/x.png",
    "![a][]\n\n[a]: https://e.org/x.png",
    "!<https://e.org/x.png>",
    "[![a](x)](javascript:alert(1))",
    # TeX
    "$\\href{javascript:alert(1)}{x}$",
    "\\\\(\\\\href{javascript:alert(1)}{x}\\\\)",
    "&#92;href{javascript:alert(1)}{x} &bsol;url{x}",
    "\\&#104;ref{x} \\h\\href{x}",
    "$$\\require{html}\\style{background:url(//e.org)}{x}$$",
    "$`\\href{javascript:alert(1)}{x}`$",
    "\\class{x}\\cssId{a}{b}\\data{a=b}{c}\\htmlId{a}{b}\\includegraphics{//e.org}",
    "$\\mmlToken{mi}[href=javascript:alert(1)]{x} \\bbox[background-image:url(//e.org)]{x}$",
    # where parsers disagree about code
    f"```\n```\n{IMAGE}",
    f"``` `\n{IMAGE}\n```",
    f"````\n```\n````\n{IMAGE}",
    f"   ```\n{IMAGE}\n```\n{IMAGE}",
    f"- ```\n{IMAGE}\n  ```\n{IMAGE}",
    f"> ```\n{IMAGE}\n> ```",
    f"\t```\n{IMAGE}\n\t```",
    f"~~~ `\n{IMAGE}\n~~~`{IMAGE}`",
    f"`a\n{IMAGE}\n`",
    f"\\`{IMAGE}`",
    f"`` ` {IMAGE} ``",
    f"`a``{IMAGE}`b``",
    f"~`{IMAGE}`",
    f"https://e.org/`{IMAGE}`",
    f"https://e.org/<`{IMAGE}`",
    f"www.e.org`{IMAGE}`",
    f'](http://e.org "")`{IMAGE}`',
    f"```\nx\n: {IMAGE}\n```",
    f"a\n: b\n```\n: {IMAGE}\n```",
    f"[a]: http://e.org\n```\n{IMAGE}\n```",
    f'[a]: http://e.org "\n\n```\n" \n{IMAGE}\n```',
    f"[\n```\n]: d\n{IMAGE}\n```",
    f"```mermaid\n{IMAGE}\n```",
    # where parsers set formulas aside first
    f"$$\n\n```\n$$\n{IMAGE}\n```",
    f"$$a\\\\$$\n\n```\n$$\n{IMAGE}\n```",
    f"$$x$$ text\n\n```\n$$\n{IMAGE}\n```",
    f"$a$$b$\n\n```\n$$\n{IMAGE}\n```",
    f"\\begin{{a}}\n```\n\\end{{a}}\n{IMAGE}\n```",
    f"\\\\begin{{a}}\n```\n\\end{{a}}\n{IMAGE}\n```",
    f"\\\\\\[\n\n```\n\\\\]\n{IMAGE}\n```",
    f"$a \\\\[ b$\n\n```\n\\\\]\n{IMAGE}\n```",
    f"\\\\[ `\\\\] {IMAGE}`",
    f"`\\\\(` \\\\) `{IMAGE}`",
    f"$5 `a$` `{IMAGE}`",
    f"`\\begin{{a}}` \\end{{a}} `{IMAGE}`",
    'http://e.org/$" onmouseover=alert(1) "$',
    '[a](http://e.org/$" onmouseover=alert(1) "$)',
    "\\\\[ a \\\\](javascript:alert(1))",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_answer_is_harmless(hostile):
    safe = safe_markdown(hostile)
    assert not faults(safe)
    assert not faults(safe_markdown(safe))
    assert not Page(markdown_to_html(hostile)).faults


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_html_is_cleaned(hostile):
    # The second is what a front end's parser would make of the Markdown.
    for html in (hostile, MARKDOWN_IT.render(hostile)):
        cleaned = clean_html(html)
        assert not [fault for fault in Page(cleaned).faults if not ACTIVE_TEX.search(fault)]


def test_most_hostile_answers_do_harm_without_sanitizing():
    harmful = [hostile for hostile in HOSTILE if faults(hostile)]
    assert len(harmful) > 80


SCRAPS = [
    *["`", "``", "```", "````", "~~~", "\n", "\n\n", " ", "    ", "\t", "\\", "\\\\", "$", "$$", "$x$", "$$x$$"],
    *["\\\\(", "\\\\)", "\\\\[", "\\\\]", "\\begin{a}", "\\end{a}", "{", "}", "@@0@@", "|", "| a |\n|--|\n", "- "],
    *["1. ", "> ", "# ", "---", ": ", "[", "]", "(", ")", "](", "![", "]:", "[a]", "[a]: ", '[a]: http://e.org "'],
    *['"', "'", "<", "<!--", "-->", "<b>", IMAGE, IMAGE, f"`{IMAGE}`", f"\n```js\n{IMAGE}\n```\n", "\n   ```\n"],
    *[
        "<a href=javascript:a>x</a>",
        "[x](javascript:a)",
        "![x](http://e.org/x)",
        "[x](<http://e.org>)",
        "http://e.org/",
    ],
    *["www.e.org", '" onmouseover=a "', "<http://e.org>", "<a@e.org>", "&lt;", "&#92;", "&", "&#104;", "\\href{a}{b}"],
    *["\\h", "ref", "*", "_", "~", "!", "a", "<br>", "<code>", "</code>", "<pre>", "</pre>", "^", "[^1]: ", "\u00a0"],
    *[
        "\r",
        "\u2028",
        "\x00",
        " \n",
        "5",
        "[ ] ",
        "mermaid",
        "<?x",
        "?>",
        "<![CDATA[",
        "]]>",
        "javascript:",
        "\\`",
        "\\[",
    ],
]
scrap_heaps = st.lists(st.sampled_from(SCRAPS), max_size=30).map("".join)


@settings(max_examples=400, deadline=None)
@given(scrap_heaps)
@example("`" * 7 + IMAGE)
@example("- [ ] ")
def test_markup_in_any_order_is_harmless(text):
    assert not faults(safe_markdown(text))
    assert not Page(markdown_to_html(text)).faults


@settings(max_examples=200, deadline=None)
@given(scrap_heaps, scrap_heaps, scrap_heaps)
def test_text_around_a_code_block_cannot_include_its_fence(before, inside, after):
    text = f"{before}\n```html\n{inside}\n{IMAGE}\n```\n{after}\n```\n{IMAGE}\n```"
    assert not faults(safe_markdown(text))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
@pytest.mark.slow
def test_any_text_is_harmless(text):
    assert not faults(safe_markdown(text))
    assert not Page(markdown_to_html(text)).faults
    assert not Page(clean_html(text)).faults


LONG_SCRAPS = [
    "[",
    "`",
    "<",
    "!",
    "$",
    "\\",
    "](",
    "![",
    "``` ",
    "`` ` ",
    "$$",
    "$a",
    "\\\\(",
    "\\\\[",
    "\\begin{a}",
    "&",
]
LONG_SCRAPS += [
    "&#9",
    "<http://",
    '](x "',
    "](<",
    "](a(",
    "http://",
    "<code>",
    "| ",
    "```\n",
    "  ```\n",
    "a\n",
    "~",
    "$$x$$ ",
]


@pytest.mark.parametrize("scrap", [*LONG_SCRAPS, "[a]: http://x\n", "$$\n", "`a`", "https://a`b`"])
@pytest.mark.slow
def test_sanitizing_takes_linear_time(scrap):
    text = (scrap * 100_000)[:100_000]
    start = time.process_time()
    safe_markdown(text)
    assert time.process_time() - start < 3  # linear: a tenth of a second; quadratic: minutes


def test_a_long_answer_is_sanitized_in_less_than_200_ms():
    answer = "\n\n".join(ORDINARY[name] for name in ("prose", "lists", "table", "inline code", "fence", "math"))
    answer *= 100_000 // len(answer)
    taken = []
    for _ in range(5):
        start = time.process_time()
        safe_markdown(answer)
        taken.append(time.process_time() - start)
    assert min(taken) < 0.2


def test_a_character_reference_that_is_too_long_is_shown_as_text():
    assert safe_markdown(f"&#{'9' * 5000};").startswith("&amp;#999")


def test_html_keeps_text_lists_tables_and_code():
    html = (
        '<h2>A</h2><p>b <em>c</em> <strong>d</strong> <del>e</del> x<sub>1</sub><br><code class="language-c++">f</code>'
        '</p><ul><li>g</li></ul><ol start="3"><li>h</li></ol><blockquote>i</blockquote><hr><pre>j</pre>'
        "<table><thead><tr><th>k</th></tr></thead><tbody><tr><td>l</td></tr></tbody></table>"
    )
    assert clean_html(html) == html


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<a href="HTTPS://a.org" onclick="f()" id="x" name="y">b</a>', '<a href="HTTPS://a.org" {0}>b</a>'),
        ('<a href="mailto:a@b.org">c</a>', '<a href="mailto:a@b.org" {0}>c</a>'),
        ('<a href="javascript:f()" target="_top">c</a>', "<a {0}>c</a>"),
        ('<a href="/lab">c</a><a href="//b.org">d</a>', "<a {0}>c</a><a {0}>d</a>"),
        ('<img src="https://a.org/b" alt="<b>&quot;c">', '<a href="https://a.org/b" {0}>&lt;b&gt;"c</a>'),
        ('<img src="https://a.org/b?c=1&amp;d=2">', '<a href="https://a.org/b?c=1&amp;d=2" {0}>image</a>'),
        ('<img src="data:image/png;base64,AA" alt="x">', ""),
        ('<img src="cat.png" alt="x">', ""),
        ('<p class="x language-py" style="color:red" title="b" lang="c">a</p>', "<p>a</p>"),
        ('<code class="x language-py">a</code>', '<code class="language-py">a</code>'),
        ('<pre><code class="language-Mermaid-x">a</code></pre>', "<pre><code>a</code></pre>"),
        ("<math><mtext>a</mtext></math><object>b</object>c", "c"),
        ("<script>a</script><style>b</style><svg><text>c</text></svg><form><input>d</form>", "d"),
    ],
)
def test_harmful_html_is_removed(html, expected):
    assert clean_html(html) == expected.format('target="_blank" rel="noopener noreferrer"')


def test_markdown_is_rendered_as_html():
    html = markdown_to_html("# A\n\n| b |\n|---|\n| ~~c~~ |\n\n```py\nd < e\n```\n\n<b>![f](https://a.org/g.png)")
    assert "<h1>A</h1>" in html and "<td><s>c</s></td>" in html and "&lt;b&gt;" in html
    assert '<pre><code class="language-py">d &lt; e\n</code></pre>' in html
    assert '<a href="https://a.org/g.png" target="_blank" rel="noopener noreferrer">f</a>' in html


@pytest.mark.parametrize(
    ("markdown", "formula"),
    [
        ("a $x_1*y*z_2$ b", "$x_1*y*z_2$"),
        ("a $$x_1*y*z_2$$ b", "$$x_1*y*z_2$$"),
        (r"a \(x_1*y*z_2\) b", r"\(x_1*y*z_2\)"),
        (r"a \\(x_1*y*z_2\\) b", r"\(x_1*y*z_2\)"),
        (r"a \\[x_1 \\ y\\] b", r"\[x_1 \\ y\]"),
        ("a\n$$\nb\n+ c\n# d\n$$\ne", "$$\nb\n+ c\n# d\n$$"),
        ("\\[\nb\n- c\n\\]", "\\[\nb\n- c\n\\]"),
        ("$a<b$", "$a&lt;b$"),
    ],
)
def test_formulas_are_kept_for_the_page(markdown, formula):
    assert formula in markdown_to_html(markdown)


def test_dollar_signs_in_code_and_prices_are_not_formulas():
    html = markdown_to_html("`$a$ *b*` costs $5 or *$6*; `$` and `$`")
    html = html.replace("<span>$</span>", "(dollar)")
    assert html == (
        "<p><code>$a$ *b*</code> costs (dollar)5 or <em>(dollar)6</em>; <code>$</code> and <code>$</code></p>\n"
    )


def test_tex_that_is_not_allowed_is_kept_in_code_only():
    assert "\\href" in markdown_to_html("`\\href`") and "\\href" in markdown_to_html("```\n\\href\n```")
    assert "\\href" not in markdown_to_html("\\href &#92;href **\\href** [\\href](https://a.org) ![\\href](x)")
    assert markdown_to_html("$\\href{a}{b}$ $x$") == "<p><code>$\\href{a}{b}$</code> <span>$x$</span></p>\n"


def test_importing_loads_neither_nh3_nor_markdown_it():
    program = "import sys, vision_nb.rendering.markdown.html; print({'nh3', 'markdown_it'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_table_columns_are_aligned_without_a_style():
    html = markdown_to_html("| a | b | c |\n|---|--:|:-:|\n| 1 | 2 | 3 |")
    assert '<th align="right">b</th>' in html and '<td align="center">3</td>' in html and "style" not in html


def test_active_tex_in_a_name_is_disabled():
    for name in (r"$\href{javascript:f()}{a}$.png", r"\(\require{x}\)", r"\class{a}{b}", r"\[\style{a}{b}\]"):
        assert not faults(f"**{inline_text(name)}**") and not Page(f"<b>{inline_text(name)}</b>").faults


def test_surrogates_are_joined_or_replaced():
    assert replace_surrogates("a\ud83d\ude00") == "a\N{GRINNING FACE}"
    assert replace_surrogates("\ud83d!") == "\N{REPLACEMENT CHARACTER}!"
    assert "\N{REPLACEMENT CHARACTER}" in markdown_to_html("half \ude00")


@pytest.mark.parametrize("tex", [r"\rule{9999em}{9999em}", r"\hspace{-300em}x", r"a\hspace{900px}b"])
def test_a_formula_cannot_cover_the_text_around_it(tex):
    assert answer_html(f"${tex}$") == f"<p><code>{tex}</code></p>\n"
    assert 'width="1em"' in answer_html(r"$a\quad b$")
