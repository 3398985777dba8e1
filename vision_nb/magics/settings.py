"""What `%%vision` does where a cell does not say: set by ``%config``, or by the nearest pyproject.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from traitlets import Bool, Dict, Enum, Float, HasTraits, Int, TraitError, Unicode

from vision_nb.images.detail import DETAILS
from vision_nb.magics.usage_errors import nearest
from vision_nb.user_warnings import warn_user

FORMATS = ("markdown", "text", "html", "code", "json", "math", "dataframe")
"""In which forms an answer can be had."""


class VisionSettings(HasTraits):
    """The defaults of `%%vision`; an option of a cell wins over them."""

    model = Unicode("", help="The model to ask, as provider:model or an alias; empty for the demo.").tag(config=True)
    detail = Enum(("", *DETAILS), "", help="The detail level of pictures; empty leaves it to the server.").tag(
        config=True
    )
    system = Unicode("", help="What the model is told before the question.").tag(config=True)
    temperature = Float(None, allow_none=True, help="How freely the model picks its words.").tag(config=True)
    max_tokens = Int(None, allow_none=True, min=1, help="The most tokens of an answer.").tag(config=True)
    format = Enum(FORMATS, "markdown", help="How an answer is shown.").tag(config=True)
    stream = Bool(True, help="Show an answer while it arrives.").tag(config=True)
    cache = Bool(True, help="Take an answer from the store where the same was asked before.").tag(config=True)
    store = Unicode("", help="The file of finished answers; empty for one in the user's cache folder.").tag(config=True)
    api_base = Unicode("", help="The base URL of another server.").tag(config=True)
    api_key_env = Unicode("", help="The environment variable that holds the key.").tag(config=True)
    many_images = Int(20, min=0, help="How many pictures a cell may send without --yes.").tag(config=True)
    aliases = Dict(Unicode(), help="Short names of models.").tag(config=True)


def apply_project(settings: Any, folder: Path) -> None:
    """Take the defaults from ``[tool.vision_nb]`` of the nearest pyproject.toml; IPython's own config wins."""
    found = _project(folder)
    if found is None:
        return
    path, table = found
    known = VisionSettings.class_trait_names(config=True)
    configured = settings.config[type(settings).__name__]
    for name, value in table.items():
        if name not in known:
            guess = nearest(name, known)
            hint = f": did you mean {guess}?" if guess else f"; there are {', '.join(sorted(known))}."
            warn_user(f"{path.name}: [tool.vision_nb] has no setting {name!r}{hint}")
        elif name not in configured:
            try:
                setattr(settings, name, value)
            except TraitError as error:
                warn_user(f"{path.name}: [tool.vision_nb] {name}: {error}")


def _project(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The nearest pyproject.toml from a folder upwards, and what it says to vision_nb."""
    path = next((path for one in (folder, *folder.parents) if (path := one / "pyproject.toml").is_file()), None)
    if path is None:
        return None
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("vision_nb", {})
    except (OSError, ValueError) as error:
        warn_user(f"{path.name} cannot be read ({error}): its settings are not used.")
        return None
    return path, table
