"""The models that come with the package, on the example image: what holds for the network, not only for its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import psnr
from PIL import Image

import dmecodec

ROOT = Path(__file__).resolve().parent.parent
MODELS = sorted(path.stem for path in (ROOT / "models").glob("*.safetensors"))


@pytest.fixture(scope="module")
def example() -> np.ndarray:
    return np.asarray(Image.open(ROOT / "docs" / "example.png").convert("RGB"))


def quality_of(image: np.ndarray, quality: float, **options: object) -> float:
    return psnr(dmecodec.decode(dmecodec.encode(image, quality, **options)), image)  # type: ignore[arg-type]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("quality", [1, 4, 7])
def test_the_restoration_filter_is_no_crutch(model: str, quality: int, example: np.ndarray) -> None:
    """Effort 0 has none, nor have small tiles beside others."""
    usual = quality_of(example, quality, model=model)
    assert quality_of(example, quality, model=model, effort=0) > usual - 1
    assert quality_of(example, quality, model=model, tile=128) > usual - 1


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("quality", [1, 4, 7])
def test_bf16_costs_next_to_nothing(
    model: str, quality: int, example: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against float32, where this processor computes in bf16 at all."""
    data = dmecodec.encode(example, quality, model=model)
    fast = dmecodec.decode(data)
    monkeypatch.setattr(
        "dmecodec.codec.synthesis.autocast",
        lambda device: torch.autocast(device.type, enabled=False),
    )
    exact = dmecodec.decode(data)
    assert np.abs(fast.astype(int) - exact).max() <= 1
    assert psnr(exact, example) - psnr(fast, example) < 0.01


@pytest.mark.parametrize("model", MODELS)
def test_the_whole_range(model: str, example: np.ndarray) -> None:
    files = [dmecodec.encode(example, quality, model=model) for quality in range(8)]
    errors = [psnr(dmecodec.decode(data), example) for data in files]
    assert errors == sorted(errors) and errors[-1] > 43
    sizes = [len(data) for data in files]
    assert sizes == sorted(sizes) and sizes[0] < example.size / 3 * 0.15 / 8
