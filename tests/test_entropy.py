"""The entropy coder: exact tables, escapes, round trips, also against the second decoder, and damage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from second_decoder import Ans, FrequencyTables

from dmecodec.entropy.rans import (
    PRECISION,
    VALUE_LIMIT,
    AnsCoder,
    SymbolDecoder,
    Tables,
    encode,
    encode_stacked,
    normalise,
)
from dmecodec.errors import FormatError
from dmecodec.weights.model import Model

TOTAL = 1 << PRECISION


def tables_of(rng: np.random.Generator, lengths: list[int]) -> Tables:
    """Tables with steep distributions, so that some frequencies are 1."""
    frequency = [normalise(rng.random(n) ** 12 + 1e-12) for n in lengths]
    low = rng.integers(-40, 5, len(lengths))
    return Tables(low.astype(np.int32), np.array(lengths, np.int32), np.concatenate(frequency))


def read_boundary(tables: Tables, index: int, quantile: int) -> int:
    """The symbol of a state with these low bits."""
    state = np.array([quantile], np.uint32) if quantile else np.array([], np.uint32)
    return int(AnsCoder(state).decode(tables.model(index), 1)[0])


def assert_boundaries(tables: Tables, index: int) -> None:
    """Each symbol has the interval of the integer table."""
    start = int(tables.length[:index].sum())
    frequency = tables.frequency[start : start + tables.length[index]].astype(np.int64)
    left = np.concatenate([[0], np.cumsum(frequency)])
    first = [read_boundary(tables, index, q) for q in left[:-1].tolist()]
    last = [read_boundary(tables, index, q - 1) for q in left[1:].tolist()]
    assert first == last == list(range(len(frequency)))


@pytest.mark.parametrize("length", [2, 3, 17, 256, 4001])
def test_boundaries_are_the_integers_of_the_table(length: int) -> None:
    tables = tables_of(np.random.default_rng(length), [length])
    assert_boundaries(tables, 0)


def test_boundaries_of_extreme_tables() -> None:
    most = TOTAL - 3
    frequency = [1, 1, 1, most, 1, most, 1, 1, most, 1, 1, 1]
    tables = Tables(np.zeros(3, np.int32), np.full(3, 4, np.int32), np.array(frequency, np.int32))
    for index in range(3):
        assert_boundaries(tables, index)


def test_boundaries_of_a_model(tiny: Model) -> None:
    for index in (0, 20, 40):
        assert_boundaries(tiny.y_tables, index)
    for index in range(len(tiny.z_tables.low)):
        assert_boundaries(tiny.z_tables, index)


@st.composite
def streams(draw: st.DrawFn) -> tuple[Tables, list[tuple[np.ndarray, np.ndarray]]]:
    """Tables and passes; some values escape, some as far as VALUE_LIMIT allows."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tables = tables_of(rng, draw(st.lists(st.integers(2, 60), min_size=1, max_size=6)))
    spread = draw(st.sampled_from([1, 20, 70, 5000, VALUE_LIMIT - 1]))
    passes = []
    for count in draw(st.lists(st.integers(0, 60), min_size=1, max_size=4)):
        values = rng.integers(-spread, spread + 1, count).astype(np.int32)
        passes.append((values, rng.integers(0, len(tables.low), count).astype(np.uint8)))
    return tables, passes


@settings(max_examples=150)
@given(streams())
def test_round_trip(case: tuple[Tables, list[tuple[np.ndarray, np.ndarray]]]) -> None:
    tables, passes = case
    data = encode(passes, tables)
    decoder, ans = SymbolDecoder(data, tables), Ans(data)
    second = FrequencyTables(tables.low, tables.length, tables.frequency)
    for values, indices in passes:
        np.testing.assert_array_equal(decoder.read(indices), values)
        assert second.read_list(ans, indices.tolist()) == values.tolist()
    decoder.finish()
    assert ans.finished()


@settings(max_examples=100)
@given(streams(), streams())
def test_stacked_round_trip(
    first: tuple[Tables, list[tuple[np.ndarray, np.ndarray]]],
    second: tuple[Tables, list[tuple[np.ndarray, np.ndarray]]],
) -> None:
    top, below = encode_stacked((first[1], first[0]), (second[1], second[0]))
    assert len(below) % 4 == 0
    decoder, ans = SymbolDecoder(top, first[0], below), Ans(top, below)
    for tables, passes in (first, second):
        other = FrequencyTables(tables.low, tables.length, tables.frequency)
        decoder.go_on(tables)
        for values, indices in passes:
            np.testing.assert_array_equal(decoder.read(indices), values)
            assert other.read_list(ans, indices.tolist()) == values.tolist()
    decoder.finish()
    assert ans.finished()


def test_stacked_streams_share_the_initial_state() -> None:
    rng = np.random.default_rng(2)
    tables = tables_of(rng, [20])
    some = [(rng.integers(-5, 0, 300).astype(np.int32), np.zeros(300, np.uint8))]
    together = sum(map(len, encode_stacked((some, tables), (some, tables))))
    assert 2 <= 2 * len(encode(some, tables)) - together <= 4


def test_a_lower_stream_must_have_whole_words() -> None:
    tables = tables_of(np.random.default_rng(0), [5])
    with pytest.raises(FormatError, match="within a word"):
        SymbolDecoder(b"\1", tables, b"\1\0\0\0\0")


