"""Alpha is lossless and small if it is simple; damaged streams are refused."""

from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmecodec.entropy.lossless import decode_alpha, encode_alpha
from dmecodec.errors import FormatError


def deflate(values: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflater.compress(values) + deflater.flush()


def disc(side: int) -> np.ndarray:
    """A mask of valid pixels: 255 within a circle, 0 outside."""
    y, x = np.mgrid[:side, :side] - side / 2
    return np.where(x * x + y * y < side * side / 5, 255, 0).astype(np.uint8)


@st.composite
def tiles(draw: st.DrawFn) -> np.ndarray:
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    levels = draw(st.sampled_from([1, 2, 3, 256]))
    seed = draw(st.integers(0, 2**32 - 1))
    noise = np.random.default_rng(seed).integers(0, levels, (height, width))
    slope = np.add.outer(np.arange(height) * draw(st.integers(0, 9)), np.arange(width))
    return (noise * (255 // levels) + slope * draw(st.integers(0, 3))).astype(np.uint8)


@settings(max_examples=150)
@given(tiles())
def test_round_trip(pixels: np.ndarray) -> None:
    decoded = decode_alpha(encode_alpha(pixels), *pixels.shape)
    assert decoded.dtype == np.uint8
    assert decoded.flags.writeable
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize("value", [0, 1, 128, 255])
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (1024, 1024)])
def test_constant_tile_is_one_byte(value: int, shape: tuple[int, int]) -> None:
    pixels = np.full(shape, value, np.uint8)
    assert encode_alpha(pixels) == bytes([value])
    np.testing.assert_array_equal(decode_alpha(bytes([value]), *shape), pixels)


def test_the_best_filter_is_chosen_and_inverted() -> None:
    rng = np.random.default_rng(1)
    steps = rng.choice(np.array([1, 2, 3, 250], np.uint8), (60, 61))
    rows = np.cumsum(steps, axis=1, dtype=np.uint8)
    columns = np.cumsum(steps, axis=0, dtype=np.uint8)
    both = np.cumsum(rows, axis=0, dtype=np.uint8)
    for filters, pixels in enumerate((steps, rows, columns, both)):
        data = encode_alpha(pixels)
        assert data[0] == filters
        assert zlib.decompress(data[1:], -15) == differences(pixels, filters)
        np.testing.assert_array_equal(decode_alpha(data, 60, 61), pixels)


def differences(pixels: np.ndarray, filters: int) -> bytes:
    """The definition of the format description, pixel by pixel."""
    height, width = pixels.shape
    padded = np.zeros((height + 1, width + 1), int)
    padded[1:, 1:] = pixels
    left = padded[1:, :-1] if filters & 1 else 0
    up = padded[:-1, 1:] if filters & 2 else 0
    corner = padded[:-1, :-1] if filters == 3 else 0
    values = (padded[1:, 1:] - left - up + corner) % 256
    return values.astype(np.uint8).tobytes()


def test_example_of_the_format_description() -> None:
    data = bytes.fromhex("03 63 60 c0 04 ff 19 46 c1 28 18 05 a3 60 14 8c 82 91 01 00")
    pixels = np.zeros((50, 36), np.uint8)
    pixels[:, 20:] = 255
    np.testing.assert_array_equal(decode_alpha(data, 50, 36), pixels)


def test_a_mask_stays_small() -> None:
    assert len(encode_alpha(disc(1024))) < 4000


def test_noise_costs_little_more_than_itself() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    assert len(encode_alpha(noise)) < 64 * 64 + 20


def test_any_memory_layout() -> None:
    pixels = disc(64)[:, ::2].T
    pixels[0, 0] = 7
    np.testing.assert_array_equal(decode_alpha(encode_alpha(pixels), 32, 64), pixels)


@pytest.mark.parametrize("count", [0, 1, 99, 101, 10_000])
@pytest.mark.parametrize("filters", [0, 3])
def test_wrong_number_of_pixels(count: int, filters: int) -> None:
    with pytest.raises(FormatError, match="exactly 100 pixels"):
        decode_alpha(bytes([filters]) + deflate(bytes(count)), 10, 10)


@pytest.mark.parametrize("filters", [4, 5, 128, 255])
def test_unknown_filter(filters: int) -> None:
    with pytest.raises(FormatError, match=f"unknown filter {filters}"):
        decode_alpha(bytes([filters]) + deflate(bytes(100)), 10, 10)


def test_bytes_after_the_stream() -> None:
    with pytest.raises(FormatError, match="exactly"):
        decode_alpha(b"\0" + deflate(bytes(100)) + b"\0", 10, 10)


def test_every_truncation() -> None:
    data = encode_alpha(disc(32))
    for length in (0, *range(2, len(data))):
        with pytest.raises(FormatError):
            decode_alpha(data[:length], 32, 32)


def test_a_deflate_bomb_is_not_inflated() -> None:
    bomb = b"\0" + deflate(bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            decode_alpha(bomb, 10, 10)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@settings(max_examples=200)
@given(st.binary(min_size=1, max_size=60), st.booleans())
def test_noise_never_crashes(noise: bytes, compress: bool) -> None:
    data = noise[:1] + deflate(noise[1:]) if compress else noise
    try:
        assert decode_alpha(data, 5, 7).shape == (5, 7)
    except FormatError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 2, 1), np.uint8), np.zeros((2, 2), np.int16), np.zeros((0, 2), np.uint8)]
)
def test_only_a_tile_of_bytes_is_coded(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="alpha is uint8"):
        encode_alpha(pixels)
