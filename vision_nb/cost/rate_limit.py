"""`RateLimit`: a limit on the requests and tokens of any 60 seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vision_nb.checks.arguments import checks_arguments
from vision_nb.checks.attributes import read_only
from vision_nb.checks.numbers import check_count
from vision_nb.checks.public_object import PublicObject
from vision_nb.cost.reported_limits import JITTER
from vision_nb.cost.request_gate import Resource
from vision_nb.errors import RequestTooLargeError, SettingsError
from vision_nb.rendering.format import pluralize

WINDOW = 60.0 + JITTER
"""Seconds for which a request counts: a minute, and the time that it may take longer to arrive than a later one."""

NO_LIMITS: Mapping[Resource, int] = {}


@checks_arguments
@read_only()
@dataclass(frozen=True, kw_only=True)
class RateLimit(PublicObject):
    """A limit on the requests to one model in any 60 seconds.

    It is the ``rate_limit`` of a model, which all of its calls keep, or in the ``rate_limits`` of a comparison. All
    models with the same name, server and key in this process count together; other processes do not count.

    Attributes:
        requests_per_minute: The maximum number of requests, including retries and repairs; None for no limit.
        tokens_per_minute: The maximum number of input and output tokens; None for no limit. Before a request is sent,
            its input is counted, and its answer is assumed to be as long as ``max_new_tokens`` allows, or 4,096 tokens
            without a limit. The tokens that the server reports replace the count when the answer arrives.

    Raises:
        SettingsError: Neither limit is given, or one is not a positive integer.

    >>> vn.RateLimit(requests_per_minute=500, tokens_per_minute=30_000)
    RateLimit(requests_per_minute=500, tokens_per_minute=30000)
    >>> vn.connect("demo", rate_limit=vn.RateLimit(requests_per_minute=500)).rate_limit.requests_per_minute
    500
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if not given:
            raise SettingsError("RateLimit needs requests_per_minute= or tokens_per_minute=, or both.")
        for name, value in given.items():
            object.__setattr__(self, name, check_count(value, name))

    def __str__(self) -> str:
        limits = (pluralize(limit, resource.removesuffix("s")) for resource, limit in self.per_minute.items())
        return f"{' and '.join(limits)} a minute"

    @property
    def per_minute(self) -> Mapping[Resource, int]:
        """The limits that are given, by what they count."""
        given: tuple[tuple[Resource, int | None], ...] = (
            ("requests", self.requests_per_minute),
            ("tokens", self.tokens_per_minute),
        )
        return {resource: limit for resource, limit in given if limit is not None}

    def shortest_run(self, requests: int, input_tokens: int | None) -> tuple[float, str]:
        """Return the seconds that some requests take at least, and the limit from which that follows.

        The first minute's requests may be sent at once, and answers may be short.

        Args:
            requests: The number of requests.
            input_tokens: Their input tokens, or None if they are not known.

        >>> vn.RateLimit(requests_per_minute=500).shortest_run(6000, None)
        (671.0, '500 requests a minute')
        """
        used: dict[Resource, int] = {"requests": requests, "tokens": input_tokens or 0}
        found = [
            (
                max(0, math.ceil(used[resource] / limit) - 1) * WINDOW,
                f"{pluralize(limit, resource.removesuffix('s'))} a minute",
            )
            for resource, limit in self.per_minute.items()
        ]
        return max(found)

    def check(self, input_tokens: int | None, output_tokens: int, model: str) -> None:
        """Refuse a request that the limit can never allow.

        Args:
            input_tokens: The tokens of its texts and images, or None if they are not known.
            output_tokens: The maximum number of tokens in its answer.
            model: The model's name, for the error message.

        Raises:
            RequestTooLargeError: The request alone exceeds the limit.
            SettingsError: Tokens are limited, and those of the request are not known.
        """
        limit = self.tokens_per_minute
        if limit is None:
            return
        if input_tokens is None:
            raise SettingsError(
                f"The image tokens of a request to {model:.80} are not known, so tokens_per_minute= cannot be "
                "enforced: use requests_per_minute= alone."
            )
        if input_tokens + output_tokens > limit:
            raise RequestTooLargeError(
                f"A request to {model:.80} may use {input_tokens:,} input and {output_tokens:,} output tokens, more "
                f"than tokens_per_minute={limit}: lower max_new_tokens, send smaller images with max_side=, or raise "
                "the limit."
            )


def how_to_limit(given: object) -> str:
    """Return how to write a value that was given in place of a `RateLimit`.

    >>> how_to_limit(10)
    'vn.RateLimit(requests_per_minute=10)'
    """
    is_number = isinstance(given, int) and not isinstance(given, bool) and given > 0
    return f"vn.RateLimit(requests_per_minute={given if is_number else '...'})"


def amounts(input_tokens: int, output_tokens: int) -> Mapping[Resource, int]:
    """Return what one request counts for.

    >>> amounts(1000, 50)
    {'requests': 1, 'attempts': 1, 'tokens': 1050, 'input_tokens': 1000, 'output_tokens': 50}
    """
    tokens = input_tokens + output_tokens
    return {
        "requests": 1,
        "attempts": 1,
        "tokens": tokens,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
    }
