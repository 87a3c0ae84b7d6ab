"""What `rasterio.open` takes as `opener`."""

from __future__ import annotations

import os
import re
from typing import BinaryIO, cast

from ..base.remote import is_url
from ..errors import DependencyError, DmecodecError
from ..format.limits import MAGIC
from ..images.gdal import INSTALL, need_rasterio
from .virtual import VirtualGeoTiff

_NEEDED = (1, 4)
SUFFIX = ".dmen"


def check_rasterio() -> None:
    """Sees that rasterio knows openers.

    Raises:
        DependencyError: rasterio is not installed, or older than 1.4.
    """
    version = need_rasterio("a .dmen file as a GeoTIFF needs").__version__
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < _NEEDED:
        needed = ".".join(map(str, _NEEDED))
        raise DependencyError(f"a .dmen file as a GeoTIFF needs rasterio {needed} or later, not {version}: {INSTALL}")


def opener(path: str | os.PathLike[str], mode: str = "rb", **_: object) -> BinaryIO:
    """Opens a `.dmen` file as a :class:`VirtualGeoTiff`, and any other file as it is, to be read.

    Args:
        path: of the file, or a URL that ends in `.dmen`.
        mode: "r" or "rb".

    Raises:
        OSError: there is no such file, it cannot be read, or it is to be written.
    """
    if mode not in ("r", "rb"):
        raise PermissionError(f"{os.fsdecode(path)}: a .dmen file cannot be written as a GeoTIFF")
    name = os.fsdecode(path)
    if is_url(name):
        if not name.lower().endswith(SUFFIX):
            raise FileNotFoundError(name)  # a sidecar, which GDAL asks for
    else:
        file = open(path, "rb")  # noqa: PTH123, SIM115
        if file.read(len(MAGIC)) != MAGIC:  # a sidecar
            file.seek(0)
            return file
        file.close()
    from .scene import scene_of

    try:
        return cast(BinaryIO, VirtualGeoTiff(scene_of(name), name))
    except DmecodecError as error:
        raise OSError(str(error) if error.filename else f"{name}: {error}") from error
