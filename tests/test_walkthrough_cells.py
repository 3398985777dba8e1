"""Every step of the five walkthroughs has its cell in a notebook, in the walkthrough's order."""

import tomllib
from pathlib import Path

import nbformat
import pytest

from tests.save_notebooks import NOTEBOOKS

TABLE = tomllib.loads((Path(__file__).parent / "walkthrough_steps.toml").read_text(encoding="utf-8"))


def first_misplaced(cells, steps):
    """Return the first step whose words do not come after those of the step before, or None.

    Cells are (type, source) pairs. Text and code cells form one sequence.
    """
    cell, after = 0, 0
    for step in steps:
        wanted = "markdown" if step.get("prose") else "code"
        for number in range(cell, len(cells)):
            kind, source = cells[number]
            place = source.find(step["words"], after if number == cell else 0) if kind == wanted else -1
            if place >= 0:
                cell, after = number, place + len(step["words"])
                break
        else:
            return step["step"]
    return None


@pytest.mark.parametrize("name", TABLE)
def test_every_step_has_its_cell_in_the_walkthroughs_order(name):
    notebook = nbformat.read(NOTEBOOKS / TABLE[name]["notebook"], as_version=4)
    assert first_misplaced([(cell.cell_type, cell.source) for cell in notebook.cells], TABLE[name]["steps"]) is None
