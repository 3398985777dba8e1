"""The exceptions that vision_nb raises.

::

    VisionError
    ├── SettingsError (ValueError)          an argument, option or environment variable is invalid
    │   ├── ArgumentError (TypeError)       an argument is unknown, missing or given twice
    │   ├── MissingItemError                an index does not exist (IndexError)
    │   ├── UnknownAttributeError           an attribute does not exist (AttributeError)
    │   ├── ReadOnlyAttributeError          an attribute cannot be set (AttributeError)
    │   └── MissingKeyError                 a provider needs an API key
    ├── BudgetExceededError                 a call could exceed the budget, and was not sent
    ├── StoreError                          the store of answers cannot be used
    ├── ClusterError                        the Dask cluster cannot be used, or its workers failed
    ├── ImageError                          an image cannot be used
    │   ├── ImageNotFoundError              the file does not exist (FileNotFoundError)
    │   ├── ImageDownloadError              the image could not be downloaded
    │   ├── UnsupportedImageError           not an image, or of a type that cannot be read
    │   ├── CorruptImageError               the image is truncated or damaged
    │   ├── ImageChangedError               the file changed while a run was using it
    │   └── ImageTooLargeError              too many pixels, bytes or patches
    ├── EngineError                         a local engine did not start
    │   ├── EngineMissingError              the engine is not installed
    │   ├── EngineMemoryError               there is not enough memory
    │   └── ModelFileError                  a model file cannot be used
    │       ├── ModelFileNotFoundError      the file does not exist (FileNotFoundError)
    │       ├── ModelNotDownloadedError     the model must be downloaded first
    │       └── ProjectorMismatchError      the image encoder belongs to another model
    └── ProviderError                       a model did not answer
        ├── AuthenticationError             the API key is wrong, or lacks permission
        ├── UnknownModelError               the server does not know the model
        ├── RateLimitError                  too many requests
        │   ├── QuotaExceededError          the account's quota is used up
        │   └── RequestTooLargeError        the request alone exceeds the rate limit
        ├── ContextLengthError              more tokens than the model accepts
        ├── ContentFilterError              the server's content filter refused the request
        ├── UploadNotFoundError             an uploaded image is no longer on the server
        ├── RequestRejectedError            the server refused the request for another reason
        │   └── ServerDownloadError         the server could not download an image (ImageDownloadError)
        ├── PredictionError                 a prediction on Replicate ended without an answer
        │   ├── PredictionFailedError       the model failed; see its log
        │   │   └── PredictionDownloadError the model could not download an image (ServerDownloadError)
        │   └── PredictionCanceledError     the prediction was canceled
        ├── RedirectError                   the server redirected the request to another server
        ├── ServerError                     the server failed
        ├── ProviderConnectionError         the server cannot be reached, or closed the connection
        │   └── ProviderTimeoutError        the server took longer than the timeout
        ├── BatchError                      a batch ended without an answer to a question
        ├── IncompleteResponseError         the answer ended before the server finished it
        ├── SchemaError                     a structured answer is invalid, refused, cut off or empty
        └── MalformedResponseError          the server's answer cannot be understood

A message has one or two sentences: what failed, with which input, and what to do. An error that was mapped from a
library's exception has that exception as its ``__cause__``, without the library's own frames. API keys are removed
from the messages of both, and from everything that they refer to.

>>> try:
...     vn.connect("demo").complete("What is this?", ["no-such-file.jpg"])
... except vn.errors.ImageError as error:
...     print(type(error).__name__)
ImageNotFoundError
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from vision_nb.privacy.redaction import redact, redact_exception
from vision_nb.rendering.sanitize import replace_surrogates

MAX_MESSAGE_LENGTH = 300
"""The most characters of an error message, whatever it quotes."""

_MAX_END = 120  # characters of a longer message's end to keep: it says what to do


class VisionError(Exception):
    """The base class of the errors that vision_nb raises.

    A message is at most 300 characters long. A longer one, which quotes some input, is shortened in the middle. IPython
    shows only the lines of the user's code and the message; ``%tb`` in a later cell shows the whole traceback.

    Attributes:
        response: The last response to a question with a schema, with the usage of all attempts, if one had arrived
            before the error; otherwise None.
    """

    response: Any = None

    def __init__(self, *args: object) -> None:
        super().__init__(*(shortened(redact(arg)) if isinstance(arg, str) else arg for arg in args))
        handled = sys.exception()
        if handled is not None:  # it becomes this error's cause or context
            redact_exception(handled)

    def _render_traceback_(self) -> list[str]:
        from vision_nb.notebook.tracebacks import short_traceback

        return short_traceback(self)


def shortened(message: str) -> str:
    """Return a message without lone surrogates and control characters, and without the middle if it is long."""
    if len(message) > MAX_MESSAGE_LENGTH:
        start = message[: MAX_MESSAGE_LENGTH - _MAX_END - 5]
        message = f"{start.rstrip()} ... {message[-_MAX_END:].lstrip()}"
    message = replace_surrogates(message)
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in message)


class SettingsError(VisionError, ValueError):
    """An argument, option or environment variable has an invalid value."""


class ArgumentError(SettingsError, TypeError):
    """An argument is unknown, missing or given twice."""


class MissingItemError(SettingsError, IndexError):
    """A row, image or other item with this index does not exist."""


class UnknownAttributeError(SettingsError, AttributeError):
    """A value was assigned to an attribute that does not exist."""


class ReadOnlyAttributeError(SettingsError, AttributeError):
    """A value was assigned to an attribute that cannot be set."""


class MissingKeyError(SettingsError):
    """A provider needs an API key, and none was given."""


class BudgetExceededError(VisionError):
    """A call could exceed the budget, and was not sent.

    Attributes:
        may_pass_later: Whether the call may fit the budget once the calls in progress have cost less than reserved.
    """

    def __init__(self, message: str, *, may_pass_later: bool = False) -> None:
        super().__init__(message)
        self.may_pass_later = may_pass_later


class StoreError(VisionError):
    """The store of finished answers cannot be opened, read or written."""


class ClusterError(VisionError):
    """The Dask cluster of a comparison cannot be used, or its workers failed.

    Attributes:
        is_lost: Whether the connection to the cluster was lost, so that no further call can be made.
    """

    def __init__(self, message: str, *, is_lost: bool = False) -> None:
        super().__init__(message)
        self.is_lost = is_lost


class ImageError(VisionError):
    """An image cannot be used."""


class ImageNotFoundError(ImageError, FileNotFoundError):
    """A file, page or frame does not exist, or a folder or pattern contains no image."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ImageDownloadError(ImageError):
    """An image could not be downloaded.

    Its URL is unreachable, slow or too large, or returns an error status.
    """


