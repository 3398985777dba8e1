"""Finds the rows of a grid whose answers are not in the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import NamedTuple

from vision_nb.comparison.calls import Calls
from vision_nb.comparison.grid import Grid, Row
from vision_nb.comparison.rows import Rows
from vision_nb.errors import SchemaError, VisionError
from vision_nb.responses import Response, SumOfAttempts
from vision_nb.storage.answers import AnswerFacts
from vision_nb.store import Store
from vision_nb.user_warnings import to_thread


class Missing(NamedTuple):
    """A row whose answer must be asked for.

    Attributes:
        row: The row's index.
        document: The index of its image.
        first: The index of the first row with the same question about an equal image: often, the row itself.
    """

    row: int
    document: int
    first: int


class Lookup:
    """Fills in the rows of a grid from the store, image by image, and finds the missing ones.

    Args:
        grid: The models, prompts and images.
        rows: The rows; those with an answer or error are left as they are.
        store: The store of answers.
        calls: Reads the images.
        resume: Use the answers in the store; if False, they all count as missing.
    """

    def __init__(self, grid: Grid, rows: Rows, store: Store, calls: Calls, *, resume: bool) -> None:
        self._grid, self._rows, self._store, self._calls, self._resume = grid, rows, store, calls, resume
        self._identified = 0  # images so far
        self._firsts: dict[bytes, int] = {}  # by content: the first equal image
        self._other_firsts: dict[str, int] = {}  # by key, where that image has an answer from before it changed
        self._lock = asyncio.Lock()

    async def missing(self, model: int) -> AsyncIterator[list[Missing]]:
        """Fill in a model's rows from the store, and yield the missing ones in batches.

        Several models may be looked up at the same time. A row whose image cannot be read has the error.

        Args:
            model: The model's index.

        Raises:
            ClusterError: The connection to the cluster was lost.
        """
        for batch in self._grid.batches():
            await self._identify(batch)
            wanted = self._rows.open_places(model, batch)
            found: Mapping[int, Row | AnswerFacts] = {}
            if self._resume and wanted and self._rows.is_large:
                found = facts = await to_thread(self._find_facts, model, wanted)
                self._rows.put_facts(facts)
            elif self._resume and wanted:
                found = rows = await to_thread(self._find_rows, model, wanted)
                for index, row in rows.items():
                    self._rows.put(index, row)
            yield [
                Missing(index, document, self._first(index, model, prompt, document))
                for index, prompt, document in wanted
                if index not in found
            ]

    def _first(self, row: int, model: int, prompt: int, document: int) -> int:
        same = self._firsts.setdefault(self._rows.content(document), document)  # it may have changed since then
        first = self._grid.index(model, prompt, same)
        if first == row:
            return row
        key = self._rows.key(row)
        return first if self._rows.key(first) == key else self._other_firsts.setdefault(key, row)

    async def _identify(self, batch: range) -> None:
        """Compute the digests of the images that have rows to fill in, once for all models."""
        async with self._lock:
            if batch.stop <= self._identified:
                return
            places = [place for place in batch if not all(self._rows.is_done(row) for row in self._rows_of(place))]
            digests = await self._calls.digests([self._grid.documents[place] for place in places])
            for place, digest in zip(places, digests, strict=True):
                if isinstance(digest, VisionError):
                    for row in self._rows_of(place):
                        if not self._rows.is_done(row):
                            self._rows.put(row, self._rows[row].with_error(digest))
                else:
                    self._rows.identify(place, digest)
                    self._firsts.setdefault(self._rows.content(place), place)
            self._identified = batch.stop

    def _rows_of(self, document: int) -> Iterator[int]:
        return (row for row, _, _ in self._grid.rows_of(document))

    def _find_facts(self, model: int, wanted: Sequence[tuple[int, int, int]]) -> dict[int, AnswerFacts]:
        """Return what the store has for some rows of a large comparison."""
        schema, keys = self._grid.schema, self._rows.keys_of(model, wanted)
        facts = self._store.facts(keys.values(), with_text=schema is not None)
        return {
            index: facts[key]
            for index, key in keys.items()
            if key in facts and (schema is None or self._parses(facts[key].text))
        }

    def _find_rows(self, model: int, wanted: Sequence[tuple[int, int, int]]) -> dict[int, Row]:
        """Return some rows with the answers that the store has."""
        keys = self._rows.keys_of(model, wanted)
        answers = self._store.get_many(keys.values(), self._grid.models[model].pricing)
        rows = ((index, self.row_from(index, answers[key])) for index, key in keys.items() if key in answers)
        return {index: row for index, row in rows if row is not None}

    def _parses(self, text: str) -> bool:
        try:
            return self._grid.schema is not None and self._grid.schema.parse(text) is not None
        except SchemaError:
            return False

    def row_from(self, index: int, answer: Response) -> Row | None:
        """Return a row with a stored answer; None if the answer no longer passes the schema's own checks.

        Args:
            index: The row's index.
            answer: The answer, as the store has it.
        """
        schema = self._grid.schema
        try:
            parsed = None if schema is None else schema.parse(answer.text)
        except SchemaError:
            return None
        if answer.pricing is None or isinstance(answer.pricing, SumOfAttempts):  # its attempts may have no price yet
            answer = answer.priced_by(self._grid.models[index % len(self._grid.models)].pricing)
        return self._rows[index].with_answer(answer, from_store=True, parsed=parsed)
