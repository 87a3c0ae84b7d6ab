"""Images of one row or column: many tiles of few pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import psnr
from PIL import Image

import dmecodec
from dmecodec.base.threads import torch_threads

MODEL = Path(__file__).resolve().parent.parent / "models" / "dmenet-1.safetensors"


@pytest.mark.parametrize(("width", "height"), [(20000, 1), (1, 20000), (16, 9000)])
def test_thin_images(width: int, height: int, tmp_path: Path) -> None:
    slope = np.arange(width * height).reshape(height, width, 1) // 50 % 200 + [0, 20, 40]
    image = slope.astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "thin.png")
    decoded = dmecodec.decode(dmecodec.encode(tmp_path / "thin.png", model=MODEL), model=MODEL)
    assert decoded.shape == image.shape
    assert psnr(decoded, image) > 30


def test_the_number_of_threads_comes_back_and_changes_no_byte() -> None:
    image = np.random.default_rng(0).integers(0, 255, (1, 3000, 3)).astype(np.uint8)
    before, files = torch.get_num_threads(), set()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            files.add(dmecodec.encode(image, model=MODEL, bands="last"))
            dmecodec.decode(dmecodec.encode(image, model=MODEL, bands="last"), model=MODEL)
            assert torch.get_num_threads() == threads
            with pytest.raises(ZeroDivisionError), torch_threads(single=True):
                assert torch.get_num_threads() == 1
                raise ZeroDivisionError
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(files) == 1