class UnsupportedImageError(ImageError):
    """The data is not an image, or an image of a type that cannot be read."""


class CorruptImageError(ImageError):
    """The image is truncated or damaged."""


class ImageChangedError(ImageError):
    """The file of an image changed after a run had looked it up, and was not sent."""


class ImageTooLargeError(ImageError):
    """The image has too many pixels, bytes or patches."""


class EngineError(VisionError):
    """A local engine did not start.

    Attributes:
        log: The last lines of the engine's log; empty if it was not started.
    """

    def __init__(self, message: str, *, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class EngineMissingError(EngineError):
    """The engine, or the package that downloads its models, is not installed."""


class EngineMemoryError(EngineError):
    """There is not enough memory for the model and its context."""


class ModelFileError(EngineError):
    """A model file is incomplete, of the wrong type, or not supported by the engine."""


class ModelFileNotFoundError(ModelFileError, FileNotFoundError):
    """A model file does not exist on this machine or on the hub."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ModelNotDownloadedError(ModelFileError):
    """A small model is not on this machine, and its download was declined or nobody could be asked."""


class ProjectorMismatchError(ModelFileError):
    """The image encoder (mmproj) belongs to another text model."""


class ProviderError(VisionError):
    """A model did not answer.

    Attributes:
        status_code: The HTTP status of the server's response, or None if there was none.
        partial_text: The part of a streamed answer that had arrived.
        retry_after: Seconds to wait before a retry, as requested by the server, or None.
        may_be_billed: Whether the server may have worked on the answer, and may bill it: the request is not repeated,
            and the ledger holds an estimate.
    """

    may_be_billed = False

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        partial_text: str = "",
        retry_after: float | None = None,
        may_be_billed: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.partial_text = partial_text
        self.retry_after = retry_after
        if may_be_billed is not None:
            self.may_be_billed = may_be_billed


class AuthenticationError(ProviderError):
    """The API key is wrong or expired, or lacks permission."""


class UnknownModelError(ProviderError):
    """The server does not know the model or deployment."""


class RateLimitError(ProviderError):
    """Too many requests were sent in a short time."""


class QuotaExceededError(RateLimitError):
    """The account's quota is used up: a retry will fail too."""


class RequestTooLargeError(RateLimitError):
    """The request alone has more tokens than the rate limit allows per minute: a retry will fail too."""


class ContextLengthError(ProviderError):
    """The request has more tokens than the model accepts."""


class ContentFilterError(ProviderError):
    """The server's content filter refused the request."""


class UploadNotFoundError(ProviderError):
    """An uploaded image has expired or was deleted: upload it again."""


class RequestRejectedError(ProviderError):
    """The server refused the request for another reason."""


class ServerDownloadError(ImageDownloadError, RequestRejectedError):
    """The server could not download an image from its URL, which was sent instead of the image."""


class PredictionError(ProviderError):
    """A prediction on Replicate ended without an answer.

    Attributes:
        prediction_id: The prediction's id; replicate.com/p/ID shows it for an hour.
        logs: The last lines of the prediction's log.
    """

    def __init__(self, message: str, *, prediction_id: str = "", logs: str = "", **details: Any) -> None:
        super().__init__(message, **details)
        self.prediction_id = prediction_id
        self.logs = logs


class PredictionFailedError(PredictionError):
    """The model failed while it processed the prediction."""


class PredictionDownloadError(ServerDownloadError, PredictionFailedError):
    """The model could not download an image from its URL, which was sent instead of the image."""


class PredictionCanceledError(PredictionError):
    """The prediction was canceled."""


class RedirectError(ProviderError):
    """The server redirected a request to another server; it was not sent there."""


class ServerError(ProviderError):
    """The server failed while it processed the request."""


class ProviderConnectionError(ProviderError):
    """The server cannot be reached, or closed the connection too early."""


class ProviderTimeoutError(ProviderConnectionError):
    """The server took longer than the timeout."""


class BatchError(ProviderError):
    """A batch failed, expired or lost a question; what was wrong with its file is in the server's own words."""


class IncompleteResponseError(ProviderError):
    """A stream ended without a finish reason or end marker; the text so far is in ``partial_text``."""

    may_be_billed = True


class SchemaError(ProviderError):
    """A structured answer cannot be used: it is invalid, refused, cut off or empty, or contains no JSON.

    Attributes:
        text: The last answer.
        errors: What is wrong: a mapping from field paths such as "items[0].price" to sentences; an empty path refers to
            the whole answer. Empty if no JSON was found.
        attempts: How many answers were requested; the usage of all of them is in ``response``.
        may_repair: Whether the model could correct the answer if it were asked again.
    """

    def __init__(
        self,
        message: str,
        *,
        text: str = "",
        errors: Mapping[str, str] | None = None,
        may_repair: bool = True,
    ) -> None:
        super().__init__(message, partial_text=text)
        self.text = text
        self.errors = dict(errors or {})
        self.may_repair = may_repair

    @property
    def attempts(self) -> int:
        """How many answers were requested."""
        return 0 if self.response is None else int(self.response.attempts)


class MalformedResponseError(ProviderError):
    """The server's answer does not follow its protocol; as it may be billed, the ledger holds an estimate."""

    may_be_billed = True


def __dir__() -> list[str]:
    return [name for name, value in globals().items() if isinstance(value, type) and issubclass(value, VisionError)]
