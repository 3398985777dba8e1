"""The pages of the documentation site; `python -m tests.build_docs` builds it, and .ci/run does so."""

import json
import re

import pytest

import vision_nb as vn
from tests import build_docs
from tests.project_address import Repository
from tests.test_readme import LINK


@pytest.fixture(params=[None, Repository("github.com", "mona/vision_nb")], ids=["no address", "address"])
def pages(request, tmp_path, monkeypatch):
    """Return the texts of the collected pages by path, without and with an address of the repository."""
    monkeypatch.setattr(build_docs, "SOURCE", tmp_path)
    monkeypatch.setattr(build_docs, "find_repository", lambda: request.param)
    build_docs.collect_pages()
    found = {path: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.md")}
    for path in tmp_path.rglob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found[path] = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return found


def test_every_link_leads_to_a_page_or_to_the_web(pages):
    links = [(path, link.partition("#")[0]) for path, text in pages.items() for link in LINK.findall(text)]
    local = [(path, link) for path, link in links if link and not link.startswith(("http:", "https:"))]
    assert len(local) > 50
    assert [(path.name, link) for path, link in local if not (path.parent / link).exists()] == []


def test_links_to_tests_lead_to_the_repository_if_its_address_is_known(pages, request):
    (peers,) = (text for path, text in pages.items() if path.name == "peers.md")
    in_repository = "https://github.com/mona/vision_nb/blob/HEAD/tests/test_images.py" in peers
    assert in_repository is ("no address" not in request.node.name) and "test" in peers


def test_the_reference_has_every_public_name():
    names = [name for _, names in build_docs.REFERENCE.values() for name in names.split()]
    assert sorted(names) == sorted({*vn.__all__, "demo"})


def test_every_page_is_in_the_table_of_contents(pages):
    (index,) = (text for path, text in pages.items() if path.name == "index.md")
    listed = re.findall(r"^[\w/.]+\.(?:md|ipynb)$", index, re.MULTILINE)
    assert len(listed) == len(set(listed)) == len(pages) - 1
