"""Schemas: from types and JSON schemas to what is sent, and from answers to values."""

import copy
import dataclasses
import datetime as dt
import enum
import importlib.metadata
import json
import pickle
import re
import subprocess
import sys
import types
import typing
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType, NotRequired, Optional, Required

import pydantic
import pytest
import typing_extensions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vision_nb.demo.openai.strict_schema import schema_problem
from vision_nb.errors import SchemaError, SettingsError
from vision_nb.schema.fields import Field, flatten, unflatten
from vision_nb.schema.json_text import find_json
from vision_nb.schema.schema import Schema
from vision_nb.schema.strict import DECIMAL_PATTERN

INSTALLED = {distribution.name for distribution in importlib.metadata.distributions()}


def model(title, /, **fields):
    return pydantic.create_model(title, **fields)


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Item(pydantic.BaseModel):
    name: str
    price: Decimal


class Money(pydantic.BaseModel):
    amount: Decimal = pydantic.Field(ge=0)
    currency: Literal["EUR", "USD"] | None = None


class Receipt(pydantic.BaseModel):
    """A receipt of a shop."""

    shop: str = pydantic.Field(description="As printed at the top.", min_length=1)
    date: dt.date | None
    color: Color
    total: Money
    discount: Money | None
    items: list[Item]
    tags: list[str] = pydantic.Field(default_factory=list)


class Node(pydantic.BaseModel):
    name: str
    children: list["Node"] = []


class Tree(pydantic.BaseModel):
    name: str
    children: list["Tree"] = []


class Place(typing_extensions.TypedDict, total=False):
    city: typing_extensions.Required[str]
    country: str


@dataclasses.dataclass
class Visit:
    place: Place
    nights: int = 1


DOCUMENT = {
    "title": "Meter reading",
    "type": "object",
    "properties": {
        "meter": {"type": "string", "pattern": "^[A-Z]{2}$"},
        "value": {"type": "integer", "minimum": 0},
        "on": {"type": "string", "format": "date"},
        "note": {"type": "string"},
    },
    "required": ["meter", "value", "on"],
}
RECEIPT = {
    "shop": "Bäcker",
    "date": None,
    "color": "red",
    "total": {"amount": "4.20", "currency": "EUR"},
    "discount": None,
    "items": [{"name": "Brot", "price": "4.20"}],
    "tags": [],
}


def test_the_fields_of_a_model_are_flat_columns_with_their_kinds():
    assert [(field.path, field.kind, field.is_optional) for field in Schema.of(Receipt).fields] == [
        ("shop", "text", False),
        ("date", "date", True),
        ("color", "enum", False),
        ("total.amount", "decimal", False),
        ("total.currency", "enum", True),
        ("discount.amount", "decimal", False),
        ("discount.currency", "enum", True),
        ("items", "list", False),
        ("tags", "list", True),
    ]
    fields = {field.path: field for field in Schema.of(Receipt).fields}
    assert fields["shop"].description == "As printed at the top."
    assert fields["color"].choices == ("red", "green")
    assert [(item.path, item.kind) for item in fields["items"].items] == [("name", "text"), ("price", "decimal")]
    assert [(item.path, item.kind) for item in fields["tags"].items] == [("", "text")]
    assert fields["discount.amount"].nullable_parents == ("discount",)


