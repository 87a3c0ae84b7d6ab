"""The frequency tables of the residual layer: logistic distributions of 41 scales, each at eight offsets.

They are computed in integers, so they are the same on every machine. `docs/format.md` defines them.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import cache
from typing import Any

import numpy as np

from ..entropy.rans import PRECISION, Tables

SCALES = 41
"""Scale i has the parameter s = 2^((i - 20) / 4): from 1/32 to 32."""
PER_OCTAVE, UNIT_SCALE = 4, 20
PHASES = 8
"""Offsets of the mean: (phase - 4) / 8 from the nearest integer."""
_REACH = 10
"""A table reaches ten s to each side; its outermost symbols include the tails."""
_FINE = 64
_FLAT = SCALES * PHASES
MAX_BITS = 10
"""There is a uniform table for integers of 1 to this many bits."""


def table_index(scale: Any, offset: Any = 0) -> Any:
    """Index of the table of a scale below `SCALES` with mean offset / 8, -4 <= offset < 4; integers or arrays."""
    return scale * PHASES + offset + PHASES // 2


def flat_table(bits: Any) -> Any:
    """Index of the uniform table of 0..2^bits - 1, with bits in 1..`MAX_BITS`; an integer or an array."""
    return _FLAT + bits - 1


@cache
def residual_tables() -> Tables:
    """All tables, indexed by :func:`table_index` and :func:`flat_table`."""
    lows, lengths, frequencies = [], [], []
    for scale in range(SCALES):
        reach = _reach(scale)
        cumulative = _cumulative(scale, PHASES * (reach + 1) + PHASES)
        for offset in range(-PHASES // 2, PHASES // 2):
            frequency = _frequencies(cumulative, reach, offset)
            lows.append(-reach)
            lengths.append(len(frequency))
            frequencies.append(frequency)
    for bits in range(1, MAX_BITS + 1):
        frequency = np.full((1 << bits) + 1, 1 << PRECISION - bits)
        frequency[-2:] = frequency[0] - 1, 1  # the escape takes 1 from the last integer
        lows.append(0)
        lengths.append(len(frequency))
        frequencies.append(frequency)
    columns = (np.array(lows), np.array(lengths), np.concatenate(frequencies))
    return Tables(*(column.astype(np.int32) for column in columns))


def _reach(scale: int) -> int:
    """The largest integer of a table: 1 + 10 s rounded up to a whole octave."""
    octave = -(-(scale - UNIT_SCALE) // PER_OCTAVE)
    return 1 + (_REACH << octave if octave >= 0 else -(-_REACH >> -octave))


def _cumulative(scale: int, count: int) -> np.ndarray:
    """The distribution function F(n / 8) for n in 0..count - 1, in units of 2^-32: int64."""
    with localcontext() as context:
        context.prec = 60
        inverse = Decimal(2) ** (Decimal(UNIT_SCALE - scale) / PER_OCTAVE)
        step = int((-inverse / PHASES).exp() * 2**_FINE)
    one = tail = 1 << _FINE
    values = []
    for _ in range(count):
        values.append((one << 32) // (one + tail))
        tail = tail * step >> _FINE
    return np.array(values, np.int64)


def _frequencies(cumulative: np.ndarray, reach: int, offset: int) -> np.ndarray:
    """Frequencies of -reach..reach and the escape."""
    edges = PHASES * np.arange(-reach, reach + 2) - PHASES // 2 - offset
    positive = cumulative[np.abs(edges)]
    share = (1 << PRECISION) - (2 * reach + 2)  # the rest, after 1 for each symbol
    bounds = share * np.where(edges < 0, (1 << 32) - positive, positive) >> 32
    bounds[0], bounds[-1] = 0, share
    return np.append(np.diff(bounds) + 1, 1)
