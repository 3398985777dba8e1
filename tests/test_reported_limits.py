"""Rate limits that servers report in their headers: how they are read, and how comparisons keep them."""

import heapq
import random
from collections import deque

import httpx
import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.virtual_minutes import VirtualMinutes
from vision_nb.cost import request_window
from vision_nb.cost.rate_limit import NO_LIMITS, amounts
from vision_nb.cost.request_gate import LimitReport
from vision_nb.cost.request_window import SlidingWindow
from vision_nb.demo import Fault, Quota
from vision_nb.demo.quota import Meter
from vision_nb.providers.rate_limit_headers import limit_reports, retry_after, wait_after_refusal

NOW, DATE = 1_795_752_000.0, "Fri, 27 Nov 2026 04:00:00 GMT"


def headers(resource="requests", *, limit=1, remaining=0, reset="20s"):
    """Return OpenAI's headers for one limit."""
    values = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"x-ratelimit-{field}-{resource}": str(value) for field, value in values.items() if value is not None}


@pytest.mark.parametrize(
    ("sent", "reports"),
    [
        (headers(limit=500, remaining=499, reset="120ms"), [LimitReport("requests", 499, 0.12, 500)]),
        (headers("tokens", limit=30_000, reset="6m0s"), [LimitReport("tokens", 0, 360.0, 30_000)]),
        (headers(limit=14_400, remaining=14_370, reset="2m59.56s"), [LimitReport("requests", 14_370, 179.56, 14_400)]),
        (headers(reset="7"), [LimitReport("requests", 0, 7.0, 1)]),
        (headers(limit=None, reset="1s"), [LimitReport("requests", 0, 1.0)]),
        (
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-remaining": "49",
                "anthropic-ratelimit-requests-reset": "2026-11-27T04:00:01Z",
                "anthropic-ratelimit-output-tokens-limit": "8000",
                "anthropic-ratelimit-output-tokens-remaining": "0",
                "anthropic-ratelimit-output-tokens-reset": "2026-11-27T04:01:00Z",
            },
            [LimitReport("requests", 49, 1.0, 50), LimitReport("output_tokens", 0, 60.0, 8000)],
        ),
        (
            {"RateLimit-Limit": "600", "RateLimit-Remaining": "0", "RateLimit-Reset": "30"},
            [LimitReport("requests", 0, 30.0, 600)],
        ),
        (
            {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int((NOW + 30) * 1000))},
            [LimitReport("requests", 0, 30.0)],
        ),
    ],
)
def test_the_headers_of_services_are_read(sent, reports):
    assert limit_reports({"Date": DATE, **sent}) == reports


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"content-type": "application/json", "retry-after": "3"},
        headers(remaining="NaN"),
        headers(remaining="-1"),
        headers(remaining=""),
        headers(remaining="1.5"),
        headers(remaining="9" * 400),
        headers(reset="NaN"),
        headers(reset="inf"),
        headers(reset="-5s"),
        headers(reset="1e9"),
        headers(reset="soon"),
        headers(reset="9" * 400 + "s"),
        headers(reset="9999-99-99T00:00:00Z"),
        headers(reset=None),
    ],
)
def test_incomplete_and_malformed_headers_are_ignored(sent):
    assert limit_reports({"Date": DATE, **sent}) == []


@pytest.mark.parametrize("date", ["Fri, 27 Nov 2026 04:00:00 GMT", "Fri, 27 Nov 2026 05:00:00 +0100"])
def test_the_clock_of_the_server_counts_because_that_of_this_machine_may_be_wrong(date, monkeypatch):
    monkeypatch.setattr("time.time", lambda: NOW - 3600)
    for reset in ("2026-11-27T04:00:20Z", str(NOW + 20), str((NOW + 20) * 1000)):
        assert limit_reports({"Date": date, **headers(reset=reset)}) == [LimitReport("requests", 0, 20.0, 1)]
    assert retry_after(httpx.Headers({"Date": date, "Retry-After": "Fri, 27 Nov 2026 04:00:20 GMT"})) == 20


