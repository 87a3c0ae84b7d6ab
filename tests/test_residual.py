"""The residual layer and the base image: the bound holds for any base and any original."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from conftest import aerial
from hypothesis import given, settings
from hypothesis import strategies as st

from dmecodec.bounded.fit import encode_residual
from dmecodec.bounded.interlace import LATTICES, WEIGHT_LIMIT, mean_count, spread_count
from dmecodec.bounded.linear import LinearBase
from dmecodec.bounded.logistic import SCALES, flat_table, residual_tables, table_index
from dmecodec.bounded.residual import decode_residual, rank_of
from dmecodec.bounded.slots import CONTEXTS, FLAG, LEVELS, MAX_SCALE, WIDE, default_weights, slots
from dmecodec.entropy import rans as entropy
from dmecodec.errors import FormatError, ModelError
from dmecodec.network.wavelet import unpack
from dmecodec.weights.model import Model


def checkerboard(height: int, width: int, bands: int) -> np.ndarray:
    row, col = np.mgrid[:height, :width]
    return np.repeat(((row + col) % 2 * 255).astype(np.uint8)[..., None], bands, 2)


def noise(seed: int, height: int, width: int, bands: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, bands)).astype(np.uint8)


MAKERS: dict[str, Callable[[int, int, int, int], np.ndarray]] = {
    "noise": noise,
    "aerial": lambda seed, h, w, bands: aerial(seed, h, w)[..., :bands],
    "checkerboard": lambda seed, h, w, bands: checkerboard(h, w, bands),
    "black": lambda seed, h, w, bands: np.zeros((h, w, bands), np.uint8),
    "white": lambda seed, h, w, bands: np.full((h, w, bands), 255, np.uint8),
    "few values": lambda seed, h, w, bands: noise(seed, h, w, bands) // 51 * 50 + 3,
    "close": lambda seed, h, w, bands: (aerial(seed, h, w)[..., :bands] // 4 * 4) + 1,
}


def check(original: np.ndarray, base: np.ndarray, bound: int, **options: object) -> bytes:
    stream = encode_residual(original, base, bound, **options)  # type: ignore[arg-type]
    pixels = decode_residual(stream, base, bound, **options)  # type: ignore[arg-type]
    assert pixels.dtype == base.dtype and pixels.shape == base.shape
    skip = options.get("skip")
    error = np.abs(pixels.astype(int) - original)
    assert error[... if skip is None else ~skip].max(initial=0) <= bound  # type: ignore[operator]
    return stream


@given(
    st.sampled_from(sorted(MAKERS)),
    st.sampled_from(sorted(MAKERS)),
    st.integers(0, 1000),
    st.integers(1, 50),
    st.integers(1, 50),
    st.sampled_from([1, 2, 3]),
    st.integers(0, 20),
)
@settings(max_examples=40)
def test_the_bound_holds(
    original_kind: str, base_kind: str, seed: int, height: int, width: int, bands: int, bound: int
) -> None:
    original, base = (MAKERS[name](seed + n, height, width, bands) for n, name in ((0, original_kind), (1, base_kind)))
    check(original, base, bound)


@given(st.integers(0, 1000), st.integers(0, 20), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=8)
def test_skipped_samples_keep_the_base(seed: int, bound: int, height: int, width: int) -> None:
    original, base = noise(seed, height, width, 3), aerial(seed, height, width)
    skip = np.random.default_rng(seed).random(base.shape) < np.array([0.2, 0.5, 1.0])
    stream = check(original, base, bound, skip=skip)
    pixels = decode_residual(stream, base, bound, skip=skip)
    np.testing.assert_array_equal(pixels[skip], base[skip])


@pytest.mark.parametrize("bound", [0, 3, 1000, 32767])
def test_16_bits(bound: int) -> None:
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 65536, (40, 50, 2)).astype(np.uint16)
    smooth = np.add.outer(np.arange(40) * 300, np.arange(50) * 900)[..., None] + rough // 90
    for original in (rough, smooth.astype(np.uint16)):
        for base in (np.full_like(rough, 30000), rough):
            check(original, base, bound, levels=65535)


@pytest.mark.parametrize("bound", [0, 1, 20, 255])
def test_extreme_differences(bound: int) -> None:
    board = checkerboard(130, 70, 3)
    check(board, 255 - board, bound)
    check(board, np.zeros_like(board), bound)
    check(noise(0, 200, 1, 3), noise(1, 200, 1, 3), bound)


def test_a_better_base_takes_fewer_bytes() -> None:
    image = aerial(3, 128, 128)
    assert len(check(image, image, 0)) < len(check(image, image // 16 * 16, 0)) / 3
    assert len(check(image, image // 2 + 40, 40)) < len(check(image, image // 2 + 40, 4))


def test_listing_the_used_values_saves_bytes() -> None:
    image = MAKERS["close"](5, 128, 128, 3)
    base = aerial(5, 128, 128)
    few_values = len(check(image, base, 0))
    many_values = image.copy()
    many_values[:4] = aerial(6, 4, 128)
    assert few_values < 0.8 * len(check(many_values, base, 0))


def test_sections_of_a_large_tile() -> None:
    image = np.tile(aerial(1, 64, 64), (17, 1, 1))
    check(image, np.roll(image, 1, 0), 2)


def test_the_number_of_threads_does_not_change_the_pixels() -> None:
    image, base = aerial(1, 64, 96), aerial(2, 64, 96)
    stream, before = encode_residual(image, base, 2), torch.get_num_threads()
    try:
        decoded = []
        for threads in (1, 4):
            torch.set_num_threads(threads)
            decoded.append(decode_residual(stream, base, 2))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*decoded)


# ---- invalid streams -------------------------------------------------------------------------------------


@cache
def undamaged() -> tuple[bytes, np.ndarray]:
    base = aerial(2, 40, 30)
    return encode_residual(aerial(1, 40, 30), base, 1), base


@given(st.integers(0, 300), st.integers(1, 255), st.integers(0, 3))
@settings(max_examples=30)
def test_damaged_streams_decode_or_are_refused(place: int, flip: int, cut: int) -> None:
    intact, base = undamaged()
    stream = bytearray(intact)
    stream[place % len(stream)] ^= flip
    try:
        pixels = decode_residual(bytes(stream[: len(stream) - cut]), base, 1)
    except FormatError:
        return
    assert pixels.shape == base.shape


@given(st.binary(max_size=400).map(lambda b: b[: len(b) // 4 * 4]))
@settings(max_examples=30)
def test_random_streams(stream: bytes) -> None:
    base = aerial(2, 17, 33)
    try:
        decode_residual(stream, base, 0)
    except FormatError:
        return


def integers(values: list[int], table: int) -> entropy.Symbols:
    return np.array(values, np.int32), np.full(len(values), table, np.uint16)


@pytest.mark.parametrize(
    ("passes", "bound"),
    [
        ([integers([3], LEVELS)], 0),  # four levels of slots
        ([integers([0], LEVELS), integers([1], FLAG)], 1),  # a list of values, though not lossless
        ([integers([0], LEVELS), integers([1], FLAG), integers([256], WIDE)], 0),  # 257 values
        ([integers([0], LEVELS), integers([0], FLAG), integers([1], FLAG), integers([0, 0, 1 << 20, 0, 0], WIDE)], 0),
    ],
)  # fmt: skip
def test_integers_out_of_range(passes: list[entropy.Symbols], bound: int) -> None:
    stream = entropy.encode(passes, residual_tables())
    with pytest.raises(FormatError, match=r"out of its range|not lossless"):
        decode_residual(stream, np.zeros((16, 16, 1), np.uint8), bound)


# ---- tables and order ---------------------------------------------------------------------------------------


def test_tables() -> None:
    tables = residual_tables()
    assert len(tables.low) == flat_table(11)
    for scale in (0, 7, 20, SCALES - 1):
        s = 2 ** ((scale - 20) / 4)
        for offset in (-4, 0, 3):
            index = table_index(scale, offset)
            start = tables.length[:index].sum()
            values = np.arange(tables.length[index] - 1) + tables.low[index]
            edges = (np.append(values, values[-1] + 1) - 0.5 - offset / 8) / s
            expected = np.diff(0.5 + 0.5 * np.tanh(edges / 2))
            shares = tables.frequency[start : start + len(values)] / 2**24
            assert abs(shares - expected).max() < 1e-4


def test_each_sample_is_in_one_lattice_and_its_neighbours_in_earlier_ones() -> None:
    order = np.full((48, 32), -1)
    for number, lattice in enumerate(LATTICES):
        rows, cols = (np.arange(n) for n in order.shape)
        view = lattice.of(order)
        assert (view == -1).all()
        for row in lattice.of(np.broadcast_to(rows[:, None], order.shape))[:, 0]:
            for col in lattice.of(np.broadcast_to(cols, order.shape))[0]:
                for dy, dx in lattice.near + lattice.far:
                    r, c = row + dy * lattice.unit, col + dx * lattice.unit
                    if 0 <= r < 48 and 0 <= c < 32:
                        assert 0 <= order[r, c] < number
        view[...] = number
    assert (order >= 0).all()


@pytest.mark.parametrize("others", [0, 1, 2])
def test_default_weights(others: int) -> None:
    for slot in slots(3):
        weights = default_weights(slot.kind, others)
        assert len(weights.mean) == mean_count(slot.kind, others)
        assert len(weights.spread) == spread_count(slot.kind, others)
        assert abs(weights.mean).max(initial=0) <= WEIGHT_LIMIT
        assert len(weights.scales) == CONTEXTS and weights.scales.max() == MAX_SCALE


def test_ranks() -> None:
    values = np.array([3, 7, 8, 20], np.int32)
    base = np.array([0, 3, 5, 6, 8, 14, 15, 255], np.int32)
    assert rank_of(base, values).tolist() == [0, 0, 0, 1, 2, 2, 3, 3]
    assert rank_of(base, values[:1]).tolist() == [0] * 8


# ---- the base image -------------------------------------------------------------------------------------------


def latents(tiny: Model, height: int, width: int, size: float, seed: int = 0) -> np.ndarray:
    shape = (tiny.net.config.latents, height, width)
    return np.rint(np.random.default_rng(seed).normal(0, size, shape)).astype(np.int32)


@pytest.mark.parametrize("quality", [0, 37, 224])
@pytest.mark.parametrize("size", [(1, 1), (5, 4)])
def test_the_base_is_the_linear_path(tiny: Model, quality: int, size: tuple[int, int]) -> None:
    y_hat = latents(tiny, *size, 60)
    image = LinearBase(tiny, quality).image(y_hat)
    with torch.inference_mode():
        gain = tiny.net.inverse_gain(torch.tensor([quality / 32]))
        assert tiny.net.synthesis.shortcut is not None
        packed = tiny.net.synthesis.shortcut(torch.from_numpy(y_hat)[None].float() / 16 * gain)
        expected = 255 * unpack(packed)[0].permute(1, 2, 0).numpy()
    assert abs(image / 4096 - expected).max() < 0.25
    grey = LinearBase(tiny, quality).image(y_hat, grey=True)
    assert grey.shape == (*image.shape[:2], 1)
    assert abs(grey[..., 0] / 4096 - expected.mean(2)).max() < 0.25


def test_latents_of_any_size_stay_in_range(tiny: Model) -> None:
    for value in (2**29, -(2**29)):
        y_hat = np.full((tiny.net.config.latents, 3, 2), value, np.int32)
        y_hat[::2] *= -1
        image = LinearBase(tiny, 0).image(y_hat)
        assert abs(image.astype(np.int64)).max() <= 1 << 26


def test_models_without_a_linear_path(tiny: Model) -> None:
    shortcut, tiny.net.synthesis.shortcut = tiny.net.synthesis.shortcut, None
    try:
        with pytest.raises(ModelError, match="no linear path"):
            LinearBase(tiny, 0)
    finally:
        tiny.net.synthesis.shortcut = shortcut
