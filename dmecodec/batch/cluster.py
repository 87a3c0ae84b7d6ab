"""Many files on the workers of a Dask cluster, which see the files under the same paths.

Dask gives the files of a worker that dies to another one. A file that ends several workers is reported.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from .. import __version__
from ..base.files import STREAM
from ..errors import DependencyError, DmecodecError, ModelError, OptionError, WorkerError
from ..weights import registry
from .actions import encode_job
from .job import Job, Result
from .outputs import exists
from .work import Work, attempt

_PATIENCE = 15
"""Seconds that a scheduler has to answer, and then to have a worker."""


def run(jobs: Sequence[Job], work: Work, address: str) -> Iterator[Result]:
    """Does each job on some worker; yields the results as they come.

    When the loop over the results ends early, files that no worker has begun are not made any more.

    Raises:
        DependencyError: Dask is not installed.
        WorkerError: no scheduler or no worker answers, or the workers have no dmecodec.
        OptionError: an input or output is a stream.
        ModelError: a worker has another model of the same name.
    """
    if any(STREAM in (job.source, job.target) for job in jobs):
        raise OptionError("'-' is not seen by the workers of a cluster; give files")
    model = work.options.get("model")
    is_needed = work.action is encode_job or model is not None
    expected = _Installed(__version__, model, registry.find(model).id if is_needed else None)
    with _connected(address) as client:
        from distributed import as_completed

        _check_workers(client, address, expected)
        futures = {}
        for job in jobs:
            absolute = Job(*(str(Path(name).absolute()) for name in (job.source, job.target)))
            # Dask does not say when it gives a job to another worker.
            careful = work if exists(job.target) else work.restarted()
            futures[client.submit(_do, absolute, careful, expected, pure=False)] = job
        try:
            for future in as_completed(list(futures), loop=client.loop):
                yield _result(futures.pop(future), future)
        finally:
            with suppress(Exception):  # the scheduler may be gone
                client.cancel(list(futures))


def _result(job: Job, future: Any) -> Result:
    """The result of a job, or why Dask gave it up."""
    try:
        return replace(future.result(), job=job)
    except (Exception, asyncio.CancelledError) as error:
        name = type(error).__name__
        reason = f"failed on its worker: {name}: {' '.join(str(error).split())}"
        if name == "KilledWorker":
            reason = "the workers that worked on it died, one after the other"
        elif "CancelledError" in name:
            reason = "the cluster has lost it"
        return Result(job, error=WorkerError(reason, filename=job.source))


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """A client of a scheduler that does not log lost connections: they are reported file by file."""
    try:
        from distributed import Client
    except ImportError:
        raise DependencyError("--dask needs Dask: pip install 'dmecodec[dask]'") from None
    log = logging.getLogger("distributed.client")
    level = log.level
    log.setLevel(logging.CRITICAL)
    client = None
    try:
        client = Client(address, timeout=_PATIENCE, set_as_default=False)
        yield client
    except (OSError, ValueError, TypeError) as error:
        if client is not None:
            raise
        raise WorkerError(f"{address}: no Dask scheduler answers ({' '.join(str(error).split())})") from None
    finally:
        if client is not None:
            with suppress(Exception):
                client.close(timeout=_PATIENCE)
        log.setLevel(level)


def _check_workers(client: Any, address: str, expected: _Installed) -> None:
    """Checks that there are workers, and that they have our dmecodec and our model."""
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
        client.run(_check_here, expected)
    except (TimeoutError, asyncio.TimeoutError):  # one class from Python 3.11 on
        raise WorkerError(f"{address}: this cluster has no worker") from None
    except DmecodecError:
        raise
    except Exception as error:  # whatever keeps a worker from importing us
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise WorkerError(f"{address}: its workers have no working dmecodec ({reason})") from None


# ---- on a worker -----------------------------------------------------------------------------------------------------


class _Installed(NamedTuple):
    """What makes the same files: dmecodec's version, the model that the user names, and the id of that model."""

    version: str
    model: str | None
    model_id: bytes | None


def _check_here(expected: _Installed) -> None:
    version, model, model_id = expected
    here = f"on {socket.gethostname()}"
    if version != __version__:
        raise WorkerError(f"dmecodec is {__version__} {here}, not {version} as with the caller")
    if model_id is not None and (found := registry.find(model).id) != model_id:
        raise ModelError(f"{model or 'the default model'} is {found.hex()} {here}, not {model_id.hex()}")


def _do(job: Job, work: Work, expected: _Installed) -> Result:
    def checked(job: Job) -> Result:
        _check_here(expected)  # it may have joined after the others were checked
        return work(job)

    return attempt(job, checked)
