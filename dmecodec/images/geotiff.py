"""A GeoTIFF as a source for the encoder, read window by window."""

from __future__ import annotations

import base64
import math
from binascii import Error as Base64Error
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from ..base.boxes import Box
from ..errors import ImageError
from ..format.geo import BandRecord, GeoRecord, Tags
from ..format.layout import MAX_BANDS, Alpha, Layout
from .advice import CHOOSE, EXTRACT, MASK_INSTEAD, SCALE, SPLIT_COMPLEX, STRAIGHTEN, TO_RGB
from .gdal import gdal, opened, rasterio_errors
from .grouping import regrouped
from .metadata import Metadata
from .options import ReadOptions
from .scaling import make_layout, scaled
from .source import Source, check_size
from .values import map_bands, needs_map, to_samples

EXPAND = "expand it first with 'gdal_translate -expand rgb IN OUT.tif'"
_OWN_NAMESPACES = {
    "IMAGE_STRUCTURE",  # how this one file stores the pixels
    "DERIVED_SUBDATASETS",
    "SUBDATASETS",
    "COLOR_PROFILE",  # kept as an ICC profile
    "xml:XMP",  # kept as XMP
    "EXIF",
}


class GeoSource(Source):
    """An open GeoTIFF, of uint8 or uint16.

    Args:
        file: a path, or the bytes of the file.
        options: scale; with `geo` also what it says beside its samples and alpha is read.

    Raises:
        ImageError: the file is damaged, or its samples are of a kind that cannot be coded.
    """

    def __init__(self, file: str | bytes, options: ReadOptions) -> None:
        self._open_files, self._with_geo = ExitStack(), options.geo
        try:
            with _told():
                self._data = self._open(file)
                self._read_header()
                self.layout: Layout = self._scaled(options)
                self.layout = regrouped(self, _colours(self._data, self.layout))
        except BaseException:
            self.close()
            raise

    def _open(self, file: str | bytes) -> Any:
        from rasterio.io import MemoryFile

        self._open_files.enter_context(gdal())
        enter = self._open_files.enter_context
        name = enter(MemoryFile(file)).name if isinstance(file, bytes) else file
        return enter(opened(name, driver="GTiff"))

    def _read_header(self) -> None:
        data = self._data
        self.width, self.height = data.width, data.height
        check_size(self.width, self.height)
        _check_samples(data)
        self.palette = _palette(data)
        self.metadata = _metadata(data)
        self.layout = _layout(data, self.palette, self._with_geo)
        self.geo: bytes | None = None
        if self._with_geo:
            self.geo = read_record(data, self.palette is not None).to_bytes()

    def _scaled(self, options: ReadOptions) -> Layout:
        """The layout with the range of its samples, or for another type with maps from values to samples."""
        dtype = np.dtype(self._data.dtypes[0])
        if self.palette is not None or not needs_map(dtype):
            return scaled(self, options.scale)
        if self.layout.alpha is Alpha.BAND:
            raise ImageError(f"has an alpha band of {dtype}; {MASK_INSTEAD}")
        nodata = self._data.nodatavals if options.geo else [None] * self._data.count
        bands = map_bands(self._values, self.box, dtype, nodata, options)
        return replace(self.layout, bands=bands)

    def _values(self, box: Box) -> np.ndarray:
        """Values of all bands, masked where the mask says so: (h, w, bands)."""
        from rasterio.windows import Window

        window = Window(box.col, box.row, box.width, box.height)
        values = self._data.read(window=window).transpose(1, 2, 0)
        if self.layout.alpha is not Alpha.MASK:
            return values
        hidden = self._data.read_masks(1, window=window) == 0
        return np.ma.masked_array(values, np.broadcast_to(hidden[..., None], values.shape))

    def read(self, box: Box, planes: Sequence[int]) -> np.ndarray:
        """As :meth:`Source.read`."""
        from rasterio.windows import Window

        window = Window(box.col, box.row, box.width, box.height)
        with _told():
            if self.palette is not None:
                return self.palette[self._data.read(1, window=window)][..., list(planes)]
            found = [self._plane(plane, window) for plane in planes]
        return np.stack(found, 2)

    def _plane(self, plane: int, window: Any) -> np.ndarray:
        if plane == self._data.count:  # the mask, of which GDAL knows 0 and not 0
            mask = self._data.read_masks(1, window=window)
            return np.where(mask, self.layout.largest, 0).astype(self.layout.dtype)
        values = self._data.read(plane + 1, window=window)
        return to_samples(values[..., None], [self.layout.bands[plane]])[..., 0] if self.layout.has_values else values

    def close(self) -> None:
        """Closes the file."""
        self._open_files.close()


