"""The box in which a question is written: text and pictures in one, typed, pasted, dropped or picked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from vision_nb.errors import ImageError, VisionError
from vision_nb.images.detail import DETAILS
from vision_nb.images.document import ImageDocument
from vision_nb.widgets.thumbnails import Thumbnails

_HERE = Path(__file__).parent

MAX_FILE = 50_000_000
"""The largest file that the box takes, in bytes; it is made smaller before it is sent to a model."""

PIECE = 1_000_000
"""Bytes of a file that travel in one message: a Jupyter server hangs up at messages of some 10 MB."""


@dataclass
class Upload:
    """A file on its way from the page."""

    name: str
    data: bytearray


class Composer(anywidget.AnyWidget):
    """Takes a question with its pictures; what is done with it is the panel's.

    Args:
        thumbnails: Gives the small pictures.
        act: Called with the messages that are not about pictures, such as ``{"do": "send", "text": ...}``; an
            error that it raises is shown in the box, and the text stays.
    """

    # As text: anywidget keeps every widget alive whose class names the files by their paths.
    _esm = (_HERE / "composer.js").read_text(encoding="utf-8")
    _css = (_HERE / "composer.css").read_text(encoding="utf-8")
    models: traitlets.List[str] = traitlets.List().tag(sync=True)
    model = traitlets.Unicode().tag(sync=True)
    state = traitlets.Unicode("ready").tag(sync=True)
    """"ready", "answering", or "closed"."""
    note = traitlets.Unicode().tag(sync=True)
    problem = traitlets.Unicode().tag(sync=True)
    limits = traitlets.Dict({"file": MAX_FILE, "piece": PIECE, "details": list(DETAILS)}).tag(sync=True)

    def __init__(self, thumbnails: Thumbnails, act: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self.documents: list[ImageDocument] = []
        self.attachments: list[dict[str, str]] = []
        self._thumbnails, self._act = thumbnails, act
        self._uploads: dict[str, Upload] = {}
        self.on_msg(self._receive)

    def add(self, document: ImageDocument) -> None:
        """Attach a picture to the question that is being written."""
        self.documents.append(document)
        self.show_attachments()

    def take(self) -> list[ImageDocument]:
        """The attached pictures, which are attached no more."""
        documents, self.documents = self.documents, []
        self.show_attachments()
        return documents

    def show_attachments(self) -> None:
        """Bring the page up to what is attached."""
        attachments = [
            {"name": document.title, "thumbnail": self._thumbnails.get(document) or "", "detail": document.detail or ""}
            for document in self.documents
        ]
        if attachments != self.attachments:
            self.attachments = attachments
            self.send({"attachments": attachments})

    def drop_all(self) -> None:
        """Free the pictures that are attached or on their way."""
        self.documents, self.attachments = [], []
        self._uploads.clear()

    def _receive(self, _: Any, message: Any, buffers: list[Any]) -> None:
        """Do what the page asks for; an error is shown in the box."""
        if not isinstance(message, dict):
            return
        try:
            self._do(message, buffers)
            refused = False
        except VisionError as error:
            self.problem, refused = str(error), True
        if (ticket := message.get("ticket")) is not None:  # the page waits to hear that the kernel is there
            self.send({"done": ticket, "refused": refused})

    def _do(self, message: dict[str, Any], buffers: list[Any]) -> None:
        match message:
            case {"do": "ping"}:
                pass
            case {"do": "upload", "key": str(key), "name": str(name), "last": bool(last)} if buffers:
                self._take_piece(key, name, bytes(buffers[0]), last)
            case {"do": "abandon", "key": str(key)}:
                self._uploads.pop(key, None)
            case {"do": "remove", "place": int(place)} if 0 <= place < len(self.documents):
                del self.documents[place]
                self.show_attachments()
                self._act(message)
            case {"do": "detail", "place": int(place), "detail": detail} if 0 <= place < len(self.documents):
                if detail in ("", *DETAILS):
                    self.documents[place] = replace(self.documents[place], detail=detail or None)
                    self.show_attachments()
            case {"do": "hello"}:
                self._uploads.clear()  # a page that has gone sends no more of them
                self.send({"attachments": self.attachments})  # no trait, as traits may be saved with the notebook
            case {"do": str()}:
                self.problem = ""
                self._act(message)

    def _take_piece(self, key: str, name: str, piece: bytes, last: bool) -> None:
        upload = self._uploads.setdefault(key, Upload(name, bytearray()))
        upload.data += piece
        too_large = len(upload.data) > MAX_FILE
        if not (last or too_large):
            return
        del self._uploads[key]
        if too_large:
            raise ImageError(f"{name} is larger than {MAX_FILE / 1e6:.0f} MB: make it smaller first.")
        document = ImageDocument(image=bytes(upload.data), image_name=name)
        _ = document.size  # raises what is wrong with it, before anybody asks a model
        self.problem = ""
        self.add(document)
        self._act({"do": "attached"})
