"""What was measured, and what follows from it: averages and BD-rates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from . import metrics

OURS = "dmecodec"
MEASURES = {"psnr": "RGB PSNR", "ms_ssim_db": "MS-SSIM"}  # both in dB

Points = Mapping[str, Sequence[tuple[float, float]]]  # by image: (bits per pixel, quality in dB)


@dataclass(frozen=True)
class Measurement:
    """One image coded at one setting of one codec."""

    image: str
    width: int
    height: int
    codec: str
    setting: float
    size: int  # bytes of the whole file
    psnr: float
    ms_ssim: float | None  # None where the image is too small
    encode_seconds: float
    decode_seconds: float

    @property
    def megapixels(self) -> float:
        """Millions of pixels of the image."""
        return self.width * self.height / 1e6

    @property
    def bpp(self) -> float:
        """Bits of the whole file per pixel."""
        return 8 * self.size / (self.width * self.height)

    @property
    def ms_ssim_db(self) -> float | None:
        """MS-SSIM in dB."""
        return metrics.ms_ssim_db(self.ms_ssim)

    @property
    def encode_speed(self) -> float:
        """Megapixels a second."""
        return self.megapixels / self.encode_seconds

    @property
    def decode_speed(self) -> float:
        """Megapixels a second."""
        return self.megapixels / self.decode_seconds


@dataclass(frozen=True)
class Average:
    """A codec's setting over all images that it coded; speeds are all pixels by all seconds."""

    codec: str
    setting: float
    images: int
    bpp: float
    psnr: float
    ms_ssim: float | None
    ms_ssim_db: float | None
    encode_speed: float
    decode_speed: float


@dataclass(frozen=True)
class Comparison:
    """BD-rates of dmecodec against one codec in one measure, per cent, image by image."""

    anchor: str
    measure: str
    per_image: Mapping[str, float]
    left_out: Sequence[str] = field(default=())  # images whose curves share less than 1 dB
    too_few: Sequence[str] = field(default=())  # images with a curve of fewer than 4 points

    @property
    def mean(self) -> float | None:
        """The mean of the images' values, None without any."""
        return mean(self.per_image.values())


def averages(measurements: Iterable[Measurement]) -> list[Average]:
    """One for every codec and setting, in the order in which they first appear."""
    groups: dict[tuple[str, float], list[Measurement]] = {}
    for m in measurements:
        groups.setdefault((m.codec, m.setting), []).append(m)
    return [_average(codec, setting, group) for (codec, setting), group in groups.items()]


def _average(codec: str, setting: float, group: Sequence[Measurement]) -> Average:
    megapixels = sum(m.megapixels for m in group)
    return Average(
        codec=codec,
        setting=setting,
        images=len(group),
        bpp=math.fsum(m.bpp for m in group) / len(group),
        psnr=math.fsum(m.psnr for m in group) / len(group),
        ms_ssim=mean(m.ms_ssim for m in group),
        ms_ssim_db=mean(m.ms_ssim_db for m in group),
        encode_speed=megapixels / sum(m.encode_seconds for m in group),
        decode_speed=megapixels / sum(m.decode_seconds for m in group),
    )


def points(measurements: Iterable[Measurement], codec: str, measure: str) -> Points:
    """The rate-distortion points of a codec, by image; `measure` is a key of `MEASURES`."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for m in measurements:
        quality = getattr(m, measure)
        if m.codec == codec and quality is not None:
            curves.setdefault(m.image, []).append((m.bpp, quality))
    return curves


def compare(anchor: str, measure: str, anchor_points: Points, our_points: Points) -> Comparison:
    """BD-rates over the images that both codecs have points of."""
    per_image: dict[str, float] = {}
    left_out: list[str] = []
    too_few: list[str] = []
    for image, ours in our_points.items():
        if image in anchor_points:
            if metrics.has_too_few(anchor_points[image]) or metrics.has_too_few(ours):
                too_few.append(image)
                continue
            rate = metrics.bd_rate(anchor_points[image], ours)
            if rate is None:
                left_out.append(image)
            else:
                per_image[image] = rate
    return Comparison(anchor, measure, per_image, left_out, too_few)


def comparisons(measurements: Sequence[Measurement]) -> list[Comparison]:
    """Dmecodec against every other codec, in every measure."""
    anchors = [c for c in dict.fromkeys(m.codec for m in measurements) if c != OURS]
    return [
        compare(c, measure, points(measurements, c, measure), points(measurements, OURS, measure))
        for c in anchors
        for measure in MEASURES
    ]


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are there, None without any."""
    there = [value for value in values if value is not None]
    return math.fsum(there) / len(there) if there else None
