"""Whether this machine's CPU is faster in bf16 than in float32.

torch says "supported" where it can compute in bf16 at all. With AVX-512 that may be by way of float32, at a fifth of
its speed. What counts is the instructions, not a measurement: one machine must always give the same bytes.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import torch

_FACTS = Path("/proc/cpuinfo")


@cache
def facts() -> dict[str, str]:
    """What Linux tells of the (last) core, by name, such as "vendor_id" and "flags"; empty on other systems."""
    try:
        lines = _FACTS.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    fields = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in fields}


def computes_in_bf16() -> bool:
    """Whether products in bf16 are faster than those in float32."""
    mkldnn = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if not mkldnn or platform.machine().lower() not in ("x86_64", "amd64"):
        return mkldnn
    if not facts():
        return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
    flags = facts().get("flags", "").split()
    if facts().get("vendor_id") == "GenuineIntel" and "avx512_fp16" in flags:
        # Those multiply in bf16 with AMX. Where a virtual machine hides it, AVX-512 takes twice as long as in float32.
        return "amx_bf16" in flags
    return "avx512_bf16" in flags
