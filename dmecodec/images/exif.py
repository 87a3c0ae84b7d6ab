"""EXIF blocks: read, made of a TIFF's tags, and which of their tags may cross from one file into another."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from typing import Any, NamedTuple

from PIL import Image
from PIL.TiffImagePlugin import IFDRational

EXIF_PREFIX = b"Exif\0\0"
_ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _UNIT = 274, 282, 283, 296
_MIN_SAMPLE, _MAX_SAMPLE, _PHOTOMETRIC, _PALETTE = 280, 281, 262, 3
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 34665, 34853, 40965
_NO_UNIT, _INCH, _CENTIMETRE = 1, 2, 3
_MADE_UP_DPI = (1, 1)
"""What Pillow tells of a TIFF without resolution."""
# The tags of a TIFF that describe the picture, not how this one file stores it. Only these may cross over: the width
# and compression in a camera's EXIF would overrule those of a new TIFF.
_DESCRIPTIVE_TAGS = (
    269, 270, 271, 272, _ORIENTATION, _MIN_SAMPLE, _MAX_SAMPLE, _X_RESOLUTION, _Y_RESOLUTION, 285, 286, 287, _UNIT, 297,
    301, 305, 306, 315, 316, 318, 319, 33432, 33723,
)  # fmt: skip


class Resolution(NamedTuple):
    """Pixels for each unit along both axes; `unit` as EXIF's ResolutionUnit, 1 for a mere ratio."""

    x: Fraction
    y: Fraction
    unit: int


class _StoredText(str):
    """Text of a tag that is written with the bytes it was read from: Pillow reads latin-1, but writes ASCII."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The bytes of the tag, whatever encoding Pillow asks for."""
        try:
            return super().encode("latin-1")
        except UnicodeEncodeError:  # no file had it: a caller has set it
            return super().encode("utf-8")


def as_stored(value: Any) -> Any:
    """A tag's value that Pillow writes as it was read; of a group of tags, all its values."""
    if isinstance(value, str):
        return _StoredText(value)
    if isinstance(value, Mapping):
        return {tag: as_stored(part) for tag, part in value.items()}
    return value


def exif_of_tiff(image: Image.Image) -> bytes | None:
    """The descriptive tags of a TIFF as an EXIF block; None where there are none."""
    with suppress(Exception):  # damaged EXIF is no reason to refuse the pixels
        exif, kept = image.getexif(), Image.Exif()
        copy_descriptive(exif, kept)
        if kept.get(_ORIENTATION) == 1:
            del kept[_ORIENTATION]
        if exif.get(_PHOTOMETRIC) == _PALETTE:  # they are of the palette's numbers
            for tag in {_MIN_SAMPLE, _MAX_SAMPLE} & set(kept):
                del kept[tag]
        if kept:
            return kept.tobytes()
    return None


def copy_descriptive(exif: Image.Exif, kept: Image.Exif) -> None:
    """Copies what describes the picture, and not the file, from `exif` into `kept`."""
    for tag in _DESCRIPTIVE_TAGS:
        if tag in exif:
            kept[tag] = as_stored(exif[tag])
    for tag in (_EXIF_IFD, _GPS_IFD):
        part = _part(exif, tag)
        part.pop(_INTEROP_IFD, None)  # an offset into the other file
        if part:
            kept[tag] = as_stored(part)


def exif_of_picture(image: Image.Image, stored: bytes | None) -> bytes | None:
    """The EXIF block of an image that is no TIFF, as it was stored, or with what a caller has changed since.

    Args:
        image: whose `getexif()` a caller may have changed.
        stored: the block in its `info`, which may also have been replaced.

    Raises:
        ValueError: the tags that a caller has set cannot be written.
    """
    try:
        exif, pristine = image.getexif(), _pristine(image)
        replaced = getattr(exif, "_loaded_exif", None) not in (None, image.info.get("exif"))
        is_edited = _content(exif) != _content(pristine) and not replaced
    except Exception:  # damaged EXIF is no reason to refuse the pixels, and is kept as it is
        return stored
    if not is_edited and (stored or not exif):
        return stored
    return exif_block(exif) or None


def exif_block(exif: Image.Exif) -> bytes:
    """The bytes of tags that a caller has set, none for no tags.

    Raises:
        ValueError: they cannot be written.
    """
    if not exif:
        return b""
    try:
        return _with_stored_text(exif).tobytes()
    except Exception as error:
        raise ValueError(str(error)) from error


def _pristine(image: Image.Image) -> Image.Exif:
    """The EXIF as Pillow reads it from the image's `info`."""
    other = Image.Image()
    other.info = image.info
    return other.getexif()


def _content(exif: Image.Exif) -> tuple[dict[int, Any], ...]:
    parts = (_part(exif, tag) for tag in (_EXIF_IFD, _GPS_IFD))
    own = {tag: value for tag, value in exif.items() if tag not in (_EXIF_IFD, _GPS_IFD)}
    return own, *parts


def _part(exif: Image.Exif, tag: int) -> dict[int, Any]:
    """The tags of the camera or of the place, wherever Pillow holds them."""
    given = exif.get(tag)
    if isinstance(given, Mapping):
        return dict(given)
    if tag in exif or tag in getattr(exif, "_hidden_data", {}):
        return dict(exif.get_ifd(tag))
    return dict(getattr(exif, "_ifds", {}).get(tag, {}))  # get_ifd would add an empty part to a caller's tags


