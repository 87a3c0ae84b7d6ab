"""What a file says of itself. Imports no torch: the header alone is read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from . import registry
from .container import Header, Reader, kind_name
from .errors import FormatError, ModelError


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Header, streams and model of a `.dmen` file, as plain values.

    Raises:
        FormatError: where it is not one, or its header is damaged.
    """
    try:
        with Path(path).open("rb") as file:
            reader = Reader(file)
            streams = {kind_name(k): size for k, size in reader.stream_sizes.items()}
            return _header(reader.header) | {
                "bytes": reader.size,
                "bpp": 8 * reader.size / (reader.header.width * reader.header.height),
                "streams": streams,
                "overhead": reader.size - sum(streams.values()),
            }
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FormatError(f"{path}: cannot be read ({reason})") from error


def _header(header: Header) -> dict[str, Any]:
    return {
        "width": header.width,
        "height": header.height,
        "mode": header.mode,
        "quality": header.quality / 32,
        "tile": header.tile,
        "tiles": header.tile_count,
        "model": header.model.hex(),
        "model_name": _model_name(header.model),
        "metadata": [kind_name(k) for k in header.file_kinds],
    }


def _model_name(model_id: bytes) -> str | None:
    try:
        return registry.find_id(model_id).name
    except ModelError:
        return None
