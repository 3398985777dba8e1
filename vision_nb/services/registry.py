"""Services by name: the built-in ones, those of the project, and those that the user registers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from vision_nb.checks.arguments import checks_arguments
from vision_nb.errors import SettingsError
from vision_nb.images.formats import SENDABLE
from vision_nb.privacy.api_keys import hide, hide_arguments, looks_like_key, unhide
from vision_nb.project_settings import find_project_file, read_project_table
from vision_nb.services.table import OTHER_PROVIDERS, PNG_JPEG, SERVICES, Service
from vision_nb.user_warnings import warn_user

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")

_registered: dict[str, Service] = {}


@checks_arguments
def register_service(
    name: str, *, base_url: str, key_variable: str | None = None, title: str | None = None, **facts: Any
) -> None:
    """Add a service of your own, so that ``vn.connect("name:model")`` works.

    A project can also define a service as a table ``[tool.vision_nb.services.NAME]`` in its pyproject.toml, with the
    same settings. As such a file can come with a folder that somebody else has written, it can define a service on
    another machine, or with a key, only if the environment variable VISION_NB_TRUSTED_PROJECTS contains the path of its
    folder. Registering a name again replaces the service.

    Args:
        name: Lower-case letters, digits, dashes and underscores.
        base_url: The base URL of its OpenAI-compatible API.
        key_variable: The environment variable with the API key; None if it needs no key.
        title: Its name in messages; by default, the name.
        **facts: Other facts about it: max_images, max_image_bytes (before base64), max_side (pixels), max_request_bytes
            (of all images, as base64), image_types (MIME types), length_limit ("max_tokens" or
            "max_completion_tokens"), takes_schema, takes_stream_options, takes_detail, takes_responses, takes_urls,
            price_id (its name in genai-prices) and examples (names of its models).

    Raises:
        SettingsError: The name is in use by another provider, or an argument is invalid.

    >>> from vision_nb.demo import shared_server
    >>> vn.register_service("ours", base_url=shared_server().openai_base, max_images=4)
    >>> vn.connect("ours:small-model").complete("How large is it?", vn.samples.path("chart")).finish_reason
    'stop'
    """
    # First of all: a traceback may show the arguments.
    given = {"base_url": hide(base_url), "key_variable": hide(key_variable), "title": title, **hide_arguments(facts)}
    del base_url, key_variable, facts
    _registered[name] = _own_service(name, given, "register_service()")


def all_services() -> dict[str, Service]:
    """Return all services by name: the built-in ones, those of the project, and the registered ones."""
    return {**_project_services(), **_registered, **SERVICES}


def find_service(name: str) -> Service | None:
    """Return the service with a name, or None."""
    return SERVICES.get(name) or _registered.get(name) or _project_services().get(name)


def _project_services() -> Mapping[str, Service]:
    try:
        path = find_project_file(Path.cwd())
        return {} if path is None else _read_services(path, path.stat().st_mtime_ns)
    except OSError:  # the working folder was deleted
        return {}


@lru_cache(maxsize=1)
def _read_services(path: Path, modified: int) -> Mapping[str, Service]:
    """Return the services of a project; a table that cannot be used is ignored with a warning."""
    tables = read_project_table(path).get("services", {})
    found = {}
    for name, table in tables.items() if isinstance(tables, dict) else ():
        place = f"{path.name}, [tool.vision_nb.services.{name}]"
        try:
            service = _own_service(name, table if isinstance(table, dict) else {}, place)
            found[name] = replace(service, project_file=path)
        except SettingsError as error:
            warn_user(f"{error} The service is ignored.")
    return found


_SETTABLE = {
    one.name: one.type
    for one in fields(Service)
    if one.name
    not in ("name", "model_prefixes", "owner", "cost_field", "sends_comments", "errors_are_lists", "project_file")
}


def _own_service(name: str, given: Mapping[str, Any], place: str) -> Service:
    """Return a service made of a user's settings.

    Raises:
        SettingsError: A setting is missing, unknown or of the wrong type.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SettingsError(f"{place}: {name!r:.60} is not a valid name: use lower-case letters, digits, - and _.")
    if name in SERVICES or name in (*OTHER_PROVIDERS, "ft"):  # ft: begins the name of a fine-tune
        raise SettingsError(f"{place}: {name!r} is the name of a built-in provider: choose another name.")
    unknown = [setting for setting in given if setting not in _SETTABLE]
    if unknown:
        raise SettingsError(f"{place}: {unknown[0]!r:.60} is not a setting: use {', '.join(_SETTABLE)}.")
    if not str(unhide(given.get("base_url", ""))).lower().startswith(("http://", "https://")):
        raise SettingsError(f"{place}: base_url must start with http:// or https://.")
    values = {setting: _checked(setting, unhide(value), place) for setting, value in given.items() if value is not None}
    values = {"title": name, "source": place, **values}
    return replace(Service(name=name, title=name, base_url=""), **values)


def _checked(setting: str, value: Any, place: str) -> Any:
    """Return a setting's value in the type of its field."""
    kind = str(_SETTABLE[setting])
    is_names = isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(one, str) for one in value)
    if setting == "length_limit":
        is_valid = value in ("max_tokens", "max_completion_tokens")
    elif setting == "key_variable":
        is_name = isinstance(value, str) and value.isidentifier() and not looks_like_key(value)
        if not is_name:
            value = None  # a traceback may show local variables
            raise SettingsError(
                f"{place}: {setting} must be the name of an environment variable, never the key itself."
            )
        return value
    elif setting == "image_types":
        is_valid, value = is_names and set(value) <= SENDABLE, frozenset(value) | PNG_JPEG if is_names else value
    elif setting == "max_side_of_many":
        is_valid = isinstance(value, (list, tuple)) and len(value) == 2 and all(_is_count(one) for one in value)
        value = tuple(value) if is_valid else value
    elif kind.startswith("tuple"):
        is_valid, value = is_names, tuple(value) if is_names else value
    elif kind.startswith("int"):
        is_valid = _is_count(value)
    else:
        is_valid = isinstance(value, bool if kind.startswith("bool") else str)
    if not is_valid:
        raise SettingsError(f"{place}: {setting}={value!r:.60} is not valid: it must be of type {kind}.")
    return value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
