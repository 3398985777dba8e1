"""The grid of a comparison: validated models, prompts and images, and the rows in order."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from glob import has_magic
from pathlib import Path
from typing import Any

from vision_nb.checks.attributes import read_only
from vision_nb.comparison.answer_cells import error_html, folded_answer_html, thumbnail_html
from vision_nb.comparison.argument_order import check_prompts, connected
from vision_nb.comparison.model_limits import DEFAULT_CONCURRENCY, RateLimits, concurrency_limits, rate_limits_of
from vision_nb.cost.model_reference import without_provider
from vision_nb.cost.rate_limit import RateLimit
from vision_nb.errors import ImageNotFoundError, SettingsError, VisionError
from vision_nb.images.boxes import Box, SentImage
from vision_nb.images.columns import flatten
from vision_nb.images.document import ImageDocument
from vision_nb.images.loading import load_images
from vision_nb.paths import without_folders
from vision_nb.privacy.redaction import redact
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.connect import connect
from vision_nb.providers.structured import check_max_repairs
from vision_nb.rendering.answer import answer_facts
from vision_nb.rendering.demo_badge import demo_label
from vision_nb.rendering.format import pluralize
from vision_nb.rendering.html import muted_text
from vision_nb.rendering.sanitize import escape_text, name_text, terminal_text
from vision_nb.rendering.terminal import MarkdownText, TerminalDisplay, TerminalPart, short_text
from vision_nb.responses import CompletionResponse, Response, Usage
from vision_nb.schema.schema import Schema
from vision_nb.storage.answer_keys import AnswerKeys

_BATCH_IMAGES, _BATCH_ROWS = 500, 4_000  # looked up in the store together
_NO_USAGE = Usage()


@read_only()
@dataclass(frozen=True, repr=False)
class Row(TerminalDisplay):
    """One prompt to one model about one image, and its result.

    Attributes:
        model: The model's name, ``str(llm)``.
        prompt: The prompt.
        image: The image's name.
        key: The key of the answer in the store; empty if the image could not be read.
        response: The answer, or None.
        error: The error as "ErrorClass: message", or None.
        finish_reason: Why the answer ended, such as "length" if it was cut off; None without an answer.
        latency_s: Seconds from the request to the answer, or None.
        input_tokens: The number reported by the server, or None.
        output_tokens: The number reported by the server, or None.
        usd: The price in US dollars, or None if it is not known.
        usd_is_reported: Whether the service itself reported the price.
        from_store: Whether the answer came from the store.
        parsed: The answer's value if the comparison has a schema, or None.
        attempts: The number of requests for the answer or error, including repairs; 0 if none was made.
        is_demo: Whether the demo answered, whatever the model's name.
        document: The image.
        batch: Where the question waits, such as "batch_123"; "" if it does not wait in a batch.
        sent_images: The sizes of the image, originally and as the model saw it, in a tuple; empty if not known.
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
    usd_is_reported: bool = False
    from_store: bool = False
    parsed: Any = None
    attempts: int = 0
    is_demo: bool = False
    document: ImageDocument | None = field(default=None, compare=False)
    batch: str = ""
    sent_images: tuple[SentImage, ...] = field(default=(), compare=False)

    def boxes(self, *, convention: str | None = None) -> list[Box]:
        """Return the boxes and points in the answer, in pixels of the original image.

        Args:
            convention: How the model writes coordinates; see `CompletionResponse.boxes`. By default, the model's name
                decides, or a notation that only one family has.

        Returns:
            The boxes, in the answer's order; empty if there are none, or no answer.

        Raises:
            SettingsError: The answer has boxes, but its convention or the size of its image is not known.
        """
        model = without_provider(self.model)
        answer = CompletionResponse(
            self.response or "", model=model, is_demo=self.is_demo, sent_images=self.sent_images
        )
        # The store of an earlier version does not have the size that was sent.
        images = None if self.sent_images or self.document is None else self.document
        return answer.boxes(convention=convention, images=images)

    def __repr__(self) -> str:
        result = (self.shown_error or self.open_state) if self.response is None else repr(short_text(self.response))
        return terminal_text(f"Row({self.image_title}, {self.model}: {result})")

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        yield f"{self.image_title}, {self.model_label}"
        yield f"{self.prompt}\n"
        if self.response is None:
            yield self.shown_error or f"({self.open_state})"
        else:
            yield MarkdownText(self.response)
        facts = self.facts()
        yield from [f"\n({', '.join(facts)})"] if facts else []

    @property
    def model_label(self) -> str:
        """The model's name for display, such as "gpt-4o (demo)" if the demo answered."""
        return demo_label(self.model) if self.is_demo else self.model

    @property
    def image_title(self) -> str:
        """The image's name without its folders."""
        name = self.image if self.document is None else self.document.title
        return re.split(r"[/\\]", name.partition("?")[0].rstrip("/"))[-1] or name

    def facts(self) -> list[str]:
        """Return the latency, tokens and price of an answer as short texts, and whether it came from the store."""
        if not self.attempts and not self.finished:
            return []
        return answer_facts(
            latency_s=self.latency_s,
            tokens=Usage(self.input_tokens, self.output_tokens).total_tokens,
            usd=self.usd,
            usd_is_reported=self.usd_is_reported,
            from_store=self.from_store,
            is_demo=self.is_demo,
        )

    def _repr_html_(self) -> str:
        if self.response is None:
            answer = error_html(self.shown_error) if self.shown_error else muted_text(self.open_state)
        else:
            answer = folded_answer_html(self.response, facts=self.facts(), remark=self.remark)
        image = name_text(self.image_title) if self.document is None else thumbnail_html(self.document)
        return (
            '<div style="display:flex;flex-wrap:wrap;gap:16px">'
            f'<div style="flex:0 1 200px;min-width:0;overflow-wrap:anywhere">{image}</div>'
            f'<div style="flex:1 1 240px;min-width:0;overflow-wrap:anywhere"><p><b>{escape_text(self.prompt)}</b></p>'
            f"{muted_text(self.model_label)}{answer}</div></div>"
        )

    @property
    def shown_error(self) -> str:
        """The error without the folders of the image's path; "" if there is none."""
        return without_folders(self.error, self.image, self.image_title) if self.error else ""

    @property
    def open_state(self) -> str:
        """What to show in place of an answer or error, if there is neither."""
        return "waits in a batch" if self.batch else "not asked"

    @property
    def remark(self) -> str | None:
        """A note for the reader if the answer did not end normally, or None."""
        return Response(self.response or "", finish_reason=self.finish_reason).remark if self.finished else None

    @property
    def finished(self) -> bool:
        """Whether the row has an answer."""
        return self.response is not None

    def with_answer(self, response: Response, *, from_store: bool, parsed: Any = None) -> Row:
        """Return the row with an answer.

        Args:
            response: The answer.
            from_store: Whether it came from the store.
            parsed: The answer's value; None for that of the response.
        """
        result = answered(response, from_store=from_store, parsed=parsed)
        return Row(self.model, self.prompt, self.image, self.key, document=self.document, **result)

    def with_error(self, error: Exception) -> Row:
        """Return the row with an error, and with what was spent before it."""
        message = str(error) if isinstance(error, VisionError) else redact(str(error))[:300]
        return replace(self.with_cost_of(error), response=None, error=f"{type(error).__name__}: {message}")

    def with_cost_of(self, error: Exception) -> Row:
        """Return the row with what was spent, before an error, on an answer that needed a repair."""
        paid = error.response if isinstance(error, VisionError) else None
        return self if paid is None else replace(self, **_cost(paid))


