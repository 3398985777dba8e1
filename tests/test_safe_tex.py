"""Formulas in untrusted text: harmless ones are typeset, all others are shown as code."""

import pickle
import re

import pandas as pd
import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.extractions import make_extraction, receipt
from tests.mathjax_finder import DANGEROUS, harmful_formulas, typeset_formulas
from vision_nb.comparison.answer_cells import error_html
from vision_nb.comparison.answer_cells import folded_answer_html as gallery_html
from vision_nb.images.cards import ImageCard, cards_html
from vision_nb.magics.answer_parsers import parse_table
from vision_nb.rendering import html
from vision_nb.rendering.html_cleaner import clean_html
from vision_nb.rendering.markdown.blocks import safe_markdown
from vision_nb.rendering.markdown.html import markdown_to_html
from vision_nb.rendering.page import answer_html
from vision_nb.rendering.sanitize import attribute_text, escape_text, inline_text
from vision_nb.rendering.tex import COMMANDS, ENVIRONMENTS, MAX_TYPESET, safe_tex

pytestmark = pytest.mark.slow

COVER = r"\unicode[x;position:fixed;left:0;top:0;width:9999px;height:9999px;background:red url(//e.org/x.png)]{x41}"

ORDINARY = [
    "E = mc^2",
    r"\frac{-b \pm \sqrt{b^2 - 4ac}}{2a}",
    r"\sum_{i=1}^{n} x_i \le \int_0^\infty e^{-x^2}\,dx = \frac{\sqrt{\pi}}{2}",
    r"\begin{pmatrix} a & b \\ c & d \end{pmatrix}^{-1}",
    r"f(x) = \begin{cases} 1 & \text{if } x > 0 \\ 0 & \text{otherwise} \end{cases}",
    r"\left\lfloor \frac{x}{y} \right\rfloor \cdot \overline{AB} \parallel \vec{v} \in \mathbb{R}^3",
    r"\begin{aligned} x &= 1 \\ y &= 2 \end{aligned}",
    r"\begin{array}{c|cc} & 0 & 1 \\ \hline 0 & 0 & 1 \end{array}",
    r"\operatorname{softmax}(z)_i = \boxed{\dfrac{e^{z_i}}{\sum\limits_j e^{z_j}}} \hspace{1cm} \text{5\% of \$3}",
    r"\lim_{h \to 0} \underbrace{\frac{f(x+h)-f(x)}{h}}_{\text{slope}} \xrightarrow{h} f'(x)",
]


@pytest.mark.parametrize("tex", ORDINARY)
def test_an_ordinary_formula_is_typeset(tex):
    assert safe_tex(tex) == tex
    assert safe_markdown(f"So ${tex}$.") == f"So ${tex}$."
    assert typeset_formulas(markdown_to_html(f"So ${tex}$.")) == [tex]
    assert "<math" in answer_html(f"So ${tex}$.")


@pytest.mark.parametrize("command", sorted(DANGEROUS))
def test_a_dangerous_command_is_shown_as_code(command):
    for tex in (rf"\{command}{{a}}{{b}}", rf"x^{{\{command} y}}", rf"\text{{\{command}[a]{{b}}}}", rf"a\\\{command} b"):
        assert safe_tex(tex) is None
        shown = answer_html(f"${tex}$")
        assert "<math" not in shown and "<code>" in shown
        for start, end in (("$", "$"), ("$$", "$$"), (r"\(", r"\)"), (r"\[", r"\]"), (r"\\(", r"\\)")):
            for page in (markdown_to_html(f"a {start}{tex}{end} b"), clean_html(f"<p>a {start}{tex}{end} b</p>")):
                assert typeset_formulas(page) == []


@pytest.mark.parametrize(
    "tex",
    [
        r"\begin{array}{p{9999em}}a\end{array}",
        r"\begin{array}{*{99999}{c}}a\end{array}",
        r"\begin{array}{@{\href{x}{y}}c}a\end{array}",
        r"\begin{array}[axis 99999]{c}a\end{array}",
        r"\begin{aligned}[9999em]a\end{aligned}",
        r"\begin{alignat}{99999999}a\end{alignat}",
        r"\begin{array}a\end{array}",
        r"\begin{CD}a\end{CD}",
        r"\begin{prooftree}a\end{prooftree}",
        r"\begin{document}a\end{document}",
        r"a \\[9999em] b",
        r"a \\ [ 1000 pt ] b",
        r"a \\*[-99em] b",
        r"\hspace{999em}",
        r"\hspace{-9em}",
        r"\hspace*{9em}",
        "a \\",
        r"\begin{cases*}a\end{cases*}",
        r"\begin",
        r"\^^68ref{a}{b}",
        r"\'e",
    ],
)
def test_a_formula_with_an_unknown_argument_or_environment_is_shown_as_code(tex):
    assert safe_tex(tex) is None


def test_no_allowed_command_is_dangerous():
    assert not COMMANDS & DANGEROUS
    assert not {name for name in ENVIRONMENTS if "alignat" in name}


def test_a_display_formula_can_have_space_between_its_lines():
    formula = r"$$\begin{gathered} a \\[4pt] b \end{gathered}$$"
    assert safe_markdown(formula) == formula
    assert "<mtable" in answer_html(formula) and not re.search("align[*]|4pt", answer_html(formula))


