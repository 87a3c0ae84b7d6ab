"""The codecs that the pictures of this folder compare with."""

from __future__ import annotations

from typing import Any

import numpy as np

from dmecodec.bench.codecs import AVIF


class SlowAVIF(AVIF):
    """AVIF as in `dmecodec bench`, but at speed 2, as in the tables of models/README.md."""

    def options(self, image: np.ndarray, setting: float) -> dict[str, Any]:
        """By quality."""
        return {**super().options(image, setting), "speed": 2}