KINDS = {
    "text": str,
    "integer": int,
    "number": int | float,
    "decimal": Decimal,
    "boolean": bool,
    "date": dt.date,
    "datetime": dt.datetime,
    "time": dt.time,
    "duration": dt.timedelta,
    "enum": Color | Literal["blue"],
    "list": list[int],
    "any": int | str,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_optional", [False, True])
def test_a_type_on_its_own_is_one_field_that_is_wrapped(kind, is_optional):
    schema = Schema.of(KINDS[kind] | None if is_optional else KINDS[kind])
    assert [(field.path, field.kind, field.is_optional) for field in schema.fields] == [("value", kind, is_optional)]
    assert list(schema.json_schema["properties"]) == ["value"]
    assert schema_problem(schema.json_schema) == ""


SOURCES = [Receipt, Node, Visit, Place, list[Receipt], Color, Literal["a", "b"], Item | Node, DOCUMENT, list[list[int]]]


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_what_is_sent_is_accepted_by_strict_mode(source):
    schema = Schema.of(source)
    assert schema_problem(schema.json_schema) == ""
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", schema.name)
    assert "title" not in json.dumps(schema.json_schema)


def test_the_vendors_conversion_to_strict_schemas_still_does_what_we_rely_on():
    from openai.lib._pydantic import _ensure_strict_json_schema

    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A", "description": "x"}, "b": {"type": "string", "default": None}},
        "$defs": {"A": {"type": "object", "properties": {"c": {"type": "integer"}}}},
    }
    inner = {
        "type": "object",
        "properties": {"c": {"type": "integer"}},
        "additionalProperties": False,
        "required": ["c"],
    }
    assert _ensure_strict_json_schema(copy.deepcopy(schema), path=(), root=schema) == {
        "type": "object",
        "properties": {"a": {**inner, "description": "x"}, "b": {"type": "string"}},
        "$defs": {"A": inner},
        "additionalProperties": False,
        "required": ["a", "b"],
    }


def test_what_strict_mode_refuses_is_checked_but_not_sent():
    class Model(pydantic.BaseModel):
        price: Decimal = pydantic.Field(ge=1)
        site: pydantic.HttpUrl
        code: str = pydantic.Field(pattern=r"^[a-z]+$", min_length=2)
        tags: set[str] = {"a"}

    schema = Schema.of(Model)
    assert schema.json_schema["properties"] == {
        "price": {"type": "string", "pattern": DECIMAL_PATTERN},
        "site": {"type": "string"},
        "code": {"type": "string", "pattern": "^[a-z]+$"},
        "tags": {"type": "array", "items": {"type": "string"}},
    }
    with pytest.raises(SchemaError) as caught:
        schema.validate({"price": "0.5", "site": "nowhere", "code": "a", "tags": []})
    assert set(caught.value.errors) == {"price", "site", "code"}
    document = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(?=x).*"}}, "required": ["a"]}
    assert Schema.of(document).json_schema["properties"] == {"a": {"type": "string"}}
    with pytest.raises(SchemaError):
        Schema.of(document).validate({"a": "y"})


class Anything(pydantic.BaseModel):
    inner: list["Open"]


class Open(pydantic.BaseModel):
    extra: dict[str, int]


INEXPRESSIBLE = {
    "a dict": (Anything, r"'inner\[\]\.extra'.*dict with any keys: use a list of objects"),
    "any value": (model("M", a=(Any, ...)), "'a'.*allows any value: give it a type"),
    "a tuple": (model("M", a=(tuple[int, str], ...)), r"'a'.*tuple: use list\[...\]"),
    "a bare list": (model("M", a=(list, ...)), r"'a\[\]'.*any value"),
    "no fields": (model("Nothing"), "Nothing has no fields"),
    "a class in a class without fields": (model("M", a=(model("N"), ...)), "'a'.*no fields"),
    "an unknown class": (type("Plain", (), {}), "Plain"),
    "a missing class": (model("M", a=("Missing", ...)), "not fully defined"),
    "a callable": (model("M", a=(type(len), ...), __config__={"arbitrary_types_allowed": True}), "M"),
    "two names": (model("M", a=(int, pydantic.Field(validation_alias="b"))), "'b' of M is read and written under different names"),
    "an open object": ({"type": "object"}, "no fields"),
    "a list of anything": ({"type": "object", "properties": {"a": {"type": "array"}}}, "'a'.*list of anything"),
    "a condition": ({"type": "object", "properties": {"a": {"type": "string"}}, "if": {}}, 'uses "if"'),
    "a reference to nothing": ({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}, "'a'.*/b', which is not in"),
    "a reference to itself": ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "not in the schema"),
    "a reference elsewhere": ({"type": "object", "properties": {"a": {"$ref": "https://x.org/a"}}}, "'a'.*not in the schema"),
    "an unknown type": ({"type": "object", "properties": {"a": {"type": "strin"}}}, "not valid at properties.a.type"),
    "an invalid pattern": ({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}, "not valid at properties.a.pattern"),
    "a plain class": (type("Plain", (), {"__annotations__": {"a": int}}), "no schema of the class Plain; use a pydantic model"),
    "a field of a plain class": (dataclasses.make_dataclass("Outer", [("a", type("Inner", (), {}))]), "Outer cannot be used as a schema: pydantic has no schema of the class Inner"),
    "a class with broken code": (type("Broken", (), {"__get_pydantic_core_schema__": classmethod(lambda *_: 1 / 0)}), "Broken cannot be used as a schema: division by zero"),
    "a name with a dot": ({"type": "object", "properties": {"a.b": {"type": "string"}}}, "cannot contain a dot"),
    "true": ({"type": "object", "properties": {"a": True}}, "'a'.*allows any value"),
    "no JSON": ({"type": object()}, "is a dict, but not a JSON schema"),
    "names and types": ({"shop": str, "total": float}, "not a JSON schema.*: pass a class with the fields and their types"),
    "names and types as text": ({"shop": "string"}, "not a JSON schema.*: pass a class with the fields and their types"),
    "a text": ("Receipt", "is not a schema: pass a pydantic model class"),
    "an instance": (Item(name="a", price=Decimal(1)), "pass a class such as Item, not an object"),
    "a function": (len, "is not a schema"),
    "nothing": (None, "is not a schema"),
}  # fmt: skip


