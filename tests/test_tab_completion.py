"""Tab offers the names that are made for users, and each of them is documented."""

import inspect
import re
from functools import cached_property

import pytest

import vision_nb as vn
from vision_nb.checks.public_object import INTERNAL_NAMES

SCHEMA = {"type": "object", "properties": {"kind": {"type": "string"}}}


def compared(photo):
    return vn.compare("demo", "What?", [photo], progress=False)


def extracted(photo):
    return vn.extract([photo], SCHEMA, model="demo", progress=False)


OBJECTS = {
    "demo model": lambda photo: vn.connect("demo"),
    "OpenAI model": lambda photo: vn.OpenAIMultiModal("gpt-4o", "k"),
    "Azure model": lambda photo: vn.AzureOpenAIMultiModal("d", None, "https://x.example.org/openai/v1", api_key="k"),
    "Replicate model": lambda photo: vn.connect("replicate:llava-13b", api_token="k"),
    "local model": lambda photo: vn.LocalMultiModal("llava", api_base="http://127.0.0.1:9/v1"),
    "response": lambda photo: vn.connect("demo").complete("What?", [photo]),
    "chat response": lambda photo: vn.connect("demo").chat([vn.ChatMessage("user", "What?")]),
    "stream": lambda photo: vn.connect("demo").stream_complete("What?", [photo]),
    "comparison": compared,
    "extraction": extracted,
    "row": lambda photo: compared(photo)[0],
    "image": lambda photo: vn.ImageDocument.of(photo),
    "images": lambda photo: vn.load_images(photo),
    "chat": lambda photo: vn.Chat("demo"),
    "ledger": lambda photo: vn.ledger,
    "rate limit": lambda photo: vn.RateLimit(requests_per_minute=1),
    "box": lambda photo: vn.Box(0, 0, 1, 1),
    "plan": lambda photo: vn.compare("demo", "What?", [photo], dry_run=True),
    "score": lambda photo: extracted(photo).score({photo: {"kind": "x"}}),
    "estimate": lambda photo: vn.estimate_cost("What?", [photo], models=["gpt-4o"]),
    "chat panel": lambda photo: vn.ChatPanel("demo"),
    "label panel": lambda photo: compared(photo).label(),
    "review panel": lambda photo: extracted(photo).review(),
}


def documentation(value, name):
    """Return the docstring of a method or property; not that of the class of an attribute."""
    member = inspect.getattr_static(type(value), name, None)
    is_member = callable(member) or isinstance(member, (property, cached_property, classmethod, staticmethod))
    return member.__doc__ if is_member else None


@pytest.mark.parametrize("kind", OBJECTS)
def test_tab_offers_documented_names_only(kind, photo):
    value = OBJECTS[kind](photo)
    texts = [inspect.getdoc(one) or "" for one in type(value).__mro__]
    listed = {"layout"} | {name for text in texts for name in re.findall(r"^ {4}(\w+):", text, re.MULTILINE)}
    names = [name for name in dir(value) if not name.startswith("_")]
    without = [name for name in names if name not in listed and not documentation(value, name)]
    assert names and not without
    assert not {"call_soon", "set_trait", "trait_names", "await_", "grid", "identity"} & set(names)


@pytest.mark.parametrize("kind", OBJECTS)
def test_docstrings_describe_attributes_that_tab_offers(kind, photo):
    value = OBJECTS[kind](photo)
    (*_, described) = (inspect.getdoc(type(value)) or "").partition("Attributes:\n")
    described = re.split(r"\n\n", described)[0]
    assert set(re.findall(r"^ {4}(\w+):", described, re.MULTILINE)) <= set(dir(value))


def test_names_that_tab_does_not_offer_exist(photo):
    values = [make(photo) for make in OBJECTS.values()]
    for base, names in INTERNAL_NAMES.items():
        heirs = [value for value in values if base in {kind.__name__ for kind in type(value).__mro__}]
        assert heirs, f"{base} is no class of the objects above"
        assert [name for name in names.split() if not any(hasattr(heir, name) for heir in heirs)] == []
