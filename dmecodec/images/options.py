"""How an image is read, checked once."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, TypeAlias

from ..errors import OptionError
from ..format.layout import Band

AUTO: Literal["auto"] = "auto"
"""The scale that spans each band's own values."""
Scale: TypeAlias = tuple[float, float] | Literal["auto"]


@dataclass(frozen=True)
class ReadOptions:
    """What a caller says of an image beside the image itself; made by :meth:`checked`.

    Attributes:
        nodata: the value of samples that are not valid, of an array or instead of what a file says.
        scale: of uint16, the samples that the network's 0 and 1 stand for; of other types but uint8, the values that
            16 bits span. "auto" is each band's own range, and None too for uint16.
        alpha: of an array, whether its last band is alpha; None says so of 2 or 4 bands of uint8.
        bands: of an array, the axis that holds the bands, "first" or "last"; None is the last one, and refuses an
            array that seems to have them first.
        geo: whether georeference, nodata and tags are kept; False takes the pixels alone.
        bands_of_file: of a file that the image is compared with, the bands whose maps from values to samples count.
    """

    nodata: float | None = None
    scale: Scale | None = None
    alpha: bool | None = None
    bands: str | None = None
    geo: bool = True
    bands_of_file: tuple[Band, ...] = ()

    @classmethod
    def checked(
        cls,
        *,
        nodata: object = None,
        scale: object = None,
        alpha: bool | None = None,
        bands: str | None = None,
        geo: bool = True,
    ) -> ReadOptions:
        """The options, from what a user gives.

        Raises:
            OptionError: one is out of its range.
        """
        if bands not in (None, "first", "last"):
            raise OptionError(f"bands {bands!r}: must be 'first' or 'last'")
        return cls(_nodata(nodata), _scale(scale), alpha, bands, geo)

    @property
    def is_of_array(self) -> bool:
        """Whether anything is said that only an array leaves open."""
        return not self.alpha is self.bands is None


def _nodata(nodata: object) -> float | None:
    if nodata is None:
        return None
    try:
        return operator.index(nodata)  # type: ignore[arg-type]
    except TypeError:
        pass
    if not isinstance(nodata, Real):
        raise OptionError(f"nodata {nodata!r}: must be a number")
    value = float(nodata)
    return int(value) if value.is_integer() else value


def _scale(scale: object) -> Scale | None:
    if scale is None or scale == AUTO:
        return scale  # type: ignore[return-value]
    try:
        low, high = scale  # type: ignore[misc]
    except (TypeError, ValueError):
        low = high = None
    if not all(isinstance(value, Real) and math.isfinite(value) for value in (low, high)):
        raise OptionError(f"scale {scale!r}: must be two numbers, or 'auto'")
    assert isinstance(low, Real) and isinstance(high, Real)
    if not low < high:
        raise OptionError(f"scale {low},{high}: give the lower one first")
    return _integer(low), _integer(high)


def _integer(value: Real) -> float:
    """An integer as such, which other numbers than integers may be."""
    number = float(value)
    return int(value) if isinstance(value, Integral) or number.is_integer() else number  # type: ignore[call-overload]