def _with_stored_text(exif: Image.Exif) -> Image.Exif:
    kept = Image.Exif()
    for tag, value in exif.items():
        kept[tag] = as_stored(value)
    for tag in (_EXIF_IFD, _GPS_IFD):
        part = _part(exif, tag)
        if isinstance(part.get(_INTEROP_IFD), int):
            part[_INTEROP_IFD] = dict(exif.get_ifd(_INTEROP_IFD))
        if part:
            kept[tag] = as_stored(part)
        elif tag in kept:
            del kept[tag]
    return kept


# ---- resolution --------------------------------------------------------------------------------------------------


def resolution_beside_exif(image: Image.Image) -> Resolution | None:
    """The resolution that a PNG, JPEG, BMP or JPEG 2000 states outside its EXIF, as its own numbers say it."""
    info = image.info
    if "jfif_unit" in info:
        x, y = info.get("jfif_density", (0, 0))
        unit = {0: _NO_UNIT, 1: _INCH, 2: _CENTIMETRE}.get(info["jfif_unit"], 0)
        return _checked_resolution(x, y, unit if unit != _NO_UNIT or x != y else 0)
    if image.format in ("JPEG", "MPO", "TIFF"):
        return None  # of a JPEG without JFIF, Pillow makes one up; a TIFF has tags
    if "aspect" in info:
        x, y = info["aspect"]
        return _checked_resolution(x, y, _NO_UNIT if x != y else 0)
    dpi = info.get("dpi")
    if not isinstance(dpi, (tuple, list)) or len(dpi) != 2 or tuple(dpi) == _MADE_UP_DPI:
        return None
    with suppress(TypeError, ValueError, OverflowError):
        metre = 39.3701 if image.format == "BMP" else 1 / 0.0254  # inches in a metre, as Pillow has it
        per_metre = [float(value) * metre for value in dpi]
        if all(math.isclose(value, round(value), rel_tol=1e-6) for value in per_metre):
            x, y = (Fraction(round(value), 100) for value in per_metre)
            return _checked_resolution(x, y, _CENTIMETRE)
        x, y = (Fraction(float(value)).limit_denominator(10000) for value in dpi)
        return _checked_resolution(x, y, _INCH)
    return None


def _checked_resolution(x: Any, y: Any, unit: int) -> Resolution | None:
    x, y = Fraction(x), Fraction(y)
    fits = all(0 < value.numerator < 2**32 and value.denominator < 2**32 for value in (x, y))
    return Resolution(x, y, unit) if unit and fits else None


def with_resolution(exif: bytes | None, resolution: Resolution | None) -> bytes | None:
    """An EXIF block that states a resolution; one that has its own keeps that."""
    if resolution is None:
        return exif
    if not exif:
        new = Image.Exif()
        for tag, value in ((_X_RESOLUTION, resolution.x), (_Y_RESOLUTION, resolution.y)):
            new[tag] = IFDRational(value.numerator, value.denominator)
        new[_UNIT] = resolution.unit
        return new.tobytes().removeprefix(EXIF_PREFIX)
    try:
        return _with_entries(exif, resolution)
    except struct.error:  # damaged: it stays as it is
        return exif


def _with_entries(block: bytes, resolution: Resolution) -> bytes:
    """A block with a new directory of tags at its end, so that no offset in it changes."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return block
    (start,) = struct.unpack_from(f"{order}I", block, 4)
    (count,) = struct.unpack_from(f"{order}H", block, start)
    places = range(start + 2, start + 2 + 12 * count, 12)
    entries = {struct.unpack_from(f"{order}H", block, place)[0]: block[place : place + 12] for place in places}
    (following,) = struct.unpack_from(f"{order}I", block, start + 2 + 12 * count)
    if {_X_RESOLUTION, _Y_RESOLUTION} & set(entries):
        return block
    head = block + bytes(len(block) % 2)
    for tag, value in ((_X_RESOLUTION, resolution.x), (_Y_RESOLUTION, resolution.y)):
        entries[tag] = struct.pack(f"{order}HHII", tag, 5, 1, len(head))
        head += struct.pack(f"{order}II", value.numerator, value.denominator)
    entries[_UNIT] = struct.pack(f"{order}HHIHH", _UNIT, 3, 1, resolution.unit, 0)
    table = b"".join(entries[tag] for tag in sorted(entries))
    directory = struct.pack(f"{order}H", len(entries)) + table + struct.pack(f"{order}I", following)
    return head[:4] + struct.pack(f"{order}I", len(head)) + head[8:] + directory


def dots_per_inch(exif: bytes | None) -> tuple[float, float] | None:
    """The resolution that an EXIF block states; None where there is none, or no unit of length."""
    if not exif:
        return None
    with suppress(Exception):  # damaged EXIF is no reason to lose the pixels
        tags = Image.Exif()
        tags.load(EXIF_PREFIX + exif)
        inches = {_INCH: 1.0, _CENTIMETRE: 2.54}.get(tags.get(_UNIT, _INCH))
        if inches and _X_RESOLUTION in tags:
            x = float(tags[_X_RESOLUTION])
            y = float(tags.get(_Y_RESOLUTION, x))
            if math.isfinite(x) and math.isfinite(y) and min(x, y) > 0:
                return x * inches, y * inches
    return None