@contextmanager
def _told() -> Iterator[None]:
    """What GDAL complains of, as one line."""
    try:
        yield
    except UnicodeEncodeError:
        raise ImageError("GDAL takes no names of files that are no UTF-8; rename it") from None
    except UnicodeDecodeError:
        raise ImageError("its descriptions or tags are no UTF-8; --no-geo codes the pixels without them") from None
    except rasterio_errors() as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise ImageError(f"the TIFF data is truncated, damaged or of an unsupported kind ({reason})") from error


def _check_samples(data: Any) -> None:
    """Refuses samples that cannot be coded, by name."""
    kinds = sorted(set(data.dtypes))
    if len(kinds) > 1:
        raise ImageError(f"has bands of different types ({', '.join(kinds)}); {CHOOSE}")
    kind = kinds[0]
    if kind.startswith("complex"):
        raise ImageError(f"has {kind} samples; {SPLIT_COMPLEX}")
    if kind not in ("uint8", "uint16") and not needs_map(np.dtype(kind)):
        raise ImageError(f"has {kind} samples; {SCALE}")
    if any(color.name in ("cyan", "hue", "Y", "lightness") for color in data.colorinterp):
        raise ImageError(f"its colour model is not grey or RGB; {TO_RGB}")
    structure = data.tags(1, ns="IMAGE_STRUCTURE")
    if kind == "uint8" and structure.get("NBITS", "8") != "8":
        raise ImageError(f"has {structure['NBITS']} bits a sample; make it 8 with 'gdal_translate -co NBITS=8'")
    if len(data.subdatasets) > 1:
        raise ImageError(f"holds {len(data.subdatasets)} images; {EXTRACT}")


def _alpha_at(data: Any) -> int | None:
    """Place of the alpha band, or None."""
    found = [n for n, color in enumerate(data.colorinterp) if color.name == "alpha"]
    if len(found) > 1 or (found and data.count == 1):
        raise ImageError(f"has {len(found)} alpha bands among {data.count}; {CHOOSE}")
    for band in range(1, data.count + 1):
        if data.tags(band, ns="IMAGE_STRUCTURE").get("ALPHA") == "PREMULTIPLIED":
            raise ImageError(f"has its colours multiplied by alpha; {STRAIGHTEN}")
    return found[0] if found else None


def _layout(data: Any, palette: np.ndarray | None, geo: bool) -> Layout:
    """Bands, with `geo` nodata and masks, of a file, 16 bits not scaled yet."""
    if palette is not None:
        bands = palette.shape[1]
        return make_layout(8, [None] * 3, alpha_at=3 if bands == 4 else None)
    alpha_at = _alpha_at(data)
    depth = 8 if data.dtypes[0] == "uint8" else 16
    coded = [n for n in range(data.count) if n != alpha_at]
    if len(coded) > MAX_BANDS:
        raise ImageError(f"has {len(coded)} bands; {MAX_BANDS} are the most; {CHOOSE}")
    if not geo:
        return make_layout(depth, [None] * len(coded), alpha_at=alpha_at)
    has_map = needs_map(np.dtype(data.dtypes[0]))  # which takes care of nodata
    nodata = [None if has_map else _nodata(data.nodatavals[n], depth) for n in coded]
    if len(set(nodata)) > 1:
        raise ImageError("its bands have different nodata values, of which a GeoTIFF holds one; make them the same")
    flags = [{flag.name for flag in data.mask_flag_enums[n]} for n in coded]
    mask = "per_dataset" in flags[0] and "alpha" not in flags[0]
    if not mask and any(not names for names in flags):
        raise ImageError("has a mask for each band; make it one for all, or a nodata value")
    if mask and alpha_at is not None:
        raise ImageError(f"has both an alpha band and a mask; leave one out: {CHOOSE}")
    return make_layout(depth, nodata, alpha_at=alpha_at, mask=mask)


