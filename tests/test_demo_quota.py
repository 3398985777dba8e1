"""The demo server's rate limits: the headers that report them, and its refusals, as the openai client sees them."""

import openai
import pytest

from vision_nb import errors
from vision_nb.demo import DemoServer, Quota
from vision_nb.demo.quota import Meter
from vision_nb.providers.rate_limit_headers import limit_reports
from vision_nb.services.table import SERVICES

QUESTION = {"model": "gpt-4o", "messages": [{"role": "user", "content": "How large is it?"}], "max_tokens": 10}


@pytest.fixture
def limited():
    """Start a server that allows two requests in ten hours."""
    with DemoServer(tokens_per_second=5000, quota=Quota(requests=2, tokens=30_000, seconds=36_000)) as running:
        yield running


def ask(server, base, client=openai.OpenAI, **options):
    """Ask a question, and return the response with its headers."""
    with client(base_url=server.url + base, api_key="k", max_retries=0) as opened:
        return opened.chat.completions.with_raw_response.create(**(QUESTION | options))


@pytest.mark.parametrize("stream", [False, True])
def test_each_answer_reports_the_limits(limited, stream):
    found = ask(limited, "/v1", stream=stream).headers
    assert found["x-ratelimit-limit-requests"] == "2" and found["x-ratelimit-remaining-requests"] == "1"
    assert found["x-ratelimit-reset-requests"] == "5h0m0s"
    assert found["x-ratelimit-limit-tokens"] == "30000"


@pytest.mark.parametrize(("name", "requests"), [("anthropic", (1, 18_000)), ("groq", (1, 43_200)), (None, (1, 18_000))])
def test_the_limits_of_each_service_are_read(limited, name, requests):
    limited.service = None if name is None else SERVICES[name]
    base = "/openai/v1" if name is None else f"/{SERVICES[name].base_url.split('/', 3)[3].rstrip('/')}"
    reports = {report.resource: report for report in limit_reports(ask(limited, base).headers)}
    assert reports["requests"].limit == 2 and reports["requests"].remaining == requests[0]
    assert reports["requests"].reset == pytest.approx(requests[1], abs=600)
    assert ("input_tokens" if name == "anthropic" else "tokens") in reports


def test_a_request_beyond_the_limit_is_refused_in_the_words_of_openai(limited):
    for _ in range(2):
        ask(limited, "/v1")
    with pytest.raises(openai.RateLimitError, match=r"Rate limit reached for gpt-4o .* Limit 2, Used 2") as refusal:
        ask(limited, "/v1")
    found = refusal.value.response.headers
    assert found["x-ratelimit-remaining-requests"] == "0"
    assert float(found["retry-after"]) > 17_000 and refusal.value.code == "rate_limit_exceeded"
    ask(limited, "/v1", model="gpt-4o-mini")


def test_a_request_larger_than_the_limit_can_never_be_sent(limited):
    limited.quota = Quota(tokens=300)
    with pytest.raises(openai.RateLimitError, match=r"Request too large .* on tokens per min \(TPM\): Limit 300, "):
        ask(limited, "/v1", max_tokens=301)


def test_what_was_used_becomes_available_again_at_a_constant_rate():
    now = [0.0]
    meter = Meter(Quota(requests=4), clock=lambda: now[0])
    assert [meter.use("m", 0) is None for _ in range(5)] == [True] * 4 + [False]
    assert meter.headers("openai", tokens=0)["Retry-After"] == "15"
    now[0] = 15.0
    assert meter.use("m", 0) is None and meter.use("m", 0) is not None


def test_a_server_without_a_quota_reports_no_limits(server):
    assert not limit_reports(ask(server, "/v1").headers)


@pytest.mark.parametrize("arguments", [{}, {"requests": 0}, {"tokens": 5, "seconds": 0}])
def test_a_quota_needs_a_positive_limit(arguments):
    with pytest.raises(errors.SettingsError, match="Quota needs"):
        Quota(**arguments)
