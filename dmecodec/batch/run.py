"""Many jobs in one call, in this process or in others."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import cast

from ..errors import OptionError
from .job import Job, Result
from .outputs import folders_of
from .work import Work, attempt

__all__ = ["Work", "check_processes", "run"]


def run(
    jobs: Sequence[Job],
    work: Callable[[Job], Result],
    *,
    processes: int = 1,
    scheduler: str | None = None,
    threads: int | None = None,
) -> Generator[Result]:
    """Does each job; one that fails does not stop the others.

    Args:
        jobs: what is to be done; see :func:`dmecodec.batch.plan.plan`.
        work: how; a :class:`Work` where other processes do it.
        processes: of this machine that share the jobs; see :mod:`dmecodec.batch.processes`.
        scheduler: address of a Dask scheduler whose workers do it; see :mod:`dmecodec.batch.cluster`.
        threads: that code, of all processes together, or of each worker of the scheduler. None is as many as
            :func:`dmecodec.set_threads` says.

    Yields:
        The results: of one process in the order of the jobs, of several as they come.

    Raises:
        OptionError: processes and scheduler are both given, or fewer than one process.
        DependencyError: a scheduler is given, and Dask is not installed.
        WorkerError: no process can be started, or the scheduler has no worker that can do it.
        ModelError: a worker of the scheduler has another model of the same name.
    """
    check_processes(processes, scheduler)
    with folders_of(jobs):
        if scheduler is not None:
            from . import cluster

            yield from cluster.run(jobs, cast(Work, work).on_threads(threads), scheduler)
        elif min(processes, len(jobs)) > 1:
            from . import processes as local

            yield from local.run(jobs, cast(Work, work), min(processes, len(jobs)), threads)
        else:
            if threads is not None:
                work = cast(Work, work).on_threads(threads)
            for job in jobs:
                yield attempt(job, work)


def check_processes(processes: int, scheduler: str | None) -> None:
    """Refuses numbers of processes that make no sense.

    Raises:
        OptionError: as :func:`run`.
    """
    if processes < 1:
        raise OptionError(f"jobs {processes}: must be at least 1")
    if scheduler is not None and processes > 1:
        raise OptionError("give --jobs or --dask, not both")
