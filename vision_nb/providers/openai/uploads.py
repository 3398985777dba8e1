"""`Uploads`: the images that a model has uploaded with OpenAI's Files API, and how they are deleted."""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import os
from collections.abc import Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from vision_nb.errors import MalformedResponseError, ProviderConnectionError, VisionError
from vision_nb.images.decode import Size
from vision_nb.images.document import ImageDocument
from vision_nb.images.prepare import Prepared
from vision_nb.images.uploaded import UploadedImage
from vision_nb.providers.deadline import answer_deadline
from vision_nb.providers.openai.connection import OpenAIConnection
from vision_nb.providers.openai.errors import check_missing, refuses
from vision_nb.providers.openai.wire_format import string
from vision_nb.providers.outgoing_image import OutgoingImage
from vision_nb.rendering.format import pluralize
from vision_nb.user_warnings import warn_user

LIFETIME = 24 * 3600
"""Seconds after which the service deletes a file that was not deleted before.

OpenAI accepts one hour to 30 days (the types of the openai package 3.57, read 2026-11).
"""
_EXIT_TIMEOUT = 5.0  # seconds for each deletion when Python exits

_with_files: set[Uploads] = set()
"""The uploads that still have files on a server."""


@dataclass(frozen=True, eq=False)
class File:
    """An image on OpenAI's servers.

    Attributes:
        file_id: The service's name for the file.
        account: The account that it belongs to.
        size: Its width and height in pixels.
        notes: The changes made to the image.
        fingerprint: A value that changes when the image on disk does.
        uploads: The uploads that it belongs to.
        expires: When the service deletes it, in seconds since the epoch, or None if it does not.
    """

    file_id: str
    account: str = field(repr=False)
    size: Size
    notes: tuple[str, ...]
    fingerprint: Hashable = field(repr=False)
    uploads: Uploads = field(repr=False)
    expires: int | None

    @property
    def is_deleted(self) -> bool:
        """Whether it was deleted by this process."""
        return not self.uploads.has(self)

    def delete(self) -> None:
        """Delete the file from the server."""
        self.uploads.delete(self)

    async def adelete(self) -> None:
        """Delete the file from the server; the asynchronous version of `delete`."""
        await self.uploads.adelete(self)


