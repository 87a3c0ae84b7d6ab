"""Work on several threads that gives the same bits however many there are.

torch can share an operation among threads, but then the last bits of what comes out depend on their number: kernels
and the ends of chunks change with it. Where bytes of a file follow from floats, each operation runs on a single
thread instead, and several parts, the same on every machine, side by side.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")

_pools: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_pools.clear)


def each(work: Callable[[T], R], parts: Sequence[T], device: torch.device) -> list[R]:
    """`work` of every part, in their order.

    On the CPU as many at a time as torch may use threads, elsewhere one after the other. Inference mode and the CPU's
    autocast are those of the caller. Where `work` calls this again, that part runs on its own thread.
    """
    count = torch.get_num_threads()
    if count == 1 or device.type != "cpu":
        return [work(part) for part in parts]
    inference = torch.is_inference_mode_enabled()
    bf16 = torch.is_autocast_enabled("cpu")

    def alone(part: T) -> R:
        with torch.inference_mode(inference), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return work(part)

    return list(_pool(count).map(alone, parts))


def _pool(count: int) -> ThreadPoolExecutor:
    with _lock:
        if count not in _pools:
            # All of them begin at once: what each sets is also what threads yet to come would begin with.
            begun = threading.Barrier(count + 1)
            pool = ThreadPoolExecutor(count, "dmecodec")
            for _ in range(count):
                pool.submit(_alone, begun)
            begun.wait()
            torch.set_num_threads(count)
            _pools[count] = pool
        return _pools[count]


def _alone(begun: threading.Barrier) -> None:
    torch.get_num_threads()  # or the first operation here would set it anew
    torch.set_num_threads(1)
    begun.wait()
