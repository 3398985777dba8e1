r"""TeX in untrusted text: only known, harmless commands are typeset.

MathJax and KaTeX have commands that set styles, classes and ids, load files, take sizes that cover the page, or define
commands for all formulas that follow. The commands and environments listed here do none of this. They were taken from
the tables ``BaseMappings.ts`` and ``AmsMappings.ts`` of MathJax 4.1 (2026-05-03). A formula with any other command or
environment is shown as code.
"""

from __future__ import annotations

import re

MAX_FORMULA_LENGTH = 2_000
"""Longer formulas (in characters) are shown as code, because typesetting deeply nested ones is slow."""

MAX_DEPTH = 40
"""The maximum number of nested braces, brackets and environments in a formula."""

MAX_TYPESET = 30_000
"""The maximum size of an answer's formulas; others are shown as code. A formula of n characters has size n + 50."""

COMMANDS = frozenset(
    # letters
    """
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi chi
    psi omega varepsilon vartheta varpi varrho varsigma varphi digamma varkappa
    Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega
    varGamma varDelta varTheta varLambda varXi varPi varSigma varUpsilon varPhi varPsi varOmega
    AA S aleph beth gimel daleth hbar hslash imath jmath ell wp Re Im eth mho Finv Game Bbbk
    """
    # symbols
    """
    partial infty prime backprime emptyset varnothing nabla top bot angle measuredangle sphericalangle triangle
    triangledown blacktriangle blacktriangledown backslash forall exists nexists neg lnot flat natural sharp clubsuit
    diamondsuit heartsuit spadesuit square Box blacksquare lozenge Diamond blacklozenge circledS circledR bigstar
    complement diagup diagdown yen checkmark maltese surd
    ldots cdots vdots ddots iddots dots dotsc dotsb dotsm dotsi dotso ldotp cdotp colon And therefore because
    """
    # large operators
    """
    sum prod coprod int intop iint iiint iiiint idotsint oint ointop oiint oiiint smallint bigvee bigwedge biguplus
    bigcap bigcup bigotimes bigoplus bigodot bigsqcup
    """
    # binary operators
    """
    triangleleft triangleright bigtriangleup bigtriangledown wedge land vee lor cap cup ddagger dagger sqcap sqcup
    uplus amalg diamond bullet wr div odot oslash otimes ominus oplus mp pm circ bigcirc setminus cdot ast times star
    dotplus ltimes rtimes smallsetminus Cap doublecap Cup doublecup leftthreetimes rightthreetimes barwedge curlywedge
    veebar curlyvee doublebarwedge boxminus boxtimes boxdot boxplus circleddash circledast circledcirc centerdot
    divideontimes intercal bmod mod pmod pod
    """
    # relations
    """
    propto varpropto sqsubseteq sqsupseteq sqsubset sqsupset parallel mid dashv vdash leq le geq ge lt gt succ prec
    approx succeq preceq supset subset supseteq subseteq in ni notin owns gg ll sim simeq perp equiv asymp smile frown
    ne neq cong doteq bowtie models leqq geqq leqslant geqslant eqslantless eqslantgtr lesssim gtrsim lessapprox
    gtrapprox approxeq lessdot gtrdot lll llless ggg gggtr lessgtr gtrless lesseqgtr gtreqless lesseqqgtr gtreqqless
    doteqdot Doteq eqcirc risingdotseq circeq fallingdotseq triangleq backsim thicksim backsimeq thickapprox subseteqq
    supseteqq Subset Supset preccurlyeq succcurlyeq curlyeqprec curlyeqsucc precsim succsim precapprox succapprox
    vartriangleleft lhd vartriangleright rhd trianglelefteq unlhd trianglerighteq unrhd vDash Vdash Vvdash smallsmile
    shortmid smallfrown shortparallel bumpeq between Bumpeq pitchfork backepsilon blacktriangleleft blacktriangleright
    eqsim vartriangle Join not nless ngtr nleq ngeq nleqslant ngeqslant nleqq ngeqq lneq gneq lneqq gneqq lvertneqq
    gvertneqq lnsim gnsim lnapprox gnapprox nprec nsucc npreceq nsucceq precneqq succneqq precnsim succnsim precnapprox
    succnapprox nsim ncong nshortmid nshortparallel nmid nparallel nvdash nvDash nVdash nVDash ntriangleleft
    ntriangleright ntrianglelefteq ntrianglerighteq nsubseteq nsupseteq nsubseteqq nsupseteqq subsetneq supsetneq
    varsubsetneq varsupsetneq subsetneqq supsetneqq varsubsetneqq varsupsetneqq
    """
    # arrows
    """
    leftarrow gets rightarrow to leftrightarrow Leftarrow Rightarrow Leftrightarrow mapsto longmapsto longleftarrow
    longrightarrow longleftrightarrow Longleftarrow Longrightarrow Longleftrightarrow implies impliedby iff uparrow
    downarrow updownarrow Uparrow Downarrow Updownarrow leftharpoonup leftharpoondown rightharpoonup rightharpoondown
    nearrow searrow nwarrow swarrow rightleftharpoons leftrightharpoons hookrightarrow hookleftarrow leftleftarrows
    rightrightarrows leftrightarrows rightleftarrows Lleftarrow Rrightarrow twoheadleftarrow twoheadrightarrow
    leftarrowtail rightarrowtail looparrowleft looparrowright curvearrowleft curvearrowright circlearrowleft
    circlearrowright Lsh Rsh upuparrows downdownarrows upharpoonleft upharpoonright downharpoonleft downharpoonright
    restriction multimap leftrightsquigarrow rightsquigarrow leadsto dashrightarrow dashleftarrow nleftarrow
    nrightarrow nLeftarrow nRightarrow nleftrightarrow nLeftrightarrow xrightarrow xleftarrow
    """
    # delimiters and their sizes
    """
    left right middle lmoustache rmoustache lgroup rgroup arrowvert Arrowvert bracevert Vert vert lvert rvert lVert
    rVert rangle langle rbrace lbrace rceil lceil rfloor lfloor lbrack rbrack ulcorner urcorner llcorner lrcorner
    big Big bigg Bigg bigl Bigl biggl Biggl bigr Bigr biggr Biggr bigm Bigm biggm Biggm
    """
    # functions
    """
    arcsin arccos arctan arg cos cosh cot coth csc deg det dim exp gcd hom inf ker lg lim liminf limsup ln log max min
    Pr sec sin sinh sup tan tanh injlim projlim varliminf varlimsup varinjlim varprojlim operatorname limits nolimits
    """
    # structure
    """
    frac dfrac tfrac cfrac binom dbinom tbinom over atop choose sqrt overset underset stackrel substack overline
    underline overbrace underbrace overparen underparen overrightarrow underrightarrow overleftarrow underleftarrow
    overleftrightarrow underleftrightarrow boxed phantom vphantom hphantom mathstrut hline hdashline
    mathord mathop mathopen mathclose mathbin mathrel mathpunct mathinner
    acute grave ddot dddot ddddot tilde bar breve check hat vec dot mathring widetilde widehat
    """
    # fonts, text and space
    """
    displaystyle textstyle scriptstyle scriptscriptstyle rm it bf sf tt cal mathrm mathnormal mathbf mathit mathbb
    mathfrak mathscr mathsf mathtt mathcal boldsymbol text textrm textup textnormal textit textbf textsf texttt mbox
    quad qquad enspace thinspace space nonumber notag
    """.split()
)
_MARKS = frozenset(",:;>!{}|$&#%_ \n\t")  # "\," and so on
_NUMBERED = frozenset("equation align gather multline flalign eqnarray".split())
ENVIRONMENTS = _NUMBERED | frozenset(
    "aligned gathered split array subarray matrix smallmatrix pmatrix bmatrix Bmatrix vmatrix Vmatrix cases".split()
)

