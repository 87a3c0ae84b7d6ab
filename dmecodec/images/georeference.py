"""Whether an image file says where its pixels lie, or has a mask, without rasterio."""

from __future__ import annotations

import os
import struct
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

from .iso_boxes import iso_boxes
from .sidecars import sidecars

_GEOTIFF_BOX = bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03")
_WORLD_FILE_BOX = bytes.fromhex("96a9f1f1dc98402da7aed68e34451809")
_GEOGRAPHIC_BOXES = (_GEOTIFF_BOX, _WORLD_FILE_BOX)
_GML_WORDS = (b"gml.data", b"gml.root-instance", b"GDALMultiDomainMetadata")
_MAX_LOOK = 1 << 16
"""Bytes of a box that are looked at."""


class Georeference(IntEnum):
    """What is known before rasterio has looked.

    NONE: rasterio would report no more than Pillow.
    PERHAPS: metadata that only rasterio reads; passed over without it.
    CERTAIN: something is there that must not be lost.
    """

    NONE = 0
    PERHAPS = 1
    CERTAIN = 2


def find_georeference(file: BinaryIO, kind: str, path: Path | None) -> Georeference:
    """Looks into an image file that can seek, and beside it where it has a path.

    Args:
        file: the image.
        kind: its format, as :func:`dmecodec.images.headers.format_of` names it; any but TIFF.
        path: where it stands, or None.
    """
    if path is not None and sidecars(path):
        return Georeference.CERTAIN
    try:
        if kind == "JPEG 2000":
            return _in_boxes(file)
        if kind == "JPEG" and _has_mask_behind(file):
            return Georeference.CERTAIN
    except (struct.error, OSError):
        pass  # for Pillow to complain about
    finally:
        file.seek(0)
    return Georeference.NONE


def _in_boxes(file: BinaryIO) -> Georeference:
    """Looks for GeoJP2 and GMLJP2 among the outer boxes of a JPEG 2000 file."""
    certainty = Georeference.NONE
    file.seek(0)
    if file.read(2) == b"\xff\x4f":  # a bare codestream
        return certainty
    for kind, start, stop in iso_boxes(file):
        if kind not in (b"uuid", b"asoc", b"xml "):
            continue
        file.seek(start)
        content = file.read(min(stop - start, _MAX_LOOK))
        if kind == b"uuid" and content[:16] in _GEOGRAPHIC_BOXES:
            return Georeference.CERTAIN
        if any(word in content for word in _GML_WORDS):
            return Georeference.CERTAIN
        certainty = Georeference.PERHAPS
    return certainty


def _has_mask_behind(file: BinaryIO) -> bool:
    """Whether GDAL has put a mask behind a JPEG image; the last four bytes say where the image ends."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 4))
    (end,) = struct.unpack("<I", file.read(4))
    if not size // 2 < end < size - 4:
        return False
    file.seek(end - 2)
    return file.read(2) == b"\xff\xd9"
