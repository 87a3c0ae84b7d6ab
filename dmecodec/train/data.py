"""Training images, held in memory as uint8, and random crops of them with augmentation."""

from __future__ import annotations

import io
import lzma
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import ImageError
from ..images.headers import IMAGE_SUFFIXES
from ..images.open import open_source
from ..images.options import ReadOptions
from . import augment


def _files(paths: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    for path in paths:
        if path.is_dir():
            yield from _files(sorted(p for p in path.rglob("*") if p.suffix.lower() in {".tar"} | IMAGE_SUFFIXES))
        elif path.suffix.lower() == ".tar":
            yield from _members(path)
        elif path.exists():
            try:
                yield str(path), path.read_bytes()
            except OSError as error:
                raise ImageError(f"{path}: cannot be read ({error.strerror})") from error
        else:
            raise ImageError(f"{path}: no such file or folder")


_TAR_ERRORS = (OSError, EOFError, KeyError, zlib.error, lzma.LZMAError, tarfile.TarError)
"""What `tarfile` raises on a damaged file; KeyError on a link to a missing member."""


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                if Path(member.name).suffix.lower() not in IMAGE_SUFFIXES:
                    continue
                handle = tar.extractfile(member)
                if handle is not None:
                    yield f"{path}:{member.name}", handle.read()
    except _TAR_ERRORS as error:
        raise ImageError(f"{path}: not a readable tar file") from error


def load_images(paths: Iterable[Path], min_side: int) -> list[np.ndarray]:
    """Loads the images of folders, files and tar shards whose sides are at least `min_side` pixels.

    Returns:
        RGB images, uint8 (h, w, 3); grey is repeated, alpha left out.

    Raises:
        ImageError: a file cannot be read or has more than 8 bits or further bands, or no image is large enough.
    """
    images = []
    for name, data in _files(paths):
        try:
            source = open_source(io.BytesIO(data), ReadOptions(geo=False))
        except ImageError as error:
            raise ImageError(f"{name}: {error}") from error
        if source.mode == "BANDS":
            source.close()
            raise ImageError(f"{name}: has 16 bits a sample or further bands; train on RGB of 8 bits")
        if min(source.width, source.height) >= min_side:
            pixels = source.pixels()
            images.append(_colours(pixels))
    if not images:
        raise ImageError(f"no image of at least {min_side} x {min_side} pixels in the training data")
    return images


def _colours(pixels: np.ndarray) -> np.ndarray:
    """The pixels as RGB."""
    colours = pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, 2)
    return np.ascontiguousarray(colours)


class Crops:
    """Random training crops; an image is drawn with a probability proportional to its area.

    Args:
        images: uint8 (h, w, 3).
        side: side of a crop in pixels.
        seed: seed of all random choices.
        device: device that holds the images and the crops.
    """

    REDUCED, ENLARGED = 0.2, 0.2
    """Shares of crops that are reduced or enlarged by a factor of up to 2, as other ground resolutions."""
    RELIT, COMPRESSED = augment.RELIT, augment.COMPRESSED
    EMPTY = 0.03
    """Share of crops with a border of one level, as outside a survey, so that the network learns to code it cheaply."""

    def __init__(self, images: list[np.ndarray], side: int, seed: int, device: torch.device | str = "cpu") -> None:
        self.images = [torch.from_numpy(image).to(device) for image in images]
        self.side, self.device = side, device
        areas = np.array([image.shape[0] * image.shape[1] for image in images], dtype=np.float64)
        self.weights = areas / areas.sum()
        self.rng = np.random.default_rng(seed)

    def crop(self) -> Tensor:
        """One crop: float32 (3, side, side), multiples of 1/255 in 0..1."""
        x = self._resampled().permute(2, 0, 1).float()
        if x.shape[1] != self.side:
            x = augment.resampled(x, self.side, self.rng)
        if self.rng.random() < self.RELIT:
            x = augment.relit(x, self.rng)
        if self.rng.random() < self.COMPRESSED:
            x = augment.compressed(x, self.rng)
        x = x.round().clamp(0, 255) / 255
        if self.rng.random() < self.EMPTY:
            x = self._with_border(x)
        if self.rng.random() < 0.5:
            x = x.flip(2)
        return x.rot90(int(self.rng.integers(4)), (1, 2))

    def _resampled(self) -> Tensor:
        """A random square of an image, which :func:`augment.resampled` scales to a crop: uint8 (h, h, 3)."""
        image = self.images[self.rng.choice(len(self.images), p=self.weights)]
        choice, largest = self.rng.random(), min(2.0, min(image.shape[:2]) / self.side)
        factor = 1.0
        if choice < self.REDUCED:
            factor = self.rng.uniform(1, largest)
        elif choice < self.REDUCED + self.ENLARGED:
            factor = 1 / self.rng.uniform(1, 2)
        side = round(self.side * factor)
        row, col = (int(self.rng.integers(extent - side + 1)) for extent in image.shape[:2])
        return image[row : row + side, col : col + side]

    def _with_border(self, x: Tensor) -> Tensor:
        """Fills the crop with one grey level, mostly black or white, on one side of a random line."""
        level = float(self.rng.choice([0, 255, int(self.rng.integers(256))])) / 255
        start, slope = self.rng.uniform(-0.2, 1.0), self.rng.normal()
        across = torch.arange(self.side, device=self.device) / self.side
        return torch.where(across > start + slope * across[:, None], level, x)

    def batch(self, count: int) -> Tensor:
        """A batch of crops: float32 (count, 3, side, side) in 0..1, channels last."""
        x = torch.stack([self.crop() for _ in range(count)])
        return x.contiguous(memory_format=torch.channels_last)
