"""Many files on the workers of a Dask cluster, which see the files under the same paths.

Each worker process loads the model once. Dask itself gives the files of a worker that dies to
another one; a file that ends several workers is reported as failed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from asyncio import CancelledError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import DependencyError, DmecodecError, ModelError, OptionError, WorkerError
from ..weights import registry
from .actions import encode_job
from .job import STREAM, Job, Result
from .outputs import folders_of
from .run import Work, run_here

_PATIENCE = 15
"""Seconds that a scheduler has to answer, and then to have a worker."""
_RETRIES = 1
"""Further attempts after an error that is none of ours, such as a share that went away."""


def run(jobs: Sequence[Job], work: Work, address: str) -> Iterator[Result]:
    """Does each job on some worker; yields the results as they come.

    When the loop over the results ends early, files that no worker has begun are not made any more.

    Raises:
        DependencyError: Dask is not installed.
        WorkerError: no scheduler or no worker answers, or the workers have no dmecodec.
        OptionError: an input or output is a stream.
        ModelError: a worker means another model by the same name.
    """
    if any(STREAM in (job.source, job.target) for job in jobs):
        raise OptionError("'-' is not seen by the workers of a cluster; give files")
    expected = _installed(work)
    with _connected(address) as client, folders_of(jobs):
        _check_workers(client, address, expected)
        futures = {}
        for job in jobs:
            absolute = Job(*(str(Path(name).absolute()) for name in (job.source, job.target)))
            is_new = not os.path.exists(job.target)  # noqa: PTH110  (never raises)
            future = client.submit(_do, absolute, work, expected, is_new=is_new, pure=False, retries=_RETRIES)
            futures[future] = job
        try:
            yield from _results(client, futures)
        finally:
            with suppress(Exception):  # the scheduler may be gone
                client.cancel(list(futures))


def _results(client: Any, futures: dict[Any, Job]) -> Iterator[Result]:
    from distributed import as_completed

    for future in as_completed(list(futures), loop=client.loop):
        job = futures.pop(future)
        try:
            result = replace(future.result(), job=job)
        except (Exception, CancelledError) as error:  # of Dask, or a bug
            result = Result(job, error=WorkerError(f"{job.source}: {_reason(error)}"))
        yield result


def _reason(error: BaseException) -> str:
    """Why Dask gave a job up, in one line."""
    name = type(error).__name__
    if name == "KilledWorker":
        return "the workers that worked on it died, one after the other"
    if isinstance(error, CancelledError) or "CancelledError" in name:
        return "the cluster has lost it"
    return f"failed on its worker: {name}: {' '.join(str(error).split())}"


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise DependencyError("--dask needs Dask: pip install 'dmecodec[dask]'") from None
    with _quiet():
        try:
            client = Client(address, timeout=_PATIENCE, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise WorkerError(f"{address}: no Dask scheduler answers ({reason})") from None
        try:
            yield client
        finally:
            with suppress(Exception):
                client.close(timeout=_PATIENCE)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Dask's client from telling on stderr of lost connections, which we tell file by file."""
    log = logging.getLogger("distributed.client")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _check_workers(client: Any, address: str, expected: _Installed) -> None:
    """Sees that there are workers, and that they have our dmecodec and our model."""
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except (TimeoutError, asyncio.TimeoutError):  # one class from Python 3.11 on
        raise WorkerError(f"{address}: this cluster has no worker") from None
    try:
        client.run(_check_here, expected)
    except DmecodecError:
        raise
    except Exception as error:  # whatever keeps a worker from importing us
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise WorkerError(f"{address}: its workers have no working dmecodec ({reason})") from None


# ---- what is sent ----------------------------------------------------------------------------------------------------

_Installed = tuple[str, str | None, bytes | None]
"""The version of dmecodec, the model that the user names, and the id of that model."""


def _installed(work: Work) -> _Installed:
    model = work.options.get("model")
    is_needed = work.action is encode_job or model is not None
    return __version__, model, registry.find(model).id if is_needed else None


def _check_here(expected: _Installed) -> None:
    """On a worker: whether it would make the same files."""
    version, model, model_id = expected
    here = f"on {socket.gethostname()}"
    if version != __version__:
        raise WorkerError(f"dmecodec is {__version__} {here}, not {version} as with the caller")
    if model_id is not None and (found := registry.find(model).id) != model_id:
        raise ModelError(f"{model or 'the default model'} is {found.hex()} {here}, not {model_id.hex()}")


def _do(job: Job, work: Work, expected: _Installed, *, is_new: bool) -> Result:
    """On a worker: one job. Dask may call this anew after a worker's death, without saying so."""

    def attempt(job: Job) -> Result:
        _check_here(expected)
        return work(job, restarted=True) if is_new else work(job)

    (result,) = run_here([job], attempt)
    return result
