"""Many files on several processes of this machine.

Each process has an executor of its own: when a process is killed, its executor is broken, the file that it worked on
is known, and no other file is affected.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import sys
import threading
import warnings
from collections import Counter, deque
from collections.abc import Iterator, MutableMapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any, TypeVar

from ..base import files
from ..base.allocator import keep_memory
from ..base.machine import cores
from ..base.stderr import own_standard_error
from ..errors import WorkerError
from .job import Job, Result
from .outputs import exists
from .work import Work, attempt

T = TypeVar("T")
_ATTEMPTS = 2
_GRACE = 30.0
"""Seconds that a process has to remove half-written files before it is killed."""


def run(jobs: Sequence[Job], work: Work, processes: int, threads: int | None = None) -> Iterator[Result]:
    """Does each job in one of several processes, which share the threads; yields results as they come.

    The outputs are the same bytes for any number of processes. When the loop over the results ends early, by Ctrl-C
    for example, no process and no half-written file is left.

    Raises:
        WorkerError: no process can be started.
    """
    share = _share(threads, processes)
    work = work.on_threads(share)
    new = {job for job in jobs if not exists(job.target)}
    waiting, deaths = deque(jobs), Counter[Job]()
    idle = [_Process() for _ in range(processes)]
    in_work: dict[Future[Result], _Process] = {}
    any_begun = False
    try:
        while waiting or in_work:
            while waiting and idle:
                job = waiting[0]
                again = work.restarted() if deaths[job] and job in new else work
                in_work[idle[-1].submit(job, again, share)] = idle[-1]
                del waiting[0], idle[-1]
            for future in wait(in_work, 0.5, FIRST_COMPLETED).done:  # Ctrl-C cannot end a longer wait on Windows
                process = in_work.pop(future)
                if not isinstance(future.exception(), BrokenProcessPool):
                    idle.append(process)
                    yield future.result()
                    continue
                job, end = process.job, _stop([process])
                any_begun = any_begun or process.has_begun()
                if not any_begun:
                    raise WorkerError(f"a process for --jobs does not start; it ended by {end}")
                idle.append(_Process())
                deaths[job] += 1
                if deaths[job] < _ATTEMPTS:
                    waiting.appendleft(job)
                    continue
                message = f"the process that worked on it ended {_ATTEMPTS} times, last by {end}"
                hint = "where memory is short, fewer --jobs may help"
                yield Result(job, error=WorkerError(f"{message}; {hint}", filename=job.source))
    finally:
        _stop([*idle, *in_work.values()])


class _Process:
    """An executor of one process, which is started with its first job."""

    def __init__(self) -> None:
        self.context = _Context()
        self.executor = ProcessPoolExecutor(1, self.context)
        self.token = secrets.token_hex(8)
        self.job = Job("", "")
        self._begun: Future[None] | None = None

    def submit(self, job: Job, work: Work, threads: int) -> Future[Result]:
        """Gives it a job (WorkerError: it cannot be started)."""
        self.job = job
        try:
            if self._begun is None:
                self._begun = self.executor.submit(_begin, self.token, threads)
            return self.executor.submit(_attempt, job, work)
        except BrokenProcessPool as error:  # it ended before it had the job
            future: Future[Result] = Future()
            future.set_exception(error)
            return future
        except OSError as error:  # too many processes, or no memory
            raise WorkerError(f"no process for --jobs can be started ({error.strerror})") from error

    def has_begun(self) -> bool:
        """Whether it got as far as doing jobs."""
        return self._begun is not None and self._begun.done() and self._begun.exception() is None


def _stop(processes: Sequence[_Process]) -> str:
    """Ends processes and removes the half-written files of those that were killed; says how the last one ended."""
    workers = [worker for process in processes if (worker := process.context.worker) and worker.pid]
    for worker in workers:
        worker.terminate()
    killer = threading.Timer(_GRACE, lambda: [*map(_Worker.kill, workers)])
    killer.start()
    for process in processes:
        process.executor.shutdown(cancel_futures=True)
        files.remove_leftovers(process.job.target, process.token)
    killer.cancel()
    code = (workers[-1].exitcode if workers else None) or 0
    return f"signal {-code}" if code < 0 else f"exit status {code}"


class _Context(SpawnContext):
    """Spawns a process and remembers it: an executor keeps its own to itself."""

    worker: _Worker | None = None

    def Process(self, *arguments: Any, **options: Any) -> _Worker:  # type: ignore[override]  # noqa: N802
        """A process that is not started yet."""
        self.worker = _Worker(*arguments, **options)
        return self.worker


class _Worker(SpawnProcess):
    """A new interpreter that imports nothing of the caller's script or of the current folder."""

    def start(self) -> None:
        """Starts it, deaf to Ctrl-C: a terminal sends it to all processes, and the caller's handles it."""
        mask = getattr(signal, "pthread_sigmask", lambda how, signals: ())
        before = mask(getattr(signal, "SIG_BLOCK", 0), {signal.SIGINT})
        path = list(sys.path)
        try:
            # `spawn` runs the script of __main__ again unless it has an `if __name__ == "__main__"`.
            no_script = _replaced(sys.modules, "__main__", ModuleType("__main__"))
            sys.path[:] = filter(None, path)  # "" would be the current folder
            with no_script, _replaced(os.environ, "PYTHONSAFEPATH", "1"):
                super().start()
        finally:
            sys.path[:] = path
            mask(getattr(signal, "SIG_SETMASK", 0), before)


@contextmanager
def _replaced(mapping: MutableMapping[str, T], key: str, value: T) -> Iterator[None]:
    before = mapping.get(key)
    mapping[key] = value
    try:
        yield
    finally:
        mapping.pop(key) if before is None else mapping.update({key: before})


def _share(threads: int | None, processes: int) -> int:
    """Threads of each process: of those asked for, or else of the cores, but not more than OMP_NUM_THREADS says."""
    share = max(1, min(threads or cores(), cores()) // processes)
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, max(1, int(limit))) if threads is None and limit.isdecimal() else share


# ---- in the other process --------------------------------------------------------------------------------------------


def _begin(token: str, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # what is imported later reads them
        os.environ[name] = str(threads)
    files.PROCESS = token
    warnings.simplefilter("ignore")  # the caller's process warns
    own_standard_error()
    keep_memory()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGTERM, _end)


def _end(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # another one would interrupt the removal of half-written files
    sys.exit(128 + number)


def _end_with_parent() -> None:
    """Ends this process when its parent was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _attempt(job: Job, work: Work) -> Result:
    try:
        return attempt(job, work)
    except SystemExit as end:  # an executor would go on with the next job
        os._exit(end.code if isinstance(end.code, int) else 1)
