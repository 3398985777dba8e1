"""The options of `%%vision`, the subcommands of `%vision`, and their error messages, in a real kernel."""

import json
import re

import pytest

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.kernels import error_of, markdown_of, run_cells, text_of
from tests.test_magics import SERVER, value_of
from vision_nb.magics.help import docstring_markdown, public_names, reference

pytestmark = pytest.mark.kernel


def html_of(cell):
    return next((output.data["text/html"] for output in cell.outputs if "text/html" in output.get("data", {})), "")


def test_options_reach_the_request(photo, server):
    sent = (
        "import json; print(json.dumps({k: v for k, v in last().items() if k not in ('messages', 'stream_options')}))"
    )
    cells = run_cells(
        f"{SERVER}\nserver.answer_with('Yes.')\nimport os\nos.environ['MY_KEY'] = 'secret-of-mine'",
        f'%%vision demo -i {photo} -d low --temperature 0.5 --max-tokens 7 -p seed=7 -p stop=\'["a b", "c"]\' '
        "-p user=me --no-stream\nWhat?",
        sent,
        "print(last()['messages'][0]['content'][1]['image_url']['detail'])",
        f"%%vision openai:gpt-4o --api-key-env MY_KEY --api-base {server.openai_base} -s \"say 'a b' <<\"\nWhat?",
        "%config VisionMagics.system = 'Be brief.'\n%config VisionMagics.max_tokens = 9\n"
        "%config VisionMagics.model = 'demo:other'\n%config VisionMagics.temperature = 0.25",
        "%%vision\nWhat?",
        f"{sent}\nprint(last()['messages'][0])",
        "%%vision demo:here --max-tokens 3\nWhat?",
        sent,
    )
    assert json.loads(text_of(cells[2])) == {
        "model": "demo",
        "temperature": 0.5,
        "max_tokens": 7,
        "seed": 7,
        "stop": ["a b", "c"],
        "user": "me",
    }
    assert text_of(cells[3]) == "low\n"
    assert server.requests[0].headers["authorization"] == "Bearer secret-of-mine"
    assert server.requests[0].body["messages"][0] == {"role": "system", "content": "say 'a b' <<"}
    request, system = text_of(cells[7]).splitlines()
    assert json.loads(request) == {"model": "other", "max_tokens": 9, "temperature": 0.25, "stream": True}
    assert "Be brief." in system
    assert json.loads(text_of(cells[9]))["model"] == "here" and json.loads(text_of(cells[9]))["max_tokens"] == 3


def test_formats_display_and_parse_the_answer():
    fence = "```"
    cells = run_cells(
        f"{SERVER}\nanswers = {{}}\nserver.answer_with(lambda question: answers[question.prompt.split()[0]])\n"
        f"answers['code'] = 'Here:\\n{fence}python\\nx = 1\\n{fence}\\nDone.'\n"
        f"answers['json'] = 'Here:\\n{fence}json\\n{{\"a\": [1, 2]}}\\n{fence}'\n"
        "answers['bad'] = '{\"a\": 1,\\n \"b\": }'\n"
        "answers['table'] = 'The table:\\n\\n| city | people |\\n|---|---:|\\n| A | 10 |\\n| B | 20 |\\n'\n"
        "answers['csv'] = 'city,people\\nA,10\\nB,20'\nanswers['prose'] = 'Nothing, really, at all.'\n"
        "answers['html'] = '<b onclick=\"f()\">bold</b><script>evil()</script>'\n"
        "answers['math'] = 'x^2 + \\\\alpha'",
        "%%vision demo -f text --cost\ncode",
        "%%vision demo -f code\ncode",
        "%%vision demo -f json value <<\njson",
        "value['a']",
        "%%vision demo -f json\nbad",
        "_vision.text",
        "%%vision demo -f dataframe table <<\ntable",
        "table['people'].sum()",
        "%%vision demo -f dataframe\ncsv",
        "%%vision demo -f dataframe\nprose",
        "%%vision demo -f html\nhtml",
        "%%vision demo --format math\nmath",
        "%%vision demo -f markdown\ntable",
        "%%vision demo -f jsn\njson",
        "%%vision demo -f json\njson",
        allow_errors=True,
    )
    assert cells[1].outputs[0].data["text/plain"] == "Here:\n```python\nx = 1\n```\nDone.\n\n(Cost: free.)"
    style, text = html_of(cells[1]).removeprefix("<pre ").split(">", 1)
    assert "word-break:normal" in style and text == "Here:\n```python\nx = 1\n```\nDone.\n\n(Cost: free.)</pre>"
    assert "x = 1" in markdown_of(cells[2])[0]
    assert value_of(cells[3]) == "{'a': [1, 2]}" and value_of(cells[4]) == "[1, 2]"
    assert cells[3].outputs[0].metadata["vision_nb"]["model"] == "demo"
    assert "The answer is not valid JSON: Expecting value at line 2, column 7" in error_of(cells[5])
    assert '"b"' in value_of(cells[6]) and '"b"' in markdown_of(cells[5])[0]
    assert "people" in value_of(cells[7]) and "30" in value_of(cells[8])
    assert "people" in value_of(cells[9])
    assert "neither a Markdown table nor CSV" in error_of(cells[10]) and "Nothing, really" in markdown_of(cells[10])[0]
    assert "<b>bold</b>" in html_of(cells[11]) and "evil" not in html_of(cells[11])
    assert "$$\nx^2 + \\alpha\n$$" in markdown_of(cells[12])[0]
    assert "| city | people |" in markdown_of(cells[13])[0]
    assert "did you mean json?" in error_of(cells[14])
    assert "from the cache" in markdown_of(cells[15])[0] and value_of(cells[15]) == "{'a': [1, 2]}"