class Uploads:
    """The images that a model has uploaded.

    Args:
        llm: The model, whose clients send the requests.
    """

    def __init__(self, llm: OpenAIConnection) -> None:
        self._llm = llm
        self._files: dict[str, File] = {}  # by ID
        self._ids: dict[str, str] = {}  # by the digest of what was uploaded
        self._process = os.getpid()

    def has(self, file: File) -> bool:
        """Return whether a file has not been deleted."""
        return file.file_id in self._files

    def upload(self, image: OutgoingImage) -> UploadedImage:
        """Upload a prepared image, unless it is already on the server."""
        prepared, digest = _content(image)
        with self._mapping_errors(), answer_deadline(self._llm.total_timeout):
            files = self._llm.client.files
            if (known := self._files.get(self._ids.get(digest, ""))) is not None:
                try:
                    files.retrieve(known.file_id)
                except Exception as error:
                    self._forget_missing(known, error)
                else:
                    return UploadedImage._of(image.document, known)
            try:
                created = files.create(**_arguments(prepared, digest))
            except Exception as error:
                _check_expiry_refused(error)
                created = files.create(**_arguments(prepared, digest, expires=False))
        return self._keep(created, prepared, digest, image.document)

    async def aupload(self, image: OutgoingImage) -> UploadedImage:
        """Upload a prepared image; the asynchronous version of `upload`."""
        prepared, digest = _content(image)
        with self._mapping_errors():
            async with asyncio.timeout(self._llm.total_timeout):
                files = self._llm.async_client.files
                if (known := self._files.get(self._ids.get(digest, ""))) is not None:
                    try:
                        await files.retrieve(known.file_id)
                    except Exception as error:
                        self._forget_missing(known, error)
                    else:
                        return UploadedImage._of(image.document, known)
                try:
                    created = await files.create(**_arguments(prepared, digest))
                except Exception as error:
                    _check_expiry_refused(error)
                    created = await files.create(**_arguments(prepared, digest, expires=False))
        return self._keep(created, prepared, digest, image.document)

    def delete(self, file: File, *, timeout: float | None = None) -> None:
        """Delete a file; one that is already deleted is ignored."""
        if not self.has(file):
            return
        client = self._llm.client if timeout is None else self._llm.client.with_options(timeout=timeout, max_retries=0)
        with self._llm._mapping_errors(), answer_deadline(timeout or self._llm.total_timeout):
            try:
                client.files.delete(file.file_id)
            except Exception as error:
                check_missing(error)
        self._forget(file)

    async def adelete(self, file: File) -> None:
        """Delete a file; the asynchronous version of `delete`."""
        if not self.has(file):
            return
        with self._llm._mapping_errors():
            async with asyncio.timeout(self._llm.total_timeout):
                try:
                    await self._llm.async_client.files.delete(file.file_id)
                except Exception as error:
                    check_missing(error)
        self._forget(file)

    def delete_all(self, *, timeout: float | None = None) -> None:
        """Delete all files, and warn about those that cannot be deleted."""
        for file in list(self._files.values()):
            try:
                self.delete(file, timeout=timeout)
            except VisionError as error:
                if not self._goes_on(file, error):
                    return

    async def adelete_all(self) -> None:
        """Delete all files; the asynchronous version of `delete_all`."""
        for file in list(self._files.values()):
            try:
                await self.adelete(file)
            except VisionError as error:
                if not self._goes_on(file, error):
                    return

    def delete_at_exit(self) -> None:
        """Delete all files, unless they belong to the process from which this one was forked."""
        if os.getpid() == self._process:
            self.delete_all(timeout=_EXIT_TIMEOUT)

    def _goes_on(self, file: File, error: VisionError) -> bool:
        """Warn that a file was not deleted; return whether to try the others."""
        is_unreachable = isinstance(error, ProviderConnectionError)
        count = len(self._files) if is_unreachable else 1
        what = pluralize(count, "uploaded image")
        if file.expires is None:
            end = "delete them on the service's website."
        else:
            end = f"the service deletes them by {datetime.fromtimestamp(file.expires):%Y-%m-%d %H:%M}."
        warn_user(f"{self._llm}: {what} could not be deleted: {end} {error}")
        return not is_unreachable

    def _keep(self, created: Any, prepared: Prepared, digest: str, document: ImageDocument) -> UploadedImage:
        """Remember a new file, so that it is deleted."""
        expires, file_id = getattr(created, "expires_at", None), string(created, "id")
        if not file_id:
            raise MalformedResponseError(
                f"{self._llm}: the server's answer to the upload has no file ID: send the image itself, or try again.",
                may_be_billed=False,
            )
        file = File(
            file_id,
            self._llm.account,
            prepared.size,
            prepared.notes,
            document.fingerprint(),
            self,
            expires if isinstance(expires, int) else None,
        )
        self._files[file.file_id], self._ids[digest] = file, file.file_id
        _with_files.add(self)
        return UploadedImage._of(document, file)

    def _forget(self, file: File) -> None:
        self._files.pop(file.file_id, None)
        if not self._files:
            _with_files.discard(self)

    def _forget_missing(self, file: File, error: Exception) -> None:
        """Forget a file that the server does not have any more; any other error is raised again."""
        check_missing(error)
        self._forget(file)

    def _mapping_errors(self) -> AbstractContextManager[None]:
        return self._llm._needing_api("does not take uploads: send the image itself.")


def _content(image: OutgoingImage) -> tuple[Prepared, str]:
    """Return what is uploaded of an image, and its digest."""
    if image.prepared is None:
        raise AssertionError("An image that is uploaded is always prepared.")
    return image.prepared, hashlib.sha256(image.prepared.data).hexdigest()


def _arguments(prepared: Prepared, digest: str, *, expires: bool = True) -> dict[str, Any]:
    """Return the arguments of the openai client; the file's own name stays on this machine."""
    name = f"{digest[:16]}.{prepared.mimetype.partition('/')[2]}"
    lifetime = {"expires_after": {"anchor": "created_at", "seconds": LIFETIME}} if expires else {}
    return {"file": (name, prepared.data, prepared.mimetype), "purpose": "vision", **lifetime}


def _check_expiry_refused(error: Exception) -> None:
    """Raise an error again unless the server refused the file's lifetime, as some versions of Azure's API do."""
    if not refuses(error, "expires_after"):
        raise error


@atexit.register
def _delete_at_exit() -> None:
    for uploads in list(_with_files):
        uploads.delete_at_exit()
