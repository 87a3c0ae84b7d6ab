"""The images that are measured: their pixels, and which bands are red and near infrared."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import ImageError
from ..images.gdal import is_installed, opened, rasterio_errors
from ..images.headers import IMAGE_SUFFIXES
from ..images.open import open_source
from ..images.options import ReadOptions

_NAMES_OF_RED = {"red"}
_NAMES_OF_NEAR_INFRARED = {"nir", "near infrared", "nearinfrared", "near ir"}


@dataclass(frozen=True)
class Scene:
    """An image that is measured.

    Attributes:
        name: of its file.
        pixels: uint8 or uint16 (h, w, bands).
        red, near_infrared: the places of these bands, or None where the file does not name them.
    """

    name: str
    pixels: np.ndarray
    red: int | None = None
    near_infrared: int | None = None

    @property
    def height(self) -> int:
        """In pixels."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """In pixels."""
        return self.pixels.shape[1]

    @property
    def bands(self) -> int:
        """Grey images of 8 bits have three."""
        return self.pixels.shape[2]

    @property
    def depth(self) -> int:
        """Bits per sample, 8 or 16."""
        return 8 * self.pixels.dtype.itemsize

    @cached_property
    def peak(self) -> float:
        """The peak of PSNR and SSIM: 255, or of 16 bits the range of the samples."""
        if self.depth == 8:
            return 255
        return float(max(1, int(self.pixels.max()) - int(self.pixels.min())))

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the pixels, their shape, and the places of red and near infrared."""
        facts = (self.pixels.shape, self.pixels.dtype.str, self.red, self.near_infrared)
        digest = hashlib.sha256(repr(facts).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()


def find_images(folder: str | Path) -> list[Path]:
    """The image files of a folder, by name, or the one file that was named.

    Raises:
        ImageError: there is no such folder, or no image in it.
    """
    folder = Path(folder)
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder")
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file())
    if not files:
        raise ImageError(f"{folder}: no images in this folder")
    return files


def load_scene(file: Path) -> Scene:
    """Reads an image; grey ones of 8 bits become RGB. Nodata samples are samples like all others.

    Raises:
        ImageError: it cannot be read, or has alpha or floating-point samples, which most codecs do not keep.
        DependencyError: it has 16 bits or further bands, and rasterio is not installed.
    """
    with closing(open_source(file, ReadOptions(geo=False))) as source:
        if source.layout.has_alpha:
            raise ImageError(f"{file}: has alpha, which not all codecs keep; remove it to compare them")
        if source.layout.has_values:
            raise ImageError(f"{file}: its samples are neither of 8 nor of 16 bits; scale them to compare codecs")
        pixels = source.pixels()
    if pixels.shape[2] == 1 and pixels.dtype == np.uint8:
        pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    names = _band_names(file) if pixels.shape[2] > 3 else []
    red, near_infrared = _place_of(_NAMES_OF_RED, names), _place_of(_NAMES_OF_NEAR_INFRARED, names)
    return Scene(file.name, np.ascontiguousarray(pixels), red, near_infrared)


def _band_names(file: Path) -> list[set[str]]:
    """Of each band the names in its description and its colour interpretation, in small letters and single spaces."""
    if not is_installed():
        return []
    try:
        with opened(file) as data:
            pairs = zip(data.descriptions, data.colorinterp, strict=True)
            return [{_plain(description or ""), _plain(colour.name)} for description, colour in pairs]
    except rasterio_errors():
        return []  # an image that Pillow alone reads


def _plain(name: str) -> str:
    return " ".join(re.findall("[a-z]+", name.lower()))


def _place_of(wanted: set[str], names: Sequence[set[str]]) -> int | None:
    """The one band that has a wanted name; None where none or several have one."""
    places = [place for place, of_band in enumerate(names) if of_band & wanted]
    return places[0] if len(places) == 1 else None
