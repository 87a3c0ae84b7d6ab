"""The restoration filter: its symbols, its arithmetic, its fit, and its effect on files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import second_decoder
import torch
from conftest import DATA, aerial, in_mode, psnr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import dmecodec
from dmecodec.base import boxes
from dmecodec.base.boxes import Box
from dmecodec.codec import annealing, encoder
from dmecodec.codec.decoder import Decoder
from dmecodec.codec.samples import from_network, from_three
from dmecodec.codec.synthesis import synthesise
from dmecodec.entropy import rans as entropy
from dmecodec.entropy.rans import Tables
from dmecodec.errors import FormatError
from dmecodec.format import writer
from dmecodec.format.kinds import Kind
from dmecodec.format.reader import Reader
from dmecodec.network.lambdas import error_price
from dmecodec.restoration import details as details_module
from dmecodec.restoration import fit
from dmecodec.restoration.details import DETAILS, NO_FILTER, REACH, STEP, apply, details, mirrored, on_axes
from dmecodec.restoration.prior import code_lengths, filter_symbols, filter_tables, read_filter
from dmecodec.train.filter import best_coefficients, restored
from dmecodec.weights import model as weights
from dmecodec.weights import registry
from dmecodec.weights.model import Model

SECOND = second_decoder.Model(DATA / "tiny.safetensors")


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape))


# ---- in the Y stream ---------------------------------------------------------------------------

COEFFICIENTS = arrays.arrays(int, (3, DETAILS), elements=st.integers(-255, 255), fill=st.just(0))
UNUSED = Tables(np.zeros(64, np.int32), np.full(64, 2, np.int32), np.full(128, 1 << 23, np.int32))
TABLES = UNUSED.followed_by(filter_tables())


@given(COEFFICIENTS, st.integers(0, 224))
def test_coefficients_come_back(values: np.ndarray, quality: int) -> None:
    stream = entropy.encode(filter_symbols(values, quality), TABLES)
    decoder = entropy.SymbolDecoder(stream, TABLES)
    decoded = read_filter(decoder, quality)
    decoder.finish()
    assert np.array_equal(NO_FILTER if decoded is None else decoded, values)
    indices = (values.T + 255)[..., None]
    bits = np.take_along_axis(code_lengths(quality), indices, 2).sum()
    assert 8 * len(stream) < bits + 24 + 8  # the symbol that is coded first takes up to 24 bits
    ans, tables = second_decoder.Ans(stream), second_decoder.all_tables(SECOND)
    assert second_decoder.read_filter(tables, ans, quality) == values.T.ravel().tolist()
    assert ans.finished()


def test_no_filter_takes_no_bits() -> None:
    """Even after other symbols, as rANS codes the last symbol first."""
    rng = np.random.default_rng(0)
    for count in (0, 1, 100):
        others = rng.integers(-9, 9, count).astype(np.int32), np.full(count, 70, np.uint8)
        flag = filter_symbols(NO_FILTER, 0)
        assert entropy.encode([others, *flag], TABLES) == entropy.encode([others], TABLES)
    with pytest.raises(ValueError, match="out of range"):
        filter_symbols(np.full((3, DETAILS), 256), 0)


@pytest.mark.parametrize(("present", "value"), [(1, 0), (1, 256), (1, -300), (2, 7), (-1, 7)])
def test_impossible_filters_are_refused(present: int, value: int) -> None:
    flag, (values, indices) = filter_symbols(np.full((3, DETAILS), 7), 100)
    values = np.full_like(values, value)
    stream = entropy.encode([(np.array([present], np.int32), flag[1]), (values, indices)], TABLES)
    with pytest.raises(FormatError, match="restoration filter"):
        read_filter(entropy.SymbolDecoder(stream, TABLES), 100)


def test_the_tables_of_the_second_decoder() -> None:
    theirs = second_decoder.all_tables(SECOND).boundaries[64:]
    assert len(theirs) == len(filter_tables().low) == 15
    frequencies = np.concatenate([np.diff(row) for row in theirs])
    np.testing.assert_array_equal(frequencies, filter_tables().frequency)


# ---- the arithmetic ----------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 40))
def test_details_are_differences_of_means(height: int, width: int) -> None:
    x = noise(1, 1, 3, height, width)
    computed = details(mirrored(x)).reshape(4, 3, height, width)
    padded = np.pad(x[0].numpy(), ((0, 0), (REACH, REACH), (REACH, REACH)), "symmetric")
    row, col = height // 2 + REACH, width // 3 + REACH
    means = [padded[:, row, col]]
    for n, r in enumerate((1, 2, 4, 8)):
        means.append(padded[:, row - r : row + r + 1, col - r : col + r + 1].mean((1, 2)))
        at_position = computed[n, :, row - REACH, col - REACH].numpy()
        np.testing.assert_allclose(at_position, means[n] - means[n + 1], atol=1e-12)


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    x, coefficients = noise(2, 2, 3, 70, 90), noise(3, 2, 3, DETAILS)
    whole = apply(x, coefficients)
    monkeypatch.setattr(details_module, "_CHUNK", 32)
    assert torch.allclose(apply(x, coefficients), whole, atol=1e-12)


def test_the_gradient_is_exact() -> None:
    """The gradient with constant coefficients is the full gradient, as the coefficients are optimal."""
    x, original = noise(4, 1, 3, 11, 30), noise(5, 1, 3, 11, 30)

    def error(x: torch.Tensor) -> torch.Tensor:
        return (restored(x, original) - original).square().sum()

    assert torch.autograd.gradcheck(error, x.clone().requires_grad_(), atol=1e-3, rtol=1e-2)


def test_least_squares_recovers_the_coefficients_of_a_filter() -> None:
    x = noise(6, 2, 3, 64, 64)
    wanted = noise(7, 2, 3, DETAILS) - 0.5
    original = apply(x, wanted)
    assert torch.allclose(best_coefficients(x, original), wanted, atol=1e-2)
    assert (restored(x, original) - original).abs().max() < 1e-2


# ---- the encoder's choice ----------------------------------------------------------------------


def statistics_of(x: torch.Tensor, original: torch.Tensor) -> fit.Statistics:
    everywhere = np.ones(x.shape[2:], bool)
    return fit.statistics(x, original, original - x, everywhere)


def cost(sampled: fit.Statistics, values: np.ndarray, quality: int) -> float:
    c = STEP * values.T
    change = (c * (sampled.gram @ c) - 2 * c * sampled.cross).sum()
    bits = np.take_along_axis(code_lengths(quality), (values.T + 255)[..., None], 2).sum()
    return float(error_price(quality) * change + bits)


def test_the_choice_is_a_local_optimum() -> None:
    x = noise(8, 1, 3, 64, 64)
    coefficients = torch.from_numpy(np.random.default_rng(9).normal(0, 0.3, (1, 3, DETAILS)))
    original = apply(x, coefficients) + 0.1 * noise(10, 1, 3, 64, 64)
    sampled = statistics_of(x, original)
    chosen = fit.choose(sampled, 64 * 64, np.zeros(DETAILS), 32)
    best = cost(sampled, chosen, 32)
    assert best < 0 and chosen.any()
    for index in np.ndindex(*chosen.shape):
        for step in (-1, 1, -chosen[index]):
            other = chosen.copy()
            other[index] += step
            assert cost(sampled, other, 32) >= best


def test_no_filter_if_none_pays() -> None:
    x = noise(11, 1, 3, 32, 32)
    sampled = statistics_of(x, x + 0.01 * (noise(12, 1, 3, 32, 32) - 0.5))
    assert not fit.choose(sampled, 32 * 32, np.zeros(DETAILS), 0).any()
    assert not fit.choose(fit.Statistics.none(), 32 * 32, np.zeros(DETAILS), 224).any()


def test_the_axes_are_orthonormal() -> None:
    x = noise(13, 1, 3, 5, 6)
    assert torch.allclose(on_axes(x).square().sum(), x.square().sum())


# ---- files -------------------------------------------------------------------------------------


def encode_with_filter(choose: Callable[[], np.ndarray], image: np.ndarray, *args: Any, **options: Any) -> bytes:
    """Encodes with the coefficients that `choose` returns for each tile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "fit_filter", lambda *_: choose())
        return dmecodec.encode(image, *args, **options)