@pytest.mark.parametrize("date", [{}, {"date": "yesterday"}, {"date": ""}])
def test_without_the_time_of_the_server_the_clock_of_this_machine_counts(date, monkeypatch):
    monkeypatch.setattr("time.time", lambda: NOW)
    sent = {**date, **headers(reset="2026-11-27T04:00:20Z")}
    assert limit_reports(sent) == [LimitReport("requests", 0, 20.0, 1)]


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (headers(reset="6m0s"), 360.0),
        (headers(reset="20ms"), 0.02),
        (headers(reset="1s") | headers("tokens", limit=30_000, reset="12s"), 12.0),
        (headers(reset="8h0m0s", remaining=5) | headers("tokens", limit=30_000, reset="12s"), 12.0),
        ({**headers(reset="6m0s"), "retry-after": "2"}, 2.0),
        (headers(remaining=5), None),
        ({}, None),
    ],
)
def test_a_refusal_without_retry_after_asks_to_wait_for_the_reset_of_what_is_used_up(sent, seconds):
    assert wait_after_refusal(sent) == seconds


@pytest.fixture
def minutes(monkeypatch):
    return VirtualMinutes(monkeypatch)


@pytest.fixture
def ask(server, tmp_path):
    """Return a function that asks a model about images, one after the other."""

    def run(count=3, *, llm=None, **options):
        images = [vn.ImageDocument(image=picture(seed=seed), image_name=f"{seed}.png") for seed in range(count)]
        llm = llm or vn.OpenAIMultiModal("gpt-4o", api_key="k", api_base=server.openai_base, max_new_tokens=50)
        options = {"store": tmp_path / "store", "progress": False, "concurrency": 1, **options}
        comparison = vn.compare(llm, "What?", images, **options)
        assert not comparison.errors
        return comparison

    return run


@pytest.mark.parametrize(
    "sent",
    [
        headers(),
        headers(reset="20"),
        headers("tokens", limit=400, remaining=300),
        {"ratelimit-limit": "1", "ratelimit-remaining": "0", "ratelimit-reset": "20"},
    ],
)
def test_requests_wait_until_the_reset_without_being_told(server, ask, minutes, sent):
    server.fail(Fault(headers=sent), times=3)
    ask()
    assert minutes.waits == [[20, 20]]


def test_replicate_requests_wait_too(server, ask, minutes):
    server.fail(Fault(headers={"ratelimit-limit": "1", "ratelimit-remaining": "0", "ratelimit-reset": "20"}), times=9)
    llm = vn.ReplicateMultiModal("llava-13b", api_token="r8_" + "k" * 37, api_base=server.replicate_base)
    ask(2, llm=llm)
    assert minutes.waits == [[20]]


def test_requests_do_not_wait_while_enough_is_left(server, ask, minutes):
    server.fail(Fault(headers=headers(limit=500, remaining=3) | headers("tokens", limit=30_000, remaining=9000)), 3)
    ask()
    assert minutes.waits == [[0, 0]]


def test_requests_do_not_wait_without_headers(ask, minutes):
    ask()
    assert minutes.waits == [[0, 0]]


def test_all_concurrent_calls_share_what_is_left(server, ask, minutes):
    server.fail(Fault(headers=headers(limit=5, remaining=4, reset="4s")))
    ask(1)
    server.fail(Fault(headers=headers(limit=5, reset="20s")), times=9)
    ask(9, concurrency=8)
    assert minutes.waits[0][:4] == [0] * 4 and minutes.waits[0][4] > 0


def test_a_limit_per_minute_holds_in_every_minute(server, ask, minutes):
    server.fail(Fault(headers=headers(limit=2, remaining=1, reset="30s")))
    ask(4)
    assert minutes.waits == [[0, 61, 0]]


def test_a_limit_per_day_is_not_taken_for_a_limit_per_minute(server, ask, minutes):
    server.fail(Fault(headers=headers(limit=2880, remaining=2879, reset="30s")))
    server.fail(Fault(headers=headers(limit=3, remaining=2, reset="8h0m0s")), times=9)
    ask(6)
    assert minutes.waits == [[0] * 5]


def test_the_given_limit_holds_beside_the_reported_one(server, ask, minutes):
    server.fail(Fault(headers=headers(limit=500, remaining=499, reset="120ms")), times=3)
    ask(rate_limits=vn.RateLimit(requests_per_minute=2))
    assert minutes.waits == [[0, 61]]


@pytest.mark.parametrize(
    "sent",
    [
        headers(reset="87600h0m0s"),
        headers(reset="2036-11-27T04:00:00Z"),
        headers(reset="9" * 15),
        headers(limit=None, reset="20s"),
        headers(limit=500, reset="20s"),  # although only a few were sent
    ],
)
def test_wrong_headers_stall_a_run_no_longer_than_max_wait(server, ask, minutes, sent):
    server.fail(Fault(headers=sent), times=9)
    ask(6, max_wait=30)
    assert 0 < sum(minutes.waits[0]) <= 30