_TOKEN = re.compile(
    r"""\\ (?:
      (?P<step>begin|end) \s* \{ (?P<environment>[A-Za-z]+) (?P<star>\*?) \}
          (?P<position> \s* \[ [^\]]* \]? )? (?P<columns> \s* \{ [lcr|:\s]{0,80} \} )?
    | hspace \s* \{ (?P<width>[^}]*) \}
    | (?P<command>[A-Za-z]+)
    | (?P<newline>\\) (?: \*? \s* \[ (?P<height>[^\]]*) \]? )?
    | (?P<mark>.?) )""",
    re.VERBOSE | re.DOTALL,
)
_SMALL_SIZE = re.compile(r"\s*(?:\d?\d(?:\.\d+)?\s*(?:pt|px|mu)|(?:\d|\d?\.\d+)\s*(?:em|ex|cm|mm))\s*")
_POSITION = re.compile(r"\s*\[[tbc]\]")
_NESTING = re.compile(r"\\[\\{}]|(?P<opens>[{\[]|\\(?:begin|left)\b)|(?P<closes>[}\]]|\\(?:end|right)\b)")


def safe_tex(tex: str) -> str | None:
    r"""Return a formula that is safe to typeset, or None if it must be shown as code.

    Spaces are added after ``\\``, so that a parser that drops a backslash sees no other command, and ``\!`` becomes a
    space, because many of them would move the formula over other text. The numbered environments become unnumbered
    ones, because an answer must not change the numbers of the equations after it.

    Args:
        tex: The formula without its delimiters.

    >>> safe_tex(r"\frac{a}{b}"), safe_tex(r"\href{javascript:f()}{a}")
    ('\\frac{a}{b}', None)
    """
    if len(tex) > MAX_FORMULA_LENGTH or _depth(tex) > MAX_DEPTH:
        return None
    if not all(map(_is_allowed, _TOKEN.finditer(tex))):
        return None
    return _TOKEN.sub(_rewritten, tex)


