"""What a file says of itself. Imports no torch, decodes nothing."""

from __future__ import annotations

import math
import os
from typing import Any, BinaryIO

from ..base.files import STREAM, standard_input
from ..base.remote import open_binary
from ..errors import FormatError, ModelError
from ..format.geo import parse_record
from ..format.header import Header
from ..format.kinds import Kind, kind_name
from ..format.layout import layout_of
from ..format.limits import QUALITY_STEPS, VERSION
from ..format.reader import Reader
from ..weights import registry


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Header, streams and model of a `.dmen` file, or "-" for standard input, as plain values.

    Raises:
        FormatError: where it is not one, or its header is damaged.
        ImageError: standard input is closed.
    """
    name = "standard input" if path == STREAM else os.fsdecode(path)
    try:
        with _open(path) as file:
            reader = Reader(file)
            streams = {kind_name(k): size for k, size in reader.stream_sizes.items()}
            return (
                _header(reader.header)
                | _bands(reader)
                | _geo(reader)
                | {
                    "version": VERSION,
                    "max_error": reader.header.bound,
                    "bytes": reader.size,
                    "bpp": 8 * reader.size / (reader.header.width * reader.header.height),
                    "streams": streams,
                    "overhead": reader.size - sum(streams.values()),
                }
            )
    except FormatError as error:
        error.filename = name
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FormatError(f"cannot be read ({reason})", filename=name) from error


def _open(path: str | os.PathLike[str]) -> BinaryIO:
    return standard_input() if path == STREAM else open_binary(path)


def _header(header: Header) -> dict[str, Any]:
    return {
        "width": header.width,
        "height": header.height,
        "mode": header.mode,
        "quality": header.quality / QUALITY_STEPS,
        "tile": header.tile,
        "tiles": header.tile_count,
        "model": header.model.hex(),
        "model_name": _model_name(header.model),
        "metadata": [kind_name(k) for k in header.file_kinds],
    }


def _bands(reader: Reader) -> dict[str, Any]:
    """Depth, bands, nodata and alpha of a file that needs more than a mode to say them."""
    if reader.header.mode != "BANDS":
        return {}
    layout = layout_of(reader)
    return {
        "bands": layout.image_bands,
        "bits": layout.depth,
        "type": layout.value_type,
        "steps": list(layout.step_sizes),
        "nodata": [_plain(value) for value in layout.declared_nodata],
        "scale": [[band.low, band.high] for band in layout.bands],
        "alpha": layout.alpha.name.lower(),
        "groups": [list(group) for group in layout.groups],
    }


def _plain(value: float | None) -> float | str | None:
    """A nodata value as JSON can have it."""
    return value if value is None or math.isfinite(value) else str(value)


def _geo(reader: Reader) -> dict[str, Any]:
    """CRS, transform and bounds of a file that has a georeference."""
    if Kind.GEO not in reader.header.kinds:
        return {}
    record = parse_record(reader.file_stream(Kind.GEO))
    return {
        "crs": record.crs_name,
        "epsg": record.epsg,
        "transform": record.transform,
        "bounds": record.bounds(reader.header.width, reader.header.height),
        "gcps": len(record.gcps),
        "rpcs": "RPC" in record.tags,
    }


def _model_name(model_id: bytes) -> str | None:
    try:
        return registry.find_id(model_id).name
    except ModelError:
        return None
