"""Rate limits of `compare` and `extract`: the sliding window, and requests that wait for it."""

import asyncio
import heapq
import random
from collections import deque
from typing import Any

import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.forms import interrupted_when, until
from tests.virtual_minutes import VirtualMinutes
from vision_nb import errors
from vision_nb.comparison import model_gate
from vision_nb.comparison.progress import Progress
from vision_nb.cost import request_window
from vision_nb.cost.budget import Budget
from vision_nb.cost.rate_limit import amounts
from vision_nb.cost.request_window import SlidingWindow
from vision_nb.demo import Fault
from vision_nb.storage import writer

DAY = 24 * 3600.0
ONE = amounts(0, 0)
SCHEMA = {"type": "object", "properties": {"height": {"type": "integer"}}, "required": ["height"]}


class Simulation:
    """Requests of a day on a virtual clock, as a server sees them; every second hour, there are more than allowed.

    Between its admission and its sending, a request waits for up to 3 seconds, or rarely for two minutes, and is then
    up to a second on its way. An answer takes up to 20 seconds, and uses 30 to 100 percent of the tokens that were
    counted before. After some answers, a retry or a repair is the next request. Some requests are never sent.
    """

    def __init__(self, limit, seed=0):
        self.now, self.random = 0.0, random.Random(seed)
        self.limits = limit.per_minute
        self.window = SlidingWindow(lambda: self.now)
        self.arrived = []  # time, counted tokens, time of the answer, tokens of the answer
        self._repeated = deque()  # tokens of the retries and repairs that are due
        self._events = []  # time, number, what happens

    def run(self):
        tokens = self._next()
        while self.now < DAY:
            self._happen()
            needed = amounts(tokens, 0)
            if (admission := self.window.admit(self.limits, needed)) is None:
                wait = self.window.wait(self.limits, needed)
                assert wait > 0
                self._advance(self.now + wait)
                continue
            self._send(admission)
            tokens = self._next()
            if self.now // 3600 % 2:
                self._advance(self.now + self.random.expovariate(1 / 5))

    def _next(self):
        return self._repeated.popleft() if self._repeated else self.random.randint(500, 6000)

    def _send(self, admission):
        chance, tokens = self.random.random(), admission.amounts["tokens"]
        held = self.random.uniform(60, 120) if chance < 0.005 else max(0.0, self.random.uniform(-27, 3))
        sent = self.now + held
        if chance > 0.995:
            self._at(sent, lambda: self.window.drop_unsent(admission))
            return
        arrived = sent + self.random.random()
        answered, used = arrived + self.random.uniform(0.5, 20), int(tokens * self.random.uniform(0.3, 1))
        self.arrived.append((arrived, tokens, answered, used))
        self._at(sent, lambda: self.window.note_sent(admission))
        self._at(answered, lambda: self._answer(admission, used))

    def _answer(self, admission, used):
        self.window.correct(admission, amounts(used, 0))
        if self.random.random() < 0.1:
            self._repeated.append(self.random.randint(500, 6000))

    def _at(self, when, happens):
        heapq.heappush(self._events, (when, len(self.arrived), id(happens), happens))

    def _advance(self, until):
        """Set the clock, but not beyond the next event."""
        self.now = max(self.now, min([until, *(event[0] for event in self._events[:1])]))

    def _happen(self):
        while self._events and self._events[0][0] <= self.now:
            heapq.heappop(self._events)[-1]()

    def busiest_minute(self):
        """Return the most requests, and the most tokens, that arrived in the 60 seconds before any arrival."""
        requests = tokens = 0
        last = deque()
        for arrival in sorted(self.arrived):
            last.append(arrival)
            while last[0][0] <= arrival[0] - 60:
                last.popleft()
            known = sum(used if answered <= arrival[0] else counted for _, counted, answered, used in last)
            requests, tokens = max(requests, len(last)), max(tokens, known)
        return requests, tokens

    def busy_hours(self):
        """Return the mean requests and tokens a minute in the hours with more requests than allowed."""
        busy = [used for arrived, _, _, used in self.arrived if arrived < DAY and not arrived // 3600 % 2]
        return len(busy) / 720, sum(busy) / 720


def test_no_minute_of_a_day_has_more_requests_than_the_limit_and_busy_hours_reach_it():
    simulation = Simulation(vn.RateLimit(requests_per_minute=40))
    simulation.run()
    assert len(simulation.arrived) > 30_000
    assert simulation.busiest_minute()[0] == 40
    assert simulation.busy_hours()[0] > 0.9 * 40


def test_no_minute_of_a_day_has_more_tokens_than_the_limit_and_busy_hours_reach_it():
    simulation = Simulation(vn.RateLimit(requests_per_minute=1000, tokens_per_minute=120_000))
    simulation.run()
    assert len(simulation.arrived) > 30_000
    assert 115_000 < simulation.busiest_minute()[1] <= 120_000
    assert simulation.busy_hours()[1] > 0.8 * 120_000


@pytest.mark.parametrize("seed", range(2))
def test_both_limits_hold_together(seed):
    simulation = Simulation(vn.RateLimit(requests_per_minute=25, tokens_per_minute=60_000), seed)
    simulation.run()
    requests, tokens = simulation.busiest_minute()
    assert requests <= 25 and tokens <= 60_000


class Clock:
    """A virtual clock, and a window that reads it."""

    def __init__(self):
        self.now = 0.0
        self.window = SlidingWindow(lambda: self.now)

    def send(self, limits, needed=ONE):
        """Admit and send a request; return None if it has to wait."""
        admission = self.window.admit(limits, needed)
        if admission is not None:
            self.window.note_sent(admission)
        return admission


def test_the_first_minute_has_no_burst_beyond_the_limit():
    clock, limits = Clock(), vn.RateLimit(requests_per_minute=3).per_minute
    assert [clock.send(limits) is not None for _ in range(5)] == [True, True, True, False, False]
    clock.now = 59.9
    assert clock.send(limits) is None
    clock.now += clock.window.wait(limits, ONE)
    assert clock.send(limits) is not None


def test_a_bill_above_the_count_delays_later_requests():
    clock, limits, needed = Clock(), vn.RateLimit(tokens_per_minute=1000).per_minute, amounts(400, 0)
    first = clock.send(limits, needed)
    assert clock.window.wait(limits, needed) == 0
    clock.window.correct(first, amounts(900, 0))
    assert clock.window.wait(limits, needed) > 60
    clock.now = 100.0
    assert clock.window.wait(limits, amounts(1000, 0)) == 0
    clock.window.correct(first, amounts(100_000, 0))  # it no longer counts
    assert clock.window.wait(limits, amounts(1000, 0)) == 0


def test_a_request_counts_until_a_minute_after_it_was_sent():
    clock, limits = Clock(), vn.RateLimit(requests_per_minute=1).per_minute
    held = clock.window.admit(limits, ONE)
    clock.now = 300.0
    assert clock.window.admit(limits, ONE) is None
    clock.window.note_sent(held)
    clock.now = 360.0
    assert clock.window.admit(limits, ONE) is None
    clock.now = 361.0
    assert clock.window.admit(limits, ONE) is not None


def test_a_request_that_is_never_sent_makes_room():
    clock, limits = Clock(), vn.RateLimit(requests_per_minute=1).per_minute
    clock.window.drop_unsent(clock.window.admit(limits, ONE))
    sent = clock.send(limits)
    assert sent is not None
    clock.window.drop_unsent(sent)  # too late
    assert clock.window.admit(limits, ONE) is None


@pytest.fixture
def minutes(monkeypatch):
    return VirtualMinutes(monkeypatch)


@pytest.fixture
def images():
    return [vn.ImageDocument(image=picture(seed=number), image_name=f"photo-{number}.png") for number in range(3)]


def model(server, name="gpt-4o", **options):
    return vn.OpenAIMultiModal(
        name, **{"api_key": "k", "api_base": server.openai_base, "max_new_tokens": 50, **options}
    )


@pytest.fixture
def compare(tmp_path):
    def run(models, images, rate_limits, **options):
        options = {"store": tmp_path / "store", "progress": False, **options}
        return vn.compare(models, "What?", images, rate_limits=rate_limits, **options)

    return run


@pytest.mark.parametrize("key", ["gpt-4o", "openai:gpt-4o"])
def test_requests_beyond_the_limit_wait_for_the_next_minute(server, images, compare, minutes, key):
    comparison = compare(model(server), images, {key: vn.RateLimit(requests_per_minute=2)})
    assert not comparison.errors and len(server.requests) == 3
    assert minutes.waits == [[0, 61]]


def test_a_single_rate_limit_applies_to_each_model_on_its_own(server, images, compare, minutes):
    models = [model(server), model(server, "gpt-4o-mini")]
    compare(models, images[:2], vn.RateLimit(requests_per_minute=1))
    assert len(server.requests) == 4
    assert minutes.waits == [[61], [61]]


def test_a_model_that_waits_does_not_hold_back_another(server, images, compare, minutes):
    asked = []
    minutes.may_pass = lambda: asked.count("gpt-4o-mini") == 3
    server.answer_with(lambda question: asked.append(question.model) or "Yes.")
    models = [model(server), model(server, "gpt-4o-mini")]
    limits = {"gpt-4o": vn.RateLimit(requests_per_minute=1)}
    comparison = compare(models, images, limits, concurrency=1)
    assert not comparison.errors
    assert asked.count("gpt-4o-mini") == 3 and asked[-2:] == ["gpt-4o", "gpt-4o"]


async def test_a_call_that_waits_for_the_budget_does_not_hold_back_one_that_waits_for_a_rate_limit(
    server, images, minutes, tmp_path, monkeypatch
):
    names, asked, refused = ["gpt-4o", "gpt-4o-mini"], [], []
    for name in names:
        vn.set_price(name, input=0, output=20_000)  # at most 1 USD a call, and a few cents for the answer "Yes."
    server.answer_with(lambda question: asked.append(question.model) or "Yes.")
    reserve = Budget.reserve

    def note_refusals(budget, amount, name):
        try:
            return reserve(budget, amount, name)
        except errors.BudgetExceededError:
            refused.append(name)
            raise

    monkeypatch.setattr(Budget, "reserve", note_refusals)
    minutes.may_pass = lambda: refused or asked.count("gpt-4o-mini") == 3
    async with asyncio.timeout(60):
        comparison = await vn.acompare(
            [model(server, name) for name in names],
            "What?",
            images,
            budget=1.5,
            concurrency=1,
            rate_limits={"gpt-4o": vn.RateLimit(requests_per_minute=1)},
            store=tmp_path / "store",
            progress=False,
        )
    assert not comparison.errors and len(asked) == 6


class Gate(model_gate.ModelGate):
    """A gate that admits one request a minute, with one slot.

    Attributes:
        is_stopped: Whether the run has stopped.
    """

    slots: Any
    window: Any

    def __init__(self):
        self.is_stopped = False
        super().__init__(
            vn.connect("demo"),
            vn.RateLimit(requests_per_minute=1),
            asyncio.Semaphore(4),
            asyncio.Semaphore(1),
            Progress(4, "comparing", enabled=False),
            is_stopped=lambda: self.is_stopped,
            max_wait=0.0,
        )

    async def call(self, row):
        with self._progress.asking(row, lambda: "an image"):
            async with self.slots:
                self.window.note_sent(await self.admit(ONE, row))

    async def waiting_calls(self):
        """Return two calls, of which the first waits for the next minute, and the second for its turn."""
        await self.call(0)
        first = asyncio.create_task(self.call(1))
        await until(self._turn.locked)
        second = asyncio.create_task(self.call(2))
        await until(lambda: self._turn._waiters)
        return first, second


async def test_a_call_that_is_canceled_while_it_waits_for_its_slot_holds_back_no_other(minutes):
    minutes.may_pass = lambda: False
    gate, ends = Gate(), [asyncio.Event(), asyncio.Event()]

    async def keep_slot(may_end):
        async with gate.slots:
            await may_end.wait()

    def waiting_for_slot():
        return len(gate.slots._waiters or ())

    async with asyncio.timeout(60):
        first, second = await gate.waiting_calls()
        keeping = [asyncio.create_task(keep_slot(ends[0]))]
        await until(lambda: waiting_for_slot() == 1)  # the first call
        keeping.append(asyncio.create_task(keep_slot(ends[1])))
        await until(lambda: waiting_for_slot() == 2)
        gate.window.now += 100
        ends[0].set()
        await first
        await until(lambda: gate._turn.locked() and waiting_for_slot() == 1)  # the second call
        second.cancel()
        ends[1].set()
        await asyncio.gather(second, *keeping, return_exceptions=True)
        gate.window.now += 100
        await gate.call(3)
    assert second.cancelled() and gate.slots._value == 1


async def test_no_waiting_request_is_sent_after_the_run_has_stopped(minutes):
    minutes.may_pass = lambda: False
    gate = Gate()
    calls = await gate.waiting_calls()
    gate.is_stopped = True
    gate.window.now += 100
    async with asyncio.timeout(60):
        ends = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(end) for end in ends] == [model_gate.RunStoppedError] * 2
    assert len(gate.window.sent) == 1


