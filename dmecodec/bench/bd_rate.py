"""BD-rate: how many more bits one codec needs than another for the same quality."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

FEWEST_POINTS = 4  # of each curve: a curve through fewer is a guess
SMALLEST_OVERLAP = 1.0  # dB: a mean over less says more of the curves' ends than of the codecs
FEWEST_IMAGES = 5  # of an interval: resampling fewer says nothing of the images that were not measured

_RESAMPLES = 2000
_CONFIDENCE = 95  # per cent


def bd_rate(anchor: Sequence[tuple[float, float]], test: Sequence[tuple[float, float]]) -> float | None:
    """Per cent more bits that `test` needs than `anchor` for the same quality; negative is better.

    Points may come in any order. One that costs more than another without being better is left out,
    as are duplicates and infinite values, since a curve must rise to be interpolated (by piecewise
    cubic Hermite polynomials).

    Args:
        anchor: points (bits per pixel, quality in dB).
        test: points of the codec in question.

    Returns:
        Per cent, over the range of qualities that both reach, or None where that is less than 1 dB or a curve has
        fewer than 4 points.
    """
    if has_too_few(anchor) or has_too_few(test):
        return None
    anchor, test = _rising(anchor), _rising(test)
    overlap = min(anchor[-1][1], test[-1][1]) - max(anchor[0][1], test[0][1])
    if overlap < SMALLEST_OVERLAP:
        return None
    import bjontegaard

    return float(
        bjontegaard.bd_rate(
            [bpp for bpp, _ in anchor],
            [quality for _, quality in anchor],
            [bpp for bpp, _ in test],
            [quality for _, quality in test],
            method="pchip",
            require_matching_points=False,
            min_overlap=0,
        )
    )


def reversed_rate(percent: float) -> float:
    """The BD-rate of the anchor against the test: both integrate the same difference of logarithms."""
    return 100 * (100 / (100 + percent) - 1)


def has_too_few(points: Sequence[tuple[float, float]]) -> bool:
    """Whether a curve has too few points for a BD-rate, those left out that do not rise."""
    return len(_rising(points)) < FEWEST_POINTS


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The bootstrap interval of the mean of the images' BD-rates: 95 %, by percentiles of 2000 resamples.

    Returns:
        Its ends, the same at every call, or None of fewer than 5 values.
    """
    if len(values) < FEWEST_IMAGES:
        return None
    drawn = np.random.default_rng(0).choice(np.asarray(values), (_RESAMPLES, len(values)))
    tail = (100 - _CONFIDENCE) / 2
    low, high = np.percentile(drawn.mean(1), [tail, 100 - tail])
    return float(low), float(high)


def _rising(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points by rising bpp, without those that a cheaper point equals or beats."""
    kept: list[tuple[float, float]] = []
    usable = [(b, q) for b, q in points if b > 0 and math.isfinite(b) and math.isfinite(q)]
    for bpp, quality in sorted(usable, key=lambda point: (point[0], -point[1])):
        if not kept or quality > kept[-1][1]:
            kept.append((bpp, quality))
    return kept
