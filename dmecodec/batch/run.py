"""Many jobs in one call, here or by other processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from ..errors import DmecodecError, OptionError
from .job import Job, Result
from .memory import naming_who_had_no_memory


@dataclass(frozen=True)
class Work:
    """What is done with each job, in a form that another process can be sent.

    Attributes:
        action: a function of :mod:`dmecodec.batch.actions`, or of another module that takes the same.
        options: the named arguments of it.
    """

    action: Callable[..., Result]
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, job: Job, **more: Any) -> Result:
        """Does one job."""
        return self.action(job, **self.options, **more)


def run(
    jobs: Sequence[Job],
    work: Callable[[Job], Result],
    *,
    processes: int = 1,
    scheduler: str | None = None,
) -> Generator[Result]:
    """Does each job; one that fails does not stop the others.

    Args:
        jobs: what is to be done; see :func:`dmecodec.batch.plan.plan`.
        work: how; a :class:`Work` where other processes do it.
        processes: of this machine that share the jobs; see :mod:`dmecodec.batch.processes`.
        scheduler: address of a Dask scheduler whose workers do it; see :mod:`dmecodec.batch.cluster`.

    Yields:
        The results: of one process in the order of the jobs, of several as they come.

    Raises:
        OptionError: processes and scheduler are both given, or fewer than one process.
        DependencyError, WorkerError: a scheduler is given, and Dask or it is not here.
    """
    check_processes(processes, scheduler)
    if scheduler is not None:
        from . import cluster

        yield from cluster.run(jobs, cast(Work, work), scheduler)
    elif min(processes, len(jobs)) > 1:
        from . import processes as local

        yield from local.run(jobs, cast(Work, work), min(processes, len(jobs)))
    else:
        yield from run_here(jobs, work)


def check_processes(processes: int, scheduler: str | None) -> None:
    """Refuses numbers of processes that make no sense.

    Raises:
        OptionError: as :func:`run`.
    """
    if processes < 1:
        raise OptionError(f"jobs {processes}: must be at least 1")
    if scheduler is not None and processes > 1:
        raise OptionError("give --jobs or --dask, not both")


def run_here(jobs: Iterable[Job], work: Callable[[Job], Result]) -> Iterator[Result]:
    """Does each job in this process, in their order."""
    for job in jobs:
        began = time.perf_counter()
        try:
            with naming_who_had_no_memory(job.source):
                result = work(job)
        except DmecodecError as error:
            result = Result(job, error=error, seconds=time.perf_counter() - began)
        yield result
