"""The slots of a residual stream: their prediction weights and the scales of their contexts.

A slot serves the lattices of one kind, at one unit or at several. The stream holds the weights of a slot, or a flag for
the default ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..entropy.rans import SymbolDecoder
from ..errors import FormatError
from .interlace import KINDS, WEIGHT_LIMIT, WEIGHT_UNIT, Lattice, SlotWeights, mean_count, spread_count
from .logistic import flat_table, table_index

MAX_SCALE = 80
CONTEXTS = 85
DEFAULT_LIFT = 2
"""The default scale of context n is n + 2."""
FLAG, LEVELS, SMALL, WIDE = flat_table(1), flat_table(2), table_index(20), table_index(34)
"""Tables of the integers that describe slots and lists of values."""


@dataclass(frozen=True)
class Slot:
    """The lattices of one kind, at one unit or at several, that share :class:`SlotWeights`."""

    kind: int
    level: int

    def serves(self, lattice: Lattice, levels: int) -> bool:
        """Whether the slot serves a lattice, if the band has `levels` levels of slots."""
        level = min(lattice.unit.bit_length(), levels) - 1
        return self.kind == lattice.kind and (self.kind == 0 or self.level == level)


def slots(levels: int) -> list[Slot]:
    """The slots of a band, in the order of the stream."""
    return [Slot(0, 0)] + [Slot(kind, level) for level in range(levels) for kind in range(1, KINDS)]


def default_weights(kind: int, others: int) -> SlotWeights:
    """The weights of a slot without any in the stream; those in the stream are differences to them."""
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
    return SlotWeights(mean, spread, 32 if kind else 256, first, scales.clip(0, MAX_SCALE))


def weights_to_integers(weights: SlotWeights, kind: int, others: int) -> list[tuple[list[int], int]]:
    """The integers of a slot in the stream: lists, each with its table."""
    default = default_weights(kind, others)
    lift = np.arange(len(weights.scales)) + weights.first + DEFAULT_LIFT
    wide = [
        *(weights.mean - default.mean).tolist(),
        *(weights.spread - default.spread).tolist(),
        weights.floor - default.floor,
        weights.first,
        len(weights.scales) - 1,
    ]
    return [(wide, WIDE), ((weights.scales - lift).tolist(), SMALL)]


class SlotReader:
    """Reads the weights of slots, and other integers that describe the residual layer.

    Raises:
        FormatError: an integer is out of its range.
    """

    def __init__(self, decoder: SymbolDecoder) -> None:
        self._decoder = decoder

    def integer(self, high: int, table: int) -> int:
        """One integer, checked to be in 0..high."""
        return int(within(self.integers(1, table), 0, high)[0])

    def integers(self, count: int, table: int) -> np.ndarray:
        """`count` integers under one table: int32."""
        return self._decoder.read(np.full(count, table, np.uint16))

    def weights(self, kind: int, others: int) -> SlotWeights:
        """The weights of one slot."""
        default = default_weights(kind, others)
        if not self.integer(1, FLAG):
            return default
        n, m = len(default.mean), len(default.spread)
        wide = self.integers(n + m + 3, WIDE)
        mean = within(wide[:n] + default.mean, -WEIGHT_LIMIT, WEIGHT_LIMIT)
        spread = within(wide[n : n + m] + default.spread, 0, WEIGHT_LIMIT)
        floor = int(within(wide[n + m : n + m + 1] + default.floor, 0, (1 << 20) - 1)[0])
        first, more = within(wide[n + m + 1 :], 0, CONTEXTS - 1).tolist()
        lift = np.arange(more + 1) + first + DEFAULT_LIFT
        scales = within(self.integers(more + 1, SMALL) + lift, 0, MAX_SCALE)
        return SlotWeights(mean, spread, floor, first, scales.astype(np.int32))


def within(values: np.ndarray, low: int, high: int) -> np.ndarray:
    """The values unchanged, if all are in low..high.

    Raises:
        FormatError: a value is out of this range.
    """
    if len(values) and (values.min() < low or values.max() > high):
        raise FormatError("damaged: an integer that describes the residual layer is out of its range")
    return values