def test_several_models_answer_side_by_side(photo):
    cells = run_cells(
        f"{SERVER}\nfrom vision_nb.demo import Fault\n"
        "server.answer_with(lambda question: f'Model **{question.model}** <script>')",
        f"%%vision demo:one -m demo:two -m demo:three -i {photo}\nWhich?",
        "len(server.requests), [answer.model for answer in _vision]",
        f"%%vision -m demo:two -m demo:four all << -i {photo}\nWhich?",
        "len(server.requests), [answer.from_store for answer in all]",
        "%%vision demo:one -m openai:gpt-4o\nWhich?",
        "%%vision demo:one -m demo:two -c\nWhich?",
        allow_errors=True,
    )
    assert len(cells[1].outputs) == 1 and "<strong>three</strong>" in html_of(cells[1])
    assert "<script>" not in html_of(cells[1]) and "free" in html_of(cells[1]) and " s, " in html_of(cells[1])
    assert [one["model"] for one in cells[1].outputs[0].metadata["vision_nb"]["answers"]] == ["one", "two", "three"]
    assert value_of(cells[2]) == "(3, ['demo:one', 'demo:two', 'demo:three'])"
    assert value_of(cells[4]) == "(4, [True, False])"
    assert "OPENAI_API_KEY" in error_of(cells[5])
    assert "A conversation has only one model" in error_of(cells[6])


def test_dry_run_cost_and_many_images(tmp_path):
    for number in range(22):
        (tmp_path / f"{number}.png").write_bytes(encoded(picture(seed=number)))
    picture(3000, 2000).save(tmp_path / "large.jpg")
    cells = run_cells(
        f"{SERVER}\nimport os\nos.environ['OPENAI_API_KEY'] = 'k'",
        "%%vision openai:gpt-4o -i large.jpg --dry-run --max-tokens 50\nWhat is here?",
        "%%vision demo -i *.png\nWhat?",
        "%%vision openai:gpt-4o -i *.png\nWhat?",
        "%%vision demo -i *.png --dry-run\nWhat?",
        "len(server.requests)",
        "%%vision demo -i *.png --yes --cost\nWhat?",
        "len(server.requests)",
        "%%vision demo -i *.png --dry-run\nWhat?",
        folder=tmp_path,
        allow_errors=True,
    )
    shown = html_of(cells[1])
    assert "1152 x 768 JPEG" in shown and "data:image/webp" in shown and "Nothing was sent" in shown
    assert "What is here?" in shown and "max_new_tokens" in shown and "0.00" in shown and "USD" in shown
    assert cells[2].outputs, "the demo is free, so that it is asked at once"
    assert "22 images would be sent to openai:gpt-4o for about 0.0" in error_of(cells[3])
    assert html_of(cells[4]).count("<img") == 22
    assert value_of(cells[5]) == value_of(cells[7]) == "1"
    assert "Cost: free" in markdown_of(cells[6])[0]
    assert "The answer is cached" in html_of(cells[8])


