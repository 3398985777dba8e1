"""The grid of a comparison: its rows, checked and in order, before anything is asked."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from vision_nb.errors import ImageNotFoundError, SettingsError
from vision_nb.images.document import ImageDocument, ImageSource
from vision_nb.images.loading import flatten, load_images
from vision_nb.messages import as_images
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.connect import connect
from vision_nb.responses import Response
from vision_nb.store import answer_key

DEFAULT_CONCURRENCY = 8


@dataclass(frozen=True)
class Row:
    """One question to one model about one picture, and what came of it.

    Attributes:
        model: The model, as ``str(llm)`` names it.
        prompt: The question.
        image: The picture's name.
        key: The key of the answer in the store; empty where the picture could not be read.
        response: The answer, or None.
        error: What went wrong, as "ErrorClass: message", or None.
        finish_reason: Why the answer ended: "length" where it was cut off; None where there is none.
        latency_s: Seconds that the answer took, or None.
        input_tokens: As the server reported them, or None.
        output_tokens: As the server reported them, or None.
        usd: The price in US dollars, or None where it is not known.
        from_store: Whether the answer was already there.
    """

    model: str
    prompt: str
    image: str
    key: str = ""
    response: str | None = None
    error: str | None = None
    finish_reason: str | None = None
    latency_s: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    usd: Decimal | None = None
    from_store: bool = False

    @property
    def finished(self) -> bool:
        """Whether there is an answer."""
        return self.response is not None

    def answered(self, response: Response, *, from_store: bool) -> dict[str, Any]:
        """The fields that an answer fills."""
        usage = response.usage
        return {
            "response": response.text,
            "error": None,
            "finish_reason": response.finish_reason,
            "latency_s": response.latency,
            "input_tokens": usage and usage.input_tokens,
            "output_tokens": usage and usage.output_tokens,
            "usd": response.cost,
            "from_store": from_store,
        }


@dataclass(frozen=True)
class Grid:
    """What is asked of whom about what; rows go prompt by prompt, image by image, model by model.

    Attributes:
        models: The models.
        prompts: The questions.
        documents: The pictures.
        limits: How many calls to each model may be under way at once, in the order of the models.
        max_concurrency: How many calls may be under way at once to all models, or None.
    """

    models: tuple[MultiModalLLM, ...]
    prompts: tuple[str, ...]
    documents: tuple[ImageDocument, ...]
    limits: tuple[int, ...] = field(default=())
    max_concurrency: int | None = None

    def __len__(self) -> int:
        return len(self.models) * len(self.prompts) * len(self.documents)

    def index(self, model: int, prompt: int, document: int) -> int:
        """The place of a row."""
        return (prompt * len(self.documents) + document) * len(self.models) + model

    def places(self, document: int) -> Iterator[tuple[int, int, int]]:
        """(row, model, prompt) of all that is asked about one picture."""
        for prompt in range(len(self.prompts)):
            for model in range(len(self.models)):
                yield self.index(model, prompt, document), model, prompt

    def empty_rows(self) -> list[Row]:
        """A row for each call, before it is made."""
        return [
            Row(str(model), prompt, document.name)
            for prompt in self.prompts
            for document in self.documents
            for model in self.models
        ]


def make_grid(
    models: Any,
    prompts: str | Iterable[str],
    images: Any,
    concurrency: int | Mapping[str, int] = DEFAULT_CONCURRENCY,
    *,
    connect: Callable[[str], MultiModalLLM] = connect,
) -> Grid:
    """Check what is to be compared and lay it out.

    Raises:
        SettingsError: Something is missing, given twice, or of a wrong type.
        ImageNotFoundError: A folder or pattern has no picture.
    """
    chosen = tuple(connect(one) if isinstance(one, str) else one for one in _listed(models))
    asked = tuple(_listed(prompts))
    sources = as_images(images)
    for name, given in (("model", chosen), ("prompt", asked), ("image", sources)):
        if not given:
            raise SettingsError(f"There is nothing to compare: give at least one {name}.")
    for model in chosen:
        if not isinstance(model, MultiModalLLM):
            raise SettingsError(f'A {type(model).__name__} is no model: give a model object or "provider:model".')
    _refuse_twice([(str(model), model.identity) for model in chosen], "model")
    for prompt in asked:
        if not isinstance(prompt, str) or not prompt.strip():
            raise SettingsError(f"A prompt is a text, and {prompt!r} is none.")
    _refuse_twice([(prompt, prompt) for prompt in asked], "prompt")
    limits, max_concurrency = _limits(chosen, concurrency)
    return Grid(chosen, asked, tuple(_documents(sources)), limits, max_concurrency)


def _documents(sources: Iterable[ImageSource]) -> Iterator[ImageDocument]:
    """The pictures; a single file that is missing stays in, as its rows say what is wrong with it."""
    for source in flatten(sources):
        try:
            yield from load_images(source)
        except ImageNotFoundError:
            if Path(source).is_dir() or glob.has_magic(str(source)):
                raise
            yield ImageDocument.of(source)


def row_key(llm: MultiModalLLM, prompt: str, digest: str, detail: str | None = None) -> str:
    """The key under which the store keeps the answer to a question about one picture.

    Args:
        llm: The model.
        prompt: The question.
        digest: The digest of the picture's content.
        detail: The picture's own detail level, which wins over the model's.
    """
    identity = {**llm.identity}
    parameters = identity.pop("parameters")
    return answer_key(
        model=repr(sorted(identity.items())),
        parameters=parameters,
        prompt=prompt,
        image_digests=[f"{digest} {detail or ''}".strip()],
    )


def _listed(given: Any) -> Sequence[Any]:
    """A list of what is given alone or as several; a mapping gives its values, as of a table of models."""
    if given is None:
        return []
    if isinstance(given, (str, MultiModalLLM)) or not isinstance(given, Iterable):
        return [given]
    return list(given)


def _refuse_twice(named: Sequence[tuple[str, Any]], what: str) -> None:
    seen: list[Any] = []
    for name, identity in named:
        if identity in seen:
            raise SettingsError(f"The {what} {name!r} is given twice: every row would be there twice.")
        seen.append(identity)


def _limits(
    models: Sequence[MultiModalLLM], concurrency: int | Mapping[str, int]
) -> tuple[tuple[int, ...], int | None]:
    wanted = concurrency if isinstance(concurrency, Mapping) else {}
    names = [str(model) for model in models]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise SettingsError(f"concurrency names {unknown[0]!r}, which is not compared: the models are {names}.")
    max_concurrency = None if isinstance(concurrency, Mapping) else concurrency
    limits = tuple(wanted.get(name, max_concurrency or DEFAULT_CONCURRENCY) for name in names)
    if any(
        not isinstance(limit, int) or limit < 1
        for limit in (*limits, 1 if max_concurrency is None else max_concurrency)
    ):
        raise SettingsError("concurrency is the number of calls under way at once: a whole number from 1 on.")
    return limits, max_concurrency
