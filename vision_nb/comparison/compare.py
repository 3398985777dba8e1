"""`compare` and `acompare`: ask several models several questions about several images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, overload

from vision_nb.checks.arguments import checks_arguments
from vision_nb.comparison.batch_run import BatchRun
from vision_nb.comparison.budget import run_budget
from vision_nb.comparison.grid import Grid, make_grid
from vision_nb.comparison.model_limits import DEFAULT_CONCURRENCY, RateLimits
from vision_nb.comparison.plan import Plan, amake_plan, make_plan
from vision_nb.comparison.result import Comparison, comparison_from
from vision_nb.comparison.run import Run
from vision_nb.comparison.run_options import RunOptions
from vision_nb.providers.connect import connect, connect_to_count
from vision_nb.providers.retries import MAX_WAIT
from vision_nb.store import Store
from vision_nb.user_warnings import to_thread

Concurrency = int | Mapping[str, int]
StoreOrPath = Store | str | Path | None


class SharedOptions(TypedDict, total=False):
    """The options of `compare` and `extract` that do not affect their return types."""

    concurrency: Concurrency
    budget: float | Decimal | None
    resume: bool
    progress: bool
    store: StoreOrPath
    max_wait: float
    rate_limits: RateLimits
    max_repairs: int
    batch: bool | None
    cluster: Any


class _Options(SharedOptions, total=False):
    schema: Any


@overload
def compare(models: Any, prompts: Any, images: Any, *, dry_run: Literal[True], **options: Unpack[_Options]) -> Plan: ...
@overload
def compare(
    models: Any, prompts: Any, images: Any, *, dry_run: Literal[False] = False, **options: Unpack[_Options]
) -> Comparison: ...
@overload
def compare(
    models: Any, prompts: Any, images: Any, *, dry_run: bool, **options: Unpack[_Options]
) -> Comparison | Plan: ...
@checks_arguments
def compare(
    models: Any,
    prompts: str | Iterable[str],
    images: Any,
    *,
    concurrency: Concurrency = DEFAULT_CONCURRENCY,
    budget: float | Decimal | None = None,
    dry_run: bool = False,
    resume: bool = True,
    progress: bool = True,
    store: StoreOrPath = None,
    max_wait: float = MAX_WAIT,
    rate_limits: RateLimits = None,
    schema: Any = None,
    max_repairs: int = 1,
    batch: bool | None = None,
    cluster: Any = None,
) -> Comparison | Plan:
    """Ask every model every question about every image.

    Each answer is written to a store when it arrives. After an interrupt, an error or a killed kernel, run the
    comparison again: only the missing calls are made. A failed call becomes a row with an error; the other calls are
    still made. An interrupt returns the rows so far, marked as incomplete. Equal images are asked about once, and each
    has its rows; equal prompts are asked once.

    Args:
        models: Model objects, or names such as "gpt-4o" and "provider:model"; one or several.
        prompts: The questions.
        images: Documents, paths, folders, patterns, URLs or in-memory images.
        concurrency: The maximum number of concurrent calls; or a mapping from model names to numbers.
        budget: The maximum cost in US dollars. The run stops before a call that could exceed it.
        dry_run: Make no calls, and return the number of calls, tokens and price per model, and how long they take at
            least with ``rate_limits``. Needs no API key.
        resume: Use the answers that are already in the store.
        progress: Show the progress.
        store: A store or the path of its file; None uses the file in the user's cache folder.
        max_wait: The longest pause for a rate limit of the server, in seconds. If the server asks for a longer pause,
            and still refuses a call after this one, the call's row contains the error.
        rate_limits: A `RateLimit` for each model, or a mapping from model names to rate limits. Models without one
            keep their own ``rate_limit``. Requests wait so that no 60 seconds have more of them; retries and all other
            calls to the model in the same kernel count too. A call that alone needs more tokens than the limit becomes
            a row with an error. The limits that the server reports in its ``x-ratelimit`` headers are always kept, but
            no call waits longer than ``max_wait`` for them.
        schema: The schema of the answers: a pydantic model class, dataclass, TypedDict, ``Literal`` or ``list`` type,
            or a JSON-schema dict. The rows have the values in ``.parsed``, and the table has a column per field.
        max_repairs: How many times a model may correct an answer that does not fit the schema.
        batch: True submits the missing questions to the provider's batch API (OpenAI and Azure OpenAI), which answers
            within 24 hours at half the price, and returns at once: call ``.wait()`` or ``.refresh()`` on the result, or
            run the same cell again, even tomorrow in a new kernel, to collect the answers. Nothing is submitted twice.
            In a batch, invalid answers are not repaired. The budget is checked before anything is submitted. None, the
            default, asks directly, but leaves out questions that wait in a batch; False asks those too, and so pays
            for them twice.
        cluster: A ``dask.distributed.Client``, a cluster object, or a scheduler's address: its workers read, decode and
            resize the images, and make the calls. Needs the extra ``dask`` here, and the same version of vision_nb on
            the scheduler and all workers. Paths must exist there; URLs and object stores are read there; images in
            memory are sent. A key that was passed as an argument is sent to the workers; instead of one from this
            process's environment, a worker uses the one in its own, if there is one. Keys are sent over Dask's
            connections: encrypt them with Dask's ``Security`` where the network is not trusted. Budget, rate limits and
            concurrency hold for all workers together.

    Returns:
        A `Comparison`, or a `Plan` with ``dry_run=True``.

    Raises:
        SettingsError: Models, prompts or images are missing or of the wrong type; a model is given twice; rate_limits
            names another model; a model does not take batches; or a budget is set and a model's price is not known.
        StoreError: The store cannot be used.
        ClusterError: Dask is not installed, the scheduler cannot be reached, or a worker has another version.

    On Kubernetes, with the package dask-kubernetes, and on SLURM, with dask-jobqueue::

        from dask_kubernetes.operator import KubeCluster
        cluster = KubeCluster(image="my-registry/with-vision-nb", n_workers=4)

        from dask_jobqueue import SLURMCluster
        cluster = SLURMCluster(cores=8, memory="16GB", walltime="02:00:00")

        cluster.adapt(minimum=1, maximum=20)
        vn.compare("gpt-4o-mini", "What is it?", "s3://bucket/photos/*.jpg", concurrency=200, cluster=cluster)

    >>> images = [vn.samples.path("chart"), vn.samples.path("label")]
    >>> vn.compare(["demo", "demo:second"], ["How large is it?"], images, dry_run=True).calls
    4
    >>> vn.compare(["demo", "demo:second"], ["How large is it?"], images, progress=False)
    Comparison(4 rows, 4 answered, 0 failed)
    >>> vn.compare("demo", "What color is it?", images, batch=True).wait(progress=False)
    Comparison(2 rows, 2 answered, 0 failed)
    """
    options = RunOptions(resume=resume, progress=progress, max_wait=max_wait, batch=batch)
    connector = connect_to_count if dry_run else connect
    grid = make_grid(
        models,
        prompts,
        images,
        concurrency,
        rate_limits=rate_limits,
        connect=connector,
        schema=schema,
        max_repairs=max_repairs,
        cluster=cluster,
    )
    opened = _open(store)
    try:
        if dry_run:
            return make_plan(grid, opened, options)
        run = _run(grid, opened, budget, options)
        run.execute()
        return comparison_from(run, opened if opened is store else opened.path)
    finally:
        if opened is not store:
            opened.close()


@overload
async def acompare(
    models: Any, prompts: Any, images: Any, *, dry_run: Literal[True], **options: Unpack[_Options]
) -> Plan: ...
@overload
async def acompare(
    models: Any, prompts: Any, images: Any, *, dry_run: Literal[False] = False, **options: Unpack[_Options]
) -> Comparison: ...
@overload
async def acompare(
    models: Any, prompts: Any, images: Any, *, dry_run: bool, **options: Unpack[_Options]
) -> Comparison | Plan: ...
@checks_arguments
async def acompare(
    models: Any,
    prompts: str | Iterable[str],
    images: Any,
    *,
    concurrency: Concurrency = DEFAULT_CONCURRENCY,
    budget: float | Decimal | None = None,
    dry_run: bool = False,
    resume: bool = True,
    progress: bool = True,
    store: StoreOrPath = None,
    max_wait: float = MAX_WAIT,
    rate_limits: RateLimits = None,
    schema: Any = None,
    max_repairs: int = 1,
    batch: bool | None = None,
    cluster: Any = None,
) -> Comparison | Plan:
    """Compare models: the asynchronous version of `compare`.

    >>> import asyncio
    >>> asyncio.run(vn.acompare("demo", "How bright is it?", vn.samples.path("chart"), progress=False))
    Comparison(1 row, 1 answered, 0 failed)
    """
    options = RunOptions(resume=resume, progress=progress, max_wait=max_wait, batch=batch)
    connector = connect_to_count if dry_run else connect
    grid = await to_thread(
        make_grid,
        models,
        prompts,
        images,
        concurrency,
        rate_limits=rate_limits,
        connect=connector,
        schema=schema,
        max_repairs=max_repairs,
        cluster=cluster,
    )
    opened = await to_thread(_open, store)
    try:
        if dry_run:
            return await amake_plan(grid, opened, options)
        run = _run(grid, opened, budget, options)
        await run.aexecute()
        return comparison_from(run, opened if opened is store else opened.path)
    finally:
        if opened is not store:
            await to_thread(opened.close)


def _open(store: StoreOrPath) -> Store:
    return store if isinstance(store, Store) else Store(store)


def _run(grid: Grid, store: Store, budget: float | Decimal | None, options: RunOptions) -> Run | BatchRun:
    """Return the run that asks what is missing, directly or as batches."""
    spending = run_budget(grid.models, budget)
    if not options.batch:
        return Run(grid, store, spending, options)
    run = BatchRun(grid, store, spending, options)
    run.check()
    return run
