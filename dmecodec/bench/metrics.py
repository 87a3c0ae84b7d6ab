"""What a codec keeps of an image: PSNR, SSIM, MS-SSIM, largest error, spectral angle, error of NDVI."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

MS_SSIM_SMALLEST = 161  # five scales of an 11-pixel window need this many pixels on each side
SSIM_SMALLEST = 11

_ROWS_AT_A_TIME = 256


def psnr(a: np.ndarray, b: np.ndarray, peak: float = 255) -> float:
    """Peak signal-to-noise ratio in dB, from one mean squared error over all pixels and bands.

    Args:
        a: uint8 or uint16 array, (h, w) or (h, w, bands).
        b: the same shape and type.
        peak: the largest possible difference.

    Returns:
        dB; infinity where the images are equal.

    Raises:
        ValueError: the shapes or types differ, or the type is another.
    """
    squares = sum(int(np.square(part).sum(dtype=np.int64)) for part in _differences(a, b))
    return 10 * math.log10(peak**2 * a.size / squares) if squares else math.inf


def largest_error(a: np.ndarray, b: np.ndarray) -> int:
    """The largest absolute difference of two samples, in levels; arguments and errors as of :func:`psnr`."""
    return max(int(np.abs(part).max()) for part in _differences(a, b))


def ssim(a: np.ndarray, b: np.ndarray, peak: float = 255) -> float | None:
    """Structural similarity, at most 1, as pytorch-msssim computes it.

    Args:
        a: uint8 or uint16 array, (h, w) or (h, w, bands).
        b: the same shape and type.
        peak: the largest possible difference.

    Returns:
        The mean over the bands, or None where a side is under 11 pixels.

    Raises:
        ValueError: as of :func:`psnr`.
    """
    from pytorch_msssim import ssim as compare

    return _similarity(compare, a, b, peak, SSIM_SMALLEST)


def ms_ssim(a: np.ndarray, b: np.ndarray, peak: float = 255) -> float | None:
    """As :func:`ssim` at five scales: 0 to 1, or None where a side is under 161 pixels."""
    from pytorch_msssim import ms_ssim as compare

    return _similarity(compare, a, b, peak, MS_SSIM_SMALLEST)


def similarity_db(value: float | None) -> float | None:
    """SSIM or MS-SSIM in decibels, -10 log10(1 - value); infinity for 1, None for None (equation 18)."""
    if value is None:
        return None
    return -10 * math.log10(1 - value) if value < 1 else math.inf


def spectral_angle(a: np.ndarray, b: np.ndarray) -> float | None:
    """The mean angle between the spectra of a pixel, in degrees.

    Args:
        a: uint8 or uint16 array (h, w, bands).
        b: the same shape and type.

    Returns:
        The mean over the pixels that are not zero in both images, or None without any.
    """
    _check_pair(a, b)
    total, count = 0.0, 0
    for rows in _row_slices(a):
        x, y = a[rows].astype(np.float64), b[rows].astype(np.float64)
        lengths = np.sqrt(np.square(x).sum(2) * np.square(y).sum(2))
        usable = lengths > 0
        cosines = (x * y).sum(2)[usable] / lengths[usable]
        total += float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).sum())
        count += int(usable.sum())
    return total / count if count else None


def ndvi_error(a: np.ndarray, b: np.ndarray, red: int, near_infrared: int) -> float | None:
    """The mean absolute difference of NDVI, (near infrared - red) / (near infrared + red).

    Args:
        a: uint8 or uint16 array (h, w, bands).
        b: the same shape and type.
        red, near_infrared: places of the bands.

    Returns:
        The mean over the pixels whose NDVI is defined in both images, or None without any.
    """
    _check_pair(a, b)
    total, count = 0.0, 0
    for rows in _row_slices(a):
        pair = [image[rows][:, :, [red, near_infrared]].astype(np.float64) for image in (a, b)]
        sums = [bands.sum(2) for bands in pair]
        usable = (sums[0] > 0) & (sums[1] > 0)
        ndvi = [(bands[..., 1] - bands[..., 0])[usable] / s[usable] for bands, s in zip(pair, sums, strict=True)]
        total += float(np.abs(ndvi[0] - ndvi[1]).sum())
        count += int(usable.sum())
    return total / count if count else None


def _similarity(
    compare: Callable[..., object], a: np.ndarray, b: np.ndarray, peak: float, smallest: int
) -> float | None:
    _check_pair(a, b)
    if min(a.shape[:2]) < smallest:
        return None
    import torch

    def as_batch(image: np.ndarray) -> torch.Tensor:
        bands_first = np.moveaxis(np.atleast_3d(image), 2, 0)
        return torch.from_numpy(np.ascontiguousarray(bands_first, dtype=np.float32))[None]

    with torch.inference_mode():
        return float(compare(as_batch(a), as_batch(b), data_range=peak))  # type: ignore[arg-type]


def _row_slices(image: np.ndarray) -> list[slice]:
    """A large image's differences take more memory than the image: they are taken a few rows at a time."""
    return [slice(row, row + _ROWS_AT_A_TIME) for row in range(0, image.shape[0], _ROWS_AT_A_TIME)]


def _differences(a: np.ndarray, b: np.ndarray) -> Iterator[np.ndarray]:
    _check_pair(a, b)
    for rows in _row_slices(a):
        yield a[rows].astype(np.int64) - b[rows]


def _check_pair(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"images of shapes {a.shape} and {b.shape} cannot be compared")
    if a.dtype != b.dtype or a.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"images must be uint8 or uint16 to be compared, not {a.dtype} and {b.dtype}")
