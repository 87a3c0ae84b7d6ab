"""A bound on the error with bands, 16 bits and nodata: it holds for each valid sample, and nodata is kept."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import aerial
from hypothesis import given, settings
from hypothesis import strategies as st

import dmecodec
from dmecodec import File
from dmecodec.errors import BoundError


def scene(seed: int, shape: tuple[int, int], bands: int, deep: bool) -> np.ndarray:
    """Similar bands of 8 or 16 bits."""
    planes = [aerial(seed + n, *shape)[..., n % 3] for n in range(bands)]
    stacked = np.stack(planes, 2)
    return stacked.astype(np.uint16) * 23 + 1000 if deep else stacked


@settings(max_examples=25)
@given(
    st.integers(0, 1000),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.integers(1, 5),
    st.booleans(),
    st.sampled_from([0, 1, 2, 7, 255, 32767]),
    st.sampled_from([None, 0, 100, 255]),
)
def test_the_bound_holds(
    seed: int, shape: tuple[int, int], bands: int, deep: bool, bound: int, nodata: int | None
) -> None:
    image = scene(seed, shape, bands, deep)
    if nodata is not None:
        rows = np.random.default_rng(seed).integers(0, shape[0] + 1)
        image[:rows] = nodata
        image[-1, -1, 0] = nodata + 1 if nodata < 255 else nodata - 1  # a valid sample, one level from nodata
    data = dmecodec.encode(image, 1, max_error=bound, nodata=nodata, alpha=False, tile=64)
    pixels = dmecodec.decode(data).reshape(image.shape)
    assert pixels.dtype == image.dtype
    assert abs(pixels.astype(int) - image).max() <= bound
    if nodata is not None:
        np.testing.assert_array_equal(pixels == nodata, image == nodata)


def test_tiles_without_valid_samples_take_few_bytes() -> None:
    """Empty tiles have no latents and no residual."""
    image = scene(1, (256, 256), 3, False)
    image[:, 64:] = 0
    whole = dmecodec.encode(image, 1, max_error=0, nodata=0, tile=64)
    part = dmecodec.encode(np.ascontiguousarray(image[:, :128]), 1, max_error=0, nodata=0, tile=64)
    assert len(whole) - len(part) < 100
    np.testing.assert_array_equal(dmecodec.decode(whole), image)
    np.testing.assert_array_equal(dmecodec.decode(whole, window=(40, 3, 120, 70)), image[3:73, 40:160])


def test_verify_compares_bands(tmp_path: object) -> None:
    from io import BytesIO

    image = scene(2, (70, 50), 4, True)
    with File(BytesIO(dmecodec.encode(image, 2, max_error=3))) as file:
        largest_error = file.verify(original=image)
        assert largest_error is not None and largest_error <= 3
        image[5, 6, 1] += 50
        with pytest.raises(BoundError, match="column 6, row 5"):
            file.verify(original=image)


def test_colours_under_alpha_are_kept_with_a_bound() -> None:
    image = np.dstack([aerial(3, 80, 70), np.zeros((80, 70), np.uint8)])
    data = dmecodec.encode(image, 1, max_error=0, tile=64)
    np.testing.assert_array_equal(dmecodec.decode(data), image)
