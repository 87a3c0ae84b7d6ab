"""A codec for numcodecs, so that zarr arrays of 8-bit imagery can be stored as `.dmen` chunks.

    import zarr
    from dmecodec.numcodecs import Dmecodec

    zarr.create_array("scene.zarr", shape=(8192, 8192, 3), chunks=(1024, 1024, 3), dtype="uint8",
                      zarr_format=2, compressors=Dmecodec(quality=4))

Reading such an array needs no import: numcodecs finds the codec by its entry point. For zarr's format
3 see :mod:`dmecodec.zarr`.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

import numpy as np

from ..errors import DependencyError, ImageError
from ..format.limits import DEFAULT_TILE
from .chunks import Settings, decode_chunk, encode_chunk

try:
    from numcodecs.abc import Codec
    from numcodecs.compat import ensure_ndarray_like, ndarray_copy
    from numcodecs.registry import register_codec
except ImportError:
    raise DependencyError("this needs numcodecs: pip install 'dmecodec[zarr]'") from None


class Dmecodec(Codec):
    """Compression of uint8 chunks, lossy but for `max_error=0`; safe to use in several threads.

    Args:
        quality: 0 (smallest) to 7 (best), in steps of 1/32. None is 4, or what suits `max_error`.
        model: name or path of a model; None is the default one. A chunk names its model itself.
        tile: side of the tiles within a chunk in pixels, a multiple of 64 up to 2048.
        device: where it runs. No part of the configuration: the array may be read elsewhere.
        effort: 0 to 2, as in :func:`dmecodec.encode`.
        max_error: a bound on the error of each sample, in levels; 0 is lossless.
    """

    codec_id: ClassVar[str] = "dmecodec"

    def __init__(
        self,
        quality: float | None = None,
        model: str | os.PathLike[str] | None = None,
        tile: int = DEFAULT_TILE,
        device: str = "auto",
        effort: int = 1,
        max_error: int | None = None,
    ) -> None:
        self._settings = Settings(quality, model, tile, device, effort, max_error)

    def encode(self, buf: Any) -> bytes:
        """One chunk as the bytes of a `.dmen` file.

        Args:
            buf: C-contiguous uint8, of a shape that :func:`dmecodec.chunks.image_shape` knows.

        Raises:
            ImageError: another type, order or shape.
            OptionError, ModelError: as :func:`dmecodec.encode`.
        """
        return encode_chunk(np.asarray(ensure_ndarray_like(buf)), self._settings)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The pixels of a chunk: uint8 (h, w) or (h, w, bands), without leading axes of length 1.

        Args:
            buf: what :meth:`encode` gave; another `.dmen` file, such as of 16 bits, gives
                what :func:`dmecodec.decode` gives, there uint16.
            out: a writable, C-contiguous buffer of as many bytes to put them in.

        Raises:
            FormatError: the chunk is damaged.
            ModelError: the model that it was made with is not here.
            ImageError: `out` is not as large as the chunk, not C-contiguous, or read-only.
            OptionError: `buf` is no contiguous buffer.
        """
        pixels = decode_chunk(buf, self._settings)
        if out is not None:
            room = ensure_ndarray_like(out)
            if room.nbytes != pixels.nbytes:
                raise ImageError(f"out has {room.nbytes} bytes, but the chunk has {pixels.nbytes}")
            if not (room.flags.c_contiguous and room.flags.writeable):
                raise ImageError("out is not C-contiguous, or cannot be written to")
        return ndarray_copy(pixels, out)

    def get_config(self) -> dict[str, Any]:
        """What the metadata of an array keeps of the codec."""
        return {"id": self.codec_id, **self._settings.stored()}

    def __repr__(self) -> str:
        return f"Dmecodec({', '.join(f'{k}={v!r}' for k, v in self._settings.stored().items())})"


register_codec(Dmecodec)  # where the package is not installed, no entry point tells
