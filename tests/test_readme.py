"""The links of README and SECURITY exist, and so do the README's names and extras."""

import ast
import re

import pytest

import vision_nb as vn
from tests.save_notebooks import NOTEBOOKS

ROOT = NOTEBOOKS.parent
README = (ROOT / "README.md").read_text()
SECURITY = (ROOT / ".github" / "SECURITY.md").read_text().replace("](../", "](")
LINKS = sorted({link for link in re.findall(r"\]\(([^)\s]+)\)", README + SECURITY) if not link.startswith("https://")})


@pytest.mark.parametrize("link", LINKS)
def test_a_link_has_a_target(link):
    path, _, name = link.partition("#")
    assert (ROOT / path).exists()
    if path.endswith(".py") and name:
        assert name in re.findall(r"^(?:async )?def (\w+)", (ROOT / path).read_text(), re.MULTILINE)


def test_every_name_in_the_code_exists():
    for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        tree = compile(code, "README.md", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "vn":
                assert hasattr(vn, node.attr), node.attr
    for name in re.findall(r"`(\w+Error)`", README):
        assert hasattr(vn.errors, name), name


def test_every_extra_exists():
    project = (ROOT / "pyproject.toml").read_text()
    extras = set(re.findall(r"vision-nb\[(\w+)\]", README))
    assert extras and all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras)
