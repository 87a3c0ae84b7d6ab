"""What the C library does with freed memory."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_... of malloc.h
_LARGEST, _KEPT = 32 << 20, 256 << 20
"""glibc takes no higher a threshold for single blocks."""


def keep_memory() -> None:
    """Lets glibc keep some freed memory for the next block of pixels: fresh memory costs a tenth of encoding.

    It is a setting of the whole process, so only the command line and its processes choose it.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)
