"""The codecs that the bench compares, each behind the same two calls."""

from __future__ import annotations

from .codec import Codec
from .learned import CompressAI, compressai_codecs
from .ours import Dmecodec
from .pillow import AVIF, JPEG, JPEG2000, PillowCodec, WebP
from .plugins import HEIC, HTJ2K, JPEGLS, JPEGXL, LERC
from .programs import BPG, HEVC, VVC

__all__ = ["CODECS", "DEFAULT_CODECS", "Codec", "CompressAI", "Dmecodec", "PillowCodec", "compressai_codecs"]
__all__ += ["AVIF", "BPG", "HEIC", "HEVC", "HTJ2K", "JPEG", "JPEG2000", "JPEGLS", "JPEGXL", "LERC", "VVC", "WebP"]

_ALL: tuple[type[Codec], ...] = (
    *(JPEG, JPEG2000, WebP, AVIF),
    *(JPEGXL, HEIC, JPEGLS, LERC, HTJ2K),
    *(BPG, HEVC, VVC),
)
CODECS: dict[str, type[Codec]] = {codec.name: codec for codec in _ALL}
"""The codecs that `--codecs` knows, by name."""
DEFAULT_CODECS = ("jpeg", "jpeg2000", "webp", "avif")
