"""Suppresses what C libraries print on standard error while a command runs.

libtiff prints its messages to descriptor 2, past Python. A command reports an error in one line, which must not drown
in them. Only a command suppresses them, because it owns the process; the library never does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .fork import Lock

_STANDARD_ERROR = 2
_lock = Lock()
_owned = False
_users = 0
_saved = -1


def own_standard_error() -> None:
    """Gives `sys.stderr` a descriptor of its own, so that :func:`suppressed_stderr` can redirect descriptor 2."""
    global _owned
    old = sys.stderr
    try:
        if old.fileno() != _STANDARD_ERROR:
            return
        descriptor = os.dup(_STANDARD_ERROR)
    except (AttributeError, OSError, ValueError):  # closed, or in memory
        return
    sys.stderr = open(  # noqa: PTH123, SIM115
        descriptor, "w", encoding=old.encoding, errors="backslashreplace", buffering=1
    )
    _owned = True


@contextmanager
def suppressed_stderr() -> Iterator[None]:
    """Discards what C libraries print, if :func:`own_standard_error` was called. Reentrant, from any thread."""
    if not _owned:
        yield
        return
    with _lock:
        _enter()
    try:
        yield
    finally:
        with _lock:
            _leave()


def _enter() -> None:
    global _users, _saved
    if _users == 0:
        _saved = os.dup(_STANDARD_ERROR)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, _STANDARD_ERROR)
        os.close(null)
    _users += 1


def _leave() -> None:
    global _users
    _users -= 1
    if _users == 0:
        os.dup2(_saved, _STANDARD_ERROR)
        os.close(_saved)
