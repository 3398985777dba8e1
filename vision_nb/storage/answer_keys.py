"""The keys under which answers are stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any

from vision_nb.errors import SettingsError


class AnswerKeys:
    """The keys of the answers to one question about various images.

    A key is a digest of everything that the model is sent.

    Args:
        model: Provider and model, and the server if it is not the provider's own.
        parameters: The request's parameters.
        prompt: The question.
        system: The system message, if any.
        history: Earlier messages, each as a role, a text and digests. With an empty history, the key is the same as
            before conversations were stored.
        schema: The digest of the answer's schema, if any.

    Raises:
        SettingsError: A parameter cannot be written as JSON.
    """

    def __init__(
        self,
        *,
        model: str,
        parameters: Mapping[str, Any],
        prompt: str,
        system: str = "",
        history: Sequence[Any] = (),
        schema: str = "",
    ) -> None:
        before = [model, dict(parameters), prompt]
        after = [system, *([list(history)] if history else []), *([{"schema": schema}] if schema else [])]
        self._before = hashlib.sha256(b"[" + b"".join(_json(part) + b", " for part in before) + b"[")
        self._after = b"], " + b", ".join(map(_json, after)) + b"]"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnswerKeys) and self(()) == other(())

    def __hash__(self) -> int:
        return hash(self(()))

    def __call__(self, image_digests: Iterable[str]) -> str:
        """Return the key of the answer about some images.

        Args:
            image_digests: A digest for each image, in order.
        """
        return self.of(encoded_digests(image_digests))

    def of(self, encoded: bytes) -> str:
        """Return the key of the answer about some images.

        Args:
            encoded: Their digests, as `encoded_digests` returns them.
        """
        key = self._before.copy()
        key.update(encoded + self._after)
        return key.hexdigest()


def encoded_digests(digests: Iterable[str]) -> bytes:
    """Return the digests of images as `AnswerKeys.of` takes them, to encode them once for many questions."""
    return ", ".join(map(encode_basestring, digests)).encode("utf-8", "surrogatepass")


def answer_key(*, image_digests: Iterable[str], **question: Any) -> str:
    """Return the key of an answer.

    Args:
        image_digests: A digest for each image, in order.
        **question: The arguments of `AnswerKeys`.
    """
    return AnswerKeys(**question)(image_digests)


def _json(value: Any) -> bytes:
    try:
        try:
            text = _sorted_json(value)
        except TypeError:  # names of several types, as in {50256: -100, "7": 5}, can only be sorted as text
            text = _sorted_json(json.loads(json.dumps(value, default=repr)))
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingsError(f"A request parameter cannot be written as JSON ({error!s:.80}): change it.") from error
    return text.encode("utf-8", "surrogatepass")


def _sorted_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=repr)