def test_max_wait_also_limits_the_wait_for_a_limit_per_minute(server, ask, monkeypatch):
    monkeypatch.setattr(request_window, "WINDOW", 600.0)
    server.fail(Fault(headers=headers(reset="60s")), times=9)
    ask(2, max_wait=0)
    assert server.requests[1].time - server.requests[0].time < 300


def test_a_refusal_makes_reports_credible_again():
    now = [0.0]
    window = SlidingWindow(lambda: now[0])
    report, one = LimitReport("requests", 0, 20.0, 500), amounts(0, 0)

    def send(*, is_refused=False):
        admission = window.admit(NO_LIMITS, one)
        window.note_sent(admission)
        window.note_reports(admission, [report], is_refused=is_refused, max_wait=60)

    send()
    assert window.wait(NO_LIMITS, one) == 20
    now[0] = 20.0
    send()
    assert window.wait(NO_LIMITS, one) == 0
    send(is_refused=True)
    assert window.wait(NO_LIMITS, one) == 20


def test_requests_under_way_count_because_the_report_may_not_include_them():
    window, one = SlidingWindow(lambda: 0.0), amounts(0, 0)
    first, second = window.admit(NO_LIMITS, one), window.admit(NO_LIMITS, one)
    assert first is not None and second is not None
    window.note_sent(first)
    window.note_reports(first, [LimitReport("requests", 1, 20.0, 500)], is_refused=False, max_wait=60)
    assert window.wait(NO_LIMITS, one) == 20


class ServerDay:
    """A day of requests to a server that enforces and reports its limits, on a virtual clock.

    The client is told nothing. It makes 8 calls at a time, as fast as it may. A request is up to half a second on its
    way, and is answered in up to 20 seconds.
    """

    def __init__(self, quota, seed=0):
        self.now, self.random = 0.0, random.Random(seed)
        self.meter = Meter(quota, clock=lambda: self.now)
        self.window = SlidingWindow(lambda: self.now)
        self.arrived, self.refused = {}, {}  # the tokens of requests by the times at which they arrived
        self._events = []

    def run(self):
        for _ in range(8):
            self._at(0.0, self._call, 3000)
        while self.now < 24 * 3600.0:
            self.now, _, happens, arguments = heapq.heappop(self._events)
            happens(*arguments)

    def _at(self, when, happens, *arguments):
        heapq.heappush(self._events, (when, self.random.random(), happens, arguments))

    def _call(self, tokens):
        needed = amounts(tokens, 0)
        admission = self.window.admit(NO_LIMITS, needed)
        if admission is None:
            self._at(self.now + min(self.window.wait(NO_LIMITS, needed), 10.0), self._call, tokens)
            return
        self.window.note_sent(admission)
        self._at(self.now + self.random.uniform(0, 0.5), self._arrive, admission, tokens)

    def _arrive(self, admission, tokens):
        refusal = self.meter.use("gpt-4o", tokens)
        (self.arrived if refusal is None else self.refused)[self.now] = tokens
        reports = limit_reports(self.meter.headers("openai"))
        self._at(self.now + self.random.uniform(0.2, 20), self._answer, admission, tokens, reports, refusal)

    def _answer(self, admission, tokens, reports, refusal):
        self.window.note_reports(admission, reports, is_refused=refusal is not None, max_wait=60.0)
        self._call(self.random.randint(1000, 5000))

    def busiest_minute(self):
        """Return the most requests in 60 seconds, after the first two minutes, in which the limits become known."""
        most, last = 0, deque()
        for when in self.arrived:
            last.append(when)
            while last[0] <= when - 60:
                last.popleft()
            most = max(most, len(last) if when > 120 else 0)
        return most


@pytest.mark.parametrize("seed", range(2))
def test_a_server_that_reports_its_limit_of_requests_refuses_none_in_a_day(seed):
    day = ServerDay(Quota(requests=20), seed)
    day.run()
    assert not day.refused and day.busiest_minute() == 20
    assert len(day.arrived) > 0.9 * 20 * 24 * 60


def test_a_server_that_reports_its_limit_of_tokens_refuses_no_request_in_a_day():
    day = ServerDay(Quota(tokens=30_000))
    day.run()
    assert not day.refused
    assert sum(day.arrived.values()) > 0.9 * 30_000 * 24 * 60
