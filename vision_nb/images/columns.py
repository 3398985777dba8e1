"""Nested lists, columns of tables and iterators of image sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set, ValuesView
from typing import Any, cast

from vision_nb.errors import UnsupportedImageError
from vision_nb.images.sources import ImageSource, is_missing, with_name
from vision_nb.rendering.format import type_name


def flatten(sources: Iterable[ImageSource]) -> Iterator[ImageSource]:
    """Yield the sources in nested lists, columns and iterators, which are consumed.

    An image in memory without a name is named by its position in its list or column, such as "images[2]".
    """
    for source in sources:
        elements = elements_of(source)
        if elements is None:
            yield source
        else:
            yield from (with_name(one, f"images[{place}]") for place, one in enumerate(_flat(elements)))


def _flat(sources: Iterable[ImageSource]) -> Iterator[ImageSource]:
    for source in sources:
        elements = elements_of(source)
        yield from [source] if elements is None else _flat(elements)


def elements_of(source: ImageSource) -> Iterable[ImageSource] | None:
    """Return the sources in a list, set, iterator or column, or None if the source is a single one.

    A column is a pandas or polars Series, a pandas Index, a column of the datasets package, an Arrow array, or a numpy
    array of one dimension whose elements are strings or objects. Any other array is an image.

    Raises:
        UnsupportedImageError: The source is a table, or an element of a column is missing.
    """
    if isinstance(source, (str, bytes, bytearray, memoryview, Mapping)) or hasattr(source, "read"):
        return None
    if isinstance(source, (Sequence, Set, ValuesView)) or hasattr(source, "__next__"):
        return cast("Iterable[ImageSource]", source)
    if hasattr(source, "columns") and hasattr(source, "shape"):
        raise UnsupportedImageError(
            f"{type_name(source, 'A')} is not an image: pass one of its columns, such as table['path']."
        )
    if hasattr(source, "dtype"):
        shape = getattr(source, "shape", ())
        is_pixels = not hasattr(source, "iloc") and getattr(source.dtype, "kind", "O") not in "OUST"
        to_list = getattr(source, "to_list", None) or source.tolist  # polars has only the first, numpy only the second
        return None if len(shape) != 1 or is_pixels else _present(source, to_list())
    return _present(source, source.to_pylist()) if hasattr(source, "to_pylist") else None  # pyarrow


def _present(column: Any, values: list[Any]) -> list[Any]:
    """Return the elements of a column; none may be missing."""
    for number, value in enumerate(values):
        if is_missing(value):
            raise UnsupportedImageError(
                f"Item {number} of the {type(column).__name__} is missing: leave it out, as with column.dropna()."
            )
    return values
