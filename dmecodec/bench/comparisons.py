"""BD-rates of codecs against each other, image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from . import bd_rate
from .averages import mean
from .results import BD_MEASURES, Measurement, Points, codec_names, points


@dataclass(frozen=True)
class Comparison:
    """BD-rates of a codec against an anchor in one measure, per cent.

    Attributes:
        per_image: the images that have one.
        too_far_apart: images on which both curves share less than 1 dB.
        too_few: images with a curve of fewer than 4 points.
    """

    codec: str
    anchor: str
    measure: str
    per_image: Mapping[str, float]
    too_far_apart: Sequence[str] = field(default=())
    too_few: Sequence[str] = field(default=())

    @property
    def mean(self) -> float | None:
        """The mean of the images' values, None without any."""
        return mean(self.per_image.values())

    @property
    def median(self) -> float | None:
        """The median of the images' values, None without any."""
        return median(self.per_image.values()) if self.per_image else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % bootstrap interval of the mean; None of fewer than 5 images."""
        return bd_rate.interval(list(self.per_image.values()))

    def reversed(self) -> Comparison:
        """The anchor against the codec."""
        per_image = {image: bd_rate.reversed_rate(percent) for image, percent in self.per_image.items()}
        return Comparison(self.anchor, self.codec, self.measure, per_image, self.too_far_apart, self.too_few)


def compare(codec: str, anchor: str, measure: str, codec_points: Points, anchor_points: Points) -> Comparison:
    """BD-rates over the images that both codecs have points of."""
    per_image: dict[str, float] = {}
    too_far_apart: list[str] = []
    too_few: list[str] = []
    for image, curve in codec_points.items():
        if image not in anchor_points:
            continue
        rate = bd_rate.bd_rate(anchor_points[image], curve)
        if rate is not None:
            per_image[image] = rate
        elif bd_rate.has_too_few(anchor_points[image]) or bd_rate.has_too_few(curve):
            too_few.append(image)
        else:
            too_far_apart.append(image)
    return Comparison(codec, anchor, measure, per_image, too_far_apart, too_few)


def against_others(measurements: Sequence[Measurement], codec: str) -> list[Comparison]:
    """One codec against every other, in every measure in dB."""
    others = [name for name in codec_names(measurements) if name != codec]
    return [_compared(measurements, codec, anchor, measure) for anchor in others for measure in BD_MEASURES]


def every_pair(measurements: Sequence[Measurement]) -> list[Comparison]:
    """Every codec against every other, in every measure in dB; each pair both ways."""
    names = codec_names(measurements)
    pairs = [(codec, anchor) for place, codec in enumerate(names) for anchor in names[place + 1 :]]
    one_way = [_compared(measurements, *pair, measure) for measure in BD_MEASURES for pair in pairs]
    return [c for comparison in one_way for c in (comparison, comparison.reversed())]


def _compared(measurements: Sequence[Measurement], codec: str, anchor: str, measure: str) -> Comparison:
    curves = points(measurements, codec, measure), points(measurements, anchor, measure)
    return compare(codec, anchor, measure, *curves)
