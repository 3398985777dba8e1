"""What the README says holds: its links, its pictures, its table of notebooks, its code."""

import ast
import re

import pytest
from save_notebooks import NOTEBOOKS
from test_notebooks import prose

import vision_nb as vn

ROOT = NOTEBOOKS.parent
README = (ROOT / "README.md").read_text()
MINUTES = {"five": 5, "ten": 10, "fifteen": 15, "twenty": 20, "forty": 40}
LINKS = sorted({link for link in re.findall(r"\]\(([^)\s]+)\)", README) if not link.startswith("https://")})


@pytest.mark.parametrize("link", LINKS)
def test_a_link_leads_to_what_is_there(link):
    path, _, name = link.partition("#")
    assert (ROOT / path).exists()
    if path.endswith(".py") and name:
        assert re.search(rf"^(?:async )?def {name}\(|^class {name}\b", (ROOT / path).read_text(), re.MULTILINE), name


def test_the_table_of_notebooks_is_the_notebooks_own():
    rows = re.findall(r"^\| \[(\w+) (.+?)\]\(notebooks/(\w+\.ipynb)\) \| .+ \| (\d+) \|$", README, re.MULTILINE)
    assert [row[2] for row in rows] == [path.name for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
    for number, title, name, minutes in rows:
        head = prose(NOTEBOOKS / name)[0]
        assert name.startswith(f"{number}_") and head.startswith(f"# {title}\n")
        assert MINUTES[re.search(r"\*\*Time:\*\* ([\w-]+) minutes", head)[1]] == int(minutes)


def test_the_code_names_what_there_is():
    for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        tree = compile(code, "README.md", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "vn":
                assert hasattr(vn, node.attr), node.attr
    for name in re.findall(r"`(\w+Error)`", README):
        assert hasattr(vn.errors, name), name


def test_every_extra_is_one():
    project = (ROOT / "pyproject.toml").read_text()
    extras = set(re.findall(r"vision-nb\[(\w+)\]", README))
    assert extras and all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras)


def test_each_claim_beside_the_peers_leads_to_its_proof():
    table = README.partition("## Beside its peers")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| ")
    ]
    assert len(rows) > 15 and all(len(row) == 5 for row in rows)
    for row in rows[1:]:
        assert re.search(r"\]\((tests|notebooks)/", row[1]) or row[1] in ("no", "none", "313 MB"), row[1]
