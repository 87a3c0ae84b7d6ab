"""GeoTIFFs as the tests write them, and what two of them have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import works
from conftest import DATA

rasterio = pytest.importorskip("rasterio")

from affine import Affine  # noqa: E402
from rasterio.crs import CRS  # noqa: E402
from rasterio.enums import ColorInterp  # noqa: E402

SHARED = DATA.parents[2] / "shared" / "data" / "geotiff"
UTM, PLACE = CRS.from_epsg(32629), Affine(10, 0, 500000, 0, -10, 4000000)
RPC = {
    **{f"{axis}_{part}": "7" for axis in ("LINE", "SAMP", "LAT", "LONG", "HEIGHT") for part in ("OFF", "SCALE")},
    **{f"{axis}_{part}_COEFF": " ".join(["1"] * 20) for axis in ("LINE", "SAMP") for part in ("NUM", "DEN")},
    "ERR_BIAS": "-1",
    "ERR_RAND": "-1",
}  # fmt: skip


def write(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    """A GeoTIFF of (height, width, bands); options of rasterio, and `tags`, `mask`, `gcps`, `colors`."""
    tags, mask = options.pop("tags", {}), options.pop("mask", None)
    gcps, colors = options.pop("gcps", None), options.pop("colors", None)
    gcps_crs = options.pop("gcps_crs", CRS.from_epsg(4326))
    height, width, count = pixels.shape
    settings = {"crs": UTM, "transform": PLACE} | options
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", width=width, height=height, count=count, dtype=pixels.dtype, **settings
        ) as file,
    ):  # fmt: skip
        if colors:
            file.colorinterp = [ColorInterp[name] for name in colors]
        file.write(pixels.transpose(2, 0, 1))
        for name, values in tags.items():
            file.update_tags(ns=name or None, **values)
        if gcps:
            file.gcps = gcps, gcps_crs
        if mask is not None:
            file.write_mask(mask)
    return path


def round_trip(path: Path, folder: Path, *options: object, suffix: str = ".tif", lossless: bool = False) -> Path:
    """The file encoded and decoded by the command line, as a GeoTIFF again or another format; `options` of decode."""
    target = folder / f"{path.stem}-decoded{suffix}"
    aim = ("--max-error", 0) if lossless else ("-q", 5)
    works("encode", path, "-o", folder / "a.dmen", *aim, "--overwrite")
    works("decode", folder / "a.dmen", "-o", target, "--overwrite", *options)
    assert not list(folder.glob(".dmecodec-*"))
    return target


def same_but_for_pixels(before: Path, after: Path) -> tuple[np.ndarray, np.ndarray]:
    """Compares everything that is said of the pixels; returns them, bands first."""
    with rasterio.open(before) as a, rasterio.open(after) as b:
        for name in (
            "width", "height", "count", "dtypes", "crs", "transform", "nodatavals", "colorinterp",
            "descriptions", "units", "scales", "offsets", "mask_flag_enums",
        ):  # fmt: skip
            assert getattr(a, name) == getattr(b, name), name
        assert a.tags() == b.tags()
        assert [a.tags(n) for n in a.indexes] == [b.tags(n) for n in b.indexes]
        own = {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS"}
        for name in set(a.tag_namespaces()) - own:
            assert a.tags(ns=name) == b.tags(ns=name), name
        for n in a.indexes:
            for name in set(a.tag_namespaces(n)) - own:
                assert a.tags(n, ns=name) == b.tags(n, ns=name), (n, name)
        points = [[(p.row, p.col, p.x, p.y, p.z) for p in file.gcps[0]] for file in (a, b)]
        assert points[0] == points[1] and a.gcps[1] == b.gcps[1]
        assert b.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert b.profile["tiled"] and bool(b.overviews(1)) == (max(b.width, b.height) > 512)
        np.testing.assert_array_equal(a.dataset_mask(), b.dataset_mask())
        return a.read(), b.read()
