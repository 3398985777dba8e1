"""The default model and the store that the user has set."""

from __future__ import annotations

from pathlib import Path

from vision_nb.errors import SettingsError
from vision_nb.magics.models import connection_arguments, resolve
from vision_nb.magics.settings import VisionSettings, load_project_settings
from vision_nb.magics.usage_errors import UsageError
from vision_nb.notebook.ipython import shell
from vision_nb.project_settings import find_project_file, read_project_table
from vision_nb.providers.hooks import ConfiguredModel


def configured_model(settings: VisionSettings | None = None) -> ConfiguredModel | None:
    """Return the default model that the user has set, or None.

    Args:
        settings: The settings; None for those of the loaded extension, or of the project.

    Raises:
        SettingsError: The name is not a model, the API key is missing, or the project is not trusted.
    """
    settings = settings or _settings()
    if not settings.model:
        return None
    for setting, problem in settings.refused.items():
        if not getattr(settings, setting):
            raise SettingsError(problem)
    source = _source(settings.model)
    try:
        name = resolve(settings.model, settings.aliases)
        return ConfiguredModel(name, connection_arguments(name, settings.api_base, settings.api_key_env), source)
    except UsageError as error:
        raise SettingsError(f"{source} sets a default model that cannot be used. {error}") from error


def configured_store() -> str | None:
    """Return the path of the store that the user has set, or None for the file in the user's cache folder."""
    return _settings().store or None


def _settings() -> VisionSettings:
    """Return the settings of the loaded extension; without it, those of the project."""
    running = shell()
    loaded = None if running is None else running.magics_manager.registry.get("VisionMagics")
    if loaded is not None:
        settings: VisionSettings = loaded
        return settings
    settings = VisionSettings()
    load_project_settings(settings, Path.cwd())
    return settings


def _source(model: str) -> str:
    """Return where a default model is set."""
    path = find_project_file(Path.cwd())
    is_in_project = path is not None and read_project_table(path).get("model") == model
    return "[tool.vision_nb] in pyproject.toml" if is_in_project else "%config VisionMagics.model"
