"""Tokens that a function returns, in place of an API key."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, cast

from vision_nb.errors import AuthenticationError
from vision_nb.privacy.api_keys import Secret, make_secret, new_token
from vision_nb.privacy.transfer import includes_secrets
from vision_nb.rendering.format import type_name
from vision_nb.user_warnings import to_thread


class TokenProvider:
    """A function that returns a token for each request, in place of a `Secret`.

    Args:
        function: The function, synchronous or asynchronous.

    Attributes:
        token: See `Secret`.
    """

    def __init__(self, function: Callable[[], str | Awaitable[str]]) -> None:
        self.function = function
        self.token = new_token(self)
        self._recent: deque[Secret] = deque(maxlen=4)  # keeps them redacted

    @property
    def is_async(self) -> bool:
        """Whether only asynchronous calls can use it."""
        return inspect.iscoroutinefunction(self.function)

    def reveal(self) -> str:
        """Return a token.

        Raises:
            AuthenticationError: The function failed, or did not return a token.
        """
        try:
            token = self.function()
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}", error)
        return self._checked(token)

    async def areveal(self) -> str:
        """Return a token; a synchronous function runs in a thread. See `reveal`."""
        try:
            token = await cast("Awaitable[str]", self.function()) if self.is_async else await to_thread(self.function)
            if inspect.isawaitable(token):
                token = await token
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}", error)
        return self._checked(token)

    def _checked(self, token: object) -> str:
        if not isinstance(token, str):
            self._fail(f"it returned {type_name(token)}, not a string")
        secret = make_secret(token, name="The token of azure_ad_token_provider=")
        if secret is None:
            self._fail("it returned an empty string")
        if not any(known.reveal() == secret.reveal() for known in self._recent):
            self._recent.append(secret)
        return secret.reveal()

    def _fail(self, reason: str, cause: Exception | None = None) -> NoReturn:
        raise AuthenticationError(
            f"azure_ad_token_provider= failed ({reason:.120}): correct the function, or pass api_key=."
        ) from cause

    def __copy__(self) -> TokenProvider:
        return self

    def __deepcopy__(self, memo: Any) -> TokenProvider:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        includes_secrets()  # the function may refer to credentials
        return TokenProvider, (self.function,)

    def __repr__(self) -> str:
        return f"TokenProvider({getattr(self.function, '__qualname__', type(self.function).__name__)})"
