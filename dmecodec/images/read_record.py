"""What rasterio reports of a dataset beside its pixels, as a record for the GEO stream."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

from ..errors import ImageError
from ..format.geo import BandRecord, GeoRecord, Tags
from .gdal import copied, one_line, rasterio_errors
from .raw_text import from_bytes, from_stand_ins, is_raw, to_stand_ins

_LEFT_OUT = {
    "IMAGE_STRUCTURE",  # how this one file stores the pixels
    "DERIVED_SUBDATASETS",
    "SUBDATASETS",
    "COLOR_PROFILE",  # kept as an ICC profile
    "xml:XMP",  # kept as XMP
    "EXIF",
}
_LEFT_OUT_PREFIXES = ("xml:gml.",)  # the georeference of a JPEG 2000 file, which is kept as such

_LEFT_OUT_KEYS = ("STATISTICS_", "METADATATYPE")
"""Statistics are of other pixels; the type of metadata says which vendor's files GDAL has read."""


def read_record(data: Any, palette_bands: int = 0) -> GeoRecord:
    """What an open rasterio dataset says beside its pixels.

    Args:
        data: the dataset.
        palette_bands: the bands that its palette becomes, 3 or 4; 0 without a palette.

    Raises:
        ImageError: its CRS cannot be written down.
    """
    points, gcp_crs = data.gcps
    crs, gcp_crs = _wkt(data.crs), _wkt(gcp_crs) if points else None
    texts = _Texts(data)
    transform = None if data.transform.is_identity else tuple(data.transform)[:6]
    bands = tuple(_band_record(data, texts, n) for n in range(data.count))
    return GeoRecord(
        crs=crs,
        epsg=_epsg(data.crs),
        transform=transform,
        gcp_crs=gcp_crs,
        gcps=tuple((p.row, p.col, p.x, p.y, p.z or 0.0) for p in points),
        tags=texts.tags(0),
        bands=_of_palette(bands[0], palette_bands) if palette_bands else bands,
    )


def _wkt(crs: Any) -> str | None:
    """A CRS as WKT 1, or as WKT 2 where WKT 1 cannot hold it.

    Raises:
        ImageError: neither can.
    """
    if not crs:
        return None
    from rasterio.crs import CRS

    reasons = []
    for version in ("WKT1_GDAL", "WKT2_2019"):
        try:
            text = crs.to_wkt(version=version)
            if version != "WKT1_GDAL" or CRS.from_wkt(text) == crs:
                return text
        except rasterio_errors() as error:
            reasons.append(one_line(error))
    reason = f" ({reasons[-1]})" if reasons else ""
    raise ImageError(f"its coordinate reference system cannot be written as WKT{reason}; --no-geo leaves it out")


def _epsg(crs: Any) -> int | None:
    """The EPSG code of a CRS; None where it has none, or where PROJ cannot look it up."""
    try:
        return crs.to_epsg() if crs else None
    except rasterio_errors():  # PROJ_LIB of another installation
        return None


def _band_record(data: Any, texts: _Texts, n: int) -> BandRecord:
    scale, offset, nodata = data.scales[n], data.offsets[n], data.nodatavals[n]
    unusable = not (math.isfinite(scale) and math.isfinite(offset))
    return BandRecord(
        description=texts.description(n),
        color=_color(data, n),
        unit=texts.unit(n),
        scale=1.0 if unusable else scale,
        offset=0.0 if unusable else offset,
        nodata=None if nodata is None or is_integer(nodata) else repr(nodata),
        tags=texts.tags(n + 1),
    )


def is_integer(value: float) -> bool:
    """Whether a nodata value is an integer, as samples are."""
    return math.isfinite(value) and value == int(value)


def _color(data: Any, n: int) -> str:
    name = data.colorinterp[n].name
    return "gray" if name == "palette" else name  # a palette is resolved, or is not there


def _of_palette(index: BandRecord, count: int) -> tuple[BandRecord, ...]:
    """The records of the bands that a palette becomes; what is said of its one band goes to each colour."""
    colors = ("red", "green", "blue")
    bands = tuple(replace(index, color=color) for color in colors)
    return bands if count == 3 else (*bands, BandRecord(color="alpha"))


class _Texts:
    """Descriptions, units and tags of a dataset.

    rasterio refuses descriptions and passes over tags that are no UTF-8. GDAL writes them, byte by byte, into a
    virtual dataset (VRT), from where they are read.
    """

    def __init__(self, data: Any) -> None:
        self._data = data
        text = from_bytes(_as_vrt(data))
        try:
            self._raw = ElementTree.fromstring(to_stand_ins(text)) if is_raw(text) else None
        except ElementTree.ParseError:
            raise ImageError("its descriptions or tags are neither UTF-8 nor XML; --no-geo leaves them out") from None

    def description(self, n: int) -> str | None:
        """Of a band, counted from 0."""
        if self._raw is None:
            return self._data.descriptions[n] or None
        return _text(self._band(n + 1).find("Description"))

    def unit(self, n: int) -> str | None:
        """Of a band, counted from 0."""
        if self._raw is None:
            return self._data.units[n] or None
        return _text(self._band(n + 1).find("UnitType"))

    def tags(self, band: int) -> Tags:
        """Of a band, counted from 1, or of the dataset, by namespace. Statistics are of other pixels: left out."""
        every = {"": self._data.tags(band)}
        every |= {name: self._data.tags(band, ns=name) for name in self._data.tag_namespaces(band)}
        if self._raw is not None:
            element = self._band(band) if band else self._raw
            for name, raw in _raw_tags(element).items():
                every[name] = every.get(name, {}) | raw
        kept = {name: _lasting(tags) for name, tags in sorted(every.items()) if not _is_left_out(name)}
        return {name: tags for name, tags in kept.items() if tags}

    def _band(self, band: int) -> ElementTree.Element:
        assert self._raw is not None
        return self._raw.findall("VRTRasterBand")[band - 1]


def _as_vrt(data: Any) -> bytes:
    from rasterio.errors import DriverRegistrationError
    from rasterio.io import MemoryFile

    try:
        with MemoryFile(ext=".vrt") as file:
            copied(data, file.name, "VRT", COPY_SRC_MDD="YES")
            return file.read()
    except DriverRegistrationError:  # the driver is skipped: rasterio's own view must do
        return b""


def _raw_tags(element: ElementTree.Element) -> Tags:
    """The tags of a VRT or one of its bands that are no UTF-8."""
    by_domain: Tags = {}
    for domain in element.findall("Metadata"):
        items = {from_stand_ins(item.get("key", "")): from_stand_ins(item.text or "") for item in domain.findall("MDI")}
        raw = {key: value for key, value in items.items() if is_raw(key + value)}
        if raw:
            by_domain[domain.get("domain", "")] = raw
    return by_domain


def _text(element: ElementTree.Element | None) -> str | None:
    return None if element is None else from_stand_ins(element.text or "") or None


def _is_left_out(namespace: str) -> bool:
    return namespace in _LEFT_OUT or namespace.startswith(_LEFT_OUT_PREFIXES)


def _lasting(tags: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if not key.startswith(_LEFT_OUT_KEYS)}
