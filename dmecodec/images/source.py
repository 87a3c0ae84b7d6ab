"""What the encoder reads from, window by window, whatever the image is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from ..base.boxes import Box
from ..errors import ImageError, OptionError
from ..format.layout import Layout
from ..format.limits import MAX_PIXELS, MAX_SIDE
from .metadata import Metadata


class Source(ABC):
    """An image: its size, its bands, what is kept beside the pixels, and the samples of any window.

    Attributes:
        width, height: in pixels.
        layout: depth, groups, scale and nodata value of the bands, and alpha or a mask.
        metadata: ICC profile, EXIF and XMP.
        geo: the GEO stream, or None without georeference.
    """

    width: int
    height: int
    layout: Layout
    metadata: Metadata
    geo: bytes | None = None

    @abstractmethod
    def read(self, box: Box, planes: Sequence[int]) -> np.ndarray:
        """Some planes of a box inside the image, a copy: uint8 or uint16 (h, w, planes)."""

    def close(self) -> None:  # noqa: B027  (most sources hold nothing open)
        """Closes what the source holds open."""

    @property
    def mode(self) -> str:
        """The header's mode: L, LA, RGB, RGBA or BANDS."""
        return self.layout.mode

    @property
    def box(self) -> Box:
        """The whole image."""
        return Box(0, 0, self.width, self.height)

    def pixels(self, box: Box | None = None) -> np.ndarray:
        """All planes of a box, or of the whole image, as a decoder gives them: uint8 or uint16 (h, w, planes).

        Raises:
            OptionError: the box is empty or reaches beyond the image.
        """
        box = box or self.box
        inside = 0 <= box.col < box.right <= self.width and 0 <= box.row < box.bottom <= self.height
        if not inside:
            window = f"{box.col},{box.row},{box.width},{box.height}"
            raise OptionError(f"window {window} is not inside the image of {self.width} x {self.height}")
        return self.read(box, range(self.layout.planes))

    def samples(self, box: Box, group: int) -> np.ndarray:
        """The bands of a group: uint8 or uint16 (h, w, c)."""
        return self.read(box, [self.layout.plane_of(band) for band in self.layout.groups[group]])

    def alpha(self, box: Box) -> np.ndarray | None:
        """Alpha or the mask: uint8 (h, w), or None where there is none."""
        if not self.layout.has_alpha:
            return None
        plane = self.read(box, [self.layout.alpha_plane])[..., 0]
        # Values of 16 bits are multiples of 257: they were checked when the source was opened.
        return plane if plane.dtype == np.uint8 else (plane >> 8).astype(np.uint8)

    def not_nodata(self, samples: np.ndarray, group: int) -> np.ndarray:
        """Which samples of a group have another value than their band's nodata: bool (h, w, c)."""
        valid = np.ones(samples.shape, bool)
        for n, band in enumerate(self.layout.groups[group]):
            nodata = self.layout.bands[band].nodata
            if nodata is not None:
                np.not_equal(samples[..., n], nodata, out=valid[..., n])
        return valid

    def valid(self, box: Box, samples: np.ndarray, group: int) -> np.ndarray | None:
        """Which samples of a group are worth coding: bool (h, w, c), or None where all are."""
        alpha = self.alpha(box)
        if alpha is None and not self.layout.has_nodata:
            return None
        valid = self.not_nodata(samples, group)
        return valid if alpha is None else valid & (alpha > 0)[..., None]


def check_size(width: int, height: int) -> None:
    """Refuses an image that has no pixels or is larger than a file can hold."""
    if width < 1 or height < 1:
        raise ImageError(f"has no pixels ({width} x {height})")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageError(
            f"{width} x {height} is too large: a side may have {MAX_SIDE} pixels, the whole image {MAX_PIXELS}"
        )
