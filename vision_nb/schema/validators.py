"""Validate JSON data by a Python type or by a JSON schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from typing import Any, Protocol

from vision_nb.errors import SettingsError
from vision_nb.rendering.format import as_sentence, type_name
from vision_nb.schema.json_text import to_json
from vision_nb.schema.jsonschema_import import import_jsonschema
from vision_nb.schema.misread_values import misread_values
from vision_nb.schema.prompts import shortened


class InvalidDataError(Exception):
    """JSON data does not match a schema.

    Attributes:
        errors: One sentence by field path; an empty path refers to the whole.
    """

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(errors)
        self.errors = errors


class Validator(Protocol):
    """Turns JSON data into a value, and back."""

    def validate(self, data: Any) -> Any:
        """Return the value of some JSON data, or raise InvalidDataError."""

    def dump(self, value: Any) -> Any:
        """Return a value as JSON data."""


class TypeValidator:
    """Validates by a Python type.

    Args:
        adapter: The type's `pydantic.TypeAdapter`.
        name: The type's name in error messages.
        document: The type's JSON schema.
    """

    def __init__(self, adapter: Any, name: str, document: Mapping[str, Any]) -> None:
        self._adapter, self._name, self._document = adapter, name, document

    def validate(self, data: Any) -> Any:
        """Return the value of some JSON data, or raise InvalidDataError."""
        from pydantic import ValidationError

        found = misread_values(data, self._document, self._document)
        misread = {join_path(path): sentence for path, sentence in found.items()}
        try:
            value = self._adapter.validate_json(to_json(data))
        except ValidationError as error:
            raise InvalidDataError({**_by_path(data, error), **misread}) from error
        except ValueError as error:  # the data cannot be written as JSON
            raise InvalidDataError({"": f"{error}"}) from error
        except Exception as error:
            raise SettingsError(
                f"A validator of {self._name} failed ({type(error).__name__}: {error!s:.100})."
            ) from error
        if misread:
            raise InvalidDataError(misread)
        return value

    def dump(self, value: Any) -> Any:
        """Return a value as JSON data."""
        try:
            return self._adapter.dump_python(value, mode="json", by_alias=True, round_trip=True)
        except (TypeError, ValueError) as error:
            raise SettingsError(
                f"{type_name(value, 'A')} is not a value of {self._name}: pass one, or a dict."
            ) from error


def _by_path(data: Any, error: Any) -> dict[str, str]:
    """Return the errors of a ValidationError, by field path."""
    errors: dict[str, str] = {}
    for one in error.errors(include_url=False, include_context=False, include_input=False):
        path, found = _locate(data, one["loc"], is_missing=one["type"] == "missing")
        text = "is missing" if one["type"] == "missing" else f"{_sentence(one['msg'])}, not {shortened(found)}"
        if one["type"] in ("value_error", "assertion_error"):  # the user's own validator
            text = one["msg"].partition(", ")[2] or one["msg"]
        if path not in errors:
            errors[path] = text
        elif text not in errors[path]:
            errors[path] = f"{errors[path]}; or {text}"
    return errors


def _sentence(message: str) -> str:
    start = "Input should "
    return f"should {message[len(start) :]}" if message.startswith(start) else message[:1].lower() + message[1:]


def _locate(data: Any, location: Iterable[Any], *, is_missing: bool) -> tuple[str, Any]:
    """Return the path of an error, without the names of a union's members, and the value there."""
    steps = list(location)
    path: list[Any] = []
    for index, step in enumerate(steps):
        if isinstance(data, dict):
            is_there = step in data
        else:
            is_there = isinstance(data, list) and isinstance(step, int) and step < len(data)
        if is_there:
            data = data[step]
        elif not (is_missing and index == len(steps) - 1):
            continue
        path.append(step)
    return join_path(path), data


def join_path(steps: Iterable[Any]) -> str:
    """Return the path of a field.

    >>> join_path(["items", 0, "price"])
    'items[0].price'
    """
    path = ""
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    return path


class DocumentValidator:
    """Validates by a JSON schema; the value is the data itself.

    Args:
        document: The schema.

    Raises:
        SettingsError: The schema is not valid.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        jsonschema = import_jsonschema()
        from referencing import Registry

        kind = jsonschema.Draft202012Validator
        try:
            kind.check_schema(document, format_checker=kind.FORMAT_CHECKER)
        except (jsonschema.exceptions.SchemaError, RecursionError) as error:
            place = join_path(getattr(error, "absolute_path", ()))
            reason = as_sentence(getattr(error, "message", "nested too deeply")[:160])
            raise SettingsError(f"The JSON schema is not valid at {place or 'its root'}: {reason}") from error
        checker = jsonschema.FormatChecker(formats=())
        for name, parse in (("date", date), ("date-time", datetime), ("time", time)):
            checker.checkers[name] = (_format_check(parse), ValueError)
        # An empty registry: references to other documents are not downloaded.
        self._validator = kind(document, format_checker=checker, registry=Registry())

    def validate(self, data: Any) -> Any:
        """Return the data, or raise InvalidDataError."""
        from referencing.exceptions import Unresolvable

        errors: dict[str, str] = {}
        try:
            for error in self._validator.iter_errors(data):
                path, text = _explain(error)
                errors.setdefault(path, text)
        except Unresolvable as error:
            raise InvalidDataError({"": f"the schema refers to {error.ref!r:.80}, which is not in it"}) from error
        if errors:
            raise InvalidDataError(errors)
        return data

    def dump(self, value: Any) -> Any:
        """Return the value."""
        return value


def _format_check(kind: Any) -> Any:
    def check(value: object) -> bool:
        if isinstance(value, str):
            kind.fromisoformat(value)
        return True

    return check


def _explain(error: Any) -> tuple[str, str]:
    """Return the path and the sentence of an error of jsonschema."""
    path, limit = join_path(error.absolute_path), error.validator_value
    found = shortened(error.instance)
    match error.validator:
        case "required":
            missing = next(name for name in limit if name not in error.instance)
            return join_path([*error.absolute_path, missing]), "is missing"
        case "type":
            kinds = " or ".join(limit) if isinstance(limit, list) else limit
            return path, f"should be of type {kinds}, not {found}"
        case "enum":
            return path, f"should be one of {', '.join(map(shortened, limit))}, not {found}"
        case "format":
            return path, f"should be a valid {limit}, not {found}"
        case _:
            return path, " ".join(str(error.message).split())[:160]
