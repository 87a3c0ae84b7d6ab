"""What a caller of the encoder asks for, checked once. Imports no torch."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real

from ..errors import OptionError
from ..format.limits import DEFAULT_QUALITY, DEFAULT_TILE, MAX_BOUND, MAX_QUALITY, QUALITY_STEPS, TILE_UNIT

DEFAULT_EFFORT, MAX_EFFORT = 1, 2
LARGEST_TILE = 2048
"""The format allows 4096; coding one takes more than 2 GiB."""
_QUALITIES = ((5, 0.0), (10, 4.0), (16, 3.0), (22, 2.0), (32, 1.0), (MAX_BOUND, 0.0))
"""The base quality with the smallest files, measured on training crops, for bounds up to each of these."""


_FLAT_LIMITS = ((0, 40), (2, 33), (4, 10))
"""Levels that a flat part may be off at each of these qualities; linear between them."""


@dataclass(frozen=True)
class EncodeOptions:
    """How an image is coded; made by :meth:`checked`.

    Attributes:
        quality: in 1/32 steps; of no meaning beside a target.
        bpp, psnr: a target instead of a quality: bits per pixel, or dB.
        max_error: levels that no valid sample is farther off than, or None.
        effort: 0 to 2.
        tile: side of a tile in pixels.
    """

    quality: int
    bpp: float | None = None
    psnr: float | None = None
    max_error: int | None = None
    effort: int = DEFAULT_EFFORT
    tile: int = DEFAULT_TILE

    @classmethod
    def checked(
        cls,
        quality: float | None = None,
        *,
        bpp: float | None = None,
        psnr: float | None = None,
        max_error: int | None = None,
        effort: int = DEFAULT_EFFORT,
        tile: int = DEFAULT_TILE,
    ) -> EncodeOptions:
        """The options, from what a user gives; as :func:`dmecodec.encode`.

        Raises:
            OptionError: one is out of its range, or two exclude one another.
        """
        _check_aims(quality, bpp, psnr, max_error)
        bound = None if max_error is None else _bound(max_error)
        if quality is None:
            quality = DEFAULT_QUALITY if bound is None else default_quality(bound)
        return cls(
            quality=_quality(quality),
            bpp=_target(bpp, "bpp"),
            psnr=_target(psnr, "psnr"),
            max_error=bound,
            effort=_effort(effort),
            tile=_tile(tile),
        )

    @property
    def has_target(self) -> bool:
        """Whether a size or a fidelity is asked for, not a quality."""
        return self.bpp is not None or self.psnr is not None


def default_quality(bound: int) -> float:
    """The quality of the base that suits a bound on the error."""
    return next(quality for last, quality in _QUALITIES if bound <= last)


def flat_limit(quality: int) -> int:
    """Levels that a sample of a flat part of an image may be off; the quality is in 1/32 steps."""
    for (low, first), (high, last) in pairwise(_FLAT_LIMITS):
        if quality <= high * QUALITY_STEPS:
            share = (quality / QUALITY_STEPS - low) / (high - low)
            return int(first + share * (last - first))
    return _FLAT_LIMITS[-1][1]


def _check_aims(quality: object, bpp: object, psnr: object, max_error: object) -> None:
    """Refuses aims that exclude one another."""
    if bpp is not None and psnr is not None:
        raise OptionError("give bpp or psnr, not both")
    for name, target in (("bpp", bpp), ("psnr", psnr)):
        if target is not None and max_error is not None:
            raise OptionError(f"give a bound on the error or {name}, not both")
        if target is not None and quality is not None:
            raise OptionError(f"give a quality or {name}, not both")


def _target(value: object, name: str) -> float | None:
    if value is None:
        return None
    if not 0 < (number := _number(value, name)) < math.inf:
        raise OptionError(f"a target of {number:g} cannot be met")
    return number


def _bound(bound: object) -> int:
    try:
        bound = operator.index(bound)  # type: ignore[arg-type]
    except TypeError:
        raise OptionError(f"a bound of {bound!r}: must be an integer") from None
    if not 0 <= bound <= MAX_BOUND:
        raise OptionError(f"a bound of {bound}: must be between 0 and {MAX_BOUND} levels")
    return bound


def _quality(quality: object) -> int:
    """The nearest of the 225 qualities of the format, in 1/32 steps."""
    number = _number(quality, "quality")
    if not 0 <= number <= MAX_QUALITY / QUALITY_STEPS:  # false for NaN, too
        raise OptionError(f"quality {number:g}: must be between 0 and {MAX_QUALITY // QUALITY_STEPS}")
    return round(number * QUALITY_STEPS)


def _number(value: object, name: str) -> float:
    if not isinstance(value, Real):
        raise OptionError(f"{name} {value!r}: must be a number")
    try:
        return float(value)
    except OverflowError:  # out of every range
        return math.inf


def _effort(effort: object) -> int:
    try:
        level = operator.index(effort)  # type: ignore[arg-type]
    except TypeError:
        level = -1
    if not 0 <= level <= MAX_EFFORT:
        raise OptionError(f"effort must be 0 to {MAX_EFFORT}, not {effort!r}")
    return level


def _tile(tile: object) -> int:
    try:
        tile = operator.index(tile)  # type: ignore[arg-type]
    except TypeError:
        raise OptionError(f"tile {tile!r}: must be an integer") from None
    if tile % TILE_UNIT or not TILE_UNIT <= tile <= LARGEST_TILE:
        raise OptionError(f"tile {tile}: must be a multiple of {TILE_UNIT} between {TILE_UNIT} and {LARGEST_TILE}")
    return tile
