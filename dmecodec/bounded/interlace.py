"""The order and the contexts of the residual layer: what of a tile is known when a sample is coded.

The samples of a band are coded in thirteen passes, from every 16th pixel to all of them, so that whatever is at hand on
all sides predicts the rest and no sample of a pass needs another one of it: a pass is a few operations on arrays. A
prediction is a weighted sum of differences between neighbours, and so is the expected error, which chooses the table.
The weights come with the stream. All is 32-bit integer arithmetic; `docs/format.md`, "Residual", is normative.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

GRID = 16
"""Tiles are padded to a multiple of this; the first pass codes one sample of each 16 x 16."""
WEIGHT_UNIT = 64
"""Weights count 1/64, and so do predictions and expected errors."""
WEIGHT_LIMIT = 127
_ERROR_SHIFT = 4
"""Errors are kept in quarters of a level: 1/64 shifted by this."""
_EDGE = 2
STRIP = 64
"""Rows of a pass that are worked on at once: what they need stays in the cache."""

Offset = tuple[int, int]
AXES: tuple[Offset, ...] = ((-1, 0), (1, 0), (0, -1), (0, 1))
DIAGONALS: tuple[Offset, ...] = ((-1, -1), (-1, 1), (1, -1), (1, 1))
KNIGHTS: tuple[Offset, ...] = (
    (-1, -2), (-1, 2), (1, -2), (1, 2), (-2, -1), (-2, 1), (2, -1), (2, 1)
)  # fmt: skip
RING: tuple[Offset, ...] = (
    (-1, -3), (-1, 3), (1, -3), (1, 3), (-3, -1), (-3, 1), (3, -1), (3, 1)
)  # fmt: skip


@dataclass(frozen=True)
class Pass:
    """Samples at unit * (phase + 2 n) in both directions; neighbours lie at multiples of the unit.

    Attributes:
        kind: 0 for the first pass of a band, then 1 (cell centres), 2 (rows), 3 (columns).
        unit: 8, 4, 2 or 1 pixels.
        phase: row and column, 0 or 1.
        near, far: known neighbours in the band itself.
    """

    kind: int
    unit: int
    phase: Offset
    near: tuple[Offset, ...] = ()
    far: tuple[Offset, ...] = ()

    @property
    def corners(self) -> tuple[Offset, ...]:
        """Those of the eight neighbours that are not near: known in other bands only."""
        return DIAGONALS if self.near == AXES else AXES

    def of(self, full: np.ndarray) -> np.ndarray:
        """Its samples in an array over the padded tile, a view: (H / 2 unit, W / 2 unit)."""
        return _phase(full, self.unit, self.phase)


def _phase(full: np.ndarray, unit: int, phase: Offset) -> np.ndarray:
    return full[phase[0] * unit :: 2 * unit, phase[1] * unit :: 2 * unit]


def _passes() -> Iterator[Pass]:
    yield Pass(0, 8, (0, 0))
    for unit in (8, 4, 2, 1):
        yield Pass(1, unit, (1, 1), DIAGONALS, RING)
        yield Pass(2, unit, (0, 1), AXES, KNIGHTS)
        yield Pass(3, unit, (1, 0), AXES, DIAGONALS + KNIGHTS)


PASSES = tuple(_passes())
KINDS = 4


def mean_count(kind: int, others: int) -> int:
    """Weights of a prediction, given the number of bands that are known already."""
    return (0, 14, 14, 18)[kind] + others * (9 if kind else 1)


def spread_count(kind: int, others: int) -> int:
    """Weights of an expected error, its constant left out."""
    return (6 + 5 * others) if kind else (1 + 4 * others)


class Plane:
    """One array over a padded tile, and its four phases at the level that is being coded.

    Attributes:
        full: int32 (H, W), sides multiples of 16.
    """

    def __init__(self, full: np.ndarray) -> None:
        self.full = full
        self._unit = 0
        self._phases: dict[Offset, np.ndarray] = {}

    def at(self, where: Pass, offset: Offset, rows: slice) -> np.ndarray:
        """The neighbours at an offset of the samples of some rows of a pass."""
        if self._unit != where.unit:
            self._unit, self._phases = where.unit, {}
        row, col = where.phase[0] + offset[0], where.phase[1] + offset[1]
        key = row & 1, col & 1
        if key not in self._phases:
            self._phases[key] = np.pad(_phase(self.full, where.unit, key), _EDGE, mode="edge")
        padded = self._phases[key]
        top, left = _EDGE + (row >> 1), _EDGE + (col >> 1)
        width = padded.shape[1] - 2 * _EDGE
        return padded[top + rows.start : top + rows.stop, left : left + width]

    def put(self, where: Pass, values: np.ndarray) -> None:
        """Sets the samples of a pass."""
        where.of(self.full)[...] = values
        self._phases.pop(where.phase, None)


@dataclass
class Band:
    """What is known of one band: its base, its decoded samples and how far the prediction was off."""

    base: Plane
    value: Plane
    error: Plane

    @classmethod
    def begin(cls, base: np.ndarray) -> Band:
        """A band of which nothing but the base is known."""
        return cls(Plane(base), Plane(base.copy()), Plane(np.zeros_like(base)))


@dataclass(frozen=True)
class Features:
    """What a prediction is made of: int32 arrays, all of the shape of some rows of a pass.

    Attributes:
        centre: what the differences refer to.
        mean: differences; their weighted sum and the centre are the prediction.
        spread: magnitudes; their weighted sum is the expected error.
    """

    centre: np.ndarray
    mean: Sequence[np.ndarray]
    spread: Sequence[np.ndarray]


def features(band: Band, others: Sequence[Band], where: Pass, rows: slice) -> Features:
    """Those of some rows of a pass, in the order of the weights."""
    own = _own_features(band, where, rows) if where.kind else _first_features(band, where, rows)
    mean, spread = list(own.mean), list(own.spread)
    for other in others:
        here = other.value.at(where, (0, 0), rows)
        if where.kind:
            near = [other.value.at(where, offset, rows) for offset in where.near]
            centre = _mean(near)
            near = [value - centre for value in near]
            step = here - centre
            mean += [step, *near]
            mean += [other.value.at(where, offset, rows) - centre for offset in where.corners]
            spread.append(_sum_abs(a - b for a, b in zip(near, own.mean[:4], strict=True)))
        else:
            step = here - other.base.at(where, (0, 0), rows)
            mean.append(step)
        spread += [np.abs(step), other.error.at(where, (0, 0), rows)]
        spread += [_sum_at(other.error, where, offsets, rows) for offsets in (AXES, DIAGONALS)]
    return Features(own.centre, mean, spread)


def _first_features(band: Band, where: Pass, rows: slice) -> Features:
    base = band.base.at(where, (0, 0), rows)
    slope = _sum_abs(band.base.at(where, offset, rows) - base for offset in AXES)
    return Features(base, [], [slope])


def _own_features(band: Band, where: Pass, rows: slice) -> Features:
    near = [band.value.at(where, offset, rows) for offset in where.near]
    centre = _mean(near)
    near = [value - centre for value in near]
    far = [band.value.at(where, offset, rows) - centre for offset in where.far]
    base = band.base.at(where, (0, 0), rows)
    curve = 4 * base - _sum_at(band.base, where, where.near, rows)
    rise = base - centre
    spread = [
        _sum_abs(near),
        _sum_abs(far[:4]),
        np.abs(curve),
        np.abs(rise),
        _sum_at(band.error, where, where.near, rows),
        _sum_at(band.error, where, where.far[:4], rows),
    ]
    return Features(centre, [*near, *far, curve, rise], spread)


def _mean(near: Sequence[np.ndarray]) -> np.ndarray:
    return (near[0] + near[1] + near[2] + near[3] + 2) >> 2


def _sum_abs(values: Sequence[np.ndarray] | Iterator[np.ndarray]) -> np.ndarray:
    return sum(np.abs(value) for value in values)  # type: ignore[return-value]


def _sum_at(plane: Plane, where: Pass, offsets: Sequence[Offset], rows: slice) -> np.ndarray:
    first, second, third, fourth = (plane.at(where, offset, rows) for offset in offsets)
    return first + second + third + fourth


@dataclass(frozen=True)
class Weights:
    """How one or several passes are predicted, and which tables their symbols have.

    Attributes:
        mean: int32 (mean_count,), -127 to 127.
        spread: int32 (spread_count,), 0 to 127.
        floor: added to the expected error, in 1/64 level.
        first: context of the first scale; contexts below have it, too.
        scales: int32, scale index of each context from there on; those above have the last one.
    """

    mean: np.ndarray
    spread: np.ndarray
    floor: int
    first: int
    scales: np.ndarray


def weighted(parts: Sequence[np.ndarray], weights: np.ndarray, start: np.ndarray) -> np.ndarray:
    """start + the weighted sum, in place."""
    for part, weight in zip(parts, weights.tolist(), strict=True):
        if weight:
            start += part * np.int32(weight)
    return start


def strips(height: int) -> Iterator[slice]:
    """The rows of a pass in portions."""
    for top in range(0, height, STRIP):
        yield slice(top, min(top + STRIP, height))


def predict(
    band: Band, others: Sequence[Band], where: Pass, weights: Weights, levels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and expected error of all samples of a pass, in 1/64 level: both int32 (h, w)."""
    shape = where.of(band.base.full).shape
    means, spreads = np.empty(shape, np.int32), np.empty(shape, np.int32)
    for rows in strips(shape[0]):
        found = features(band, others, where, rows)
        mean = weighted(found.mean, weights.mean, found.centre * np.int32(WEIGHT_UNIT))
        means[rows] = mean.clip(0, WEIGHT_UNIT * levels, out=mean)
        floor = np.full(mean.shape, weights.floor, np.int32)
        spreads[rows] = weighted(found.spread, weights.spread, floor)
    return means, spreads


def settle(band: Band, where: Pass, means: np.ndarray, values: np.ndarray) -> None:
    """Makes the decoded samples of a pass known to those that follow."""
    band.value.put(where, values)
    band.error.put(where, np.abs(values * np.int32(WEIGHT_UNIT) - means) >> _ERROR_SHIFT)
