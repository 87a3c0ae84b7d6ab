"""Codes one scene with one codec at one setting, and measures what comes back."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np

from . import metrics
from .cache import Cache
from .codecs import Codec
from .coding import decode, encode
from .memory import peak_memory
from .results import Measurement, Quality
from .scene import Scene


class Bench:
    """Measures codecs on scenes, and does not measure again what the cache holds.

    Args:
        cache: results of earlier runs.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._warm: set[str] = set()

    def measure(self, codec: Codec, scene: Scene, setting: float) -> Measurement:
        """The measurement, from the cache if it is there.

        Raises:
            ImageError: the codec does not code such images, or gives back another shape or type.
        """
        key = (scene.digest, codec.name, codec.version(), float(setting))
        result = self._cache.get(*key)
        if result is None:
            self._warm_up(codec, scene)
            result = _measured(codec, scene, setting)
            self._cache.put(result, *key)
        return Measurement(
            image=scene.name,
            width=scene.width,
            height=scene.height,
            bands=scene.bands,
            codec=codec.name,
            setting=setting,
            size=result["size"],
            quality=Quality(**result["quality"]),
            encode_seconds=result["encode_seconds"],
            decode_seconds=result["decode_seconds"],
        )

    def peak_memory(self, codec: Codec, scene: Scene) -> int:
        """The bytes of a fresh process that codes and decodes the scene, from the cache if they are there.

        Raises:
            ImageError: the process failed.
        """
        key = ("peak memory", scene.digest, codec.name, codec.version())
        result = self._cache.get(*key)
        if result is None:
            result = {"bytes": peak_memory(codec, scene)}
            self._cache.put(result, *key)
        return int(result["bytes"])

    def _warm_up(self, codec: Codec, scene: Scene) -> None:
        """The first call loads models and libraries; its time counts for nothing."""
        if codec.name not in self._warm:
            decode(codec, encode(codec, scene, codec.settings[len(codec.settings) // 2]), scene)
            self._warm.add(codec.name)


def quality_of(scene: Scene, decoded: np.ndarray) -> Quality:
    """Every measure that applies to the scene."""
    original, red, near_infrared = scene.pixels, scene.red, scene.near_infrared
    named = red is not None and near_infrared is not None
    return Quality(
        psnr=metrics.psnr(original, decoded, scene.peak),
        ms_ssim=metrics.ms_ssim(original, decoded, scene.peak),
        ssim=metrics.ssim(original, decoded, scene.peak),
        max_error=metrics.largest_error(original, decoded),
        spectral_angle=metrics.spectral_angle(original, decoded) if scene.bands > 3 else None,
        ndvi_error=metrics.ndvi_error(original, decoded, red, near_infrared) if named else None,  # type: ignore[arg-type]
    )


def _measured(codec: Codec, scene: Scene, setting: float) -> dict[str, Any]:
    start = time.perf_counter()
    files = encode(codec, scene, setting)
    encoded = time.perf_counter()
    decoded = decode(codec, files, scene)
    end = time.perf_counter()
    return {
        "size": sum(map(len, files)),
        "quality": asdict(quality_of(scene, decoded)),
        "encode_seconds": encoded - start,
        "decode_seconds": end - encoded,
    }
