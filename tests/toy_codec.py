"""A toy that takes the place of dmecodec in tests of the bench, and images to measure it on."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(height: int, width: int, seed: int = 0, bands: int = 3) -> np.ndarray:
    """Smooth waves with some noise: something to lose at every rate; uint8 (height, width, bands)."""
    rows, columns = np.mgrid[:height, :width]
    waves = np.stack([np.sin(rows / (6 + b + seed)) + np.cos(columns / 9) for b in range(bands)], 2)
    noise = np.random.default_rng(seed).normal(0, 6, waves.shape)
    return np.clip(127 + 50 * waves + noise, 0, 255).astype(np.uint8)


def toy_encode(image: np.ndarray, quality: float, **options: Any) -> bytes:
    """A curve that is known to rise: coarser levels at lower qualities."""
    step = 2 ** (7 - int(quality) // 2)
    header = np.array([*image.shape, step], np.int32).tobytes()
    return header + zlib.compress((image // step).tobytes(), 9)


def toy_decode(data: bytes, **options: Any) -> np.ndarray:
    """What `toy_encode` has kept."""
    *shape, step = np.frombuffer(data[:16], np.int32)
    levels = np.frombuffer(zlib.decompress(data[16:]), np.uint8).reshape(shape)
    return np.clip(levels.astype(int) * step + step // 2, 0, 255).astype(np.uint8)


def write_images(folder: Path) -> Path:
    """Two images large enough for MS-SSIM, and a file that is none."""
    folder.mkdir()
    Image.fromarray(picture(170, 180)).save(folder / "a.png")
    Image.fromarray(picture(165, 163, 1)).save(folder / "b.tif")
    (folder / "notes.txt").write_text("not an image, and not meant to be one")
    return folder
