r"""Find what MathJax would typeset on a page, without using the sanitizer.

The rules are those of ``HTMLDomStrings.ts`` and ``FindTeX.ts`` of MathJax 3 and 4, with JupyterLab's settings. The
``tex2jax`` of MathJax 2, which pages of nbconvert load, finds the same.
"""

import re
from html.parser import HTMLParser

_SKIPPED = ("script", "noscript", "style", "textarea", "pre", "code", "annotation", "annotation-xml")
_IGNORING = {"tex2jax_ignore", "mathjax_ignore"}  # classes, which pandas gives to tables without formulas
_INCLUDED = {"br": "\n", "wbr": ""}
_START = re.compile(
    r"(?P<open>\$\$|\\\(|\\\[|\$)|\\begin\s*\{(?P<environment>[^}]*)\}|(?P<escape>\\[\\$])|(?P<ref>\\(?:eq)?ref\s*\{[^}]*\})"
)
_CLOSERS = {"$": "$", "$$": "$$", r"\(": r"\)", r"\[": r"\]"}
_COMMAND = re.compile(r"\\([A-Za-z]+|.)", re.DOTALL)

DANGEROUS = frozenset(
    # These define commands, also for later formulas, or load extensions.
    """def gdef edef xdef let newcommand renewcommand providecommand DeclareMathOperator DeclarePairedDelimiter
    DeclarePairedDelimiters DeclarePairedDelimitersX DeclarePairedDelimitersXPP newenvironment renewenvironment
    newcolumntype newtagform renewtagform usetagform mathtoolsset setOptions definecolor require global long futurelet
    char csname DeclareRobustCommand Newextarrow beginProof tagform"""
    # These change numbers and links of equations.
    """ label tag ref eqref cref leqno"""
    # These set styles, classes, ids and URLs, or load something.
    """ href url class cssId style data unicode U mmlToken bbox includegraphics htmlClass htmlId htmlStyle htmlData
    texttip mathtip toggle action fcolorbox colorbox color textcolor pagecolor enclose longdiv Tooltip"""
    # These take sizes or move what they show.
    """ rule Rule Space hskip kern mskip mspace mkern raise lower moveleft moveright raisebox llap rlap mathllap
    mathrlap mathclap clap smash genfrac above abovewithdelims uproot leftroot vcenter vbox vtop hsize parbox framebox
    makebox fbox hfil hfill hfilll skew sideset breakAlign mathchoice tiny Tiny scriptsize footnotesize small
    normalsize large Large LARGE huge Huge HUGE negthinspace negmedspace negthickspace verb"""
    # These are macro languages and diagrams of their own.
    """ ce pu xypic xymatrix begingroup endgroup begingroupSandbox cancelto array matrix cases eqalign displaylines
    eqalignno leqalignno""".split()
)


class _Strings(HTMLParser):
    """The texts of a page as MathJax joins them: it does not look across elements other than line breaks."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.strings, self._skipped = [""], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        if tag in _INCLUDED and not self._skipped:
            self.strings[-1] += _INCLUDED[tag]
            return
        is_ignored = not _IGNORING.isdisjoint((dict(attributes).get("class") or "").split())
        if tag in _SKIPPED or is_ignored or (tag == "table" and tag in self._skipped):
            self._skipped.append(tag)
        self.strings.append("")

    def handle_endtag(self, tag):
        if tag in self._skipped:
            while self._skipped.pop() != tag:
                pass
        self.strings.append("")

    def handle_data(self, data):
        if not self._skipped:
            self.strings[-1] += data


def typeset_formulas(html):
    """Return the TeX of each formula, with its environment or reference."""
    return [formula for string in _Strings(html).strings for formula in _formulas(string)]


def _formulas(string):
    position = 0
    while start := _START.search(string, position):
        position = start.end()
        if start["ref"]:
            yield start["ref"]
        elif start["environment"] is not None:
            end = _end(string, position, r"\\end\s*\{" + re.escape(start["environment"]) + r"\}")
            if end:
                yield string[start.start() : end.end()]
                position = end.end()
        elif start["open"]:
            end = _end(string, position, re.escape(_CLOSERS[start["open"]]))
            if end:
                yield string[position : end.start()]
                position = end.end()


def _end(string, position, closer):
    depth = 0
    for mark in re.compile(rf"(?P<end>{closer})|\\(?:[a-zA-Z]|.)|[{{}}]", re.DOTALL).finditer(string, position):
        if mark["end"] and depth == 0:
            return mark
        depth = depth + 1 if mark[0] == "{" else max(0, depth - 1) if mark[0] == "}" else depth
    return None


def harmful_formulas(html, allowed):
    """Return the formulas with a command, environment or size that is not allowed."""
    return [formula for formula in typeset_formulas(html) if _is_harmful(formula, allowed)]


def _is_harmful(formula, allowed):
    words = {word for word in _COMMAND.findall(formula) if word.isalpha()} - {"begin", "end", "hspace"}
    environments = set(re.findall(r"\\(?:begin|end)\s*\{([^}]*)\}", formula))
    numbered = environments & {"equation", "align", "gather", "multline", "flalign", "eqnarray", "alignat", "xalignat"}
    sizes = re.findall(r"(?:(?:(?<!\\)(?:\\\\)+\*?\s*\[)|\\hspace\*?\s*\{)\s*(-|[\d.]*)", formula)
    columns = re.search(r"(?<!\\)(?:\\\\)*\\begin\s*\{(?:sub)?array\}(?!(?:\s*\[[tbc]\])?\s*\{[lcr|:\s]*\})", formula)
    is_large = any(size.startswith("-") or len(size.partition(".")[0]) > 2 for size in sizes)
    return bool(words - allowed or words & DANGEROUS or numbered or columns or is_large)
