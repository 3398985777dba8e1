"""`PublicObject`: what users may call, set and find with Tab on an object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vision_nb.checks.arguments import check_methods
from vision_nb.checks.attributes import FixedAttributes

INTERNAL_NAMES = {
    "ClientOwner": "account batches counted_model for_many_calls identity image_types is_demo is_free label "
    "max_image_bytes max_request_bytes outgoing pricing redacted schema_support send_once server service settings "
    "takes_detail window",
    "BatchResult": "await_ batch_html grid opened_store options review_keys rows_of",
    "Row": "facts finished open_state with_answer with_cost_of with_error",
    "Response": "is_displayed priced_by sent_tokens shown_images",
    "Chat": "messages_with watch",
    "ImageDocument": "check_end fingerprint forget_download is_link part_of prepare show_as_link",
    "ImageList": "report_skipped",
    "Ledger": "spending",
    "PageWidget": "call_soon card set_state",
    "RateLimit": "check shortest_run",
}
"""Names without an underscore that only the modules of this package use, by the class that has them or its base."""


class PublicObject(FixedAttributes):
    """A base of public classes: Tab and ``dir`` offer the names that are made for users.

    Wrong arguments of the methods among them raise ArgumentError.
    """

    __slots__ = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__module__.startswith("vision_nb."):
            check_methods(cls, [name for name in vars(cls) if not name.startswith("_") and name not in _internal(cls)])

    def __dir__(self) -> Iterable[str]:
        return [name for name in super().__dir__() if name not in _internal(type(self))]


def _internal(kind: type) -> set[str]:
    """Return the names of a class without an underscore that are not made for users."""
    return {name for base in kind.__mro__ for name in INTERNAL_NAMES.get(base.__name__, "").split()}


class PublicWidget(PublicObject):
    """A base of public widgets, which have about fifty names of ipywidgets that are seldom needed."""

    __slots__ = ()

    def __dir__(self) -> Iterable[str]:
        names: dict[bool, set[str]] = {True: {"close", "layout", "observe", "unobserve"}, False: set()}
        for kind in type(self).__mro__:
            names[kind.__module__.startswith("vision_nb.")].update(vars(kind))
        return [name for name in super().__dir__() if name.startswith("_") or name not in names[False] - names[True]]
