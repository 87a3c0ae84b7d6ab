"""Work on several threads that gives the same bits however many there are.

torch can share an operation among threads, but then the last bits of what comes out depend on their number: kernels
and the ends of chunks change with it. Where bytes of a file follow from floats, each operation runs on a single
thread instead, and several parts, the same on every machine, side by side.
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
"""By number of threads: one, but where the caller changes what torch may use."""
_lock = Lock()


def side_by_side(work: Callable[[T], R], parts: Sequence[T], device: torch.device) -> list[R]:
    """`work` of every part, in their order, each on a single thread.

    On the CPU as many at a time as torch may use threads, elsewhere one after the other. Inference mode, whether there
    are gradients, and the CPU's autocast are those of the caller. A call inside `work` runs its parts in turn on the
    thread that it is on.
    """
    count = torch.get_num_threads()
    if count == 1 or device.type != "cpu":
        return [work(part) for part in parts]
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    bf16 = torch.is_autocast_enabled("cpu")

    def alone(part: T) -> R:
        with (
            torch.inference_mode(inference),
            torch.set_grad_enabled(gradients),
            torch.autocast("cpu", torch.bfloat16, enabled=bf16),
        ):
            return work(part)

    return list(_pool(count).map(alone, parts))


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
            _pools[count] = _begun(count)
        return _pools[count]


def _begun(count: int) -> ThreadPoolExecutor:
    """A pool of so many threads, each of which runs an operation of torch alone."""
    # All begin at once: what each sets is also what threads yet to come would begin with.
    begun = threading.Barrier(count + 1)
    pool = ThreadPoolExecutor(count, "dmecodec")
    try:
        for _ in range(count):
            pool.submit(_alone, begun)
        begun.wait()
    except BaseException:
        begun.abort()
        pool.shutdown(wait=False)
        raise
    finally:
        torch.set_num_threads(count)
    return pool


def _alone(begun: threading.Barrier) -> None:
    torch.get_num_threads()  # or the first operation here would set it anew
    torch.set_num_threads(1)
    begun.wait()


def _after_fork() -> None:
    """Leaves a forked child with the one thread that it has.

    The child inherits none of its parent's threads. OpenMP does not know that: it would wait for its own ones for ever.
    With one thread torch never asks OpenMP, and no pool is needed.
    """
    _pools.clear()
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
