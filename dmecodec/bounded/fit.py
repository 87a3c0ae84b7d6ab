"""What the encoder of the residual layer chooses: weights by least squares, scales by code length.

Floating point, and no part of the format: whatever is chosen is in the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..base.threads import side_by_side
from ..entropy.rans import Symbols
from . import residual as layer
from . import settings
from .interlace import (
    PASSES,
    WEIGHT_LIMIT,
    WEIGHT_UNIT,
    Band,
    Features,
    Pass,
    Weights,
    features,
    predict,
    settle,
    spread_count,
    strips,
)
from .logistic import SCALES, UNIT_SCALE, residual_tables, table_index

_FIT_SAMPLES = 1 << 16
"""A fit looks at about this many samples."""
_SCALE_SAMPLES = 1 << 11
_MIN_SAMPLES = 400
"""Where there are fewer, weights cost more than they save."""
_LEVEL_AREAS = (1 << 15, 1 << 17)
"""Blocks of as many pixels get a second, and a third, level of slots."""
_RIDGE = 1e-4
_FEW_VALUES = 0.9
"""Listing the used values pays where fewer than this share of a range occur."""


def encode_residual(
    original: np.ndarray,
    base: np.ndarray,
    bound: int,
    *,
    skip: np.ndarray | None = None,
    levels: int = 255,
) -> bytes:
    """The RESIDUAL stream of one tile and band group.

    Args:
        original: what to stay within the bound of, integers (h, w, bands) from 0 to `levels`.
        base, bound, skip, levels: as for :func:`dmecodec.bounded.residual.decode_residual`.
    """
    passes: list[Symbols] = []
    for block in layer.blocks(*base.shape[:2]):
        part = None if skip is None else skip[block]
        passes += _Block(original[block], base[block], bound, part, levels).passes()
    return layer.entropy.encode(passes, residual_tables())


def _integers(values: Sequence[int], table: int) -> Symbols:
    return np.array(values, np.int32), np.full(len(values), table, np.uint16)


@dataclass(frozen=True)
class _Block:
    """Encodes one block."""

    original: np.ndarray
    base: np.ndarray
    bound: int
    skip: np.ndarray | None
    levels: int

    def passes(self) -> Iterator[Symbols]:
        """Everything, in the order of decoding."""
        height, width, count = self.base.shape
        slot_levels = 1 + sum(height * width >= area for area in _LEVEL_AREAS)
        yield _integers([slot_levels - 1], settings.LEVELS)
        known: list[Band] = []
        for index in layer.band_order(count):
            skip = None if self.skip is None else self.skip[..., index]
            original, base = self.original[..., index], self.base[..., index]
            if skip is not None:
                original = np.where(skip, base, original)
            values = self._used_values(original if skip is None else original[~skip])
            yield from _listed(values)
            original, base = layer.padded(original), layer.padded(base)
            levels = self.levels
            if values is not None:
                base, levels = layer.rank_of(base, values), len(values) - 1
                original = layer.rank_of(original, values)
            mask = layer.coded_samples((height, width), skip)
            q = np.where(mask, layer.quantise(original, base, self.bound), 0)
            fit = _BandFit(base, q.astype(np.int32), known, mask, self.bound, levels)
            yield from fit.passes(slot_levels)
            known.append(fit.band)

    def _used_values(self, samples: np.ndarray) -> np.ndarray | None:
        if self.bound or not samples.size:
            return None
        values = np.unique(samples)
        reach = int(values[-1]) - int(values[0]) + 1
        if len(values) > _FEW_VALUES * reach or samples.size < 8 * len(values):
            return None
        return values.astype(np.int32)


def _listed(values: np.ndarray | None) -> Iterator[Symbols]:
    yield _integers([int(values is not None)], settings.FLAG)
    if values is not None:
        yield _integers([len(values) - 1], settings.WIDE)
        yield _integers((np.diff(values, prepend=-1) - 1).tolist(), settings.SMALL)


class _BandFit:
    """Finds the settings of one band, and codes it."""

    def __init__(
        self,
        base: np.ndarray,
        q: np.ndarray,
        others: Sequence[Band],
        mask: np.ndarray,
        bound: int,
        levels: int,
    ) -> None:
        self.band, self._q, self._others = Band.begin(base), q, list(others)
        self._mask, self._bound, self._levels = mask, bound, levels
        self._step = 2 * bound + 1
        self.band.value.full[...] = layer.restore(base, q, bound, levels)

    def passes(self, slot_levels: int) -> Iterator[Symbols]:
        slots = settings.slots(slot_levels)
        served = {s: [p for p in PASSES if s.serves(p, slot_levels)] for s in slots}
        weights = {slot: self._fit_mean(slot, served[slot]) for slot in slots}
        means = {}
        for slot in slots:
            for where in served[slot]:
                means[where], _ = self._predict(where, weights[slot])
                settle(self.band, where, means[where], where.of(self.band.value.full).copy())
        samples: dict[Pass, _Samples] = {}
        for slot in slots:
            worth = self._is_worth(served[slot])
            yield _integers([int(worth)], settings.FLAG)
            if worth:
                weights[slot] = self._fit_spread(served[slot], weights[slot], means)
            for where in served[slot]:
                _, spreads = self._predict(where, weights[slot])
                samples[where] = self._samples(where, means[where], spreads)
            if worth:
                found = [samples[where] for where in served[slot]]
                weights[slot] = _fit_scales(found, weights[slot], self._bound)
                kind, others = slot.kind, len(self._others)
                for values, table in settings.weights_to_integers(weights[slot], kind, others):
                    yield _integers(values, table)
        for where in PASSES:
            chosen = next(weights[slot] for slot in slots if where in served[slot])
            yield from samples[where].symbols(chosen, self._bound)

    def _is_worth(self, passes: Sequence[Pass]) -> bool:
        return sum(int(np.count_nonzero(where.of(self._mask))) for where in passes) >= _MIN_SAMPLES

    def _predict(self, where: Pass, weights: Weights) -> tuple[np.ndarray, np.ndarray]:
        return predict(self.band, self._others, where, weights, self._levels)

    def _samples(self, where: Pass, means: np.ndarray, spreads: np.ndarray) -> _Samples:
        here = where.of(self._mask)
        base, q = where.of(self.band.base.full), where.of(self._q)
        return _Samples(means[here], spreads[here], base[here], q[here])

    # ---- gathering samples ------------------------------------------------------------------------

    def _gather(self, passes: Sequence[Pass], columns: Callable[[Features, Pass, slice], np.ndarray]) -> np.ndarray:
        """Columns of some of the samples that the passes code: float64 (samples, columns)."""
        masks = [(where, part, where.of(self._mask)[part])
                 for where in passes for part in strips(len(where.of(self._mask)))]  # fmt: skip
        masks = [entry for entry in masks if entry[2].any()]
        every = max(1, sum(mask.size for _, _, mask in masks) // _FIT_SAMPLES)
        found = []
        for where, part, mask in masks[every // 2 :: every] or masks[:1]:
            all_columns = columns(features(self.band, self._others, where, part), where, part)
            found.append(all_columns[:, mask])
        return np.concatenate(found, 1).T.astype(np.float64)

    def _target(self, where: Pass, rows: slice) -> np.ndarray:
        base = where.of(self.band.base.full)[rows]
        return base + where.of(self._q)[rows] * self._step

    # ---- the prediction ------------------------------------------------------------------------------

    def _fit_mean(self, slot: settings.Slot, passes: Sequence[Pass]) -> Weights:
        usual = settings.default_weights(slot.kind, len(self._others))
        if not len(usual.mean) or not self._is_worth(passes):
            return usual

        def columns(found: Features, where: Pass, rows: slice) -> np.ndarray:
            difference = self._target(where, rows) - found.centre
            return np.stack([difference, *found.mean, *self._activity(slot, found)])

        table = self._gather(passes, columns)
        n = len(usual.mean)
        target, x, activity = table[:, 0], table[:, 1 : 1 + n], table[:, 1 + n :]
        activity = np.concatenate([activity, np.full((len(table), 1), float(self._step))], 1)
        spread = np.maximum(activity.mean(1), 0.3 * self._step)
        weight = 1 / spread**2
        for _ in range(2):
            mean = _least_squares(x, target, weight, _RIDGE)
            error = np.abs(target - _product(x, mean))
            # Large errors count less: the tails of a logistic distribution are heavy.
            shares = _least_squares(activity, error, 1 / spread**2, 1e-4)
            spread = np.maximum(_product(activity, shares), 0.15 * self._step)
            weight = 1 / (spread * (spread + error))
        mean = _least_squares(x, target, weight, _RIDGE)
        return replace(usual, mean=_rounded(mean, -WEIGHT_LIMIT))

    def _activity(self, slot: settings.Slot, found: Features) -> list[np.ndarray]:
        """The magnitudes that do not depend on how well anything was predicted."""
        own, other = ((0, 1, 2, 3), (0, 1)) if slot.kind else ((0,), (0,))
        size = 5 if slot.kind else 4
        first = spread_count(slot.kind, 0)
        numbers = [*own]
        for index in range(len(self._others)):
            numbers += [first + index * size + n for n in other]
        return [found.spread[n] for n in numbers]

    # ---- the expected error --------------------------------------------------------------------------

    def _fit_spread(
        self,
        passes: Sequence[Pass],
        weights: Weights,
        means: dict[Pass, np.ndarray],
    ) -> Weights:
        def columns(found: Features, where: Pass, rows: slice) -> np.ndarray:
            error = np.abs(self._target(where, rows) * WEIGHT_UNIT - means[where][rows])
            return np.stack([error, *found.spread])

        table = self._gather(passes, columns)
        error = table[:, 0] / WEIGHT_UNIT
        x = np.concatenate([table[:, 1:], np.ones((len(table), 1))], 1)
        solution = _positive_least_squares(x, error, 0.15 * self._step)
        floor = int(np.clip(np.rint(solution[-1] * WEIGHT_UNIT), 0, (1 << 20) - 1))
        return replace(weights, spread=_rounded(solution[:-1], 0), floor=floor)


# ---- the scales --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Samples:
    """The coded samples of a pass, flat: int32, as :func:`dmecodec.bounded.residual.coding` takes them."""

    means: np.ndarray
    spreads: np.ndarray
    base: np.ndarray
    q: np.ndarray

    def coding(self, weights: Weights, bound: int) -> layer.Coding:
        return layer.coding(self.means, self.spreads, self.base, weights, bound)

    def symbols(self, weights: Weights, bound: int) -> Iterator[Symbols]:
        return layer.to_symbols(self.q, self.coding(weights, bound))


def _fit_scales(passes: Sequence[_Samples], weights: Weights, bound: int) -> Weights:
    """The scale of each context that occurs."""
    at_zero = replace(weights, first=0, scales=np.zeros(1, np.int32))
    codings = [found.coding(at_zero, bound) for found in passes]
    value = np.concatenate([f.q - how.shift for f, how in zip(passes, codings, strict=True)])
    table = np.concatenate([how.table for how in codings])
    context = np.concatenate([layer.context_of(f.spreads, 2 * bound + 1) for f in passes])
    counts = np.bincount(context)
    order, stops = np.argsort(context, kind="stable"), np.cumsum(counts)
    first = int(np.flatnonzero(counts)[0])
    scales = []
    for number in range(first, len(counts)):
        where = order[stops[number] - counts[number] : stops[number]]
        where = where[:: max(1, len(where) // _SCALE_SAMPLES)]
        usual = min(number + settings.DEFAULT_LIFT, settings.MAX_SCALE)
        scales.append(_best_scale(value[where], table[where]) if len(where) else usual)
    return replace(weights, first=first, scales=np.array(scales, np.int32))


def _best_scale(value: np.ndarray, at_zero: np.ndarray) -> int:
    """The scale with the shortest code for some integers, given their tables at scale 0."""
    magnitude = float(np.abs(value - (at_zero.astype(np.int32) - 4) / 8).mean())
    guess = UNIT_SCALE + 4 * np.log2(max(magnitude, 1 / 64) / (2 * np.log(2)))
    if guess >= SCALES + 1:
        return min(round(guess), settings.MAX_SCALE)
    tables = residual_tables()

    def bits(scale: int) -> float:
        return tables.bits(value, table_index(scale) - 4 + at_zero)

    best = min(max(0, round(guess)), SCALES - 1)
    least = bits(best)
    for step in (-1, 1):  # the sum has one minimum
        while 0 <= best + step < SCALES and (next_ := bits(best + step)) < least:
            best, least = best + step, next_
    return best


def _rounded(weights: np.ndarray, low: int) -> np.ndarray:
    return np.rint(weights * WEIGHT_UNIT).clip(low, WEIGHT_LIMIT).astype(np.int32)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b, the same bits whatever the number of threads: numpy's sums depend on it."""

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
    """Weights >= 0 whose sums stand for the targets' mean, relative errors counting alike."""
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