def encode_without_filter(image: np.ndarray, *args: Any, **options: Any) -> bytes:
    """Encodes with the filter of all tiles off."""
    return encode_with_filter(lambda: NO_FILTER, image, *args, **options)


def has_filters(data: bytes) -> list[bool]:
    """Whether each tile has a filter, in the first group."""
    reader = Reader(data)
    model = weights.load(registry.find_id(reader.header.model), torch.device("cpu"))
    tiles = (Decoder(reader, model)._open_tile(n, 0) for n in range(reader.header.tile_count))
    return [tile.coefficients is not None for tile in tiles]


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_the_filter_raises_the_psnr_and_keeps_the_latents(mode: str) -> None:
    image = in_mode(aerial(60, 150, 190), mode)
    data = dmecodec.encode(image, 4)
    plain = encode_without_filter(image, 4)
    assert len(plain) < len(data) < len(plain) + 60
    assert psnr(dmecodec.decode(data), image) > psnr(dmecodec.decode(plain), image) + 0.01
    for filtered, unfiltered in zip(dmecodec.latents(data), dmecodec.latents(plain), strict=True):
        assert np.array_equal(filtered, unfiltered)


def test_filters_from_effort_1_on_and_without_a_bound() -> None:
    image = aerial(61, 100, 80)
    assert has_filters(dmecodec.encode(image, 4)) == [True]
    assert has_filters(dmecodec.encode(image, 4, effort=0)) == [False]
    assert has_filters(dmecodec.encode(image, 4, max_error=2)) == [False]
    assert has_filters(dmecodec.encode(aerial(61, 7, 9), 0)) == [False]


