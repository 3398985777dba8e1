"""API keys and other secrets, held so that no representation shows them.

The vendors' clients never receive a secret. They are given its `Secret.token`, a meaningless placeholder. `authorize`
replaces the token in the headers of a request when it is sent to the server that the secret belongs to.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Mapping, MutableMapping
from itertools import count
from typing import Any
from weakref import ref

from vision_nb.errors import MissingKeyError, SettingsError
from vision_nb.notebook.interrupts import keep_weakly
from vision_nb.privacy.redaction import Pattern, register
from vision_nb.privacy.transfer import includes_secrets, is_exact

_TOKEN = re.compile(r"vision_nb-key-(\d+)")
_PLACEHOLDERS = ("EMPTY", "demo", "not needed to count")  # what this package sends where no key is needed
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\0"
_KEY = re.compile(r"(?:sk|r8|hf|gsk|xai)[-_][\w-]{20,}|AIza[\w-]{30,}")
_numbers = count(1)
_secrets: dict[int, ref[Any]] = {}


class Secret:
    """A secret string: its repr hides it, and error messages and log records are redacted.

    A copy shares the text. A pickle does not contain it, except one of `dumps_with_secrets`: the process that unpickles
    it reads the environment variable again, when the secret is first needed.

    Args:
        value: The text; None to read it from the environment variable.
        name: What it is, for error messages, such as "The API key for OpenAI".
        variable: The environment variable for it; empty if there is none.
        parts: Parts of it that are also secret.
        is_passed: Whether it was passed as an argument, and not read from the environment variable.

    Attributes:
        token: The placeholder in a request's headers until the request is sent.
    """

    __slots__ = ("__weakref__", "_is_passed", "_parts", "_value", "name", "pattern", "token", "variable")

    def __init__(
        self,
        value: str | None,
        *,
        name: str,
        variable: str = "",
        parts: Iterable[str] = (),
        is_passed: bool = True,
    ) -> None:
        self._value, self.name, self.variable, self._is_passed = value, name, variable, is_passed
        self._parts = tuple(parts)
        self.pattern = Pattern()
        self.token = new_token(self)
        if value is not None:
            self._register(value, *self._parts)

    def _register(self, *values: str) -> None:
        if values[0] not in _PLACEHOLDERS:
            self.pattern = Pattern(*values)
            register(self)

    def reveal(self) -> str:
        """Return the text.

        Raises:
            MissingKeyError: It was unpickled in a process that does not have it.
        """
        if self._value is None:
            value = clean_key(os.environ.get(self.variable) if self.variable else None, self.name)
            if not value:
                how = f"set {self.variable} there" if self.variable else "create the model in that process"
                raise MissingKeyError(f"{self.name} is missing: keys are not sent to other processes, so {how}.")
            self._value, self._is_passed = value, False
            self._register(value)
        return self._value

    async def areveal(self) -> str:
        """Return the text, as `reveal`."""
        return self.reveal()

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: Any) -> Secret:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self._value in _PLACEHOLDERS:
            return _restore, (self._value, self.name, self.variable)
        if includes_secrets():
            is_passed = self._is_passed or is_exact()
            return _restore_transferred, (self.reveal(), self.name, self.variable, self._parts, is_passed)
        return _restore, (None, self.name, self.variable)

    def __getstate__(self) -> None:
        """Return nothing: by default, the state holds the text."""

    def __repr__(self) -> str:
        return "Secret('***')"


def _restore(value: str | None, name: str, variable: str) -> Secret:
    return Secret(value, name=name, variable=variable)


def _restore_transferred(value: str, name: str, variable: str, parts: tuple[str, ...], is_passed: bool) -> Secret:
    """Restore a secret; if it came from an environment variable, that of this process takes precedence.

    A secret that was passed may be for another server than the variable's.
    """
    own = "" if is_passed or not variable else clean_key(os.environ.get(variable), name)
    return Secret(own or value, name=name, variable=variable, parts=parts, is_passed=is_passed)


class Hidden:
    """An argument that may be secret, hidden from tracebacks until it is read.

    Args:
        value: The argument.
        is_key: Whether it is a key, which is also redacted in the user's variables that a traceback shows.
    """

    __slots__ = ("__weakref__", "pattern", "value")

    def __init__(self, value: Any, *, is_key: bool = False) -> None:
        self.value = value
        if is_key and isinstance(value, str) and value not in _PLACEHOLDERS:
            self.pattern = Pattern(value, value.strip())
            register(self)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.value and includes_secrets():
            return Hidden, (self.value,)
        return Hidden, (None,)

    def __getstate__(self) -> None:
        """Return nothing: by default, the state holds the value."""

    def __repr__(self) -> str:
        return "'***'"


def hide(value: Any, *, is_key: bool = False) -> Any:
    """Return an argument in a form that tracebacks do not show; None stays None.

    Args:
        value: The argument.
        is_key: Whether it is a key.
    """
    if value is None or isinstance(value, (Hidden, Secret, HiddenHeaders)):
        return value
    return Hidden(value, is_key=is_key)


def unhide(value: Any) -> Any:
    """Return an argument that `hide` may have hidden."""
    return value.value if isinstance(value, Hidden) else value


_SECRET_ARGUMENT = re.compile(
    r"api_(?!version)|key|secret|passw|(^|_)token$|^azure_endpoint$|^default_headers$|^additional_kwargs$",
    re.IGNORECASE,
)


def hide_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's arguments with those that may be secret hidden."""
    return {
        name: hide(value, is_key=name in ("api_key", "api_token")) if _SECRET_ARGUMENT.search(name) else value
        for name, value in arguments.items()
    }


