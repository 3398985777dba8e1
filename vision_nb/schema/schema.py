"""`Schema`: what a structured answer must look like."""

from __future__ import annotations

import enum
import inspect
import json
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from vision_nb.errors import SchemaError, SettingsError
from vision_nb.rendering.format import as_sentence
from vision_nb.rendering.sanitize import replace_surrogates
from vision_nb.schema.canonical import digest_of, without_generated_titles
from vision_nb.schema.fields import Field, fields_of, resolve
from vision_nb.schema.json_text import find_json, parse_json, partial_json
from vision_nb.schema.prompts import shortened, summary
from vision_nb.schema.strict import check_expressible, is_recursive, to_strict, without_omitted
from vision_nb.schema.typed_dicts import with_extensions
from vision_nb.schema.validators import DocumentValidator, InvalidDataError, TypeValidator, Validator

_KEPT_SCHEMAS = 64  # compiled schemas to keep; each may refer to the class that it was made from
_MAX_CANDIDATES = 10  # JSON objects of one answer to validate
_VALUE = "value"
_ROOT_KEYWORDS = {"type", "properties", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"}  # a schema has one of these


@dataclass(frozen=True, eq=False, repr=False)
class Schema:
    """What a structured answer must look like; make one with `Schema.of`.

    Schemas are equal if their digests are.

    Attributes:
        name: A name that is valid in requests: letters, digits, ``_`` and ``-``, at most 64 characters.
        json_schema: The JSON schema as sent: strict, with an object at its root. Other types are wrapped in ``{"value":
            ...}``.
        digest: A digest of the fields, types, descriptions and limits; class names are ignored.
        fields: The fields of the object, with nested objects flattened.
        is_recursive: Whether an object may contain objects like itself.
        source: The type or JSON schema from which it was made.
    """

    name: str
    json_schema: Mapping[str, Any]
    digest: str
    fields: tuple[Field, ...]
    is_recursive: bool
    source: Any
    _document: Mapping[str, Any]
    _validator: Validator
    _is_wrapped: bool

    @staticmethod
    def of(source: Any) -> Schema:
        """Return the `Schema` of a type or JSON schema; a `Schema` is returned unchanged.

        Args:
            source: A pydantic model class, dataclass, TypedDict, Enum, ``Literal``, ``list`` or union of these, or a
                JSON schema as a dict.

        Raises:
            SettingsError: It is none of these, or has a field that cannot be requested from a model.

        >>> Schema.of({"type": "object", "properties": {"total": {"type": "number"}}}).fields[0].kind
        'number'
        """
        if isinstance(source, Schema):
            return source
        if isinstance(source, Mapping):
            return _of_document(_as_text(source))
        _check_type(source)
        try:
            hash(source)
        except TypeError:  # Annotated with a list, for example
            return _of_type.__wrapped__(source)
        return _of_type(source)

    def parse(self, text: str) -> Any:
        """Return the value in an answer: its only JSON object, or the last one that matches.

        Args:
            text: The answer. The object may be in a code fence, or follow a sentence or some reasoning.

        Raises:
            SchemaError: The answer contains no JSON, or none that matches the schema.
        """
        text = replace_surrogates(text)
        if not text.strip():
            raise SchemaError("The answer is empty: ask again.", text=text)
        try:
            candidates = [parse_json(text.strip())]
        except ValueError:
            candidates = list(find_json(text))[-_MAX_CANDIDATES:]
        candidates = [wrapped for value in candidates for wrapped in self._wrapped(value)]
        failure: InvalidDataError | None = None
        for value in reversed(candidates):
            try:
                return self.validate_data(value)
            except InvalidDataError as error:
                failure = failure or error
        if failure is None:
            words = shortened(text.strip().rstrip("."))
            raise SchemaError(
                f"The answer contains no complete JSON object as {self.name} requires: {words}. Ask again, or choose "
                "another model.",
                text=text,
            )
        raise SchemaError(
            f"The answer does not match the schema {self.name}: {summary(failure.errors)}. See .text and .errors.",
            text=text,
            errors=failure.errors,
        ) from failure

    def validate(self, data: Any) -> Any:
        """Return the value of a JSON object, as returned by `dump` or answered by a model.

        Raises:
            SchemaError: The data does not match the schema.
        """
        try:
            return self.validate_data(data)
        except InvalidDataError as error:
            raise SchemaError(
                f"The data does not match the schema {self.name}: {summary(error.errors)}.", errors=error.errors
            ) from error

    def validate_data(self, data: Any) -> Any:
        """Validate as `validate` does, but raise InvalidDataError."""
        try:
            return self._validated(data)
        except RecursionError as error:
            raise InvalidDataError({"": "is nested too deeply"}) from error

    def _validated(self, data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise InvalidDataError({"": "should be a JSON object"})
        data = without_omitted(data, self._document, self._document)
        if not self._is_wrapped:
            return self._validator.validate(data)
        if set(data) != {_VALUE}:
            raise InvalidDataError({_VALUE: "is missing, or is not the only field"})
        try:
            return self._validator.validate(data[_VALUE])
        except InvalidDataError as error:
            joined = {
                f"{_VALUE}{'' if path[:1] in ('', '[') else '.'}{path}": text for path, text in error.errors.items()
            }
            raise InvalidDataError(joined) from error

    def dump(self, value: Any) -> dict[str, Any]:
        """Return a value as an object of JSON data, which `validate` accepts.

        Args:
            value: A value that `parse` or `validate` returned.
        """
        data = self._validator.dump(value)
        return {_VALUE: data} if self._is_wrapped else data

    def partial(self, text: str) -> Any:
        """Return the part of the value that has arrived so far, as unchecked JSON data, or None.

        Args:
            text: The beginning.
        """
        data = partial_json(replace_surrogates(text))
        if self._is_wrapped:
            return data.get(_VALUE) if isinstance(data, Mapping) and set(data) <= {_VALUE} else data
        return data

    def _wrapped(self, value: Any) -> list[Any]:
        """Return the objects that a JSON value of an answer may represent."""
        if self._is_wrapped:
            return [value if isinstance(value, Mapping) and set(value) == {_VALUE} else {_VALUE: value}]
        if isinstance(value, list) and len(value) == 1:  # small models wrap an object into a list
            value = value[0]
        return [value] if isinstance(value, Mapping) else []

    def __reduce__(self) -> tuple[Any, tuple[Any]]:
        return Schema.of, (self.source,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Schema({self.name!r}, fields={[field.path for field in self.fields]})"


def _as_text(document: Mapping[str, Any]) -> str:
    """Return a JSON schema as text; a dict such as ``{"shop": str}`` is not one."""
    reason = "" if _ROOT_KEYWORDS & set(document) else "it has no 'type'"
    try:
        text = json.dumps(document)
    except (TypeError, ValueError, RecursionError) as error:
        reason = f"{error!s:.80}"
    if reason:
        raise SettingsError(
            f"schema= is a dict, but not a JSON schema ({reason}): pass a class with the fields and their types, such "
            "as a pydantic model or a TypedDict, or a dict with 'type' and 'properties'."
        )
    return text


def _check_type(source: Any) -> None:
    """Raise SettingsError if a value is not a type."""
    is_type = isinstance(source, (type, types.GenericAlias, types.UnionType)) or typing.get_origin(source) is not None
    if is_type or isinstance(source, (typing.NewType, getattr(typing, "TypeAliasType", typing.NewType))):
        return
    hint = "pass a pydantic model class, dataclass, TypedDict, Enum, list[...] of these, or a JSON schema as a dict"
    if not isinstance(source, str) and not inspect.isroutine(source) and hasattr(type(source), "__dict__"):
        hint = f"pass a class such as {type(source).__name__}, not an object" if _has_fields(source) else hint
    raise SettingsError(f"schema={source!r:.80} is not a schema: {hint}.")


def _has_fields(value: Any) -> bool:
    kind = type(value)
    return any(hasattr(kind, name) for name in ("model_fields", "__dataclass_fields__")) or isinstance(value, enum.Enum)


@lru_cache(maxsize=_KEPT_SCHEMAS)
def _of_document(text: str) -> Schema:
    document: dict[str, Any] = json.loads(text)
    return _compile(str(document.get("title") or "answer"), document, DocumentValidator(document), document)


@lru_cache(maxsize=_KEPT_SCHEMAS)
def _of_type(source: Any) -> Schema:
    from pydantic import TypeAdapter

    plain = source if isinstance(source, type) and not typing.get_args(source) else None
    name = plain.__name__ if plain else re.sub(r"(\w+\.)+(?=\w)", "", str(source))
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(with_extensions(source))
        document = adapter.json_schema(schema_generator=_generator())
        _check_names(name, document, adapter.json_schema(schema_generator=_generator(), mode="serialization"))
    except SettingsError:
        raise
    except Exception as error:  # of pydantic, or of the class's own code
        reason = str(error).partition("\n")[0].rstrip(".")
        if error.__class__.__name__ == "PydanticSchemaGenerationError":  # its advice is about pydantic's settings
            found = re.search(r"<class '(?:[\w<>]+\.)*(\w+)'>", reason)
            reason = f"pydantic has no schema of the class {found[1] if found else name}; use a pydantic model, a "
            reason += "dataclass or a TypedDict, with fields of such types or of Python's own"
        raise SettingsError(f"{name:.60} cannot be used as a schema: {as_sentence(reason[:180])}") from error
    return _compile(name, document, TypeValidator(adapter, name, document), source)


def _check_names(name: str, read: Mapping[str, Any], written: Mapping[str, Any]) -> None:
    """Raise SettingsError if a class reads and writes a field under different names: `dump` could not be reversed."""
    parts = [(read, written)]
    parts += [(part, written.get("$defs", {}).get(title, {})) for title, part in read.get("$defs", {}).items()]
    for one, other in parts:
        lost = [field for field in one.get("properties", {}) if field not in other.get("properties", one["properties"])]
        if lost:
            raise SettingsError(
                f"Field {lost[0][:80]!r} of {name:.60} is read and written under different names: use alias= "
                "instead of validation_alias= or serialization_alias=."
            )


@cache
def _generator() -> Any:
    """Return pydantic's generator of JSON schemas, with a format for decimals and without warnings."""
    from pydantic.json_schema import GenerateJsonSchema

    class Generator(GenerateJsonSchema):
        ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}

        def decimal_schema(self, schema: Any) -> dict[str, Any]:
            names = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
            limits = {keyword: str(schema[name]) for name, keyword in names.items() if name in schema}
            digits = {name: schema[name] for name in ("max_digits", "decimal_places") if name in schema}
            return {"type": "string", "format": "decimal", **limits, **digits}

    return Generator


def _compile(name: str, document: Mapping[str, Any], validator: Validator, source: Any) -> Schema:
    document = without_generated_titles(document)
    name = re.sub(r"[^a-zA-Z0-9_-]+", "_", name).strip("_")[:64] or "answer"
    is_wrapped = not _is_object(document)
    root = _wrap(document) if is_wrapped else document
    check_expressible(root, name)
    return Schema(
        name=name,
        json_schema=to_strict(root),
        digest=digest_of(root),
        fields=fields_of(root),
        is_recursive=is_recursive(root),
        source=source,
        _document=root,
        _validator=validator,
        _is_wrapped=is_wrapped,
    )


def _is_object(document: Mapping[str, Any]) -> bool:
    try:
        part, _ = resolve(document, document)
    except KeyError:
        return True  # a later check refuses it by name
    return part.get("type", "object" if "properties" in part else None) == "object"


def _wrap(document: Mapping[str, Any]) -> dict[str, Any]:
    definitions = {group: document[group] for group in ("$defs", "definitions") if group in document}
    value = {keyword: part for keyword, part in document.items() if keyword not in definitions}
    return {"type": "object", "properties": {_VALUE: value}, "required": [_VALUE], **definitions}
