"""What the bench expects of a codec."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from ...errors import ImageError


class Codec(ABC):
    """Turns pixels into a file and back.

    Attributes:
        name: what tables and plots call it.
        settings: its qualities, from few bits to many.
        step: the smallest difference between two settings, or None where `settings` are all that exist.
        colour_depths: bits per sample of the colour images that it codes.
        grey_depths: the same for images of one band.
        codes_all_bands: whether one file holds any number of bands, of 8 or 16 bits.
    """

    name: str
    settings: Sequence[float]
    step: float | None = 1
    colour_depths: Sequence[int] = (8,)
    grey_depths: Sequence[int] = (8,)
    codes_all_bands: bool = False

    @classmethod
    def missing(cls) -> str | None:
        """Why the codec cannot run here and what to install, or None where it can."""
        return None

    @abstractmethod
    def version(self) -> str:
        """Whatever changes the files or the times: versions of libraries, a model, a device."""

    @abstractmethod
    def encode(self, image: np.ndarray, setting: float) -> bytes:
        """The whole file of an image of a group of bands: (h, w, bands), uint8 or uint16."""

    @abstractmethod
    def decode(self, data: bytes) -> np.ndarray:
        """The image of a file: (h, w, bands) or, of one band, (h, w). Video codecs may add a row or a column."""

    def band_groups(self, bands: int, depth: int) -> list[slice]:
        """The bands that share a file: the first three as colours, where there are three, and each other one alone.

        Args:
            bands: of the scene.
            depth: bits per sample, 8 or 16.

        Raises:
            ImageError: the codec has no such depth.
        """
        if self.codes_all_bands:
            return [slice(0, bands)]
        colours = 3 if bands >= 3 and depth in self.colour_depths else 0
        if bands > colours and depth not in self.grey_depths:
            raise ImageError(f"{self.name} does not code {depth} bits a sample")
        groups = [slice(0, 3)] if colours else []
        return groups + [slice(band, band + 1) for band in range(colours, bands)]


def as_grey_or_rgb(image: np.ndarray) -> np.ndarray:
    """The image as libraries expect it: one band as (h, w), contiguous in memory."""
    return np.ascontiguousarray(image[:, :, 0] if image.shape[2] == 1 else image)
