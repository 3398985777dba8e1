"""Every step of the five walkthroughs has its cell in a notebook, in the walkthrough's order."""

import tomllib
from pathlib import Path

import nbformat
import pytest
from save_notebooks import NOTEBOOKS

TABLE = tomllib.loads((Path(__file__).parent / "walkthrough_steps.toml").read_text(encoding="utf-8"))


def missing_or_out_of_place(cells, steps):
    """The first step whose words do not stand after those of the step before, or None.

    Cells are (kind, source) pairs. Prose and code are one sequence: a text cell counts where it stands.
    """
    cell, after = 0, 0
    for step in steps:
        kind = "markdown" if step.get("prose") else "code"
        for number in range(cell, len(cells)):
            found, source = cells[number]
            place = source.find(step["words"], after if number == cell else 0) if found == kind else -1
            if place >= 0:
                cell, after = number, place + len(step["words"])
                break
        else:
            return step["step"]
    return None


def cells_of(name):
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def test_all_five_walkthroughs_are_in_the_table():
    assert set(TABLE) == {"openai", "azure_openai", "replicate", "vision_guide", "local_llava"}
    for name, entry in TABLE.items():
        steps = [step["step"] for step in entry["steps"]]
        assert len(steps) >= 10, name
        assert len(set(steps)) == len(steps), name


@pytest.mark.parametrize("name", TABLE)
def test_every_step_has_its_cell_in_the_walkthroughs_order(name):
    entry = TABLE[name]
    if entry.get("awaited") and not (NOTEBOOKS / entry["notebook"]).exists():
        pytest.skip(f"{entry['notebook']} is still to come")
    assert missing_or_out_of_place(cells_of(entry["notebook"]), entry["steps"]) is None


@pytest.mark.parametrize("name", [name for name, entry in TABLE.items() if not entry.get("awaited")])
def test_a_missing_cell_and_a_changed_order_are_found(name):
    """The check itself: it fails when any one cell goes, and when the first and the last change places."""
    cells, steps = cells_of(TABLE[name]["notebook"]), TABLE[name]["steps"]
    for step in steps:
        kind = "markdown" if step.get("prose") else "code"
        without = [cell for cell in cells if cell[0] != kind or step["words"] not in cell[1]]
        assert missing_or_out_of_place(without, steps) is not None, step["step"]
    assert missing_or_out_of_place(cells, [steps[-1], *steps[1:-1], steps[0]]) is not None
