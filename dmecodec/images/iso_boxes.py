"""The boxes of which JPEG 2000 and AVIF files consist."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from ..errors import UnreadableError

_OF_BOXES = (b"jp2h", b"res ", b"asoc", b"uinf")
"""Kinds of JPEG 2000 whose content is boxes."""
_CODESTREAM = b"\xff\x4f"


def iso_boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """The outer boxes of a file: kind, and where its content starts and ends."""
    end = file.seek(0, os.SEEK_END)
    start = 0
    while start + 8 <= end:
        kind, content, size = _box(file, start)
        stop = start + size if size else end
        if stop < content:
            return
        yield kind, content, min(stop, end)
        start = stop


def check_nested_boxes(file: BinaryIO) -> None:
    """Refuses a JPEG 2000 file with a box that the boxes inside it do not fill. GDAL may read those without end.

    Raises:
        UnreadableError: there is one.
    """
    file.seek(0)
    if file.read(len(_CODESTREAM)) == _CODESTREAM:  # no boxes
        return
    try:
        boxes = list(iso_boxes(file))
        while boxes:
            kind, start, end = boxes.pop()
            while kind in _OF_BOXES and start < end:
                inner, content, size = _box(file, start)
                stop = start + size
                if not content <= stop <= end:  # a size of 0 as well, which only an outer box may have
                    raise UnreadableError("the JPEG 2000 data is damaged: a box does not fit into the one around it")
                boxes.append((inner, content, stop))
                start = stop
    except struct.error:
        raise UnreadableError("the JPEG 2000 data is damaged: a box is cut short") from None


def _box(file: BinaryIO, start: int) -> tuple[bytes, int, int]:
    """Kind of the box at `start`, where its content starts, and its whole size, or 0 for all that follows."""
    file.seek(start)
    size, kind = struct.unpack(">I4s", file.read(8))
    content = start + 8
    if size == 1:
        (size,) = struct.unpack(">Q", file.read(8))
        content += 8
    return kind, content, size