def test_a_window_is_a_part_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "_MIN_SAMPLED_PIXELS", 1)
    data = dmecodec.encode(aerial(62, 200, 300), 5, tile=64)
    assert sum(has_filters(data)) > 5
    whole = dmecodec.decode(data).astype(int)
    for col, row, width, height in ((0, 0, 300, 9), (60, 55, 12, 20), (291, 190, 9, 10)):
        part = dmecodec.decode(data, window=(col, row, width, height))
        assert abs(whole[row : row + height, col : col + width] - part).max() <= 1


@pytest.mark.parametrize(
    ("height", "width", "bands"), [(1, 1, 3), (1, 200, 3), (5, 3, 3), (66, 17, 3), (65, 129, 3), (90, 133, 5)]
)
def test_a_second_decoder_agrees_on_every_window(tiny: Model, height: int, width: int, bands: int) -> None:
    """Images and tiles of any size, groups of three and of two bands, pixels at the borders of tiles."""
    image = np.tile(aerial(66, height, width), 2)[..., :bands]
    rng = np.random.default_rng(0)
    data = encode_with_filter(lambda: rng.integers(-40, 41, (3, DETAILS)), image, 3, tile=64, bands="last")
    reader = Reader(data)
    decoder, header = Decoder(reader, tiny), reader.header
    for group in range(header.groups):
        y = decoder._gather(decoder.image.scaled_down(16), group)
        with torch.inference_mode():
            plain = synthesise(tiny, torch.from_numpy(y)[None], header.quality)[0].numpy()
        plain = plain[:, :height, :width].astype(float)
        filtered = plain.copy()
        for index in range(header.tile_count):
            left, top, w, h = box = header.tile_box(index)
            coefficients = decoder._open_tile(index, group).coefficients
            assert coefficients is not None
            filtered[:, top : top + h, left : left + w] = second_decoder.filtered(
                plain, box, coefficients.T.ravel().tolist()
            )
        samples = from_three(torch.from_numpy(filtered), len(decoder.layout.groups[group]))
        expected = from_network(samples, decoder.layout, group)
        for window in ((0, 0, width, height), (width // 2, height // 2, 1, 1)):
            rows, cols = Box(*window).slices(decoder.image)
            ours = decoder._synthesise(Box(*window), group)
            assert (ours - expected[:, rows, cols]).abs().max() < 0.1


def test_masked_pixels_do_not_count() -> None:
    """Invalid samples do not count in the fit, and do not prevent a filter."""
    image = aerial(67, 200, 200)
    opaque = in_mode(image, "RGBA")
    opaque[..., 3] = 255
    opaque[0, 0, 3] = 0
    assert has_filters(dmecodec.encode(opaque, 4)) == [True]
    image[60:] = 0
    assert has_filters(dmecodec.encode(image, 4, nodata=0)) == [True]
    image[..., 1] = 0
    assert has_filters(dmecodec.encode(image, 4, nodata=0)) == [True]


@pytest.mark.parametrize("effort", [1, 2])
def test_tiles_larger_than_a_block(effort: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder samples a tile block by block."""
    monkeypatch.setattr(boxes.Box.blocks, "__defaults__", (128,))
    monkeypatch.setattr(annealing, "STEPS", 1)
    image = aerial(68, 200, 264)
    data = dmecodec.encode(image, 4, tile=320, effort=effort)
    plain = encode_without_filter(image, 4, tile=320, effort=effort)
    assert psnr(dmecodec.decode(data), image) > psnr(dmecodec.decode(plain), image)


def test_small_tiles_with_neighbours_have_no_filter() -> None:
    """Too few of their pixels can be decoded exactly without the neighbours."""
    data = dmecodec.encode(aerial(69, 130, 200), 4, tile=64)
    assert not any(has_filters(data))


def test_the_filter_does_not_harm_the_unsampled_part() -> None:
    """The sampled areas of a large tile are lakes here, and the rest is land."""
    image = np.tile(aerial(63, 160, 160), (5, 5, 1))
    for row in range(3):
        for col in range(3):
            top, left = 133 + 266 * row - 96, 133 + 266 * col - 96
            lake = np.random.default_rng(row + 3 * col).integers(60, 64, (192, 192, 3))
            image[top : top + 192, left : left + 192] = lake
    data = dmecodec.encode(image, 4)
    plain = encode_without_filter(image, 4)
    assert psnr(dmecodec.decode(data), image) > psnr(dmecodec.decode(plain), image) - 0.02


def test_a_filter_in_a_file_with_a_bound_is_refused() -> None:
    """Its Y streams end with the latents."""
    data = dmecodec.encode(aerial(60, 150, 190), 4)
    assert has_filters(data) == [True]
    reader = Reader(data)
    header = dataclasses.replace(reader.header, kinds=(Kind.Z, Kind.Y, Kind.RESIDUAL), bound=1)
    forged = writer.write(header, [reader.tile(0) | {Kind.RESIDUAL: b""}], {})
    for use in (dmecodec.latents, dmecodec.decode):
        with pytest.raises(FormatError, match="does not end where it should"):
            use(forged)