def new_token(secret: Any) -> str:
    """Return a placeholder for a secret, or for an object that has the same methods, as long as it exists.

    Args:
        secret: The object.
    """
    number = next(_numbers)
    keep_weakly(_secrets, number, secret)
    return f"vision_nb-key-{number}"


def clean_key(value: Any, name: str) -> str:
    """Return a key without the white space, invisible characters and quotes around it; "" for none.

    Raises:
        SettingsError: It is not a string, or cannot be sent in an HTTP header.
    """
    value = unhide(value)
    if value is None:
        return ""
    if hasattr(value, "get_secret_value"):  # pydantic's SecretStr
        value = value.get_secret_value()
    if not isinstance(value, str):
        kind, value = type(value).__name__, None  # None: a traceback may show local variables
        raise SettingsError(f"{name} must be a string, not {kind}.")
    while True:
        length = len(value)
        value = value.strip().strip(_INVISIBLE)
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"`":
            value = value[1:-1]
        if len(value) == length:
            break
    wrong = next((number for number, character in enumerate(value, 1) if not " " <= character <= "~"), None)
    if wrong is not None:
        value = None  # a traceback may show local variables
        raise SettingsError(
            f"{name} cannot be sent: character {wrong} of {length} is not printable ASCII. Copy the key again."
        )
    return str(value)


def looks_like_key(text: object) -> bool:
    """Return whether a text has the form of an API key of OpenAI, Replicate or another service.

    >>> looks_like_key("sk-proj-abcdefghijklmnopqrstuvwxyz"), looks_like_key("gpt-4o")
    (True, False)
    """
    return isinstance(text, str) and _KEY.fullmatch(text.strip()) is not None


def make_secret(value: Any, *, name: str, variable: str = "") -> Secret | None:
    """Return a key from an argument, or else from the environment; None if there is none.

    Args:
        value: The argument.
        name: What it is, for error messages.
        variable: The environment variable.

    Raises:
        SettingsError: It cannot be sent in an HTTP header.
    """
    if isinstance(value, Secret):
        return value
    passed = clean_key(value, name)
    cleaned = passed or clean_key(os.environ.get(variable) if variable else None, f"{name} (in {variable})")
    return Secret(cleaned, name=name, variable=variable, is_passed=bool(passed)) if cleaned else None


