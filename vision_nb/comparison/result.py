"""What a comparison found: a table, a gallery, scores, and what is still to be done."""

from __future__ import annotations

import getpass
import operator
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision_nb.comparison import gallery, labels
from vision_nb.comparison.grid import Grid, Row
from vision_nb.cost.budget import Budget
from vision_nb.errors import SettingsError
from vision_nb.images.document import ImageDocument
from vision_nb.store import Label, Store

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = (
    "model",
    "prompt",
    "response",
    "image",
    "error",
    "latency_s",
    "input_tokens",
    "output_tokens",
    "usd",
    "correctness",
    "relevance",
)

RUBRIC = {
    5: "answers the question perfectly",
    4: "answers the question, with small faults",
    3: "answers the question in part",
    2: "answers the question wrongly",
    1: "no answer, or made up",
}
"""What the scores mean, for correctness and relevance alike (after the Replicate walkthrough)."""

_LABEL_PANEL = "vision_nb.widgets.label_panel:LabelPanel"
# A comparison opens the panel that shows it: the one look upward, by name, and only when a person asks for it.


class Comparison(Sequence[Row]):
    """The rows of a comparison, prompt by prompt, image by image, model by model.

    Attributes:
        rows: The rows, also reached as ``comparison[place]``.
        incomplete: Why not everything was asked, or None.
        grid: What was asked of whom about what.
        store: Where answers and labels are kept.
        budget: What the run was allowed to cost, and has cost.
        resume: Whether answers were taken from the store.

    >>> comparison = vn.compare(["demo"], ["How large is it?"], [vn.samples.path("chart")], progress=False)
    >>> comparison.set_label(0, correctness=5, relevance=4, annotator="me")
    >>> comparison.to_dataframe()[["model", "correctness", "relevance"]].values.tolist()
    [['demo', 5.0, 4.0]]
    """

    def __init__(
        self,
        rows: Sequence[Row],
        *,
        grid: Grid,
        store: Store,
        budget: Budget,
        incomplete: str | None = None,
        resume: bool = True,
    ) -> None:
        self.rows = tuple(rows)
        self.budget = budget
        self.resume = resume
        self.incomplete = incomplete
        self.grid, self.store = grid, store

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        return self.rows[place]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @property
    def errors(self) -> list[Row]:
        """The rows that failed."""
        return [row for row in self.rows if row.error is not None]

    def document(self, place: int) -> ImageDocument:
        """The picture of a row.

        Args:
            place: The row's place, from 0.
        """
        return self.grid.documents[place // len(self.grid.models) % len(self.grid.documents)]

    def to_dataframe(self) -> pd.DataFrame:
        """A pandas DataFrame with a row for each call; scores of several annotators as their mean.

        Its columns: model, prompt, response, image, error, latency_s, input_tokens, output_tokens, usd,
        correctness, relevance.
        """
        import pandas as pd

        given = self._labels()
        records = []
        for row in self.rows:
            record = {name: getattr(row, name) for name in COLUMNS[:-2]}
            record["usd"] = None if row.usd is None else float(row.usd)
            for name in ("correctness", "relevance"):
                record[name] = labels.mean(getattr(label, name) for label in given.get(row.key, ()))
            records.append(record)
        return pd.DataFrame.from_records(records, columns=list(COLUMNS))

    def to_csv(self, path: str | Path) -> None:
        """Write the table as CSV.

        Args:
            path: The file; one that is there is replaced.
        """
        self.to_dataframe().to_csv(path, index=False)

    def to_parquet(self, path: str | Path) -> None:
        """Write the table as Parquet, through pandas, which needs pyarrow for it.

        Args:
            path: The file; one that is there is replaced.
        """
        self.to_dataframe().to_parquet(path, index=False)

    def set_label(
        self,
        row: int,
        *,
        correctness: int | None = None,
        relevance: int | None = None,
        comment: str | None = None,
        annotator: str | None = None,
    ) -> None:
        """Score an answer; it is saved at once. What is left out stays as the annotator had it.

        Args:
            row: The row's place, from 0.
            correctness: 5 (answers the question perfectly) to 1 (no answer, or made up).
            relevance: 5 to 1.
            comment: Free text.
            annotator: Who says so; None takes the user's name on this machine.

        Raises:
            SettingsError: There is no such row or no answer in it, or a score is not a whole number 1 to 5.
        """
        who = annotator or default_annotator()
        before = self.get_label(row, who) or Label()
        label = Label(
            before.correctness if correctness is None else _score(correctness, "correctness"),
            before.relevance if relevance is None else _score(relevance, "relevance"),
            before.comment if comment is None else comment,
            who,
        )
        self.store.put_label(self._answered(row).key, label)

    def remove_label(self, row: int, annotator: str | None = None) -> None:
        """Take an annotator's label of a row back; arguments and errors as `get_label`."""
        self.store.remove_label(self._answered(row).key, annotator or default_annotator())

    def get_label(self, row: int, annotator: str | None = None) -> Label | None:
        """An annotator's label of a row, or None.

        Args:
            row: The row's place, from 0.
            annotator: Whose label; None takes the user's name on this machine.

        Raises:
            SettingsError: There is no such row, or no answer in it.
        """
        who = annotator or default_annotator()
        found = self.store.labels([self._answered(row).key]).get(self.rows[row].key, [])
        return next((label for label in found if label.annotator == who), None)

    def _answered(self, place: int) -> Row:
        if not 0 <= place < len(self.rows):
            raise SettingsError(f"There is no row {place}: they go from 0 to {len(self.rows) - 1}.")
        row = self.rows[place]
        if not row.finished:
            raise SettingsError(f"Row {place} has no answer to score: {row.error or 'it was not asked'}.")
        return row

    def _labels(self) -> dict[str, list[Label]]:
        return self.store.labels(row.key for row in self.rows if row.finished)

    def label(self, **options: Any) -> Any:
        """Open a panel in which a person scores the answers, blind and shuffled.

        Args:
            **options: As for `LabelPanel`.

        Raises:
            SettingsError: There is no answer to label.
        """
        from importlib import import_module

        module, _, name = _LABEL_PANEL.partition(":")
        return getattr(import_module(module), name)(self, **options)

    def summary(self) -> labels.Summary:
        """For each model: answers, errors, mean scores with n, mean latency, tokens and price."""
        return labels.summarize(self.rows, self._labels())

    def agreement(self) -> list[labels.Agreement]:
        """How far each two annotators agree: per cent, and Cohen's kappa where scikit-learn is installed."""
        return labels.agreements(self._labels())

    def plot(self) -> Figure:
        """The scores by model: each label as a dot, the mean with its standard deviation, and n."""
        return labels.plot(self.rows, self._labels())

    def retry_errors(self, *, progress: bool = True) -> Comparison:
        """Ask again what failed or was not asked, within what is left of the budget; other rows stay.

        Args:
            progress: Show a bar.
        """
        from vision_nb.comparison.compare import retry

        return retry(self, progress=progress)

    def _repr_html_(self) -> str:
        return gallery.html(self.grid, self.rows, self.incomplete)

    def __repr__(self) -> str:
        finished = sum(row.finished for row in self.rows)
        stopped = f", incomplete: {self.incomplete}" if self.incomplete else ""
        rows = "1 row" if len(self.rows) == 1 else f"{len(self.rows):,} rows"
        return f"Comparison({rows}, {finished} answered, {len(self.errors)} failed{stopped})"


def _score(value: Any, name: str) -> int:
    try:
        score = operator.index(value)
    except TypeError:
        score = 0
    if isinstance(value, bool) or score not in RUBRIC:
        raise SettingsError(f"{name} is a whole number from 1 to 5, and {value!r} is none.")
    return score


def default_annotator() -> str:
    """The user's name on this machine, or "me" where there is none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "me"
