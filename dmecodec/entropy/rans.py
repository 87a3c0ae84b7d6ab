"""Entropy coding by rANS (constriction), with integer frequency tables.

The order of the symbols is part of the format (docs/format.md). A stream is a sequence of passes; a pass is a sequence
of symbols, each with the index of its table. The symbols of a pass are coded in buckets, one for each table, by index;
within a bucket by position. The values of escaped symbols follow, by position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import constriction
import numpy as np

from ..errors import FormatError

# The modules of constriction are inside one compiled extension and cannot be imported by name.
AnsCoder: Any = constriction.stream.stack.AnsCoder
Categorical: Any = constriction.stream.model.Categorical
Uniform: Any = constriction.stream.model.Uniform

PRECISION = 24
"""The frequencies of a table sum to 2^24."""
VALUE_LIMIT = 1 << 22
"""Coded values are smaller than this in magnitude."""
_WORD_BYTES, _STATE_WORDS = 4, 2
_ESCAPE_LENGTHS = Uniform(PRECISION)
_SIGN = Uniform(2)


@dataclass(frozen=True)
class Tables:
    """Frequency tables over ranges of integers; the last symbol of each is the escape.

    Attributes:
        low: int32 (tables,), the value of the first symbol of each table.
        length: int32 (tables,), number of symbols of each table with the escape.
        frequency: int32 (sum of lengths,), at least 1; those of each table sum to 2^24.
    """

    low: np.ndarray
    length: np.ndarray
    frequency: np.ndarray

    def __post_init__(self) -> None:
        """Checks lengths and frequencies (ValueError)."""
        if not (len(self.low) == len(self.length) <= 1 << 16 and self.length.min(initial=2) >= 2):
            raise ValueError("frequency tables of differing number, or of fewer than two symbols")
        if self.frequency.min() < 1 or len(self.frequency) != self.length.sum():
            raise ValueError("a frequency below one, or a table that is cut short")
        if (np.add.reduceat(self.frequency, self._starts) != 1 << PRECISION).any():
            raise ValueError("the frequencies of a table do not sum to 2^24")

    def followed_by(self, others: Tables) -> Tables:
        """Concatenates the tables."""
        names = ("low", "length", "frequency")
        return Tables(*(np.concatenate([getattr(self, name), getattr(others, name)]) for name in names))

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self.length)[:-1]])

    @cached_property
    def escape(self) -> np.ndarray:
        """The escape symbol of each table: int32 (tables,)."""
        return self.length - 1

    @cached_property
    def _models(self) -> dict[int, Any]:
        return {}

    def model(self, index: int) -> Any:
        """The constriction model of one table.

        constriction scales float weights and adds one to each, so the weights f - 1 give exactly the frequencies f.
        """
        model = self._models.get(index)
        if model is None:
            start, length = self._starts[index], self.length[index]
            weights = self.frequency[start : start + length].astype(np.float64) - 1
            model = self._models[index] = Categorical(weights, lazy=False, perfect=False)
        return model

    @cached_property
    def _lengths(self) -> np.ndarray:
        return (PRECISION - np.log2(self.frequency)).astype(np.float32)

    def code_lengths(self, values: np.ndarray, tables: np.ndarray) -> np.ndarray:
        """Ideal code length of each value in bits: float32; of an escaped value, the escape symbol alone."""
        symbols, _ = self._symbols(values, tables)
        return self._lengths[self._starts[tables] + symbols]

    def bits(self, values: np.ndarray, tables: np.ndarray) -> float:
        """Ideal code length of all values in bits, with 24 more for each escaped value."""
        _, escaped = self._symbols(values, tables)
        lengths = self.code_lengths(values, tables)
        return float(lengths.sum(dtype=np.float64)) + PRECISION * len(escaped)

    def _symbols(self, values: np.ndarray, tables: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The symbols of values, and the positions of those that escape."""
        symbols = values - self.low[tables]
        escape = self.escape[tables]
        outside = (symbols < 0) | (symbols >= escape)
        return np.where(outside, escape, symbols).astype(np.int32), np.flatnonzero(outside)


