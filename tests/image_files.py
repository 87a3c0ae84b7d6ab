"""Image files as the tests write them, and what is read of them."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from dmecodec.errors import ImageError
from dmecodec.format.limits import PLAIN_MODES
from dmecodec.images.metadata import Metadata
from dmecodec.images.open import open_source
from dmecodec.images.options import ReadOptions
from dmecodec.images.save import Sink

RNG = np.random.default_rng(7)


def noise(height: int, width: int, bands: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, bands), np.uint8)


def picture(mode: str, height: int = 9, width: int = 13) -> Image.Image:
    pixels = noise(height, width, len(mode))
    return Image.fromarray(pixels[..., 0] if mode == "L" else pixels)


def saved(image: Image.Image, format: str, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, format, **options)
    file.seek(0)
    return file


def whole(image: object, **options: Any) -> np.ndarray:
    source = open_source(image, ReadOptions.checked(**options))
    return source.pixels()


def refusal(image: object, **options: Any) -> str:
    """The message with which an image is refused: one line."""
    with pytest.raises(ImageError) as caught:
        open_source(image, ReadOptions.checked(**options))
    message = str(caught.value)
    assert message and "\n" not in message
    return message


def tiff(*pages: dict[int, Any], data: bytes, order: str = "<", big: bool = False) -> io.BytesIO:
    """A TIFF of `pages`; each is 2 x 2 with `data` as its only strip, unless its tags say else.

    A value is a sequence of numbers (written as 16 bits, or 32 where they need it).
    """
    word, count, pad = ("Q", "Q", 8) if big else ("I", "H", 4)
    head = b"II" if order == "<" else b"MM"
    head += struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0) if big else (42,)), 0)
    out = bytearray(head)
    link = len(out) - pad
    strip = len(out)
    out += data
    for page in pages:
        defaults = {256: [2], 257: [2], 259: [1], 262: [1], 273: [strip], 278: [2]}
        tags = {**defaults, 279: [len(data)], **page}
        entries = b""
        for tag, values in sorted(tags.items()):
            code, kind = ("I", 4) if max(values) > 65535 else ("H", 3)
            value = struct.pack(f"{order}{len(values)}{code}", *values)
            if len(value) > pad:
                position = len(out)
                out += value
                value = struct.pack(order + word, position)
            entries += struct.pack(order + "HH" + word, tag, kind, len(values))
            entries += value.ljust(pad, b"\0")
        struct.pack_into(order + word, out, link, len(out))
        out += struct.pack(order + count, len(tags)) + entries
        link = len(out)
        out += bytes(pad)
    return io.BytesIO(bytes(out))


def png16(colour_type: int, bands: int) -> io.BytesIO:
    """A 2 x 2 PNG of 16 bits a sample."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\x12\x34" * 2 * bands) * 2
    return io.BytesIO(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, colour_type, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

XMP = b"<?xpacket begin='' id='x'?><x:xmpmeta xmlns:x='adobe:ns:meta/'/><?xpacket end='w'?>"


def exif(orientation: int = 6) -> bytes:
    made = Image.Exif()
    made[274] = orientation
    made[271] = "Maker"
    made[256] = 4000  # what a camera says of its own file
    made[34665] = {36867: "2024:05:06 07:08:09"}
    made[34853] = {1: "N", 2: (52.0, 31.0, 0.5)}
    return made.tobytes().removeprefix(b"Exif\0\0")


METADATA = Metadata(icc=ICC, exif=exif(), xmp=XMP)


def filled(pixels: np.ndarray, metadata: Metadata | None = None) -> Sink:
    height, width, bands = pixels.shape
    sink = Sink(width, height, PLAIN_MODES[bands - 1], metadata or Metadata())
    sink.write(0, 0, pixels)
    return sink


def written(pixels: np.ndarray, format: str, metadata: Metadata | None = None) -> io.BytesIO:
    file = io.BytesIO()
    filled(pixels, metadata).save(file, format)
    file.seek(0)
    return file


class Pipe(io.RawIOBase):
    """Takes 1000 bytes at a time, cannot seek or tell."""

    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += bytes(data[:1000])
        return min(len(data), 1000)