def _nodata(value: float | None, depth: int) -> int | None:
    """A nodata value as a sample; None for one that no sample can have."""
    if value is None or not math.isfinite(value) or value != int(value) or not 0 <= value < 2**depth:
        return None
    return int(value)


def _colours(data: Any, layout: Layout) -> tuple[int, ...]:
    """Red, green and blue among the coded bands, wherever they are; none where they are not said."""
    if layout.mode != "BANDS":
        return layout.groups[0]
    coded = [data.colorinterp[layout.plane_of(n)].name for n in range(len(layout.bands))]
    colours = ("red", "green", "blue")
    if any(coded.count(name) != 1 for name in colours):
        return ()
    return tuple(coded.index(name) for name in colours)


def _palette(data: Any) -> np.ndarray | None:
    """The colours that a paletted file stands for: uint8 (256, 3 or 4 where some are transparent)."""
    if data.colorinterp[0].name != "palette":
        return None
    if data.count > 1 or data.dtypes[0] != "uint8":
        raise ImageError(f"has a palette of {data.dtypes[0]} in {data.count} bands; {EXPAND}")
    flags = {flag.name for flag in data.mask_flag_enums[0]}
    if data.nodatavals[0] is not None or "per_dataset" in flags:
        raise ImageError(f"has a palette and nodata, which lossy coding would mix up; {EXPAND}")
    table = np.zeros((256, 4), np.uint8)
    table[:, 3] = 255
    for index, colour in data.colormap(1).items():
        table[index & 255] = colour
    return table if (table[:, 3] < 255).any() else table[:, :3]


def _metadata(data: Any) -> Metadata:
    icc = data.tags(ns="COLOR_PROFILE").get("SOURCE_ICC_PROFILE")
    xmp = data.tags(ns="xml:XMP").get("xml:XMP")
    try:
        profile = base64.b64decode(icc) if icc else None
    except Base64Error:  # a damaged profile is no reason to refuse the pixels
        profile = None
    return Metadata(icc=profile, xmp=xmp.encode() if xmp else None)


def read_record(data: Any, as_rgb: bool = False) -> GeoRecord:
    """What an open rasterio dataset says beside its pixels; `as_rgb` leaves its bands out."""
    points, gcp_crs = data.gcps
    transform = tuple(data.transform)[:6]
    return GeoRecord(
        crs=data.crs.to_wkt() if data.crs else None,
        epsg=data.crs.to_epsg() if data.crs else None,
        transform=None if data.transform.is_identity else transform,
        gcp_crs=gcp_crs.to_wkt() if points and gcp_crs else None,
        gcps=tuple((p.row, p.col, p.x, p.y, p.z or 0.0) for p in points),
        tags=_tags(data),
        bands=() if as_rgb else tuple(_band_record(data, n) for n in range(data.count)),
    )


def _band_record(data: Any, n: int) -> BandRecord:
    scale, offset = data.scales[n], data.offsets[n]
    usual = not (math.isfinite(scale) and math.isfinite(offset))
    return BandRecord(
        description=data.descriptions[n] or None,
        color=data.colorinterp[n].name,
        unit=data.units[n] or None,
        scale=1.0 if usual else scale,
        offset=0.0 if usual else offset,
        tags=_tags(data, n + 1),
    )


def _tags(data: Any, band: int = 0) -> Tags:
    """Tags of the dataset or a band, by namespace. Statistics are of the pixels as they were: left out."""
    found = {"": data.tags(band)}
    names = set(data.tag_namespaces(band)) - _OWN_NAMESPACES
    found |= {name: data.tags(band, ns=name) for name in sorted(names) if not name.startswith("xml:")}
    return {name: kept for name, tags in found.items() if (kept := _lasting(tags))}


def _lasting(tags: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if not key.startswith("STATISTICS_")}
