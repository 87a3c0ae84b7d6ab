"""Where the transforms run."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext

import torch

from ..errors import OptionError
from .processor import computes_in_bf16


def pick_device(name: str | torch.device) -> torch.device:
    """The device a user means: "auto" and "cuda" are the first GPU, the former the CPU where there is none.

    Raises:
        OptionError: where there is no such device here.
    """
    if isinstance(name, torch.device):
        name = str(name) if name.type == "cuda" else name.type  # "mps:0" is the only one
    forked = torch.cuda._is_in_bad_fork()  # CUDA cannot be used in the forked child of a process that has used it
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() and not forked else "cpu"
    if not isinstance(name, str) or not re.fullmatch(r"cpu|mps|cuda(:(0|[1-9][0-9]?))?", name):
        raise OptionError(f"device {name!r}: must be auto, cpu, cuda, cuda:N or mps")
    device = torch.device(name)
    if device.type == "cuda":
        if forked:
            raise OptionError(f"device {name!r}: cannot be used in a forked process; start it by 'spawn', or use cpu")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        device = torch.device("cuda", device.index or 0)
        if device.index >= count:
            raise OptionError(f"device {name!r}: this machine has {count} CUDA devices")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise OptionError("device 'mps': this machine has none")
    return device


def exact_arithmetic(device: torch.device) -> tuple[torch.device, torch.dtype]:
    """Where and in what the integers beside transforms on `device` are computed: float64 on CUDA, whose float32 may be
    rounded to TF32; elsewhere float32 on the CPU."""
    if device.type == "cuda":
        return device, torch.float64
    return torch.device("cpu"), torch.float32


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """bf16 for the paper's path where the hardware is faster in it; the rest stays in float32."""
    if device.type == "mps":  # which older versions of torch refuse here
        return nullcontext()
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported()
    else:
        has_bf16 = computes_in_bf16()
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bf16)


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """float32 whatever is around it; on CUDA convolutions may still take TF32 for it, as torch is told."""
    return nullcontext() if device.type == "mps" else torch.autocast(device.type, enabled=False)