def test_tokens_are_counted_before_a_request_is_sent(server, images, compare, minutes):
    comparison = compare(model(server), images[:2], vn.RateLimit(tokens_per_minute=500))
    assert [row.input_tokens for row in comparison] == [257, 257]
    assert minutes.waits == [[61]]


def test_the_bill_makes_room_for_the_next_request(server, images, compare, monkeypatch):
    monkeypatch.setattr(request_window, "WINDOW", 600.0)
    server.answer_with(lambda question: "Yes.")
    llm = model(server, max_new_tokens=400)  # counted as about 660 tokens, and billed as about 260
    comparison = compare(llm, images[:2], vn.RateLimit(tokens_per_minute=1000))
    assert not comparison.errors and len(server.requests) == 2


def test_a_retry_counts_as_a_request(server, images, compare, minutes):
    server.fail(Fault(status=500))
    comparison = compare(model(server), images[:1], vn.RateLimit(requests_per_minute=1))
    assert not comparison.errors and len(server.requests) == 2
    assert minutes.waits == [[61]]


def test_a_request_that_the_server_refuses_counts_and_its_pause_is_kept(server, images, compare, minutes):
    server.fail(Fault(status=429, retry_after=0.1))
    comparison = compare(model(server), images[:1], vn.RateLimit(requests_per_minute=1))
    assert not comparison.errors and len(server.requests) == 2
    assert minutes.waits == [[61]]