def answered(response: Response, *, from_store: bool, parsed: Any = None) -> dict[str, Any]:
    """Return the attributes of a row that an answer gives it; the arguments are those of `Row.with_answer`."""
    value = response.parsed if parsed is None else parsed
    return {"response": response.text, "from_store": from_store, "parsed": value, **_cost(response)}


def _cost(response: Response) -> dict[str, Any]:
    """Return the attributes of a row that say how its answer ended and what it cost."""
    usage = response.usage or _NO_USAGE
    return {
        "finish_reason": response.finish_reason,
        "latency_s": response.latency,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "usd": response.cost,
        "usd_is_reported": response.reported_cost is not None,
        "attempts": response.attempts,
        "is_demo": response.is_demo,
        "sent_images": response.sent_images,
    }


@dataclass(frozen=True, repr=False)
class Grid:
    """Models, prompts and images; the rows are ordered by prompt, then image, then model.

    Attributes:
        models: The models.
        prompts: The prompts.
        documents: The images.
        limits: The maximum number of concurrent calls to each model, in the order of the models.
        max_concurrency: The maximum number of concurrent calls to all models together, or None.
        rate_limits: The rate limit of each model or None, in the order of the models.
        schema: The schema of the answers, or None.
        max_repairs: How many times a model may correct an answer that does not fit the schema.
        repeated_prompts: How many prompts were given more than once, and are asked once.
        cluster: Where the calls are made: a Dask client, a cluster or an address; None for this process.
    """

    models: tuple[MultiModalLLM, ...]
    prompts: tuple[str, ...]
    documents: tuple[ImageDocument, ...]
    limits: tuple[int, ...]
    max_concurrency: int | None
    rate_limits: tuple[RateLimit | None, ...]
    schema: Schema | None = None
    max_repairs: int = 1
    repeated_prompts: int = 0
    cluster: Any = field(default=None, compare=False)

    def __repr__(self) -> str:
        models = ", ".join(map(str, self.models))
        return terminal_text(
            f"Grid({models}; {pluralize(len(self.prompts), 'prompt')}, {pluralize(len(self.documents), 'image')})"
        )

    def __len__(self) -> int:
        return len(self.models) * len(self.prompts) * len(self.documents)

    def index(self, model: int, prompt: int, document: int) -> int:
        """Return the index of a row."""
        return (prompt * len(self.documents) + document) * len(self.models) + model

    def place(self, row: int) -> tuple[int, int, int]:
        """Return the indices (model, prompt, document) of a row."""
        rest, model = divmod(row, len(self.models))
        prompt, document = divmod(rest, len(self.documents))
        return model, prompt, document

    def rows_of(self, document: int) -> Iterator[tuple[int, int, int]]:
        """Iterate over the indices (row, model, prompt) of an image's rows."""
        for prompt in range(len(self.prompts)):
            for model in range(len(self.models)):
                yield self.index(model, prompt, document), model, prompt

    def batches(self) -> Iterator[range]:
        """Iterate over the indices of the images in batches of up to some thousands of rows; the first are small."""
        start, size, largest = 0, 1, max(1, _BATCH_ROWS * len(self.documents) // len(self))
        while start < len(self.documents):
            size = min(2 * size, _BATCH_IMAGES, largest)
            yield range(start, min(start + size, len(self.documents)))
            start += size

    def duplicate_notes(self, keys: Sequence[Hashable]) -> list[str]:
        """Return a note about duplicate images and one about duplicate prompts, if there are any.

        Args:
            keys: A key for each image, the same for equal images; empty if an image could not be read.
        """
        known = [key for key in keys if key]
        repeated = [
            (len(known) - len(set(known)), len(self.documents), "images", "asked about once"),
            (self.repeated_prompts, len(self.prompts) + self.repeated_prompts, "prompts", "asked once"),
        ]
        return [
            f"{count:,} of {total:,} {name} {'is a duplicate and is' if count == 1 else 'are duplicates and are'} "
            + done
            for count, total, name, done in repeated
            if count
        ]


def make_grid(
    models: Any,
    prompts: str | Iterable[str],
    images: Any,
    concurrency: int | Mapping[str, int] = DEFAULT_CONCURRENCY,
    *,
    rate_limits: RateLimits = None,
    connect: Callable[[str], MultiModalLLM] = connect,
    schema: Any = None,
    max_repairs: int = 1,
    cluster: Any = None,
) -> Grid:
    """Check the arguments of a comparison and arrange them as a grid.

    Args:
        models: Model objects or names, one or several.
        prompts: Texts, one or several.
        images: Image sources, one or several.
        concurrency: The number of concurrent calls, or a mapping from model names to numbers.
        rate_limits: A rate limit for each model, or a mapping from model names to rate limits, or None.
        connect: A function that creates a model object from a string.
        schema: The schema of the answers, as for `Schema.of`, or None.
        max_repairs: How many times a model may correct an answer that does not fit the schema.
        cluster: Where the calls are made, as for `compare`.

    Raises:
        SettingsError: An argument is empty or has the wrong type, or a model is given twice.
        ImageNotFoundError: A folder or pattern has no images, or the only path does not exist.
    """
    given = _as_list(prompts)
    check_prompts(given)
    llms = connected(_as_list(models), connect)
    documents = tuple(_documents(images, is_tolerant=cluster is not None or not isinstance(images, (str, Path))))
    for name, values in (("model", llms), ("prompt", given), ("image", documents)):
        if not values:
            raise SettingsError(f"A comparison needs at least one {name}.")
    for place, llm in enumerate(llms):
        if llm.identity in [other.identity for other in llms[:place]]:
            raise SettingsError(f"The model '{llm!s:.80}' is given twice: remove one of them.")
    texts = tuple(dict.fromkeys(given))
    limits, max_concurrency = concurrency_limits(llms, concurrency, calls=len(texts) * len(documents))
    rates = rate_limits_of(llms, rate_limits)
    check_max_repairs(max_repairs)
    compiled = None if schema is None else Schema.of(schema)
    repeated = len(given) - len(texts)
    return Grid(llms, texts, documents, limits, max_concurrency, rates, compiled, max_repairs, repeated, cluster)


def _as_list(values: Any) -> list[Any]:
    """Return one value or several as a list."""
    if values is None:
        return []
    if isinstance(values, (str, bytes, MultiModalLLM)) or not isinstance(values, Iterable):
        return [values]
    return list(values)


def _documents(images: Any, *, is_tolerant: bool) -> Iterator[ImageDocument]:
    """Load the images; a missing file of a list, or of a cluster, stays in the grid, and its rows contain the error."""
    for source in flatten(() if images is None else [images]):
        try:
            yield from load_images(source)
        except ImageNotFoundError:
            if not (is_tolerant and isinstance(source, (str, Path))) or Path(source).is_dir() or has_magic(str(source)):
                raise
            yield ImageDocument.of(source)


def row_keys(llm: MultiModalLLM, prompt: str, schema: Schema | None = None) -> AnswerKeys:
    """Return the keys of a model's answers to a prompt, by `image_key`.

    Args:
        llm: The model.
        prompt: The prompt.
        schema: The schema of the answers, or None.
    """
    identity = {**llm.identity}
    parameters = identity.pop("parameters")
    digest = schema.digest if schema else ""
    return AnswerKeys(model=repr(sorted(identity.items())), parameters=parameters, prompt=prompt, schema=digest)


def image_key(digest: str, detail: str | None) -> str:
    """Return a key that is the same for equal images with the same detail level.

    Args:
        digest: The digest of the image's content.
        detail: The image's own detail level, or None.
    """
    return f"{digest} {detail or ''}".strip()
