"""Every notebook runs from top to bottom without a key, and its saved outputs are current."""

import difflib
import html
import json
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest

from tests.save_notebooks import NOTEBOOKS, execute
from vision_nb.rendering.demo_badge import BADGE_HTML

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
SECRETS = re.compile(
    r"\b(sk|r8|ghp|hf|pypi|xox[bp]|AKIA)[-_][A-Za-z0-9_-]{12,}|\bBearer (?!YOUR)[A-Za-z0-9._-]{12,}"
    r"|\"api[-_]key\": \"[A-Za-z0-9]{20,}\"|-----BEGIN [A-Z ]*PRIVATE KEY"
)
MACHINE = re.compile(r"/home/\w|/Users/\w|/work/|/root\b|[A-Z]:\\\\Users|/tmp/\w")
EMBEDDED = re.compile(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+")
VOLATILE = {  # pattern: replacement
    EMBEDDED: "PICTURE",
    re.compile(r"(?:127\.0\.0\.1|localhost):\d{4,5}"): "HOST",
    re.compile(r"\b0x[0-9a-f]{6,}\b"): "ADDRESS",
    re.compile(r"\btmp[a-z0-9_]{8}\b"): "FOLDER",
    re.compile(r"\bvnb-static-[0-9a-f]+( vnb-static-[0-9a-f]+-\d+)?\b"): "CLASS",
    re.compile(r"\b\d+(?:\.\d+)? (?:s|ms|seconds?)\b"): "TIME",
    re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?"): "STAMP",
    re.compile(r"latency=[\d.]+"): "latency=TIME",
    re.compile(r"0x[0-9a-f]+|chatcmpl-\w+|req_\w+|created=\d{9,}|['\"]created['\"]: ?\d{9,}"): "ID",
    re.compile(r"\$?\b\d+\.\d{3,}(?= USD)"): "AMOUNT",  # price tables change; test_cost.py checks the sums
}
KEYED = [
    "01_openai",
    "01b_azure_openai",
    "03_replicate_compare_label",
    "04_vision_guide",
    "04b_tokens_and_prices",
    "05_chat_panel",
    "07_pictures_to_data",
]
TIMED_COLUMNS = {"latency_s", "mean latency (s)"}


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@cache
def saved(path):
    return nbformat.read(path, as_version=4)


@cache
def fresh(path):
    return execute(path)


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def texts(cell):
    """Return a cell's text outputs by type, with everything replaced that differs between runs."""
    found = {}
    for output in cell.get("outputs", []):
        bundle = {output["name"]: output["text"]} if output.output_type == "stream" else output.get("data", {})
        for kind, text in bundle.items():
            if kind.startswith("text/") or kind in ("stdout", "stderr"):
                found[kind] = found.get(kind, "") + settled(text)
    return found


def settled(text):
    text = without_timed_columns(html.unescape(text))  # a comma and its entity look the same
    for pattern, name in VOLATILE.items():
        text = pattern.sub(name, text)
    return text


def without_timed_columns(text):
    """Return a table without its columns of seconds: a Markdown table, or a DataFrame as HTML or text."""
    if not any(name in text for name in TIMED_COLUMNS):
        return text
    if text.startswith("| "):
        rows = [re.split(r"(?<!\\)\|", line) for line in text.splitlines()]
        timed = [place for place, name in enumerate(rows[0]) if name.strip() in TIMED_COLUMNS]
        return "\n".join("|".join(cell for place, cell in enumerate(row) if place not in timed) for row in rows)
    return re.sub(r"\b\d+\.\d+\b", "NUMBER", text)


@pytest.mark.kernel
def test_it_runs_without_a_key_and_without_errors(path):
    assert [output for output in outputs(fresh(path)) if output.output_type == "error"] == []
    assert [output for output in outputs(fresh(path)) if output.get("name") == "stderr"] == []


@pytest.mark.kernel
def test_its_saved_outputs_are_current(path):
    stale = []
    for before, now in zip(saved(path).cells, fresh(path).cells, strict=True):
        old, new = texts(before), texts(now)
        for kind in sorted({*old, *new}):
            lines = (old.get(kind, "").splitlines(), new.get(kind, "").splitlines())
            stale += [f"{before['id']} {kind} {line[:200]}" for line in difflib.unified_diff(*lines, n=0, lineterm="")]
    assert not stale, "run python -m tests.save_notebooks, or fix what changed:\n" + "\n".join(stale[:40])


@pytest.mark.kernel
@pytest.mark.parametrize("name", KEYED)
def test_with_a_key_it_calls_the_service(name, server):
    """The service is a demo server that accepts this key only."""
    server.require_key = "readers-key"
    openai = {"OPENAI_API_KEY": server.require_key, "OPENAI_BASE_URL": server.openai_base}
    keys = {
        "01_openai": openai,
        "01b_azure_openai": {
            "AZURE_OPENAI_API_KEY": server.require_key,
            "AZURE_OPENAI_ENDPOINT": server.url,
            "OPENAI_API_VERSION": "2024-10-21",
            "DEPLOYMENT": "readers-deployment",
        },
        "03_replicate_compare_label": {
            "REPLICATE_API_TOKEN": server.require_key,
            "REPLICATE_BASE_URL": server.replicate_base,
        },
        "04_vision_guide": openai,
        "04b_tokens_and_prices": openai,
        "05_chat_panel": openai,
        "07_pictures_to_data": openai,
    }[name]
    notebook = execute(NOTEBOOKS / f"{name}.ipynb", keys=keys)
    assert [output for output in outputs(notebook) if output.output_type == "error"] == []
    assert len(server.requests) >= 5
    if name == "01b_azure_openai":
        assert all("/readers-deployment/" in request.path for request in server.requests)
    assert server.require_key not in nbformat.writes(notebook)


def test_it_is_saved_with_outputs_and_is_small(path):
    nbformat.validate(saved(path))
    assert outputs(saved(path)), "save it with its outputs: python -m tests.save_notebooks"
    assert path.stat().st_size < 400_000
    assert "widgets" not in json.loads(path.read_text())["metadata"]


def test_it_is_saved_without_errors(path):
    assert [output for output in outputs(saved(path)) if output.output_type == "error"] == []
    assert [output for output in outputs(saved(path)) if output.get("name") == "stderr"] == []


def test_it_contains_no_key_and_no_local_path(path):
    text = EMBEDDED.sub("", path.read_text())
    text = re.sub(r'"image/(png|jpeg)": "[^"]*"', "", text)
    assert not SECRETS.search(text), SECRETS.search(text)
    assert not MACHINE.search(text), MACHINE.search(text)
    assert str(Path.home()) not in text


def test_every_code_cell_was_run_in_order(path):
    counts = [cell.execution_count for cell in saved(path).cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


def prose(path):
    return [cell.source for cell in saved(path).cells if cell.cell_type == "markdown"]


def links(path):
    """Return the text and address of each link and image in a notebook's text cells."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", "\n\n".join(prose(path)), flags=re.DOTALL)
    return re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", text)


def anchors(path):
    """Return the headings' anchors, as JupyterLab and GitHub make them."""
    headings = re.findall(r"^#{1,6} (.+)$", "\n".join(prose(path)), re.MULTILINE)
    return {re.sub(r"[`*]", "", heading).strip().replace(" ", "-").lower() for heading in headings}


def broken_links(path):
    """Return the addresses of links whose target does not exist."""
    broken = []
    for _, address in links(path):
        if re.match(r"[a-z]+:", address):
            continue
        file, _, anchor = unquote(address).partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.is_file() or (anchor and target.suffix == ".ipynb" and anchor.lower() not in anchors(target)):
            broken.append(address)
    return broken


def test_its_links_work(path):
    assert broken_links(path) == []
    assert all(address.startswith("https://") for _, address in links(path) if ":" in address)


def test_no_price_starts_a_formula(path):
    shown = "\n".join(
        [*prose(path), *(output.data.get("text/markdown", "") for output in outputs(saved(path)) if "data" in output)]
    )
    assert not re.search(r"\$\d", re.sub(r"`[^`\n]*`", "", shown))


def test_the_start_notebook_shows_streamed_answers():
    found = outputs(saved(NOTEBOOKS / "00_start_here.ipynb"))
    texts = [output.data["text/markdown"] for output in found if "text/markdown" in output.get("data", {})]
    answers = [text for text in texts if not text.startswith("| ")]  # the table of prices is not an answer
    assert len(answers) >= 4
    assert all(answer.count(BADGE_HTML) == 1 for answer in answers)