@pytest.mark.parametrize("value", [-VALUE_LIMIT + 1, -9, -1, 3, 4, 10, VALUE_LIMIT - 1])
def test_escapes(value: int) -> None:
    frequency = np.array([TOTAL - 3, 1, 1, 1], np.int32)  # 0, 1, 2, escape
    tables = Tables(np.zeros(1, np.int32), np.array([4], np.int32), frequency)
    values = np.array([0, value, 1, value], np.int32)
    indices = np.zeros(4, np.uint8)
    decoder = SymbolDecoder(encode([(values, indices)], tables), tables)
    np.testing.assert_array_equal(decoder.read(indices), values)
    decoder.finish()


def test_the_size_of_a_stream_is_its_ideal_code_length() -> None:
    rng = np.random.default_rng(1)
    tables = Tables(np.array([-2], np.int32), np.array([5], np.int32), normalise(np.array([1, 2, 8, 2, 1e-6])))
    values = rng.choice([-2, -1, 0, 1], 20000, p=np.array([1, 2, 8, 2]) / 13).astype(np.int32)
    indices = np.zeros(20000, np.uint8)
    size = 8 * len(encode([(values, indices)], tables))
    assert abs(size - tables.bits(values, indices)) <= 64


def test_no_symbols_take_no_bytes() -> None:
    tables = tables_of(np.random.default_rng(0), [5])
    assert encode([], tables) == b""
    decoder = SymbolDecoder(b"", tables)
    assert len(decoder.read(np.zeros(0, np.uint8))) == 0
    decoder.finish()


@pytest.fixture
def stream() -> tuple[Tables, bytes, np.ndarray]:
    rng = np.random.default_rng(3)
    tables = tables_of(rng, [40, 50])
    indices = rng.integers(0, 2, 500).astype(np.uint8)
    return tables, encode([(rng.integers(-30, 30, 500).astype(np.int32), indices)], tables), indices


def finish(tables: Tables, data: bytes, indices: np.ndarray) -> None:
    decoder = SymbolDecoder(data, tables)
    decoder.read(indices)
    decoder.finish()


def test_wrong_lengths_are_refused(stream: tuple[Tables, bytes, np.ndarray]) -> None:
    tables, data, indices = stream
    finish(tables, data, indices)
    for wrong in (data[:-1], data[:-3]):
        with pytest.raises(FormatError, match="does not end where it should"):
            finish(tables, wrong, indices)
    for wrong in (b"\1\0\0\0" + data, data + b"\1\0\0\0"):
        with pytest.raises(FormatError, match="does not end where it should"):
            finish(tables, wrong, indices)
    with pytest.raises(FormatError, match="does not end where it should"):
        finish(tables, data, indices[:-5])
    with pytest.raises(FormatError, match="zero word"):
        finish(tables, data + bytes(4), indices)


def test_zero_bytes_at_the_end_are_left_out_and_may_be_there(stream: tuple[Tables, bytes, np.ndarray]) -> None:
    tables, data, indices = stream
    assert data[-1] != 0
    finish(tables, data + bytes(-len(data) % 4), indices)


@pytest.mark.parametrize(
    ("low", "length", "frequency"),
    [
        ([0], [1], [TOTAL]),  # no escape beside a symbol
        ([0], [2], [TOTAL, 0]),
        ([0], [2], [TOTAL - 2, 1]),
        ([0], [3], [TOTAL - 1, 1]),
        ([0, 0], [2], [TOTAL - 1, 1]),
        ([0], [2], [TOTAL + 1, -1]),
        ([], [], []),
    ],
)
def test_impossible_tables_are_refused(low: list[int], length: list[int], frequency: list[int]) -> None:
    with pytest.raises(ValueError):
        Tables(*(np.array(values, np.int32) for values in (low, length, frequency)))


@settings(max_examples=100)
@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=200).filter(lambda p: sum(p) > 0))
def test_normalise(probabilities: list[float]) -> None:
    frequency = normalise(np.array(probabilities))
    assert frequency.min() >= 1 and frequency.sum() == TOTAL
    assert frequency.dtype == np.int32


def test_the_encoder_of_the_page() -> None:
    """docs/format.md also says how a stream is written."""
    rng = np.random.default_rng(7)
    tables = tables_of(rng, [30])
    left = np.concatenate([[0], np.cumsum(tables.frequency)]).tolist()
    for count in (0, 1, 2, 3, 9, 200):
        values = rng.integers(0, 29, count)
        state, words = 0, []
        for symbol in reversed(values.tolist()):
            frequency = left[symbol + 1] - left[symbol]
            if state >> 40 >= frequency:
                words.append(state % 2**32)
                state >>= 32
            state = (state // frequency << 24) + left[symbol] + state % frequency
        while state:
            words.append(state % 2**32)
            state >>= 32
        passes = [((values + tables.low[0]).astype(np.int32), np.zeros(count, np.uint8))]
        assert encode(passes, tables) == np.array(words, "<u4").tobytes().rstrip(b"\0")
        below = np.array(words[: max(0, len(words) - 2)], "<u4").tobytes()
        assert encode_stacked((passes, tables), (passes, tables))[1] == below
