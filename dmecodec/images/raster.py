"""Sources over Pillow images: those in memory, and files whose header has been checked."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    WebPImagePlugin,
)

from ..base.boxes import Box
from ..errors import ImageError
from ..format.layout import plain_layout
from .advice import CHOOSE, EXTRACT, PASS_ARRAY, TO_RGB
from .guard import run_pillow
from .headers import check_header
from .metadata import Metadata, read_metadata
from .source import Source, check_size
from .tiff import Tiff, load_tiff

_OPENERS: dict[str, Callable[[Any], Any]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "TIFF": Tiff,
    "JPEG": JpegImagePlugin.jpeg_factory,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "PNM": PpmImagePlugin.PpmImageFile,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}


class PillowSource(Source):
    """A loaded Pillow image, of a mode that the codec codes or one that becomes it exactly."""

    def __init__(self, image: Image.Image, metadata: Metadata) -> None:
        self.width, self.height = image.size
        self._coded_mode = _coded_mode(image)
        self.layout = plain_layout(self._coded_mode)  # a nodata value may be added
        self.metadata = metadata
        self._image = image

    def read(self, box: Box, planes: Sequence[int]) -> np.ndarray:
        """As :meth:`Source.read`."""
        pixels = np.empty((box.height, box.width, len(planes)), np.uint8)
        every = len(planes) == self.layout.planes
        # Pillow's window, its conversion and its bytes are three copies more: keep each small.
        step = max(1, 2**22 // box.width)
        for top in range(0, box.height, step):
            part = pixels[top : top + step]
            corners = (box.col, box.row + top, box.right, box.row + top + len(part))
            # Image.crop would check the window against Pillow's own limit on pixels.
            window = self._image._new(self._image.im.crop(corners))
            if window.mode not in (self._coded_mode, "La"):
                window = window.convert(self._coded_mode)
            samples = np.asarray(window).reshape(*part.shape[:2], -1)
            part[:] = samples if every else samples[..., list(planes)]
        return pixels


def _coded_mode(image: Image.Image) -> str:
    """The mode in which an image is coded; palettes, bilevel and colour keys are resolved."""
    mode = image.mode
    keyed = image.has_transparency_data
    if mode in ("LA", "RGBA"):
        return mode
    if mode in ("1", "L"):
        return "LA" if keyed else "L"
    if mode in ("P", "PA", "RGB"):
        return "RGBA" if keyed else "RGB"
    if mode == "La" and isinstance(image, Tiff):
        return "LA"  # opaque or empty everywhere, as load_tiff made sure: the same bytes
    what = {
        "I": "32-bit integers",
        "F": "32-bit floating point",
        "La": "grey multiplied by alpha",
        "RGBa": "colours multiplied by alpha",
        "RGBX": "RGB with a fourth band that is not alpha",
    }.get(mode, "16-bit grey" if mode.startswith("I;16") else f"{mode} colours")
    todo = PASS_ARRAY if mode[0] in "IF" else CHOOSE if mode == "RGBX" else TO_RGB
    raise ImageError(f"mode {mode} ({what}) is not supported; {todo}")


def from_pillow(image: Image.Image) -> Source:
    """A source over a Pillow image in memory, or one opened from a file and not yet loaded."""
    if isinstance(image, ImageFile.ImageFile):
        _check_origin(image)
    check_size(*image.size)
    run_pillow(lambda: _coded_mode(image), "image")  # before a large image is decoded for nothing
    run_pillow(image.load, "image")
    return _check_readable(PillowSource(image, read_metadata(image)), "image")


def _check_origin(image: ImageFile.ImageFile) -> None:
    """Checks the header of the file that a Pillow image came from, if it can still be read."""
    if image.format != "TIFF" and getattr(image, "is_animated", False):
        raise ImageError("is one frame of several: pass a copy of the frame to encode (image.copy())")
    if image.format not in ("PNG", "TIFF", "PPM", "JPEG2000", "AVIF"):
        return
    file = image.fp or getattr(image, "_fp", None)
    if isinstance(file, io.IOBase) and not file.closed and file.seekable():
        position = file.tell()
        try:
            check_header(cast(BinaryIO, file))
        finally:
            file.seek(position)
    elif image.filename and (path := Path(os.fsdecode(image.filename))).is_file():
        with path.open("rb") as reopened:
            check_header(reopened)


def size_of_file(file: BinaryIO) -> tuple[int, int]:
    """Width and height of an image file that can seek, from its header alone."""
    kind = check_header(file)
    return run_pillow(lambda: _OPENERS[kind](_rewound(file)), kind).size


def mode_of_file(file: BinaryIO) -> str:
    """The mode in which an image file that can seek is coded, from its header alone."""
    kind = check_header(file)
    return run_pillow(lambda: _coded_mode(_OPENERS[kind](_rewound(file))), kind)


def from_file(file: BinaryIO) -> Source:
    """Loads an image file that can seek."""
    kind = check_header(file)
    image: ImageFile.ImageFile = run_pillow(lambda: _OPENERS[kind](_rewound(file)), kind)
    check_size(*image.size)
    _check_frames(image)
    run_pillow(lambda: _coded_mode(image), kind)
    run_pillow(lambda: _load(image), kind)
    return _check_readable(PillowSource(image, read_metadata(image)), kind)


def _check_readable(source: Source, kind: str) -> Source:
    """Reads one pixel, which fails at once for a damaged palette or colour key."""
    run_pillow(lambda: source.pixels(Box(0, 0, 1, 1)), kind)
    return source


def _rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


def _load(image: ImageFile.ImageFile) -> None:
    if isinstance(image, Tiff):
        load_tiff(image)
    else:
        image.load()
    image.fp = None


def _check_frames(image: ImageFile.ImageFile) -> None:
    """Refuses animations, and MPO files whose further pictures are more than previews."""
    if image.format == "TIFF":
        return  # check_header has counted its pages
    if image.format == "MPO":
        entries = getattr(image, "mpinfo", {}).get(0xB002) or []
        several = any("Multi-Frame" in str(entry["Attribute"]["MPType"]) for entry in entries)
    else:
        several = bool(getattr(image, "is_animated", False))
    if several:
        raise ImageError(f"holds several frames, of which one image can keep one; {EXTRACT}")
