"""Ask vision models about images, in a notebook.

The common tasks::

    vn.connect("openai:gpt-4o").complete("What is this?", ["photo.jpg"])     ask; in a cell: %%vision
    vn.ChatPanel("openai:gpt-4o", images="photo.jpg")                        talk about images in a panel
    vn.show("photos/")                                                       look at images
    vn.load_images("report.pdf", "photos/*.jpg")                             load pages, frames, folders and URLs
    table = vn.extract("receipts/", Receipt, model="openai:gpt-4o")          extract a row from each image
    vn.compare(["openai:gpt-4o", "demo"], "What is this?", "photos/")        compare models
    table.score("truth.csv").plot()                                          score models against the truth
    vn.extract("receipts/", Receipt, model="openai:gpt-4o", dry_run=True)    see the price before; sends nothing
    vn.ledger                                                                see the price so far, and set a budget
    vn.connect("smolvlm-500m")                                               use a model on your machine

The demo model needs no API key, but only measures pixels: name another, such as "openai:gpt-4o", to read images.

>>> import vision_nb as vn
>>> images = [vn.samples.path("chart"), vn.samples.path("label")]  # or paths, folders, patterns, URLs
>>> answer = vn.connect("demo").complete("How large is it?", images[0])
>>> print(answer)
The image's size is **1,000 x 600 pixels** (landscape)...

Extract a table: a row per image, a column per field.

>>> from pydantic import BaseModel
>>> class Size(BaseModel):
...     width: int
...     height: int
>>> sizes = vn.extract(images, Size, model="demo", progress=False)
>>> table = sizes.to_dataframe()

Compare models, and score them against the truth:

>>> comparison = vn.compare(["demo", "demo:second"], "How large is it?", images, schema=Size, progress=False)
>>> score = comparison.score({"chart": {"width": 1000, "height": 600}})
>>> axes = score.plot()

More by topic; ``help(vn.extract)`` explains one name, and ``python -m vision_nb tutorials`` copies the tutorials:

- Ask: `connect`, `Chat`, `ChatPanel`, `display_stream`
- Images: `show`, `load_images`, `draw_boxes`, `select_region`
- Many images: `extract`, `compare`, `RateLimit`
- Prices: `estimate_cost`, `image_tokens`, `ledger`
- Models: `register_service`, `serve`
- `samples` has example images, and `errors` has every exception
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import vision_nb.comparison.hooks as _comparison_hooks
import vision_nb.conversation.hooks as _conversation_hooks
import vision_nb.images.hooks as _image_hooks
import vision_nb.providers.hooks as _provider_hooks
from vision_nb.notebook.garbage_collection import without_garbage_collection as _without_garbage_collection

if TYPE_CHECKING:
    from vision_nb import compat as compat
    from vision_nb import errors as errors
    from vision_nb import samples as samples
    from vision_nb.comparison.compare import acompare as acompare
    from vision_nb.comparison.compare import compare as compare
    from vision_nb.comparison.extract import aextract as aextract
    from vision_nb.comparison.extract import extract as extract
    from vision_nb.comparison.extraction import Extraction as Extraction
    from vision_nb.comparison.plan import Plan as Plan
    from vision_nb.comparison.result import Comparison as Comparison
    from vision_nb.comparison.scoring import Score as Score
    from vision_nb.conversation.chat import Chat as Chat
    from vision_nb.cost.calibrate import calibrate as calibrate
    from vision_nb.cost.cheapest_fit import cheapest_fit as cheapest_fit
    from vision_nb.cost.estimate import estimate_cost as estimate_cost
    from vision_nb.cost.image_tokens import image_tokens as image_tokens
    from vision_nb.cost.image_tokens import image_tokens_array as image_tokens_array
    from vision_nb.cost.ledger import ledger as ledger
    from vision_nb.cost.prices import set_price as set_price
    from vision_nb.cost.rate_limit import RateLimit as RateLimit
    from vision_nb.cost.show_tiles import show_tiles as show_tiles
    from vision_nb.images.box_drawing import draw_boxes as draw_boxes
    from vision_nb.images.boxes import Box as Box
    from vision_nb.images.document import ImageDocument as ImageDocument
    from vision_nb.images.loading import load_image_urls as load_image_urls
    from vision_nb.images.loading import load_images as load_images
    from vision_nb.messages import ChatMessage as ChatMessage
    from vision_nb.messages import MessageRole as MessageRole
    from vision_nb.messages import (
        generate_openai_multi_modal_chat_message as generate_openai_multi_modal_chat_message,
    )
    from vision_nb.notebook.display import adisplay_stream as adisplay_stream
    from vision_nb.notebook.display import display_image_uris as display_image_uris
    from vision_nb.notebook.display import display_stream as display_stream
    from vision_nb.providers.connect import connect as connect
    from vision_nb.providers.demo import DemoMultiModal as DemoMultiModal
    from vision_nb.providers.llamacpp.download import download_gguf as download_gguf
    from vision_nb.providers.llamacpp.serve import serve as serve
    from vision_nb.providers.llamacpp.serve import serve_llava as serve_llava
    from vision_nb.providers.local.localai_config import write_localai_config as write_localai_config
    from vision_nb.providers.local.model import LocalMultiModal as LocalMultiModal
    from vision_nb.providers.openai.azure import AzureOpenAIMultiModal as AzureOpenAIMultiModal
    from vision_nb.providers.openai.model import OpenAIMultiModal as OpenAIMultiModal
    from vision_nb.providers.openai.service_model import ServiceMultiModal as ServiceMultiModal
    from vision_nb.providers.replicate.catalog import (
        REPLICATE_MULTI_MODAL_LLM_MODELS as REPLICATE_MULTI_MODAL_LLM_MODELS,
    )
    from vision_nb.providers.replicate.model import ReplicateMultiModal as ReplicateMultiModal
    from vision_nb.responses import ChatResponse as ChatResponse
    from vision_nb.responses import CompletionResponse as CompletionResponse
    from vision_nb.responses import Usage as Usage
    from vision_nb.services.registry import register_service as register_service
    from vision_nb.widgets.chat_panel import ChatPanel as ChatPanel
    from vision_nb.widgets.image_browser import show as show
    from vision_nb.widgets.label_panel import LabelPanel as LabelPanel
    from vision_nb.widgets.region_select import select_region as select_region
    from vision_nb.widgets.review_panel import ReviewPanel as ReviewPanel

__version__ = "0.1.0"

_EXPORTS = {
    "vision_nb.comparison.compare": ("acompare", "compare"),
    "vision_nb.comparison.extract": ("aextract", "extract"),
    "vision_nb.comparison.extraction": ("Extraction",),
    "vision_nb.comparison.plan": ("Plan",),
    "vision_nb.cost.rate_limit": ("RateLimit",),
    "vision_nb.comparison.result": ("Comparison",),
    "vision_nb.comparison.scoring": ("Score",),
    "vision_nb.conversation.chat": ("Chat",),
    "vision_nb.cost.calibrate": ("calibrate",),
    "vision_nb.cost.cheapest_fit": ("cheapest_fit",),
    "vision_nb.cost.estimate": ("estimate_cost",),
    "vision_nb.cost.image_tokens": ("image_tokens", "image_tokens_array"),
    "vision_nb.cost.ledger": ("ledger",),
    "vision_nb.cost.prices": ("set_price",),
    "vision_nb.cost.show_tiles": ("show_tiles",),
    "vision_nb.images.box_drawing": ("draw_boxes",),
    "vision_nb.images.boxes": ("Box",),
    "vision_nb.images.document": ("ImageDocument",),
    "vision_nb.images.loading": ("load_image_urls", "load_images"),
    "vision_nb.messages": ("ChatMessage", "MessageRole", "generate_openai_multi_modal_chat_message"),
    "vision_nb.notebook.display": ("adisplay_stream", "display_image_uris", "display_stream"),
    "vision_nb.providers.connect": ("connect",),
    "vision_nb.providers.demo": ("DemoMultiModal",),
    "vision_nb.providers.llamacpp.download": ("download_gguf",),
    "vision_nb.providers.llamacpp.serve": ("serve", "serve_llava"),
    "vision_nb.providers.local.localai_config": ("write_localai_config",),
    "vision_nb.providers.local.model": ("LocalMultiModal",),
    "vision_nb.providers.openai.azure": ("AzureOpenAIMultiModal",),
    "vision_nb.providers.openai.model": ("OpenAIMultiModal",),
    "vision_nb.providers.openai.service_model": ("ServiceMultiModal",),
    "vision_nb.providers.replicate.catalog": ("REPLICATE_MULTI_MODAL_LLM_MODELS",),
    "vision_nb.providers.replicate.model": ("ReplicateMultiModal",),
    "vision_nb.responses": ("ChatResponse", "CompletionResponse", "Usage"),
    "vision_nb.services.registry": ("register_service",),
    "vision_nb.widgets.chat_panel": ("ChatPanel",),
    "vision_nb.widgets.image_browser": ("show",),
    "vision_nb.widgets.label_panel": ("LabelPanel",),
    "vision_nb.widgets.region_select": ("select_region",),
    "vision_nb.widgets.review_panel": ("ReviewPanel",),
}
"""The public names by the module that defines them, as in the imports above, which type checkers and editors read."""

_MODULES = {name: module for module, names in _EXPORTS.items() for name in names}
_SUBMODULES = ("compat", "errors", "samples")

__all__ = [*sorted(_MODULES), *_SUBMODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        with _without_garbage_collection():
            value = getattr(importlib.import_module(_MODULES[name]), name)
    elif name in _SUBMODULES:
        value = importlib.import_module(f"vision_nb.{name}")
    else:
        from vision_nb.checks.spelling import similar

        nearest = None if name.startswith("_") else similar(name, __all__)
        hint = f": {_ADVICE[name]}." if name in _ADVICE else f". Did you mean {nearest!r}?" if nearest else ""
        # With an object but no name, Python adds no suggestion of its own.
        raise AttributeError(f"module 'vision_nb' has no attribute {name!r}{hint}", obj=sys.modules[__name__])
    globals()[name] = value
    return value


class _Package(ModuleType):
    """The package: assigning to a name that it does not have would set nothing."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name.startswith("_") or name in __all__ or name in globals() or isinstance(value, ModuleType)):
            from vision_nb.checks.attributes import unknown_attribute

            raise unknown_attribute("vision_nb", name, __all__, _ADVICE)
        super().__setattr__(name, value)


