"""The georeference of a PNG, JPEG or WebP, in the files beside it that GDAL reads."""

from __future__ import annotations

from pathlib import Path

from ..base.boxes import Box
from ..base.files import companion
from ..errors import OutputError
from ..format.geo import GeoRecord
from ..format.layout import Layout
from .pam import AUX_XML, WORLD_FILES, aux_xml, world_file


def write_sidecars(path: Path, format: str, layout: Layout, record: GeoRecord, window: Box) -> list[str]:
    """Writes the world file and `.aux.xml` of an image as its companions.

    Args:
        path: the image, which may have a hidden name.
        format: PNG, JPEG or WEBP.
        layout: of its bands.
        record: what the whole image says.
        window: the part of it that the file holds.

    Returns:
        What is left out, in words.

    Raises:
        OutputError: a file cannot be written.
    """
    record = record.cut(window.col, window.row)
    nodata = [band.nodata for band in layout.bands]
    left_out = []
    if format == "JPEG" and layout.has_nodata:
        nodata, left_out = [], ["nodata, for JPEG changes which samples have that value"]
    try:
        if record.transform is not None and format in WORLD_FILES:
            companion(path, WORLD_FILES[format]).write_bytes(world_file(record.transform))
        if record.has_content or any(value is not None for value in nodata):
            companion(path, AUX_XML).write_bytes(aux_xml(record, nodata))
    except OSError as error:
        raise OutputError(f"cannot write {error.filename}: {error.strerror}") from error
    return left_out
