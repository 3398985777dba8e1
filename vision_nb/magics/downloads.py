"""``%vision download``, and what ``%vision list`` says about the small models that run on this machine."""

from __future__ import annotations

from vision_nb.cost.small_models import SMALL_MODELS, SmallModel, small_model
from vision_nb.errors import SettingsError
from vision_nb.magics.session import Session
from vision_nb.magics.usage_errors import UsageError
from vision_nb.providers.default_model import search_again
from vision_nb.providers.llamacpp.consent import approve_download
from vision_nb.providers.llamacpp.download import download_model
from vision_nb.providers.llamacpp.models import downloaded_models, hub_cache
from vision_nb.rendering.format import format_bytes


def download(session: Session, name: str) -> None:
    """Download a small model that runs on this machine."""
    try:
        model = small_model(session.settings.aliases.get(name, name))
    except SettingsError as error:
        raise UsageError(str(error)) from error
    approve_download(model, download=True)
    download_model(model)
    search_again()
    print(f"{model.title} is on this machine: ask it with %%vision {model.name}.")  # noqa: T201 - a magic's output


def names_to_download() -> list[str]:
    """Return the full names of the small models that are not on this machine."""
    downloaded = downloaded_models()
    return [f"local:{model.name}" for model in SMALL_MODELS.values() if model not in downloaded]


def remarks_on_small_models() -> list[str]:
    """Return lines of Markdown: which small models are downloaded, and which can be."""
    downloaded = downloaded_models()
    others = [model for model in SMALL_MODELS.values() if model not in downloaded]
    remarks = []
    if downloaded:
        remarks.append(f"Downloaded to `{hub_cache()}`: {_listing(downloaded)}.")
    if others:
        remarks.append(
            f"Small models that you can download: {_listing(others)}. Name one in a cell, and you are asked before the "
            "download; `%vision download NAME` does not ask."
        )
    return remarks


def _listing(models: list[SmallModel]) -> str:
    return ", ".join(f"{model.name} ({format_bytes(model.size)})" for model in models)
