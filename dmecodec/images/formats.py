"""The formats that images are written in: which one a name asks for, what it can hold, and how Pillow writes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image, PngImagePlugin, features

from ..errors import OptionError, OutputError
from ..format.layout import Layout
from .exif import EXIF_PREFIX, copy_descriptive, dots_per_inch
from .metadata import Metadata

_SUFFIXES = {
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
}
_MAX_TIFF_BYTES = 2**32 - 2**26  # of pixels, which leaves room for the tags
_STRIP_BYTES = 2**20
_MAX_JPEG_DENSITY = 2**16
_STRIP_OFFSETS, _ROWS_PER_STRIP, _XMP = 273, 278, 700
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
            f"only a GeoTIFF can hold {layout.image_bands} bands of {layout.sample_words}; "
            "write a .tif, without --no-geo"
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


def save_options(image: Image.Image, metadata: Metadata, format: str) -> dict[str, Any]:
    """The options with which Pillow writes a format. Those between speed and size are measured on aerial images."""
    options: dict[str, Any] = {}
    if metadata.icc:
        options["icc_profile"] = metadata.icc
    if format == "TIFF":
        # Uncompressed, as GDAL writes it by default: over 1000 MPix/s, against 14 MPix/s for LZW
        # and 5 MPix/s for deflate (with differences: 0.68 and 0.61 of the size).
        options["compression"] = "raw"
        options["big_tiff"] = _is_big(image)
        options["exif"] = _tiff_tags(image, metadata)
        return options
    if metadata.exif:
        options["exif"] = EXIF_PREFIX + metadata.exif
    resolution = dots_per_inch(metadata.exif)
    if resolution and (format == "PNG" or (format == "JPEG" and max(resolution) < _MAX_JPEG_DENSITY)):
        options["dpi"] = resolution
    if format == "PNG":
        # Level 6 is 3 times slower and 3 % smaller.
        options["compress_level"] = 2
        if metadata.xmp:
            options["pnginfo"] = PngImagePlugin.PngInfo()
            options["pnginfo"].add(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp)
    elif metadata.xmp:
        options["xmp"] = metadata.xmp
    if format == "JPEG":
        options.update(quality=95, subsampling=0)
    if format == "WEBP":
        # Quality is effort here; exact keeps the colours where alpha is 0.
        options.update(lossless=True, exact=True, quality=0, method=0)
    return options


def _is_big(image: Image.Image) -> bool:
    return image.width * image.height * len(image.getbands()) > _MAX_TIFF_BYTES


class _TiffTags(Image.Exif):
    """Tags for Pillow's TIFF writer, with the types of those that it would choose too small."""

    tagtype: ClassVar[dict[int, int]] = {_STRIP_OFFSETS: 16}  # 64-bit integers

    def get_ifd(self, tag: int) -> dict[int, Any]:
        """The part under `tag`, which is held here, not at an offset into a file."""
        return self[tag]


def _tiff_tags(image: Image.Image, metadata: Metadata) -> Image.Exif:
    """The tags of a new TIFF beside those that Pillow sets."""
    tags = _TiffTags()
    if metadata.exif:
        try:
            exif = Image.Exif()
            exif.load(EXIF_PREFIX + metadata.exif)
            copy_descriptive(exif, tags)
            tags.tobytes()
        except Exception:  # damaged EXIF is no reason to lose the pixels
            tags = _TiffTags()
    if _is_big(image):
        tags[_STRIP_OFFSETS] = 0  # replaced by Pillow, in this type
    tags[_ROWS_PER_STRIP] = max(1, _STRIP_BYTES // (image.width * len(image.getbands())))
    if metadata.xmp:
        tags[_XMP] = metadata.xmp
    return tags
