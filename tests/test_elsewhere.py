"""Encoding and decoding never mix tensors of two devices; tested without a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import aerial, in_mode
from elsewhere import DEVICE, elsewhere

import dmecodec

LIKE_CUDA = DEVICE, torch.float64
LIKE_MPS = torch.device("cpu"), torch.float32


def test_the_simulated_device_refuses_to_mix() -> None:
    with elsewhere(LIKE_CUDA):
        a = torch.ones(3, device=DEVICE)
        assert (2 * a + a.new_tensor([1.0, 2, 3])).cpu().tolist() == [3, 4, 5]
        with pytest.raises(RuntimeError, match="two devices"):
            a + torch.ones(3)
        with pytest.raises((TypeError, RuntimeError)):
            a.numpy()


@pytest.mark.parametrize("exact", [LIKE_CUDA, LIKE_MPS], ids=["cuda", "mps"])
@pytest.mark.parametrize(
    ("mode", "options"),
    [("RGB", {"tile": 128}), ("RGB", {"effort": 0}), ("RGB", {"max_error": 2}), ("RGBA", {}), ("L", {})],
    ids=str,
)
def test_files_of_the_simulated_device(
    exact: tuple[torch.device, torch.dtype], mode: str, options: dict[str, Any]
) -> None:
    image = in_mode(aerial(61, 150, 140), mode)
    with elsewhere(exact):
        data = dmecodec.encode(image, 4, device="cuda", **options)
        on_device = dmecodec.latents(data, device="cuda"), dmecodec.decode(data, device="cuda")
        part = dmecodec.decode(data, window=(20, 30, 64, 40), device="cuda")
    on_cpu = dmecodec.latents(data, device="cpu"), dmecodec.decode(data, device="cpu")
    for a, b in zip(on_device[0], on_cpu[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.abs(on_device[1].astype(int) - on_cpu[1]).max() <= (0 if "max_error" in options else 1)
    assert np.abs(on_device[1][30:70, 20:84].astype(int) - part).max() <= 1
