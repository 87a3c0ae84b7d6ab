"""The codecs that Pillow contains.

Each runs at its best for PSNR that Pillow offers within reasonable time, and its settings span about 0.05 to 4 bits
per pixel, as far down as the codec itself goes.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, ClassVar

import numpy as np
import PIL
from PIL import Image, features

from .codec import Codec, as_grey_or_rgb


class PillowCodec(Codec):
    """A codec of Pillow; its children name the format and the options."""

    feature: ClassVar[str]  # Pillow's name of the library
    format: ClassVar[str]

    @classmethod
    def missing(cls) -> str | None:
        """See `Codec.missing`."""
        if features.check(cls.feature):
            return None
        return f"Pillow {PIL.__version__} was built without it; pip install --upgrade pillow"

    def version(self) -> str:
        """See `Codec.version`."""
        return f"Pillow {PIL.__version__}, {self.feature} {features.version(self.feature)}"

    def options(self, image: np.ndarray, setting: float) -> dict[str, Any]:
        """The options of Pillow's encoder."""
        raise NotImplementedError

    def encode(self, image: np.ndarray, setting: float) -> bytes:
        """See `Codec.encode`."""
        return self._save(image, self.options(image, setting))

    def decode(self, data: bytes) -> np.ndarray:
        """See `Codec.decode`."""
        with Image.open(BytesIO(data), formats=[self.format]) as image:
            return np.asarray(image if image.mode.startswith(("L", "I")) else image.convert("RGB"))

    def _save(self, image: np.ndarray, options: dict[str, Any]) -> bytes:
        file = BytesIO()
        Image.fromarray(as_grey_or_rgb(image)).save(file, self.format, **options)
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
    step = 0.001
    grey_depths = (8, 16)
    feature = "jpg_2000"
    format = "JPEG2000"

    def options(self, image: np.ndarray, setting: float) -> dict[str, Any]:
        """By bits per pixel of three bands; Pillow expects the ratio to the raw size."""
        return {
            "quality_mode": "rates",
            "quality_layers": [3 * 8 * image.dtype.itemsize / setting],
            "irreversible": True,
            "mct": int(image.shape[2] == 3),  # without it Pillow codes R, G and B apart, which costs several dB
            "no_jp2": True,
            "comment": " ",  # else OpenJPEG writes its name and version: 4 % of a file of 800 bytes
        }


class WebP(PillowCodec):
    """libwebp: lossy, method 6. It always halves the resolution of colour, and codes grey as RGB."""

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
        chroma = "4:0:0" if image.shape[2] == 1 else "4:4:4"
        return {"quality": int(setting), "subsampling": chroma, "speed": 6, **self._advanced}
