"""Checks of a file's header for what Pillow does not report: bits a sample, bands, signs.

Pillow opens many files whose samples it cannot hold: a 16-bit RGB PNG, or an AVIF of 10 bits, becomes 8-bit "RGB".
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from typing import BinaryIO

from ..errors import ImageError
from .advice import EXTRACT, KEEP_ALL, KEEP_PNM, SCALE, refuse_depth, refuse_shallow
from .iso_boxes import iso_boxes
from .tiff import check_tiff

_FIRST_BYTES = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "JPEG": rb"\xff\xd8\xff",
    "WebP": rb"RIFF....WEBP",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    "PNM": rb"P[1-6][\s#]",
    "JPEG 2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "AVIF": rb"....ftyp.{0,48}?avi[fs]",
}
"""The formats that are read, and how their files begin."""

SUFFIXES = {
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WebP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "PNM": (".pbm", ".pgm", ".ppm", ".pnm"),
    "JPEG 2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "AVIF": (".avif",),
}
IMAGE_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
"""The suffixes of images in folders. A file that a user names may have any suffix."""


def check_header(file: BinaryIO) -> str:
    """Names the format of a file by its first bytes and refuses what Pillow would narrow.

    Returns:
        The name of one of the formats that are read.
    """
    try:
        file.seek(0)
        head = file.read(64)
        if not head:
            raise ImageError("is empty")
        kind = _format_of(head)
        if kind is None:
            raise ImageError(f"is not an image of a format that is read here ({', '.join(_FIRST_BYTES)})")
        check = _CHECKS.get(kind)
        if check:
            check(file)
        return kind
    except (struct.error, IndexError, ValueError):  # ValueError: an offset beyond 2^63
        raise ImageError(f"the {kind} header is truncated or damaged") from None
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror or error})") from None


def format_of(file: BinaryIO) -> str | None:
    """The format of a file by its first bytes, or None; it is left at its start."""
    file.seek(0)
    head = file.read(64)
    file.seek(0)
    return _format_of(head)


def is_tiff(file: BinaryIO) -> bool:
    """Whether a file begins as a TIFF does; it is left at its start."""
    return format_of(file) == "TIFF"


def _format_of(head: bytes) -> str | None:
    for kind, pattern in _FIRST_BYTES.items():
        if re.match(pattern, head, re.DOTALL):
            return kind
    return None


_PNG_GREY = 0


def _check_png(file: BinaryIO) -> None:
    file.seek(24)
    kind = file.read(2)
    bits = kind[0]
    refuse_depth(bits)
    if 1 < bits < 8 and kind[1] == _PNG_GREY:
        refuse_shallow(bits)


def _check_jpeg(file: BinaryIO) -> None:
    """Walks to the start of frame, which has the precision."""
    file.seek(2)
    while True:
        (marker,) = struct.unpack(">H", file.read(2))
        while marker == 0xFFFF:  # fill bytes
            marker = 0xFF00 | file.read(1)[0]
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            return refuse_depth(file.read(3)[2])
        if marker < 0xFFC0 or marker == 0xFFDA:
            return None  # no frame header: Pillow refuses the file
        (length,) = struct.unpack(">H", file.read(2))
        file.seek(length - 2, os.SEEK_CUR)


def _check_pnm(file: BinaryIO) -> None:
    file.seek(0)
    fields = re.sub(rb"#[^\r\n]*", b"", file.read(4096)).split(maxsplit=4)
    if fields[0] in (b"P2", b"P3", b"P5", b"P6") and fields[3].isdigit():
        top = int(fields[3])
        refuse_depth(top.bit_length())
        if top < 255:
            raise ImageError(f"has samples of 0 to {top}, which would be rescaled; {KEEP_PNM}")
    _check_one_pnm(file)


_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_RAW_PNM = re.compile(rb"P4%b(\d+)%b(\d+)\s|P([56])%b(\d+)%b(\d+)%b\d+\s" % ((_GAP,) * 5))


def _check_one_pnm(file: BinaryIO) -> None:
    """Refuses a file of several images one after the other, of which Pillow reads the first."""
    file.seek(0)
    header = _RAW_PNM.match(file.read(4096))
    if header is None:
        return  # samples in decimal digits, or a header that Pillow refuses
    if header[3]:
        size = int(header[4]) * int(header[5]) * (3 if header[3] == b"6" else 1)
    else:
        size = (int(header[1]) + 7) // 8 * int(header[2])
    file.seek(header.end() + size)
    if re.match(rb"P[1-6]\s", file.read(3)):
        raise ImageError(f"holds several images, of which one can be kept; {EXTRACT}")


def _check_avif(file: BinaryIO) -> None:
    """Finds every AV1 configuration; Pillow decodes 10 and 12 bits to 8."""
    for kind, start, stop in iso_boxes(file):
        if kind in (b"meta", b"moov"):
            file.seek(start)
            content = file.read(min(stop - start, 2**20))
            for box in re.finditer(rb"av1C..(.)", content, re.DOTALL):
                flags = box[1][0]
                if flags & 0x40:
                    refuse_depth(12 if flags & 0x20 else 10)


def _check_jpeg2000(file: BinaryIO) -> None:
    """Reads the depth of each component out of the SIZ marker, and which are alpha out of the box for it."""
    file.seek(0)
    start, header = 0, b""
    if file.read(4) != b"\xff\x4f\xff\x51":
        for kind, content, stop in iso_boxes(file):
            file.seek(content)
            if kind == b"jp2h":
                header = file.read(min(stop - content, 2**20))
                palette = re.search(rb"pclr..(.)", header, re.DOTALL)
                if palette:
                    depths = header[palette.end() : palette.end() + palette[1][0]]
                    refuse_depth(max((depth & 0x7F) + 1 for depth in depths))
            if kind == b"jp2c":
                start = content
                break
    file.seek(start + 40)
    (components,) = struct.unpack(">H", file.read(2))
    if components > 4:
        raise ImageError(f"has {components} bands; {KEEP_ALL}")
    if components in (2, 4) and not _last_is_alpha(header, components):
        # Pillow would call it alpha whatever it is.
        raise ImageError(f"has {components} bands, of which none is said to be alpha; {KEEP_ALL}")
    for depth, _, _ in struct.iter_unpack("3B", file.read(3 * components)):
        bits = (depth & 0x7F) + 1
        refuse_depth(bits)
        if bits < 8:
            refuse_shallow(bits)
        if depth & 0x80:
            raise ImageError(f"has signed samples; {SCALE}")


def _last_is_alpha(header: bytes, components: int) -> bool:
    """Whether the channel definitions in a JP2 header say so: number, type (1 is opacity) and colour of each."""
    box = re.search(rb"cdef..", header, re.DOTALL)
    definitions = header[box.end() :] if box else b""
    size = 6 * components
    kinds = {number: kind for number, kind, _ in struct.iter_unpack(">3H", definitions[:size])}
    return kinds.get(components - 1) == 1


_CHECKS: dict[str, Callable[[BinaryIO], None]] = {
    "PNG": _check_png,
    "TIFF": check_tiff,
    "JPEG": _check_jpeg,
    "PNM": _check_pnm,
    "JPEG 2000": _check_jpeg2000,
    "AVIF": _check_avif,
}
