"""Hostile answers in a real JupyterLab with MathJax, everywhere an answer is shown: nothing outside of it changes."""

import contextlib
import json
from itertools import cycle
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter

from tests.hostile_answers import DELIMITERS, HTML, TEX, mutations
from tests.lab import browser_page, open_notebook, run_cells, running_lab
from tests.mathjax_finder import harmful_formulas
from tests.panel_lab import KERNEL, SERVER
from tests.test_chat_panel_browser import PROBES
from vision_nb.notebook.figures import DARK_PLOT_CSS
from vision_nb.rendering.html_cleaner import clean_html
from vision_nb.rendering.markdown.blocks import safe_markdown
from vision_nb.rendering.markdown.html import markdown_to_html
from vision_nb.rendering.tex import COMMANDS

pytestmark = pytest.mark.browser

OWN_FORMULAS = r"""Own: $\alpha + \beta + \frac{a}{b} + \sqrt{x} + \sum_i \sin x$

$$\begin{pmatrix} 1 & 2 \end{pmatrix} \begin{equation*} \textcolor{black}{c} \end{equation*}$$

$$\begin{matrix} 1 \end{matrix} \colorbox{black}{c} \int_0^1 \hbar \Re \text{own}$$"""

ANSWERS = ["\n\n".join(form % tex for tex in TEX) for form in DELIMITERS] + HTML + ["\n\n".join(HTML)]

