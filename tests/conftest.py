"""What the tests share: a tiny model that lives beside them, and images that look a little like aerial ones."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

if TYPE_CHECKING:
    from dmecodec.train.trainer import Snapshot
    from dmecodec.weights.model import Model

DATA = Path(__file__).resolve().parent / "data"
# The tiny model comes first, so it is the default one; child processes inherit it.
os.environ["DMECODEC_MODELS"] = str(DATA)
if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes, which share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# How long an example takes says nothing on a machine that is busy.
settings.register_profile("dmecodec", deadline=None)
settings.load_profile("dmecodec")


def aerial(seed: int, height: int, width: int) -> np.ndarray:
    """Fields, roads, roofs and trees: smooth shades, straight edges, texture; uint8 (height, width, 3).

    The same seed gives the same image on every machine: integers and exact steps alone.
    """
    rng = np.random.default_rng(seed)
    row, col = np.mgrid[:height, :width]
    image = np.empty((height, width, 3), np.int64)
    image[:] = rng.integers(60, 150, 3)
    image += ((row * rng.integers(-20, 21) + col * rng.integers(-20, 21)) // 64)[..., None]
    for _ in range(4 + height * width // 4096):
        _draw_shape(rng, image, row, col)
    grain = rng.integers(-128, 129, (height, width, 1))
    image += grain * rng.integers(2, 14) // 128 + rng.integers(-2, 3, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def _draw_shape(rng: np.random.Generator, image: np.ndarray, row: np.ndarray, col: np.ndarray) -> None:
    """A field, a road or a tree: a half plane, a strip or a disc of one colour with some texture."""
    height, width = row.shape
    y, x = row - rng.integers(height), col - rng.integers(width)
    a, b = rng.integers(-8, 9, 2)
    kind, size = rng.integers(4), int(rng.integers(2, 28))
    if kind == 0:  # a strip along a x + b y
        inside = abs(a * x + b * y) < 3 * size
    elif kind == 1:  # a disc
        inside = x * x + y * y < size * size
    else:  # a block along the axes
        inside = (abs(x) < size) & (abs(y) < 1 + size * int(rng.integers(1, 5)) // 2)
    image[inside] = rng.integers(20, 235, 3)
    texture = rng.integers(-12, 13, (height, width, 1)) * rng.integers(0, 3)
    image += texture * inside[..., None]


def in_mode(pixels: np.ndarray, mode: str) -> np.ndarray:
    """An RGB image in another mode; alpha is a mask with a soft part."""
    height, width = pixels.shape[:2]
    row, col = np.mgrid[:height, :width]
    soft = (row * 3 + col * 2) % 256
    alpha = np.where((row + col) % 97 < 60, 255, soft).astype(np.uint8)[..., None]
    grey = pixels[..., 1:2]
    parts = {"L": [grey], "LA": [grey, alpha], "RGB": [pixels], "RGBA": [pixels, alpha]}[mode]
    joined = np.concatenate(parts, 2)
    return joined[..., 0] if mode == "L" else joined


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """dB over all samples."""
    return float(10 * np.log10(255**2 / np.square(a.astype(float) - b).mean()))


@pytest.fixture(scope="session")
def image() -> Callable[[int, int, int], np.ndarray]:
    """:func:`aerial`, for tests that do not import this file."""
    return aerial


@pytest.fixture(scope="session")
def tiny() -> Model:
    """The tiny frozen model on the CPU."""
    import torch

    from dmecodec.weights import model as weights
    from dmecodec.weights import registry

    return weights.load(registry.find("tiny"), torch.device("cpu"))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in a folder, in a folder within it, and in a tar shard; one is too small to train on."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "more").mkdir()
    Image.fromarray(aerial(1, 72, 80)).save(folder / "a.png")
    Image.fromarray(aerial(2, 64, 96)).convert("L").save(folder / "more" / "b.tif")
    Image.fromarray(aerial(3, 40, 40)).save(folder / "small.png")
    with tarfile.open(folder / "shard.tar", "w") as tar:
        for seed in (4, 5):
            content = io.BytesIO()
            Image.fromarray(aerial(seed, 70, 66)).save(content, "WEBP", lossless=True)
            entry = tarfile.TarInfo(f"images/{seed}.webp")
            entry.size = len(content.getvalue())
            tar.addfile(entry, io.BytesIO(content.getvalue()))
        tar.addfile(tarfile.TarInfo("readme.txt"))
    return folder


@pytest.fixture(scope="session")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Snapshot]]:
    """A finished run, and what it reported."""
    pytest.importorskip("compressai", reason="training needs compressai")
    from small_run import CONFIG, FEW

    from dmecodec.train import session

    run = tmp_path_factory.mktemp("trained") / "run"
    snapshots: list[Snapshot] = []
    table = session.train([str(data)], str(run), network=CONFIG, report=snapshots.append, report_every=1, **FEW)
    assert table.row_count == 8
    return run, snapshots
