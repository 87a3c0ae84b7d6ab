"""The machine and the versions that a report names."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from pathlib import Path

import PIL

from .. import __version__
from ..base.processor import cpu_info


def describe_machine(model: str | Path | None, device: str) -> Mapping[str, str]:
    """What the times depend on."""
    from importlib.metadata import version

    import torch

    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": cpu_info().get("model name", platform.processor()),
        "threads": str(torch.get_num_threads()),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "dmecodec": __version__,
        "torch": version("torch"),
        "pillow": PIL.__version__,
        "model": str(model or "default"),
        "device": device,
    }