@pytest.mark.parametrize("name", INEXPRESSIBLE)
def test_a_schema_that_cannot_be_asked_for_is_an_error_that_names_the_field(name):
    source, words = INEXPRESSIBLE[name]
    with pytest.raises(SettingsError, match=words) as caught:
        Schema.of(source)
    assert len(str(caught.value)) <= 300


class Price(typing.TypedDict, total=False):
    """A price."""

    amount: Required[float]
    currency: Literal["EUR", "USD"]


class Bill(typing.TypedDict):
    shop: Annotated[str, pydantic.Field(min_length=1)]
    total: Price | None
    parts: NotRequired[list["Bill"]]
    notes: Optional[Price]  # noqa: UP045


BILL = {"shop": "A", "total": {"amount": 1.5}, "parts": [{"shop": "B", "total": None, "notes": None}], "notes": None}


def test_the_typed_dict_of_any_python_is_a_schema():
    schema = Schema.of(Bill)
    assert schema.name == "Bill" and schema.is_recursive and schema.validate(BILL) == BILL
    assert schema.validate({"shop": "A", "total": None, "notes": None}) == {"shop": "A", "total": None, "notes": None}
    paths = [(field.path, field.is_optional) for field in schema.fields]
    assert paths[:2] == [("shop", False), ("total.amount", False)] and ("parts", True) in paths
    for wrong in ({"total": None, "notes": None}, {**BILL, "shop": ""}, {**BILL, "total": {"currency": "EUR"}}):
        with pytest.raises(SchemaError):
            schema.validate(wrong)
    assert schema.json_schema["$defs"]["Price"]["description"] == "A price."


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (list[Price], [{"amount": 1.0}]), (Price | Literal["none"], "none"),
        (Annotated[list[Price], pydantic.Field(min_length=1)], [{"amount": 1.0}]), (typing.List[Price], []),  # noqa: UP006
    ],
    ids=str,
)  # fmt: skip
def test_typed_dicts_inside_other_types_are_found(kind, data):
    assert Schema.of(kind).validate({"value": data}) == data


def test_the_fields_of_a_typed_dict_with_delayed_annotations_keep_their_qualifiers():
    namespace = {"__name__": __name__}
    code = "from __future__ import annotations\nfrom typing import *\n"
    exec(f"{code}class Line(TypedDict):\n    name: str\n    price: NotRequired[int]\n", namespace)
    assert Schema.of(namespace["Line"]).validate({"name": "x"}) == {"name": "x"}


def renamed(**changes):
    fields = {"shop": (str, ...), "total": (Money, ...), **changes}
    return Schema.of(model("Other", **fields)).digest


