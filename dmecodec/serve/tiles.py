"""Map tiles of a scene: on the ground in Web Mercator, or in its own pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rio_tiler.errors import PointOutsideBounds, TileOutsideBounds
from rio_tiler.models import ImageData

from ..base.boxes import Box
from ..format.geo import GeoRecord
from ..format.limits import QUALITY_STEPS
from ..geotiff.scene import Scene, scene_of
from ..images.cog import BLOCK
from ..rio_tiler import Reader
from .picture import Picture

SIDE = 256
"""Pixels of a tile."""


class NoTileError(LookupError):
    """There is no such tile, and why."""


def describe(name: str, path: Path) -> dict[str, Any]:
    """What the page shows of a scene.

    Raises:
        DmecodecError: the file cannot be read.
    """
    scene = scene_of(str(path))
    file = scene.file
    header, record = file.header, file.geo or GeoRecord()
    return {
        "name": name,
        "width": header.width,
        "height": header.height,
        "bytes": file.size,
        "bpp": 8 * file.size / (header.width * header.height),
        "quality": header.quality / QUALITY_STEPS,
        "max_error": header.bound,
        "zooms": _zooms(scene),
        "bands": file.layout.image_bands,
        "crs": record.crs_name or GeoRecord(crs=record.gcp_crs).crs_name,
    }


def tilejson(path: Path, tiles: str) -> dict[str, Any]:
    """TileJSON of a scene; `tiles` is the address of a tile, with {z}, {x} and {y}.

    Raises:
        NoTileError: it has no place on the ground.
        DmecodecError: the file cannot be read.
    """
    with _reader(path) as reader:
        west, south, east, north = reader.get_geographic_bounds(reader.tms.rasterio_geographic_crs)
        return {
            "tilejson": "3.0.0",
            "name": path.stem,
            "tiles": [tiles],
            "bounds": [west, south, east, north],
            "center": [(west + east) / 2, (south + north) / 2, reader.minzoom],
            "minzoom": reader.minzoom,
            "maxzoom": reader.maxzoom,
        }


def ground_tile(path: Path, z: int, x: int, y: int) -> bytes:
    """A tile in Web Mercator, as PNG.

    Raises:
        NoTileError: the scene has no place on the ground, or not in this tile.
        DmecodecError: the file cannot be read.
        OSError: a tile of the file is damaged.
    """
    scene = scene_of(str(path))
    picture = _picture(scene)
    with _reader(path) as reader:
        try:
            image: ImageData = reader.tile(x, y, z, tilesize=SIDE, indexes=[band + 1 for band in picture.bands])
        except (TileOutsideBounds, PointOutsideBounds) as error:
            raise NoTileError(f"{path.stem} does not reach into tile {z}/{x}/{y}") from error
    return picture.of_bands(image.data.transpose(1, 2, 0), image.mask.astype(np.uint8))


def pixel_tile(path: Path, z: int, x: int, y: int) -> bytes:
    """A tile in pixels of the scene, as PNG. The last zoom is the whole resolution, each before it half of the next.

    Raises:
        NoTileError: it is beyond the scene.
        DmecodecError: the file is damaged.
    """
    scene = scene_of(str(path))
    power = _zooms(scene) - z
    level = next((level for level in scene.plan.levels if level.power == power), None)
    if level is None or x * SIDE >= level.width or y * SIDE >= level.height:
        raise NoTileError(f"{path.stem} has no tile {z}/{x}/{y}")
    times = BLOCK // SIDE
    tile = y // times * level.columns + x // times
    image, mask = scene.tile(power, tile)
    place = Box(x % times * SIDE, y % times * SIDE, SIDE, SIDE)
    box = level.box(tile)
    inside = place.clipped(Box(0, 0, box.width, box.height))
    rows, cols = inside.slices(Box(0, 0, 0, 0))
    alpha = np.zeros((SIDE, SIDE), np.uint8)
    shown = np.unpackbits(mask, axis=1)[rows, cols] * 255 if mask.size else np.uint8(255)
    picture = _picture(scene)
    part = np.zeros((SIDE, SIDE, image.shape[2]), image.dtype)
    part[: inside.height, : inside.width] = image[rows, cols]
    alpha[: inside.height, : inside.width] = shown
    return picture.of_image(part, alpha)


def _zooms(scene: Scene) -> int:
    """The last zoom of the tiles in pixels."""
    return max(level.power for level in scene.plan.levels)


def _reader(path: Path) -> Reader:
    record = scene_of(str(path)).file.geo or GeoRecord()
    if not (record.crs and record.transform) and not (record.gcp_crs and record.gcps):
        raise NoTileError(f"{path.stem} has no CRS, so it has no place on a map; its own pixels are under /pixels/")
    return Reader(str(path))


def _picture(scene: Scene) -> Picture:
    return Picture(scene.file.layout, scene.file.geo or GeoRecord())
