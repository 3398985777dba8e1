"""README, the guide and SECURITY: their links have targets, their code works, and their tables are those of the code."""

import ast
import json
import re
import subprocess
import tomllib
from typing import Any

import pytest

import vision_nb as vn
from tests.make_tables import PAGES, ROOT, TABLES, with_tables
from tests.project_address import main, parse_remote, with_address

TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [*PAGES, *sorted((ROOT / ".github").glob("*.md"))]
}
README, PROJECT = TEXTS["README.md"], (ROOT / "pyproject.toml").read_text(encoding="utf-8")
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
LINK = re.compile(r'(?:\]\(|src="|srcset=")([^)"\s]+)')
LINKS = sorted(
    {(page, link) for page, text in TEXTS.items() for link in LINK.findall(text) if not link.startswith("https://")}
)


def anchors(markdown):
    """Return the anchors of a page's headings on GitHub and in JupyterLab."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", markdown, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page, link", LINKS)
def test_a_link_has_a_target(page, link):
    path, _, name = link.partition("#")
    target = (ROOT / page).parent / path if path else ROOT / page
    assert target.exists()
    if name and target.suffix == ".py":
        assert name in re.findall(r"^(?:async )?def (\w+)", target.read_text(encoding="utf-8"), re.MULTILINE)
    elif name:
        assert name in anchors(target.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", TEXTS)
def test_every_name_in_the_code_exists(page):
    for code in CODE.findall(TEXTS[page]):
        tree = compile(code, page, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "vn":
                assert hasattr(vn, node.attr), node.attr
    for name in re.findall(r"`(\w+Error)`", TEXTS[page]):
        assert hasattr(vn.errors, name), name


def test_every_extra_exists_and_readme_lists_those_for_users():
    defined = set(tomllib.loads(PROJECT)["project"]["optional-dependencies"])
    named = {extra for text in TEXTS.values() for extra in re.findall(r"vision-nb\[([\w,]+)\]", text)}
    assert named and {name for names in named for name in names.split(",")} <= defined
    for_developers, old_name_of_local = {"test", "lint", "docs"}, {"llama"}
    assert set(re.findall(r"^\| `vision-nb\[(\w+)\]` \|", README, re.MULTILINE)) == (
        defined - for_developers - old_name_of_local
    )


def test_the_tables_are_those_of_the_code():
    found = [name for text in TEXTS.values() for name in re.findall(r"<!-- table: ([\w ]+) -->", text)]
    assert sorted(found) == sorted(TABLES)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text == with_tables(text), f"{page.name}: run python -m tests.make_tables"


def test_readme_is_short():
    assert len(README.splitlines()) < 200


def test_the_quickstart_of_readme_works(server, monkeypatch, tmp_path, capsys):
    server.answer_with(lambda question: json.dumps({"shop": "Mill Lane Bakery", "total": 9.3}))
    monkeypatch.setenv("OPENAI_API_KEY", "demo-key-of-readme")
    monkeypatch.setenv("OPENAI_BASE_URL", server.openai_base)
    names: dict[str, Any] = {"__name__": "quickstart"}
    exec(compile(CODE.findall(README)[0], "README.md", "exec"), names)
    table = names["extraction"].to_dataframe()
    assert len(table) == 14 and set(table["shop"].dropna()) == {"Mill Lane Bakery"}
    assert {request.body["model"] for request in server.requests} == {"gpt-4o-mini"}


def test_the_guide_lists_all_of_its_pages_and_notebooks():
    index = TEXTS["notebooks/guide/README.md"]
    pages = {path.name for path in PAGES if path.parent.name == "guide"} - {"README.md"}
    assert set(re.findall(r"\]\(([\w.]+\.md)\)", index)) == pages
    assert set(re.findall(r"\]\(\.\./(\w+\.ipynb)\)", index)) == {p.name for p in (ROOT / "notebooks").glob("*.ipynb")}


@pytest.mark.parametrize(
    "url, url_of_page",
    [
        ("https://github.com/mona/vision_nb", "https://github.com/mona/vision_nb"),
        ("https://github.com/mona/vision_nb.git", "https://github.com/mona/vision_nb"),
        ("https://x-access-token:s3cr3t@github.com/mona/vision_nb.git/", "https://github.com/mona/vision_nb"),
        ("git@github.com:mona/vision.nb.git", "https://github.com/mona/vision.nb"),
        ("ssh://git@gitlab.com:22/group/team/vision_nb.git", "https://gitlab.com/group/team/vision_nb"),
    ],
)
def test_the_address_is_that_of_the_remote_without_its_login(url, url_of_page):
    assert parse_remote(url).url == url_of_page


@pytest.mark.parametrize(
    "url", ["", "/srv/git/vision_nb", "https://example.org/github.com/a/b", "git@notgithub.com:a/b"]
)
def test_other_remotes_have_no_address(url):
    assert parse_remote(url) is None


@pytest.fixture
def project(tmp_path):
    """Return a folder with copies of the files that contain the address."""
    for name in ("README.md", "pyproject.toml", "vision_nb/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path


def texts(project):
    return [(project / name).read_text(encoding="utf-8") for name in ("README.md", "pyproject.toml")]


def test_the_address_is_written_once_and_removed_without_a_remote(project):
    for _ in range(2):
        main(project, ["https://github.com/mona/vision_nb.git"])
        readme, settings = texts(project)
        assert readme.count("https://mybinder.org/v2/gh/mona/vision_nb/HEAD") == 1
        assert readme.count("git clone https://github.com/mona/vision_nb &&") == 1
        assert tomllib.loads(settings)["project"]["urls"]["Source"] == "https://github.com/mona/vision_nb"
    main(project, [])  # the folder is not a git repository
    readme, settings = texts(project)
    assert "mybinder" not in readme and "in a clone of this repository" in readme
    assert "urls" not in tomllib.loads(settings)["project"]


def test_the_address_is_that_of_the_folders_remote(project):
    for command in (["init", "-q"], ["remote", "add", "origin", "git@github.com:mona/vision_nb.git"]):
        subprocess.run(["git", "-C", project, *command], check=True)
    main(project, [])
    assert "https://mybinder.org/v2/gh/mona/vision_nb/HEAD" in texts(project)[0]


def test_no_placeholder_of_an_address_is_visible():
    for text in [*TEXTS.values(), PROJECT, *with_address(README, PROJECT, None)]:
        assert "OWNER/REPOSITORY" not in text


def test_for_pypi_every_link_of_readme_is_absolute(project):
    main(project, ["--absolute-links", "https://github.com/mona/vision_nb"])
    readme, _ = texts(project)
    tag = f"https://github.com/mona/vision_nb/{{}}/v{vn.__version__}/notebooks"
    assert all(link.startswith(("https://", "#")) for link in LINK.findall(readme))
    assert f"]({tag.format('blob')}/guide/privacy.md)" in readme
    assert f'src="{tag.format("raw")}/pictures/start.webp"' in readme


@pytest.mark.parametrize("arguments", [["--absolute-links"], ["/srv/git/vision_nb"]])
def test_an_address_that_is_needed_and_unknown_is_an_error(project, arguments, capsys):
    before = texts(project)
    with pytest.raises(SystemExit):
        main(project, arguments)
    assert "the repository is not on github.com or gitlab.com" in capsys.readouterr().err and texts(project) == before
