"""Many files on several processes of this machine.

Each process is a new interpreter that codes one file at a time and is told the next one through
its standard input. It imports nothing of the caller's script, so none needs an
`if __name__ == "__main__"`. What a process was doing when it was killed is known: that file is tried
once more, in a new process, and is then reported as failed.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, BinaryIO

from ..base import files
from ..base.stderr import own_standard_error
from ..errors import WorkerError
from .job import Job, Result
from .outputs import folders_of
from .run import Work, run_here

_ATTEMPTS = 2
_PATIENCE = 30.0
"""Seconds that a process has to tidy up before it is killed."""
_BOOT = (
    "import sys; sys.path[:] = filter(None, sys.path); "  # not what happens to lie in this folder
    "import pickle; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from dmecodec.batch.processes import serve; serve()"
)


def run(jobs: Sequence[Job], work: Work, processes: int) -> Iterator[Result]:
    """Does each job in one of several processes, which share the cores; yields results as they come.

    The bytes of the outputs do not depend on the number of processes. However the loop over the
    results ends, Ctrl-C included, no process is left, nor a half-written file.

    Raises:
        WorkerError: no process can be started.
    """
    with folders_of(jobs):
        yield from _run(jobs, work, processes)


def _run(jobs: Sequence[Job], work: Work, processes: int) -> Iterator[Result]:
    pool = _Pool(work, processes)
    threads = ThreadPoolExecutor(processes, "dmecodec", initializer=_leave_ctrl_c_to_the_parent)
    finished: queue.SimpleQueue[Future[Result]] = queue.SimpleQueue()
    try:
        for job in jobs:
            threads.submit(pool.do, job).add_done_callback(finished.put)
        for _ in jobs:
            yield _next(finished).result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        pool.stop()
        threads.shutdown()


def _leave_ctrl_c_to_the_parent() -> None:
    """Blocks SIGINT in a thread, and so in the processes that it starts: a terminal sends it to all."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _next(finished: queue.SimpleQueue[Future[Result]]) -> Future[Result]:
    while True:
        with suppress(queue.Empty):
            return finished.get(timeout=0.5)  # Ctrl-C cannot end a longer wait on Windows


# ---- the caller's side -----------------------------------------------------------------------------------------------


class _DoesNotStartError(WorkerError):
    """A process ended before it was ready; `end` says how."""

    def __init__(self, end: str) -> None:
        super().__init__(f"a process for --jobs does not start; it ended by {end}")
        self.end = end


class _Pool:
    """One process for each thread that calls :meth:`do`."""

    def __init__(self, work: Work, processes: int) -> None:
        self._work, self._processes = work, processes
        self._own = threading.local()
        self._all: list[_Process] = []
        self._lock = threading.Lock()
        self._stopped = self._any_started = False

    def do(self, job: Job) -> Result:
        """Does a job in the calling thread's process, again where that one is killed."""
        is_new = not os.path.exists(job.target)  # noqa: PTH110  (never raises)
        end = ""
        for attempt in range(_ATTEMPTS):
            try:
                process = self._process()
            except _DoesNotStartError as error:
                if not self._any_started:  # nor will any other
                    raise
                end = error.end
                continue
            try:
                return process.do(job, restarted=attempt > 0 and is_new)
            except (EOFError, OSError):
                end = process.end()
                self._own.process = None
        return Result(
            job,
            error=WorkerError(
                f"{job.source}: the process that worked on it ended {_ATTEMPTS} times, last by {end}; "
                "where memory is short, fewer --jobs may help"
            ),
        )

    def _process(self) -> _Process:
        if getattr(self._own, "process", None) is None:
            with self._lock:  # so that none is started while all are stopped
                if self._stopped:
                    raise WorkerError("stopped")
                process = _Process(self._work, self._processes)
                self._all.append(process)
            process.wait_until_ready()
            self._own.process, self._any_started = process, True
        return self._own.process

    def stop(self) -> None:
        """Ends every process; those at work remove what they have half written."""
        with self._lock:
            self._stopped = True
        for process in self._all:
            process.terminate()
        deadline = time.monotonic() + _PATIENCE
        for process in self._all:
            process.end(patience=max(0.0, deadline - time.monotonic()))


class _Process:
    """A process that does jobs."""

    def __init__(self, work: Work, processes: int) -> None:
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-c", _BOOT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | _threads(processes),
            )
        except OSError as error:  # too many of them, or no memory
            raise WorkerError(f"no process for --jobs can be started ({error.strerror})") from error
        self._work = work
        self._name = ""  # in the hidden files that it writes
        self._job: Job | None = None

    def wait_until_ready(self) -> None:
        """Tells it what to do.

        Raises:
            WorkerError: it ends instead of being ready.
        """
        try:
            self._send(sys.path)
            self._send(self._work)
            self._name = self._receive()
        except (EOFError, OSError):
            raise _DoesNotStartError(self.end()) from None

    def do(self, job: Job, *, restarted: bool) -> Result:
        """Does a job.

        Raises:
            EOFError, OSError: the process has ended.
        """
        self._job = job
        self._send((job, restarted))
        result = self._receive()
        self._job = None
        return result

    def terminate(self) -> None:
        """Asks it to end."""
        with suppress(OSError):
            self._popen.terminate()

    def end(self, *, patience: float = _PATIENCE) -> str:
        """Waits for its end, removes what it has left of its last job, and says how it ended."""
        assert self._popen.stdin is not None
        with suppress(OSError):
            self._popen.stdin.close()
        try:
            status = self._popen.wait(patience)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            status = self._popen.wait()
        if self._job is not None:
            files.remove_leftovers(self._job.target, self._name)
        return f"signal {-status}" if status < 0 else f"exit status {status}"

    def _send(self, message: Any) -> None:
        assert self._popen.stdin is not None
        pickle.dump(message, self._popen.stdin)
        self._popen.stdin.flush()

    def _receive(self) -> Any:
        assert self._popen.stdout is not None
        try:
            return pickle.load(self._popen.stdout)
        except pickle.UnpicklingError as error:  # it was killed while it wrote
            raise EOFError from error


def _threads(processes: int) -> dict[str, str]:
    """Variables that give each process its share of the cores; its torch reads them."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    share = max(1, cores // processes)
    limit = os.environ.get("OMP_NUM_THREADS", "")
    threads = str(min(share, int(limit)) if limit.isdecimal() else share)
    return {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}


# ---- the side of the process -----------------------------------------------------------------------------------------


def serve() -> None:
    """Does the jobs that come through standard input, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # As an exception, so that half-written files are removed.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    warnings.simplefilter("ignore")  # the caller's process warns
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints does not come between the replies
    own_standard_error()
    work = pickle.load(sys.stdin.buffer)

    def reply(message: object) -> None:
        pickle.dump(message, replies)
        replies.flush()

    with suppress(BrokenPipeError):  # the caller is gone
        reply(files.PROCESS)
        for job, restarted in _messages(sys.stdin.buffer):
            attempt = partial(work, restarted=True) if restarted else work
            for result in run_here([job], attempt):
                reply(result)


def _messages(stream: BinaryIO) -> Iterator[Any]:
    while True:
        try:
            message = pickle.load(stream)
        except EOFError:
            return
        yield message