SET_UP = (
    SERVER.format(speed=1_000_000)
    + f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
"""
    + r"""
import json, os
from pathlib import Path
from IPython.display import HTML, Markdown, display
get_ipython().run_line_magic('load_ext', 'vision_nb')
os.environ['THE_KEY'] = 'sk-very-secret-key'
hostile = json.loads(Path('hostile.json').read_text())
few = hostile[1:22:5] + hostile[22:]
line = f'openai:gpt-4o --no-cache --no-raise --cost --no-stream --api-base {server.openai_base} --api-key-env THE_KEY'

def ask(text, form):
    server.fail(Fault(text=text, message={'reasoning_content': text}))
    get_ipython().run_cell_magic('vision', f'{line} -f {form}', 'What?')

def image(name):
    return vn.ImageDocument(image=vn.samples.path('label').read_bytes(), image_name=name)
"""
)
PLACES = {
    "magic": "for form in ('markdown', 'html', 'math', 'text', 'code', 'json', 'dataframe'):\n"
    "    texts = hostile if form in ('markdown', 'html') else few\n"
    "    for start in range(0, len(texts), 8): ask('\\n\\n'.join(texts[start : start + 8]), form)",
    "display_stream": "for text in hostile: vn.display_stream(iter([vn.CompletionResponse(text=text, delta=text, reasoning=text, "
    "model=text, finish_reason='stop')]))",
    "reprs": "for text in few: display(vn.ChatResponse(text=text, model=text, reasoning=text, finish_reason='length'))",
    "images": "for text in few: display(image(text))\ndisplay(vn.load_images([image(text) for text in few]))",
    "errors": "for text in few:\n"
    "    server.fail(Fault(status=400, body={'error': {'message': text, 'code': text}}))\n"
    "    get_ipython().run_cell_magic('vision', line, 'What?')",
    "model lists": "from vision_nb.providers.local.discovery import LocalServer, LocalServers\n"
    "from vision_nb.providers.local.server_types import LocalModel\n"
    "from vision_nb.magics.table import Table\n"
    "display(Table(['model', 'price'], [(text, text) for text in few]))\n"
    "display(LocalServers([LocalServer(text, text, (LocalModel(text),), text) for text in few], [1]))",
    "gallery": "server.answer_with(lambda question: few[int(question.prompt)])\n"
    "comparison = vn.compare([llm, small], [str(number) for number in range(len(few))], image(hostile[0]), "
    "store='answers.sqlite3', progress=False)\n"
    "server.fail(Fault(status=400, body={'error': {'message': hostile[0]}}), times=99)\n"
    "failed = vn.compare(llm, hostile[:3], image(hostile[1]), store='failed.sqlite3', progress=False)\n"
    "display(comparison, failed)",
    "label panel": "comparison.label(annotator='ann', blind=False, shuffle=False)",
    "panel": "panel = vn.ChatPanel(llm)\n"
    "for text in few: panel.chat.add(vn.ChatMessage('user', [text, image(text)]), "
    "vn.ChatResponse(text, model=text, reasoning=text))\n"
    "display(panel, panel.chat)\n"
    "for kind in ('html', 'ipynb'): panel.chat.export(f'talk.{kind}')",
    "generated": "for kind, text in json.loads(Path('generated.json').read_text()):\n"
    "    display({f'text/{kind}': text}, raw=True)",
    "own": "display(Markdown(Path('own.md').read_text()))",
}

SHORT = [text for form, tex in zip(cycle(DELIMITERS), TEX, strict=False) if len(text := form % tex) < 190]
SHORT += [text for text in HTML if len(text) < 190]
"""Attacks that are shown whole in a cell of a table; each one is a field's name, description, value and choice."""
DATA_PLACES = {
    "extraction": "from tests.extractions import make_extraction\n"
    "short = json.loads(Path('short.json').read_text())\n"
    "texts = {f'{number} {text}'.replace('.', ' '): text for number, text in enumerate(short)}\n"
    "name, *_ = texts\n"
    "fields = {path: {'type': 'string', 'description': text} for path, text in texts.items()}\n"
    "fields |= {f'choice {name}': {'enum': short, 'description': short[0]}}\n"
    "rows = {'type': 'object', 'properties': {name: {'type': 'string'}}}\n"
    "fields |= {f'list {name}': {'type': 'array', 'items': rows}}\n"
    "schema = {'title': short[0], 'type': 'object', 'properties': fields}\n"
    "first = {**texts, f'choice {name}': short[0], f'list {name}': [{name: text} for text in short[:5]]}\n"
    "second = {path: short[-1] if path in texts else value for path, value in first.items()}\n"
    "read = make_extraction(Path(), [[first, second], [first, ValueError(short[0])]], schema, "
    "images=[image(short[0]), image(short[5])])\n"
    "display(read, read.comparison, read.to_dataframe(), read.to_dataframe(thumbnails=True))\n"
    "display(read.to_dataframe(thumbnails=True, explode=f'list {name}'))",
    "score": "read.set_review(0, first, reviewer=short[0])\n"
    "display(read.to_dataframe(thumbnails=True, reviewed=True))\n"
    "score = read.score()\n"
    "display(score, score.models, score.errors(), score.confusion(f'choice {name}'), score.plot())\n"
    "display(score.to_dataframe(), score.models.to_dataframe(), score.errors().to_dataframe(), vn.ledger.to_dataframe())",
    "review panel": "display(read.review(reviewer=short[0], show='all', order='given'))",
    "own": PLACES["own"],
}

SNAPSHOT = """() => [...document.querySelectorAll('html, body, #main, #jp-top-panel, #jp-main-content-panel, '
  + '#jp-main-dock-panel, #jp-menu-panel, .lm-MenuBar-item, .jp-SideBar .lm-TabBar-tab, .jp-NotebookPanel, .jp-NotebookPanel-toolbar, '
  + '.jp-Notebook, .jp-MarkdownOutput, .jp-MarkdownOutput p, #jp-right-stack, #jp-bottom-panel, #jp-down-stack')]
  .filter((e) => !e.closest('.jp-OutputArea-output')).map((e) => { const style = getComputedStyle(e);
  return [e.tagName, e.id, style.color, style.backgroundColor, style.backgroundImage, style.display, style.position, style.fontSize,
    style.visibility, style.opacity, style.transform, style.width].join('|'); })"""

FAULTS = """(selector) => { const found = [];
const report = (why, e) => found.push(why + ': ' + e.outerHTML.slice(0, 300));
const answers = [...document.querySelectorAll(selector)];
// A table of pandas has a style element; a styled one has an id for itself and each of its cells, and the element is empty.
const pandas = '.dataframe tbody tr th:only-of-type { vertical-align: middle; } .dataframe tbody tr th { vertical-align: top; } '
  + '.dataframe thead th { text-align: right; }';
const isOfPandas = (e) => e.closest('.jp-RenderedHTML, .jp-RenderedHTMLCommon') && (e.tagName === 'STYLE'
  ? ['', pandas].includes(e.textContent.replace(/\\s+/g, ' ').trim())
  : /^(TABLE|T[HD])$/.test(e.tagName) && /^T_[0-9a-f]{5}(_(level0|row\\d+)_col\\d+)?$/.test(e.id));
const isOfPlot = (e) => e.tagName === 'STYLE' && e.textContent === DARK_PLOT_CSS;
// The head of our code blocks sticks within its block: an answer cannot make classes and buttons.
const isOwnHead = (e, style) => style.position === 'sticky' && e.matches('.vnb-code > .vnb-code-head:first-child')
  && getComputedStyle(e.parentElement).overflow === 'clip'
  && /^<div class="vnb-code-head" data-language="[^"<>]+"><span>[^<>]+<\\/span><button type="button" class="vnb-code-copy"[^<>]*>Copy<\\/button><\\/div>$/.test(e.outerHTML);
const foreign = new Set();
for (const e of document.querySelectorAll('[id]')) if (!e.closest(selector)) foreign.add(e.id);
for (const root of answers) for (const e of root.querySelectorAll('*')) {
  const math = e.closest('mjx-container, math');
  const ownStyle = e.tagName === 'STYLE' && e.parentElement.matches('.vnb-gallery');
  const inAnswer = e.closest('.vnb-rows td');  // an answer in a gallery has no controls
  const control = e.closest('.vnb-composer, .vnb-label-foot, .vnb-label-aspect, .vnb-label-top, .jp-OutputPrompt, .vnb-actions');
  if (/^(script|iframe|object|embed|form|style|link|meta|base|frame|video|audio|svg|template)$/i.test(e.tagName) && !math && !control
      && !/json$/.test(e.type ?? '') && !/^\\s*var element = document/.test(e.textContent) && !isOfPandas(e) && !isOfPlot(e) && !ownStyle) report('tag', e);
  if (/^(button|input|textarea|select)$/i.test(e.tagName) && !control && (inAnswer || !e.closest('[class*=vnb-], .jp-RenderedText'))) report('control', e);
  for (const { name, value } of e.attributes) {
    if (/^on|^srcset$|^srcdoc$|^formaction$|commandlinker|^contenteditable$|^autofocus$|^slot$|^is$/i.test(name)) report(name, e);
    if (/^(href|src|action|xlink:href|poster|data)$/i.test(name) && !/^(https?:|mailto:|data:image|blob:|#)/i.test(value)) report(name, e);
    if (/^class$/.test(name) && /jp-mod-hidden|lm-mod-hidden|mathjax_process|tex2jax(?!_ignore)|\\bmermaid\\b/.test(value)) report('class', e);
  }
  if (e.id && !math && (foreign.has(e.id) || !/^H[1-6]$/.test(e.tagName)) && !control && (inAnswer || !e.closest('[class*=vnb-]')) && !isOfPandas(e)) report('id', e);
  if (math && (e.id || e.hasAttribute('href') || /^(a|img|image)$/i.test(e.tagName))) report('formula', e);
  const style = getComputedStyle(e);
  if ((/fixed|sticky/.test(style.position) && !isOwnHead(e, style)) || (style.position === 'absolute' && !math && !control && !e.closest('[class*=vnb-]'))) report('position', e);
  if (/evil/.test(style.backgroundImage + style.content + style.listStyleImage + style.cursor)) report('style', e);
  if (math) {
    const box = e.getBoundingClientRect();
    if (box.height > 1500 || (style.backgroundColor !== 'rgba(0, 0, 0, 0)' && box.width > 300 && !e.closest('merror, mjx-merror'))) report('size', e);
    const output = e.closest('.jp-OutputArea-output, section, td, .vnb-answer');
    if (output && box.width && box.left < output.getBoundingClientRect().left - 30) report('left', e);
  }
} return [...new Set(found)].slice(0, 10); }""".replace("DARK_PLOT_CSS", json.dumps(DARK_PLOT_CSS))

OUTPUTS = ".jp-OutputArea-output"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    root, work = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("work")
    (root / "hostile.json").write_text(json.dumps(ANSWERS))
    (root / "own.md").write_text(OWN_FORMULAS)
    (root / "generated.json").write_text(json.dumps(list(generated_outputs())))
    (root / "short.json").write_text(json.dumps(SHORT))
    for name, places in (("hostile", PLACES), ("data", DATA_PLACES)):
        cells = [nbformat.v4.new_markdown_cell(OWN_FORMULAS), nbformat.v4.new_code_cell(SET_UP)]
        cells += [nbformat.v4.new_code_cell(source) for source in places.values()]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), root / f"{name}.ipynb")
    with running_lab(root, work) as address:
        yield address, root


