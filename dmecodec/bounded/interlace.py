"""The order of the samples of the residual layer, and the contexts that predict them.

The samples of a band are coded lattice by lattice: thirteen lattices, from every 16th pixel to all pixels. The samples
of a lattice are predicted from decoded samples around them, never from one another, so each lattice takes a few array
operations. The prediction is a weighted sum of differences between neighbours. The expected error, which selects the
frequency table, is a weighted sum of magnitudes. The stream holds the weights. The arithmetic is in 32-bit integers.
`docs/format.md`, "Residual", is normative; there, a lattice is a pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

GRID = 16
"""Sections are padded to a multiple of this; the first lattice has one sample of each 16 x 16."""
WEIGHT_UNIT = 64
"""Weights are in units of 1/64; predictions and expected errors are in units of 1/64 level."""
WEIGHT_LIMIT = 127
_ERROR_SHIFT = 4
"""Errors are stored in units of 1/4 level: 1/64 level shifted by this."""
_EDGE = 2
ROWS_AT_ONCE = 64
"""Rows of a lattice that are predicted at once, so that the operands fit in the cache."""

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
class Lattice:
    """The samples at unit * (phase + 2 n) in both directions; their neighbours are at multiples of the unit.

    Attributes:
        kind: 0 for the first lattice of a band, then 1 (cell centres), 2 (rows), 3 (columns).
        unit: 8, 4, 2 or 1, in pixels.
        phase: of row and column, 0 or 1 each.
        near, far: offsets in units of the decoded neighbours in the same band.
    """

    kind: int
    unit: int
    phase: Offset
    near: tuple[Offset, ...] = ()
    far: tuple[Offset, ...] = ()

    @property
    def corners(self) -> tuple[Offset, ...]:
        """The other four of the eight neighbours: they are decoded in other bands only."""
        return DIAGONALS if self.near == AXES else AXES

    def of(self, full: np.ndarray) -> np.ndarray:
        """A view of its samples in an array over the padded section: (H / 2 unit, W / 2 unit)."""
        return _phase(full, self.unit, self.phase)


def _phase(full: np.ndarray, unit: int, phase: Offset) -> np.ndarray:
    return full[phase[0] * unit :: 2 * unit, phase[1] * unit :: 2 * unit]


def _lattices() -> Iterator[Lattice]:
    yield Lattice(0, 8, (0, 0))
    for unit in (8, 4, 2, 1):
        yield Lattice(1, unit, (1, 1), DIAGONALS, RING)
        yield Lattice(2, unit, (0, 1), AXES, KNIGHTS)
        yield Lattice(3, unit, (1, 0), AXES, DIAGONALS + KNIGHTS)


LATTICES = tuple(_lattices())
KINDS = 4


def mean_count(kind: int, others: int) -> int:
    """Number of weights of a prediction, if `others` bands are decoded already."""
    return (0, 14, 14, 18)[kind] + others * (9 if kind else 1)


def spread_count(kind: int, others: int) -> int:
    """Number of weights of an expected error, without its constant."""
    return (6 + 5 * others) if kind else (1 + 4 * others)


class Plane:
    """An array over a padded section, with a cache of its four phases at the unit that is being coded.

    Attributes:
        full: int32 (H, W), sides multiples of 16.
    """

    def __init__(self, full: np.ndarray) -> None:
        self.full = full
        self._unit = 0
        self._phases: dict[Offset, np.ndarray] = {}

    def at(self, lattice: Lattice, offset: Offset, rows: slice) -> np.ndarray:
        """The neighbours at an offset, in units, of the samples in some rows of a lattice."""
        if self._unit != lattice.unit:
            self._unit, self._phases = lattice.unit, {}
        row, col = lattice.phase[0] + offset[0], lattice.phase[1] + offset[1]
        key = row & 1, col & 1
        if key not in self._phases:
            self._phases[key] = np.pad(_phase(self.full, lattice.unit, key), _EDGE, mode="edge")
        padded = self._phases[key]
        top, left = _EDGE + (row >> 1), _EDGE + (col >> 1)
        width = padded.shape[1] - 2 * _EDGE
        return padded[top + rows.start : top + rows.stop, left : left + width]

    def put(self, lattice: Lattice, values: np.ndarray) -> None:
        """Sets the samples of a lattice."""
        lattice.of(self.full)[...] = values
        self._phases.pop(lattice.phase, None)


@dataclass
class BandState:
    """A band that is being coded: its base, its samples so far, and their prediction errors in 1/4 level."""

    base: Plane
    value: Plane
    error: Plane

    @classmethod
    def begin(cls, base: np.ndarray) -> BandState:
        """A band without decoded samples; the base stands for them."""
        return cls(Plane(base), Plane(base.copy()), Plane(np.zeros_like(base)))


@dataclass(frozen=True)
class Features:
    """The operands of a prediction: int32 arrays of the shape of some rows of a lattice.

    Attributes:
        centre: the value that the differences refer to.
        mean: differences; the prediction is the centre plus their weighted sum.
        spread: magnitudes; the expected error is their weighted sum.
    """

    centre: np.ndarray
    mean: Sequence[np.ndarray]
    spread: Sequence[np.ndarray]


def features(band: BandState, others: Sequence[BandState], lattice: Lattice, rows: slice) -> Features:
    """The features of some rows of a lattice, in the order of the weights; `others` are the decoded bands."""
    own = _band_features(band, lattice, rows) if lattice.kind else _first_features(band, lattice, rows)
    mean, spread = list(own.mean), list(own.spread)
    for other in others:
        value = other.value.at(lattice, (0, 0), rows)
        if lattice.kind:
            near = [other.value.at(lattice, offset, rows) for offset in lattice.near]
            centre = _mean(near)
            near = [sample - centre for sample in near]
            step = value - centre
            mean += [step, *near]
            mean += [other.value.at(lattice, offset, rows) - centre for offset in lattice.corners]
            spread.append(_sum_abs(a - b for a, b in zip(near, own.mean[:4], strict=True)))
        else:
            step = value - other.base.at(lattice, (0, 0), rows)
            mean.append(step)
        spread += [np.abs(step), other.error.at(lattice, (0, 0), rows)]
        spread += [_sum_at(other.error, lattice, offsets, rows) for offsets in (AXES, DIAGONALS)]
    return Features(own.centre, mean, spread)


def _first_features(band: BandState, lattice: Lattice, rows: slice) -> Features:
    base = band.base.at(lattice, (0, 0), rows)
    slope = _sum_abs(band.base.at(lattice, offset, rows) - base for offset in AXES)
    return Features(base, [], [slope])


def _band_features(band: BandState, lattice: Lattice, rows: slice) -> Features:
    near = [band.value.at(lattice, offset, rows) for offset in lattice.near]
    centre = _mean(near)
    near = [value - centre for value in near]
    far = [band.value.at(lattice, offset, rows) - centre for offset in lattice.far]
    base = band.base.at(lattice, (0, 0), rows)
    curve = 4 * base - _sum_at(band.base, lattice, lattice.near, rows)
    rise = base - centre
    spread = [
        _sum_abs(near),
        _sum_abs(far[:4]),
        np.abs(curve),
        np.abs(rise),
        _sum_at(band.error, lattice, lattice.near, rows),
        _sum_at(band.error, lattice, lattice.far[:4], rows),
    ]
    return Features(centre, [*near, *far, curve, rise], spread)


def _mean(near: Sequence[np.ndarray]) -> np.ndarray:
    return (near[0] + near[1] + near[2] + near[3] + 2) >> 2


def _sum_abs(values: Sequence[np.ndarray] | Iterator[np.ndarray]) -> np.ndarray:
    return sum(np.abs(value) for value in values)  # type: ignore[return-value]


def _sum_at(plane: Plane, lattice: Lattice, offsets: Sequence[Offset], rows: slice) -> np.ndarray:
    first, second, third, fourth = (plane.at(lattice, offset, rows) for offset in offsets)
    return first + second + third + fourth


@dataclass(frozen=True)
class SlotWeights:
    """Weights of the prediction and scales of the tables, shared by the lattices of a slot.

    Attributes:
        mean: int32 (mean_count,), -127 to 127.
        spread: int32 (spread_count,), 0 to 127.
        floor: constant of the expected error, in 1/64 level.
        first: the context of the first scale; lower contexts have the same scale.
        scales: int32, scale index of each context from `first` on; higher contexts have the last scale.
    """

    mean: np.ndarray
    spread: np.ndarray
    floor: int
    first: int
    scales: np.ndarray


def weighted(parts: Sequence[np.ndarray], weights: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Adds the weighted sum of `parts` to `start`, in place."""
    for part, weight in zip(parts, weights.tolist(), strict=True):
        if weight:
            start += part * np.int32(weight)
    return start


