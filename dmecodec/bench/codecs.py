"""The codecs that are compared, each behind the same two calls.

Every peer runs at its best for PSNR that Pillow offers within reasonable time, and its settings
span about 0.05 to 4 bits per pixel, as far down as the codec itself goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from PIL import Image, features


class Codec(Protocol):
    """Something that turns an RGB image into a file and back."""

    @property
    def name(self) -> str:
        """What tables and plots call it."""

    @property
    def settings(self) -> Sequence[float]:
        """Its quality settings, from few bits to many."""

    def encode(self, image: np.ndarray, setting: float) -> bytes:
        """The whole file for a uint8 (h, w, 3) image."""

    def decode(self, data: bytes) -> np.ndarray:
        """The uint8 (h, w, 3) image of a whole file."""


class PillowCodec:
    """A codec that Pillow brings; its children name the format and the options."""

    name: ClassVar[str]
    settings: ClassVar[Sequence[float]]
    feature: ClassVar[str]  # Pillow's own name of the library it needs
    format: ClassVar[str]

    @classmethod
    def available(cls) -> bool:
        """Whether this build of Pillow has the codec."""
        return bool(features.check(cls.feature))

    def options(self, image: np.ndarray, setting: float) -> dict[str, Any]:
        """What to tell Pillow's encoder."""
        raise NotImplementedError

    def encode(self, image: np.ndarray, setting: float) -> bytes:
        """See `Codec.encode`."""
        return self._save(image, self.options(image, setting))

    def decode(self, data: bytes) -> np.ndarray:
        """See `Codec.decode`."""
        with Image.open(BytesIO(data), formats=[self.format]) as image:
            return np.asarray(image.convert("RGB"))

    def _save(self, image: np.ndarray, options: dict[str, Any]) -> bytes:
        file = BytesIO()
        Image.fromarray(image).save(file, self.format, **options)
        return file.getvalue()


class JPEG(PillowCodec):
    """libjpeg: 4:4:4, progressive, optimised Huffman tables."""

    name = "jpeg"
    settings = (1, 5, 10, 20, 35, 50, 65, 80, 90, 95)
    feature = "jpg"
    format = "JPEG"

    def options(self, image: np.ndarray, setting: float) -> dict[str, Any]:
        """By quality."""
        return {"quality": int(setting), "subsampling": 0, "optimize": True, "progressive": True}

    def encode(self, image: np.ndarray, setting: float) -> bytes:
        """See `Codec.encode`."""
        options = self.options(image, setting)
        try:
            return self._save(image, options)
        except OSError:
            # Noise outgrows the buffer that Pillow gives the optimiser, which must hold the file.
            return self._save(image, {**options, "optimize": False, "progressive": False})


class JPEG2000(PillowCodec):
    """OpenJPEG: 9/7 wavelet, colour transform, one layer by rate, no JP2 box."""

    name = "jpeg2000"
    settings = (0.05, 0.1, 0.2, 0.35, 0.6, 1.0, 1.5, 2.2, 3.0, 4.0)
    feature = "jpg_2000"
    format = "JPEG2000"

    def options(self, image: np.ndarray, setting: float) -> dict[str, Any]:
        """By bits per pixel; Pillow wants the ratio to 24."""
        return {
            "quality_mode": "rates",
            "quality_layers": [24 / setting],
            "irreversible": True,
            "mct": 1,  # without it Pillow codes R, G and B apart, which costs several dB
            "no_jp2": True,
            "comment": " ",  # else OpenJPEG writes its name and version: 4 % of a file of 800 bytes
        }


class WebP(PillowCodec):
    """libwebp: lossy, method 6. It always halves the resolution of colour."""

    name = "webp"
    settings = (0, 5, 15, 30, 50, 70, 80, 88, 94, 98)
    feature = "webp"
    format = "WEBP"

    def options(self, image: np.ndarray, setting: float) -> dict[str, Any]:
        """By quality."""
        return {"quality": int(setting), "method": 6}


class AVIF(PillowCodec):
    """libavif: 4:4:4, speed 6, tuned for PSNR where the AV1 encoder of this build can be."""

    name = "avif"
    settings = (0, 5, 10, 15, 25, 40, 55, 70, 80, 90)
    feature = "avif"
    format = "AVIF"

    def __init__(self) -> None:
        self._advanced: dict[str, Any] = {"advanced": {"tune": "psnr"}}
        try:
            self.encode(np.zeros((8, 8, 3), np.uint8), 50)
        except (OSError, RuntimeError, TypeError, ValueError):
            self._advanced = {}

    def options(self, image: np.ndarray, setting: float) -> dict[str, Any]:
        """By quality."""
        return {"quality": int(setting), "subsampling": "4:4:4", "speed": 6, **self._advanced}


class Dmecodec:
    """This package, called as a user would: whole `.dmen` files through `encode` and `decode`."""

    name = "dmecodec"

    def __init__(self, qualities: Sequence[float], model: str | Path | None, device: str) -> None:
        self.settings = tuple(qualities)
        self._model = model
        self._device = device

    def encode(self, image: np.ndarray, setting: float) -> bytes:
        """See `Codec.encode`."""
        import dmecodec

        return dmecodec.encode(image, setting, model=self._model, device=self._device)

    def decode(self, data: bytes) -> np.ndarray:
        """See `Codec.decode`."""
        import dmecodec

        return dmecodec.decode(data, model=self._model, device=self._device)


PILLOW_CODECS: dict[str, type[PillowCodec]] = {c.name: c for c in (JPEG, JPEG2000, WebP, AVIF)}
PEERS = tuple(PILLOW_CODECS)