def test_a_repair_counts_as_a_request(server, images, minutes, tmp_path):
    answers = iter(["tall", '{"height": 3}'])
    server.answer_with(lambda question: next(answers))
    found = vn.extract(
        images[:1],
        SCHEMA,
        model=model(server),
        rate_limits=vn.RateLimit(requests_per_minute=1),
        store=tmp_path / "store",
        progress=False,
    )
    assert found[0].parsed == {"height": 3} and found[0].attempts == 2
    assert minutes.waits == [[61]]


async def test_the_asynchronous_functions_keep_the_limit(server, images, minutes, tmp_path):
    server.answer_with(lambda question: '{"height": 3}')
    limits = {"gpt-4o": vn.RateLimit(requests_per_minute=2)}
    options = {"rate_limits": limits, "store": tmp_path / "store", "progress": False}
    await vn.aextract(images[:2], SCHEMA, model=model(server), **options)
    await vn.acompare(model(server), "What?", images[:1], **options)
    assert len(server.requests) == 3
    assert minutes.waits == [[0, 61]]


def test_a_second_run_counts_the_requests_of_the_first(server, images, compare, minutes):
    limit = vn.RateLimit(requests_per_minute=1)
    server.fail(Fault(status=400))
    comparison = compare(model(server), images[:1], limit)
    again = comparison.retry_errors(progress=False)
    assert comparison.errors and not again.errors
    assert minutes.waits == [[61]]


