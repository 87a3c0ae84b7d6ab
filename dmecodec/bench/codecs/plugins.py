"""The codecs of the PyPI packages imagecodecs and pillow-heif."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from io import BytesIO
from types import ModuleType
from typing import ClassVar

import numpy as np
from PIL import Image

from .codec import Codec, as_grey_or_rgb


class PluginCodec(Codec):
    """A codec of an optional package."""

    module: ClassVar[str]
    package: ClassVar[str]  # what pip calls the module

    @classmethod
    def missing(cls) -> str | None:
        """See `Codec.missing`."""
        try:
            import_module(cls.module)
        except ImportError:
            return f"it needs the package {cls.package}: pip install 'dmecodec[bench]'"
        return None

    def version(self) -> str:
        """See `Codec.version`."""
        return f"{self.package} {version(self.package)}"


class ImagecodecsCodec(PluginCodec):
    """A codec of imagecodecs, called by its format's name."""

    module = package = "imagecodecs"
    format: ClassVar[str]

    @classmethod
    def missing(cls) -> str | None:
        """See `Codec.missing`."""
        reason = super().missing()
        if reason is None and not getattr(_imagecodecs(), cls.format.upper()).available:
            return "this build of imagecodecs lacks it: pip install --upgrade imagecodecs"
        return reason

    def decode(self, data: bytes) -> np.ndarray:
        """See `Codec.decode`."""
        return getattr(_imagecodecs(), f"{self.format}_decode")(data)


class JPEGXL(ImagecodecsCodec):
    """libjxl: VarDCT, effort 7, bare stream. It is tuned for perceived quality, not for PSNR."""

    name = "jpegxl"
    settings = (25, 18, 12, 8, 5, 3, 2, 1.2, 0.7, 0.4)  # Butteraugli distances
    step = 0.05
    colour_depths = grey_depths = (8, 16)
    format = "jpegxl"

    def encode(self, image: np.ndarray, setting: float) -> bytes:
        """See `Codec.encode`."""
        depth = 8 if image.dtype == np.uint8 else max(9, int(image.max()).bit_length())
        options = {"effort": 7, "usecontainer": False, "bitspersample": depth}
        return bytes(_imagecodecs().jpegxl_encode(as_grey_or_rgb(image), distance=max(0.01, setting), **options))


class JPEGLS(ImagecodecsCodec):
    """CharLS: every band alone, by its largest error."""

    name = "jpegls"
    settings = (96, 80, 64, 48, 36, 28, 20, 14, 9, 6)  # levels, of 8 bits
    grey_depths = (8, 16)
    colour_depths = (8, 16)
    format = "jpegls"

    def encode(self, image: np.ndarray, setting: float) -> bytes:
        """See `Codec.encode`."""
        level = min(255, round(_levels(image, setting)))  # the most that CharLS takes
        return bytes(_imagecodecs().jpegls_encode(as_grey_or_rgb(image), level=level))


class LERC(ImagecodecsCodec):
    """Esri's LERC with Zstandard, by its largest error."""

    name = "lerc"
    settings = (127, 110, 96, 80, 64, 48, 36, 28, 20, 14)  # levels, of 8 bits
    format = "lerc"
    codes_all_bands = True

    def encode(self, image: np.ndarray, setting: float) -> bytes:
        """See `Codec.encode`."""
        bands_first = np.ascontiguousarray(np.moveaxis(image, 2, 0))
        level = round(_levels(image, setting))
        return bytes(_imagecodecs().lerc_encode(bands_first, level=level, planar=True, compression="zstd"))

    def decode(self, data: bytes) -> np.ndarray:
        """See `Codec.decode`."""
        pixels = super().decode(data)
        return pixels if pixels.ndim == 2 else np.moveaxis(pixels, 0, 2)


class HTJ2K(ImagecodecsCodec):
    """OpenJPH, High-Throughput JPEG 2000: 9/7 wavelet, colour transform, by the step of the quantiser."""

    name = "htj2k"
    settings = (1, 0.6, 0.4, 0.25, 0.15, 0.09, 0.055, 0.033, 0.02, 0.012)  # of the range of samples
    step = 0.001
    colour_depths = grey_depths = (8, 16)
    format = "htj2k"

    def encode(self, image: np.ndarray, setting: float) -> bytes:
        """See `Codec.encode`."""
        level = _levels(image, setting * 255) / np.iinfo(image.dtype).max
        options = {"reversible": False, "rgb": image.shape[2] == 3}
        return bytes(_imagecodecs().htj2k_encode(as_grey_or_rgb(image), level=level, **options))


class HEIC(PluginCodec):
    """x265 through libheif: 4:4:4."""

    name = "heic"
    settings = (0, 10, 20, 28, 36, 44, 52, 60, 70)
    module = "pillow_heif"
    package = "pillow-heif"

    def encode(self, image: np.ndarray, setting: float) -> bytes:
        """See `Codec.encode`."""
        file = BytesIO()
        picture = import_module(self.module).from_pillow(Image.fromarray(as_grey_or_rgb(image)).convert("RGB"))
        picture.save(file, quality=int(setting), chroma=444)
        return file.getvalue()

    def decode(self, data: bytes) -> np.ndarray:
        """See `Codec.decode`."""
        return np.asarray(import_module(self.module).open_heif(BytesIO(data)).to_pillow().convert("RGB"))


def _imagecodecs() -> ModuleType:
    return import_module("imagecodecs")


def _levels(image: np.ndarray, setting: float) -> float:
    """A number of levels of 8 bits, in levels of the image: of 16 bits, the range of the samples counts."""
    if image.dtype == np.uint8:
        return setting
    return setting * (int(image.max()) - int(image.min())) / 255