def generated_outputs():
    """Yield MIME subtypes and sanitized outputs of 2,100 generated answers, each after a rule of its own."""
    answers = list(mutations(2_100, seed=15))
    assert len(answers) >= 2_000
    for kind, sanitize, part in (
        ("markdown", safe_markdown, 0),
        ("html", markdown_to_html, 1),
        ("html", clean_html, 2),
    ):
        safe = [sanitize(answer) for answer in answers[part::3]]
        for start in range(0, len(safe), 50):  # JupyterLab shows the first 50 outputs of a cell
            yield kind, ("\n\n---\n\n" if kind == "markdown" else "<hr>").join(safe[start : start + 50])


def formulas_of(page, place):
    """Return the typeset formulas of the notebook's first or last cell."""
    cell = (
        page.locator(".jp-Notebook .jp-Cell").first if place == "first" else page.locator(".jp-Notebook .jp-Cell").last
    )
    cell.locator("mjx-container").nth(2).wait_for(state="attached", timeout=90_000)
    return cell.locator("mjx-container").evaluate_all(
        '(all) => all.map((e) => e.outerHTML.replace(/ (id|tabindex|ctxtmenu_counter)="[^"]*"/g, \'\'))'
    )


def wait_for_math(page):
    """Wait until the number of typeset formulas no longer grows."""
    page.wait_for_function(
        "() => { const now = document.querySelectorAll('mjx-container').length, before = window.formulaCount;"
        " window.formulaCount = now; return now === before; }",
        polling=1500,
        timeout=120_000,
    )