def test_a_dry_run_needs_no_key(photo):
    cells = run_cells(
        "%load_ext vision_nb\nimport os\nos.environ.pop('OPENAI_API_KEY', None)",
        f"%%vision openai:gpt-4o -i {photo} --dry-run\nWhat?",
        f"%%vision openai:gpt-4o -i {photo} --api-key-env NO_SUCH_KEY --dry-run\nWhat?",
        f"%%vision openai:gpt-4o -i {photo} --api-key-env NO_SUCH_KEY\nWhat?",
        allow_errors=True,
    )
    assert all("Nothing was sent." in html_of(cell) for cell in cells[1:3])
    assert "NO_SUCH_KEY is not set" in error_of(cells[3])


def test_a_note_about_skipped_files_is_shown_once(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(picture()))
    (tmp_path / "notes.txt").write_text("not an image")
    loaded, later, again = run_cells("docs = vn.load_images('.')\ndocs", "docs", "docs[:1]", folder=tmp_path)
    for cell in (loaded, later, again):
        assert text_of(cell) == "", "no warning"
        shown = [output.data["text/html"] for output in cell.outputs]
        assert "".join(shown).count("notes.txt: it is text") == 1
    assert "Skipped 1 file that is not an image (" in loaded.outputs[0].data["text/html"]


def test_only_images_that_cost_something_need_yes(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encoded(picture(seed=number)))
    cells = run_cells(
        f"{SERVER}\nimport os\nos.environ.update(OPENAI_API_KEY='k', OPENAI_BASE_URL=server.openai_base)\nserver.answer_with('Yes.')",
        f"%config VisionMagics.many_images = 2\n%config VisionMagics.store = '{tmp_path}/answers.sqlite3'",
        "%%vision demo -i *.png\nWhat?",
        "%%vision openai:gpt-4o -i *.png\nWhat?",
        "%%vision demo -m openai:gpt-4o -i *.png\nWhat?",
        "%%vision openai:gpt-4o -i *.png --yes\nWhat?",
        "%%vision openai:gpt-4o -i *.png\nWhat?",
        "%%vision demo -m openai:gpt-4o -i *.png\nWhat?",
        "%%vision openai:gpt-4o -i *.png --no-cache\nWhat?",
        folder=tmp_path,
        allow_errors=True,
    )
    refused = [error_of(cell) for cell in cells]
    assert [number for number, error in enumerate(refused) if error] == [3, 4, 8]
    assert all(
        refused[number].startswith("UsageError: 3 images would be sent to openai:gpt-4o for") for number in (3, 4, 8)
    )


