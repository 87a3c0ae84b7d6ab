"""Flat images stay flat, with every model that is shipped."""

from __future__ import annotations

import io
import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from conftest import aerial

import dmecodec
from dmecodec.codec.options import flat_limit

MODELS = sorted((Path(__file__).resolve().parent.parent / "models").glob("*.safetensors"))
LIMITS = {0: 40, 2: 33, 4: 10}
SIDES = 8 if os.environ.get("DMECODEC_ALL_COLOURS") else 3
"""Levels of each channel in the grid of colours; all 8 take some minutes."""
COLOURS = list(product(np.linspace(0, 255, SIDES).round().astype(np.uint8), repeat=3))


def flat(colour: tuple[int, ...], height: int = 64, width: int = 64) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, len(colour)))


def coded(image: np.ndarray, quality: float, **options: object) -> tuple[np.ndarray, int | None]:
    """Decoded pixels, and the bound that the file promises."""
    with dmecodec.File(io.BytesIO(dmecodec.encode(image, quality, **options))) as file:
        return file.read().astype(int), file.max_error


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
@pytest.mark.parametrize("quality", LIMITS)
def test_a_grid_of_colours(model: Path, quality: int) -> None:
    for colour in COLOURS:
        image = flat(colour)
        decoded, _ = coded(image, quality, model=model)
        assert np.abs(decoded - image).max() <= LIMITS[quality], colour


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
@pytest.mark.parametrize(("height", "width"), [(130, 200), (300, 1), (17, 9), (256, 64)])
@pytest.mark.parametrize("effort", [0, 1])
def test_other_sizes(model: Path, height: int, width: int, effort: int) -> None:
    for colour in ((0, 255, 0), (255, 0, 255), (0, 0, 255)):
        image = flat(colour, height, width)
        decoded, _ = coded(image, 0, model=model, effort=effort)
        assert np.abs(decoded - image).max() <= 40


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
def test_nearly_flat_patches_and_alpha(model: Path) -> None:
    noise = np.random.default_rng(1).integers(-2, 3, (96, 96, 3))
    near = (flat((3, 250, 3), 96, 96) + noise).astype(np.uint8)
    decoded, _ = coded(near, 0, model=model)
    assert np.abs(decoded - near).max() <= 42
    halves = np.concatenate([flat((0, 255, 0), 192, 96), flat((255, 0, 255), 192, 96)], 1)
    decoded, _ = coded(halves, 0, model=model)
    assert np.abs(decoded - halves)[:, np.r_[0:60, 132:192]].max() <= 40
    opaque = np.concatenate([flat((0, 255, 0)), flat((255,))], 2)
    decoded, _ = coded(opaque, 0, model=model)
    assert np.abs(decoded - opaque).max() <= 40


def test_ordinary_images_get_no_bound() -> None:
    model = MODELS[0]
    assert coded(aerial(5, 200, 200), 0, model=model)[1] is None
    half = aerial(5, 200, 200)
    half[:, 120:] = 0
    assert coded(half, 0, model=model)[1] is None


def test_limits_between_the_qualities() -> None:
    assert [flat_limit(32 * quality) for quality in range(8)] == [40, 36, 33, 21, 10, 10, 10, 10]
