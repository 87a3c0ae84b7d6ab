"""Locks that a forked child can take.

A child has one thread only. A lock that another thread of the parent held at the fork would never be released in it.
"""

from __future__ import annotations

import os
import threading
import weakref
from types import TracebackType

_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


class Lock:
    """A lock as a context manager, free again in every forked child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _locks.add(self)

    def release_after_fork(self) -> None:
        """Replaces the lock that the child has inherited."""
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()


def _release_all() -> None:
    for lock in list(_locks):
        lock.release_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_all)
