"""`Session`: the state that the cells of a notebook share."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from vision_nb.errors import StoreError
from vision_nb.magics.configured import configured_model
from vision_nb.magics.conversations import Conversations
from vision_nb.magics.models import Models
from vision_nb.magics.settings import VisionSettings
from vision_nb.paths import expand_path
from vision_nb.providers.catalog import DEMO
from vision_nb.providers.default_model import DefaultModel, default_model
from vision_nb.store import Store, default_path

LAST_ANSWER = "_vision"
"""The notebook variable that holds the latest answer."""


class Session:
    """The state that ``%%vision`` and ``%vision`` keep between cells.

    Args:
        shell: The IPython shell.
        settings: The settings; ``%config`` changes them.
        package: The module with the public names that ``%vision help`` explains.

    Attributes:
        models: The connected models.
        conversations: The conversations.
        failure: The source and the exception of the last cell that failed, or None.
    """

    def __init__(self, shell: Any, settings: VisionSettings, package: ModuleType) -> None:
        self.shell = shell
        self.settings = settings
        self.package = package
        self.models = Models(settings)
        self.conversations = Conversations()
        self.failure: tuple[str, BaseException] | None = None
        self._store: Store | None = None

    def default_model(self, api_base: str | None = None) -> DefaultModel:
        """Return the model that answers when a cell names none.

        Args:
            api_base: The server that the cell names; None for the setting.

        Raises:
            SettingsError: The configured model's name is not a model.
        """
        base = api_base or self.settings.api_base
        if base and not self.settings.model:
            return DefaultModel(DEMO, f"no model was named for the server {base}")
        return default_model(configured_model(self.settings))

    @property
    def variables(self) -> dict[str, Any]:
        """The notebook's variables."""
        variables: dict[str, Any] = self.shell.user_ns
        return variables

    @property
    def store(self) -> Store:
        """The store of answers that the settings name. Only one is open at a time."""
        path = expand_path(self.settings.store or default_path(), StoreError)
        if self._store is None or self._store.path != path or not path.exists():
            if self._store is not None:
                self._store.close()
            self._store = Store(path)
        return self._store

    def close(self) -> None:
        """Close the store and the connections of the models."""
        self.models.close()
        if self._store is not None:
            self._store.close()
            self._store = None
