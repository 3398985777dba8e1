"""The connection to a Dask cluster: the client, and whether the workers can make a run's calls."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

from vision_nb.errors import ClusterError, SettingsError, VisionError
from vision_nb.privacy.redaction import redact
from vision_nb.providers.addresses import is_on_this_machine
from vision_nb.providers.base import MultiModalLLM
from vision_nb.user_warnings import to_thread

T = TypeVar("T")

_CONNECT_SECONDS = 30.0


async def connect_client(cluster: Any) -> tuple[Any, bool]:
    """Return Dask's client of a cluster, and whether it was made here and has to be closed.

    Args:
        cluster: A client, a cluster object, or the scheduler's address.

    Raises:
        ClusterError: Dask is not installed, or the scheduler cannot be reached.
        SettingsError: It is none of these, or a client of another event loop.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ClusterError('cluster= needs Dask: pip install "vision-nb[dask]".') from error
    if isinstance(cluster, Client):
        client: Any = cluster
        if client._asynchronous and client.loop.asyncio_loop is not asyncio.get_running_loop():
            raise SettingsError(
                "An asynchronous Dask client works only with acompare() and aextract(), on its own event loop: pass "
                "the scheduler's address instead."
            )
        if client.status != "running":
            raise ClusterError(f"The Dask client is {client.status}: connect it to the cluster again.")
        return client, False
    if not isinstance(cluster, str) and not hasattr(cluster, "scheduler_address"):
        raise SettingsError(f"cluster must be a Dask client, a cluster or an address: got {cluster!r:.80}.")
    shown = cluster if isinstance(cluster, str) else cluster.scheduler_address
    try:
        make = partial(Client, cluster, set_as_default=False, timeout=_CONNECT_SECONDS)
        return await to_thread(make), True
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"The Dask scheduler {shown!s:.80} cannot be reached ({redact(str(error)):.80}): check the address."
        ) from error


async def on_client(client: Any, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the event loop of Dask's client.

    Args:
        client: The client.
        coroutine: The coroutine.

    Raises:
        ClusterError: The client is closed, or was closed meanwhile.
    """
    try:
        running = asyncio.run_coroutine_threadsafe(coroutine, client.loop.asyncio_loop)
    except RuntimeError as error:
        coroutine.close()
        raise lost_cluster(error) from None
    task = asyncio.current_task()
    try:
        return await asyncio.wrap_future(running)
    except asyncio.CancelledError as error:
        if task is None or task.cancelling():
            raise
        raise lost_cluster(error) from None  # the client's event loop has ended
    except VisionError:
        raise
    except Exception as error:
        if client.status == "running":
            raise
        raise lost_cluster(error) from None  # a closed client raises errors of many types
    finally:
        if not client.loop.asyncio_loop.is_running():
            coroutine.close()  # it may not have begun when the event loop was stopped


def lost_cluster(error: BaseException) -> ClusterError:
    """Return the error for a lost connection.

    Args:
        error: What Dask says.
    """
    said = redact(f"{type(error).__name__}: {error}")
    return ClusterError(f"The connection to the Dask cluster was lost ({said:.120}): run the cell again.", is_lost=True)


def versions() -> tuple[str, str]:
    """Return the versions of vision_nb and Python that the notebook and its workers must have in common."""
    try:
        own = version("vision-nb")
    except PackageNotFoundError:  # it is only on the path
        own = ""
    return own, f"{sys.version_info[0]}.{sys.version_info[1]}"


def check_versions(address: str, there: Sequence[str], here: Sequence[str]) -> None:
    """Check the versions of a worker.

    Args:
        address: The worker's address.
        there: Its versions, as `versions` returns them.
        here: The notebook's versions.

    Raises:
        ClusterError: A version differs.
    """
    for name, worker, notebook in zip(("vision_nb", "Python"), there, here, strict=True):
        if worker != notebook:
            raise ClusterError(
                f"The worker {address} has {name} {worker or '(not installed)'}, but the notebook has {name} "
                f"{notebook or '(not installed)'}: install the same version on all workers."
            )


async def check_workers(client: Any, models: Sequence[MultiModalLLM]) -> None:
    """Check that the workers have the notebook's versions, and can reach the models' servers.

    Args:
        client: Dask's client.
        models: The models.

    Raises:
        ClusterError: A worker has another version.
        SettingsError: A model's server is on this machine, and a worker is not.
    """
    here = _describe()()
    try:
        found = await on_client(client, client.run(_describe(), on_error="return", asynchronous=True))
    except OSError as error:
        raise lost_cluster(error) from None
    for address, there in found.items():
        if isinstance(there, OSError):
            continue  # it has just left; each task checks the versions too
        if isinstance(there, Exception):
            said = redact(f"{type(there).__name__}: {there}")
            raise ClusterError(
                f"The worker {address} failed ({said:.120}): run the cell again, and see its log if this repeats."
            )
        check_versions(address, there[:2], here[:2])
        for llm in models:
            if there[2] != here[2] and _is_local(llm):
                raise SettingsError(
                    f"{llm!s:.80} is on this machine, which the worker {address} cannot reach at {llm.server}: start "
                    "its server with an address in the workers' network."
                )


def _describe() -> Callable[[], tuple[str, str, list[str]]]:
    """Return a function that returns a worker's versions and its machine.

    Dask pickles a function inside a function whole, so that it runs on a worker without vision_nb.
    """

    def describe() -> tuple[str, str, list[str]]:
        import platform
        import sys
        from contextlib import suppress
        from importlib.metadata import PackageNotFoundError, version
        from pathlib import Path

        own, machine = "", [platform.node()]
        with suppress(PackageNotFoundError):
            own = version("vision-nb")
        with suppress(OSError):  # the boot, and the network of a container
            machine += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/net").readlink())]
        return own, f"{sys.version_info[0]}.{sys.version_info[1]}", machine

    return describe


async def forget_events(client: Any, topic: str) -> None:
    """Remove the events of a topic from the scheduler, which keeps them. Runs on the client's event loop.

    Args:
        client: Dask's client.
        topic: The topic.
    """

    def truncate(dask_scheduler: Any) -> None:  # Dask pickles it whole: see `_describe`
        dask_scheduler._broker.truncate(topic)

    with suppress(ValueError, AttributeError):  # the scheduler runs no functions, or is of another version
        await client.run_on_scheduler(truncate, asynchronous=True)


def _is_local(llm: MultiModalLLM) -> bool:
    """Return whether a model has a server on this machine that other machines do not have."""
    if llm.provider == "demo" and not getattr(llm, "api_base", None):
        return False  # each worker has its own
    return is_on_this_machine(llm.server)
