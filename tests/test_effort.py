"""How hard the encoder tries: 0, 1 or 2, all of them files like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from command import refused, works
from conftest import aerial, in_mode, psnr
from PIL import Image

import dmecodec
from dmecodec.codec import annealing
from dmecodec.errors import OptionError
from dmecodec.network.lambdas import LAMBDAS
from dmecodec.weights import model as weights
from dmecodec.weights.model import Model


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annealing, "STEPS", 30)


def cost(image: np.ndarray, data: bytes, quality: int) -> float:
    """Bits and lambda times the squared error, of a whole file."""
    error = np.square(dmecodec.decode(data).astype(float) - image).sum() / 3
    return 8 * len(data) + LAMBDAS[quality] * error


@pytest.mark.parametrize("quality", [1, 5])
def test_more_effort_costs_less(quality: int) -> None:
    image = aerial(31, 64, 96)
    costs = [cost(image, dmecodec.encode(image, quality, effort=e), quality) for e in (0, 1, 2)]
    assert costs[1] < 1.005 * costs[0]
    assert costs[2] < 1.001 * costs[1]


def test_the_default_is_one_and_the_same_every_time() -> None:
    image = aerial(32, 70, 50)
    assert dmecodec.encode(image, 3) == dmecodec.encode(image, 3, effort=1)
    assert dmecodec.encode(image, 3, effort=2) == dmecodec.encode(image, 3, effort=2)


def test_annealing_in_inference_mode_and_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    image = aerial(34, 40, 50)
    expected = dmecodec.encode(image, 3, effort=2)
    monkeypatch.setattr(weights, "_loaded", {})  # the model is built within it
    with torch.inference_mode():
        assert dmecodec.encode(image, 3, effort=2) == expected
    assert dmecodec.encode(image, 3, effort=2) == expected


def test_annealing_finds_better_latents(tiny: Model) -> None:
    """Here they start far from good ones."""
    image = torch.from_numpy(aerial(33, 64, 64).copy()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        y = tiny.net.analysis(image) * tiny.net.gain(torch.tensor([4.0]))
        far = y + 0.4 * torch.sign(torch.sin(100 * y))
    annealer = annealing.Annealer(tiny)
    better = annealer.improve(image, far, 128)
    costs = [annealer._cost(image, latents, 128) for latents in (far, better)]
    assert costs[1] < 0.999 * costs[0]


@pytest.mark.parametrize(
    ("mode", "height", "width", "tile"),
    [("RGB", 300, 70, 256), ("L", 37, 91, 1024), ("RGBA", 20, 130, 64)],
)
def test_tiles_borders_grey_and_alpha(mode: str, height: int, width: int, tile: int) -> None:
    """Blocks of the image's own borders, and tiles, have latents too."""
    image = in_mode(aerial(34, height, width), mode)
    data = dmecodec.encode(image, 5, effort=2, tile=tile)
    assert psnr(dmecodec.decode(data), image) > psnr(dmecodec.decode(dmecodec.encode(image, 4, tile=tile)), image)


def test_a_bound_holds_at_every_effort() -> None:
    image = aerial(35, 48, 64)
    files = [dmecodec.encode(image, 2, max_error=3, effort=effort) for effort in range(3)]
    for data in files:
        assert np.abs(dmecodec.decode(data).astype(int) - image).max() <= 3
    assert files[2] == files[1]  # annealing would aim at another image


def test_on_the_command_line(tmp_path: Path) -> None:
    Image.fromarray(aerial(36, 64, 64)).save(tmp_path / "a.png")
    works("encode", tmp_path / "a.png", "--effort", "0", "-q", "3", "-o", tmp_path / "a.dmen")
    image = np.asarray(Image.open(tmp_path / "a.png"))
    assert (tmp_path / "a.dmen").read_bytes() == dmecodec.encode(image, 3, effort=0)
    assert "effort" in refused("encode", tmp_path / "a.png", "--effort", "3")


def test_other_efforts_are_refused() -> None:
    for effort in (-1, 3, 1.5, "1", None, np.array([1, 2])):
        with pytest.raises(OptionError, match="effort must be 0 to 2"):
            dmecodec.encode(aerial(1, 16, 16), effort=effort)  # type: ignore[arg-type]
