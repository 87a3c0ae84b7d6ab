"""Chunks of arrays as `.dmen` files: which shapes are images, and what an array's metadata keeps."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..codec.options import EncodeOptions
from ..errors import ImageError, ModelError, OptionError
from ..format.limits import DEFAULT_QUALITY, DEFAULT_TILE

MAX_BANDS = 4


@dataclass(frozen=True)
class Settings:
    """How chunks are coded; all as in :func:`dmecodec.encode`."""

    quality: float | None = None
    model: str | os.PathLike[str] | None = None
    tile: int = DEFAULT_TILE
    device: str = field(default="auto", compare=False)
    effort: int = 1
    max_error: int | None = None

    def __post_init__(self) -> None:
        """Refuses what no chunk could be coded with (OptionError), before it is in an array's metadata."""
        EncodeOptions.checked(self.quality, max_error=self.max_error, effort=self.effort, tile=self.tile)
        if self.model is not None and not isinstance(self.model, (str, os.PathLike)):
            raise OptionError(f"model {self.model!r}: must be a name or a path")

    def stored(self) -> dict[str, Any]:
        """For JSON, what others need to code further chunks alike; the device is no part of it."""
        kept: dict[str, Any] = {}
        if self.quality is not None or self.max_error is None:
            kept["quality"] = float(DEFAULT_QUALITY if self.quality is None else self.quality)
        kept["tile"] = int(self.tile)
        if self.model is not None:
            kept["model"] = os.fspath(self.model)
        if self.effort != 1:
            kept["effort"] = int(self.effort)
        if self.max_error is not None:
            kept["max_error"] = int(self.max_error)
        return kept


def image_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The image that a chunk is: (h, w) or (h, w, bands).

    Of three axes or more, the last one is the bands where its length is 1 to 4, else the last two
    are rows and columns. The axes before, such as time, must be of length 1: (1, h, w, 3), or
    (1, h, w) for one band of a band-first array.

    Raises:
        ImageError: the shape is none of these.
    """
    axes = 3 if len(shape) > 2 and 1 <= shape[-1] <= MAX_BANDS else 2
    leading, image = shape[:-axes], shape[-axes:]
    if len(image) < axes or any(length != 1 for length in leading) or 0 in image:
        raise ImageError(
            f"a chunk of shape {shape} is no image: make chunks (h, w) or (h, w, bands) with 1 to 4 "
            "bands, where axes before them are of length 1, such as (1, h, w) for bands first"
        )
    return image


def is_chunk(pixels: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether decoded pixels are a chunk of this shape, but for axes of length 1."""
    lengths = [[length for length in axes if length != 1] for axes in (pixels.shape, shape)]
    return pixels.dtype == np.uint8 and lengths[0] == lengths[1]


def check_dtype(dtype: np.dtype) -> None:
    """Refuses all but uint8.

    Raises:
        ImageError: another type.
    """
    if dtype != np.uint8:
        raise ImageError(f"chunks of {dtype} cannot be coded, only uint8; scale the values to 0..255")


def encode_chunk(chunk: np.ndarray, settings: Settings) -> bytes:
    """The bytes of a `.dmen` file for a C-contiguous uint8 chunk.

    Raises:
        ImageError: another type, order or shape.
        OptionError, ModelError: as :func:`dmecodec.encode`.
    """
    from .. import api

    check_dtype(chunk.dtype)
    shape = image_shape(chunk.shape)
    if not chunk.flags.c_contiguous:
        raise ImageError("the chunk is not in C order; make the array with order='C'")
    return api.encode(
        chunk.reshape(shape),
        settings.quality,
        model=settings.model,
        tile=settings.tile,
        device=settings.device,
        effort=settings.effort,
        max_error=settings.max_error,
        bands="last",
    )


def decode_chunk(data: Any, settings: Settings) -> np.ndarray:
    """The pixels of a chunk, which names its model itself: uint8 (h, w) or (h, w, bands).

    Raises:
        FormatError, ModelError: as :func:`dmecodec.decode`.
    """
    from .. import api

    try:
        return api.decode(data, device=settings.device)
    except ModelError:  # it is in no known folder, but perhaps under the path in the settings
        if settings.model is None:
            raise
        return api.decode(data, device=settings.device, model=settings.model)
