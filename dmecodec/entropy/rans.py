"""Entropy coding: symbols bucketed by table, rANS by constriction, frequencies that are integers of the model.

The order of everything is part of the format (docs/format.md). A stream is a sequence of passes; a pass is a sequence
of symbols, each with the index of its table. Symbols are coded bucket by bucket, in order of table index and, within
one, of position; then follow the values of escaped symbols in order of position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import constriction
import numpy as np

from ..errors import FormatError

# constriction's modules live inside one compiled extension: they cannot be imported by name.
AnsCoder: Any = constriction.stream.stack.AnsCoder
Categorical: Any = constriction.stream.model.Categorical
Uniform: Any = constriction.stream.model.Uniform

PRECISION = 24
"""Frequencies of a table sum to 2^24."""
VALUE_LIMIT = 1 << 22
"""Every coded value is smaller than this in magnitude."""
_WORD_BYTES, _STATE_WORDS = 4, 2
_ESCAPE_LENGTHS = Uniform(PRECISION)
_SIGN = Uniform(2)


@dataclass(frozen=True)
class Tables:
    """Frequency tables over runs of integers, each ending in an escape symbol.

    Attributes:
        low: int32 (tables,), the value of the first symbol of each table.
        length: int32 (tables,), symbols of each, the escape included.
        frequency: int32 (sum of lengths,), every one at least 1, each table summing to 2^24.
    """

    low: np.ndarray
    length: np.ndarray
    frequency: np.ndarray

    def __post_init__(self) -> None:
        """Refuses tables that could not be coded with (ValueError)."""
        if not (len(self.low) == len(self.length) <= 1 << 16 and self.length.min(initial=2) >= 2):
            raise ValueError("tables of fewer than two symbols")
        if self.frequency.min() < 1 or len(self.frequency) != self.length.sum():
            raise ValueError("a frequency below one, or a table cut short")
        if (np.add.reduceat(self.frequency, self._starts) != 1 << PRECISION).any():
            raise ValueError("frequencies do not sum to 2^24")

    def followed_by(self, others: Tables) -> Tables:
        """These tables, then others."""
        pairs = (
            (self.low, others.low),
            (self.length, others.length),
            (self.frequency, others.frequency),
        )
        return Tables(*(np.concatenate(pair) for pair in pairs))

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self.length)[:-1]])

    @cached_property
    def escape(self) -> np.ndarray:
        """The symbol that stands for a value outside each table: int32 (tables,)."""
        return self.length - 1

    @cached_property
    def _models(self) -> dict[int, Any]:
        return {}

    def model(self, index: int) -> Any:
        """constriction's model of one table.

        It takes floats and adds one to each scaled weight, so that f - 1 gives exactly the frequencies f.
        """
        found = self._models.get(index)
        if found is None:
            start, length = self._starts[index], self.length[index]
            weights = self.frequency[start : start + length].astype(np.float64) - 1
            found = self._models[index] = Categorical(weights, lazy=False, perfect=False)
        return found

    @cached_property
    def _lengths(self) -> np.ndarray:
        return (PRECISION - np.log2(self.frequency)).astype(np.float32)

    def code_lengths(self, values: np.ndarray, tables: np.ndarray) -> np.ndarray:
        """Ideal code length of each value under its table in bits; of an escape, its symbol alone."""
        symbols, _ = self._symbols(values, tables)
        return self._lengths[self._starts[tables] + symbols]

    def bits(self, values: np.ndarray, tables: np.ndarray) -> float:
        """Ideal code length of all values, escaped ones at a flat 24 bits more."""
        _, escaped = self._symbols(values, tables)
        lengths = self.code_lengths(values, tables)
        return float(lengths.sum(dtype=np.float64)) + PRECISION * len(escaped)

    def _symbols(self, values: np.ndarray, tables: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Symbols of values, and the positions of those that escape."""
        symbols = values - self.low[tables]
        escape = self.escape[tables]
        outside = (symbols < 0) | (symbols >= escape)
        return np.where(outside, escape, symbols).astype(np.int32), np.flatnonzero(outside)


Symbols = tuple[np.ndarray, np.ndarray]
"""Values (int32, flat) and the table index of each (uint8 or uint16, flat)."""


def encode(passes: Sequence[Symbols], tables: Tables) -> bytes:
    """Codes passes of values with |value| < 2^22 into one stream."""
    coder = AnsCoder()
    _push_all(coder, passes, tables)
    return _without_zeros(coder.get_compressed())


def encode_stacked(
    first: tuple[Sequence[Symbols], Tables], second: tuple[Sequence[Symbols], Tables]
) -> tuple[bytes, bytes]:
    """Codes two streams as one stack of words: decoding goes on with the second where the first ends.

    An rANS coder starts with some 24 bits that say nothing. So only one of the streams has them.
    """
    coder = AnsCoder()
    _push_all(coder, *second)
    below = max(0, coder.num_words() - _STATE_WORDS)
    _push_all(coder, *first)
    words = coder.get_compressed()
    return _without_zeros(words[below:]), words[:below].astype("<u4").tobytes()


