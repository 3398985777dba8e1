"""Errors for models, prompts, images and schemas that are passed in the wrong order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from vision_nb.errors import SettingsError
from vision_nb.images.document import ImageDocument
from vision_nb.images.expansion import names_image
from vision_nb.providers.base import MultiModalLLM
from vision_nb.rendering.format import type_name

_IMAGES = (ImageDocument, Path, bytes)
_LONGEST_NAME = 4  # words of what may be meant as a model's name, such as "Claude Sonnet 4.5"


def connected(models: Iterable[Any], connect: Callable[[str], MultiModalLLM]) -> tuple[MultiModalLLM, ...]:
    """Return the models of a comparison.

    Args:
        models: Model objects or names.
        connect: A function that creates a model object from a name.

    Raises:
        SettingsError: There is no such model, or prompts or images are passed as models.
    """
    found = []
    for model in models:
        if isinstance(model, str):
            try:
                model = connect(model)
            except SettingsError:
                if _is_sentence(model) or names_image(model):
                    raise _compare_order() from None
                raise
        elif not isinstance(model, MultiModalLLM):
            raise SettingsError(f"{type_name(model, 'A')} is not a model: write compare(models, prompts, images).")
        found.append(model)
    return tuple(found)


def check_prompts(prompts: Iterable[Any]) -> None:
    """Raise SettingsError if a prompt of a comparison is empty, or is an image or model."""
    for prompt in prompts:
        if isinstance(prompt, (MultiModalLLM, *_IMAGES)) or (isinstance(prompt, str) and names_image(prompt)):
            raise _compare_order()
        if not isinstance(prompt, str) or not prompt.strip():
            raise SettingsError(f"A prompt must be a non-empty string: got {prompt!r:.80}.")


def check_extract_order(images: Any, schema: Any) -> None:
    """Raise SettingsError if the images, the schema and the model of an extraction are in another order."""
    names_fields = isinstance(schema, list) and all(isinstance(one, str) and not names_image(one) for one in schema)
    is_swapped = isinstance(schema, (MultiModalLLM, str, list, *_IMAGES)) and not names_fields
    if isinstance(images, (MultiModalLLM, type)) or is_swapped:
        raise SettingsError("extract() takes the images, then the schema: write extract(images, schema, model=...).")


def _is_sentence(text: str) -> bool:
    words = text.split()
    return text.endswith("?") or (len(words) > 1 and text.endswith((".", "!"))) or len(words) > _LONGEST_NAME


def _compare_order() -> SettingsError:
    return SettingsError(
        "compare() takes the models, then the prompts, then the images: write compare(models, prompts, images)."
    )
