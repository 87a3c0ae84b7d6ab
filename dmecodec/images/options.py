"""How an image is read, checked once."""

from __future__ import annotations

import operator
from dataclasses import dataclass

from ..errors import OptionError


@dataclass(frozen=True)
class ReadOptions:
    """What a caller says of an image beside the image itself; made by :meth:`checked`.

    Attributes:
        nodata: the value of samples that are not valid, of an array or instead of what a file says.
        scale: of samples of 16 bits, those that the network's 0 and 1 stand for; None takes each band's own range.
        alpha: of an array, whether its last band is alpha; None says so of 2 or 4 bands of uint8.
        bands: of an array, the axis that holds the bands, "first" or "last"; None is the last one, and refuses an
            array that seems to have them first.
        geo: whether georeference, nodata and tags are kept; False takes the pixels alone.
    """

    nodata: int | None = None
    scale: tuple[int, int] | None = None
    alpha: bool | None = None
    bands: str | None = None
    geo: bool = True

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


def _nodata(nodata: object) -> int | None:
    try:
        return None if nodata is None else operator.index(nodata)  # type: ignore[arg-type]
    except TypeError:
        raise OptionError(f"nodata {nodata!r}: must be an integer") from None


def _scale(scale: object) -> tuple[int, int] | None:
    try:
        if scale is None:
            return None
        low, high = map(operator.index, scale)  # type: ignore[call-overload]
        return low, high
    except (TypeError, ValueError):
        raise OptionError(f"scale {scale!r}: must be two integers") from None
