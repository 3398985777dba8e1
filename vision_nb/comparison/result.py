"""The result of a comparison: a table, a gallery, labels, and the missing calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vision_nb.comparison import gallery, hooks
from vision_nb.comparison.batch_result import BatchResult
from vision_nb.comparison.batch_run import BatchRun
from vision_nb.comparison.budget import run_budget
from vision_nb.comparison.grid import Grid, Row
from vision_nb.comparison.judgments import Prediction, prompt_names
from vision_nb.comparison.labels import (
    ASPECTS,
    Agreement,
    Summary,
    agreements,
    check_score,
    default_annotator,
    plot,
    summarize,
)
from vision_nb.comparison.page_export import PageOptions, write_page
from vision_nb.comparison.parquet import write_parquet
from vision_nb.comparison.row_tables import comparison_parts
from vision_nb.comparison.rows import Rows
from vision_nb.comparison.run import Run
from vision_nb.comparison.run_options import RunOptions
from vision_nb.comparison.scoring import Score, score_predictions
from vision_nb.comparison.styled_table import styled_table
from vision_nb.comparison.tables import Column, Record, chosen, comparison_columns, frame
from vision_nb.comparison.truth import read_truth
from vision_nb.cost.budget import Budget
from vision_nb.errors import SettingsError
from vision_nb.paths import writable_path
from vision_nb.rendering.data_frame import without_formulas
from vision_nb.rendering.format import as_sentence, pluralize
from vision_nb.rendering.terminal import TerminalPart
from vision_nb.schema.fields import flatten
from vision_nb.schema.schema import Schema
from vision_nb.storage.annotations import Label
from vision_nb.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Comparison(BatchResult):
    """The rows of a comparison, ordered by prompt, then image, then model.

    Args:
        grid: The models, prompts and images.
        options: How the calls were made.

    Attributes:
        rows: The rows, also available as ``comparison[index]``.
        incomplete: Why some calls were not made, or None.
        store: The store of answers and labels; if closed, it is reopened when needed.
        budget: The run's budget, with its cost so far.

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
        store: Store | Path,
        budget: Budget,
        options: RunOptions,
        incomplete: str | None = None,
    ) -> None:
        self.rows = (
            rows if isinstance(rows, Rows) else Rows(grid, store if isinstance(store, Path) else store.path, rows)
        )
        self.grid, self.budget, self.incomplete, self.options = grid, budget, incomplete, options
        self._store = store

    @property
    def store(self) -> Store:
        """The store of answers and labels."""
        if isinstance(self._store, Path):
            self._store = Store(self._store)
        return self._store

    @property
    def errors(self) -> list[Row]:
        """The rows with an error."""
        return self.rows.errors()

    def to_dataframe(self, *, columns: Sequence[str] | None = None, thumbnails: bool = False) -> Any:
        """Return a pandas DataFrame with a row per call; the scores of several annotators are averaged.

        The columns are model, prompt, response, image, error, latency_s, input_tokens, output_tokens, usd,
        correctness and relevance; tokens have the dtype Int64, other numbers float64. With a schema, there is a column
        for each field after the response, as in `Extraction.to_dataframe`, and the number of attempts.

        Args:
            columns: The columns to return, in this order; None for all. Others are not kept in memory.
            thumbnails: Return a styled table for display, with small images.

        Raises:
            SettingsError: A column does not exist, or ``thumbnails`` needs the column "image".
            StoreError: The comparison has more than 20,000 rows, and its store no longer has their answers.
        """
        selected = chosen(comparison_columns(self.grid.schema), columns)
        table = frame(selected, self._records(selected))
        if thumbnails:
            return styled_table(table, [self.document(place) for place in range(len(self))])
        return without_formulas(table)

    def _records(self, columns: Sequence[Column]) -> Iterator[Record]:
        """Iterate over the rows of a table."""
        labels = self._labels() if {column.name for column in columns} & set(ASPECTS) else {}
        return (Record(row, self.grid.schema, labels.get(row.key, ()) if row.finished else ()) for row in self.rows)

    def to_html(
        self, path: str | Path | None = None, *, title: str = "Comparison", image_side: int = 320, page_size: int = 20
    ) -> str | None:
        """Write the gallery as one HTML file that works offline.

        The file contains all images, whole answers, filters and a search, and loads nothing. It takes about 20 kB per
        photo.

        Args:
            path: The file, whose name ends in .html or .htm; it is overwritten if it exists. None returns the HTML.
            title: The page's title.
            image_side: The largest width and height of an image, in pixels.
            page_size: The number of images that are shown at once.

        Raises:
            SettingsError: The file cannot be written, or a number is too small or too large.

        >>> comparison = vn.compare(["demo"], ["How large is it?"], [vn.samples.path("chart")], progress=False)
        >>> comparison.to_html()[:15]
        '<!DOCTYPE html>'
        """
        options = PageOptions(title, image_side, page_size)
        return write_page(lambda: gallery.comparison_page(self.grid, self.rows, self.incomplete, options), path)

    def to_csv(self, path: str | Path) -> None:
        """Write the table as CSV, which Excel opens too: in UTF-8 with a byte order mark.

        Text is written unchanged. Spreadsheet programs treat text that begins with "=", "+", "-" or "@" as a formula:
        if you do not trust the images and the model, import the columns as text.

        Args:
            path: The file, whose name ends in .csv or .csv.gz; it is overwritten if it exists.
        """
        with writable_path(path, ".csv", ".csv.gz") as file:
            self.to_dataframe().to_csv(file, index=False, encoding="utf-8-sig")

    def to_parquet(self, path: str | Path, *, columns: Sequence[str] | None = None) -> None:
        """Write the table as Parquet, some thousand rows at a time; requires pyarrow.

        Args:
            path: The file, whose name ends in .parquet or .pq; it is overwritten if it exists.
            columns: As for `to_dataframe`.

        Raises:
            SettingsError: pyarrow is not installed, a column does not exist or has values of several types, or the file
                cannot be written.
            StoreError: As for `to_dataframe`.
        """
        selected = chosen(comparison_columns(self.grid.schema), columns)
        write_parquet(path, selected, lambda: self._records(selected))

    def set_label(
        self,
        row: int,
        *,
        correctness: int | None = None,
        relevance: int | None = None,
        comment: str | None = None,
        annotator: str | None = None,
    ) -> None:
        """Score an answer, and save the label at once. Arguments that are None keep the annotator's earlier values.

        Args:
            row: The row's index.
            correctness: From 5 (answers the question perfectly) to 1 (does not answer, or makes something up).
            relevance: From 5 to 1.
            comment: Any text.
            annotator: The annotator's name; None uses the user's name on this machine.

        Raises:
            SettingsError: The row does not exist or has no answer, or a score is not an integer from 1 to 5.
        """
        annotator = annotator or default_annotator()
        label = replace(self.get_label(row, annotator) or Label(annotator=annotator), time=0.0)
        if correctness is not None:
            label = replace(label, correctness=check_score(correctness, "correctness"))
        if relevance is not None:
            label = replace(label, relevance=check_score(relevance, "relevance"))
        if comment is not None:
            label = replace(label, comment=comment)
        self.store.put_label(self._answered(row).key, label)

    def remove_label(self, row: int, annotator: str | None = None) -> None:
        """Delete an annotator's label of a row; arguments and errors are as for `get_label`."""
        self.store.remove_label(self._answered(row).key, annotator or default_annotator())

    def get_label(self, row: int, annotator: str | None = None) -> Label | None:
        """Return an annotator's label of a row, or None.

        Args:
            row: The row's index.
            annotator: The annotator's name; None uses the user's name on this machine.

        Raises:
            SettingsError: The row does not exist or has no answer.
        """
        annotator = annotator or default_annotator()
        key = self._answered(row).key
        labels = self.store.labels([key]).get(key, [])
        return next((label for label in labels if label.annotator == annotator), None)

    def _answered(self, index: int) -> Row:
        row: Row = self.rows[index]
        if not row.finished:
            reason = as_sentence(row.error or "the call was not made")
            raise SettingsError(f"Row {index} has no answer to score: {reason}")
        return row

    def _labels(self) -> dict[str, list[Label]]:
        """Read all labels, by answer key."""
        with self.opened_store() as store:
            return store.labels(self.rows.keys())

    @contextmanager
    def opened_store(self) -> Iterator[Store]:
        """Return the store; a file that is not open is opened, and closed afterwards."""
        if isinstance(self._store, Store):
            yield self._store
            return
        store = Store(self._store)
        try:
            yield store
        finally:
            store.close()

    def label(self, **options: Any) -> Any:
        """Open a panel in which a person scores the correctness and relevance of each answer, from 1 to 5.

        Args:
            **options: Options of `LabelPanel`: annotator, blind, shuffle and seed.

        Raises:
            SettingsError: There are no answers to label.
        """
        return hooks.open_label_panel(self, **options)

    def summary(self) -> Summary:
        """Return the answers, errors, mean scores, mean latency, tokens and price of each model."""
        return summarize(self.rows, self._labels())

    def score(
        self,
        truth: Any,
        *,
        tolerance: float = 0.0,
        text: Literal["normalized", "exact"] | float = "normalized",
        lists: Literal["set", "ordered"] = "set",
        ignore_unknown: bool = False,
    ) -> Score:
        """Compare structured answers with the truth: accuracy by field and model, with intervals and prices.

        Args:
            truth: A DataFrame with a column "image" and a column per field, the path of a CSV file with these columns,
                a mapping from image names to values, or a `ReviewPanel`. An image is named by its path, file name or
                stem. Only fields that the truth and the schema both have are scored; the score's notes list the others.
            tolerance: The largest accepted difference from the true number, relative to it: 0.01 accepts 1% more or
                less.
            text: "normalized" ignores case, white space and Unicode form; "exact" does not; a number from 0 to 100
                accepts texts whose rapidfuzz ratio is at least this.
            lists: "set" ignores the order of a list's items; "ordered" requires the same order.
            ignore_unknown: Ignore images in the truth that no model was asked about, instead of raising an error.

        Raises:
            SettingsError: The comparison has no schema, or the truth does not match the schema or the images.
        """
        if self.grid.schema is None:
            raise SettingsError(
                "score() needs structured answers: pass schema= to compare(). To rate texts, use label()."
            )
        fields, documents = self.grid.schema.fields, self.grid.documents
        if self.rows.is_large:  # first, so that only answers that are scored are kept
            truth = read_truth(truth, documents, fields, ignore_unknown=ignore_unknown)
        return score_predictions(
            self._predictions(self.grid.schema),
            truth,
            fields,
            tolerance=tolerance,
            text=text,
            lists=lists,
            ignore_unknown=ignore_unknown,
        )

    def _predictions(self, schema: Schema) -> Iterator[Prediction]:
        """Iterate over the answers by field; with several prompts, each is scored separately."""
        names = prompt_names(self.grid.prompts)
        return (
            Prediction(
                f"{row.model}: {names[row.prompt]}" if names[row.prompt] else row.model,
                self.document(index),
                flatten(schema.dump(row.parsed), schema.fields) if row.finished else None,
                row.error,
                row.usd,
                row.attempts,
                names[row.prompt],
            )
            for index, row in enumerate(self.rows)
        )

    def agreement(self) -> list[Agreement]:
        """Return the agreement of each pair of annotators, with Cohen's kappa if scikit-learn is installed.

        A warning says so if no two annotators have scored the same answer.
        """
        return agreements(self._labels())

    def plot(self) -> Figure:
        """Plot the scores by model: each label as a dot, the mean with its standard deviation, and n."""
        names = [str(model) for model in self.grid.models]
        answers = ((names[row % len(names)], self.rows.key(row)) for row in self.rows.finished_indices())
        return plot(answers, list(dict.fromkeys(names)), self._labels())

    def retry_errors(self, *, progress: bool = True) -> Comparison:
        """Repeat the calls that failed or were not made, within the remaining budget.

        Args:
            progress: Show the progress.

        Returns:
            A new comparison; this one does not change.
        """
        budget = run_budget(self.grid.models, self.budget.limit, spent=self.budget.spent)
        rows = self.rows.without_errors()
        with self.opened_store() as store:
            run = Run(self.grid, store, budget, replace(self.options, progress=progress, batch=None), rows=rows)
            run.execute()
        return comparison_from(run, self._store)

    def _repr_html_(self) -> str:
        return gallery.comparison_html(self.grid, self.rows, self.incomplete) + self.batch_html

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        return [*comparison_parts(self.grid, self.rows, self.incomplete), *filter(None, [self.batch_status])]

    def __repr__(self) -> str:
        incomplete = f", {len(self.rows.waiting):,} in batches" if self.rows.waiting else ""
        incomplete += f", incomplete: {self.incomplete}" if self.incomplete else ""
        rows = pluralize(len(self.rows), "row")
        return f"Comparison({rows}, {self.rows.answered} answered, {self.rows.failed} failed{incomplete})"


def comparison_from(run: Run | BatchRun, store: Store | Path) -> Comparison:
    """Return a run's results.

    Args:
        run: The finished run.
        store: Its store, or the path of a store to open when needed.
    """
    return Comparison(
        run.rows,
        grid=run.grid,
        store=store,
        budget=run.budget,
        incomplete=run.incomplete,
        options=run.options,
    )
