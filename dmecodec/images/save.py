"""What the decoder writes into, window by window, and how it becomes a file."""

from __future__ import annotations

import os
import struct
from typing import Any, BinaryIO, ClassVar, cast

import numpy as np
from PIL import Image, PngImagePlugin

from ..base.files import replace_file
from ..errors import OutputError
from .exif import EXIF_PREFIX, copy_descriptive, dots_per_inch
from .formats import check_output
from .metadata import Metadata

_MAX_TIFF_BYTES = 2**32 - 2**26  # of pixels, which leaves room for the tags
_STRIP_BYTES = 2**20
_MAX_JPEG_DENSITY = 2**16
_STRIP_OFFSETS, _ROWS_PER_STRIP, _XMP = 273, 278, 700


class Sink:
    """An image that the decoder fills window by window and then saves.

    PNG, TIFF and WebP are written without loss, JPEG at quality 95 without chroma subsampling.
    """

    def __init__(self, width: int, height: int, mode: str, metadata: Metadata) -> None:
        """Makes a black (and transparent) image of `mode`, one of `dmecodec.images.MODES`."""
        self.width, self.height, self.mode, self.metadata = width, height, mode, metadata
        try:
            self._image = Image.new(mode, (width, height))
        except MemoryError:
            raise OutputError(f"not enough memory to hold {width} x {height} {mode}") from None

    def write(self, col: int, row: int, pixels: np.ndarray) -> None:
        """Puts a window of uint8 (height, width, bands) or, for L, (height, width), at (col, row).

        Raises:
            ValueError: its type or shape is not that of the image, or it reaches beyond it.
        """
        bands = len(self.mode)
        if pixels.dtype != np.uint8 or pixels.size != pixels.shape[0] * pixels.shape[1] * bands:
            raise ValueError(f"{pixels.dtype} {pixels.shape} is no window of a {self.mode} image")
        height, width = pixels.shape[:2]
        if min(col, row) < 0 or col + width > self.width or row + height > self.height:
            raise ValueError(f"window {col},{row},{width},{height} reaches beyond the image")
        flat = (height, width) if bands == 1 else (height, width, bands)
        window = Image.fromarray(np.ascontiguousarray(pixels.reshape(flat)))
        self._image.paste(window, (col, row))

    def save(self, target: str | os.PathLike[str] | BinaryIO, format: str) -> None:
        """Writes the image, its ICC profile, EXIF and XMP.

        Args:
            target: a path, replaced once the file is complete; or a binary file object, which may
                be a pipe and is left open.
            format: PNG, TIFF, JPEG or WEBP.

        Raises:
            OutputError: the format cannot hold the image or its metadata, or a path cannot be
                written. An OSError of a file object given by the caller passes as it is.
        """
        check_output(format, self.width, self.height, self.mode)
        if isinstance(target, (str, os.PathLike)):
            with replace_file(target, overwrite=True) as file:
                self._save(file, format)
        else:
            self._save(target, format)

    def _save(self, file: BinaryIO, format: str) -> None:
        options = _save_options(self._image, self.metadata, format)
        try:
            self._image.save(cast(BinaryIO, _Stream(file)), format, **options)
        except (ValueError, SystemError, struct.error, MemoryError) as error:
            raise OutputError(f"cannot write {format}: {str(error) or 'out of memory'}") from error


class _Stream:
    """A file that is written from front to back, and has no descriptor.

    Given a descriptor, Pillow's encoders write to it by themselves: the JPEG encoder takes no
    notice of a full disk then, and libtiff reports it on stderr.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._written = 0

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:  # a pipe may take less than all
            taken = self._file.write(rest)
            rest = rest[len(rest) if taken is None else taken :]
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written

    def seek(self, position: int) -> int:
        if position != self._written:
            raise OutputError("this format cannot be written from front to back")
        return position

    def flush(self) -> None:
        self._file.flush()


def _save_options(image: Image.Image, metadata: Metadata, format: str) -> dict[str, Any]:
    """Pillow's options. The choices between speed and size are measured on aerial images."""
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
