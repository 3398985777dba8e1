"""The answers in the store's file."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from vision_nb.errors import StoreError
from vision_nb.paths import shown_path
from vision_nb.rendering.sanitize import replace_surrogates
from vision_nb.responses import UNFINISHED, Pricing, Response, Usage
from vision_nb.storage.database import insert_rows
from vision_nb.storage.details import read_details, write_details

SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, time REAL NOT NULL, asked_model TEXT NOT NULL, model TEXT NOT NULL, text TEXT NOT NULL,
    finish_reason TEXT, latency REAL, input_tokens INTEGER, output_tokens INTEGER, cached_input_tokens INTEGER,
    details TEXT NOT NULL DEFAULT '{}'
) WITHOUT ROWID;
"""
"""The table."""

_BUSY_TIMEOUT = 30.0  # seconds to wait while another process writes
_WANTED = "json_each(?) AS wanted CROSS JOIN answers ON answers.key = wanted.value"  # in the order of the keys
_COLUMNS = (
    "key, time, asked_model, model, text, finish_reason, latency, input_tokens, output_tokens, cached_input_tokens, "
    "details"
)


class AnswerFacts(NamedTuple):
    """What a large comparison keeps of a stored answer.

    Attributes:
        attempts: The number of requests for the answer.
        is_demo: Whether the demo answered.
        text: The answer if it was asked for, or "".
    """

    attempts: int
    is_demo: bool
    text: str = ""


def is_storable(response: Response) -> bool:
    """Return whether an answer may be stored: interrupted, incomplete and empty ones are not."""
    return response.finish_reason not in UNFINISHED and not all(choice.is_empty for choice in response.choices)


def select_answers(
    connection: sqlite3.Connection, keys: Iterable[str], pricing: Pricing | None = None
) -> dict[str, Response]:
    """Return the stored answers for some keys, by key.

    Args:
        connection: The store's connection.
        keys: The keys.
        pricing: Prices the answers; None for answers without a price.
    """
    found: dict[str, Response] = {}
    rows = connection.execute(
        "SELECT answers.key, model, text, finish_reason, latency, input_tokens, output_tokens, cached_input_tokens, "
        f"details FROM {_WANTED}",
        [_sorted(keys)],
    )
    for key, model, text, finish_reason, latency, *tokens, details in rows:
        answer = Response(
            text=text,
            usage=None if tokens[-1] is None else Usage(*tokens),
            model=model,
            finish_reason=finish_reason,
            latency=latency,
            **{"pricing": pricing, **read_details(details)},
        )
        # Each attempt is priced.
        found[key] = answer if pricing is None or answer.pricing is pricing else answer.priced_by(pricing)
    return found


def select_answer(connection: sqlite3.Connection, key: str) -> Response | None:
    """Return the stored answer for a key, without a price, or None."""
    return select_answers(connection, [key]).get(key)


def select_known(connection: sqlite3.Connection, keys: Iterable[str]) -> set[str]:
    """Return those of some keys that have a stored answer."""
    rows = connection.execute(f"SELECT answers.key FROM {_WANTED}", [_sorted(keys)])
    return {key for (key,) in rows}


def select_facts(connection: sqlite3.Connection, keys: Iterable[str], *, with_text: bool) -> dict[str, AnswerFacts]:
    """Return what a large comparison keeps of the stored answers for some keys, by key.

    Args:
        connection: The store's connection.
        keys: The keys.
        with_text: Also read the answers.
    """
    text = "text" if with_text else "''"
    rows = connection.execute(
        f"SELECT answers.key, json_extract(details, '$.attempts'), json_extract(details, '$.is_demo'), {text} "
        f"FROM {_WANTED}",
        [_sorted(keys)],
    )
    # An answer of an earlier version has no details.
    return {key: AnswerFacts(attempts or 1, bool(is_demo), text) for key, attempts, is_demo, text in rows}


def _sorted(keys: Iterable[str]) -> str:
    """Return keys as JSON; neighbors in the table are then read one after the other."""
    return json.dumps(sorted(set(keys)))


class NewAnswer(NamedTuple):
    """An answer to write.

    Attributes:
        key: The question's key.
        asked_model: The model as the user named it; the response has the server's own name.
        response: The answer.
    """

    key: str
    asked_model: str
    response: Response


def insert_answers(connection: sqlite3.Connection, new: Sequence[NewAnswer]) -> None:
    """Write answers, and release the claims on their questions.

    Args:
        connection: The store's connection.
        new: The answers.
    """
    insert_rows(connection, f"answers ({_COLUMNS})", list(map(_values, new)))
    keys = json.dumps([answer.key for answer in new])  # whoever waits for these has the answers now
    connection.execute("DELETE FROM claims WHERE key IN (SELECT value FROM json_each(?))", [keys])


def _values(answer: NewAnswer) -> Sequence[Any]:
    """Return the values of an answer's columns."""
    response, usage = answer.response, answer.response.usage
    return (
        answer.key,
        time.time(),
        replace_surrogates(answer.asked_model),
        replace_surrogates(response.model),
        replace_surrogates(response.text),
        replace_surrogates(response.finish_reason or "") or None,
        response.latency,
        usage and usage.input_tokens,
        usage and usage.output_tokens,
        usage and usage.cached_input_tokens,
        write_details(response),
    )


def read_answers(path: Path, keys: Iterable[tuple[Pricing, Sequence[str]]]) -> dict[str, Response]:
    """Return the answers for some keys from a store that need not be open, by key.

    The file is not checked or changed, so that reading a few answers from a large file takes milliseconds.

    Args:
        path: The store's file.
        keys: The keys of some models, each with the model's pricing.

    Raises:
        StoreError: The file cannot be read.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", timeout=_BUSY_TIMEOUT, uri=True)) as opened:
            return {
                key: answer for pricing, own in keys for key, answer in select_answers(opened, own, pricing).items()
            }
    except sqlite3.Error as error:
        raise StoreError(
            f"The store {shown_path(path)} cannot be read ({error}), and a comparison of this size keeps its answers "
            "there: restore the file, or run the comparison again."
        ) from error
