"""Where the bytes of a file come from: memory, or a file read in parts."""

from __future__ import annotations

import io
import os
from typing import BinaryIO, TypeAlias

from ..base.fork import Lock
from ..errors import FormatError


class MemoryStorage:
    """A file in memory."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = memoryview(data).cast("B")
        self.size = len(self._data)

    def read(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes."""
        _check_range(offset, count, self.size)
        return bytes(self._data[offset : offset + count])


class FileStorage:
    """A seekable binary file.

    A plain file is read by its descriptor at an offset, which moves nothing that threads or forked processes share.
    Any other object has one position: a lock keeps seek and read together.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._descriptor = _descriptor(file)
        self._lock = Lock()
        try:
            file.seek(0, os.SEEK_END)
            self.size = file.tell()
        except (OSError, ValueError, AttributeError) as error:  # a pipe, a file that is closed
            raise FormatError(f"the file cannot be read in parts: {error}") from error

    def read(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes, with no allocation before it is sure that they exist."""
        _check_range(offset, count, self.size)
        try:
            if self._descriptor is not None and not self._file.closed:
                data = _read_at(self._descriptor, offset, count)
            else:
                with self._lock:
                    self._file.seek(offset)
                    data = _read_exactly(self._file, count)
        except Exception as error:  # each kind of remote file has its own
            raise FormatError(f"the file cannot be read: {error or type(error).__name__}") from error
        # The file has shrunk since it was opened.
        _check_range(offset, count, offset + len(data))
        return data


Storage: TypeAlias = MemoryStorage | FileStorage


def storage_of(source: bytes | bytearray | memoryview | BinaryIO) -> Storage:
    """Bytes in memory, or else a seekable binary file."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return MemoryStorage(source)
    return FileStorage(source)


def _descriptor(file: BinaryIO) -> int | None:
    """The descriptor of a plain file. Other objects may have one that does not give their bytes, as `gzip`'s do."""
    raw = getattr(file, "raw", file)
    return raw.fileno() if type(raw) is io.FileIO and not raw.closed and hasattr(os, "pread") else None


def _read_at(descriptor: int, offset: int, count: int) -> bytes:
    """Up to `count` bytes, fewer only at the end of the file: one call may give less than was asked for."""
    data = os.pread(descriptor, count, offset)
    while len(data) < count and (more := os.pread(descriptor, count - len(data), offset + len(data))):
        data += more
    return data


def _check_range(offset: int, count: int, size: int) -> None:
    if offset + count > size:
        raise FormatError(f"the file is truncated: it has {size} bytes where at least {offset + count} are needed")


def _read_exactly(file: BinaryIO, count: int) -> bytes:
    """Up to `count` bytes, fewer only at the end of the file: unbuffered files read in pieces."""
    data = file.read(count) or b""
    if not 0 < len(data) < count:
        return data
    pieces = bytearray(data)
    while len(pieces) < count and (more := file.read(count - len(pieces))):
        pieces += more
    return bytes(pieces)
