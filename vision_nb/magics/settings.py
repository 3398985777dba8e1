"""The settings of ``%%vision``, from ``%config`` or ``pyproject.toml``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from traitlets import Bool, Dict, Enum, Float, HasTraits, Int, TraitError, Unicode
from traitlets.config import Configurable

from vision_nb.checks.spelling import closest
from vision_nb.images.detail import DETAILS
from vision_nb.project_settings import find_project_file, how_to_trust, is_trusted, read_project_table
from vision_nb.providers.addresses import is_on_this_machine
from vision_nb.user_warnings import warn_user

FORMATS = ("markdown", "text", "html", "code", "json", "math", "dataframe")
"""The output formats, as ``--format`` takes them."""


class VisionSettings(HasTraits):
    """Default values for ``%%vision``; the options of a cell override them."""

    model = Unicode("", help="Model: provider:model or an alias. Empty for a local model or the demo.").tag(config=True)
    detail = Enum(("", *DETAILS), "", help="Detail level of images. Empty for the server's default.").tag(config=True)
    system = Unicode("", help="System message.").tag(config=True)
    temperature = Float(None, allow_none=True, help="Sampling temperature. None for the server's default.").tag(
        config=True
    )
    max_tokens = Int(None, allow_none=True, min=1, help="Maximum number of tokens in an answer.").tag(config=True)
    format = Enum(FORMATS, "markdown", help="Output format.").tag(config=True)
    thumbnails = Bool(True, help="Show the images of the question, a few kB each, below the answer.").tag(config=True)
    stream = Bool(True, help="Show an answer while it arrives.").tag(config=True)
    cache = Bool(True, help="Reuse the cached answer to an identical question.").tag(config=True)
    store = Unicode("", help="File of the answer cache. Empty for a file in the user's cache folder.").tag(config=True)
    api_base = Unicode("", help="Base URL of the server. Empty for the provider's own.").tag(config=True)
    api_key_env = Unicode("", help="Environment variable that holds the API key.").tag(config=True)
    many_images = Int(20, min=0, help="Maximum number of images that a cell sends to a paid model without --yes.").tag(
        config=True
    )
    aliases = Dict(Unicode(), help="Short names for models.").tag(config=True)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.refused: dict[str, str] = {}
        """The settings of an untrusted project that must not be ignored silently, and what to do about each one."""


def load_project_settings(settings: Any, folder: Path) -> None:
    """Apply ``[tool.vision_nb]`` of the nearest pyproject.toml.

    IPython's own configuration takes precedence. Until the user trusts the project, its settings of a server, of a key,
    of models that others publish on Replicate, and of a store outside of the project are not applied.

    Args:
        settings: The settings.
        folder: The folder in which the search starts; it continues in the parent folders.
    """
    path = find_project_file(folder)
    if path is None:
        return
    table = read_project_table(path)
    table.pop("services", None)  # which `all_services` reads
    names = VisionSettings.class_trait_names(config=True)
    configured = settings.config[type(settings).__name__] if isinstance(settings, Configurable) else {}
    for name, value in table.items():
        if name not in names:
            guess = closest(name, names)
            hint = f"did you mean {guess}?" if guess else f"use {', '.join(sorted(names))}."
            warn_user(f"{path.name}: [tool.vision_nb] has no setting {name!r}: {hint}")
        elif name in configured:
            continue
        elif _needs_trust(name, value, path.parent) and not is_trusted(path):
            if name in ("api_base", "api_key_env"):  # without it, images would go to another server
                settings.refused[name] = f"{path.name} sets {name}, which is not applied. {how_to_trust(path)}"
            else:
                warn_user(f"{path.name} sets {name} to {value!r:.80}, which is not applied. {how_to_trust(path)}")
        else:
            try:
                setattr(settings, name, value)
            except TraitError as error:
                warn_user(f"{path.name}: [tool.vision_nb] {name}: {error}")


def _needs_trust(name: str, value: Any, folder: Path) -> bool:
    """Return whether a setting of a project decides where keys, images or answers go."""
    match name:
        case "api_base":
            return not is_on_this_machine(str(value))  # also if it is not valid
        case "api_key_env":
            return True
        case "store":
            return not Path(str(value)).resolve().is_relative_to(folder.resolve())
        case "model" | "aliases":
            models = value.values() if isinstance(value, dict) else [value]
            # Code of the model's owner gets the images.
            return any(re.match(r"\s*replicate\s*:.*/", str(model)) is not None for model in models)
    return False
