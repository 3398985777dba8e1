"""Removal of secrets from texts, exceptions and log records.

Every secret that the package holds is registered here while it is in use. An exception is redacted as a whole chain:
the texts of its causes, the HTTP requests and responses that they refer to, and the frames of other packages, whose
local variables contain the headers of a request.
"""

from __future__ import annotations

import base64
import logging
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Protocol
from weakref import ref

from vision_nb.notebook.interrupts import keep_weakly
from vision_nb.privacy.urls import SECRET_PARAMETERS
from vision_nb.rendering.sanitize import terminal_text

HIDDEN = "***"
"""What replaces a secret."""

_MIN_LENGTH = 8
"""A shorter key is a placeholder such as "EMPTY", and could be part of any message."""

_KEY = (
    r"\b(?:sk|r8)[-_][\w*-]{6,}|\b(?:hf_|gsk_|xai-)[A-Za-z0-9]{20,}|\b(?:AIza|nvapi-)[\w-]{30,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{4,}\.[\w-]*"
    r"|(?<=Bearer )[^\s'\"]+|(?<=Basic )[\w+/=-]{8,}|(?<=://)[^\s/?#@'\"]+:[^\s/?#@'\"]*(?=@)"
)
_PARAMETER = rf"(?i)((?:[?&]|&amp;)(?:{SECRET_PARAMETERS})=)[^&\s'\"<>\\]+"
_IMAGE_DATA = r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{8000,}"
"""An image in base64: too long for an unknown key, and megabytes of it would take seconds to search for one."""
_MAX_DEPTH = 8
_VENDORS = tuple("openai httpx httpx2 httpcore httpcore2 h11 anyio replicate pydantic huggingface_hub".split())
_LOGGERS = ("openai", "replicate", "httpx", "httpx2", "httpcore", "httpcore2", "asyncio", "tornado")
_PARTS_OF_HTTPCORE = ("connection", "http11", "http2", "proxy", "socks")


class Pattern:
    r"""A pattern that finds a secret: unchanged, escaped any number of times, in base64 or in hexadecimal.

    Args:
        *values: The secret, and parts of it that are secret on their own; those shorter than 8 characters are ignored.

    >>> Pattern("sk-a/b'c<d").replace("x sk-a%2Fb&#39;c\\u003cd x")
    'x *** x'
    """

    def __init__(self, *values: str) -> None:
        found = [form for value in values if len(value) >= _MIN_LENGTH for form in _encodings(value)]
        self.literals = tuple(sorted(set(found), key=len, reverse=True))
        self._runs = tuple({max(_PLAIN.findall(form), key=len) for form in self.literals})

    @cached_property
    def _pattern(self) -> re.Pattern[str]:  # compiled when it is needed, because that takes milliseconds
        pattern = re.compile("|".join("".join(map(_escaped, form)) for form in self.literals))
        re.purge()  # the module keeps the text of recent patterns, and so the secret after nothing else refers to it
        return pattern

    @property
    def length(self) -> int:
        """The length of the secret's longest form in characters."""
        return max(map(len, self.literals), default=0)

    def replace(self, text: str) -> str:
        """Return a text with the secret replaced."""
        return self._pattern.sub(HIDDEN, text) if any(run in text for run in self._runs) else text


_PLAIN = re.compile(r"[\w-]*")  # characters that no encoding changes


def _escaped(char: str) -> str:
    """Return a pattern for a character in JSON, Python, HTML and URLs, including nested escapes."""
    if _PLAIN.fullmatch(char):
        return char
    number = f"{ord(char):02x}"
    name = _ENTITIES.get(char, "no")
    html_escape = rf"&(?:amp;)*(?:{name}|#0*{ord(char)}|#x0*{number});"
    backslashes = r"\\+" if char == "\\" else rf"\\*{re.escape(char)}"
    return rf"(?:{backslashes}|\\+(?:u00|x)(?i:{number})|%(?:25)*(?i:{number})|{html_escape})"


_ENTITIES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}


class Registered(Protocol):
    """The part of a secret that this module uses."""

    @property
    def pattern(self) -> Pattern:
        """The pattern that finds it in a text."""


_registered: dict[int, ref[Registered]] = {}  # by id()


def register(secret: Registered) -> None:
    """Redact a secret from now on, for as long as something refers to it."""
    keep_weakly(_registered, id(secret), secret)


def _encodings(value: str) -> Iterator[str]:
    data = value.encode("utf-8", "surrogatepass")
    yield from (value, data.hex(), data.hex().upper(), *_base64_forms(data))