def answer_dialog(dialog, urls):
    """Leave JupyterLab's page when it asks, and record any other dialog."""
    if dialog.type != "beforeunload":
        urls.append(f"dialog: {dialog.message}")
    dialog.accept()


@contextlib.contextmanager
def hostile_page():
    """Yield a page that records scripts, and a list of the URLs that it requests."""
    with browser_page() as page:
        urls = []
        page.on("request", lambda request: urls.append(request.url))
        page.on("dialog", lambda dialog: answer_dialog(dialog, urls))
        page.add_init_script(f"({PROBES})()")
        yield page, urls


def save(page):
    """Save the open notebook."""
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=90_000)


def check_opened(page, urls, own, *, is_trusted):
    """Check the outputs of a notebook that was saved and opened again."""
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
    assert formulas_of(page, "last") == own
    wait_for_math(page)
    assert (
        page.locator(".jp-OutputArea-output .jp-mod-trusted, .jp-OutputArea-output.jp-mod-trusted").count() > 0
    ) == is_trusted
    check(page, urls)


def check(page, urls, selector=OUTPUTS):
    """Check that the answers on a page changed nothing else, ran no script and asked no other host."""
    assert page.evaluate(FAULTS, selector) == []
    assert page.evaluate("() => window.probes ?? []") == []
    own = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:", "file:")
    assert [url for url in urls if not url.startswith(own)] == []