MISTAKES = {
    "%%vision demo\n\n": "has no question: write it on the lines below %%vision",
    "%%vision": "has no question: write it on the lines below %%vision",
    "%%vision demo -i small": "has no question: write it on the lines below %%vision",
    "%%vision demo -i small What is this?": "Unexpected text 'What is this?' after 'demo': write the question below the",
    "%%vision demo small.png\nx": "Unexpected text 'small.png' after 'demo': write -i before an image.",
    "%%vision demo https://example.org/small\nx": "write -i before an image.",
    "%%vision demo --imagee x\nx": "did you mean --image?",
    "%%vision demo -d hihg\nx": "did you mean high?",
    "%%vision opnai:gpt-4o\nx": "did you mean openai:gpt-4o?",
    "%%vision gtp-4o-mini\nx": "did you mean openai:gpt-4o-mini?",
    "%%vision anthropc:claude-sonnet-5\nx": "did you mean anthropic:claude-sonnet-5?",
    "%%vision fsat\nx": "did you mean fast?",
    "%%vision demo What is this?\nx": "Unexpected text",
    "%%vision demo -i nothing\nx": "nothing: the value is None",
    "%%vision demo -i number\nx": "An object of type int is not an image",
    "%%vision demo -i empty[:3]\nx": "the list is empty",
    "%%vision demo -i table['y']\nx": "no such item",
    "%%vision demo -i small.pixels.first\nx": "-i small.pixels.first: there is no such item (AttributeError",
    "%%vision demo -i table[:2\nx": "-i table[:2: this is not a valid Python expression ('[' was never closed)",
    "%%vision demo -i table[missing]\nx": "missing is not defined",
    "%%vision demo -i small.resize(0)\nx": "-i small.resize(0) raised",
    "%%vision demo -i smal\nx": "did you mean small?",
    "%%vision demo -i smal[:3]\nx": "'smal[:3]': did you mean small?",
    "%%vision demo -i smal.resize((2,2))\nx": "did you mean small?",
    '%%vision demo -s "open\nx': "is not closed",
    "%%vision demo -p seed\nx": "is not KEY=VALUE",
    "%%vision demo -p prompt=x\nx": "write the question in the cell's body",
    "%%vision demo --chat ''\nx": "needs a name",
    "%%vision demo -p 'stop=[\"a\"'\nx": "is not valid JSON",
    "%%vision demo -t warm\nx": "is not a number",
    "%%vision demo --max-tokens 0\nx": "whole number of at least 1",
    "%%vision demo class <<\nx": "is a Python keyword",
    "%%vision demo my-name <<\nx": "did you mean my_name?",
    "%%vision demo --api-key-env sk-abc\nx": "never the key itself",
    "%%vision demo --api-key-env r8_AbCdEfGhIjKlMnOpQrStUvWx\nx": "never the key itself",
    "%%vision loop\nx": "refers to itself",
    "%vision alias fast fastest": "refers to itself",
    "%vision alias demo openai:gpt-4o": "cannot be an alias",
    "%vision alias x": "Usage: %vision alias NAME MODEL.",
    "%vision dealias fsat": "did you mean fast?",
    "%vision use opnai:gpt-4o": "did you mean openai:gpt-4o?",
    "%vision lsit": "did you mean list?",
    "%vision Describe this": "write %%vision MODEL -i IMAGE on the first line of a cell, and the question below it",
    "%vision What is this?": "and the question below it",
    "%vision demo": "and the question below it",
    "%vision fast": "and the question below it",
    "%vision ask": "and the question below it",
    "%vision models": "%vision list shows the models that are ready",
    "%vision budget 5": "vn.ledger.budget = 0.50",
    "%vision help budget": "vn.ledger.budget = 0.50",
    "%vision prices": "%%vision --dry-run shows the price of a question",
    "%vision chat shwo": "did you mean show?",
    "%vision chat show cats": "There is no conversation 'cats'",
    "%vision chat reset cats dogs": "Usage: %vision chat reset [NAME].",
    "%vision cache claer": "did you mean clear?",
}


def test_a_mistake_is_one_line_that_suggests_a_correction():
    cells = run_cells(
        f"{SERVER}\nfrom PIL import Image\nsmall, nothing, number, empty = Image.new('L', (9, 9)), None, 5, []\ntable = {{'x': small}}",
        "%vision alias fast openai:gpt-4o-mini\n%vision alias fastest fast",
        "get_ipython().magics_manager.registry['VisionMagics'].aliases = "
        "{'fast': 'openai:gpt-4o-mini', 'fastest': 'fast', 'loop': 'pool', 'pool': 'loop'}",
        *MISTAKES,
        "len(server.requests)",
        allow_errors=True,
    )
    for cell, (source, said) in zip(cells[3:], MISTAKES.items(), strict=False):
        shown = error_of(cell)
        assert shown is not None and said in shown and shown.startswith("UsageError"), (source, shown)
        assert len(shown.strip().splitlines()) == 1
    assert value_of(cells[-1]) == "0"


