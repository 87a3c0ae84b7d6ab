"""The models of the package on the example image: PSNR, sizes, and precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import psnr
from PIL import Image

import dmecodec
from dmecodec.weights.model import load_file
from dmecodec.weights.registry import find

ROOT = Path(__file__).resolve().parent.parent
MODELS = sorted(path.stem for path in (ROOT / "models").glob("*.safetensors"))


@pytest.fixture(scope="module")
def example() -> np.ndarray:
    return np.asarray(Image.open(ROOT / "docs" / "example.png").convert("RGB"))


def coded_psnr(image: np.ndarray, quality: float, **options: object) -> float:
    return psnr(dmecodec.decode(dmecodec.encode(image, quality, **options)), image)  # type: ignore[arg-type]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("quality", [1, 4, 7])
def test_the_network_does_not_rely_on_the_restoration_filter(model: str, quality: int, example: np.ndarray) -> None:
    """Files of effort 0, and small tiles with neighbours, have no filter."""
    filtered = coded_psnr(example, quality, model=model)
    assert coded_psnr(example, quality, model=model, effort=0) > filtered - 1
    assert coded_psnr(example, quality, model=model, tile=128) > filtered - 1


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("quality", [1, 4, 7])
def test_bf16_costs_less_than_a_hundredth_of_a_decibel(
    model: str, quality: int, example: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compared with float32; both are the same if this processor does not compute in bf16."""
    data = dmecodec.encode(example, quality, model=model)
    fast = dmecodec.decode(data)
    monkeypatch.setattr("dmecodec.codec.synthesis.autocast", lambda device: torch.autocast(device.type, enabled=False))
    exact = dmecodec.decode(data)
    assert np.abs(fast.astype(int) - exact).max() <= 1
    assert psnr(exact, example) - psnr(fast, example) < 0.01


@pytest.mark.parametrize("model", MODELS)
def test_size_and_psnr_rise_with_the_quality(model: str, example: np.ndarray) -> None:
    files = [dmecodec.encode(example, quality, model=model) for quality in range(8)]
    errors = [psnr(dmecodec.decode(data), example) for data in files]
    assert errors == sorted(errors) and errors[-1] > 43
    sizes = [len(data) for data in files]
    assert sizes == sorted(sizes) and sizes[0] < example.size / 3 * 0.15 / 8


@pytest.mark.parametrize("model", MODELS)
def test_loading_leaves_the_random_numbers_of_the_caller_alone(model: str) -> None:
    before = torch.get_rng_state()
    load_file(find(model).path, torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)
