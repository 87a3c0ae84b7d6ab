"""A record of the GEO stream into a dataset that rasterio has opened for writing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import FormatError
from ..format.geo import GeoRecord, Tags
from ..format.layout import Alpha, Layout
from .gdal import opened, rasterio_errors
from .metadata import Metadata
from .stand_ins import with_stand_ins


def storable(record: GeoRecord) -> tuple[GeoRecord, list[str]]:
    """What of a record a GeoTIFF can hold, `.aux.xml` beside it included, and what is left out, in words.

    GDAL gives a GeoTIFF with control points no other CRS than theirs.
    """
    if not (record.gcps and record.crs):
        return record, []
    if record.transform:
        return replace(record, gcps=(), gcp_crs=None), [
            "ground control points, which no GeoTIFF can hold beside a transform with a CRS"
        ]
    if record.gcp_crs is None or record.gcp_crs == record.crs:
        return replace(record, crs=None, epsg=None, gcp_crs=record.crs), []
    return replace(record, crs=None, epsg=None), ["the CRS, which no GeoTIFF can hold beside that of control points"]


def color_names(layout: Layout, record: GeoRecord) -> list[str]:
    """Colour interpretation of each band: as it was, else what the mode says."""
    kept = [band.color or "undefined" for band in record.bands]
    if len(kept) == layout.image_bands:
        return kept
    usual = {1: ["gray"], 3: ["red", "green", "blue"]}.get(len(layout.bands))
    colors = usual or ["gray", *["undefined"] * (len(layout.bands) - 1)]
    if layout.alpha is Alpha.BAND:
        colors.insert(layout.alpha_at, "alpha")
    return colors


def write_record(file: Any, layout: Layout, record: GeoRecord, metadata: Metadata) -> None:
    """Writes all that a record and the metadata say, in the words that rasterio takes (see `stand_ins`).

    Raises:
        FormatError: the record makes no sense.
    """
    from rasterio.enums import ColorInterp

    record = with_stand_ins(record)
    try:
        _write_tags(file, record.tags)  # first: AREA_OR_POINT says what a transform means
        _write_place(file, record)
        # One that only another version of rasterio knows says nothing to this one.
        known = ColorInterp.__members__
        file.colorinterp = [known.get(name, ColorInterp.undefined) for name in color_names(layout, record)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError("damaged: the georeference makes no sense") from error
    if metadata.xmp:
        _write_document(file, "xml:XMP", metadata.xmp.decode("utf-8", "replace"))
    if len(record.bands) == layout.image_bands:
        _write_bands(file, record)


def _write_place(file: Any, record: GeoRecord) -> None:
    from affine import Affine

    crs = parse_crs(record.crs)
    if crs is not None:
        file.crs = crs
    if record.transform is not None:
        file.transform = Affine(*record.transform)
    elif record.gcps:
        file.gcps = _points(record), _gcp_crs(record)


def _write_bands(file: Any, record: GeoRecord) -> None:
    for n, band in enumerate(record.bands, 1):
        if band.description:
            file.set_band_description(n, band.description)
        _write_tags(file, band.tags, n)
    file.units = [band.unit for band in record.bands]
    if any((band.scale, band.offset) != (1, 0) for band in record.bands):
        file.scales = [band.scale for band in record.bands]
        file.offsets = [band.offset for band in record.bands]


def _write_tags(file: Any, tags: Tags, band: int = 0) -> None:
    for name, values in tags.items():
        if name.startswith("xml:"):
            for document in values.values():
                _write_document(file, name, document, band)
        else:
            file.update_tags(band, ns=name or None, **values)


def _write_document(file: Any, namespace: str, document: str, band: int = 0) -> None:
    """An XML document: rasterio writes "key=value", and GDAL takes all of it for the document."""
    key, _, value = document.partition("=")
    file.update_tags(band, ns=namespace, **{key: value})


def parse_crs(wkt: str | None) -> Any:
    """A CRS of rasterio, or None.

    Raises:
        FormatError: it is no WKT.
    """
    from rasterio.crs import CRS

    try:
        return CRS.from_wkt(wkt) if wkt else None
    except rasterio_errors() as error:
        raise FormatError("damaged: the coordinate reference system makes no sense") from error


def _gcp_crs(record: GeoRecord) -> Any:
    """CRS of the control points; rasterio takes an empty one, but not None, for points without."""
    from rasterio.crs import CRS

    return parse_crs(record.gcp_crs) or CRS()


def _points(record: GeoRecord, shift: tuple[float, float] = (0.0, 0.0)) -> list[Any]:
    from rasterio.control import GroundControlPoint

    down, right = shift
    return [GroundControlPoint(row - down, col - right, x, y, z) for row, col, x, y, z in record.gcps]


def settle_gcps(path: Path, record: GeoRecord) -> None:
    """Moves control points back where GDAL has moved them: with AREA_OR_POINT=Point it does, by half a pixel."""
    with opened(path, "r+") as file:
        first = file.gcps[0][0]
        row, col, *_ = record.gcps[0]
        shift = round(2 * (first.row - row)) / 2, round(2 * (first.col - col)) / 2
        if any(shift):
            file.gcps = _points(record, shift), _gcp_crs(record)
