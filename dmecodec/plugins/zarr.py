"""A codec for zarr's format 3, which turns chunks of 8-bit imagery into `.dmen` files.

    import zarr
    from dmecodec.zarr import Dmecodec

    zarr.create_array("scene.zarr", shape=(8192, 8192, 3), chunks=(1024, 1024, 3), dtype="uint8",
                      serializer=Dmecodec(quality=4), compressors=None)

Reading such an array needs no import: zarr finds the codec by its entry point. It stands in the
metadata as "dmecodec", which is a name of ours and not of the zarr specification. For format 2 see
:mod:`dmecodec.numcodecs`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DependencyError, FormatError
from .chunks import Settings, check_dtype, decode_chunk, encode_chunk, is_chunk

try:
    from zarr.abc.codec import ArrayBytesCodec
    from zarr.registry import register_codec
except ImportError:
    raise DependencyError("this needs zarr 3: pip install 'dmecodec[zarr]'") from None

NAME = "dmecodec"


@dataclass(frozen=True)
class Dmecodec(ArrayBytesCodec, Settings):
    """Compression of uint8 chunks; arguments as of :class:`dmecodec.numcodecs.Dmecodec`."""

    is_fixed_size = False

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Dmecodec:
        """From the metadata of an array."""
        return cls(**data.get("configuration", {}))

    def to_dict(self) -> dict[str, Any]:
        """For the metadata of an array."""
        return {"name": NAME, "configuration": self.stored()}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Refuses an array of another type when it is made.

        Its chunks are looked at when they are written: a filter may transpose them.

        Raises:
            ImageError: its type is not uint8.
        """
        check_dtype(dtype.to_native_dtype())

    async def _encode_single(self, chunk_array: Any, chunk_spec: Any) -> Any:
        chunk = np.ascontiguousarray(chunk_array.as_numpy_array())
        data = await asyncio.to_thread(encode_chunk, chunk, self)
        return chunk_spec.prototype.buffer.from_bytes(data)

    async def _decode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        pixels = await asyncio.to_thread(decode_chunk, chunk_data.to_bytes(), self)
        if not is_chunk(pixels, chunk_spec.shape):
            raise FormatError(
                f"a chunk holds {pixels.dtype} {pixels.shape} where uint8 {tuple(chunk_spec.shape)} was expected"
            )
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(pixels.reshape(chunk_spec.shape))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """Not known before a chunk is coded."""
        raise NotImplementedError


register_codec(NAME, Dmecodec)  # where the package is not installed, no entry point tells
