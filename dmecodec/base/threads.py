"""Parallel work whose result does not depend on the number of threads.

If torch splits one operation among threads, the last bits of its result depend on their number. So wherever floats
decide the bytes of a file, each operation runs on one thread, and several parts run in parallel. The parts are the
same on every machine.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from .fork import Lock

T = TypeVar("T")
R = TypeVar("R")

_pools: dict[int, ThreadPoolExecutor] = {}
"""By number of threads. More than one entry exists only if the caller changes `torch.set_num_threads`."""
_lock = Lock()


def side_by_side(work: Callable[[T], R], parts: Sequence[T], device: torch.device) -> list[R]:
    """Maps `work` over `parts`, each part on a single thread; results in the order of the parts.

    On the CPU, `torch.get_num_threads()` parts run at a time; on other devices, one. The caller's inference mode,
    gradient mode and CPU autocast apply in `work`. A nested call runs its parts one after the other.
    """
    count = torch.get_num_threads()
    if count == 1 or device.type != "cpu":
        return [work(part) for part in parts]
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    bf16 = torch.is_autocast_enabled("cpu")

    def in_callers_mode(part: T) -> R:
        with (
            torch.inference_mode(inference),
            torch.set_grad_enabled(gradients),
            torch.autocast("cpu", torch.bfloat16, enabled=bf16),
        ):
            return work(part)

    return list(_pool(count).map(in_callers_mode, parts))


@contextmanager
def on_one_thread(needed: bool = True) -> Iterator[None]:
    """Runs operations of torch on the caller's thread alone, if that is needed.

    An operation on few pixels takes less time than several threads need to agree about it.
    """
    count = torch.get_num_threads()
    if not needed or count == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)


def _pool(count: int) -> ThreadPoolExecutor:
    with _lock:
        if count not in _pools:
            _pools[count] = _start_pool(count)
        return _pools[count]


def _start_pool(count: int) -> ThreadPoolExecutor:
    """A pool of `count` threads; in each, torch runs an operation on that thread alone."""
    # All threads set their number before any works: torch also takes the last value set for threads started later.
    started = threading.Barrier(count + 1)
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
        torch.set_num_threads(count)
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
    _pools.clear()
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
