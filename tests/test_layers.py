"""Imports point down the floors of the house, also those inside functions."""

import ast
from pathlib import Path

import pytest

import vision_nb

PACKAGE = Path(vision_nb.__file__).parent
FLOORS = {
    0: ["errors", "tracebacks"],
    1: [
        "details",
        "sniff",
        "pixels",
        "prepare",
        "encodings",
        "sources",
        "download",
        "markup",
        "safe_html",
        "safe_markdown",
        "formula_html",
        "shown",
        "samples",
    ],
    2: ["images", "image_lists", "messages", "responses"],
    3: ["cost", "store", "display"],
    4: ["providers", "demo"],
    5: ["chat", "chat_file", "transcript", "comparison"],
    6: ["magics", "widgets", "tutorials"],
    7: ["__init__", "__main__", "compat"],
}
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path):
    """Every module of ours that a file imports, at its top, inside a function or for type checking."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("vision_nb"))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            if node.module == "vision_nb":
                yield from (f"vision_nb.{alias.name}" for alias in node.names)
            elif (node.module or "").startswith("vision_nb."):
                yield node.module


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    room = room_of(path)
    assert room in FLOOR_OF, f"{room} has no floor"
    for name in imported(path):
        other = name.split(".")[1] if "." in name else "__init__"
        assert FLOOR_OF[other] <= FLOOR_OF[room], f"{path.name} on floor {FLOOR_OF[room]} imports {name}"


def test_no_two_modules_import_each_other_at_the_top():
    graph = {}
    for path in MODULES:
        name = ".".join(("vision_nb", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, (ast.Import, ast.ImportFrom))]
        graph[name] = {
            node.module
            for node in top
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vision_nb")
        }

    def reaches(start, goal, seen):
        return any(
            other == goal or (other not in seen and not seen.add(other) and reaches(other, goal, seen))
            for other in graph.get(start, ())
        )

    assert [name for name in graph if reaches(name, name, set())] == []


def test_no_room_is_named_for_nothing():
    names = {path.stem for path in MODULES}
    assert not names & {"utils", "helpers", "common", "misc"}
