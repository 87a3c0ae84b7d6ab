"""A `.dmen` file as rio-tiler reads scenes, for titiler and whatever else is built on it.

from dmecodec.rio_tiler import Reader

with Reader("scene.dmen") as scene:
    tile = scene.tile(x, y, z)
"""

from __future__ import annotations

import attr
import rasterio
from rio_tiler import io

from .geotiff import check_rasterio, opener

check_rasterio()


@attr.s
class Reader(io.Reader):
    """rio-tiler's own Reader on the virtual GeoTIFF of a `.dmen` file.

    `info`, `statistics`, `tile`, `part`, `preview`, `point` and `feature`, all with the arguments that they have there.

    Raises:
        OSError: the file cannot be read, or is no `.dmen` file.
    """

    def __attrs_post_init__(self) -> None:
        """Opens the file, unless a dataset was given."""
        if not self.dataset:
            self.dataset = self._ctx_stack.enter_context(rasterio.open(self.input, opener=opener))
        super().__attrs_post_init__()