def test_a_parser_that_drops_a_backslash_sees_no_other_command():
    assert safe_tex(r"a\\href{x} \\\alpha") == r"a\\ href{x} \\\alpha"


def test_negative_space_is_removed_without_joining_words():
    assert safe_tex(r"\alpha\!b\\!") == r"\alpha b\\!"


@pytest.mark.parametrize("name", ["equation", "align", "gather", "multline", "flalign", "eqnarray"])
def test_an_equation_of_an_answer_is_not_numbered(name):
    formula = rf"\begin{{{name}}}a\end{{{name}}}"
    starred = rf"\begin{{{name}*}}a\end{{{name}*}}"
    assert safe_markdown(formula) == safe_markdown(starred) == starred
    assert typeset_formulas(markdown_to_html(formula)) == [starred]


@pytest.mark.parametrize(
    "tex", ["x" * 2_001, "{" * 41 + "}" * 41, "x^{" * 41 + "}" * 41, r"\left(" * 41, r"\begin{matrix}" * 41]
)
def test_a_formula_that_is_slow_to_typeset_is_shown_as_code(tex):
    assert safe_tex(tex) is None and typeset_formulas(markdown_to_html(f"${tex}$")) == []


def test_the_formulas_of_an_answer_have_a_total_limit():
    answer = "$x$ and\n\n" * 3_000
    pages = (safe_markdown(answer), markdown_to_html(answer), clean_html(answer))
    for page in pages:
        assert MAX_TYPESET // 60 < len(typeset_formulas(page)) < MAX_TYPESET // 50
        assert page.count("<code>") > 2_000


FORMS = [
    "$%s$",
    "$$%s$$",
    r"\(%s\)",
    r"\[%s\]",
    r"\\(%s\\)",
    r"\\[%s\\]",
    r"\begin{align}%s\end{align}",
    "&#36;%s&#36;",
]
FORMS += [r"\ref{%s}", r"\eqref{%s}", r"\$%s\$", "$<b>x</b>%s$", "a $1 %s\nb $2", "&dollar;%s&dollar;", "$%s\\\\$"]


@pytest.mark.parametrize("form", FORMS)
def test_a_page_typesets_no_unknown_command_in_any_text(form):
    text = form % COVER
    for page in (
        markdown_to_html(text),
        clean_html(text),
        clean_html(f"<p>{text}<br>{text}</p>"),
        escape_text(text),
        inline_text(text),
        html.muted_text(text),
        html.error_box(text),
        html.file_listing(text, text),
        html.html_table([text], [[text]]),
        cards_html([ImageCard(text, text, "data:,", (1, 1)), ImageCard(text, text)], remarks=[text]),
        html.footnote([text]),
        gallery_html(text, facts=[text], remark=text),
        error_html(text),
    ):
        assert harmful_formulas(page, COMMANDS) == []


def test_the_cells_of_a_markdown_table_are_text():
    table = html.markdown_table(["a"], [[f"${COVER}$ [a](javascript:b) ![a](https://e.org) <b>|"]])
    assert "](" not in table and "$" not in table and "\\" not in table and "<b>" not in table


def test_text_in_an_attribute_contains_no_tag():
    assert re.fullmatch(r"[^<>\"$\\]*", attribute_text(f'"><img> ${COVER}$'))


def test_a_command_that_is_not_allowed_can_be_copied():
    assert clean_html(r"C:\new costs $5") == "C:<span>&#92;</span>new costs <span>&#36;</span>5"


def test_a_data_frame_of_answers_is_displayed_without_formulas(server, tmp_path):
    server.answer_with(f"${COVER}$")
    llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base)
    frame = vn.compare(llm, "x?", picture(), store=tmp_path / "a", progress=False).to_dataframe()
    parsed = parse_table("| a |\n|---|\n| $x$ |")
    for shown in (frame, parsed):
        assert 'class="dataframe tex2jax_ignore mathjax_ignore"' in shown._repr_html_()
        assert type(pickle.loads(pickle.dumps(shown))) is type(shown)
    assert frame.response[0] == f"${COVER}$"
    assert "mathjax_ignore" not in pd.DataFrame({"a": ["$x$"]})._repr_html_()


def test_every_data_frame_is_displayed_without_formulas(tmp_path):
    read = make_extraction(tmp_path, [[receipt(), receipt(payment="cash")]])
    read.set_review(0, receipt(), reviewer="ann")
    read.comparison.set_label(0, correctness=1, relevance=1)
    score = read.score()
    for frame in (
        read.to_dataframe(),
        read.to_dataframe(explode="items", reviewed=True),
        read.comparison.to_dataframe(),
        read.comparison.summary().to_dataframe(),
        score.to_dataframe(),
        score.models.to_dataframe(),
        score.errors().to_dataframe(),
        score.confusion("payment"),
        vn.ledger.to_dataframe(),
    ):
        assert "mathjax_ignore" in frame._repr_html_()


def test_a_name_in_a_figure_is_not_a_formula(tmp_path):
    path = tmp_path / r"$\frac$.png"
    picture().save(path)
    broken = tmp_path / r"$\sqrt$.png"
    broken.write_bytes(b"no image")
    figure = vn.display_image_uris([path, broken])
    figure.savefig(tmp_path / "figure.png")
    assert [axis.get_title().partition(".png")[0] for axis in figure.axes][:1] == [r"$\frac$"]
