"""What callers ask for, checked: quality, targets, bounds, effort, tiles, samples. Imports no torch."""

from __future__ import annotations

import math
import operator
from numbers import Real

from ..errors import OptionError
from ..format.limits import DEFAULT_QUALITY, MAX_BOUND, MAX_QUALITY, QUALITY_STEPS, TILE_UNIT

DEFAULT_EFFORT, MAX_EFFORT = 1, 2
LARGEST_TILE = 2048
"""The format allows 4096; coding one takes more than 2 GiB, and saves nothing to speak of."""
_QUALITIES = ((5, 0.0), (10, 4.0), (16, 3.0), (22, 2.0), (32, 1.0), (MAX_BOUND, 0.0))
"""The base quality with the smallest files, measured on training crops, for bounds up to each of these."""


def check_aims(quality: float | None, bpp: float | None, psnr: float | None, max_error: int | None) -> None:
    """Refuses aims that exclude one another, or that no image can meet.

    Raises:
        OptionError: more than one of quality, bpp and psnr; a target beside max_error; one out of its range.
    """
    if bpp is not None and psnr is not None:
        raise OptionError("give bpp or psnr, not both")
    if max_error is not None:
        check_bound(max_error)
    for name, target in (("bpp", bpp), ("psnr", psnr)):
        if target is None:
            continue
        if max_error is not None:
            raise OptionError(f"give a bound on the error or {name}, not both")
        if quality is not None:
            raise OptionError(f"give a quality or {name}, not both")
        if not 0 < (number := _number(target, name)) < math.inf:
            raise OptionError(f"a target of {number:g} cannot be met")


def nodata_value(nodata: object) -> int | None:
    """The nodata value of an array as an int (OptionError where it is none)."""
    try:
        return None if nodata is None else operator.index(nodata)  # type: ignore[arg-type]
    except TypeError:
        raise OptionError(f"nodata {nodata!r}: must be an integer") from None


def scale_values(scale: object) -> tuple[int, int] | None:
    """The samples that stand for black and white as two ints (OptionError where they are not)."""
    try:
        if scale is None:
            return None
        low, high = map(operator.index, scale)  # type: ignore[call-overload]
        return low, high
    except (TypeError, ValueError):
        raise OptionError(f"scale {scale!r}: must be two integers") from None


def chosen_quality(quality: float | None, max_error: int | None) -> float:
    """The quality of :func:`dmecodec.encode` where none is given: 4, or that of the base that suits a bound."""
    if quality is not None:
        return quality
    return DEFAULT_QUALITY if max_error is None else default_quality(max_error)


def check_bound(bound: object) -> int:
    """A bound in grey levels that the format can hold.

    Raises:
        OptionError: it is no integer from 0 to 32767.
    """
    try:
        bound = operator.index(bound)  # type: ignore[arg-type]
    except TypeError:
        raise OptionError(f"a bound of {bound!r}: must be an integer") from None
    if not 0 <= bound <= MAX_BOUND:
        raise OptionError(f"a bound of {bound}: must be between 0 and {MAX_BOUND} levels")
    return bound


def default_quality(bound: int) -> float:
    """The quality of the base that suits a bound."""
    return next(quality for last, quality in _QUALITIES if bound <= last)


def quality_steps(quality: float) -> int:
    """A quality 0..7 as the integer that the file holds, in 1/32 steps (the nearest).

    Raises:
        OptionError: outside 0..7, or not a number.
    """
    quality = _number(quality, "quality")
    if not 0 <= quality <= MAX_QUALITY / QUALITY_STEPS:  # false for NaN, too
        raise OptionError(f"quality {quality:g}: must be between 0 and {MAX_QUALITY // QUALITY_STEPS}")
    return round(quality * QUALITY_STEPS)


def _number(value: object, name: str) -> float:
    if not isinstance(value, Real):
        raise OptionError(f"{name} {value!r}: must be a number")
    try:
        return float(value)
    except OverflowError:  # out of every range
        return math.inf


def effort_level(effort: object) -> int:
    """How hard the encoder tries, 0 to 2 (OptionError where it is anything else)."""
    try:
        level = operator.index(effort)  # type: ignore[arg-type]
    except TypeError:
        level = -1
    if not 0 <= level <= MAX_EFFORT:
        raise OptionError(f"effort must be 0 to {MAX_EFFORT}, not {effort!r}")
    return level


def tile_side(tile: object) -> int:
    """The side of a tile in pixels (OptionError where no file gets it)."""
    try:
        tile = operator.index(tile)  # type: ignore[arg-type]
    except TypeError:
        raise OptionError(f"tile {tile!r}: must be an integer") from None
    if tile % TILE_UNIT or not TILE_UNIT <= tile <= LARGEST_TILE:
        raise OptionError(f"tile {tile}: must be a multiple of {TILE_UNIT} between {TILE_UNIT} and {LARGEST_TILE}")
    return tile
