"""The device and the precision of the transforms."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext

import torch

from ..errors import OptionError
from .processor import computes_in_bf16


def pick_device(name: str | torch.device) -> torch.device:
    """Resolves the name of a device. "cuda" is the first GPU; "auto" is the first GPU if there is one, else the CPU.

    Raises:
        OptionError: the name is no device, or this machine does not have it.
    """
    if isinstance(name, torch.device):
        name = str(name) if name.type == "cuda" else name.type  # there is one MPS device: "mps:0" is "mps"
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
            raise OptionError(f"device {name!r}: this machine has {count} CUDA devices; use cpu or a lower number")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise OptionError("device 'mps': this machine has no MPS device; use cpu")
    return device


def exact_arithmetic(device: torch.device) -> tuple[torch.device, torch.dtype]:
    """Device and dtype of the exact path when the transforms run on `device`.

    It is float64 on CUDA, where float32 may be rounded to TF32; float32 on the CPU for every other device.
    """
    if device.type == "cuda":
        return device, torch.float64
    return torch.device("cpu"), torch.float32


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """bf16 for the transforms if the hardware is faster in bf16 than in float32, else float32."""
    if device.type == "mps":  # torch 2.4 has no autocast for MPS
        return nullcontext()
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported()
    else:
        has_bf16 = computes_in_bf16()
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bf16)


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Turns autocast off. On CUDA, float32 convolutions may still use TF32 (`torch.backends.cudnn.allow_tf32`)."""
    return nullcontext() if device.type == "mps" else torch.autocast(device.type, enabled=False)
