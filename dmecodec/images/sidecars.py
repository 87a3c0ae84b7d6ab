"""The files beside an image that GDAL reads together with it: world files, `.aux.xml`, masks, metadata of vendors.

A listing of the folder finds them, without rasterio.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_AFTER_NAME = (".aux.xml", ".aux", ".msk")
"""Endings after the whole name of the image."""
_AFTER_STEM = (
    ".wld",
    ".tab",
    ".msk",
    ".aux",
    ".rpb",  # DigitalGlobe
    ".imd",
    "_rpc.txt",  # GeoEye, OrbView, and whatever follows them
    "_metadata.txt",
    ".pvl",
    ".rpc",  # KOMPSAT, EROS
    ".pass",
    "_metadata.xml",  # RapidEye
    ".xml",  # DigitalGlobe, Resurs-DK1: see _VENDOR_XML
)
"""Endings after the name of the image without its suffix."""
_VENDOR_XML = re.compile(rb"<(isd|MSP_ROOT|Dimap_Document)\b", re.IGNORECASE)
"""Roots of the XML documents that GDAL takes metadata from. Any other document beside an image is not for GDAL."""
_HEAD = 4096


def sidecars(path: Path) -> list[Path]:
    """The files beside an image that GDAL may read with it, whatever the case of their names."""
    names = sorted(_names(path.name))
    wanted = {name.casefold() for name in names}
    try:
        present = os.listdir(path.parent)  # noqa: PTH208
    except OSError:  # a folder that can be entered but not read
        beside = [path.with_name(name) for name in names if path.with_name(name).is_file()]
    else:
        beside = [path.with_name(name) for name in present if name.casefold() in wanted]
    return [file for file in beside if file.name != path.name and _is_for_gdal(file, path)]


def _names(name: str) -> set[str]:
    """The names, in one case, under which GDAL looks for what belongs to an image of this name."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122
    names = {name + ending for ending in _AFTER_NAME} | {stem + ending for ending in _AFTER_STEM}
    letters = suffix[1:]
    if letters:
        names |= {f"{stem}.{letters}w", f"{stem}.{letters[0]}{letters[-1]}w"}  # world files
    return names | _vendor_names(stem)


def _vendor_names(stem: str) -> set[str]:
    """Names that are no ending of the image's own: ALOS, Pleiades and SPOT, Landsat, EROS."""
    names = set()
    if alos := re.match(r"IMG-\d\d-(.+)", stem, re.IGNORECASE):
        names |= {f"HDR-{alos[1]}.txt", f"RPC-{alos[1]}.txt"}
    if pleiades := re.match(r"IMG_(.+)", stem, re.IGNORECASE):
        for rest in (pleiades[1], re.sub(r"_R\d+C\d+$", "", pleiades[1])):
            names |= {f"DIM_{rest}.xml", f"RPC_{rest}.xml"}
    if landsat := re.match(r"(.+?)_B", stem, re.IGNORECASE):
        names.add(f"{landsat[1]}_MTL.txt")
    return names


def _is_for_gdal(file: Path, image: Path) -> bool:
    """Whether a document beside an image is of a kind that GDAL knows; only plain `.xml` needs a look inside."""
    if file.name.casefold() != f"{image.stem}.xml".casefold():
        return True
    try:
        with file.open("rb") as stream:
            return _VENDOR_XML.search(stream.read(_HEAD)) is not None
    except OSError:
        return False
