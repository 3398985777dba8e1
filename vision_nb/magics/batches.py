"""``%vision batch``: the batches that were submitted."""

from __future__ import annotations

import time

from vision_nb.comparison.batch_result import age_of, state_of
from vision_nb.magics.session import Session
from vision_nb.magics.table import Table
from vision_nb.magics.usage_errors import unknown
from vision_nb.storage.batches import OVER, StoredBatch


def batch(session: Session, action: str = "list") -> Table:
    """List the batches of `batch=True` in the answer cache: model, questions, state and age (list)."""
    if action != "list":
        raise unknown("action of %vision batch", action, ("list",))
    found = sorted(session.store.batches(), key=lambda one: -one.created)
    if not found:
        return Table(
            remarks=["No batch was submitted: `vn.compare(..., batch=True)` submits questions at half the price."]
        )
    rows = [
        (
            one.batch_id or "(not submitted)",
            one.model,
            f"{one.questions:,}",
            f"{one.done:,}",
            _state(one),
            age_of(one.created),
        )
        for one in found
    ]
    remarks = []
    if any(one.step != OVER for one in found):
        remarks.append("To collect a batch that has ended, run the cell with `batch=True` again, or call `.refresh()`.")
    return Table(("batch", "model", "questions", "done", "state", "submitted"), rows, remarks)


def _state(one: StoredBatch) -> str:
    """Return the state of a batch, when it was read, and what went wrong."""
    state = f"{state_of(one)}, collected" if one.step == OVER else state_of(one)
    if one.step != OVER and time.time() - one.seen >= 60 and one.seen:
        state = f"{state} ({age_of(one.seen)})"
    return f"{state}: {one.message}" if one.message else state