def run_notebook(page, address, urls, name, drawn):
    """Run a notebook, check its outputs, save it, and return the author's own formulas."""
    open_notebook(page, address, f"{name}.ipynb")
    own = formulas_of(page, "first")
    before = page.evaluate(SNAPSHOT)
    run_cells(page)
    page.wait_for_selector(drawn, timeout=90_000)
    wait_for_math(page)
    errors = page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']")
    assert errors.all_inner_texts() == []
    assert formulas_of(page, "first") == own == formulas_of(page, "last")
    check(page, urls)
    assert page.evaluate(SNAPSHOT) == before and len(before) > 20
    save(page)
    return own


def check_opened_again(page, address, urls, root, name, own):
    """Open a saved notebook again: JupyterLab trusts what was run here, but not a file from elsewhere."""
    page.goto(f"{address}/lab/tree/{name}.ipynb?reset")
    check_opened(page, urls, own, is_trusted=True)
    notebook = nbformat.read(root / f"{name}.ipynb", as_version=4)
    notebook.cells[1].source += "\n# from elsewhere"
    notebook.cells[-2].outputs[0].data["text/plain"] = "changed"
    nbformat.write(notebook, root / "elsewhere.ipynb")
    page.goto(f"{address}/lab/tree/elsewhere.ipynb?reset")
    check_opened(page, urls, own, is_trusted=False)
    return notebook


def check_nbconvert(page, urls, root, notebook):
    """Check the page that nbconvert makes of a notebook, and what MathJax would typeset in it."""
    page.route("https://**", lambda route: route.abort())  # it loads MathJax from another host, not reached here
    (root / "page.html").write_text(HTMLExporter().from_notebook_node(notebook)[0])
    page.goto((root / "page.html").as_uri(), wait_until="domcontentloaded")
    assert {url.split("/")[2] for url in urls if url.startswith("https:")} <= {"cdnjs.cloudflare.com", "unpkg.com"}
    del urls[:]
    page.mouse.move(400, 400)
    check(page, urls, OUTPUTS)
    found = harmful_formulas(page.content(), COMMANDS)
    assert found and [formula for formula in found if formula not in OWN_FORMULAS] == []


def test_hostile_answers_change_nothing_outside_of_them(lab):
    address, root = lab
    with hostile_page() as (page, urls):
        own = run_notebook(page, address, urls, "hostile", ".vnb-turn")
        assert page.locator("mjx-container").count() > 100
        notebook = check_opened_again(page, address, urls, root, "hostile", own)

        # The exported conversation, as a notebook and as a page.
        page.goto(f"{address}/lab/tree/talk.ipynb?reset")
        page.locator(".jp-MarkdownOutput").nth(20).wait_for(timeout=120_000)
        wait_for_math(page)
        check(page, urls, ".jp-MarkdownOutput")
        page.goto((root / "talk.html").as_uri())
        assert page.locator("section").count() >= len(ANSWERS) - len(DELIMITERS)
        check(page, urls, "body")
        check_nbconvert(page, urls, root, notebook)


def test_hostile_fields_and_values_change_nothing_outside_of_their_tables_and_forms(lab):
    address, root = lab
    with hostile_page() as (page, urls):
        own = run_notebook(page, address, urls, "data", ".vnb-field-text")
        assert page.locator(".vnb-field-text").count() >= len(SHORT)
        check_nbconvert(page, urls, root, check_opened_again(page, address, urls, root, "data", own))
