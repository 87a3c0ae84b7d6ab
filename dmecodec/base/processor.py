"""Whether the CPU of this machine is faster in bf16 than in float32.

torch reports bf16 as supported even if it emulates bf16 by float32 at a fifth of the speed. So the instruction set
decides. A measurement must not decide: the same machine must always produce the same bytes.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import torch

_CPUINFO = Path("/proc/cpuinfo")


@cache
def cpu_info() -> dict[str, str]:
    """The fields of /proc/cpuinfo for the last core, such as "vendor_id" and "flags"; empty on other systems."""
    try:
        lines = _CPUINFO.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    fields = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in fields}


def computes_in_bf16() -> bool:
    """Whether products in bf16 are faster than those in float32."""
    mkldnn = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if not mkldnn or platform.machine().lower() not in ("x86_64", "amd64"):
        return mkldnn
    if not cpu_info():
        return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
    flags = cpu_info().get("flags", "").split()
    if cpu_info().get("vendor_id") == "GenuineIntel" and "avx512_fp16" in flags:
        # These processors multiply bf16 with AMX. If a virtual machine hides AMX, bf16 takes twice as long as float32.
        return "amx_bf16" in flags
    return "avx512_bf16" in flags
