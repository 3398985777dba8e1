"""The DataFrame of an extraction: a column per field, with the dtype of the field's type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from vision_nb.errors import SettingsError
from vision_nb.schema.fields import Field

if TYPE_CHECKING:
    import pandas as pd

Values = Mapping[str, Any]
"""The values of an image's fields as JSON data, by the field's path."""


def column_names(fields: Iterable[Field], taken: Iterable[str]) -> dict[str, str]:
    """Return the column of each field: its path, with the prefix "value." if another column has this name.

    >>> column_names([Field("total", "number"), Field("model", "text")], ["image", "model"])
    {'total': 'total', 'model': 'value.model'}
    """
    names = set(taken)
    return {field.path: f"value.{field.path}" if field.path in names else field.path for field in fields}


def explode_field(table: pd.DataFrame, path: str, fields: Sequence[Field], names: Mapping[str, str]) -> pd.DataFrame:
    """Return the table with a row for each item of a list field; rows with an empty list stay.

    Args:
        table: The table.
        path: The path of the list field.
        fields: The fields of the table.
        names: The names of the columns, by the field's path.

    Raises:
        SettingsError: The field does not exist or is not a list.
    """
    import pandas as pd

    lists = {field.path: field for field in fields if field.kind == "list"}
    if not isinstance(path, str) or path not in lists:
        hint = f"the lists are {', '.join(map(repr, lists))}" if lists else "the schema has no lists"
        raise SettingsError(f"explode={path!r:.80} is not the name of a list field: {hint}.")
    name, field = names[path], lists[path]
    positions: list[int] = []
    items: list[Any] = []
    for position, found in enumerate(table[name]):
        for item in found if isinstance(found, list) and found else [None]:
            positions.append(position)
            items.append(item)
    place = int(table.columns.get_indexer([name])[0])
    exploded = table.iloc[positions].reset_index(drop=True)
    parts = {f"{name}.{part.path}" if part.path else name: (part, part.path) for part in field.items}
    if not parts:
        parts = {name: (Field("", "any"), "")}
    columns = pd.DataFrame(
        {
            column: typed_column([_inside(item, inner) for item in items], part)
            for column, (part, inner) in parts.items()
        }
    )
    return pd.concat([exploded.iloc[:, :place], columns, exploded.iloc[:, place + 1 :]], axis="columns")


def _inside(item: Any, path: str) -> Any:
    """Return the value at a path inside an item."""
    for name in path.split(".") if path else ():
        item = item.get(name) if isinstance(item, Mapping) else None
    return item


def typed_column(values: list[Any], field: Field) -> pd.Series[Any]:
    """Return JSON values as a column with the dtype of the field's type.

    The dtypes are Int64, float64, boolean, string, category for enumerations, datetime64 for dates and date-times,
    and timedelta64 for durations. Decimals, times of day, lists and mixed values are Python objects; so is a column
    with a value that its dtype cannot hold, such as an integer of more than 64 bits.

    Args:
        values: JSON data, or None.
        field: The field.
    """
    import pandas as pd

    try:
        return _converted(values, field)
    except (ValueError, TypeError, OverflowError, ArithmeticError):
        return pd.Series(values, dtype="object")


def _converted(values: list[Any], field: Field) -> pd.Series[Any]:
    import pandas as pd

    match field.kind:
        case "integer":
            return pd.Series(values, dtype="Int64")
        case "number":
            return pd.Series(values, dtype="float64")
        case "boolean":
            return pd.Series(values, dtype="boolean")
        case "text":
            return pd.Series(values, dtype="string")
        case "enum":
            choices = [choice for choice in dict.fromkeys(field.choices) if choice is not None]
            if any(value is not None and value not in choices for value in values):
                raise ValueError("a value outside the choices would become a missing one")
            return pd.Series(pd.Categorical(values, categories=choices))
        case "date" | "datetime":
            return pd.Series(pd.to_datetime(pd.Series(values, dtype="object"), format="ISO8601"))
        case "duration":
            return pd.Series(pd.to_timedelta(pd.Series(values, dtype="object")))
        case "decimal":
            return pd.Series([None if value is None else Decimal(str(value)) for value in values], dtype="object")
        case _:
            return pd.Series(values, dtype="object")
