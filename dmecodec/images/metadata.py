"""What a file carries beside its pixels: ICC profile, EXIF and XMP."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from ..errors import ImageError
from .exif import EXIF_PREFIX, exif_of_picture, exif_of_tiff, resolution_beside_exif, with_resolution


@dataclass(frozen=True)
class Metadata:
    """What a file carries beside its pixels, each as bytes, or None where it has none.

    Attributes:
        icc: the ICC colour profile.
        exif: the EXIF block, from its TIFF header on (without the leading ``Exif\\0\\0``). The resolution of a file
            without EXIF, and the descriptive tags of a TIFF, are here as well.
        xmp: the XMP packet.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None


def read_metadata(image: Image.Image) -> Metadata:
    """ICC, EXIF and XMP of a loaded image.

    Raises:
        ImageError: one that was set on an image in memory is no bytes, or its EXIF cannot be written.
    """
    stored = _info_bytes(image, "exif")
    if image.format == "TIFF":
        exif = stored or exif_of_tiff(image)
    else:
        try:
            exif = exif_of_picture(image, stored)
        except ValueError as error:
            raise ImageError(f"its EXIF cannot be written ({error}); set other values, or save it without") from error
    if exif:
        exif = exif.removeprefix(EXIF_PREFIX)
    exif = with_resolution(exif or None, resolution_beside_exif(image))
    return Metadata(_info_bytes(image, "icc_profile"), exif, _info_bytes(image, "xmp"))


def _info_bytes(image: Image.Image, name: str) -> bytes | None:
    value = image.info.get(name)
    if isinstance(value, str) and name == "xmp":
        value = value.encode()
    if value is not None and not isinstance(value, (bytes, bytearray, memoryview)):
        raise ImageError(f"{name} is {type(value).__name__}: expected bytes")
    return bytes(value) if value else None