def test_the_digest_changes_with_the_fields_and_not_with_the_names_of_classes():
    base = Schema.of(model("Name", shop=(str, ...), total=(Money, ...))).digest
    assert renamed() == base
    money = model("Cash", amount=(Decimal, pydantic.Field(ge=0)), currency=(Literal["EUR", "USD"] | None, None))
    assert renamed(total=(money, ...)) == base
    changed = [
        renamed(shop=(int, ...)),
        renamed(shop=(str | None, ...)),
        renamed(shop=(str, pydantic.Field(description="x"))),
        renamed(shop=(str, pydantic.Field(min_length=1))),
        renamed(shop=(str, "x")),
        renamed(extra=(str, ...)),
        renamed(total=(model("Cash", amount=(Decimal, pydantic.Field(ge=1))), ...)),
        renamed(total=(Item, ...)),
    ]
    assert len({base, *changed}) == len(changed) + 1
    assert Schema.of(Node).digest == Schema.of(Tree).digest


def test_schemas_are_equal_and_hashable_by_digest():
    other = model("Other", name=(str, ...), price=(Decimal, ...))
    assert Schema.of(Item) == Schema.of(other) != Schema.of(Node)
    assert len({Schema.of(Item), Schema.of(other)}) == 1


def test_a_schema_is_compiled_once():
    assert Schema.of(Receipt) is Schema.of(Receipt)
    assert Schema.of(list[Receipt]) is Schema.of(list[Receipt])
    assert Schema.of(dict(DOCUMENT)) is Schema.of(DOCUMENT)
    assert Schema.of(Schema.of(Receipt)) is Schema.of(Receipt)
    assert Schema.of(Annotated[int, pydantic.Field(examples=[[1]])]).fields[0].kind == "integer"


def test_a_schema_can_be_pickled():
    assert pickle.loads(pickle.dumps(Schema.of(Receipt))) is Schema.of(Receipt)


def test_a_recursive_model_is_parsed_and_its_inner_objects_are_any():
    schema = Schema.of(Node)
    assert schema.is_recursive
    assert not Schema.of(Receipt).is_recursive
    assert [(field.path, field.kind) for field in schema.fields] == [("name", "text"), ("children", "list")]
    assert [item.kind for item in schema.fields[1].items] == ["any"]
    value = schema.parse('{"name": "a", "children": [{"name": "b", "children": []}]}')
    assert value == Node(name="a", children=[Node(name="b")])


def test_values_are_dumped_as_json_data_and_validated_back():
    schema = Schema.of(Receipt)
    value = schema.validate(RECEIPT)
    assert value.total.amount == Decimal("4.20")
    assert schema.dump(value) == RECEIPT
    visit = Schema.of(Visit).validate({"place": {"city": "Bern", "country": None}, "nights": 2})
    assert visit == Visit(place={"city": "Bern"}, nights=2)
    assert Schema.of(list[Color]).validate({"value": ["red"]}) == [Color.RED]
    assert Schema.of(list[Color]).dump([Color.RED]) == {"value": ["red"]}


def test_fields_go_by_their_aliases_and_computed_fields_are_left_out():
    class Total(pydantic.BaseModel):
        net: int = pydantic.Field(alias="Netto")

        @pydantic.computed_field
        def gross(self) -> int:
            return self.net * 2

    schema = Schema.of(Total)
    assert [field.path for field in schema.fields] == ["Netto"]
    assert schema.dump(schema.parse('{"Netto": 3}')) == {"Netto": 3}


