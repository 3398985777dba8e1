"""Build the documentation site: README, the guide, the notebooks as they are saved, and the reference of the API.

The pages are collected in build/docs-source, and the site is written to build/docs. Warnings are errors.

Run: python -m tests.build_docs, after: pip install -e ".[docs]"
"""

import json
import os
import re
import shutil
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import vision_nb as vn
from tests.project_address import ROOT, find_repository
from vision_nb import demo

SOURCE, SITE = ROOT / "build" / "docs-source", ROOT / "build" / "docs"
GUIDE = ROOT / "notebooks" / "guide"
PLACES = {  # file of the repository: page of the site; notebooks and the guide keep their places
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    ".github/ARCHITECTURE.md": "architecture.md",
    ".github/CONTRIBUTING.md": "contributing.md",
    ".github/SECURITY.md": "security.md",
}
REFERENCE = {  # page: (title, public names)
    "asking": (
        "Asking",
        "connect Chat ChatMessage MessageRole CompletionResponse ChatResponse Usage display_stream adisplay_stream "
        "generate_openai_multi_modal_chat_message",
    ),
    "models": (
        "Models",
        "OpenAIMultiModal AzureOpenAIMultiModal ServiceMultiModal ReplicateMultiModal LocalMultiModal DemoMultiModal "
        "REPLICATE_MULTI_MODAL_LLM_MODELS register_service serve serve_llava download_gguf write_localai_config",
    ),
    "images": (
        "Images",
        "ImageDocument load_images load_image_urls show display_image_uris Box draw_boxes select_region",
    ),
    "many_images": (
        "Tables and comparisons",
        "extract aextract Extraction compare acompare Comparison Plan Score RateLimit",
    ),
    "panels": ("Panels", "ChatPanel LabelPanel ReviewPanel"),
    "prices": (
        "Tokens and prices",
        "estimate_cost image_tokens image_tokens_array cheapest_fit show_tiles calibrate set_price ledger",
    ),
    "modules": ("Modules", "errors samples demo compat"),
}
LINK = re.compile(r'(\[(?:[^\[\]]|\[[^\]]*\])*\]\(|src="|srcset=")(?!https?://|#|data:)([^)"\s]+)([)"])')
PICTURE = re.compile(
    r'<picture><source [^>]*srcset="([^"]+)"><img src="([^"]+)" width="(\d+)" alt="([^"]+)"></picture>'
)


def collect_pages():
    """Write the pages of the site to SOURCE."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(ROOT / "notebooks" / "pictures", SOURCE / "notebooks" / "pictures")
    shutil.copy(ROOT / "docs" / "conf.py", SOURCE)
    places = {name: page for name, page in PLACES.items() if (ROOT / name).is_file()}
    notebooks = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "notebooks").glob("*.ipynb"))
    listed = re.findall(r"^\| \[.*?\]\((\w+\.md)\)", (GUIDE / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    guide = [(GUIDE / name).relative_to(ROOT).as_posix() for name in ("README.md", *listed)]
    places |= {name: name for name in (*notebooks, *guide)}
    repository = find_repository()
    for name, page in places.items():
        link = partial(with_links, name=name, places=places, repository=repository)
        text = (ROOT / name).read_text(encoding="utf-8")
        target = SOURCE / page
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".ipynb"):
            text = json.dumps(for_the_site(json.loads(text), link))
        else:
            text = link(PICTURE.sub(in_both_themes, text))
        target.write_text(text, encoding="utf-8")
    index = SOURCE / "index.md"
    parts = {
        "Guide": guide,
        "Tutorials": notebooks,
        "Reference": write_reference(),
        "Project": [page for name, page in places.items() if page in PLACES.values() and page != "index.md"],
    }
    with index.open("a", encoding="utf-8") as file:
        for caption, pages in parts.items():
            options = f":hidden:\n:caption: {caption}\n"
            file.write("\n\n```{toctree}\n" + options + "\n" + "\n".join(pages) + "\n```\n")


def for_the_site(notebook, with_links):
    """Return a notebook that Sphinx shows without warnings: with links to pages, and its magics as IPython code."""
    notebook["metadata"]["language_info"]["pygments_lexer"] = "ipython3"
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = with_links("".join(cell["source"]))
        for output in cell.get("outputs", []):
            if markdown := output.get("data", {}).get("text/markdown"):
                lines = "".join(markdown).splitlines()
                output["data"]["text/markdown"] = "\n".join("<hr>" if line == "---" else line for line in lines)
    return notebook


def with_links(text, name, places, repository):
    """Return a page's text with links between pages, and to the repository's other files if its address is known."""

    def link(found):
        path, hash_mark, anchor = found[2].partition("#")
        target = Path(os.path.normpath(Path(name).parent / path)).as_posix()
        if target.startswith("notebooks/pictures/"):
            place = target
        elif target in places:
            place = places[target]
        elif repository is None:
            return re.sub(r"^\[(.*)\]\($", r"\1", found[1], flags=re.DOTALL)
        else:
            return f"{found[1]}{repository.file(target)}{found[3]}"
        here = Path(places[name]).parent
        return f"{found[1]}{Path(os.path.relpath(place, here)).as_posix()}{hash_mark}{anchor}{found[3]}"

    return LINK.sub(link, text)


def in_both_themes(found):
    """Return the directives for a picture in its dark and its light form."""
    options = f":width: {found[3]}px\n:alt: {found[4]}"
    return "\n".join(
        f"```{{image}} {path}\n:class: only-{theme}\n{options}\n```"
        for theme, path in (("light", found[2]), ("dark", found[1]))
    )


def write_reference():
    """Write the pages of the reference, and return their names."""
    pages = []
    for page, (title, names) in REFERENCE.items():
        text = f"# {title}\n\n```{{eval-rst}}\n" + "".join(directive(name) for name in names.split()) + "```\n"
        path = SOURCE / "reference" / f"{page}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        pages.append(f"reference/{page}.md")
    return pages


def directive(name):
    """Return the directive that documents a public name."""
    value = demo if name == "demo" else getattr(vn, name)
    if isinstance(value, ModuleType):
        return f".. automodule:: vision_nb.{name}\n   :members:\n\n"
    if isinstance(value, type):
        others = [base.__name__ for base in value.__mro__ if not base.__module__.startswith("vision_nb")]
        return f".. autoclass:: vision_nb.{name}\n   :members:\n   :inherited-members: {', '.join(others)}\n\n"
    if callable(value):
        return f".. autofunction:: vision_nb.{name}\n\n"
    kind = type(value)
    if kind.__module__.startswith("vision_nb"):  # the one object of its class
        return f".. autoclass:: {kind.__module__}.{kind.__name__}\n   :members:\n\n"
    return f".. py:data:: vision_nb.{name}\n\n   Of type {kind.__name__}, with {len(value)} entries.\n\n"


def main():
    """Build the site."""
    collect_pages()
    from sphinx.cmd.build import main as build

    return build(["-q", "-W", "--keep-going", "-d", str(ROOT / "build" / "docs-cache"), str(SOURCE), str(SITE)])


if __name__ == "__main__":
    sys.exit(main())