def _base64_forms(data: bytes) -> Iterator[str]:
    """Yield what a text in base64 contains if the data is in it, at each of the three possible offsets."""
    for before in range(3):
        text = base64.b64encode(b"\0" * before + data).decode()
        inner = text[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")


def redact_known(text: str) -> str:
    """Return a text with every registered secret replaced."""
    for pattern in _known_patterns():
        text = pattern.replace(text)
    return text


def _known_patterns() -> list[Pattern]:
    """Return the patterns of the registered secrets, the longest first: one may be the beginning of another."""
    # list() and not tuple(), which starts to iterate before its last allocation: garbage collection may free a secret.
    secrets = [secret for reference in list(_registered.values()) if (secret := reference()) is not None]
    return sorted((secret.pattern for secret in secrets), key=lambda pattern: -pattern.length)


def redact(text: str) -> str:
    """Return a text with every registered secret, and everything that looks like an API key, replaced.

    >>> redact("Incorrect API key provided: sk-abcdef123456")
    'Incorrect API key provided: ***'
    """
    text, result, end = redact_known(text), [], 0
    for image in re.finditer(_IMAGE_DATA, text):
        result += [_redact_patterns(text[end : image.start()]), image[0]]
        end = image.end()
    return "".join([*result, _redact_patterns(text[end:])])


def _redact_patterns(text: str) -> str:
    return re.sub(_PARAMETER, rf"\1{HIDDEN}", re.sub(_KEY, HIDDEN, text))


class StreamRedactor:
    """Replace the registered secrets in a stream of bytes, such as the body of a response that echoes the request."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes, *, last: bool = False) -> bytes:
        """Return the bytes that can be passed on; bytes that may begin a secret are kept for the next call.

        Args:
            data: The next bytes.
            last: Whether these are the last bytes.
        """
        text, self._held = (self._held + data).decode("latin-1"), b""
        held = 0
        for pattern in _known_patterns():
            text = pattern.replace(text)
            if not last:
                held = max([held, *(_overlap(text, literal) for literal in pattern.literals)])
        data = text.encode("latin-1")
        if held:
            data, self._held = data[:-held], data[-held:]
        return data


def _overlap(text: str, literal: str) -> int:
    """Return how many characters at the end of a text are the beginning of a literal."""
    if text[-1:] not in literal:
        return 0
    tail = text[-len(literal) + 1 :]
    start = tail.find(literal[:1])
    while start >= 0:
        if literal.startswith(tail[start:]):
            return len(tail) - start
        start = tail.find(literal[:1], start + 1)
    return 0


def redact_exception(error: BaseException) -> None:
    """Remove secrets from an exception and everything that it refers to, and the frames of other packages.

    Args:
        error: The exception. Its whole chain is changed in place.
    """
    _redact_chain(error, set())


def _redact_chain(error: BaseException, seen: set[int]) -> None:
    if id(error) in seen:
        return
    seen.add(id(error))
    error.__traceback__ = without_foreign_frames(error.__traceback__)
    _redact_members(error, seen)
    for link in ("__cause__", "__context__"):
        linked = getattr(error, link)
        if linked is None:
            continue
        _redact_chain(linked, seen)
        if _shows_secret(linked):  # an exception of an extension module, whose text cannot be changed
            suppressed = error.__suppress_context__
            setattr(error, link, RuntimeError(redact(f"{type(linked).__name__}: {linked}")))
            error.__suppress_context__ = suppressed
    for part in getattr(error, "exceptions", ()):
        _redact_chain(part, seen)


def _redact_members(error: BaseException, seen: set[int]) -> None:
    with suppress(Exception):  # some classes define their own args
        args = _redacted(error.args, seen, 0)
        error.args = tuple(terminal_text(one) if isinstance(one, str) else one for one in args)
    _redact_attributes(error, seen, 0)
    for name in ("object", "filename", "filename2", "strerror"):  # of UnicodeError and OSError
        value = getattr(error, name, None)
        if isinstance(value, (str, bytes)):
            with suppress(Exception):
                setattr(error, name, _redacted(value, seen, 0))


def _redact_attributes(value: Any, seen: set[int], depth: int) -> None:
    """Redact the attributes of an object in place."""
    attributes = getattr(value, "__dict__", None)
    if not isinstance(attributes, dict):
        return
    for name, attribute in tuple(attributes.items()):
        redacted = _redacted(attribute, seen, depth + 1)
        if redacted is not attribute:
            attributes[name] = redacted


def _redacted(value: Any, seen: set[int], depth: int) -> Any:
    """Return a value without secrets; objects of the vendors' packages are changed in place."""
    if isinstance(value, str):
        redacted = redact(value)
        return value if redacted == value else redacted
    if isinstance(value, (bytes, bytearray)):
        text = bytes(value).decode("latin-1")
        redacted = redact(text)
        return value if redacted == text else redacted.encode("latin-1", "replace")
    if depth > _MAX_DEPTH or value is None or isinstance(value, (int, float, type, BaseException)):
        if isinstance(value, BaseException):
            _redact_chain(value, seen)
        return value
    if isinstance(value, (dict, list, tuple, set)):
        return _redacted_container(value, seen, depth)
    if type(value).__module__.partition(".")[0] in (*_VENDORS, "vision_nb") and id(value) not in seen:
        seen.add(id(value))
        _redact_http(value)
        _redact_attributes(value, seen, depth)
    return value


def _redacted_container(value: Any, seen: set[int], depth: int) -> Any:
    if isinstance(value, dict):
        changed = {name: _redacted(item, seen, depth + 1) for name, item in value.items()}
        return value if all(changed[name] is item for name, item in value.items()) else changed
    items = [_redacted(item, seen, depth + 1) for item in value]
    if all(new is old for new, old in zip(items, value, strict=True)):
        return value
    return items if isinstance(value, list) else type(value)(items) if type(value) in (tuple, set) else tuple(items)


def _redact_http(value: Any) -> None:
    """Redact the headers and the address of a request or response of httpx or httpx2."""
    headers = getattr(value, "headers", None)
    if headers is not None and hasattr(headers, "multi_items"):
        for name, content in headers.multi_items():
            redacted = redact(content)
            if redacted != content:
                headers[name] = redacted
    url = value.__dict__.get("url") if hasattr(value, "__dict__") else None
    if url is not None and redact(str(url)) != str(url):
        with suppress(Exception):
            value.url = type(url)(redact(str(url)).replace("***@", "").replace(HIDDEN, "hidden"))


def _shows_secret(error: BaseException) -> bool:
    try:
        shown = f"{error}\n{error!r}"
    except Exception:
        return True
    return redact(shown) != shown


def without_foreign_frames(traceback: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of other packages that this package has called."""
    entries, is_in_vendor = [], False
    # An exception that begins in such a frame was caught by the package that raised it.
    is_called = traceback is not None and _is_of_vendor(traceback.tb_frame)
    while traceback is not None:
        is_own = _package(traceback.tb_frame) == "vision_nb"
        is_called = is_called or is_own
        is_in_vendor = is_in_vendor or (is_called and _package(traceback.tb_frame) in _VENDORS)
        # Below a vendor's frame, only the user's functions are kept, such as a token provider.
        if not is_called or not (_is_foreign(traceback.tb_frame) or (is_own and is_in_vendor)):
            entries.append(traceback)
        traceback = traceback.tb_next
    return traceback_of(entries)


def traceback_of(entries: Sequence[TracebackType]) -> TracebackType | None:
    """Return a traceback that has only some entries of another one."""
    shortened = None
    for entry in reversed(entries):
        shortened = TracebackType(shortened, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return shortened


def _is_foreign(frame: FrameType) -> bool:
    """Return whether a frame is of the standard library or of an installed package other than this one."""
    return _package(frame) != "vision_nb" and frame.f_code.co_filename.startswith(("<frozen", *_foreign_folders()))


@cache
def _foreign_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(str(Path(paths[name]).resolve()) for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def _is_of_vendor(frame: FrameType) -> bool:
    """Return whether a frame is of the standard library or of a vendor's package."""
    return _package(frame) in _VENDORS or _package(frame) in sys.stdlib_module_names


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


class RedactingFilter(logging.Filter):
    """Remove secrets from log records."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact a record in place, and let it pass."""
        try:
            message = record.getMessage()
        except Exception:
            return True  # the handler reports the mistake
        redacted = redact(message)
        if redacted != message:
            record.msg, record.args = redacted, ()
        if record.exc_info and record.exc_info[1] is not None:
            redact_exception(record.exc_info[1])
        return True


_filter: Callable[[logging.LogRecord], bool] | logging.Filter = RedactingFilter()


def redact_logs() -> None:
    """Remove secrets from the records that the vendors' packages log."""
    names = [f"{name}.{part}" for name in ("httpcore", "httpcore2") for part in _PARTS_OF_HTTPCORE]
    names += [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in _LOGGERS]
    for name in dict.fromkeys((*_LOGGERS, *names)):
        logging.getLogger(name).addFilter(_filter)  # a filter is added only once