Symbols = tuple[np.ndarray, np.ndarray]
"""Values (int32, flat) and the table index of each (uint8 or uint16, flat)."""


def encode(passes: Sequence[Symbols], tables: Tables) -> bytes:
    """Codes passes into one stream; each |value| must be below `VALUE_LIMIT`."""
    coder = AnsCoder()
    _push_all(coder, passes, tables)
    return _to_bytes(coder.get_compressed())


def encode_stacked(
    first: tuple[Sequence[Symbols], Tables], second: tuple[Sequence[Symbols], Tables]
) -> tuple[bytes, bytes]:
    """Codes two streams as one stack of words; the decoder reads the first, then the second.

    The initial state of an rANS coder costs about 24 bits. So only one of the streams has it.
    """
    coder = AnsCoder()
    _push_all(coder, *second)
    below = max(0, coder.num_words() - _STATE_WORDS)
    _push_all(coder, *first)
    words = coder.get_compressed()
    return _to_bytes(words[below:]), words[:below].astype("<u4").tobytes()


def _to_bytes(words: np.ndarray) -> bytes:
    """The words without trailing zero bytes; the decoder pads them to whole words."""
    return words.astype("<u4").tobytes().rstrip(b"\0")


def _push_all(coder: Any, passes: Sequence[Symbols], tables: Tables) -> None:
    for values, indices in reversed(passes):  # rANS is a stack: last in, first out
        _push(coder, values, indices, tables)


def _push(coder: Any, values: np.ndarray, indices: np.ndarray, tables: Tables) -> None:
    order, buckets = _buckets(indices)
    symbols = values.take(order).astype(np.int32, copy=False)
    escaped = []
    for index, start, stop in buckets:  # by table, which saves a look-up for each symbol
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
    """The stable order by table, and (table, start, stop) of each table that occurs."""
    order = np.argsort(indices, kind="stable")
    counts = np.bincount(indices)
    stops = np.cumsum(counts)
    used = np.flatnonzero(counts)
    return order, [(int(i), int(stops[i] - counts[i]), int(stops[i])) for i in used]


class SymbolDecoder:
    """Reads the passes of one stream, in the order of encoding.

    Args:
        data: the stream.
        tables: its frequency tables.
        below: the second stream of :func:`encode_stacked`; :meth:`go_on` switches to it.

    Raises:
        FormatError: a stream has an impossible length or end.
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
        """Reads one pass: values, int32 (n,), given the table index of each (n,)."""
        order, buckets = _buckets(indices)
        values = np.empty(len(indices), dtype=np.int32)
        escaped = []
        for index, start, stop in buckets:
            symbols = self._coder.decode(self._tables.model(index), stop - start)
            positions = order[start:stop]
            outside = np.flatnonzero(symbols == self._tables.escape[index])
            if len(outside):
                escaped.append(positions[outside])
            values[positions] = np.add(symbols, self._tables.low[index], out=symbols)
        for position in np.sort(np.concatenate(escaped)) if escaped else ():
            values[position] = _pop_escaped(self._coder, int(indices[position]), self._tables)
        return values

    def go_on(self, tables: Tables) -> None:
        """Switches to the second stream, and to its tables."""
        self._tables = tables

    def finish(self) -> None:
        """Checks that the stream has been read to its end.

        Raises:
            FormatError: it has not, so the symbols are wrong.
        """
        if not self._coder.is_empty():
            raise FormatError("damaged: an entropy-coded stream does not end where it should")


def _push_escaped(coder: Any, value: int, index: int, tables: Tables) -> None:
    """Pushes sign, length and bits of the distance to the range of the table, in reverse (Elias gamma)."""
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
    """Converts probabilities (n,) to frequencies, at least 1 each, that sum to 2^24: int32 (n,).

    The largest frequency absorbs the rounding.
    """
    total = 1 << PRECISION
    spare = total - len(probabilities)
    scaled = np.floor(probabilities / probabilities.sum() * spare).astype(np.int64) + 1
    scaled[np.argmax(scaled)] += total - scaled.sum()
    return scaled.astype(np.int32)