def test_replicate_requests_wait_too(server, images, compare, minutes):
    llm = vn.ReplicateMultiModal("llava-13b", api_token="r8_" + "k" * 37, api_base=server.replicate_base)
    comparison = compare(llm, images[:2], vn.RateLimit(requests_per_minute=1))
    assert not comparison.errors and minutes.waits == [[61]]


def test_a_request_larger_than_the_limit_is_an_error_row_at_once(server, images, compare):
    comparison = compare(model(server), images, vn.RateLimit(tokens_per_minute=100))
    assert not server.requests
    assert [row.error.partition(":")[0] for row in comparison] == ["RequestTooLargeError"] * 3
    assert "tokens_per_minute=100" in comparison[0].error and "max_new_tokens" in comparison[0].error


def test_unknown_tokens_are_an_error_row_at_once(server, images, compare):
    comparison = compare(model(server, "unheard-of-vl"), images, vn.RateLimit(tokens_per_minute=100_000))
    assert not server.requests
    assert all("requests_per_minute" in row.error for row in comparison)


def test_an_interrupt_ends_the_wait(server, images, compare, monkeypatch):
    monkeypatch.setattr(request_window, "WINDOW", 600.0)
    with interrupted_when(lambda: len(server.requests) == 1):
        comparison = compare(model(server), images, vn.RateLimit(requests_per_minute=1))
    assert comparison.incomplete is not None and "interrupted" in comparison.incomplete
    assert sum(row.finished for row in comparison) <= 1


