"""A `.dmen` file as an uncompressed GeoTIFF whose bytes are decoded when they are read.

import rasterio
from dmecodec.geotiff import opener

with rasterio.open("scene.dmen", opener=opener) as dataset:  # rasterio 1.4 or later
    dataset.read(1, window=((0, 512), (0, 512)))
"""

from __future__ import annotations

from .opener import check_rasterio, opener
from .virtual import VirtualGeoTiff

__all__ = ["VirtualGeoTiff", "check_rasterio", "opener"]
