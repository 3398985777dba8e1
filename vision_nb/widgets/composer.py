"""The input box of the chat panel: text, and images that are pasted, dropped or picked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import traitlets

from vision_nb.conversation.chat import Chat
from vision_nb.errors import ImageTooLargeError, VisionError
from vision_nb.images.detail import DETAILS
from vision_nb.images.document import ImageDocument
from vision_nb.images.loading import find_images
from vision_nb.messages import user_message
from vision_nb.widgets.assets import read_assets
from vision_nb.widgets.attached_images import AttachedImages
from vision_nb.widgets.attached_regions import AttachedRegions
from vision_nb.widgets.messages import PageWidget
from vision_nb.widgets.question_price import QuestionPrice, detail_choices
from vision_nb.widgets.thumbnails import ThumbnailCache
from vision_nb.widgets.uploads import MAX_FILE_BYTES, Uploads

CHUNK_BYTES = 1_000_000
"""The size of the messages in which a file is uploaded; Jupyter servers reject messages of about 10 MB."""

_MAX_ID_LENGTH = 100  # characters
_MAX_NAME_LENGTH = 200  # characters
_MAX_PAGES = 20  # of one file


class Composer(PageWidget):
    """Collects the text and images of the next question, and displays what the question would cost.

    Args:
        chat: The conversation.
        thumbnails: The thumbnails of the attached images.
        on_action: Called with each message that concerns more than the attached images, such as
            ``{"do": "send", "text": ...}``. If it raises an error, the box displays the error and keeps the text.

    Attributes:
        attached: The attached images.
        attachments: The attached images as the page displays them.
    """

    _esm = read_assets(
        "dom.js", "region_editor.js", "attached_images.js", "attached_regions.js", "file_uploads.js", "composer.js"
    )
    _css = read_assets("panel.css", "composer.css", "region_editor.css", "touch.css")
    attached: AttachedImages
    attachments: list[dict[str, str]]
    models: traitlets.List[str] = traitlets.List().tag(sync=True)
    model = traitlets.Unicode().tag(sync=True)
    details: traitlets.List[tuple[str, str]] = traitlets.List().tag(sync=True)
    """The detail levels that the model supports, each with its label; empty if it has none."""
    state = traitlets.Unicode("ready").tag(sync=True)
    """"ready" or "answering"."""
    price = traitlets.Unicode().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)
    error = traitlets.Unicode().tag(sync=True)
    config = traitlets.Dict({"max_file_bytes": MAX_FILE_BYTES, "chunk_bytes": CHUNK_BYTES}).tag(sync=True)

    def __init__(self, chat: Chat, thumbnails: ThumbnailCache, on_action: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self.attached = AttachedImages()
        self.attachments = []
        self._chat, self._thumbnails, self._on_action = chat, thumbnails, on_action
        self._sent_thumbnails: dict[str, str] = {}  # by the image's id
        self._regions = AttachedRegions(self.attached, self._send_regions, self._attach_regions, self._show_error)
        self._uploads = Uploads()
        self._tasks: set[asyncio.Task[None]] = set()
        self._draft = ""  # the text in the box, for a page that is reloaded, and for the price
        self._price = QuestionPrice(chat, self._show_price)

    @property
    def documents(self) -> list[ImageDocument]:
        """The attached images."""
        return self.attached.documents

    @documents.setter
    def documents(self, documents: Sequence[ImageDocument]) -> None:
        self.attached.replace_all(documents)

    def attach(self, document: ImageDocument) -> None:
        """Attach an image to the next question."""
        self.attached.add(document)
        self.update()

    def detach_all(self) -> None:
        """Remove the attached images."""
        self.attached.replace_all([])
        self.update()

    def update(self) -> None:
        """Send what has changed to the page: the attached images, their thumbnails, and the question's price."""
        self.details = detail_choices(self._chat.llm)
        attachments = [
            {"id": image_id, "name": document.title, "detail": document.detail or ""}
            for image_id, document in self.attached.items()
        ]
        if attachments != self.attachments:  # not a trait, because front ends can save traits in the notebook
            self.attachments = attachments
            self.send({"attachments": attachments})
        thumbnails = {image_id: self._thumbnails.get(document) or "" for image_id, document in self.attached.items()}
        if new := dict(thumbnails.items() - self._sent_thumbnails.items()):
            self.send({"thumbnails": new})
        self._sent_thumbnails = thumbnails
        self._update_price()

    def free(self) -> None:
        """Free the images that are attached or being uploaded."""
        self.attached.replace_all([])
        self.attachments = []
        self._uploads.clear()

    def _update_price(self) -> None:
        self._price.update(user_message(self._draft.strip(), self.documents))

    def _send_regions(self, content: dict[str, Any]) -> None:
        self.send({"regions": content})

    def _attach_regions(self) -> None:
        self._images_changed({"do": "attached"})

    def _show_error(self, error: str) -> None:
        self.error = error

    def _show_price(self, price: str) -> None:
        self.price = price

    def _receive(self, message: dict[str, Any], buffers: list[Any]) -> None:
        """Carry out an action of the page, and reply if it has a ``request_id``."""
        try:
            uploaded = self._handle(message, buffers)
        except VisionError as error:
            self._reply(message, str(error))
            return
        except Exception as error:  # the page waits for a reply; the kernel's log has the traceback
            self._reply(message, self._unexpected(error))
            raise
        if uploaded is None:
            self._reply(message)
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(self._attach_file(*uploaded, message))
        else:
            task = loop.create_task(self._attach_file(*uploaded, message))
            self._tasks.add(task)  # the loop itself keeps only a weak reference
            task.add_done_callback(self._tasks.discard)

    def _reply(self, message: dict[str, Any], rejection: str = "") -> None:
        if rejection:
            self.error = rejection
        if isinstance(request_id := message.get("request_id"), str):
            self.send({"reply_to": request_id, "rejection": rejection})

    def _handle(self, message: dict[str, Any], buffers: list[Any]) -> tuple[bytes, str] | None:
        """Carry out an action of the page; return an uploaded file and its name after the last part."""
        match message:
            case {"do": "ping"}:
                pass
            case {"do": "hello"}:  # a page was opened or reloaded
                self._uploads.clear()
                self.send({"attachments": self.attachments, "thumbnails": self._sent_thumbnails})
                if self._draft:
                    self.send({"draft": self._draft})
            case {"do": "draft", "text": str(text)}:
                self._draft = text
                self._update_price()
            case {
                "do": "upload",
                "upload_id": str(upload_id),
                "name": str(name),
                "start": int(start),
                "last": bool(last),
            } if buffers and len(upload_id) <= _MAX_ID_LENGTH:
                name = _file_name(name)
                data = self._uploads.add(upload_id, bytes(buffers[0]), start=start, last=last, name=name)
                return None if data is None else (data, name)
            case {"do": "cancel_upload", "upload_id": str(upload_id)}:
                self._uploads.cancel(upload_id)
            case {"do": "select_regions", "id": str(image_id)} if image_id in self.attached:
                self._regions.show(image_id)
            case {"do": "attach_regions", "id": str(image_id), "boxes": list(boxes), "replace": bool(replace)} if (
                image_id in self.attached
            ):
                self._regions.attach(image_id, boxes, replace=replace)
            case {"do": str()}:
                if not self._change_images(message):
                    self.error = ""
                self._on_action(message)
        return None

    def _change_images(self, message: dict[str, Any]) -> bool:
        """Carry out an action on the attached images; return False if it is another one."""
        match message:
            case {"do": "detail_of_all", "detail": detail} if detail in ("", *DETAILS):
                self.attached.set_all_details(detail or None)
            case {"do": "remove_all"}:
                self.attached.replace_all([])
            case {"do": "remove", "id": str(image_id)} if image_id in self.attached:
                self.attached.remove(image_id)
            case {"do": "move", "id": str(image_id), "index": int(index)} if image_id in self.attached:
                self.attached.move(image_id, index)
            case {"do": "detail", "id": str(image_id), "detail": detail} if image_id in self.attached and (
                detail in ("", *DETAILS)
            ):
                self.attached.set_detail(image_id, detail or None)
            case _:
                return False
        self.update()
        return True

    async def _attach_file(self, data: bytes, name: str, message: dict[str, Any]) -> None:
        """Attach an uploaded file, and reply to the page; the file is read in a thread."""
        try:
            documents = await asyncio.to_thread(_read_file, data, name)
            self.error = ""
            for document in documents:
                self.attached.add(document)
            self._images_changed({"do": "attached"})
        except VisionError as error:
            self._reply(message, str(error))
        except Exception as error:
            self._reply(message, f"{name} could not be attached: {self._unexpected(error)}")
            raise
        else:
            self._reply(message)

    def _unexpected(self, error: Exception) -> str:
        return self._chat.llm.redacted(f"{type(error).__name__}: {str(error)[:200]}")

    def _images_changed(self, message: dict[str, Any]) -> None:
        self.update()
        self._on_action(message)


def _read_file(data: bytes, name: str) -> list[ImageDocument]:
    """Return the image in a file, or its pages.

    Raises:
        ImageError: The file is not an image, or has too many pages.
    """
    documents = find_images({"bytes": data, "path": name})
    if len(documents) > _MAX_PAGES:
        raise ImageTooLargeError(
            f"{name} has {len(documents):,} pages, more than the {_MAX_PAGES} that can be attached at once: choose "
            "pages with vn.load_images, and add them with ChatPanel.add."
        )
    _ = documents[0].size  # raises an error if the file is not an image
    return list(documents)


def _file_name(name: str) -> str:
    """Return a file's name in one short line, without control characters."""
    printable = "".join(char for char in " ".join(name.split()) if char.isprintable())
    return printable[:_MAX_NAME_LENGTH] or "image"
