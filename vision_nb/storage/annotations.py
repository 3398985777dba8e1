"""Labels of answers, and reviews of images with their drafts, in the store's file."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from vision_nb.rendering.sanitize import replace_surrogates
from vision_nb.storage.store_file import StoreFile

SCHEMA = """
CREATE TABLE IF NOT EXISTS labels (
    key TEXT NOT NULL, annotator TEXT NOT NULL, time REAL NOT NULL, correctness INTEGER, relevance INTEGER,
    comment TEXT NOT NULL DEFAULT '', PRIMARY KEY (key, annotator)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reviews (
    key TEXT NOT NULL, reviewer TEXT NOT NULL, time REAL NOT NULL, value TEXT NOT NULL, PRIMARY KEY (key, reviewer)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS drafts (
    key TEXT NOT NULL, reviewer TEXT NOT NULL, time REAL NOT NULL, value TEXT NOT NULL, PRIMARY KEY (key, reviewer)
) WITHOUT ROWID;
"""
"""The tables."""

_BATCH = 50_000  # keys that are looked up together


@dataclass(frozen=True)
class Label:
    """A person's rating of an answer.

    Attributes:
        correctness: 1 (no answer, or made up) to 5 (answers perfectly), or None.
        relevance: 1 to 5, or None.
        comment: Free text.
        annotator: The name of the person.
        time: When the label was written, in seconds since 1970.
    """

    correctness: int | None = None
    relevance: int | None = None
    comment: str = ""
    annotator: str = ""
    time: float = 0.0


@dataclass(frozen=True)
class Review:
    """The data of an image as a person corrected or confirmed it.

    Attributes:
        value: JSON data.
        reviewer: The name of the person.
        time: When the review was written, in seconds since 1970.
    """

    value: Any
    reviewer: str = ""
    time: float = 0.0


class AnnotationStore(StoreFile):
    """The part of a store that holds labels, reviews and drafts."""

    def put_label(self, key: str, label: Label) -> None:
        """Write a label, replacing the annotator's earlier label of this answer."""
        values = (
            key,
            replace_surrogates(label.annotator),
            label.time or time.time(),
            label.correctness,
            label.relevance,
            replace_surrogates(label.comment),
        )
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO labels VALUES (?, ?, ?, ?, ?, ?)", values)
        self._checkpoint_soon()

    def remove_label(self, key: str, annotator: str) -> None:
        """Delete an annotator's label of an answer."""
        self._remove("labels", "annotator", key, annotator)

    def labels(self, keys: Iterable[str]) -> dict[str, list[Label]]:
        """Return the labels of some answers, by key, oldest first."""
        found: dict[str, list[Label]] = {}
        remaining = iter(keys)
        while batch := list(islice(remaining, _BATCH)):
            with self._locked() as connection:
                rows = connection.execute(
                    "SELECT key, correctness, relevance, comment, annotator, time FROM labels "
                    "WHERE key IN (SELECT value FROM json_each(?)) ORDER BY time",
                    [json.dumps(batch)],
                )
                for key, *values in rows:
                    found.setdefault(key, []).append(Label(*values))
        return found

    def put_review(self, key: str, review: Review) -> None:
        """Write a review, replacing the reviewer's earlier review of this image."""
        self._put("reviews", key, review)

    def remove_review(self, key: str, reviewer: str) -> None:
        """Delete a reviewer's review of an image."""
        self._remove("reviews", "reviewer", key, reviewer)

    def reviews(self, keys: Iterable[str]) -> dict[str, Review]:
        """Return the latest review of each image that has one, by key."""
        with self._locked() as connection:
            rows = connection.execute(
                "SELECT key, value, reviewer, time FROM reviews "
                "WHERE key IN (SELECT value FROM json_each(?)) ORDER BY time",
                [json.dumps(list(keys))],
            ).fetchall()
        return {key: Review(json.loads(value), reviewer, written) for key, value, reviewer, written in rows}

    def put_draft(self, key: str, draft: Review) -> None:
        """Write a reviewer's changes that are not accepted yet, replacing the reviewer's earlier draft."""
        self._put("drafts", key, draft)

    def remove_draft(self, key: str, reviewer: str) -> None:
        """Delete a reviewer's draft."""
        self._remove("drafts", "reviewer", key, reviewer)

    def draft(self, key: str, reviewer: str) -> Review | None:
        """Return a reviewer's draft, or None."""
        with self._locked() as connection:
            row = connection.execute(
                "SELECT value, time FROM drafts WHERE key = ? AND reviewer = ?", (key, replace_surrogates(reviewer))
            ).fetchone()
        return None if row is None else Review(json.loads(row[0]), reviewer, row[1])

    def _put(self, table: str, key: str, review: Review) -> None:
        row = (key, replace_surrogates(review.reviewer), review.time or time.time(), json.dumps(review.value))
        with self._transaction() as connection:
            connection.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?)", row)
        self._checkpoint_soon()

    def _remove(self, table: str, column: str, key: str, name: str) -> None:
        with self._transaction() as connection:
            connection.execute(f"DELETE FROM {table} WHERE key = ? AND {column} = ?", (key, replace_surrogates(name)))
        self._checkpoint_soon()