def test_the_values_of_a_json_schema_are_checked_as_those_of_a_class():
    schema = Schema.of(DOCUMENT)
    assert schema.name == "Meter_reading"
    assert schema.json_schema["properties"]["note"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    data = {"meter": "AB", "value": 3, "on": "2026-11-02"}
    assert schema.parse(json.dumps({**data, "note": None})) == data
    with pytest.raises(SchemaError) as caught:
        schema.parse('{"meter": "ab", "value": "3", "on": "2026-13-02"}')
    assert caught.value.errors == {
        "meter": "'ab' does not match '^[A-Z]{2}$'",
        "value": 'should be of type integer, not "3"',
        "on": 'should be a valid date, not "2026-13-02"',
    }
    with pytest.raises(SchemaError, match="meter is missing"):
        schema.validate({"value": 3, "on": "2026-11-02"})


def test_flat_values_become_an_object_again():
    fields = Schema.of(Receipt).fields
    data = {**RECEIPT, "discount": {"amount": "1", "currency": None}}
    for one in (RECEIPT, data):
        flat = flatten(one, fields)
        assert list(flat) == [field.path for field in fields]
        assert unflatten(flat, fields) == one
    assert flatten(RECEIPT, fields)["discount.amount"] is None
    assert flatten("no object", fields)["shop"] is None
    assert unflatten({}, [Field("a.b", "text"), Field("c", "text")]) == {"a": {"b": None}, "c": None}


def test_errors_are_named_by_field_without_the_members_of_unions():
    class Owner(pydantic.BaseModel):
        pet: Item | Node | None
        many: list[int | dt.date]

        @pydantic.model_validator(mode="after")
        def check(self):
            if len(self.many) > 2:
                raise ValueError("too many of them")
            return self

    with pytest.raises(SchemaError) as caught:
        Schema.of(Owner).parse('{"pet": {"name": 3}, "many": [1, "x"]}')
    assert set(caught.value.errors) == {"pet.name", "pet.price", "many[1]"}
    assert caught.value.errors["pet.price"] == "is missing"
    with pytest.raises(SchemaError, match="too many of them") as caught:
        Schema.of(Owner).parse('{"pet": null, "many": [1, 2, 3]}')
    assert caught.value.errors == {"": "too many of them"}


def test_an_error_in_the_users_validator_is_an_own_error():
    class Broken(pydantic.BaseModel):
        a: int

        @pydantic.field_validator("a")
        @classmethod
        def fail(cls, value):
            return {}[value]

    with pytest.raises(SettingsError, match="A validator of Broken failed"):
        Schema.of(Broken).parse('{"a": 1}')


HOSTILE = {
    "nothing": "",
    "a lone surrogate": '\ud800 {"a": ',
    "a deep list": "[" * 100_000,
    "deep objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "a deep value": '{"name": "x", "children": ' + "[" * 900 + "]" * 900 + "}",
    "nodes within nodes": '{"name": "x", "children": [' * 400 + "]}" * 400,
    "a long number": '{"name": ' + "1" * 6000 + ', "children": []}',
    "not a number": '{"name": NaN, "children": []}',
    "an escaped surrogate in a name": '{"\\ud800": 1}',
    "many braces": "{" * 200_000,
    "many objects": '{"a": 1}' * 20_000,
    "many beginnings": '{"a' * 50_000,
    "a list": "[1, 2]",
    "a number": "5",
    "null": "null",
    "a half object": '{"name": "x", "children": [{"name": "y", "children": []}',
    "no quotes": '{name: "x", other: {"name": "y", "children": []}}',
    "broken quotes": "{'name': 'x', \"children\": [{\"name\": \"y\", \"children\": []}]}",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("source", [Node, DOCUMENT], ids=["class", "document"])
def test_a_hostile_answer_is_an_own_error(name, source):
    schema = Schema.of(source)
    with pytest.raises(SchemaError) as caught:
        schema.parse(HOSTILE[name])
    str(caught.value).encode()
    assert len(str(caught.value)) <= 300
    for text in caught.value.errors.values():
        text.encode()
    schema.partial(HOSTILE[name])


def test_lone_surrogates_in_an_answer_are_replaced():
    assert Schema.of(Node).parse('{"name": "\\ud800", "children": []}').name == "\ufffd"


def test_json_is_found_in_any_text():
    assert list(find_json('{a} {"b": {"c": 1}} [1] [{"d": 2}] {"e": {"f": 1} oops} [x]')) == [
        {"b": {"c": 1}},
        [1],
        [{"d": 2}],
    ]
    schema = Schema.of(Literal["red", "green"])
    assert [schema.parse(text) for text in ('{"value": "red"}', '"green"', 'It is {"value": "red"}.')] == [
        "red",
        "green",
        "red",
    ]
    assert Schema.of(list[int]).parse("The numbers are [1, 2].") == [1, 2]
    with pytest.raises(SchemaError):
        schema.parse("blue")
    assert Schema.of(Node).parse('[{"name": "a", "children": []}]') == Node(name="a")
    assert Schema.of(NewType("Count", int)).parse("3") == 3


def test_the_part_of_an_answer_that_has_arrived_is_read():
    schema = Schema.of(Receipt)
    assert schema.partial("Here you are: ") is None
    assert schema.partial('```json\n{"shop": "Bäc') == {"shop": "Bäc"}
    assert schema.partial('{"shop": "B", "total": {"amount": "4.2') == {"shop": "B", "total": {"amount": "4.2"}}
    assert schema.partial('{"shop": "B"} That is all.') == {"shop": "B"}
    assert Schema.of(list[int]).partial('{"value": [1, 2') == [1, 2]


LEAVES = [str, int, bool, float, Decimal, dt.date, dt.datetime, dt.time, dt.timedelta, Color, Literal["a", "b", 3]]
TYPES = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        inner.map(lambda kind: kind | None if not isinstance(kind, type(Literal["a"])) else kind),
        inner.map(lambda kind: types.GenericAlias(list, (kind,))),
        st.tuples(inner, inner).map(lambda kinds: kinds[0] | kinds[1] if kinds[0] != kinds[1] else kinds[0]),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda kinds: model("Model", **{f"field_{n}": (kind, ...) for n, kind in enumerate(kinds)})
        ),
    ),
    max_leaves=6,
)


