"""`RunOptions`: how the calls of a comparison are made."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vision_nb.checks.numbers import plain_number
from vision_nb.errors import SettingsError
from vision_nb.providers.retries import MAX_WAIT


@dataclass(frozen=True)
class RunOptions:
    """How the calls of a comparison are made.

    Attributes:
        resume: Use the answers that are already in the store.
        progress: Show the progress.
        max_wait: The longest pause after a rate limit error, in seconds.
        batch: True submits the questions as batches. None asks directly, but leaves out questions that wait in a batch;
            False asks those too.

    Raises:
        SettingsError: max_wait is not a number of seconds.
    """

    resume: bool = True
    progress: bool = True
    max_wait: float = MAX_WAIT
    batch: bool | None = None

    def __post_init__(self) -> None:
        seconds = plain_number(self.max_wait)
        if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
            raise SettingsError(f"max_wait must be a number of seconds, 0 or more: got {seconds!r:.80}.")
