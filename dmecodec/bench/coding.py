"""Codes the groups of bands of a scene, each to a file, and puts them together again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ImageError
from .codecs import Codec
from .scene import Scene


def encode(codec: Codec, scene: Scene, setting: float) -> list[bytes]:
    """The file of a scene, or of each group of its bands.

    Raises:
        ImageError: the codec does not code such images.
    """
    groups = codec.band_groups(scene.bands, scene.depth)
    return [codec.encode(scene.pixels[:, :, group], setting) for group in groups]


def decode(codec: Codec, files: Sequence[bytes], scene: Scene) -> np.ndarray:
    """The pixels of the files of a scene: (h, w, bands), of its type.

    Raises:
        ImageError: they have another shape or type.
    """
    groups = codec.band_groups(scene.bands, scene.depth)
    pixels = np.empty_like(scene.pixels)
    for group, data in zip(groups, files, strict=True):
        target = pixels[:, :, group]
        decoded = np.atleast_3d(codec.decode(data))[: scene.height, : scene.width, : target.shape[2]]
        if decoded.shape != target.shape or decoded.dtype != target.dtype:
            kinds = f"{decoded.shape} {decoded.dtype} instead of {target.shape} {target.dtype}"
            raise ImageError(f"{codec.name} gave back {kinds}")
        target[:] = decoded
    return pixels