def _without_zeros(words: np.ndarray) -> bytes:
    """Bytes of the words; the decoder knows that these have four."""
    return words.astype("<u4").tobytes().rstrip(b"\0")


def _push_all(coder: Any, passes: Sequence[Symbols], tables: Tables) -> None:
    for values, indices in reversed(passes):  # a stack: last in, first out
        _push(coder, values, indices, tables)


def _push(coder: Any, values: np.ndarray, indices: np.ndarray, tables: Tables) -> None:
    order, buckets = _buckets(indices)
    symbols = values.take(order).astype(np.int32, copy=False)
    escaped = []
    for index, start, stop in buckets:  # one table at a time: no look-up for each symbol
        bucket, escape = symbols[start:stop], tables.escape[index]
        bucket -= tables.low[index]
        outside = np.flatnonzero((bucket < 0) | (bucket >= escape))
        if len(outside):
            escaped.append(order[start:stop][outside])
            bucket[outside] = escape
    for position in np.sort(np.concatenate(escaped))[::-1] if escaped else ():
        _push_escaped(coder, int(values[position]), int(indices[position]), tables)
    for index, start, stop in reversed(buckets):
        coder.encode_reverse(symbols[start:stop], tables.model(index))


def _buckets(indices: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """The stable order by table, and (table, start, stop) of each that occurs."""
    order = np.argsort(indices, kind="stable")
    counts = np.bincount(indices)
    stops = np.cumsum(counts)
    used = np.flatnonzero(counts)
    return order, [(int(i), int(stops[i] - counts[i]), int(stops[i])) for i in used]


class Decoder:
    """Reads the passes of one stream, in the order in which :func:`encode` was given them.

    Args:
        data: the stream.
        tables: that it is coded with.
        below: the stream that the same coder goes on with, of :func:`encode_stacked`.
    """

    def __init__(self, data: bytes, tables: Tables, below: bytes = b"") -> None:
        if len(below) % _WORD_BYTES:
            raise FormatError("damaged: an entropy-coded stream ends within a word")
        data = below + data
        words = np.frombuffer(data + bytes(-len(data) % _WORD_BYTES), dtype="<u4")
        try:
            self._coder = AnsCoder(words.astype(np.uint32))
        except ValueError as error:
            raise FormatError("damaged: an entropy-coded stream ends in a zero word") from error
        self._tables = tables

    def read(self, indices: np.ndarray) -> np.ndarray:
        """The values of one pass, int32, given the table index of each."""
        order, buckets = _buckets(indices)
        values = np.empty(len(indices), dtype=np.int32)
        escaped = []
        for index, start, stop in buckets:
            symbols = self._coder.decode(self._tables.model(index), stop - start)
            where = order[start:stop]
            outside = np.flatnonzero(symbols == self._tables.escape[index])
            if len(outside):
                escaped.append(where[outside])
            values[where] = np.add(symbols, self._tables.low[index], out=symbols)
        for position in np.sort(np.concatenate(escaped)) if escaped else ():
            values[position] = _pop_escaped(self._coder, int(indices[position]), self._tables)
        return values

    def go_on(self, tables: Tables) -> None:
        """Turns to the stream below, with other tables."""
        self._tables = tables

    def finish(self) -> None:
        """Checks that the stream has been read to its end.

        Raises:
            FormatError: where it has not: the symbols cannot be right.
        """
        if not self._coder.is_empty():
            raise FormatError("damaged: an entropy-coded stream does not end where it should")


def _push_escaped(coder: Any, value: int, index: int, tables: Tables) -> None:
    """Sign, length and bits of the distance to the table, pushed in reverse (Elias gamma)."""
    low, high = int(tables.low[index]), int(tables.low[index] + tables.escape[index]) - 1
    above = value > high
    distance = value - high if above else low - value  # at least 1
    length = distance.bit_length() - 1
    if length:
        coder.encode_reverse(np.array([distance - (1 << length)], np.int32), Uniform(1 << length))
    coder.encode_reverse(np.array([length], np.int32), _ESCAPE_LENGTHS)
    coder.encode_reverse(np.array([above], np.int32), _SIGN)


def _pop_escaped(coder: Any, index: int, tables: Tables) -> int:
    low, high = int(tables.low[index]), int(tables.low[index] + tables.escape[index]) - 1
    above = coder.decode(_SIGN, 1)[0]
    length = int(coder.decode(_ESCAPE_LENGTHS, 1)[0])
    distance = 1 << length
    if length:
        distance += int(coder.decode(Uniform(1 << length), 1)[0])
    return high + distance if above else low - distance


def normalise(probabilities: np.ndarray) -> np.ndarray:
    """Integer frequencies, each at least 1, that sum to 2^24: int32, same length.

    The largest absorbs what rounding leaves.
    """
    total = 1 << PRECISION
    spare = total - len(probabilities)
    scaled = np.floor(probabilities / probabilities.sum() * spare).astype(np.int64) + 1
    scaled[np.argmax(scaled)] += total - scaled.sum()
    return scaled.astype(np.int32)
