"""Crops of the scenes on which the codecs differ most, at one rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .codecs import Codec
from .coding import decode, encode
from .results import Measurement
from .scene import Scene

SIDE = 160
"""Pixels of a crop, or fewer where the image is smaller."""
MOST_SCENES = 3
_STRIDE = 16
_NEAR = 1.5
"""Files that differ by more than this ratio do not compare."""


@dataclass(frozen=True)
class Crop:
    """A part of a decoded image.

    Attributes:
        measurement: of the whole image.
        pixels: uint8 (h, w, 3), for the eye.
        errors: uint8 (h, w): mean absolute error of the bands, enlarged.
    """

    measurement: Measurement
    pixels: np.ndarray
    errors: np.ndarray


@dataclass(frozen=True)
class Example:
    """One part of a scene as every codec shows it.

    Attributes:
        image: its name.
        column, row: of the part.
        rate: bits per pixel that the files are near to.
        original: uint8 (h, w, 3).
        gain: how many times the errors are enlarged, relative to the range of the samples as 255 levels.
    """

    image: str
    column: int
    row: int
    rate: float
    original: np.ndarray
    gain: int
    crops: Sequence[Crop]


def most_different(measurements: Sequence[Measurement], rate: float) -> list[str]:
    """The names of the images on which PSNR differs most between the codecs near a rate."""
    spreads: dict[str, float] = {}
    for image in dict.fromkeys(m.image for m in measurements):
        near: dict[str, Measurement] = {}
        for m in measurements:
            if m.image == image and (m.codec not in near or _distance(m, rate) < _distance(near[m.codec], rate)):
                near[m.codec] = m
        values = [m.quality.psnr for m in near.values() if math.isfinite(m.quality.psnr)]
        spreads[image] = float(_spread(np.array(values))) if values else 0.0
    return sorted(spreads, key=lambda image: -spreads[image])[:MOST_SCENES]


def make_example(scene: Scene, chosen: Mapping[Codec, Measurement], rate: float) -> Example | None:
    """Codes a scene again, and cuts the part on which the codecs differ most.

    Args:
        scene: of 8 or 16 bits.
        chosen: for each codec its measurement nearest to the rate.
        rate: bits per pixel.

    Returns:
        None where no codec comes near the rate.
    """
    near = {codec: m for codec, m in chosen.items() if _distance(m, rate) < math.log(_NEAR)}
    if not near:
        return None
    decoded = {codec: decode(codec, encode(codec, scene, m.setting), scene) for codec, m in near.items()}
    maps = {codec: _error_map(scene, pixels) for codec, pixels in decoded.items()}
    row, column, side = _where_different(list(maps.values()))
    part = (slice(row, row + side), slice(column, column + side))
    gain = _gain([errors[part] for errors in maps.values()])
    crops = [
        Crop(m, _for_the_eye(scene, decoded[codec][part]), (maps[codec][part] * gain).clip(0, 255).astype(np.uint8))
        for codec, m in near.items()
    ]
    return Example(scene.name, column, row, rate, _for_the_eye(scene, scene.pixels[part]), gain, crops)


def _distance(m: Measurement, rate: float) -> float:
    return abs(math.log(m.bpp / rate))


def _error_map(scene: Scene, decoded: np.ndarray) -> np.ndarray:
    """The mean absolute error of the bands of each pixel, the range of the samples as 255 levels: float32 (h, w)."""
    errors = np.zeros(decoded.shape[:2], np.float32)
    for band in range(scene.bands):
        errors += np.abs(scene.pixels[:, :, band].astype(np.float32) - decoded[:, :, band])
    return errors * np.float32(255 / scene.peak / scene.bands)


def _where_different(maps: Sequence[np.ndarray]) -> tuple[int, int, int]:
    """Row, column and side of the square in which the codecs' mean squared errors spread most."""
    height, width = maps[0].shape
    side = min(SIDE, height, width)
    roots = np.stack([np.sqrt(_means_of_squares(errors, side)) for errors in maps])
    spread = _spread(np.log(1 + roots)) if len(maps) > 1 else roots[0]
    row, column = np.unravel_index(np.argmax(spread), spread.shape)
    return int(row) * _STRIDE, int(column) * _STRIDE, side


def _means_of_squares(errors: np.ndarray, side: int) -> np.ndarray:
    """Of every square of a side whose corner is a multiple of the stride."""
    sums = np.zeros((errors.shape[0] + 1, errors.shape[1] + 1))
    np.cumsum(np.cumsum(np.square(errors, dtype=np.float64), 0), 1, out=sums[1:, 1:])
    squares = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return np.maximum(squares[::_STRIDE, ::_STRIDE], 0) / side**2


def _spread(values: np.ndarray) -> np.ndarray:
    """Between the quartiles along the first axis, so that one bad codec does not decide."""
    low, high = np.percentile(values, [25, 75], axis=0)
    return high - low


def _gain(maps: Sequence[np.ndarray]) -> int:
    """The largest power of two that leaves 99 of 100 errors below white, with half of the codecs."""
    bright = max(1.0, float(np.median([np.percentile(errors, 99) for errors in maps])))
    return 2 ** max(0, int(math.log2(255 / bright)))


def _for_the_eye(scene: Scene, pixels: np.ndarray) -> np.ndarray:
    """The first three bands, or the first one, as uint8 (h, w, 3); of 16 bits between percentiles of the scene."""
    shown = pixels[:, :, :3] if scene.bands >= 3 else np.repeat(pixels[:, :, :1], 3, 2)
    if scene.depth == 8:
        return shown
    low, high = np.percentile(scene.pixels[::4, ::4], [1, 99])
    return ((shown - low) * (255 / max(1.0, high - low))).clip(0, 255).astype(np.uint8)
