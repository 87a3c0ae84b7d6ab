"""Metadata that rasterio cannot write into a GeoTIFF: it writes stand-ins, which are put right in the finished file.

GDAL keeps its metadata as one XML document in a tag of the TIFF. Each stand-in is at least as long as what it stands
for, and blanks behind the document fill it up, so nothing in the file moves.
"""

from __future__ import annotations

import mmap
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..format.geo import BandRecord, GeoRecord, Tags
from .raw_text import is_raw, restore_bytes, to_stand_ins

_NO_NAMESPACE = "dmecodec-5f0a9d6c41e27b38"
"""Stands for no namespace: asked to copy tags with namespaces, GDAL leaves out those of bands that have none."""
_COLOR_ROLE = "dmecodec-colour-2ab97c03e5d1"
"""Stands for the role of the item that says the colour of a band: rasterio cannot say `undefined` of the first."""
_KEY = "dmecodec-key-"
"""Begins a key that `rasterio.update_tags` would take for one of its own arguments."""
_ARGUMENTS = ("ns", "bidx")
_FIRST_COLOR = re.compile(rb'\s*<Item name="COLORINTERP" sample="0" role="colorinterp">\w+</Item>')
_START, _END = b"<GDALMetadata>", b"</GDALMetadata>"


def has_namespaces(record: GeoRecord) -> bool:
    """Whether there are tags that GDAL copies only when asked for namespaces, stand-ins included."""
    names = set(record.tags).union(*(band.tags for band in record.bands))
    return bool(names - {"", "RPC"}) or first_is_undefined(record)


def first_is_undefined(record: GeoRecord) -> bool:
    """Whether the first band has no colour, which a TIFF of grey cannot say by itself."""
    return bool(record.bands) and record.bands[0].color == "undefined"


def with_stand_ins(record: GeoRecord) -> GeoRecord:
    """The record as rasterio can write it."""
    lose_tags = has_namespaces(record)
    bands = [_band(band, lose_tags=lose_tags) for band in record.bands]
    if first_is_undefined(record):
        bands[0].tags[_COLOR_ROLE] = {"COLORINTERP": "Undefined"}
    return replace(record, tags=_tags(record.tags), bands=tuple(bands))


def _band(band: BandRecord, *, lose_tags: bool) -> BandRecord:
    tags = _tags(band.tags)
    if lose_tags and "" in tags:
        tags[_NO_NAMESPACE] = tags.pop("")
    description, unit = (to_stand_ins(text) if text else text for text in (band.description, band.unit))
    return replace(band, description=description, unit=unit, tags=tags)


def _tags(tags: Tags) -> Tags:
    return {
        to_stand_ins(name): {_key(to_stand_ins(key)): to_stand_ins(value) for key, value in values.items()}
        for name, values in tags.items()
    }


def _key(key: str) -> str:
    return _KEY + key if key in _ARGUMENTS else key


def put_right(path: Path, record: GeoRecord) -> None:
    """Puts what it stands for in the place of every stand-in.

    Args:
        path: the finished TIFF.
        record: what it was made of, without stand-ins.

    Raises:
        OutputError: the metadata is not where GDAL writes it.
    """
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        start = data.find(_START)
        end = data.find(_END, start) + len(_END)
        if start >= 0:
            data[start:end] = _right(data[start:end]).ljust(end - start)
        for text in _raw_tiff_tags(record.tags.get("", {})):
            _replace_text(data, text)


def _right(document: bytes) -> bytes:
    document = document.replace(f' domain="{_NO_NAMESPACE}"'.encode(), b"")
    if (color := f' domain="{_COLOR_ROLE}"'.encode()) in document:
        document = _FIRST_COLOR.sub(b"", document).replace(color, b' role="colorinterp"')
    for key in _ARGUMENTS:
        document = document.replace(f'"{_KEY}{key}"'.encode(), f'"{key}"'.encode())
    return restore_bytes(document)


def _raw_tiff_tags(tags: dict[str, str]) -> list[str]:
    """The texts that GDAL writes not into its document but into tags of the TIFF."""
    return [value for key, value in tags.items() if key.startswith("TIFFTAG_") and is_raw(value)]


def _replace_text(data: Any, text: str) -> None:
    stand_in = to_stand_ins(text).encode()
    at = data.find(stand_in)
    if at < 0:
        raise OutputError("cannot write the GeoTIFF: GDAL has changed a tag that is no UTF-8")
    data[at : at + len(stand_in)] = restore_bytes(stand_in).ljust(len(stand_in), b"\0")
