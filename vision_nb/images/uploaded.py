"""`UploadedImage`: an image that a service keeps for later requests."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Protocol, Self

from vision_nb.images.decode import Size
from vision_nb.images.document import ImageDocument


class UploadedFile(Protocol):
    """A file on a service's server."""

    @property
    def file_id(self) -> str:
        """The service's name for the file."""

    @property
    def account(self) -> str:
        """The account that the file belongs to."""

    @property
    def size(self) -> Size:
        """The file's width and height in pixels."""

    @property
    def fingerprint(self) -> Hashable:
        """A value that changes when the image on disk does."""

    @property
    def is_deleted(self) -> bool:
        """Whether the file was deleted by this process."""

    @property
    def notes(self) -> tuple[str, ...]:
        """The changes made to the image before upload."""

    def delete(self) -> None:
        """Delete the file from the server."""

    async def adelete(self) -> None:
        """Delete the file from the server; the asynchronous version of `delete`."""


@dataclass(frozen=True, repr=False)
class UploadedImage(ImageDocument):
    """An image that has been uploaded; `ImageDocument.upload` returns it.

    It can be used wherever an image can. Models that use the same server and API key are sent the ID of the file
    instead of the image; other models are sent the image. The image is also sent if it has changed on disk since the
    upload, or if a call needs more pixels than were uploaded, as with a higher detail level.

    Attributes:
        file: The file on the server.

    >>> with vn.connect("demo") as llm:
    ...     chart = vn.ImageDocument.of(vn.samples.path("chart")).upload(llm)
    ...     [llm.complete(question, chart).finish_reason for question in ("How large is it?", "Is it blurry?")]
    ['stop', 'stop']
    """

    file: UploadedFile = field(init=False)

    @classmethod
    def _of(cls, document: ImageDocument, file: UploadedFile) -> Self:
        """Create the uploaded version of a document."""
        uploaded = cls.__new__(cls)
        uploaded._set(**{**vars(document), "file": file})
        return uploaded

    def without_upload(self) -> ImageDocument:
        """Return the image itself, of which every model is sent the data."""
        document = ImageDocument.__new__(ImageDocument)
        document._set(**{name: value for name, value in vars(self).items() if name != "file"})
        return document

    @property
    def file_id(self) -> str:
        """The service's name for the file."""
        return self.file.file_id

    def delete(self) -> None:
        """Delete the file from the server; deleting it again has no effect.

        Raises:
            ProviderError: The server did not delete it.
        """
        self.file.delete()

    async def adelete(self) -> None:
        """Delete the file from the server; the asynchronous version of `delete`."""
        await self.file.adelete()
