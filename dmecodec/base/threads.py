"""Parallel work whose result does not depend on the number of threads.

If torch splits one operation among threads, the last bits of its result depend on their number. So wherever floats
decide the bytes of a file, each operation runs on one thread, and several parts run in parallel. The parts are the
same on every machine.
"""

from __future__ import annotations

import operator
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import torch

from ..errors import OptionError
from .fork import Lock
from .machine import cores, free_memory

T = TypeVar("T")
R = TypeVar("R")

VARIABLE = "DMECODEC_THREADS"
"""Environment variable: the number of threads where no other is asked for."""
MEMORY_OF_THREAD = 400 << 20
"""Bytes that a thread which codes tiles or blocks takes at most."""

_asks_environment = True
_forked = False

_pools: dict[int, ThreadPoolExecutor] = {}
"""By number of threads. More than one entry exists only if the caller changes `torch.set_num_threads`."""
_lock = Lock()


def checked_count(threads: object, name: str = "threads") -> int:
    """A number of threads that somebody asks for.

    Raises:
        OptionError: it is no integer, or below 1.
    """
    try:
        count = int(threads) if isinstance(threads, str) else operator.index(threads)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        count = 0
    if count < 1:
        raise OptionError(f"{name} {threads!r}: must be an integer of at least 1")
    return count


def set_threads(threads: int) -> None:
    """Sets the number of threads that code: torch's, but not more than there are cores.

    Without it that is the number in the environment variable DMECODEC_THREADS, or else torch's: all cores, or what
    OMP_NUM_THREADS or `torch.set_num_threads` says. A forked process has one thread, whatever is asked for.

    Raises:
        OptionError: `threads` is no integer, or below 1.
    """
    global _asks_environment
    count = min(checked_count(threads), cores())
    _asks_environment = False
    if not _forked:
        torch.set_num_threads(count)


def thread_count() -> int:
    """Threads that this thread may share its work with, itself among them.

    Raises:
        OptionError: DMECODEC_THREADS is no number of threads.
    """
    if _asks_environment and (asked := os.environ.get(VARIABLE)):
        set_threads(checked_count(asked, VARIABLE))
    return min(torch.get_num_threads(), cores())


def in_order(
    work: Callable[[T], R],
    parts: Iterable[T],
    finish: Callable[[T, R], None],
    device: torch.device,
    *,
    several: bool,
) -> None:
    """Calls `finish(part, work(part))` for each part, in order.

    Args:
        work: is given to as many threads of a CPU as :func:`thread_count` says and memory allows. Each works on a part
            alone, in the caller's modes as in :func:`side_by_side`.
        parts: taken by the caller's thread, some ahead of those that are finished.
        finish: called by the caller's thread.
        device: other devices than the CPU work on one part at a time.
        several: whether to work on several parts at a time. Else the work may use several threads for one.
    """
    threads = thread_count() if several and device.type == "cpu" else 1
    count = _affordable(threads)
    if count == 1:
        for part in parts:
            finish(part, work(part))
        return
    # Twice as many are begun, so that no thread waits for the slowest part.
    ahead = 2 * count if count == threads else count
    pool, task = _pool(threads), _in_callers_mode(work)
    running: deque[tuple[T, Future[R]]] = deque()

    def finish_first() -> None:
        part, future = running.popleft()
        finish(part, future.result())

    try:
        for part in parts:
            running.append((part, pool.submit(task, part)))
            if len(running) == ahead:
                finish_first()
        while running:
            finish_first()
    finally:
        for _, future in running:
            future.cancel()
        wait([future for _, future in running])


def _affordable(count: int) -> int:
    """As many of so many threads as there is memory for."""
    if count == 1 or (free := free_memory()) is None:
        return count
    return max(1, min(count, free // MEMORY_OF_THREAD))


def side_by_side(work: Callable[[T], R], parts: Sequence[T], device: torch.device) -> list[R]:
    """Maps `work` over `parts`, each part on a single thread; results in the order of the parts.

    On the CPU, :func:`thread_count` parts run at a time; on other devices, one. The caller's inference mode,
    gradient mode and CPU autocast apply in `work`. A nested call runs its parts one after the other.
    """
    count = thread_count()
    if count == 1 or device.type != "cpu":
        return [work(part) for part in parts]
    return list(_pool(count).map(_in_callers_mode(work), parts))


def _in_callers_mode(work: Callable[[T], R]) -> Callable[[T], R]:
    """`work` for another thread, with the inference mode, gradient mode and CPU autocast of this one."""
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    bf16 = torch.is_autocast_enabled("cpu")

    def in_callers_mode(part: T) -> R:
        with (
            torch.inference_mode(inference),
            torch.set_grad_enabled(gradients),
            torch.autocast("cpu", torch.bfloat16, enabled=bf16),
        ):
            return work(part)

    return in_callers_mode


@contextmanager
def torch_threads(*, single: bool) -> Iterator[None]:
    """Runs operations of torch in the caller's thread on that thread alone, or on as many as :func:`thread_count` says.

    An operation on few pixels takes less time than several threads need to agree about it.
    """
    before = torch.get_num_threads()
    count = 1 if single else thread_count()
    if count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _pool(count: int) -> ThreadPoolExecutor:
    with _lock:
        if count not in _pools:
            _pools[count] = _start_pool(count)
        return _pools[count]


def _start_pool(count: int) -> ThreadPoolExecutor:
    """A pool of `count` threads; in each, torch runs an operation on that thread alone."""
    # All threads set their number before any works: torch also takes the last value set for threads started later.
    started, before = threading.Barrier(count + 1), torch.get_num_threads()
    pool = ThreadPoolExecutor(count, "dmecodec")
    try:
        for _ in range(count):
            pool.submit(_use_one_thread, started)
        started.wait()
    except BaseException:
        started.abort()
        pool.shutdown(wait=False)
        raise
    finally:
        torch.set_num_threads(before)
    return pool


def _use_one_thread(started: threading.Barrier) -> None:
    torch.get_num_threads()  # initialises it; else the first operation would reset it
    torch.set_num_threads(1)
    started.wait()


def _after_fork() -> None:
    """Leaves a forked child with the one thread that it has.

    The child inherits none of its parent's threads. OpenMP does not know that: it would wait for its own ones for ever.
    With one thread torch never asks OpenMP, and no pool is needed.
    """
    global _forked
    _forked = True
    _pools.clear()
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
