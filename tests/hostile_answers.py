r"""Hostile answers: known attacks, and a generator that nests and mutates them."""

import random
import string

from tests.mathjax_finder import DANGEROUS
from tests.test_safe_html import HOSTILE, SCRAPS

HOST = "evil.example"
STYLE = "position:fixed;left:0;top:0;width:9999px;height:9999px;z-index:99999;background:red"
COVER = rf"\unicode[x;{STYLE} url(//{HOST}/x.png)]{{x41}}"

TEX = [
    COVER,
    rf"\style{{{STYLE}}}{{x}}",
    rf"\href{{javascript:alert(1)}}{{x}} \url{{//{HOST}}} \href{{https://{HOST}}}{{\rule{{99em}}{{99em}}}}",
    r"\class{jp-mod-hidden}{x} \cssId{jp-main-dock-panel}{y} \data{commandlinker-command=x}{y}",
    rf"\bbox[{STYLE};border:99px solid red]{{x}} \bbox[red,99em]{{x}}",
    rf"\mmlToken{{mtext}}[style='{STYLE}' href='javascript:alert(1)' class='jp-mod-hidden' id='main']{{x}}",
    rf"\htmlStyle{{{STYLE}}}{{x}} \htmlClass{{a}}{{x}} \htmlId{{main}}{{x}} \htmlData{{a=b}}{{x}}",
    rf"\includegraphics[width=999em]{{https://{HOST}/x.png}}",
    r"\require{html} \require{action} \require{color} \require{physics}",
    r"\def\alpha{HACKED}\gdef\beta{HACKED}\let\sum\int",
    r"\renewcommand{\frac}[2]{HACKED}\renewcommand\sqrt[1]{HACKED}\newcommand{\alpha}{HACKED}",
    r"\newenvironment{matrix}{HACKED}{}\renewenvironment{pmatrix}{HACKED}{HACKED}\DeclareMathOperator{\sin}{HACKED}",
    r"\definecolor{black}{rgb}{1,0,0}\color{red}{x}\colorbox{red}{\rule{99em}{99em}}\fcolorbox{red}{red}{x}",
    r"a \label{own} \tag{own} \eqref{own} \ref{own}",
    r"\begin{equation} a \label{own} \end{equation}",
    r"\begin{align} a &= b \\ c &= d \end{align}",
    r"\rule{9999em}{9999em} \Rule{999em}{999em}{999em} \Space{999em}{999em}{0em}",
    r"\hspace{-9999px}\rlap{\rule{9999px}{9999px}}\llap{x}\raise 999em {x}\lower999em{x}\kern-999em x\moveleft 99em {x}",
    r"\mathchoice{\kern-99em}{}{}{} \skew{9999}{x}{y} \above 99em b \genfrac{(}{)}{99em}{0}{a}{b}",
    r"\Huge\Huge{\HUGE x} {\Huge {\Huge {\Huge x}}}",
    r"\begin{array}{p{9999em}}x\end{array} \begin{array}{*{9999}{c}}x\end{array} x \\[9999em] y",
    r"\begin{alignat}{99999999} x \end{alignat}",
    r"\def\a{\b\b}\def\b{\c\c}\def\c{\d\d}\def\d{\a}\a",
    r"\toggle{\rule{99em}{99em}}{x}\endtoggle \mathtip{x}{y} \texttip{x}{y} \enclose{circle}[mathbackground='red']{x}",
    "{" * 200 + "x" + "}" * 200,
    "x" + "^{x" * 300 + "}" * 300,
    r"\sqrt" * 300 + "x",
    r"\!" * 400 + "x",
    r"\text{$\unicode[x;position:fixed]{x41}$ \(\href{javascript:alert(1)}{x}\)}",
    "\\hr%\nef{javascript:alert(1)}{x} \\hr{}ef{x}{y} \\\\href{javascript:alert(1)}{x}",
]

HTML = [
    '<button data-commandlinker-command="application:close-all" data-commandlinker-args="{}">Close</button>',
    '<a data-commandlinker-command="notebook:delete-cell" href="#">x</a><div data-commandlinker-command="x">x</div>',
    f'<div id="jp-main-dock-panel" class="jp-mod-hidden lm-mod-hidden" style="{STYLE}" data-x="y">x</div>',
    f'<details open ontoggle=alert(1)><summary style="{STYLE}">x</summary>x</details></details></details>',
    '<span class="mathjax_process tex2jax_process MathJax">x</span><mjx-container style="position:fixed">x</mjx-container>',
    f"<style>body {{ display: none }} .jp-Toolbar {{ background: url(//{HOST}/x) }}</style>",
    f'<p style="{STYLE}" class="jp-Notebook" id=main title=x slot=x is=x contenteditable autofocus tabindex=1>x</p>',
    f'<img src="https://{HOST}/x.png" srcset="https://{HOST}/y.png 2x"><video poster="https://{HOST}/z.png"></video>',
    f'<link rel=stylesheet href="https://{HOST}/x.css"><meta http-equiv=refresh content="0;url=//{HOST}">',
    "# jp-right-stack\n\n## main\n\n### MathJax\n\n#### <b id=main>jp-bottom-panel</b>",
    "# main {#main .jp-mod-hidden}\n\n[x]{.jp-mod-hidden #main}\n\n::: {.jp-mod-hidden}\nx\n:::",
    '```js class="jp-mod-hidden" {style="position:fixed"}\nx\n```\n\n```{raw} html\n<img src=x onerror=alert(1)>\n```',
    '```mermaid\ngraph TD; A-->B; click A href "javascript:alert(1)"; style A fill:url(//evil.example/x)\n```',
    "```math\n\\unicode[x;position:fixed]{x41}\n```",
    '<code class="language-x jp-mod-hidden language-y" style="position:fixed">x</code><pre class="mermaid">graph TD; A</pre>',
    '</div></div></div></details></td></tr></table></span></code></pre><div class="jp-mod-hidden">x',
]

