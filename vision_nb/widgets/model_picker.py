"""The models that a panel offers, by name; each is connected when it is first chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vision_nb.errors import SettingsError
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.catalog import DEMO, ready_models
from vision_nb.providers.connect import connect


class ModelChoice:
    """Models by name: those that were given first, then those that are ready to be asked.

    Args:
        given: A model, its name, or several; None offers what is ready.

    Raises:
        SettingsError: A name is no model's, or its key is missing.
    """

    def __init__(self, given: MultiModalLLM | str | Sequence[MultiModalLLM | str] | None) -> None:
        listed: list[Any] = [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
        self._models: dict[str, MultiModalLLM | None] = {}
        for one in listed:
            self.add(connect(one) if isinstance(one, str) else one)
        ready = ready_models()
        self.is_demo_for_want_of_a_key = not listed and ready == [DEMO]
        for name in ready:
            self._models.setdefault(name, None)

    @property
    def names(self) -> list[str]:
        """The names, as they are offered."""
        return list(self._models)

    def add(self, llm: MultiModalLLM) -> str:
        """Offer a model, and give the name under which it is offered."""
        if not isinstance(llm, MultiModalLLM):
            raise SettingsError(f"A {type(llm).__name__} is no model: vn.connect('openai:gpt-4o') makes one.")
        for name, known in self._models.items():
            if known is llm:
                return name
        name, count = str(llm), 2
        while self._models.get(name) is not None:  # the same model with other settings
            name, count = f"{llm} ({count})", count + 1
        self._models[name] = llm
        return name

    def get(self, name: str) -> MultiModalLLM:
        """The model of a name.

        Raises:
            SettingsError: It is not offered, or its key is missing.
        """
        if name not in self._models:
            raise SettingsError(f"The panel offers no model {name!r}: it offers {', '.join(self._models)}.")
        found = self._models[name]
        if found is None:
            found = self._models[name] = connect(name)
        return found
