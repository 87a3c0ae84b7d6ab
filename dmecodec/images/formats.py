"""The formats that images are written in: which one a name asks for, and what it can hold."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import features

from ..errors import OptionError, OutputError
from ..format.layout import Layout

_SUFFIXES = {
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
}
_MAX_OUTPUT_SIDE = {"PNG": 2**31 - 1, "TIFF": 2**31 - 1, "JPEG": 65500, "WEBP": 16383}


def output_format(path: str | os.PathLike[str]) -> str:
    """The format that a file name asks for: PNG, TIFF, JPEG or WEBP.

    Raises:
        OptionError: the suffix is none of the known ones.
    """
    suffix = Path(os.fsdecode(path)).suffix
    if suffix.lower() not in _SUFFIXES:
        found = f"the suffix {suffix}" if suffix else "a name without suffix"
        raise OptionError(f"{path}: cannot tell an image format from {found}; use one of {', '.join(_SUFFIXES)}")
    return _SUFFIXES[suffix.lower()]


def picture_mode(layout: Layout) -> str:
    """The mode of an ordinary image that holds these bands; a mask becomes its alpha.

    Raises:
        OutputError: there is none.
    """
    if layout.picture_mode is None:
        raise OutputError(
            f"only a GeoTIFF can hold {layout.image_bands} bands of {layout.sample_words}; write a .tif, without --no-geo"
        )
    return layout.picture_mode


def check_output(format: str, width: int, height: int, mode: str) -> None:
    """Sees that a format can hold an image, before any work is done for it.

    Raises:
        OutputError: alpha in JPEG, a side too long, or a format that this Pillow cannot write.
        OptionError: no such format.
    """
    if format not in _MAX_OUTPUT_SIDE:
        raise OptionError(f"unknown output format {format}: use one of {', '.join(_MAX_OUTPUT_SIDE)}")
    limit = _MAX_OUTPUT_SIDE[format]
    if format == "JPEG" and mode not in ("L", "RGB"):
        raise OutputError(f"JPEG cannot hold the alpha of a {mode} image; write PNG, TIFF or WebP instead")
    if max(width, height) > limit:
        raise OutputError(
            f"{format} cannot hold {width} x {height}: its sides end at {limit} pixels; write PNG or TIFF instead"
        )
    if format == "WEBP" and not features.check("webp"):
        raise OutputError("this Pillow was built without WebP; write PNG or TIFF instead")