DELIMITERS = [
    "$%s$",
    "$$%s$$",
    "$$\n%s\n$$",
    r"\(%s\)",
    r"\[%s\]",
    r"\\(%s\\)",
    r"\\[%s\\]",
    r"\begin{equation}%s\end{equation}",
]
DELIMITERS += [
    r"\begin{align*}%s\end{align*}",
    "&#36;%s&#36;",
    "&dollar;%s&dollar;",
    r"\$%s\$",
    "$`%s`$",
    "$<br>%s$",
    "$a\n%s$",
]
DELIMITERS += [
    "`$`%s$",
    "$%s`$`",
    "<span>$</span>%s$",
    r"\\\\(%s\\\\)",
    "```math\n%s\n```",
    "$**%s**$",
    "[$](http://a.org)%s$",
]

_TEMPLATES = [
    *DELIMITERS,
    "**%s**",
    "_%s_",
    "[%s](https://a.org)",
    "![%s](https://a.org/b.png)",
    "[a](%s)",
    "| a |\n|---|\n| %s |",
]
_TEMPLATES += [
    "- %s",
    "1. %s",
    "> %s",
    "# %s",
    "`%s`",
    "```\n%s\n```",
    "~~~html\n%s\n~~~",
    "    %s",
    "<b>%s</b>",
    "<!-- %s -->",
]
_TEMPLATES += [
    "<details><summary>%s</summary>\n\n%s\n\n</details>",
    "<svg>%s</svg>",
    "<math><mtext>%s</mtext></math>",
    "<pre>%s</pre>",
]
_TEMPLATES += [
    "<table><tr><td>%s</table>",
    "<textarea>%s</textarea>",
    "<a href='%s'>x</a>",
    '<p title="%s">x</p>',
    "%s\n\n%s",
    "%s%s",
]


def known_attacks():
    """Return all known attacks: each formula between each pair of delimiters, and Markdown and HTML."""
    return [form % tex for form in DELIMITERS for tex in TEX] + HTML + HOSTILE


def mutations(count, seed):
    """Yield hostile answers that are made from known ones, the same for the same seed."""
    choose = random.Random(seed)
    dangerous = sorted(DANGEROUS)
    pieces = [*known_attacks(), *TEX]
    short = [piece for piece in pieces if len(piece) < 200]
    for _ in range(count):
        text = choose.choice(short)
        for _ in range(choose.randint(1, 4)):
            text = choose.choice(_MUTATIONS)(choose, text, short, dangerous)
        yield text[:2_500]


def _wrap(choose, text, *_):
    return choose.choice(_TEMPLATES).replace("%s", text)


def _insert(choose, text, pieces, *_):
    at = choose.randint(0, len(text))
    return text[:at] + choose.choice([*choose.sample(pieces, 1), *choose.sample(SCRAPS, 2)]) + text[at:]


def _repeat(choose, text, *_):
    at = choose.randint(0, len(text))
    return text[:at] + text[at : at + choose.randint(1, 9)] * choose.randint(2, 5) + text[at:]


def _delete(choose, text, *_):
    at = choose.randint(0, len(text))
    return text[:at] + text[at + choose.randint(1, 9) :]


def _encode(choose, text, *_):
    at = choose.randrange(max(1, len(text)))
    form = choose.choice(["&#%d;", "&#x%x;", "&#%d", "\\%c", "%%%02x", "%c\u200b", "%c\u00ad", "\x00%c", "%c\n"])
    return (
        text[:at]
        + "".join(form % ord(mark) if "%c" not in form else form.replace("%c", mark) for mark in text[at : at + 1])
        + text[at + 1 :]
    )


def _command(choose, text, _, dangerous):
    at = choose.randint(0, len(text))
    return (
        text[:at] + "\\" + choose.choice(dangerous) + choose.choice(["{", "[", "{x}", " ", "\\", "*", ""]) + text[at:]
    )


def _backslashes(choose, text, *_):
    return text.replace("\\", "\\" * choose.randint(2, 4), choose.randint(1, 6))


def _case(choose, text, *_):
    return "".join(mark.swapcase() if choose.random() < 0.2 else mark for mark in text)


def _punctuation(choose, text, *_):
    at = choose.randint(0, len(text))
    return text[:at] + choose.choice(string.punctuation + "\n\t ") * choose.randint(1, 3) + text[at:]


def _cross(choose, text, pieces, *_):
    other = choose.choice(pieces)
    return text[: choose.randint(0, len(text))] + other[choose.randint(0, len(other)) :]


_MUTATIONS = [
    _wrap,
    _wrap,
    _wrap,
    _insert,
    _repeat,
    _delete,
    _encode,
    _command,
    _backslashes,
    _case,
    _punctuation,
    _cross,
]
