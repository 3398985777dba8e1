"""The rows of a grid: in memory, or read from the store where there are many."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, overload

from vision_nb.checks.indices import item_at
from vision_nb.comparison.grid import Grid, Row, answered, image_key, row_keys
from vision_nb.comparison.tally import Tally
from vision_nb.errors import StoreError
from vision_nb.paths import shown_path, without_folders
from vision_nb.rendering.format import pluralize
from vision_nb.responses import Response
from vision_nb.storage.answer_keys import AnswerKeys, encoded_digests
from vision_nb.storage.answers import AnswerFacts, read_answers

ROWS_IN_MEMORY = 20_000
"""The number of rows up to which a comparison keeps its answers in memory; a larger one reads them from the store."""

PAGE = 1000
"""The rows that are read from the store together."""

_CACHED_PAGES = 10
_ANSWERED, _FROM_STORE, _REPAIRED, _DEMO = 1, 2, 4, 8  # flags of a row whose answer is read from the store


class Rows(Sequence[Row]):
    """The rows of a grid, ordered by prompt, then image, then model.

    Up to `ROWS_IN_MEMORY` rows are kept in memory. Of a larger grid, only errors and answers that the store does not
    have are kept; other answers are read from the store, a thousand at a time. Iterate over the rows in their order:
    then each answer is read once, and is not kept.

    Args:
        grid: The models, prompts and images.
        path: The file of the store that has the answers.
        rows: The rows so far, if there are any.

    Attributes:
        grid: The models, prompts and images.
        answered: The number of rows with an answer.
        failed: The number of rows with an error.
        from_store: The number of rows whose answers came from the store.
        is_large: Whether there are too many rows to keep in memory.
        waiting: Where each row waits whose question is in a batch, such as "batch_123", by the row's index.
    """

    def __init__(self, grid: Grid, path: Path, rows: Sequence[Row] = ()) -> None:
        self.grid, self._path = grid, path
        self.is_large = len(grid) > ROWS_IN_MEMORY
        self.answered = self.failed = self.from_store = 0
        self._models = [str(model) for model in grid.models]
        self._digests: list[bytes | None] = [None] * len(grid.documents)
        self._keys: dict[tuple[int, int], AnswerKeys] = {}  # by the index of the model and of the prompt
        self._held: dict[int, Row] = {}
        self.waiting: dict[int, str] = {}
        self._flags = bytearray(len(grid))
        self._stored_tally = Tally()  # the prices of answers that are not in memory
        self._pages: OrderedDict[int, list[Row]] = OrderedDict()
        self._lock = Lock()
        for index, row in enumerate(rows):
            self.put(index, row)

    def __len__(self) -> int:
        return len(self._flags)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        places = item_at(range(len(self)), index, "row", "choose by row.image instead of")
        if isinstance(places, range):
            return tuple(map(self._row, places))
        return self._row(places)

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, len(self), PAGE):
            yield from self._read(self._page(start))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Rows, tuple)):
            return NotImplemented
        return len(self) == len(other) and all(map(operator.eq, self, other))

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (tuple(self),)  # without the models and their connections

    def __repr__(self) -> str:
        return f"Rows({pluralize(len(self), 'row')}, {self.answered:,} answered, {self.failed:,} failed)"

    def _row(self, index: int) -> Row:
        if not self._flags[index]:
            return self._unstored(index)
        start = index - index % PAGE
        with self._lock:
            page = self._pages.get(start)
            if page is None or not page[index - start].finished:  # answered since then
                page = self._pages[start] = self._read(self._page(start))
            self._pages.move_to_end(start)
            while len(self._pages) > _CACHED_PAGES:
                self._pages.popitem(last=False)
        return page[index - start]

    def select(self, indices: Sequence[int]) -> list[Row]:
        """Return some rows; answers in the store are read together, also if they are far apart.

        Args:
            indices: The rows' indices.
        """
        return [row for start in range(0, len(indices), PAGE) for row in self._read(indices[start : start + PAGE])]

    def _page(self, start: int) -> range:
        return range(start, min(start + PAGE, len(self)))

    def _unstored(self, index: int) -> Row:
        return self._held.get(index) or self._empty(index, self._key(*self.grid.place(index)))

    def unanswered(self, index: int, key: str) -> Row:
        """Return a row without an answer.

        Args:
            index: The row's index.
            key: Its key, as `key` returns it.
        """
        return self._held.get(index) or self._empty(index, key)

    def _empty(self, index: int, key: str, **result: Any) -> Row:
        model, prompt, place = self.grid.place(index)
        document, batch = self.grid.documents[place], self.waiting.get(index, "")
        texts = self._models[model], self.grid.prompts[prompt], document.name
        return Row(*texts, key, document=document, batch=batch, **result)

    def _read(self, indices: Sequence[int]) -> list[Row]:
        """Return some rows with one read of the store; those in memory are not copied.

        Raises:
            StoreError: The store no longer has an answer.
        """
        keys = {index: self._key(*self.grid.place(index)) for index in indices if self._flags[index]}
        by_model = [
            (llm.pricing, [key for index, key in keys.items() if index % len(self._models) == model])
            for model, llm in enumerate(self.grid.models)
        ]
        answers = read_answers(self._path, by_model) if keys else {}
        return [
            self._stored(index, keys[index], answers.get(keys[index])) if index in keys else self._unstored(index)
            for index in indices
        ]

    def _stored(self, index: int, key: str, answer: Response | None) -> Row:
        if answer is None:
            title = self._empty(index, key).image_title
            raise StoreError(
                f"The store {shown_path(self._path)} no longer has the answer of row {index:,} ({title}), "
                "and a comparison of this size keeps its answers there: run it again to ask for what is missing."
            )
        parsed = None if self.grid.schema is None else self.grid.schema.parse(answer.text)
        from_store = bool(self._flags[index] & _FROM_STORE)
        return self._empty(index, key, **answered(answer, from_store=from_store, parsed=parsed))

    def key(self, index: int) -> str:
        """Return the key of a row's answer in the store; "" if it is not known."""
        if index in self._held:
            return self._held[index].key
        return self._key(*self.grid.place(index))

    def keys_of(self, model: int, places: Sequence[tuple[int, int, int]]) -> dict[int, str]:
        """Return the keys of some rows of a model whose images are identified, by the row's index.

        Args:
            model: The model's index.
            places: The indices (row, prompt, document) of each row.
        """
        images = {document: self._encoded_image(document) for document in {document for _, _, document in places}}
        by_prompt = [self._answer_keys(model, prompt) for prompt in range(len(self.grid.prompts))]
        return {row: by_prompt[prompt].of(images[document]) for row, prompt, document in places}

    def _key(self, model: int, prompt: int, document: int) -> str:
        if self._digests[document] is None:
            return ""
        return self._answer_keys(model, prompt).of(self._encoded_image(document))

    def _answer_keys(self, model: int, prompt: int) -> AnswerKeys:
        keys = self._keys.get((model, prompt))
        if keys is None:
            keys = row_keys(self.grid.models[model], self.grid.prompts[prompt], self.grid.schema)
            self._keys[model, prompt] = keys
        return keys

    def _encoded_image(self, document: int) -> bytes:
        digest = (self._digests[document] or b"").hex()
        return encoded_digests([image_key(digest, self.grid.documents[document].detail)])

    def content(self, document: int) -> bytes:
        """Return what is the same for equal images with the same detail level; empty if it is not known."""
        digest, detail = self._digests[document] or b"", self.grid.documents[document].detail
        return digest + detail.encode() if digest and detail else digest

    def is_finished(self, index: int) -> bool:
        """Return whether a row has an answer."""
        return self._flags[index] > 0 or (index in self._held and self._held[index].finished)

    def is_done(self, index: int) -> bool:
        """Return whether a row has an answer or an error."""
        if self._flags[index]:
            return True
        row = self._held.get(index)
        return row is not None and (row.finished or row.error is not None)

    def open_places(self, model: int, documents: range) -> list[tuple[int, int, int]]:
        """Return the indices (row, prompt, document) of a model's rows that have neither an answer nor an error.

        Args:
            model: The model's index.
            documents: The indices of the images.
        """
        return [place for place in self.places(model, documents) if not self.is_done(place[0])]

    def places(self, model: int, documents: Iterable[int]) -> Iterator[tuple[int, int, int]]:
        """Iterate over the indices (row, prompt, document) of a model's rows about some images."""
        prompts, step = range(len(self.grid.prompts)), len(self.grid.models) * len(self.grid.documents)
        for document in documents:
            first = self.grid.index(model, 0, document)
            for prompt in prompts:
                yield first + prompt * step, prompt, document

    def finished_indices(self) -> Iterator[int]:
        """Iterate over the indices of the rows with an answer."""
        return filter(self.is_finished, range(len(self)))

    def keys(self) -> Iterator[str]:
        """Iterate over the keys of the rows with an answer."""
        return map(self.key, self.finished_indices())

    def errors(self) -> list[Row]:
        """Return the rows with an error."""
        return [self._held[index] for index in self.failed_indices()]

    def failed_indices(self) -> list[int]:
        """Return the indices of the rows with an error."""
        return sorted(index for index, row in self._held.items() if row.error is not None)

    def common_failure(self) -> str | None:
        """Return a sentence with the error of all rows, if there are several and all have the same one."""
        if not 1 < len(self) == self.failed or len(errors := {row.shown_error for row in self._held.values()}) > 1:
            return None
        return f"All {len(self):,} calls failed: {errors.pop()}"

    def tally(self) -> Tally:
        """Count the rows, and add up what was paid for them in this run."""
        tally = replace(self._stored_tally)
        for flags in range(_ANSWERED, 2 * _DEMO):
            count = self._flags.count(flags)
            tally.answered += count
            tally.repaired += count * bool(flags & _REPAIRED)
            tally.demo += count * bool(flags & _DEMO)
            if not flags & _FROM_STORE:
                tally.paid += count
                tally.paid_demo += count * bool(flags & _DEMO)
        for row in self._held.values():
            tally.add(row)
        return tally

    def notes(self) -> list[str]:
        """Return the notes about duplicate images and prompts."""
        documents = range(len(self._digests))
        return self.grid.duplicate_notes(
            [self.content(one) or self.key(self.grid.index(0, 0, one)) for one in documents]
        )

    def has_digest(self, document: int, digest: str) -> bool:
        """Return whether this is the digest that was noted for an image; see `identify`."""
        return self._digests[document] == bytes.fromhex(digest)

    def identify(self, document: int, digest: str) -> None:
        """Note the digest of an image's content, from which the keys of its rows are made.

        Args:
            document: The image's index.
            digest: The digest, in hexadecimal.
        """
        new = bytes.fromhex(digest)
        if self._digests[document] not in (None, new):  # a row of an earlier run has the answer to the earlier image
            for row, _, _ in self.grid.rows_of(document):
                if self._flags[row]:
                    self._hold(row, self[row])
        self._digests[document] = new
        for index, model, prompt in self.grid.rows_of(document) if self._held else ():
            held = self._held.get(index)
            if held is not None and not held.finished:  # it failed in an earlier run
                self._held[index] = replace(held, key=self._key(model, prompt, document))

    def _hold(self, index: int, row: Row) -> None:
        """Keep a row in memory that was read from the store, because other answers will have its key."""
        if not row.from_store:  # rows in memory are added up one by one
            self._stored_tally.usd -= row.usd or 0
            self._stored_tally.unpriced -= row.usd is None
        self.put(index, row)

    def put(self, index: int, row: Row, *, is_stored: bool = False) -> None:
        """Replace a row.

        Args:
            index: The row's index.
            row: The row.
            is_stored: Whether the store has its answer, so that a large comparison need not keep it.
        """
        self._count(index, -1)
        if self.waiting.pop(index, "") or row.batch:
            row = replace(row, batch="")
        if is_stored and self.is_large and row.key == self._key(*self.grid.place(index)):
            self._set_flags(index, from_store=row.from_store, attempts=row.attempts, is_demo=row.is_demo)
            if not row.from_store:
                self._stored_tally.usd += row.usd or 0
                self._stored_tally.unpriced += row.usd is None
        else:
            self._held[index], self._flags[index] = row, 0
        self._count(index, 1)

    def wait(self, index: int, batch: str) -> None:
        """Note that the question of a row without a result waits in a batch.

        Args:
            index: The row's index.
            batch: What to call the batch.
        """
        self._held.pop(index, None)
        self.waiting[index] = batch

    def stop_waiting(self, indices: Iterable[int]) -> None:
        """Note that the questions of some rows do not wait in a batch any more."""
        for index in indices:
            self.waiting.pop(index, "")

    def put_facts(self, found: Mapping[int, AnswerFacts]) -> None:
        """Note that the store has the answers of some rows, in a large comparison.

        Args:
            found: What is kept of the answers, by the row's index.
        """
        for index, facts in found.items():
            self._count(index, -1)
            self.waiting.pop(index, "")
            self._set_flags(index, from_store=True, attempts=facts.attempts, is_demo=facts.is_demo)
        self.answered += len(found)
        self.from_store += len(found)

    def _set_flags(self, index: int, *, from_store: bool, attempts: int, is_demo: bool) -> None:
        self._held.pop(index, None)
        self._flags[index] = _ANSWERED | _FROM_STORE * from_store | _REPAIRED * (attempts > 1) | _DEMO * is_demo

    def copy_result(self, first: int, index: int) -> None:
        """Give a row the result of the same question about an equal image, at no cost.

        Args:
            first: The index of the row with the result.
            index: The row's index.
        """
        flags, own = self._flags[first], self._unstored(index)
        if flags:
            self.put_facts({index: AnswerFacts(1 + bool(flags & _REPAIRED), bool(flags & _DEMO))})
        elif (done := self._held[first]).finished:
            self.put(index, replace(done, image=own.image, document=own.document, from_store=True))
        else:
            error = done.error and without_folders(done.error, done.image, own.image_title)  # it names the other image
            self.put(index, replace(own, error=error))

    def _count(self, index: int, change: int) -> None:
        if self._flags[index]:
            self.answered += change
            self.from_store += change * bool(self._flags[index] & _FROM_STORE)
        elif index in self._held:
            row = self._held[index]
            self.answered += change * row.finished
            self.failed += change * (row.error is not None)
            self.from_store += change * row.from_store

    def without_errors(self) -> Rows:
        """Return a copy whose failed rows can be asked again; this one does not change."""
        copy = Rows(self.grid, self._path)
        copy._flags, copy._digests = self._flags[:], self._digests[:]
        copy._stored_tally = replace(self._stored_tally)
        copy._held = {index: row if row.finished else replace(row, error=None) for index, row in self._held.items()}
        copy.answered, copy.from_store = self.answered, self.from_store
        for (model, prompt), keys in self._keys.items():
            if keys != row_keys(self.grid.models[model], self.grid.prompts[prompt], self.grid.schema):
                changed = (self.grid.index(model, prompt, document) for document in range(len(self._digests)))
                for index in changed:  # the model's parameters have changed: other answers now have its keys
                    if self._flags[index]:
                        copy._hold(index, self[index])
        return copy
