"""`extract` and `aextract`: read data from images into a table."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, Unpack, overload

from vision_nb.checks.arguments import checks_arguments
from vision_nb.comparison.argument_order import check_extract_order
from vision_nb.comparison.compare import Concurrency, SharedOptions, StoreOrPath, acompare, compare
from vision_nb.comparison.extraction import Extraction
from vision_nb.comparison.model_limits import DEFAULT_CONCURRENCY, RateLimits
from vision_nb.comparison.plan import Plan
from vision_nb.errors import SettingsError
from vision_nb.providers.connect import connect
from vision_nb.providers.retries import MAX_WAIT
from vision_nb.user_warnings import to_thread

DEFAULT_PROMPT = (
    "Extract the data from the image. Copy text exactly as it is written. Use null for what the image does not show, "
    "where the schema allows it."
)


class _Options(SharedOptions, total=False):
    prompt: str


@overload
def extract(
    images: Any, schema: Any, *, model: Any = None, dry_run: Literal[True], **options: Unpack[_Options]
) -> Plan: ...
@overload
def extract(
    images: Any, schema: Any, *, model: Any = None, dry_run: Literal[False] = False, **options: Unpack[_Options]
) -> Extraction: ...
@checks_arguments
def extract(
    images: Any,
    schema: Any,
    *,
    model: Any = None,
    prompt: str = "",
    max_repairs: int = 1,
    concurrency: Concurrency = DEFAULT_CONCURRENCY,
    budget: float | Decimal | None = None,
    dry_run: bool = False,
    resume: bool = True,
    progress: bool = True,
    store: StoreOrPath = None,
    max_wait: float = MAX_WAIT,
    rate_limits: RateLimits = None,
    batch: bool | None = None,
    cluster: Any = None,
) -> Extraction | Plan:
    """Read data from images: one row per image, one column per field of a schema.

    Each answer is written to a store when it arrives. After an interrupt, run the extraction again: only the missing
    calls are made. An image that cannot be read, or whose answer does not fit the schema after all repairs, becomes a
    row with an error.

    Args:
        images: Documents, paths, folders, patterns, URLs or in-memory images.
        schema: What to read from each image: a pydantic model class, dataclass, TypedDict, ``Literal`` or ``list``
            type, or a JSON-schema dict.
        model: A model object, or a name such as "gpt-4o" or "provider:model"; several models give a row per image
            and model. None for the default model, as for `connect`.
        prompt: The instruction; "" uses a general one.
        max_repairs: How many times the model may correct an answer that does not fit the schema. Each repair is a
            billed request, and is included in the row's tokens and price.
        concurrency: The maximum number of concurrent calls; or a mapping from model names to numbers.
        budget: The maximum cost in US dollars. The run stops before a call that could exceed it.
        dry_run: Make no calls, and return the number of calls, tokens and price. Needs no API key.
        resume: Use the answers that are already in the store.
        progress: Show the progress.
        store: A store or the path of its file; None uses the file in the user's cache folder.
        max_wait: The longest pause for a rate limit of the server, in seconds.
        rate_limits: A `RateLimit`, or a mapping from model names to rate limits, as for `compare`.
        batch: True submits the missing questions as batches, at half the price, as for `compare`. In a batch, invalid
            answers are not repaired: they become rows with an error, and ``.retry()`` asks again directly.
        cluster: A Dask client, a cluster or an address, whose workers read the images and make the calls, as for
            `compare`.

    Returns:
        An `Extraction`, or a `Plan` with ``dry_run=True``.

    Raises:
        SettingsError: An argument is missing or has the wrong type; the schema cannot be used, and the message names
            the field; the model does not take batches; or a budget is set and the model's price is not known.
        StoreError: The store cannot be used.

    >>> from pydantic import BaseModel
    >>> class Size(BaseModel):
    ...     width: int
    ...     height: int
    >>> sizes = vn.extract([vn.samples.path("chart")], Size, model="demo", progress=False)
    >>> sizes.to_dataframe()[["width", "height"]].values.tolist()
    [[1000, 600]]
    """
    check_extract_order(images, schema)
    found = compare(
        connect() if model is None else model,
        _prompt(prompt),
        images,
        concurrency=concurrency,
        budget=budget,
        dry_run=dry_run,
        resume=resume,
        progress=progress,
        store=store,
        max_wait=max_wait,
        rate_limits=rate_limits,
        batch=batch,
        schema=_given(schema),
        max_repairs=max_repairs,
        cluster=cluster,
    )
    return found if isinstance(found, Plan) else Extraction(found)


@overload
async def aextract(
    images: Any, schema: Any, *, model: Any = None, dry_run: Literal[True], **options: Unpack[_Options]
) -> Plan: ...
@overload
async def aextract(
    images: Any, schema: Any, *, model: Any = None, dry_run: Literal[False] = False, **options: Unpack[_Options]
) -> Extraction: ...
@checks_arguments
async def aextract(
    images: Any,
    schema: Any,
    *,
    model: Any = None,
    prompt: str = "",
    max_repairs: int = 1,
    concurrency: Concurrency = DEFAULT_CONCURRENCY,
    budget: float | Decimal | None = None,
    dry_run: bool = False,
    resume: bool = True,
    progress: bool = True,
    store: StoreOrPath = None,
    max_wait: float = MAX_WAIT,
    rate_limits: RateLimits = None,
    batch: bool | None = None,
    cluster: Any = None,
) -> Extraction | Plan:
    """Read data from images: the asynchronous version of `extract`.

    >>> import asyncio
    >>> schema = {"type": "object", "properties": {"height": {"type": "integer"}}}
    >>> sizes = asyncio.run(vn.aextract(vn.samples.path("chart"), schema, model="demo", progress=False))
    >>> sizes[0].parsed
    {'height': 600}
    """
    check_extract_order(images, schema)
    found = await acompare(
        await to_thread(connect) if model is None else model,
        _prompt(prompt),
        images,
        concurrency=concurrency,
        budget=budget,
        dry_run=dry_run,
        resume=resume,
        progress=progress,
        store=store,
        max_wait=max_wait,
        rate_limits=rate_limits,
        batch=batch,
        schema=_given(schema),
        max_repairs=max_repairs,
        cluster=cluster,
    )
    return found if isinstance(found, Plan) else Extraction(found)


def _prompt(prompt: str) -> str:
    if not isinstance(prompt, str):
        raise SettingsError(f"prompt must be a string: got {prompt!r:.80}.")
    return prompt if prompt.strip() else DEFAULT_PROMPT


def _given(schema: Any) -> Any:
    if schema is None:
        raise SettingsError("extract() needs a schema: pass a pydantic model class, a dataclass or a JSON-schema dict.")
    return schema
