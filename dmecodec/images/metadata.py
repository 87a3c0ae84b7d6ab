"""ICC profile, EXIF and XMP, and which EXIF may cross from one file into another."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from PIL import Image

from ..errors import ImageError

EXIF_PREFIX = b"Exif\0\0"
# The tags of a TIFF that describe the picture, not how this one file stores it. Only these may
# cross over: the width and compression in a camera's EXIF would overrule those of a new TIFF.
_ORIENTATION = 274
_DESCRIPTIVE_TAGS = (270, 271, 272, _ORIENTATION, 305, 306, 315, 33432)
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 34665, 34853, 40965


@dataclass(frozen=True)
class Metadata:
    """What a file carries beside its pixels, each as bytes, or None where it has none.

    Attributes:
        icc: the ICC colour profile.
        exif: the EXIF block, from its TIFF header on (without the leading ``Exif\\0\\0``).
        xmp: the XMP packet.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None


def read_metadata(image: Image.Image) -> Metadata:
    """ICC, EXIF and XMP of a loaded image.

    Raises:
        ImageError: one that was set on an image in memory is no bytes.
    """
    exif = _told(image, "exif")
    if exif is None and image.format == "TIFF":
        exif = exif_of_tiff(image)
    elif exif is None:  # in the text of an old PNG, or set on an image in memory
        with suppress(Exception):
            exif = image.getexif().tobytes() if image.getexif() else None
    if exif:
        exif = exif.removeprefix(EXIF_PREFIX)
    return Metadata(_told(image, "icc_profile"), exif or None, _told(image, "xmp"))


def _told(image: Image.Image, name: str) -> bytes | None:
    value = image.info.get(name)
    if isinstance(value, str) and name == "xmp":
        value = value.encode()
    if value is not None and not isinstance(value, (bytes, bytearray, memoryview)):
        raise ImageError(f"{name} is {type(value).__name__}: expected bytes")
    return bytes(value) if value else None


def exif_of_tiff(image: Image.Image) -> bytes | None:
    """The descriptive tags of a TIFF as an EXIF block; None where there are none."""
    with suppress(Exception):  # damaged EXIF is no reason to refuse the pixels
        kept = Image.Exif()
        copy_descriptive(image.getexif(), kept)
        if kept.get(_ORIENTATION) == 1:
            del kept[_ORIENTATION]
        if kept:
            return kept.tobytes()
    return None


def copy_descriptive(exif: Image.Exif, kept: Image.Exif) -> None:
    """Copies what describes the picture, and not the file, from `exif` into `kept`."""
    for tag in _DESCRIPTIVE_TAGS:
        if tag in exif:
            kept[tag] = exif[tag]
    for tag in (_EXIF_IFD, _GPS_IFD):
        part = dict(exif.get_ifd(tag))
        part.pop(_INTEROP_IFD, None)  # an offset into the other file
        if part:
            kept[tag] = part