def values_of(json_schema, root):
    """Return a strategy for the answers that a strict schema allows."""
    if "$ref" in json_schema:
        return values_of(root["$defs"][json_schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in json_schema:
        return st.one_of([values_of(part, root) for part in json_schema["anyOf"]])
    if "enum" in json_schema:
        return st.sampled_from(json_schema["enum"])
    if "const" in json_schema:
        return st.just(json_schema["const"])
    texts = {
        "date": st.dates().map(dt.date.isoformat),
        "date-time": st.datetimes(timezones=st.just(dt.UTC)).map(dt.datetime.isoformat),
        "time": st.times().map(dt.time.isoformat),
        "duration": st.integers(0, 999).map(lambda days: f"P{days}D"),
        None: st.decimals(allow_nan=False, allow_infinity=False, places=2).map(lambda n: f"{n:f}")
        if "pattern" in json_schema
        else st.text(st.characters(codec="utf-8"), max_size=20),
    }
    match json_schema["type"]:
        case "string":
            return texts[json_schema.get("format")]
        case "integer":
            return st.integers(-(10**12), 10**12)
        case "number":
            return st.floats(allow_nan=False, allow_infinity=False)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "array":
            return st.lists(values_of(json_schema["items"], root), max_size=3)
        case "object":
            parts = json_schema["properties"]
            return st.fixed_dictionaries({name: values_of(part, root) for name, part in parts.items()})


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_model_round_trips_from_its_schema_to_an_answer_to_a_value(data):
    schema = Schema.of(data.draw(TYPES))
    assert schema_problem(schema.json_schema) == ""
    answer = data.draw(values_of(schema.json_schema, schema.json_schema))
    text = f"Here it is:\n```json\n{json.dumps(answer, ensure_ascii=data.draw(st.booleans()), indent=2)}\n```"
    value = schema.parse(text)
    dumped = schema.dump(value)
    assert schema.validate(dumped) == value
    assert schema.validate(json.loads(json.dumps(dumped))) == value
    flat = flatten(dumped, schema.fields)
    assert set(flat) == {field.path for field in schema.fields}
    assert flatten(unflatten(flat, schema.fields), schema.fields) == flat


@pytest.mark.skipif("rfc3987-syntax" not in INSTALLED, reason="jsonschema uses this package only if it is installed")
def test_the_grammar_of_iris_is_loaded_only_to_check_one():
    code = (
        "import sys; from vision_nb.schema.jsonschema_import import import_jsonschema\n"
        "kind = import_jsonschema().Draft202012Validator; print('rfc3987_syntax' in sys.modules)\n"
        "checked = kind({'format': 'iri'}, format_checker=kind.FORMAT_CHECKER)\n"
        "print([checked.is_valid(one) for one in ('https://example.org/a', 'no iri')], 'rfc3987_syntax' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:2] == ["False", "[True, False] True"]
