"""The input box of the chat panel: text, and images that are pasted, dropped or picked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import anywidget
import traitlets

from vision_nb.errors import ImageError, VisionError
from vision_nb.images.detail import DETAILS
from vision_nb.images.document import ImageDocument
from vision_nb.widgets.assets import read_assets
from vision_nb.widgets.messages import on_page_message
from vision_nb.widgets.thumbnails import ThumbnailCache

MAX_FILE_BYTES = 50_000_000
"""The largest file that can be attached. Images are scaled down before they are sent to a model."""

CHUNK_BYTES = 1_000_000
"""The size of the messages in which a file is uploaded; Jupyter servers reject messages of about 10 MB."""


@dataclass
class _Upload:
    name: str
    data: bytearray = field(default_factory=bytearray)


class Composer(anywidget.AnyWidget):
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
        self._uploads: dict[str, _Upload] = {}
        on_page_message(self, self._receive)

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
        rejected = False
        try:
            self._handle(message, buffers)
        except VisionError as error:
            self.error, rejected = str(error), True
        if (request_id := message.get("request_id")) is not None:
            self.send({"reply_to": request_id, "rejected": rejected})

    def _handle(self, message: dict[str, Any], buffers: list[Any]) -> None:
        match message:
            case {"do": "ping"}:
                pass
            case {"do": "hello"}:  # a page was opened or reloaded
                self._uploads.clear()
                self._send_attachments()
            case {"do": "upload", "upload_id": str(upload_id), "name": str(name), "last": bool(last)} if buffers:
                self._receive_chunk(upload_id, name, bytes(buffers[0]), last=last)
            case {"do": "cancel_upload", "upload_id": str(upload_id)}:
                self._uploads.pop(upload_id, None)
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

    def _receive_chunk(self, upload_id: str, name: str, chunk: bytes, *, last: bool) -> None:
        upload = self._uploads.setdefault(upload_id, _Upload(name))
        upload.data += chunk
        is_too_large = len(upload.data) > MAX_FILE_BYTES
        if not (last or is_too_large):
            return
        del self._uploads[upload_id]
        if is_too_large:
            raise ImageError(f"{name} is larger than {MAX_FILE_BYTES / 1e6:.0f} MB: reduce its size first.")
        document = ImageDocument(image=bytes(upload.data), image_name=name)
        _ = document.size  # raises an error if the file is not an image
        self.error = ""
        self.attach(document)
        self._on_action({"do": "attached"})
