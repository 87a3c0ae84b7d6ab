"""A cache of bounded size that several threads share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from .fork import Lock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Entry(Generic[V]):
    """A value, or the place of one that a thread is making."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.value: V | None = None
        self.size = 0


class BoundedCache(Generic[K, V]):
    """The values that were used last, up to a sum of their sizes; each is made once, whoever asks for it.

    Args:
        limit: the largest sum of sizes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._lock = Lock()

    @property
    def size(self) -> int:
        """Sum of the sizes of the values that are kept."""
        return self._size

    def get(self, key: K, make: Callable[[], V], size: Callable[[V], int]) -> V:
        """The value of a key, made where it is not kept. What `make` raises passes, and nothing is kept."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
        with entry.lock:  # others that ask for this key wait for the one that makes it
            if entry.value is None:
                try:
                    entry.value = make()
                except BaseException:
                    with self._lock:
                        if self._entries.get(key) is entry:
                            del self._entries[key]
                    raise
                with self._lock:
                    self._add(key, entry, size(entry.value))
            return entry.value

    def _add(self, key: K, entry: _Entry[V], size: int) -> None:
        if self._entries.get(key) is not entry:
            return
        entry.size = size
        self._size += size
        for old in list(self._entries):
            if self._size <= self._limit:
                return
            self._size -= self._entries[old].size
            if self._entries[old].size:  # not one that is being made
                del self._entries[old]
