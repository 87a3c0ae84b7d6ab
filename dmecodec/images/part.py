"""A part of a source in memory: read once, in one thread, then used in another one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..base.boxes import Box
from .source import Source


class PartOfSource(Source):
    """The bands of one group, and alpha, in a box of an image.

    It has the size and layout of the whole image, and takes boxes of the whole image that lie inside its own.

    Args:
        source: the image.
        box: what to read of it.
        group: of bands.
    """

    def __init__(self, source: Source, box: Box, group: int) -> None:
        self.width, self.height = source.width, source.height
        self.layout, self.metadata, self.geo = source.layout, source.metadata, source.geo
        planes = [self.layout.plane_of(band) for band in self.layout.groups[group]]
        self._planes = [*planes, self.layout.alpha_plane] if self.layout.has_alpha else planes
        self._box, self._pixels = box, source.read(box, self._planes)

    def read(self, box: Box, planes: Sequence[int]) -> np.ndarray:
        """As :meth:`Source.read`."""
        rows, cols = box.slices(self._box)
        return self._pixels[rows, cols][..., [self._planes.index(plane) for plane in planes]]