def _is_allowed(token: re.Match[str]) -> bool:
    if token["step"]:
        needs_columns = token["step"] == "begin" and token["environment"] in ("array", "subarray")
        return (
            token["environment"] in ENVIRONMENTS
            and (not token["star"] or token["environment"] in _NUMBERED)
            and (not token["position"] or token["step"] == "end" or bool(_POSITION.fullmatch(token["position"])))
            and (not needs_columns or bool(token["columns"]))
        )
    if token["command"]:
        return token["command"] in COMMANDS
    if token["newline"]:
        return token["height"] is None or bool(_SMALL_SIZE.fullmatch(token["height"]))
    if token["width"] is not None:
        return bool(_SMALL_SIZE.fullmatch(token["width"]))
    return token["mark"] in _MARKS and token["mark"] != ""


def _rewritten(token: re.Match[str]) -> str:
    if token["environment"] in _NUMBERED and not token["star"]:
        return token[0].replace("}", "*}", 1)
    if token["newline"] and token.string[token.end() : token.end() + 1].isalpha():
        return token[0] + " "
    return " " if token["mark"] == "!" else token[0]


def _depth(tex: str) -> int:
    depth = deepest = 0
    for mark in _NESTING.finditer(tex):
        depth += bool(mark["opens"]) - bool(mark["closes"])
        deepest = max(deepest, depth)
    return deepest


class FormulaLimit:
    """The formulas of one answer, which take a limited time to typeset."""

    def __init__(self) -> None:
        self._left = MAX_TYPESET

    def safe_tex(self, tex: str) -> str | None:
        """Return a formula that is safe to typeset, or None if it or the answer's formulas exceed the limits."""
        safe = safe_tex(tex)
        if safe is not None:
            self._left -= len(safe) + 50
        return safe if self._left >= 0 else None