def test_a_run_that_stops_does_not_wait_for_the_limit(server, images, compare, monkeypatch):
    def fail(*_):
        raise errors.StoreError("The disk is full.")

    monkeypatch.setattr(writer, "insert_answers", fail)
    comparison = compare(model(server), images, vn.RateLimit(requests_per_minute=1))
    assert comparison.incomplete is not None and comparison.incomplete.startswith("The disk is full")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"gpt-4omni": vn.RateLimit(requests_per_minute=1)}, "did you mean 'gpt-4o'"),
        ({"gemini:nothing-like-it": vn.RateLimit(requests_per_minute=1)}, "not one of the models: openai:gpt-4o"),
        (dict.fromkeys(["gpt-4o", "openai:gpt-4o"], vn.RateLimit(requests_per_minute=1)), "twice"),
        ({"gpt-4o": 500}, r"write vn.RateLimit\(requests_per_minute=500\)"),
        (500, r"write vn.RateLimit\(requests_per_minute=500\)"),
    ],
)
def test_unusable_rate_limits_are_refused(server, images, limits, message):
    with pytest.raises(errors.SettingsError, match=message):
        vn.compare(model(server), "What?", images, rate_limits=limits, dry_run=True)


def test_a_plan_shows_how_long_the_calls_take_at_least(server, images, compare):
    models = [model(server), model(server, "gpt-4o-mini")]
    limits = {"gpt-4o": vn.RateLimit(requests_per_minute=1, tokens_per_minute=1_000_000)}
    plan = compare(models, images, limits, dry_run=True)
    assert plan.models[0].min_seconds == 122 and plan.models[1].min_seconds == 0
    assert "at least 2 min 2 s at 1 request a minute" in repr(plan.models[0])
    for text in (repr(plan), plan._repr_markdown_()):
        assert "openai:gpt-4o (demo): at least 2 min 2 s at 1 request a minute." in " ".join(text.split())
    by_tokens = compare(models[:1], images, vn.RateLimit(tokens_per_minute=500), dry_run=True)
    assert by_tokens.models[0].min_duration == "at least 1 min 1 s at 500 tokens a minute"


@pytest.mark.parametrize(
    "arguments", [{}, {"requests_per_minute": 0}, {"tokens_per_minute": -1}, {"tokens_per_minute": 1.5}]
)
def test_a_rate_limit_needs_a_positive_integer(arguments):
    with pytest.raises(errors.SettingsError, match=r"requests_per_minute|at least 1"):
        vn.RateLimit(**arguments)


async def test_runs_at_the_same_time_share_the_limit(server, images, minutes, tmp_path):
    limit, path = vn.RateLimit(requests_per_minute=1), tmp_path / "store"
    runs = (
        vn.acompare(model(server), prompt, images[:1], store=path, progress=False, rate_limits=limit)
        for prompt in ("What?", "Where?")
    )
    await asyncio.gather(*runs)
    assert len(server.requests) == 2 and minutes.waits == [[61]]
