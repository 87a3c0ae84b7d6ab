"""Sidecars that GDAL reads beside any image: the world file and `.aux.xml`, its persistent auxiliary metadata (PAM)."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from ..format.geo import BandRecord, GeoRecord, Tags
from .raw_text import restore_bytes, to_stand_ins

AUX_XML = ".aux.xml"
WORLD_FILES = {"PNG": ".pgw", "JPEG": ".jgw"}
"""Endings of the world files that GDAL reads, by format; it reads none beside WebP."""
_COLORS = {"gray": "Gray", "palette": "Palette", "nir": "NIR", "coastal": "CoastalBlue", "rededge": "RedEdge"}
"""GDAL's names of colours that are more than the name with a capital."""


def world_file(transform: Sequence[float]) -> bytes:
    """A world file: the transform, counted from the centre of the first pixel."""
    a, b, c, d, e, f = transform
    numbers = (a, d, b, e, c + a / 2 + b / 2, f + d / 2 + e / 2)
    return "".join(f"{number!r}\n" for number in map(float, numbers)).encode()


def aux_xml(record: GeoRecord, nodata: Sequence[float | str | None] = ()) -> bytes:
    """An `.aux.xml` with all that a record says.

    Args:
        record: what to write; its bands are those of the image.
        nodata: a nodata value for each band of the image.
    """
    root = ElementTree.Element("PAMDataset")
    if record.crs:
        _add(root, "SRS", record.crs)
    if record.transform:
        a, b, c, d, e, f = record.transform
        _add(root, "GeoTransform", ", ".join(repr(float(number)) for number in (c, a, b, f, d, e)))
    if record.gcps:
        _add_gcps(root, record)
    _add_tags(root, record.tags)
    for n in range(max(len(record.bands), len(nodata))):
        band = record.bands[n] if n < len(record.bands) else BandRecord()
        _add_band(root, n + 1, band, nodata[n] if n < len(nodata) else None)
    return restore_bytes(ElementTree.tostring(root, "utf-8", xml_declaration=False)) + b"\n"


def _add(parent: ElementTree.Element, name: str, text: object = "", **attributes: str) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, name, {key: to_stand_ins(value) for key, value in attributes.items()})
    element.text = to_stand_ins(str(text)) or None
    return element


def _add_gcps(root: ElementTree.Element, record: GeoRecord) -> None:
    points = _add(root, "GCPList", **({"Projection": record.gcp_crs} if record.gcp_crs else {}))
    for n, (row, col, x, y, z) in enumerate(record.gcps, 1):
        place = {"Pixel": col, "Line": row, "X": x, "Y": y, "Z": z}
        _add(points, "GCP", Id=str(n), Info="", **{key: repr(float(number)) for key, number in place.items()})


def _add_tags(parent: ElementTree.Element, tags: Tags) -> None:
    for namespace, values in tags.items():
        domain = {"domain": namespace} if namespace else {}
        if namespace.startswith("xml:"):
            _add_document(parent, namespace, values)
            continue
        metadata = _add(parent, "Metadata", **domain)
        for key, value in values.items():
            _add(metadata, "MDI", value, key=key)


def _add_document(parent: ElementTree.Element, namespace: str, values: dict[str, str]) -> None:
    """A namespace that holds an XML document instead of keys and values."""
    for document in values.values():
        try:
            content = ElementTree.fromstring(to_stand_ins(document))
        except ElementTree.ParseError:
            continue
        _add(parent, "Metadata", domain=namespace, format="xml").append(content)


def _add_band(root: ElementTree.Element, number: int, band: BandRecord, nodata: float | str | None) -> None:
    if band.nodata is not None:
        nodata = band.nodata
    if nodata is None and band == BandRecord():
        return
    element = _add(root, "PAMRasterBand", band=str(number))
    if band.description:
        _add(element, "Description", band.description)
    if nodata is not None:
        _add(element, "NoDataValue", nodata)
    if band.color:
        _add(element, "ColorInterp", _COLORS.get(band.color, band.color.capitalize()))
    if band.unit:
        _add(element, "UnitType", band.unit)
    if (band.scale, band.offset) != (1, 0):
        _add(element, "Offset", repr(band.offset))
        _add(element, "Scale", repr(band.scale))
    _add_tags(element, band.tags)
