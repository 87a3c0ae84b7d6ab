"""Samples of any type as a picture: red, green and blue, or grey, of 8 bits, transparent where nothing is valid."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from ..format.geo import GeoRecord
from ..format.layout import Alpha, Band, Layout
from ..images.values import is_fill
from ..images.write_record import color_names


class Picture:
    """How a scene is shown.

    Args:
        layout: of its bands; the scale of each becomes black to white.
        record: what it says of its colours.

    Attributes:
        bands: the bands of the image that are shown, one or three, from 0.
    """

    def __init__(self, layout: Layout, record: GeoRecord) -> None:
        self._layout = layout
        names = color_names(layout, record)
        coded = [layout.plane_of(n) for n in range(len(layout.bands))]
        if {"red", "green", "blue"} <= set(names):
            self.bands = [names.index(name) for name in ("red", "green", "blue")]
        else:
            self.bands = coded[: 3 if len(coded) >= 3 else 1]
        self._nodata = [layout.declared_nodata[coded.index(plane)] for plane in self.bands]
        self._ranges = [_range(layout.bands[coded.index(plane)]) for plane in self.bands]

    def of_image(self, image: np.ndarray, alpha: np.ndarray) -> bytes:
        """A PNG of all bands of the image (h, w, bands), where alpha of 8 bits (h, w) lets it be seen."""
        layout = self._layout
        if layout.alpha is Alpha.BAND:
            own = image[..., layout.alpha_plane] // (257 if layout.depth == 16 and not layout.has_values else 1)
            alpha = np.minimum(alpha, own.astype(np.uint8))
        for plane, nodata in zip(self.bands, self._nodata, strict=True):
            if nodata is not None:
                alpha = np.where(is_fill(image[..., plane], nodata), 0, alpha)
        return self.of_bands(image[..., self.bands], alpha)

    def of_bands(self, samples: np.ndarray, alpha: np.ndarray) -> bytes:
        """A PNG of the bands that are shown (h, w, 1 or 3), and alpha of 8 bits (h, w)."""
        low, high = np.array(self._ranges, np.float64).T
        with np.errstate(invalid="ignore"):
            scaled = np.nan_to_num((samples - low) * (255 / (high - low))).clip(0, 255).round().astype(np.uint8)
        target = io.BytesIO()
        picture = Image.fromarray(np.dstack([scaled, alpha]))
        picture.save(target, "PNG", compress_level=1)
        return target.getvalue()


def _range(band: Band) -> tuple[float, float]:
    """The values that are shown as black and white."""
    if band.values is None:
        return band.low, band.high
    return band.values.offset + band.low * band.values.scale, band.values.offset + band.high * band.values.scale