_ADVICE = {
    "ask": "use vn.connect(NAME).complete(PROMPT, IMAGES), or %%vision in a notebook",
    "budget": "set vn.ledger.budget, in US dollars",
    "model": "use vn.connect(NAME), or %vision use NAME in a notebook",
    "api_key": "pass it to vn.connect(NAME, api_key=...), or set the provider's environment variable",
    "rate_limit": "pass it to vn.connect(NAME, rate_limit=...)",
}
sys.modules[__name__].__class__ = _Package


def _open_label_panel(comparison: Comparison, **options: Any) -> LabelPanel:
    from vision_nb.widgets.label_panel import LabelPanel

    return LabelPanel(comparison, **options)


def _open_review_panel(extraction: Extraction, **options: Any) -> ReviewPanel:
    from vision_nb.widgets.review_panel import ReviewPanel

    return ReviewPanel(extraction, **options)


def _count_tokens(images: Sequence[ImageDocument], model: Any) -> list[int | None]:
    from vision_nb.cost.image_tokens import image_tokens

    return [count.tokens for count in image_tokens(list(images), model)]


def _configured_model() -> _provider_hooks.ConfiguredModel | None:
    from vision_nb.magics.configured import configured_model

    return configured_model()


_comparison_hooks.open_label_panel = _open_label_panel  # `Comparison.label` is in a layer below the widgets
_comparison_hooks.open_review_panel = _open_review_panel  # and so is `Extraction.review`
_image_hooks.count_tokens = _count_tokens  # the token rules are above the images


def _configured_store() -> str | None:
    from vision_nb.magics.configured import configured_store

    return configured_store()


_conversation_hooks.configured_store = _configured_store  # panels do not depend on the magics, which have the settings
_provider_hooks.configured_model = _configured_model  # and `connect` is below them


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


def load_ipython_extension(shell: Any) -> None:
    """Register the magics; ``%load_ext vision_nb`` calls this."""
    from vision_nb.magics.extension import load

    load(shell, sys.modules[__name__])


def unload_ipython_extension(shell: Any) -> None:
    """Remove the magics; ``%unload_ext vision_nb`` calls this."""
    from vision_nb.magics.extension import unload

    unload(shell)