class HiddenHeaders(dict[str, Any]):
    """HTTP headers, with the tokens of their values.

    Args:
        headers: The headers; values that are not strings are kept.
    """

    def __init__(self, headers: Mapping[str, Any]) -> None:
        self._secrets: list[Secret] = []
        super().__init__()
        if isinstance(headers, HiddenHeaders):
            self._secrets = headers._secrets
            self.update(headers)
            return
        for name, value in headers.items():
            self[name] = value
            if isinstance(value, str):
                # A header such as "Bearer KEY": the key is secret on its own, too.
                secret = Secret(clean_key(hide(value), f"The header {name!s:.80}"), name="", parts=value.split()[1:])
                self._secrets.append(secret)
                self[name] = secret.token

    def __reduce__(self) -> tuple[Any, ...]:
        if not self._secrets:
            return HiddenHeaders, (dict(self),)
        if includes_secrets():
            values = {secret.token: secret.reveal() for secret in self._secrets}
            return HiddenHeaders, ({name: values.get(value, value) for name, value in self.items()},)
        raise SettingsError(
            "A model with custom HTTP headers cannot be sent to another process, because they may contain keys: "
            "create the model in that process."
        )

    def __deepcopy__(self, memo: Any) -> HiddenHeaders:
        return self


def hide_headers(parameters: dict[str, Any]) -> None:
    """Hide the values of the HTTP headers in request parameters, in place: tracebacks show the caller's variables.

    Raises:
        SettingsError: As `hidden_headers`.
    """
    headers = hide(parameters.pop("extra_headers", None))
    if headers is not None:
        parameters["extra_headers"] = hidden_headers(headers)


def hidden_headers(headers: Any) -> HiddenHeaders:
    """Return HTTP headers with their values hidden.

    Raises:
        SettingsError: They are not a mapping of names to strings, or cannot be sent.
    """
    headers = unhide(headers)
    if headers is not None and not isinstance(headers, Mapping):
        kind, headers = type(headers).__name__, None  # None: a traceback may show local variables
        raise SettingsError(f"HTTP headers must be a dict of names and values, not {kind}.")
    return HiddenHeaders(headers or {})


def basic_login(user: str, password: str) -> Secret:
    """Return a user name and password as the value of an Authorization header."""
    value = base64.b64encode(f"{user}:{password}".encode()).decode()
    return Secret(value, name="The password of the address", parts=[password])


def authorize(headers: MutableMapping[str, str], *, is_allowed: bool) -> dict[str, str]:
    """Replace the tokens in a request's headers with their secrets.

    Args:
        headers: The headers, changed in place.
        is_allowed: Whether the request goes to the secrets' own server; if not, headers with tokens are removed.

    Returns:
        The headers with tokens, to put back once the request has been sent.
    """
    hidden = {name: value for name, value in headers.items() if _TOKEN.search(value)}
    for name, value in hidden.items():
        if is_allowed:
            headers[name] = _TOKEN.sub(lambda match: _secret(match).reveal(), value)
        else:
            del headers[name]
    return hidden


async def aauthorize(headers: MutableMapping[str, str], *, is_allowed: bool) -> dict[str, str]:
    """Replace the tokens in a request's headers; the asynchronous version of `authorize`."""
    hidden = {name: value for name, value in headers.items() if _TOKEN.search(value)}
    found = [_secret(match) for value in hidden.values() for match in _TOKEN.finditer(value)] if is_allowed else []
    values = {secret.token: await secret.areveal() for secret in found}
    for name, value in hidden.items():
        if is_allowed:
            headers[name] = _TOKEN.sub(lambda match: values[match[0]], value)
        else:
            del headers[name]
    return hidden


def _secret(match: re.Match[str]) -> Any:
    reference = _secrets.get(int(match[1]))
    secret = None if reference is None else reference()
    if secret is None:
        raise MissingKeyError("The model that the client was made for is closed: keep the model while you use it.")
    return secret
