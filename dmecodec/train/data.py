"""Training images, held as bytes in memory; random crops with flips, turns and other ground resolutions."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import ImageError
from ..images import IMAGE_SUFFIXES, open_source

_SUFFIXES = IMAGE_SUFFIXES


def _files(paths: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    for path in paths:
        if path.is_dir():
            yield from _files(
                sorted(p for p in path.rglob("*") if p.suffix.lower() in {".tar"} | _SUFFIXES)
            )
        elif path.suffix == ".tar":
            yield from _members(path)
        elif path.exists():
            yield str(path), path.read_bytes()
        else:
            raise ImageError(f"{path}: no such file or folder")


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                handle = tar.extractfile(member)
                if handle is not None and Path(member.name).suffix.lower() in _SUFFIXES:
                    yield f"{path}:{member.name}", handle.read()
    except (OSError, tarfile.TarError) as error:
        raise ImageError(f"{path}: not a readable tar file") from error


def load_images(paths: Iterable[Path], least: int) -> list[np.ndarray]:
    """Every RGB image of folders, files and tar shards whose sides are at least `least`: uint8 (h, w, 3)."""
    images = []
    for name, data in _files(paths):
        try:
            source = open_source(io.BytesIO(data), geo=False)
        except ImageError as error:
            raise ImageError(f"{name}: {error}") from error
        if min(source.width, source.height) >= least:
            pixels = source.read(0, 0, source.width, source.height)
            images.append(_colours(pixels))
    if not images:
        raise ImageError(f"no image of at least {least} x {least} pixels in the training data")
    return images


def _colours(pixels: np.ndarray) -> np.ndarray:
    """RGB of any mode: alpha left out, grey three times."""
    colours = pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, 2)
    return np.ascontiguousarray(colours)


class Crops:
    """Random training crops; an image is drawn as often as its area demands."""

    RESCALED = 0.25
    """Share of crops that are reduced, by up to a factor of 2: other ground resolutions."""

    EMPTY = 0.03
    """Share of crops with a plain border, as beside a survey: they must cost next to nothing."""

    def __init__(self, images: list[np.ndarray], side: int, seed: int) -> None:
        self.images, self.side = images, side
        areas = np.array([image.shape[0] * image.shape[1] for image in images], dtype=np.float64)
        self.weights = areas / areas.sum()
        self.rng = np.random.default_rng(seed)

    def crop(self) -> np.ndarray:
        """One crop: uint8 (side, side, 3)."""
        image = self.images[self.rng.choice(len(self.images), p=self.weights)]
        most = min(2.0, min(image.shape[:2]) / self.side)
        reduced = most > 1 and self.rng.random() < self.RESCALED
        side = round(self.side * self.rng.uniform(1, most)) if reduced else self.side
        row, col = (self.rng.integers(extent - side + 1) for extent in image.shape[:2])
        part = image[row : row + side, col : col + side]
        if side != self.side:
            small = Image.fromarray(part).resize((self.side, self.side), Image.Resampling.BICUBIC)
            part = np.asarray(small)
        if self.rng.random() < 0.5:
            part = part[:, ::-1]
        if self.rng.random() < self.EMPTY:
            part = self._with_border(part)
        return np.rot90(part, self.rng.integers(4))

    def _with_border(self, part: np.ndarray) -> np.ndarray:
        """The crop with one grey level, mostly black or white, on one side of a slanting line; or all over."""
        level = self.rng.choice([0, 255, self.rng.integers(256)])
        start, slope = self.rng.uniform(-0.2, 1.0), self.rng.normal()
        rows, columns = np.mgrid[0 : self.side, 0 : self.side] / self.side
        return np.where((columns > start + slope * rows)[..., None], np.uint8(level), part)

    def batch(self, count: int) -> Tensor:
        """Float (count, 3, side, side) in 0..1, channels last."""
        pixels = np.stack([self.crop() for _ in range(count)])
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)
        return x.contiguous(memory_format=torch.channels_last)
