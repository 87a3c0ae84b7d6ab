"""Coefficients as the last symbols of a Y stream, under frequency tables that are the same for every model.

The tables are part of the format (docs/format.md), behind those of the model's scale indices. They were fitted to the
coefficients that pay in crops of 256 x 256 pixels; the encoder weighs what a filter costs by them against the error
that it removes.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate, repeat

import numpy as np

from ..entropy.rans import PRECISION, Decoder, Symbols, Tables
from ..errors import FormatError
from ..network.parameters import INDEX_COUNT
from .details import DETAILS

LARGEST = 255
"""A coefficient is within -255 to 255, in steps of 1/32."""
VALUES = np.arange(-LARGEST, LARGEST + 1)

_ABSENT = 1
"""Frequency of a tile without a filter. Coded first of all symbols, as the decoder reads it last, 0 takes no bits
whatever its frequency."""
_DECAYS = (1239, 9904, 26649, 42696, 53440, 59468, 62573, 64108)
"""In 2^-16: what each step away from the middle of a distribution does to its frequency."""
_CHROMA = -28
"""The middle where the synthesis makes noise of the finest colours, which the filter takes out."""
_DISTRIBUTIONS = dict(
    zip(
        "12345678" + "defghi",
        [(0, decay) for decay in _DECAYS] + [(_CHROMA, decay) for decay in _DECAYS[2:]],
        strict=True,
    )
)
_OF_COEFFICIENTS = {
    16: "g228d181d7548d1i1d533id1i1d3447h78hi",
    112: "5447f585e5437h687f433666777233465567",
    225: "3445g576f344565666222454555111243334",
}
"""Below each quality, in 1/32 steps: the distribution of every coefficient, by radius, then by detail, then by axis."""


def _frequencies(middle: int, decay: int) -> list[int]:
    """Of -255 to 255 and an escape that is never used: a two-sided geometric distribution, in integers alone.

    A fifth and whatever rounding leaves is zero's.
    """
    falling = list(accumulate(repeat(decay, 2 * LARGEST), lambda w, d: w * d >> 16, initial=1 << 24))
    weights = [falling[abs(value - middle)] for value in VALUES.tolist()]
    total, share = sum(weights), 4 * ((1 << PRECISION) - len(weights) - 1) // 5
    found = [1 + share * weight // total for weight in weights]
    found[LARGEST] += (1 << PRECISION) - 1 - sum(found)
    return [*found, 1]


@cache
def filter_tables() -> Tables:
    """Whether there is a filter; then the distributions. In a Y stream they follow the model's own."""
    whether = [_ABSENT, (1 << PRECISION) - _ABSENT - 1, 1]
    rows = [whether, *(_frequencies(*one) for one in _DISTRIBUTIONS.values())]
    return Tables(
        np.array([0] + [-LARGEST] * len(_DISTRIBUTIONS), np.int32),
        np.array([len(row) for row in rows], np.int32),
        np.concatenate(rows).astype(np.int32),
    )


def _names_at(quality: int) -> str:
    """Which distributions the coefficients have at a quality in 1/32 steps."""
    return next(names for below, names in _OF_COEFFICIENTS.items() if quality < below)


@cache
def _tables_of(names: str) -> np.ndarray:
    """The table of each coefficient: int (36,)."""
    order = list(_DISTRIBUTIONS)
    return np.array([1 + order.index(name) for name in names])


@cache
def _lengths_of(names: str) -> np.ndarray:
    indices = np.repeat(_tables_of(names), len(VALUES))
    values = np.tile(VALUES, 3 * DETAILS)
    return filter_tables().code_lengths(values, indices).reshape(DETAILS, 3, -1)


def code_lengths(quality: int) -> np.ndarray:
    """Bits of every value that each coefficient may have: float32 (12, 3, 511), by detail and axis.

    The quality is in 1/32 steps.
    """
    return _lengths_of(_names_at(quality))


def filter_symbols(coefficients: np.ndarray, quality: int) -> list[Symbols]:
    """The passes of a Y stream that say what the filter of its tile is.

    Args:
        coefficients: int (3, 12), by axis and detail; all 0 where there is no filter.
        quality: in 1/32 steps.

    Raises:
        ValueError: where one is out of range.
    """
    if np.abs(coefficients).max() > LARGEST:
        raise ValueError("a coefficient of the restoration filter is out of range")
    present = coefficients.any()
    whether = np.array([present], np.int32), _in_stream(np.zeros(1, int))
    if not present:
        return [whether]
    return [
        whether,
        (coefficients.T.ravel().astype(np.int32), _in_stream(_tables_of(_names_at(quality)))),
    ]


def read_filter(decoder: Decoder, quality: int) -> np.ndarray | None:
    """Int coefficients (3, 12), or None where there is no filter.

    Raises:
        FormatError: where no encoder writes such a filter.
    """
    present = decoder.read(_in_stream(np.zeros(1, int)))[0]
    if present == 0:
        return None
    values = decoder.read(_in_stream(_tables_of(_names_at(quality))))
    if present != 1 or np.abs(values).max() > LARGEST or not values.any():
        raise FormatError("damaged: there is no such restoration filter")
    return values.reshape(DETAILS, 3).T


def _in_stream(tables: np.ndarray) -> np.ndarray:
    """Their indices among all tables of a Y stream: uint8."""
    return (INDEX_COUNT + tables).astype(np.uint8)
