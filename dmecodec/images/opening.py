"""Opens whatever a caller calls an image: a path, a file object, a Pillow image, an array."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from PIL import Image

from ..errors import ImageError
from .guard import named
from .pillow import from_file, from_pillow, size_of_file
from .source import ArraySource, Source


def open_source(image: object) -> Source:
    """Opens an image for the encoder.

    Args:
        image: a path, a binary file object (left open; read from its start where it can seek), a
            `PIL.Image.Image`, or a uint8 array (height, width) or (height, width, 1 to 4 bands) of
            grey, grey and alpha, RGB, or RGBA.

    Raises:
        ImageError: there is no such file, it is no image, it is damaged, or it is of a kind that
            would lose something: over 8 bits a sample, more bands than colour and alpha, another
            colour model, several frames.
    """
    if isinstance(image, np.ndarray):
        return ArraySource(image)
    if isinstance(image, Image.Image):
        with named("image"):
            return from_pillow(image)
    if isinstance(image, (str, os.PathLike)):
        path = Path(image)
        with named(str(path)), _open_path(path) as file:
            return from_file(file)
    if hasattr(image, "read"):
        with named(str(getattr(image, "name", "image"))):
            return from_file(_seekable(cast(BinaryIO, image)))
    raise ImageError(
        f"cannot read an image from {type(image).__name__}: "
        "give a path, a binary file object, a Pillow image or a uint8 array"
    )


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height of an image file; reads its header only.

    Raises:
        ImageError: as :func:`open_source`, as far as the header tells.
    """
    with named(str(path)), _open_path(Path(path)) as file:
        return size_of_file(file)


def _open_path(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise ImageError("this is a folder, not an image file")
        return path.open("rb")
    except FileNotFoundError:
        raise ImageError("there is no such file") from None
    except PermissionError:
        raise ImageError("no permission to read this file") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _seekable(file: BinaryIO) -> BinaryIO:
    """The file at its start, or what a pipe holds, in memory."""
    try:
        if not isinstance(file.read(0), bytes):
            raise ImageError("is open as text; open it in binary mode ('rb')")
        if file.seekable():
            return file
        return io.BytesIO(file.read())
    except (OSError, ValueError, AttributeError) as error:
        raise ImageError(f"cannot be read ({error})") from None
