"""`Extraction`: a table of the data read from images, with corrections by people."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vision_nb.checks.arguments import checks_arguments
from vision_nb.checks.indices import item_at
from vision_nb.checks.numbers import plain_data
from vision_nb.comparison import hooks
from vision_nb.comparison.batch_result import BatchResult
from vision_nb.comparison.disagreement import disputed_fields
from vision_nb.comparison.extraction_html import extraction_html, extraction_page
from vision_nb.comparison.field_table import Values, explode_field
from vision_nb.comparison.grid import Row
from vision_nb.comparison.labels import default_annotator
from vision_nb.comparison.page_export import PageOptions, write_page
from vision_nb.comparison.parquet import write_parquet
from vision_nb.comparison.result import Comparison
from vision_nb.comparison.row_tables import extraction_parts
from vision_nb.comparison.scoring import Score
from vision_nb.comparison.styled_table import styled_table
from vision_nb.comparison.tables import Record, check_names, chosen, extraction_columns, field_names, frame
from vision_nb.comparison.truth import Truth
from vision_nb.errors import ImageError, SchemaError, SettingsError
from vision_nb.paths import writable_path
from vision_nb.rendering.data_frame import without_formulas
from vision_nb.rendering.terminal import TerminalPart
from vision_nb.schema.fields import Field, flatten, with_changes
from vision_nb.schema.schema import Schema
from vision_nb.storage.annotations import Review

if TYPE_CHECKING:
    import pandas as pd


@checks_arguments
class Extraction(BatchResult):
    """The data of each image, ordered by image, then model; ``extraction[0].parsed`` is the first value.

    `extract` returns an `Extraction`. You can also create one from a comparison that has a schema.

    Args:
        comparison: A comparison with a schema.

    Attributes:
        comparison: The calls and their results, with the store and the budget.
        schema: The schema of the values.
        incomplete: Why some calls were not made, or None.

    Raises:
        SettingsError: The comparison has no schema.

    >>> schema = {"type": "object", "properties": {"width": {"type": "integer"}}}
    >>> sizes = vn.extract([vn.samples.path("chart")], schema, model="demo", progress=False)
    >>> sizes[0].parsed, sizes.failed
    ({'width': 1000}, [])
    """

    schema: Schema

    def __init__(self, comparison: Comparison) -> None:
        if comparison.grid.schema is None:
            raise SettingsError("This comparison has no schema: pass schema= to compare().")
        self.comparison = comparison
        self.schema = comparison.grid.schema

    @property
    def _comparison(self) -> Comparison:
        return self.comparison

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields of the schema; nested ones have paths such as "total.currency"."""
        return self.schema.fields

    @property
    def incomplete(self) -> str | None:
        """Why some calls were not made, or None."""
        return self.comparison.incomplete

    @property
    def failed(self) -> list[Row]:
        """The rows with an error."""
        return self.comparison.errors

    def values(self, index: int) -> Values | None:
        """Return the answer of a row as JSON data by field path, or None if there is none.

        Args:
            index: The row's index.
        """
        row = self.comparison[index]
        return flatten(self.schema.dump(row.parsed), self.fields) if row.finished else None

    def to_dataframe(
        self,
        *,
        columns: Sequence[str] | None = None,
        explode: str | None = None,
        reviewed: bool = False,
        thumbnails: bool = False,
    ) -> Any:
        """Return a pandas DataFrame with a row per image and model, and a column per field.

        The columns are image, the fields, error, attempts, model, input_tokens, output_tokens and usd. A nested field
        is called "total.currency"; a field with the name of another column gets the prefix "value.". Integers have the
        dtype Int64, other numbers float64, booleans boolean, text string, enumerations category, dates and date-times
        datetime64, and durations timedelta64. Decimals stay `decimal.Decimal` and lists stay lists.

        Args:
            columns: The columns to return, in this order; None for all. Unless ``explode`` is given, others are not
                kept in memory.
            explode: The name of a list field; the table then has a row per item. The fields of its objects become
                columns such as "items.price".
            reviewed: For images that a person has reviewed, use the reviewed data; add the columns reviewer and
                reviewed_at.
            thumbnails: Return a styled table for display, with small images.

        Raises:
            SettingsError: A column does not exist, ``explode`` does not name a list field, or ``thumbnails`` needs the
                column "image".
            StoreError: The extraction has more than 20,000 rows, and its store no longer has their answers.
        """
        import pandas as pd

        known = extraction_columns(self.fields, reviewed=reviewed)
        table = frame(known if explode is not None else chosen(known, columns), self._records(reviewed=reviewed))
        documents = pd.Series(range(len(self)))
        if explode is not None:
            table.insert(0, "_row", documents)
            table = explode_field(table, explode, self.fields, field_names(self.fields, reviewed=reviewed))
            documents = table.pop("_row")
            if columns is not None:
                check_names(list(table.columns), columns)
                table = table[list(dict.fromkeys(columns))]
        if thumbnails:
            return styled_table(table, [self.document(int(row)) for row in documents])
        return without_formulas(table)

    def _records(self, *, reviewed: bool) -> Iterator[Record]:
        """Iterate over the rows of a table."""
        reviews = self.reviews() if reviewed else {}
        return (Record(row, self.schema, review=reviews.get(index)) for index, row in enumerate(self))

    def to_parquet(self, path: str | Path, *, columns: Sequence[str] | None = None, reviewed: bool = False) -> None:
        """Write the table as Parquet, some thousand rows at a time; requires pyarrow.

        Args:
            path: The file, whose name ends in .parquet or .pq; it is overwritten if it exists.
            columns: As for `to_dataframe`.
            reviewed: As for `to_dataframe`.

        Raises:
            SettingsError: pyarrow is not installed, a column does not exist or has values of several types, or the file
                cannot be written.
            StoreError: As for `to_dataframe`.
        """
        selected = chosen(extraction_columns(self.fields, reviewed=reviewed), columns)
        write_parquet(path, selected, lambda: self._records(reviewed=reviewed))

    def to_csv(self, path: str | Path, **options: Any) -> None:
        """Write the table as CSV, which Excel opens too: in UTF-8 with a byte order mark.

        Text is written unchanged. Spreadsheet programs treat text that begins with "=", "+", "-" or "@" as a formula:
        if you do not trust the images and the model, import the columns as text.

        Args:
            path: The file, whose name ends in .csv or .csv.gz; it is overwritten if it exists.
            **options: Options of `to_dataframe`.
        """
        with writable_path(path, ".csv", ".csv.gz") as file:
            self.to_dataframe(**options).to_csv(file, index=False, encoding="utf-8-sig")

    def to_html(
        self, path: str | Path | None = None, *, title: str = "Extraction", image_side: int = 240, page_size: int = 50
    ) -> str | None:
        """Write the table as one HTML file that works offline.

        The file contains all images and rows, filters and a search, and loads nothing.

        Args:
            path: The file, whose name ends in .html or .htm; it is overwritten if it exists. None returns the HTML.
            title: The page's title.
            image_side: The largest width and height of an image, in pixels.
            page_size: The number of rows that are shown at once.

        Raises:
            SettingsError: The file cannot be written, or a number is too small or too large.
        """
        options = PageOptions(title, image_side, page_size)
        return write_page(lambda: extraction_page(self, options), path)

    def to_json(self, path: str | Path, **options: Any) -> None:
        """Write the table as JSON, with an object per row.

        Args:
            path: The file, whose name ends in .json or .json.gz; it is overwritten if it exists.
            **options: Options of `to_dataframe`.
        """
        with writable_path(path, ".json", ".json.gz") as file:
            table: pd.DataFrame = self.to_dataframe(**options)
            table.to_json(file, orient="records", date_format="iso", default_handler=str, indent=1)

    def retry(self, *, progress: bool = True) -> Extraction:
        """Ask again about the images that failed or were not asked about, within the remaining budget.

        Args:
            progress: Show the progress.

        Returns:
            A new extraction; this one does not change.
        """
        return Extraction(self.comparison.retry_errors(progress=progress))

    def review(self, **options: Any) -> Any:
        """Open a form in which a person checks and corrects the data beside each image.

        Args:
            **options: Options of `ReviewPanel`: reviewer, order and show.

        Raises:
            SettingsError: No image can be shown.
        """
        return hooks.open_review_panel(self, **options)

    @cached_property
    def review_keys(self) -> dict[int, str]:
        """The key of each row's review in the store; rows whose image cannot be read have none.

        All models share the reviews of an image. Later schemas of the same name share them too if the data still
        matches.
        """
        keys: dict[int, str] = {}
        with self.comparison.opened_store() as store:
            grid = self.comparison.grid
            for batch in grid.batches():
                for place, digest in zip(batch, store.digests(grid.documents[batch.start : batch.stop]), strict=True):
                    if not isinstance(digest, ImageError):
                        key = hashlib.sha256(f"{digest} {self.schema.name}".encode()).hexdigest()
                        keys |= dict.fromkeys((row for row, _, _ in grid.rows_of(place)), key)
        return keys

    def _rows_by_document(self) -> dict[int, list[int]]:
        grid = self.comparison.grid
        return {number: [row for row, _, _ in grid.rows_of(number)] for number in range(len(grid.documents))}

    def rows_of(self, index: int) -> list[int]:
        """Return the indices of all rows of a row's image.

        Args:
            index: The row's index.
        """
        grid = self.comparison.grid
        return [row for row, _, _ in grid.rows_of(grid.place(index)[2])]

    def get_review(self, index: int) -> Review | None:
        """Return the latest review of a row's image, or None; reviews that do not match the schema are ignored.

        Args:
            index: The row's index.

        Raises:
            SettingsError: The row does not exist, or its image cannot be read.
        """
        key = self._review_key(index)
        with self.comparison.opened_store() as store:
            review = store.reviews([key]).get(key)
        return review if review is not None and self._is_allowed(review) else None

    def reviews(self) -> dict[int, Review]:
        """Return the latest review of each row that has one; reviews that do not match the schema are ignored."""
        with self.comparison.opened_store() as store:
            found = store.reviews(self.review_keys.values())
        valid = {key: review for key, review in found.items() if self._is_allowed(review)}
        return {index: valid[key] for index, key in self.review_keys.items() if key in valid}

    def set_review(self, index: int, value: Any, *, reviewer: str | None = None) -> None:
        """Save the data of an image that a person confirmed or corrected, replacing the person's earlier review.

        Args:
            index: The index of a row of the image.
            value: A value of the schema; or a dict such as ``{"total": 12.5, "shop.city": "Bonn"}``, in which fields
                that you omit keep their values: those of the latest review, or else of the row's answer.
            reviewer: The person's name; None uses the user's name on this machine.

        Raises:
            SchemaError: The data does not match the schema.
            SettingsError: The row does not exist, its image cannot be read, or a name is not that of a field.
        """
        value = plain_data(value)
        is_dict = isinstance(value, Mapping)
        changed = with_changes(self._saved(index), value, self.fields) if is_dict else self.schema.dump(value)
        review = Review(self.schema.dump(self.schema.validate(changed)), reviewer or default_annotator())
        with self.comparison.opened_store() as store:
            store.put_review(self._review_key(index), review)

    def remove_review(self, index: int, *, reviewer: str | None = None) -> None:
        """Delete a person's review of an image; arguments are as for `set_review`."""
        with self.comparison.opened_store() as store:
            store.remove_review(self._review_key(index), reviewer or default_annotator())

    def _review_key(self, index: int) -> str:
        index = item_at(range(len(self)), index, "row")
        if index not in self.review_keys:
            raise SettingsError(f"The image of row {index} cannot be read, so its data cannot be reviewed.")
        return self.review_keys[index]

    def _is_allowed(self, review: Review) -> bool:
        try:
            self.schema.validate(review.value)
        except SchemaError:
            return False
        return True

    def _saved(self, index: int) -> Mapping[str, Any]:
        """Return the data of a row's latest review, or else of its answer; empty if there is neither."""
        review, row = self.get_review(index), self.comparison[index]
        if review is not None:
            return cast("Mapping[str, Any]", review.value)
        return self.schema.dump(row.parsed) if row.finished else {}

    def by_doubt(self) -> list[int]:
        """Return the index of one row per image, starting with those that need a check.

        The order is: failed, answered only after a repair, answered differently by the models, and then all others.
        """
        doubts: list[tuple[int, int]] = []
        for rows in self._rows_by_document().values():
            answered = [row for row in rows if self.comparison[row].finished]
            if len(answered) < len(rows):
                doubt = 0
            elif any(self.comparison[row].attempts > 1 for row in rows):
                doubt = 1
            else:
                values = [self.values(row) or {} for row in rows]
                doubt = 2 if disputed_fields(values, self.fields) else 3
            doubts.append((doubt, answered[0] if answered else rows[0]))
        return [row for _, row in sorted(doubts)]

    def score(self, truth: Any = None, **options: Any) -> Score:
        """Compare the data with the truth: accuracy by field and model, with intervals and prices.

        Args:
            truth: As for `Comparison.score`; None for the reviews.
            **options: Options of `Comparison.score`.

        Raises:
            SettingsError: The truth cannot be used; the message names the field or image.
        """
        if truth is None:
            reviews, documents = self.reviews(), self.comparison.grid.documents
            values = {at: reviews[rows[0]].value for at, rows in self._rows_by_document().items() if rows[0] in reviews}
            truth = Truth.of_places(values, documents, self.fields) if values else self.truth()
        return self.comparison.score(truth, **options)

    def truth(self) -> Mapping[str, Any]:
        """Return the reviewed data by image name, for `score` and for other comparisons of the same images.

        Raises:
            SettingsError: No image has been reviewed.
        """
        reviews = self.reviews()
        if not reviews:
            raise SettingsError("No image has been reviewed: open .review(), or pass the truth to score().")
        return {self.comparison[index].image: review.value for index, review in reviews.items()}

    def _repr_html_(self) -> str:
        return extraction_html(self) + self.batch_html

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        grid, rows = self.comparison.grid, self.comparison.rows
        parts = extraction_parts(grid, rows, self.values, self.fields, self.incomplete)
        return [*parts, *filter(None, [self.batch_status])]

    def __repr__(self) -> str:
        return repr(self.comparison).replace("Comparison", "Extraction", 1)