def row_chunks(height: int) -> Iterator[slice]:
    """Splits the rows of a lattice into chunks of `ROWS_AT_ONCE`."""
    for top in range(0, height, ROWS_AT_ONCE):
        yield slice(top, min(top + ROWS_AT_ONCE, height))


def predict(
    band: BandState, others: Sequence[BandState], lattice: Lattice, weights: SlotWeights, levels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and expected error of all samples of a lattice, in 1/64 level: int32 (h, w) each.

    `others` are the decoded bands; predictions are clamped to 0..levels.
    """
    shape = lattice.of(band.base.full).shape
    means, spreads = np.empty(shape, np.int32), np.empty(shape, np.int32)
    for rows in row_chunks(shape[0]):
        operands = features(band, others, lattice, rows)
        mean = weighted(operands.mean, weights.mean, operands.centre * np.int32(WEIGHT_UNIT))
        means[rows] = mean.clip(0, WEIGHT_UNIT * levels, out=mean)
        floor = np.full(mean.shape, weights.floor, np.int32)
        spreads[rows] = weighted(operands.spread, weights.spread, floor)
    return means, spreads


def store(band: BandState, lattice: Lattice, means: np.ndarray, values: np.ndarray) -> None:
    """Stores the decoded samples of a lattice and their errors, as context of later lattices."""
    band.value.put(lattice, values)
    band.error.put(lattice, np.abs(values * np.int32(WEIGHT_UNIT) - means) >> _ERROR_SHIFT)
