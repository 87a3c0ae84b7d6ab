"""The virtual GeoTIFF as a binary file to read."""

from __future__ import annotations

import io
import logging
import os
from typing import TYPE_CHECKING, Any

from ..base.fork import Lock
from ..errors import DmecodecError

if TYPE_CHECKING:
    from .scene import Scene


_log = logging.getLogger("dmecodec")


class VirtualGeoTiff(io.RawIOBase):
    """A `.dmen` file as the bytes of an uncompressed, tiled GeoTIFF with overviews. Reading decodes tiles.

    Args:
        scene: the file.

    Attributes:
        size: of the whole GeoTIFF, in bytes.
        name: of the `.dmen` file, where it has one.

    Where a tile is damaged, or the model is not here, `read` gives fewer bytes and logs why, for an exception would
    end the whole process: GDAL calls it. :meth:`read_at` raises.
    """

    def __init__(self, scene: Scene, name: str = "") -> None:
        super().__init__()
        self._scene, self.size, self.name = scene, scene.plan.size, name
        self._position = 0
        self._lock = Lock()

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to an offset from the start, the present place or the end."""
        with self._lock:
            origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
            if origin + offset < 0:
                raise OSError(f"cannot seek to {origin + offset}")
            self._position = origin + offset
            return self._position

    def tell(self) -> int:
        """The present place."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer; fewer bytes only at the end of the file."""
        view = memoryview(buffer).cast("B")
        with self._lock:
            if self.closed:
                raise ValueError("read of closed file")
            try:
                data = self.read_at(self._position, len(view))
            except (OSError, MemoryError, RuntimeError) as error:
                _log.error("%s", error)
                data = b""
            self._position += len(data)
        view[: len(data)] = data
        return len(data)

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes at an offset, whatever the present place; fewer only at the end of the file.

        Raises:
            OSError: a tile is damaged, or the model is not here.
        """
        try:
            return self._scene.read(offset, count)
        except DmecodecError as error:
            raise OSError(f"{self.name}: {error}" if self.name else str(error)) from error
