"""What this process may use of the machine: cores and memory. A container's limits count (cgroups of Linux)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS, _OWN, _MEMINFO = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"), Path("/proc/meminfo")


def cores() -> int:
    """Cores that this process may use, at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _groups("cpu"):
        quota = _numbers(group / "cpu.max") or _numbers(group / "cpu.cfs_quota_us", group / "cpu.cfs_period_us")
        if len(quota) == 2 and quota[0] > 0:
            count = min(count, math.ceil(quota[0] / quota[1]))
    return max(1, count)


def free_memory() -> int | None:
    """Bytes that this process may still take without swapping; None where the system does not say."""
    try:
        fields = dict(line.split(":") for line in _MEMINFO.read_text().splitlines())
        free = 1024 * int(fields["MemAvailable"].split()[0])
    except (OSError, ValueError, KeyError):
        return None
    for group in _groups("memory"):
        new = _numbers(group / "memory.max", group / "memory.current")
        used = new or _numbers(group / "memory.limit_in_bytes", group / "memory.usage_in_bytes")
        if len(used) == 2:
            free = min(free, used[0] - used[1] + _file_cache(group))
    return max(0, free)


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process's groups of a controller, and of those around them."""
    try:
        lines = [line.split(":", 2) for line in _OWN.read_text().splitlines()]
    except OSError:
        return
    for _, names, path in lines:
        if names and controller not in names.split(","):
            continue
        root = _CGROUPS / controller if names else _CGROUPS
        own = root / path.strip("/")
        yield from (group for group in (own, *own.parents) if group.is_relative_to(root) and group.is_dir())


def _numbers(*files: Path) -> list[int]:
    """The integers in some files; none where one is missing or says "max"."""
    try:
        return [int(word) for file in files for word in file.read_text().split()]
    except (OSError, ValueError):
        return []


def _file_cache(group: Path) -> int:
    """Bytes of a group's memory that the system gives back when they are asked for."""
    try:
        fields = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return int(fields.get("total_inactive_file") or fields["inactive_file"])
    except (OSError, ValueError, KeyError):
        return 0
