"""The setting of a codec whose file is nearest to a rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .codecs import Codec
from .results import Measurement


def nearest(
    codec: Codec, rate: float, measured: Sequence[Measurement], measure: Callable[[float], Measurement]
) -> Measurement:
    """Halves the gap between the two settings around a rate, until no setting lies between them.

    Args:
        codec: its `step` says which settings lie between two; without one only those that were measured exist.
        rate: bits per pixel.
        measured: one image at the settings of the codec, in their order, at least one.
        measure: measures the image at another setting.

    Returns:
        Of all measurements, the nearest to the rate as a ratio.
    """
    tried = list(measured)
    low = max((m for m in tried if m.bpp <= rate), key=lambda m: m.bpp, default=None)
    high = min((m for m in tried if m.bpp > rate), key=lambda m: m.bpp, default=None)
    while low is not None and high is not None and codec.step is not None:
        between = _between(low.setting, high.setting, codec.step)
        if between is None or abs(math.log(low.bpp / high.bpp)) < _CLOSE:
            break
        middle = measure(between)
        tried.append(middle)
        if middle.bpp <= rate:
            low = middle
        else:
            high = middle
    return min(tried, key=lambda m: abs(math.log(m.bpp / rate)))


_CLOSE = 0.005
"""As a ratio: a gap that no comparison of codecs notices."""


def _between(a: float, b: float, step: float) -> float | None:
    """A multiple of the step strictly between two settings, near their middle, or None."""
    middle = round(round((a + b) / 2 / step) * step, 6)
    return middle if min(a, b) < middle < max(a, b) else None
