"""The image that the decoder fills window by window, and the file that it becomes."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, cast

import numpy as np
from PIL import Image

from ..base.files import replace_file
from ..errors import OutputError
from .formats import check_output, save_options
from .metadata import Metadata


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
        options = save_options(self._image, self.metadata, format)
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
