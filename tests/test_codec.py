"""One tile: its streams decode exactly to the latents of the encoder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import second_decoder
import torch
from conftest import DATA
from hypothesis import given, settings
from hypothesis import strategies as st

from dmecodec.codec.tile import TileLatents, decode_tile, encode_symbols, encode_tile, hyper_side
from dmecodec.entropy.rans import VALUE_LIMIT
from dmecodec.errors import FormatError
from dmecodec.network.parameters import MEAN_UNIT
from dmecodec.restoration.details import NO_FILTER
from dmecodec.weights import model as weights
from dmecodec.weights import registry
from dmecodec.weights.model import Model

SECOND = second_decoder.Model(DATA / "tiny.safetensors")


def latents(seed: int, height: int, width: int, spread: float = 4.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randn(1, 24, height, width, generator=generator)
    return spread * y / torch.arange(1, 25).view(1, -1, 1, 1) ** 0.5


def code(model: Model, y: torch.Tensor, quality: int) -> tuple[TileLatents, np.ndarray, np.ndarray]:
    """The decoded tile, and y-hat and z-hat of the encoder."""
    with torch.inference_mode():
        z_hat, _, y_hat = encode_symbols(model, y, quality)
        fit = random_filter(quality) if quality % 3 else None
        streams = encode_tile(model, y, quality, fit=fit)[:2]
        tile = decode_tile(model, *streams, quality, *y.shape[2:], filtered=fit is not None)
        return tile, y_hat, z_hat


def random_filter(seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """A fit that returns random coefficients for an odd seed, and no filter for an even one."""
    coefficients = np.random.default_rng(seed).integers(-255, 256, (3, 12)) * (seed % 2)
    return lambda y_hat: coefficients


@settings(max_examples=60)
@given(
    st.sampled_from(["tiny", "paper"]),
    st.integers(0, 10**6),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 224),
    st.sampled_from([0.0, 0.3, 4.0, 300.0, 1e5]),
)
def test_round_trip(name: str, seed: int, height: int, width: int, quality: int, spread: float) -> None:
    model = weights.load(registry.find(name), torch.device("cpu"))
    y = latents(seed, height, width, spread)
    tile, y_hat, z_hat = code(model, y, quality)
    assert tile.y.shape == (24, height, width) and tile.y.dtype == np.int32
    assert tile.z.shape == (8, hyper_side(height), hyper_side(width))
    np.testing.assert_array_equal(tile.y, y_hat)
    np.testing.assert_array_equal(tile.z, z_hat)
    expected = random_filter(quality)(y_hat) if quality % 3 else NO_FILTER
    np.testing.assert_array_equal(NO_FILTER if tile.coefficients is None else tile.coefficients, expected)
    error = abs(tile.y / MEAN_UNIT - y[0].numpy())
    assert error.max() <= 1.5 + 1e-6 * spread  # the nearest integer, or one step nearer the mean


@pytest.mark.parametrize("spread", [1e7, 1e12, 1e30])
def test_extreme_latents(tiny: Model, spread: float) -> None:
    """They are clamped to VALUE_LIMIT, and y-hat is exact although float32 would not be."""
    y = latents(1, 3, 5, spread)
    tile, y_hat, _ = code(tiny, y, 200)
    np.testing.assert_array_equal(tile.y, y_hat)
    assert abs(tile.y).max() >= MEAN_UNIT * (VALUE_LIMIT - 1) - 2**16
    with torch.inference_mode():
        streams = encode_tile(tiny, y, 200, fit=random_filter(1))[:2]
    second, z, values = second_decoder.decode_tile(SECOND, *streams, 200, 3, 5, True)
    assert values == random_filter(1)(second).T.ravel().tolist()
    np.testing.assert_array_equal(second, tile.y)
    np.testing.assert_array_equal(z, tile.z)
    assert (tile.y % 2).any()  # a float32 of this size is even


def test_streams_of_another_tile(tiny: Model) -> None:
    """Streams decoded with another size or quality are refused, or give wrong latents, but never crash."""
    with torch.inference_mode():
        z, y = encode_tile(tiny, latents(2, 8, 8), 100)[:2]
        for height, width, quality in ((9, 9, 100), (2, 2, 100), (8, 8, 10)):
            with pytest.raises(FormatError):
                decode_tile(tiny, z, y, quality, height, width, filtered=False)
        for wrong in ((y, z), (z, z), (b"", y), (z, b""), (z, y[:-4])):
            try:
                tile = decode_tile(tiny, *wrong, 100, 8, 8, filtered=True)
            except FormatError:
                continue
            assert tile.y.shape == (24, 8, 8)


def test_latents_near_zero_take_few_bytes(tiny: Model) -> None:
    with torch.inference_mode():
        small, large = (sum(map(len, encode_tile(tiny, latents(3, 16, 16, spread), 128)[:2])) for spread in (0.1, 10.0))
    assert 0 < small < 0.8 * large


@pytest.mark.parametrize("name", ["tiny", "paper"])
def test_a_single_latent(name: str) -> None:
    """The second pass of a checkered slice is empty then."""
    model = weights.load(registry.find(name), torch.device("cpu"))
    tile, y_hat, _ = code(model, latents(5, 1, 1), 100)
    np.testing.assert_array_equal(tile.y, y_hat)
    with torch.inference_mode():
        streams = encode_tile(model, latents(5, 1, 1), 100)[:2]
    second = second_decoder.Model(DATA / f"{name}.safetensors")
    y, _, _ = second_decoder.decode_tile(second, *streams, 100, 1, 1, False)
    np.testing.assert_array_equal(y, y_hat)
