"""What a residual stream says of itself: the weights of each slot, and scales for its contexts.

Passes of a kind share a slot, either all of them or those at one unit; the encoder gives a slot weights of its own or
leaves it the default ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..entropy.rans import Decoder
from ..errors import FormatError
from .interlace import KINDS, WEIGHT_LIMIT, WEIGHT_UNIT, Pass, Weights, mean_count, spread_count
from .logistic import flat_table, table_index

MAX_SCALE = 80
CONTEXTS = 85
DEFAULT_LIFT = 2
"""A context's usual scale is its own number and this."""
FLAG, LEVELS, SMALL, WIDE = flat_table(1), flat_table(2), table_index(20), table_index(34)
"""Tables of the layer's own settings."""


@dataclass(frozen=True)
class Slot:
    """What one :class:`Weights` serves: passes of a kind, at one unit or several."""

    kind: int
    level: int

    def serves(self, where: Pass, levels: int) -> bool:
        """Whether a pass is one of these, where there are so many levels of slots."""
        return self.kind == where.kind and (self.kind == 0 or self.level == min(where.unit.bit_length(), levels) - 1)


def slots(levels: int) -> list[Slot]:
    """All slots of a band, in the order of the stream."""
    return [Slot(0, 0)] + [Slot(kind, level) for level in range(levels) for kind in range(1, KINDS)]


def default_weights(kind: int, others: int) -> Weights:
    """What a slot has where the stream gives it none, and what it is a difference to where it does."""
    mean = np.zeros(mean_count(kind, others), np.int32)
    spread = np.zeros(spread_count(kind, others), np.int32)
    own_mean, own_spread = mean_count(kind, 0), spread_count(kind, 0)
    mean[own_mean :: 9 if kind else 1] = WEIGHT_UNIT // max(1, others)
    if kind:
        spread[[0, 4]] = 4, 2
        spread[own_spread + 2 :: 5] = 4
    else:
        spread[0] = 4
        spread[own_spread + 1 :: 4] = 8
    first, scales = 0, np.arange(CONTEXTS, dtype=np.int32) + DEFAULT_LIFT
    return Weights(mean, spread, 32 if kind else 256, first, scales.clip(0, MAX_SCALE))


def weights_to_integers(weights: Weights, kind: int, others: int) -> list[tuple[list[int], int]]:
    """As the stream has them: lists of integers, and the table of each list."""
    usual = default_weights(kind, others)
    lift = np.arange(len(weights.scales)) + weights.first + DEFAULT_LIFT
    wide = [
        *(weights.mean - usual.mean).tolist(),
        *(weights.spread - usual.spread).tolist(),
        weights.floor - usual.floor,
        weights.first,
        len(weights.scales) - 1,
    ]
    return [(wide, WIDE), ((weights.scales - lift).tolist(), SMALL)]


class Settings:
    """Reads settings from a stream.

    Raises:
        FormatError: where one is out of its range.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def one(self, high: int, table: int) -> int:
        """One integer from 0 to `high`."""
        return int(within(self.many(1, table), 0, high)[0])

    def many(self, count: int, table: int) -> np.ndarray:
        """Integers of one table."""
        return self._decoder.read(np.full(count, table, np.uint16))

    def weights(self, kind: int, others: int) -> Weights:
        """The weights of one slot."""
        usual = default_weights(kind, others)
        if not self.one(1, FLAG):
            return usual
        n, m = len(usual.mean), len(usual.spread)
        wide = self.many(n + m + 3, WIDE)
        mean = within(wide[:n] + usual.mean, -WEIGHT_LIMIT, WEIGHT_LIMIT)
        spread = within(wide[n : n + m] + usual.spread, 0, WEIGHT_LIMIT)
        floor = int(within(wide[n + m : n + m + 1] + usual.floor, 0, (1 << 20) - 1)[0])
        first, more = within(wide[n + m + 1 :], 0, CONTEXTS - 1).tolist()
        lift = np.arange(more + 1) + first + DEFAULT_LIFT
        scales = within(self.many(more + 1, SMALL) + lift, 0, MAX_SCALE)
        return Weights(mean, spread, floor, first, scales.astype(np.int32))


def within(values: np.ndarray, low: int, high: int) -> np.ndarray:
    """The values, where all lie in the range."""
    if len(values) and (values.min() < low or values.max() > high):
        raise FormatError("damaged: a setting of the residual layer is out of its range")
    return values
