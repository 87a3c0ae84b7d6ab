"""What libraries written in C print on standard error, where a command says in one line what is wrong.

libtiff prints its complaints to descriptor 2. Nothing in Python sees them, and the line that users shall read would
stand among them. A command may keep them back, for the process is its own; the library, in somebody else's process,
never does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .fork import Lock

_STANDARD_ERROR = 2
_lock = Lock()
_own = False
_users = 0
_kept = -1


def own_standard_error() -> None:
    """From now on `sys.stderr` has a descriptor of its own, and what libraries print may be kept back."""
    global _own
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
    _own = True


@contextmanager
def kept_back() -> Iterator[None]:
    """Nothing that libraries print on standard error comes through, in a process that owns it; reentrant."""
    if not _own:
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
    global _users, _kept
    if _users == 0:
        _kept = os.dup(_STANDARD_ERROR)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _STANDARD_ERROR)
        os.close(nowhere)
    _users += 1


def _leave() -> None:
    global _users
    _users -= 1
    if _users == 0:
        os.dup2(_kept, _STANDARD_ERROR)
        os.close(_kept)
