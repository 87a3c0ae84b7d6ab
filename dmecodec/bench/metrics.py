"""Measures of what a codec keeps and what it costs: PSNR, MS-SSIM and BD-rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

MS_SSIM_SMALLEST = 161  # five scales of an 11-pixel window need this many pixels on each side
BD_FEWEST_POINTS = 4  # of each curve: a curve through fewer is a guess
BD_SMALLEST_OVERLAP = 1.0  # dB: a mean over less says more of the curves' ends than of the codecs

_ROWS_AT_A_TIME = 256


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, from one mean squared error over all pixels and bands.

    Args:
        a: uint8 array, (h, w) or (h, w, bands).
        b: the same shape and type.

    Returns:
        dB; infinity where the images are equal.

    Raises:
        ValueError: the shapes differ or the type is not uint8.
    """
    _check_pair(a, b)
    squares = 0
    for row in range(0, a.shape[0], _ROWS_AT_A_TIME):  # in parts: a large image's differences are larger still
        part = slice(row, row + _ROWS_AT_A_TIME)
        difference = a[part].astype(np.int32) - b[part]
        squares += int(np.square(difference).sum(dtype=np.int64))
    return 10 * math.log10(255**2 * a.size / squares) if squares else math.inf


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float | None:
    """Multi-scale structural similarity, 0 to 1, as pytorch-msssim computes it with a range of 255.

    Args:
        a: uint8 array, (h, w) or (h, w, bands).
        b: the same shape and type.

    Returns:
        The mean over the bands, or None where a side is under 161 pixels, too small for five
        scales.

    Raises:
        ValueError: the shapes differ or the type is not uint8.
    """
    _check_pair(a, b)
    if min(a.shape[:2]) < MS_SSIM_SMALLEST:
        return None
    import torch
    from pytorch_msssim import ms_ssim as compare

    def as_batch(image: np.ndarray) -> torch.Tensor:
        bands_first = np.moveaxis(np.atleast_3d(image), 2, 0)
        return torch.from_numpy(np.ascontiguousarray(bands_first, dtype=np.float32))[None]

    with torch.inference_mode():
        return float(compare(as_batch(a), as_batch(b), data_range=255))


def ms_ssim_db(value: float | None) -> float | None:
    """MS-SSIM in decibels, -10 log10(1 - value); infinity for 1, None for None (equation 18)."""
    if value is None:
        return None
    return -10 * math.log10(1 - value) if value < 1 else math.inf


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
    if overlap < BD_SMALLEST_OVERLAP:
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


def has_too_few(points: Sequence[tuple[float, float]]) -> bool:
    """Whether a curve has too few points for a BD-rate, those left out that do not rise."""
    return len(_rising(points)) < BD_FEWEST_POINTS


def _rising(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points by rising bpp, without those that a cheaper point equals or beats."""
    kept: list[tuple[float, float]] = []
    usable = [(b, q) for b, q in points if b > 0 and math.isfinite(b) and math.isfinite(q)]
    for bpp, quality in sorted(usable, key=lambda point: (point[0], -point[1])):
        if not kept or quality > kept[-1][1]:
            kept.append((bpp, quality))
    return kept


def _check_pair(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"images of shapes {a.shape} and {b.shape} cannot be compared")
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(f"images must be uint8 to be compared, not {a.dtype} and {b.dtype}")
