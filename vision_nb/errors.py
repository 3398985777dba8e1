"""Everything that vision_nb raises on purpose.

::

    VisionError
    ├── SettingsError (ValueError)          an argument, option or environment variable is wrong
    │   └── MissingKeyError                 no API key where one is needed
    ├── BudgetExceededError                 a call could pass the budget, and was not sent
    ├── StoreError                          the file of finished answers cannot be used
    ├── ImageError                          a picture cannot be used
    │   ├── ImageNotFoundError              there is no such file (FileNotFoundError)
    │   ├── ImageDownloadError              a URL did not give a picture
    │   ├── UnsupportedImageError           not a picture, or of a kind that cannot be read here
    │   ├── CorruptImageError               a picture that breaks off or does not decode
    │   └── ImageTooLargeError              too many pixels, bytes or patches
    ├── EngineError                         an engine on this machine did not start
    │   ├── EngineMissingError              it is not installed
    │   ├── EngineMemoryError               there is not enough memory
    │   └── ModelFileError                  a file of weights cannot be used
    │       ├── ModelFileNotFoundError      there is no such file (FileNotFoundError)
    │       └── ProjectorMismatchError      the image encoder was made for another model
    └── ProviderError                       a model did not answer
        ├── AuthenticationError             the key is wrong, or may not do this
        ├── UnknownModelError               the server does not know the model
        ├── RateLimitError                  too many requests
        │   └── QuotaExceededError          the account's quota is spent
        ├── ContextLengthError              more tokens than the model takes
        ├── ContentFilterError              the server's filter refused the request
        ├── RequestRejectedError            any other refusal of the request
        ├── PredictionError                 a prediction on Replicate ended without an answer
        │   ├── PredictionFailedError       the model broke down; its log says how
        │   └── PredictionCanceledError     somebody canceled it
        ├── ServerError                     the server failed
        ├── ProviderConnectionError         the server cannot be reached, or hung up
        │   └── ProviderTimeoutError        the server took too long
        └── MalformedResponseError          the server's answer makes no sense

Messages are one or two sentences: what is wrong, in which source, and what to do next. An error that was
translated from a library's own keeps that one as ``__cause__``. No message carries a key.

>>> try:
...     vn.connect("demo").complete("What is this?", ["no-such-file.jpg"])
... except vn.errors.ImageError as error:
...     print(type(error).__name__)
ImageNotFoundError
"""

from __future__ import annotations

from typing import Any


class VisionError(Exception):
    """The root of every error that vision_nb raises on purpose.

    In IPython and notebooks it is shown with the lines of the user's own code, and without the way through the
    package; ``%tb`` in a later cell shows all of it.
    """

    def _render_traceback_(self) -> list[str]:
        from vision_nb.notebook.tracebacks import short

        return short(self)


class SettingsError(VisionError, ValueError):
    """An argument, an option or an environment variable has a value that cannot be used."""


class MissingKeyError(SettingsError):
    """A provider needs an API key and none was given."""


class BudgetExceededError(VisionError):
    """A call could cost more than is left of the budget; it was not sent.

    Attributes:
        may_pass_later: Whether only calls that are still under way stand against it.
    """

    def __init__(self, message: str, *, may_pass_later: bool = False) -> None:
        super().__init__(message)
        self.may_pass_later = may_pass_later


class StoreError(VisionError):
    """The file of finished answers cannot be opened, read or written."""


class ImageError(VisionError):
    """A picture cannot be used."""


class ImageNotFoundError(ImageError, FileNotFoundError):
    """There is no file at the path, or a pattern matches none."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ImageDownloadError(ImageError):
    """A URL did not give a picture: it is unreachable, refused, endless or too slow."""


class UnsupportedImageError(ImageError):
    """The data is not a picture, or a kind of picture that cannot be read here."""


class CorruptImageError(ImageError):
    """The picture breaks off or does not decode."""


class ImageTooLargeError(ImageError):
    """The picture has more pixels, bytes or patches than can be handled."""


class EngineError(VisionError):
    """An engine on this machine did not start.

    Attributes:
        log: The engine's own last lines; empty where it was not started.
    """

    def __init__(self, message: str, *, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class EngineMissingError(EngineError):
    """The engine, or what downloads its models, is not installed."""


class EngineMemoryError(EngineError):
    """There is not enough memory for the model and its context."""


class ModelFileError(EngineError):
    """A file of weights is of the wrong kind, incomplete, or of a kind that the engine does not know."""


class ModelFileNotFoundError(ModelFileError, FileNotFoundError):
    """There is no such file of weights, here or on the hub."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ProjectorMismatchError(ModelFileError):
    """The image encoder (mmproj) was made for another text model."""


class ProviderError(VisionError):
    """A model did not answer.

    Attributes:
        status_code: The HTTP status of the server's answer, or None where there was none.
        partial_text: What a streamed answer had said before it broke off.
        retry_after: Seconds after which the server wants to be asked again, or None where it did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        partial_text: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.partial_text = partial_text
        self.retry_after = retry_after


class AuthenticationError(ProviderError):
    """The key is wrong, expired, or not allowed to do this."""


class UnknownModelError(ProviderError):
    """The server does not know the model or deployment."""


class RateLimitError(ProviderError):
    """Too many requests in too short a time."""


class QuotaExceededError(RateLimitError):
    """The account's quota is spent: asking again later does not help."""


class ContextLengthError(ProviderError):
    """The request holds more tokens than the model takes."""


class ContentFilterError(ProviderError):
    """The server's content filter refused the request."""


class RequestRejectedError(ProviderError):
    """The server refused the request for another reason."""


class PredictionError(ProviderError):
    """A prediction on Replicate ended without an answer.

    Attributes:
        prediction_id: What Replicate calls it; replicate.com/p/ID shows it for an hour.
        logs: The last lines of its log.
    """

    def __init__(self, message: str, *, prediction_id: str = "", logs: str = "", **facts: Any) -> None:
        super().__init__(message, **facts)
        self.prediction_id = prediction_id
        self.logs = logs


class PredictionFailedError(PredictionError):
    """The model broke down while it worked on the prediction."""


class PredictionCanceledError(PredictionError):
    """Somebody canceled the prediction."""


class ServerError(ProviderError):
    """The server failed while it worked on the request."""


class ProviderConnectionError(ProviderError):
    """The server cannot be reached, or hung up before its answer was whole."""


class ProviderTimeoutError(ProviderConnectionError):
    """The server took longer than the timeout."""


class MalformedResponseError(ProviderError):
    """The server's answer does not have the form that its protocol prescribes."""
