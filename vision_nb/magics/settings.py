"""The settings of ``%%vision``, from ``%config`` or ``pyproject.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from traitlets import Bool, Dict, Enum, Float, HasTraits, Int, TraitError, Unicode

from vision_nb.images.detail import DETAILS
from vision_nb.magics.usage_errors import closest
from vision_nb.project_settings import find_project_file, read_project_table
from vision_nb.user_warnings import warn_user

FORMATS = ("markdown", "text", "html", "code", "json", "math", "dataframe")
"""The output formats, as ``--format`` takes them."""


class VisionSettings(HasTraits):
    """Default values for ``%%vision``; the options of a cell override them."""

    model = Unicode("", help="Model: provider:model or an alias. Empty for the demo model.").tag(config=True)
    detail = Enum(("", *DETAILS), "", help="Detail level of images. Empty for the server's default.").tag(config=True)
    system = Unicode("", help="System message.").tag(config=True)
    temperature = Float(None, allow_none=True, help="Sampling temperature. None for the server's default.").tag(
        config=True
    )
    max_tokens = Int(None, allow_none=True, min=1, help="Maximum number of tokens in an answer.").tag(config=True)
    format = Enum(FORMATS, "markdown", help="Output format.").tag(config=True)
    stream = Bool(True, help="Show an answer while it arrives.").tag(config=True)
    cache = Bool(True, help="Reuse the cached answer to an identical question.").tag(config=True)
    store = Unicode("", help="File of the answer cache. Empty for a file in the user's cache folder.").tag(config=True)
    api_base = Unicode("", help="Base URL of the server. Empty for the provider's own.").tag(config=True)
    api_key_env = Unicode("", help="Environment variable that holds the API key.").tag(config=True)
    many_images = Int(20, min=0, help="Maximum number of images that a cell sends without --yes.").tag(config=True)
    aliases = Dict(Unicode(), help="Short names for models.").tag(config=True)


def load_project_settings(settings: Any, folder: Path) -> None:
    """Apply ``[tool.vision_nb]`` of the nearest pyproject.toml.

    IPython's own configuration takes precedence.

    Args:
        settings: The settings, an IPython configurable.
        folder: The folder in which the search starts; it continues in the parent folders.
    """
    path = find_project_file(folder)
    if path is None:
        return
    table = read_project_table(path)
    table.pop("services", None)  # which `all_services` reads
    names = VisionSettings.class_trait_names(config=True)
    configured = settings.config[type(settings).__name__]
    for name, value in table.items():
        if name not in names:
            guess = closest(name, names)
            hint = f"did you mean {guess}?" if guess else f"use {', '.join(sorted(names))}."
            warn_user(f"{path.name}: [tool.vision_nb] has no setting {name!r}: {hint}")
        elif name not in configured:
            try:
                setattr(settings, name, value)
            except TraitError as error:
                warn_user(f"{path.name}: [tool.vision_nb] {name}: {error}")
