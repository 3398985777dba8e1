"""The input box of the chat panel: text, and images that are pasted, dropped or picked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import traitlets

from vision_nb.errors import VisionError
from vision_nb.images.detail import DETAILS
from vision_nb.images.document import ImageDocument
from vision_nb.widgets.assets import read_assets
from vision_nb.widgets.messages import PageWidget
from vision_nb.widgets.thumbnails import ThumbnailCache
from vision_nb.widgets.uploads import MAX_FILE_BYTES, Uploads

CHUNK_BYTES = 1_000_000
"""The size of the messages in which a file is uploaded; Jupyter servers reject messages of about 10 MB."""

_MAX_DRAFT_LENGTH = 100_000  # characters
_MAX_ID_LENGTH = 100  # characters
_MAX_NAME_LENGTH = 200  # characters


class Composer(PageWidget):
    """Collects the text and images of the next question.

    Args:
        thumbnails: The thumbnails of the attached images.
        on_action: Called with each message that concerns more than the attached images, such as
            ``{"do": "send", "text": ...}``. If it raises an error, the box displays the error and keeps the text.

    Attributes:
        documents: The attached images.
        attachments: The attached images as the page displays them.
    """

    _esm = read_assets("dom.js", "composer.js")
    _css = read_assets("panel.css", "composer.css")
    models: traitlets.List[str] = traitlets.List().tag(sync=True)
    model = traitlets.Unicode().tag(sync=True)
    state = traitlets.Unicode("ready").tag(sync=True)
    """"ready" or "answering"."""
    note = traitlets.Unicode().tag(sync=True)
    error = traitlets.Unicode().tag(sync=True)
    config = traitlets.Dict(
        {"max_file_bytes": MAX_FILE_BYTES, "chunk_bytes": CHUNK_BYTES, "details": list(DETAILS)}
    ).tag(sync=True)

    def __init__(self, thumbnails: ThumbnailCache, on_action: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self.documents: list[ImageDocument] = []
        self.attachments: list[dict[str, str]] = []
        self._thumbnails, self._on_action = thumbnails, on_action
        self._uploads = Uploads()
        self._draft = ""  # the text in the box, for a page that is reloaded

    def attach(self, document: ImageDocument) -> None:
        """Attach an image to the next question."""
        self.documents.append(document)
        self.update_attachments()

    def detach_all(self) -> None:
        """Remove the attached images."""
        self.documents = []
        self.update_attachments()

    def update_attachments(self) -> None:
        """Send the attached images to the page if they or their thumbnails have changed."""
        attachments = [
            {"name": document.title, "thumbnail": self._thumbnails.get(document) or "", "detail": document.detail or ""}
            for document in self.documents
        ]
        if attachments != self.attachments:
            self.attachments = attachments
            self._send_attachments()

    def free(self) -> None:
        """Free the images that are attached or being uploaded."""
        self.documents, self.attachments = [], []
        self._uploads.clear()

    def _send_attachments(self) -> None:
        self.send({"attachments": self.attachments})  # not a trait, because front ends can save traits in the notebook

    def _receive(self, message: dict[str, Any], buffers: list[Any]) -> None:
        """Carry out an action of the page, and reply if it has a ``request_id``."""
        rejected = False
        try:
            self._handle(message, buffers)
        except VisionError as error:
            self.error, rejected = str(error), True
        if isinstance(request_id := message.get("request_id"), str):
            self.send({"reply_to": request_id, "rejected": rejected})

    def _handle(self, message: dict[str, Any], buffers: list[Any]) -> None:
        match message:
            case {"do": "ping"}:
                pass
            case {"do": "hello"}:  # a page was opened or reloaded
                self._uploads.clear()
                self._send_attachments()
                if self._draft:
                    self.send({"draft": self._draft})
            case {"do": "draft", "text": str(text)}:
                self._draft = text[:_MAX_DRAFT_LENGTH]
            case {
                "do": "upload",
                "upload_id": str(upload_id),
                "name": str(name),
                "start": int(start),
                "last": bool(last),
            } if buffers and len(upload_id) <= _MAX_ID_LENGTH:
                name = _file_name(name)
                data = self._uploads.add(upload_id, bytes(buffers[0]), start=start, last=last, name=name)
                if data is not None:
                    self._attach_file(data, name)
            case {"do": "cancel_upload", "upload_id": str(upload_id)}:
                self._uploads.cancel(upload_id)
            case {"do": "remove", "index": int(index)} if 0 <= index < len(self.documents):
                del self.documents[index]
                self.update_attachments()
                self._on_action(message)
            case {"do": "detail", "index": int(index), "detail": detail} if 0 <= index < len(self.documents):
                if detail in ("", *DETAILS):
                    self.documents[index] = replace(self.documents[index], detail=detail or None)
                    self.update_attachments()
            case {"do": str()}:
                self.error = ""
                self._on_action(message)

    def _attach_file(self, data: bytes, name: str) -> None:
        document = ImageDocument(image=data, image_name=name)
        _ = document.size  # raises an error if the file is not an image
        self.error = ""
        self.attach(document)
        self._on_action({"do": "attached"})


def _file_name(name: str) -> str:
    """Return a file's name in one short line, without control characters."""
    printable = "".join(char for char in " ".join(name.split()) if char.isprintable())
    return printable[:_MAX_NAME_LENGTH] or "image"
