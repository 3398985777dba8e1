"""What a provider's batch API does: answer a file of requests later, at a lower price."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from vision_nb.images.document import ImageDocument
from vision_nb.responses import CompletionResponse
from vision_nb.schema.schema import Schema

BATCH_PROVIDERS = "OpenAI, Azure OpenAI and the demo"
"""Whose models take batches, for error messages."""

ENDED = ("completed", "failed", "expired", "cancelled")
"""The states in which a batch stays."""


@dataclass(frozen=True)
class BatchRequest:
    """A question as a line of an input file.

    Attributes:
        line: The line, with its end.
        endpoint: The API that the line is for: all lines of a file must have the same one.
        facts: What is known about the question before its answer, as JSON data for `Batches.read`.
    """

    line: bytes
    endpoint: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class BatchLine:
    """A line of an output or error file.

    Attributes:
        key: The key of the question, or "" if the line cannot be read.
        body: The server's answer, or None.
        error: The error that the server reported in place of an answer, or None.
        was_not_run: Whether the request was not executed, because the batch expired or was canceled.
    """

    key: str = ""
    body: Mapping[str, Any] | None = None
    error: Exception | None = None
    was_not_run: bool = False


@dataclass(frozen=True)
class BatchState:
    """A batch as the server describes it.

    Attributes:
        id: Its ID.
        status: "validating", "in_progress", "finalizing", "cancelling", or one of `ENDED`.
        created: When it was created, in seconds since the epoch.
        input_file: The ID of the input file, or None.
        output_file: The ID of the file with the answers, or None.
        error_file: The ID of the file with the errors, or None.
        total: The number of its requests, or None while the file is validated.
        done: The number of requests that were answered or failed.
        message: What was wrong with the input file, in the server's own words; "" if nothing.
        metadata: What was attached to it.
    """

    id: str
    status: str
    created: float
    input_file: str | None
    output_file: str | None
    error_file: str | None
    total: int | None
    done: int
    message: str
    metadata: Mapping[str, str]

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will be answered."""
        return self.status in ENDED


class Batches(ABC):
    """The batch API of a model.

    Attributes:
        max_requests: The most requests of an input file.
        max_bytes: The largest input file, in bytes.
    """

    max_requests: int
    max_bytes: int

    @property
    @abstractmethod
    def server(self) -> str:
        """The address of the server, without a login."""

    @property
    @abstractmethod
    def account(self) -> str:
        """A short digest of the account, from which no key can be found; "" if the account is not known."""

    @abstractmethod
    def write(self, key: str, prompt: str, document: ImageDocument, schema: Schema | None) -> BatchRequest:
        """Return a question as a line of an input file; may be slow.

        Args:
            key: The question's key, which the line of the answer repeats.
            prompt: The question.
            document: Its image.
            schema: The schema of the answer, or None.

        Raises:
            VisionError: The question cannot be asked, as for a direct call.
        """

    @abstractmethod
    def read_line(self, line: bytes) -> BatchLine:
        """Read a line of an output or error file."""

    @abstractmethod
    def read(
        self, body: Mapping[str, Any], facts: Mapping[str, Any], schema: Schema | None, *, record: bool
    ) -> tuple[CompletionResponse, Exception | None]:
        """Read an answer as that of a direct call, and return it with what is wrong with it.

        Args:
            body: The server's answer.
            facts: What was known about the question.
            schema: The schema of the answer, or None.
            record: Whether to record its cost; False if that was done before.

        Raises:
            VisionError: There is no answer in it.
        """

    @abstractmethod
    async def upload(self, file: IO[bytes], name: str) -> str:
        """Upload an input file, wait until a batch can be created from it, and return its ID.

        If the upload was repeated, copies of the file that the server has of earlier attempts are deleted.

        Args:
            file: The file, which is read in chunks.
            name: Its name on the server.
        """

    @abstractmethod
    async def submit(self, file_id: str, endpoint: str, metadata: Mapping[str, str]) -> BatchState:
        """Create a batch from an input file. It is not repeated if it is not known whether it succeeded."""

    @abstractmethod
    async def retrieve(self, batch_id: str) -> BatchState | None:
        """Return the current state of a batch; None if the server does not know it."""

    @abstractmethod
    async def cancel(self, batch_id: str) -> None:
        """Cancel a batch; what has been answered by then stays. One that has ended is ignored."""

    @abstractmethod
    def recent(self, since: float) -> AsyncIterator[BatchState]:
        """Iterate over the batches of the account, newest first.

        Args:
            since: The time after which they were created, in seconds since the epoch.
        """

    @abstractmethod
    def recent_files(self, since: float) -> AsyncIterator[tuple[str, str]]:
        """Iterate over the ID and name of the account's input files.

        Args:
            since: The time after which they were created, in seconds since the epoch.
        """

    @abstractmethod
    def lines(self, file_id: str) -> AsyncIterator[bytes]:
        """Iterate over the lines of a file while it is downloaded; there are none if it was deleted."""

    @abstractmethod
    async def delete(self, file_id: str) -> None:
        """Delete a file; one that is already deleted is ignored."""
