"""The coefficients of the restoration filter as the last symbols of a Y stream, and their frequency tables.

The tables are part of the format (docs/format.md) and the same for every model; their indices follow those of the scale
indices. They were fitted to the coefficients that the encoder chose for crops of 256 x 256 pixels.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate, repeat

import numpy as np

from ..entropy.rans import PRECISION, SymbolDecoder, Symbols, Tables
from ..errors import FormatError
from ..network.parameters import INDEX_COUNT
from .details import DETAILS

LARGEST = 255
"""Coefficients are in -255..255, in steps of 1/32."""
VALUES = np.arange(-LARGEST, LARGEST + 1)

_ABSENT = 1
"""Frequency of "no filter". The decoder reads this symbol last, so rANS codes it first, where a 0 takes no bits."""
_DECAYS = (1239, 9904, 26649, 42696, 53440, 59468, 62573, 64108)
"""Factors, in 2^-16, by which a frequency falls per step from the middle of a distribution."""
_CHROMA = -28
"""Middle for the finest chroma details: the synthesis adds noise there, which the filter removes."""
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
"""By quality below, in 1/32 steps: the distribution of each coefficient, by radius, then by detail, then by axis."""


def _frequencies(middle: int, decay: int) -> list[int]:
    """Frequencies of -255..255 and an escape, which is never used: a two-sided geometric distribution, in integers.

    Zero gets a fifth of the total in addition, and the remainder of the rounding.
    """
    falling = list(accumulate(repeat(decay, 2 * LARGEST), lambda w, d: w * d >> 16, initial=1 << 24))
    weights = [falling[abs(value - middle)] for value in VALUES.tolist()]
    total, share = sum(weights), 4 * ((1 << PRECISION) - len(weights) - 1) // 5
    frequencies = [1 + share * weight // total for weight in weights]
    frequencies[LARGEST] += (1 << PRECISION) - 1 - sum(frequencies)
    return [*frequencies, 1]


@cache
def filter_tables() -> Tables:
    """The table of the flag "has a filter", then one for each distribution."""
    flag = [_ABSENT, (1 << PRECISION) - _ABSENT - 1, 1]
    rows = [flag, *(_frequencies(*distribution) for distribution in _DISTRIBUTIONS.values())]
    return Tables(
        np.array([0] + [-LARGEST] * len(_DISTRIBUTIONS), np.int32),
        np.array([len(row) for row in rows], np.int32),
        np.concatenate(rows).astype(np.int32),
    )


def _names_at(quality: int) -> str:
    """The names of the distributions of the coefficients at a quality in 1/32 steps."""
    return next(names for below, names in _OF_COEFFICIENTS.items() if quality < below)


@cache
def _tables_of(names: str) -> np.ndarray:
    """Index of the table of each coefficient in :func:`filter_tables`: int (36,)."""
    order = list(_DISTRIBUTIONS)
    return np.array([1 + order.index(name) for name in names])


@cache
def _lengths_of(names: str) -> np.ndarray:
    indices = np.repeat(_tables_of(names), len(VALUES))
    values = np.tile(VALUES, 3 * DETAILS)
    return filter_tables().code_lengths(values, indices).reshape(DETAILS, 3, -1)


def code_lengths(quality: int) -> np.ndarray:
    """Code length in bits of each value of each coefficient: float32 (12, 3, 511), by detail, axis and value + 255.

    Args:
        quality: in 1/32 steps.
    """
    return _lengths_of(_names_at(quality))


def filter_symbols(coefficients: np.ndarray, quality: int) -> list[Symbols]:
    """The passes of a Y stream that hold the filter of the tile.

    Args:
        coefficients: int (3, 12), by axis and detail; all 0 is no filter.
        quality: in 1/32 steps.

    Raises:
        ValueError: a coefficient is out of range.
    """
    if np.abs(coefficients).max() > LARGEST:
        raise ValueError("a coefficient of the restoration filter is out of range")
    present = coefficients.any()
    flag = np.array([present], np.int32), _in_stream(np.zeros(1, int))
    if not present:
        return [flag]
    return [flag, (coefficients.T.ravel().astype(np.int32), _in_stream(_tables_of(_names_at(quality))))]


def read_filter(decoder: SymbolDecoder, quality: int) -> np.ndarray | None:
    """Reads the filter of a tile at the end of its Y stream.

    Args:
        decoder: after the passes of the latents.
        quality: in 1/32 steps.

    Returns:
        int (3, 12), by axis and detail; None if there is no filter.

    Raises:
        FormatError: no encoder writes such a filter.
    """
    present = decoder.read(_in_stream(np.zeros(1, int)))[0]
    if present == 0:
        return None
    values = decoder.read(_in_stream(_tables_of(_names_at(quality))))
    if present != 1 or np.abs(values).max() > LARGEST or not values.any():
        raise FormatError("damaged: impossible coefficients of a restoration filter")
    return values.reshape(DETAILS, 3).T


def _in_stream(tables: np.ndarray) -> np.ndarray:
    """Indices in :func:`filter_tables` to indices among all tables of a Y stream: uint8."""
    return (INDEX_COUNT + tables).astype(np.uint8)
