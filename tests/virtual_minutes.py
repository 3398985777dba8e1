"""Rate limits on virtual clocks, which advance only while requests wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from vision_nb.cost.request_window import Admission, SlidingWindow
from vision_nb.providers import sending


class VirtualMinutes:
    """The virtual clock of each model, and when its requests were sent.

    Attributes:
        windows: The windows by the models' names and accounts.
        may_pass: Returns whether the clocks may advance.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.windows: dict[tuple[str, str], VirtualWindow] = {}
        self.may_pass: Callable[[], bool] = lambda: True
        monkeypatch.setattr(sending, "shared_window", self._window)

    @property
    def waits(self) -> list[list[float]]:
        """The seconds between the requests to each model, rounded."""
        sent = [window.sent for window in self.windows.values()]
        return [[round(late - early) for early, late in pairwise(times)] for times in sent]

    def _window(self, model: str, account: str) -> SlidingWindow:
        return self.windows.setdefault((model, account), VirtualWindow(self))  # threads may ask at once


class RecordedWindow(SlidingWindow):
    """The window of all models, on a clock that the test sets, which records when requests are admitted or refused.

    Attributes:
        now: The time in seconds.
        admitted: The times at which requests were admitted.
        refused: The times at which they had to wait.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(lambda: self.now)
        self.now = 1000.0
        self.admitted: list[float] = []
        self.refused: list[float] = []
        monkeypatch.setattr(sending, "shared_window", lambda *_: self)

    def admit(self, *limits: Any, **options: Any) -> Admission | None:
        """Record the time of a request."""
        admission = super().admit(*limits, **options)
        (self.refused if admission is None else self.admitted).append(self.now)
        return admission


class VirtualWindow(SlidingWindow):
    """A window that records when requests are sent.

    Args:
        minutes: Knows whether the clock may advance.

    Attributes:
        now: The time in seconds.
        sent: The times at which requests were sent.
    """

    def __init__(self, minutes: VirtualMinutes) -> None:
        super().__init__(lambda: self.now)
        self.now = 0.0
        self.sent: list[float] = []
        self._minutes = minutes
        self._asked = threading.local()

    def wait(self, *arguments: Any, **options: Any) -> float:
        """Note the time from which a thread counts its wait: others may advance the clock before it pauses."""
        self._asked.at = self.now
        return super().wait(*arguments, **options)

    def pause(self, wait: float) -> float:
        """Advance the clock instead, unless a request is about to be sent; return a very short pause."""
        with self._lock:
            if self._minutes.may_pass() and not self._unsent:
                self.now = max(self.now, self._asked.at + super().pause(wait))
        return 0.001

    def note_sent(self, admission: Admission) -> None:
        """Record the time, and count the request."""
        self.sent.append(self.now)
        super().note_sent(admission)
