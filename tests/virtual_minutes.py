"""Rate limits of runs on virtual clocks, which advance only while requests wait."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from vision_nb.comparison import model_gate
from vision_nb.comparison.model_gate import ModelGate
from vision_nb.comparison.rate_limit import Admission, SlidingWindow


class VirtualMinutes:
    """The virtual clock of each model, and when its requests were sent.

    Attributes:
        windows: The windows by the models' names.
        may_pass: Returns whether the clocks may advance.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.windows: dict[str, VirtualWindow] = {}
        self.may_pass: Callable[[], bool] = lambda: True
        sleep = ModelGate._sleep

        def pass_time(gate: ModelGate, *arguments: object) -> float:
            window = gate.window
            assert isinstance(window, VirtualWindow)
            if self.may_pass() and not window._unsent:
                window.now += sleep(gate, *arguments)  # type: ignore[arg-type]
            return 0.001

        monkeypatch.setattr(ModelGate, "_sleep", pass_time)
        monkeypatch.setattr(model_gate, "_window", self._window)

    @property
    def waits(self) -> list[list[float]]:
        """The seconds between the requests to each model, rounded."""
        sent = [window.sent for window in self.windows.values()]
        return [[round(late - early) for early, late in pairwise(times)] for times in sent]

    def _window(self, model: str, server: str | None) -> SlidingWindow:
        if model not in self.windows:
            self.windows[model] = VirtualWindow()
        return self.windows[model]


class VirtualWindow(SlidingWindow):
    """A window that records when requests are sent.

    Attributes:
        now: The time in seconds.
        sent: The times at which requests were sent.
    """

    def __init__(self) -> None:
        super().__init__(lambda: self.now)
        self.now = 0.0
        self.sent: list[float] = []

    def note_sent(self, admission: Admission) -> None:
        """Record the time, and count the request."""
        self.sent.append(self.now)
        super().note_sent(admission)
