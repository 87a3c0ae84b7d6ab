"""The encoder of the residual layer: it fits weights by least squares and scales by code length.

The fit is in floating point. It is no part of the format, as the stream holds its results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..base.threads import side_by_side
from ..entropy.rans import Symbols
from . import residual as layer
from .interlace import (
    LATTICES,
    WEIGHT_LIMIT,
    WEIGHT_UNIT,
    BandState,
    Features,
    Lattice,
    SlotWeights,
    features,
    predict,
    row_chunks,
    spread_count,
    store,
)
from .logistic import SCALES, UNIT_SCALE, residual_tables, table_index
from .slots import DEFAULT_LIFT, FLAG, LEVELS, MAX_SCALE, SMALL, WIDE, Slot, default_weights, slots, weights_to_integers

_FIT_SAMPLES = 1 << 16
"""Approximate number of samples in a fit of weights."""
_SCALE_SAMPLES = 1 << 11
"""Largest number of samples in a fit of one scale."""
_MIN_SAMPLES = 400
"""With fewer samples, the weights of a slot cost more bits than they save."""
_LEVEL_AREAS = (1 << 15, 1 << 17)
"""Sections of at least these areas, in pixels, get a second and a third level of slots."""
_RIDGE = 1e-4
_MAX_VALUE_SHARE = 0.9
"""The used values are listed if at most this share of their range occurs."""


def encode_residual(
    original: np.ndarray, base: np.ndarray, bound: int, *, skip: np.ndarray | None = None, levels: int = 255
) -> bytes:
    """Encodes the RESIDUAL stream of one tile and group.

    Args:
        original: uint8 or uint16 (h, w, bands) in 0..levels.
        base, bound, skip, levels: as for :func:`dmecodec.bounded.residual.decode_residual`.
    """
    passes: list[Symbols] = []
    for section in layer.sections(*base.shape[:2]):
        section_skip = None if skip is None else skip[section]
        passes += _SectionEncoder(original[section], base[section], bound, section_skip, levels).passes()
    return layer.entropy.encode(passes, residual_tables())


def _integers(values: Sequence[int], table: int) -> Symbols:
    return np.array(values, np.int32), np.full(len(values), table, np.uint16)


@dataclass(frozen=True)
class _SectionEncoder:
    """Encodes one section."""

    original: np.ndarray
    base: np.ndarray
    bound: int
    skip: np.ndarray | None
    levels: int

    def passes(self) -> Iterator[Symbols]:
        """The passes of the entropy coder, in the order of decoding."""
        height, width, count = self.base.shape
        slot_levels = 1 + sum(height * width >= area for area in _LEVEL_AREAS)
        yield _integers([slot_levels - 1], LEVELS)
        encoded: list[BandState] = []
        for index in layer.band_order(count):
            skip = None if self.skip is None else self.skip[..., index]
            original, base = self.original[..., index], self.base[..., index]
            if skip is not None:
                original = np.where(skip, base, original)
            values = self._used_values(original if skip is None else original[~skip])
            yield from _value_list(values)
            original, base = layer.padded(original), layer.padded(base)
            levels = self.levels
            if values is not None:
                base, levels = layer.rank_of(base, values), len(values) - 1
                original = layer.rank_of(original, values)
            mask = layer.coded_samples((height, width), skip)
            q = np.where(mask, layer.quantise(original, base, self.bound), 0)
            encoder = _BandEncoder(base, q.astype(np.int32), encoded, mask, self.bound, levels)
            yield from encoder.passes(slot_levels)
            encoded.append(encoder.band)

    def _used_values(self, samples: np.ndarray) -> np.ndarray | None:
        """The values that occur, ascending, if listing them saves bits."""
        if self.bound or not samples.size:
            return None
        values = np.unique(samples)
        extent = int(values[-1]) - int(values[0]) + 1
        if len(values) > _MAX_VALUE_SHARE * extent or samples.size < 8 * len(values):
            return None
        return values.astype(np.int32)


def _value_list(values: np.ndarray | None) -> Iterator[Symbols]:
    yield _integers([int(values is not None)], FLAG)
    if values is not None:
        yield _integers([len(values) - 1], WIDE)
        yield _integers((np.diff(values, prepend=-1) - 1).tolist(), SMALL)


class _BandEncoder:
    """Fits the slots of one band, and encodes it.

    Args:
        base: int32 (H, W), padded.
        q: the integers to code, int32 (H, W); 0 where `mask` is false.
        others: the bands encoded before.
        mask: bool (H, W), the samples that are coded.
        bound: N, in levels.
        levels: the largest sample.
    """

    def __init__(
        self, base: np.ndarray, q: np.ndarray, others: Sequence[BandState], mask: np.ndarray, bound: int, levels: int
    ) -> None:
        self.band, self._q, self._others = BandState.begin(base), q, list(others)
        self._mask, self._bound, self._levels = mask, bound, levels
        self._step = 2 * bound + 1
        self.band.value.full[...] = layer.restore(base, q, bound, levels)

    def passes(self, slot_levels: int) -> Iterator[Symbols]:
        lattices = {slot: [p for p in LATTICES if slot.serves(p, slot_levels)] for slot in slots(slot_levels)}
        weights = {slot: self._fit_mean(slot, lattices[slot]) for slot in lattices}
        means = {}
        for slot in lattices:
            for lattice in lattices[slot]:
                means[lattice], _ = self._predict(lattice, weights[slot])
                store(self.band, lattice, means[lattice], lattice.of(self.band.value.full).copy())
        samples: dict[Lattice, _Samples] = {}
        for slot, served in lattices.items():
            has_weights = self._has_enough_samples(served)
            yield _integers([int(has_weights)], FLAG)
            if has_weights:
                weights[slot] = self._fit_spread(served, weights[slot], means)
            for lattice in served:
                _, spreads = self._predict(lattice, weights[slot])
                samples[lattice] = self._samples(lattice, means[lattice], spreads)
            if has_weights:
                weights[slot] = _fit_scales([samples[lattice] for lattice in served], weights[slot], self._bound)
                for values, table in weights_to_integers(weights[slot], slot.kind, len(self._others)):
                    yield _integers(values, table)
        for lattice in LATTICES:
            of_lattice = next(weights[slot] for slot, served in lattices.items() if lattice in served)
            yield from samples[lattice].symbols(of_lattice, self._bound)

    def _has_enough_samples(self, lattices: Sequence[Lattice]) -> bool:
        return sum(int(np.count_nonzero(lattice.of(self._mask))) for lattice in lattices) >= _MIN_SAMPLES

    def _predict(self, lattice: Lattice, weights: SlotWeights) -> tuple[np.ndarray, np.ndarray]:
        return predict(self.band, self._others, lattice, weights, self._levels)

    def _samples(self, lattice: Lattice, means: np.ndarray, spreads: np.ndarray) -> _Samples:
        coded = lattice.of(self._mask)
        base, q = lattice.of(self.band.base.full), lattice.of(self._q)
        return _Samples(means[coded], spreads[coded], base[coded], q[coded])

    # ---- gathering samples ------------------------------------------------------------------------

    def _gather(
        self, lattices: Sequence[Lattice], columns: Callable[[Features, Lattice, slice], np.ndarray]
    ) -> np.ndarray:
        """Columns of some of the coded samples of the lattices: float64 (samples, columns)."""
        chunks = [
            (lattice, rows, lattice.of(self._mask)[rows])
            for lattice in lattices
            for rows in row_chunks(len(lattice.of(self._mask)))
        ]
        chunks = [chunk for chunk in chunks if chunk[2].any()]
        stride = max(1, sum(mask.size for _, _, mask in chunks) // _FIT_SAMPLES)
        gathered = []
        for lattice, rows, mask in chunks[stride // 2 :: stride] or chunks[:1]:
            operands = features(self.band, self._others, lattice, rows)
            gathered.append(columns(operands, lattice, rows)[:, mask])
        return np.concatenate(gathered, 1).T.astype(np.float64)

    def _target(self, lattice: Lattice, rows: slice) -> np.ndarray:
        base = lattice.of(self.band.base.full)[rows]
        return base + lattice.of(self._q)[rows] * self._step

    # ---- the prediction ------------------------------------------------------------------------------

    def _fit_mean(self, slot: Slot, lattices: Sequence[Lattice]) -> SlotWeights:
        default = default_weights(slot.kind, len(self._others))
        if not len(default.mean) or not self._has_enough_samples(lattices):
            return default

        def columns(operands: Features, lattice: Lattice, rows: slice) -> np.ndarray:
            difference = self._target(lattice, rows) - operands.centre
            return np.stack([difference, *operands.mean, *self._activity(slot, operands)])

        table = self._gather(lattices, columns)
        n = len(default.mean)
        target, x, activity = table[:, 0], table[:, 1 : 1 + n], table[:, 1 + n :]
        activity = np.concatenate([activity, np.full((len(table), 1), float(self._step))], 1)
        spread = np.maximum(activity.mean(1), 0.3 * self._step)
        weight = 1 / spread**2
        for _ in range(2):
            mean = _least_squares(x, target, weight, _RIDGE)
            error = np.abs(target - _product(x, mean))
            # Large errors get a smaller weight: the tails of a logistic distribution are heavy.
            shares = _least_squares(activity, error, 1 / spread**2, 1e-4)
            spread = np.maximum(_product(activity, shares), 0.15 * self._step)
            weight = 1 / (spread * (spread + error))
        mean = _least_squares(x, target, weight, _RIDGE)
        return replace(default, mean=_rounded(mean, -WEIGHT_LIMIT))

    def _activity(self, slot: Slot, operands: Features) -> list[np.ndarray]:
        """The magnitudes that do not depend on prediction errors."""
        own, other = ((0, 1, 2, 3), (0, 1)) if slot.kind else ((0,), (0,))
        size = 5 if slot.kind else 4
        first = spread_count(slot.kind, 0)
        indices = [*own]
        for index in range(len(self._others)):
            indices += [first + index * size + n for n in other]
        return [operands.spread[n] for n in indices]

    # ---- the expected error --------------------------------------------------------------------------

    def _fit_spread(
        self, lattices: Sequence[Lattice], weights: SlotWeights, means: dict[Lattice, np.ndarray]
    ) -> SlotWeights:
        def columns(operands: Features, lattice: Lattice, rows: slice) -> np.ndarray:
            error = np.abs(self._target(lattice, rows) * WEIGHT_UNIT - means[lattice][rows])
            return np.stack([error, *operands.spread])

        table = self._gather(lattices, columns)
        error = table[:, 0] / WEIGHT_UNIT
        x = np.concatenate([table[:, 1:], np.ones((len(table), 1))], 1)
        solution = _positive_least_squares(x, error, 0.15 * self._step)
        floor = int(np.clip(np.rint(solution[-1] * WEIGHT_UNIT), 0, (1 << 20) - 1))
        return replace(weights, spread=_rounded(solution[:-1], 0), floor=floor)


# ---- the scales --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Samples:
    """The coded samples of a lattice, flat: int32, the arguments of :func:`residual.symbol_coding`."""

    means: np.ndarray
    spreads: np.ndarray
    base: np.ndarray
    q: np.ndarray

    def coding(self, weights: SlotWeights, bound: int) -> layer.SymbolCoding:
        return layer.symbol_coding(self.means, self.spreads, self.base, weights, bound)

    def symbols(self, weights: SlotWeights, bound: int) -> Iterator[Symbols]:
        return layer.to_symbols(self.q, self.coding(weights, bound))


def _fit_scales(samples: Sequence[_Samples], weights: SlotWeights, bound: int) -> SlotWeights:
    """Fits the scale of each context that occurs."""
    at_zero = replace(weights, first=0, scales=np.zeros(1, np.int32))
    codings = [lattice.coding(at_zero, bound) for lattice in samples]
    value = np.concatenate([lattice.q - coding.shift for lattice, coding in zip(samples, codings, strict=True)])
    table = np.concatenate([coding.table for coding in codings])
    context = np.concatenate([layer.context_of(lattice.spreads, 2 * bound + 1) for lattice in samples])
    counts = np.bincount(context)
    order, stops = np.argsort(context, kind="stable"), np.cumsum(counts)
    first = int(np.flatnonzero(counts)[0])
    scales = []
    for number in range(first, len(counts)):
        members = order[stops[number] - counts[number] : stops[number]]
        members = members[:: max(1, len(members) // _SCALE_SAMPLES)]
        default = min(number + DEFAULT_LIFT, MAX_SCALE)
        scales.append(_best_scale(value[members], table[members]) if len(members) else default)
    return replace(weights, first=first, scales=np.array(scales, np.int32))


def _best_scale(value: np.ndarray, at_zero: np.ndarray) -> int:
    """The scale with the shortest code for some integers, given their tables at scale 0."""
    magnitude = float(np.abs(value - (at_zero.astype(np.int32) - 4) / 8).mean())
    guess = UNIT_SCALE + 4 * np.log2(max(magnitude, 1 / 64) / (2 * np.log(2)))
    if guess >= SCALES + 1:
        return min(round(guess), MAX_SCALE)
    tables = residual_tables()

    def bits(scale: int) -> float:
        return tables.bits(value, table_index(scale) - 4 + at_zero)

    best = min(max(0, round(guess)), SCALES - 1)
    least = bits(best)
    for step in (-1, 1):  # the code length has a single minimum
        while 0 <= best + step < SCALES and (next_ := bits(best + step)) < least:
            best, least = best + step, next_
    return best


# ---- least squares -----------------------------------------------------------------------------------------


def _rounded(weights: np.ndarray, low: int) -> np.ndarray:
    return np.rint(weights * WEIGHT_UNIT).clip(low, WEIGHT_LIMIT).astype(np.int32)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b on one thread, as the last bits of numpy's product depend on the number of threads."""

    def product(pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        left, right = map(torch.from_numpy, pair)
        return (left @ right).numpy()

    return side_by_side(product, [(a, b)], torch.device("cpu"))[0]


def _least_squares(x: np.ndarray, target: np.ndarray, weight: np.ndarray, ridge: float) -> np.ndarray:
    scaled = x * weight[:, None]
    normal = _product(scaled.T, x)
    normal[np.diag_indices_from(normal)] += ridge * weight.sum() + 1e-9
    return np.linalg.solve(normal, _product(scaled.T, target))


def _positive_least_squares(x: np.ndarray, target: np.ndarray, least: float) -> np.ndarray:
    """Least squares of relative errors with weights >= 0; a prediction below `least` counts as `least`."""
    weight = np.ones(len(x))
    for _ in range(3):
        scaled = x * weight[:, None]
        normal, side = _product(scaled.T, x), _product(scaled.T, target)
        normal[np.diag_indices_from(normal)] += 1e-3 * np.trace(normal) / len(normal) + 1e-9
        solution, active = np.zeros(len(normal)), np.ones(len(normal), bool)
        while active.any():
            solution[:] = 0
            chosen = np.ix_(active, active)
            solution[active] = np.linalg.solve(normal[chosen], side[active])
            if (solution >= 0).all():
                break
            active &= solution > 0
        weight = 1 / np.maximum(_product(x, solution.clip(0)), least) ** 2
    return solution.clip(0)
