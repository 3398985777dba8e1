"""Tables as Parquet files, written some thousand rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from vision_nb.comparison.tables import Column, Record, frames
from vision_nb.errors import SettingsError
from vision_nb.paths import writable_path

_ROWS = 10_000  # of a row group, which are in memory together


def write_parquet(path: str | Path, columns: Sequence[Column], records: Callable[[], Iterable[Record]]) -> None:
    """Write a table as Parquet.

    Args:
        path: The file; it is overwritten if it exists.
        columns: The table's columns.
        records: Begins an iteration over its rows.

    Raises:
        SettingsError: pyarrow is not installed, the file cannot be written, or a column has values of several types.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise SettingsError('to_parquet() needs pyarrow: pip install "vision-nb[parquet]", or use to_csv().') from error
    tables = frames(columns, records(), _ROWS)
    first = next(tables)
    try:
        schema = _joined_schema(pa.Schema.from_pandas(first, preserve_index=False), columns, records)
        with writable_path(path, ".parquet", ".pq") as file, pq.ParquetWriter(file, schema) as writer:
            for table in chain([first], tables):
                writer.write_table(pa.Table.from_pandas(table, schema=schema, preserve_index=False))
    except (pa.ArrowException, OverflowError) as error:
        raise SettingsError(
            f"The table cannot be written as Parquet ({error!s:.120}): choose other columns=, or use to_csv()."
        ) from error


def _joined_schema(schema: Any, columns: Sequence[Column], records: Callable[[], Iterable[Record]]) -> Any:
    """Return the schema of all rows from that of the first ones, in which a column may be empty or have no gaps.

    The columns of all tables then have the same types, whatever their rows: files can be read as one data set.
    """
    import pyarrow as pa

    types = {"text": pa.large_string(), "integer": pa.int64(), "number": pa.float64()}
    unknown: list[Column] = []
    for column in columns:
        place = schema.get_field_index(column.name)
        if column.kind is not None:
            schema = schema.set(place, schema.field(place).with_type(types[column.kind]))
        elif _is_open(schema.field(place).type):
            unknown.append(column)
    if unknown:  # lists, decimals and mixed values: their types depend on all rows
        parts = (pa.Schema.from_pandas(table, preserve_index=False) for table in frames(unknown, records(), _ROWS))
        found = pa.unify_schemas([part.remove_metadata() for part in parts], promote_options="permissive")
        for field in found:
            schema = schema.set(schema.get_field_index(field.name), field)
    return schema


def _is_open(kind: Any) -> bool:
    """Return whether another part of a column may have another type."""
    import pyarrow as pa

    return bool(
        pa.types.is_null(kind) or pa.types.is_nested(kind) or pa.types.is_decimal(kind) or pa.types.is_temporal(kind)
    )
