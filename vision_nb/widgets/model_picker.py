"""The models that a chat panel offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vision_nb.errors import SettingsError
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.catalog import ready_models
from vision_nb.providers.connect import connect
from vision_nb.providers.default_model import DefaultModel, default_model, mark_announced
from vision_nb.rendering.format import type_name


class ModelPicker:
    """Models by name: first the given models, then those that need no further setup, which are connected on first use.

    Args:
        models: A model, a model name, or a sequence of these; None for the default model.

    Attributes:
        default: The default model, if no model was given.

    Raises:
        SettingsError: A model name is unknown, or its API key is missing.
    """

    def __init__(self, models: MultiModalLLM | str | Sequence[MultiModalLLM | str] | None) -> None:
        given: Sequence[Any] = [] if models is None else models if isinstance(models, (list, tuple)) else [models]
        self.default: DefaultModel | None = None
        self._models: dict[str, MultiModalLLM | None] = {}
        if not given:
            self.default = default_model()
            mark_announced(self.default.name)  # the panel shows the note
            given = [connect(self.default.name, **self.default.options)]
        for model in given:
            self.add(connect(model) if isinstance(model, str) else model)
        for name in ready_models():
            self._models.setdefault(name, None)

    @property
    def names(self) -> list[str]:
        """The names of the models, in order."""
        return list(self._models)

    def add(self, llm: MultiModalLLM) -> str:
        """Add a model if it is not offered yet, and return the name under which it is offered."""
        if not isinstance(llm, MultiModalLLM):
            raise SettingsError(f"llm= must be a model or a name such as 'openai:gpt-4o', not {type_name(llm)}.")
        for name, model in self._models.items():
            if model is llm:
                return name
        name, count = llm.label, 2
        while self._models.get(name) is not None:  # the same model with other settings
            name, count = f"{llm.label} ({count})", count + 1
        self._models[name] = llm
        return name

    def get(self, name: str) -> MultiModalLLM:
        """Return the model with a name, and connect to it if necessary.

        Raises:
            SettingsError: The panel does not offer the model, or its API key is missing.
        """
        if name not in self._models:
            raise SettingsError(f"The panel does not offer {name!r}: choose one of {', '.join(self._models)}.")
        model = self._models[name]
        if model is None:
            model = self._models[name] = connect(name)
        return model