def test_subcommands(photo):
    cells = run_cells(
        f"{SERVER}\nserver.answer_with('It is so.')",
        "%vision list",
        "%vision alias mine demo:mine\n%vision alias nickname mine\n%vision use nickname",
        "%%vision\nWhat?",
        "print(last()['model'])",
        "%vision list",
        "%vision dealias nickname\n%vision use demo",
        "%vision cache",
        "%vision cache clear",
        "%vision cache",
        "%vision help",
        "%vision cache path\n%vision version",
        "%vision fix",
        "1 / 0",
        "%vision fix mine",
        "%vision fix mine --yes",
        "print(last()['model'], 'ZeroDivisionError' in last()['messages'][0]['content'])",
        "%vision",
        "import os\nos.environ['OPENAI_API_KEY'] = 'sk-abcdefghijklmnop'",
        "raise ValueError(os.environ['OPENAI_API_KEY'])",
        "%vision fix mine --yes",
        "%vision fix --yes",
        allow_errors=True,
    )
    listed = markdown_of(cells[1])[0]
    assert "| demo | not needed | free |" in listed and "openai:gpt-4o" not in listed
    assert "Not ready, because the API key is not set: openai (OPENAI_API_KEY), azure (AZURE_OPENAI_API_KEY)" in listed
    assert "now asks demo:mine by default" in text_of(cells[2]) and text_of(cells[4]) == "mine\n"
    assert "nickname = mine" in markdown_of(cells[5])[0]
    assert "1 answer," in value_of(cells[7]) and "Deleted 1 answer" in text_of(cells[8])
    assert "0 answers, " in value_of(cells[9]) and text_of(cells[11]).strip().endswith("answers.sqlite3")
    assert "--dry-run" in value_of(cells[10]) and "-i, --image SRC" in value_of(cells[10])
    assert value_of(cells[11]).startswith("vision_nb 0.")
    assert "No cell has failed" in error_of(cells[12])
    assert "1 / 0" in text_of(cells[14]) and "would be sent to demo" in text_of(cells[14])
    assert "cannot explain errors: name a model" in error_of(cells[21]) and "would be sent" not in text_of(cells[21])
    assert "use %vision fix --yes" in error_of(cells[14])
    assert "It is so." in markdown_of(cells[15])[0] and text_of(cells[16]) == "mine True\n"
    assert "dealias" in value_of(cells[17])
    assert "sk-abcdefghijklmnop" not in text_of(cells[20]) and "ValueError: ***" in text_of(cells[20])


def test_help_explains_options_subcommands_and_public_names():
    asked = ["--detail", "chat", "compare", "Chat.ask", "vn.errors.RateLimitError", "errors", "comparre"]
    docstring = r"""print("\x1b" in get_ipython().find_cell_magic("vision").__doc__)"""  # colors, from Python 3.14
    help_cells = [f"%vision help {name}" for name in asked]
    cells = run_cells("%load_ext vision_nb", *help_cells, docstring, allow_errors=True)
    option, command, function, method, error, module = (markdown_of(cell)[0] for cell in cells[1:7])
    assert "| -d, --detail DETAIL | detail level" in option and option.count("\n") == 3
    assert "--chat NAME" in command and "List the conversations" in command
    assert function.startswith("```python\nvn.compare(models, prompts, images") and "- `models`: " in function
    assert "```python\n>>> " in function
    assert "vn.Chat.ask(prompt, images=(), **overrides)" in method and "- `SettingsError`: " in method
    assert error.startswith("```python\nvn.errors.RateLimitError(") and "| BudgetExceededError | " in module
    assert "did you mean compare?" in error_of(cells[7])
    assert text_of(cells[8]) == "False\n"


def test_every_public_name_and_method_has_a_reference():
    for name in public_names(vn):
        page = reference(vn, name)
        assert page is not None and page.doc, name
        for member, line in page.members:
            if name not in ("errors", "samples", "compat"):
                assert line and reference(vn, f"{name}.{member}").doc, (name, member)
        assert not re.search(r"^(Args|Raises|Attributes|Returns|::)", docstring_markdown(page.doc), re.MULTILINE), name
    assert all(reference(vn, name) is None for name in ("Chat._turns", "importlib", "Chat.nothing"))


def test_cost_shows_and_resets_the_ledger():
    cells = run_cells(
        "%%vision demo\nWhat?", "%vision cost", "%vision cost reset", "%vision cost rest", allow_errors=True
    )
    assert value_of(cells[1]) and "is empty now" in text_of(cells[2]) and "did you mean reset" in error_of(cells[3])


def test_the_nearest_pyproject_toml_sets_defaults(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "pyproject.toml").write_text(
        '[tool.vision_nb]\nmodel = "quick"\nsystem = "Be kind."\nmodle = "x"\nmax_tokens = "many"\n'
        '[tool.vision_nb.aliases]\nquick = "demo:quick"\n'
    )
    cells = run_cells(
        "%load_ext vision_nb",
        SERVER,
        "%%vision\nWhat?",
        "print(last()['model'], last()['messages'][0]['content'])",
        f"%config VisionMagics.store = '{tmp_path / 'own.sqlite3'}'",
        "%%vision\nWhat?",
        "print(len(server.requests))",
        folder=tmp_path / "below",
        load=False,
    )
    notes = "\n".join(output.data["text/plain"] for output in cells[0].outputs)
    assert "did you mean model?" in notes and "max_tokens" in notes
    assert text_of(cells[3]) == "quick Be kind.\n"
    assert text_of(cells[6]) == "2\n" and (tmp_path / "own.sqlite3").exists()
