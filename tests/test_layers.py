"""Imports point down: to a lower layer, or to another module of the same one, and never in a circle."""

import ast
from pathlib import Path

import pytest

import vision_nb

PACKAGE = Path(vision_nb.__file__).parent
LAYERS = {  # top to bottom; the longest prefix that fits a module decides
    "entry points": ["", "__main__", "compat", "tutorials"],
    "user interface": ["magics", "widgets"],
    "workflows": ["conversation", "comparison"],
    "models": ["providers", "demo"],
    "services": ["cost", "store", "storage", "schema", "notebook.display", "notebook.figures"],
    "values": ["images", "messages", "responses", "services"],
    "foundation": [
        "checks",
        "rendering",
        "errors",
        "paths",
        "user_warnings",
        "project_settings",
        "samples",
        "notebook",
        "privacy",
    ],
}
HEIGHTS = {prefix: -number for number, prefixes in enumerate(LAYERS.values()) for prefix in prefixes}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def layer_of(module):
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in HEIGHTS:
            return HEIGHTS[".".join(parts[:length])]
    raise AssertionError(f"vision_nb.{module} is on no layer")


def imported(path, whole=True):
    """The modules of the package that a file imports: at its top, inside functions and for type checking."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if whole else tree.body:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]  # may be a module, or a name in one
        else:
            continue
        for name in names:
            if name.partition(".")[0] == "vision_nb":
                short = name.partition(".")[2]
                yield short if short in MODULES else short.rpartition(".")[0]


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    for other in imported(MODULES[module]):
        assert layer_of(other) <= layer_of(module), f"vision_nb.{module} imports vision_nb.{other}"


def test_magics_and_widgets_do_not_depend_on_each_other():
    packages = {module: module.partition(".")[0] for module in MODULES}
    for module, package in packages.items():
        if package in ("magics", "widgets"):
            used = {packages[other] for other in imported(MODULES[module])} - {package}
            assert not used & {"magics", "widgets"}, f"vision_nb.{module}"


def cycles(graph):
    """The groups of modules that import each other, directly or through others."""
    reached = {}
    for start in graph:
        seen, todo = set(), [start]
        while todo:
            for other in graph.get(todo.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        reached[start] = seen
    return {frozenset(o for o in reached[m] if m in reached[o]) for m in graph if m in reached[m]}


def test_no_modules_import_each_other():
    graph = {module: set(imported(path)) - {module} for module, path in MODULES.items()}
    assert cycles(graph) == set()


def test_no_module_has_an_empty_name():
    names = {path.stem for path in MODULES.values()}
    assert not names & {"utils", "helpers", "common", "misc"}


def test_the_root_has_at_most_twelve_modules():
    assert len(list(PACKAGE.glob("*.py"))) <= 12


@pytest.mark.parametrize("module", MODULES)
def test_no_module_has_more_than_400_lines(module):
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= 400
