"""What a training run of a second or two is like."""

from __future__ import annotations

from typing import Any

from dmecodec.network.config import Config

CONFIG = Config(
    channels=16, hyper=8, slices=(8, 16), hidden=(16, 16), checkered=1, attention=8, squeezed=12,
    eighths=(2, 16), sixteenths=(1, 16),
)  # fmt: skip
FEW: dict[str, Any] = {"side": 64, "batch": 2, "max_steps": 3, "device": "cpu", "first": 0.5}
STEPS = 9  # of all stages
