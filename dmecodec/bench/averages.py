"""Means over images: of what the codecs keep, and of their speed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .results import MEASURES, Measurement, Memory, codec_names


@dataclass(frozen=True)
class Average:
    """A codec's setting over all images that it coded; speeds are all pixels by all seconds.

    Attributes:
        values: the mean of each measure of `MEASURES` over the images that have it, and of "ms_ssim" and "ssim".
    """

    codec: str
    setting: float
    images: int
    bpp: float
    values: Mapping[str, float | None]
    encode_speed: float
    decode_speed: float


@dataclass(frozen=True)
class Speed:
    """Megapixels a second of a codec over all its measurements, and its memory.

    Attributes:
        peak_memory: bytes of a fresh process that codes the largest image and decodes it; None: not measured.
    """

    codec: str
    encode: float
    decode: float
    peak_memory: int | None = None


def averages(measurements: Iterable[Measurement]) -> list[Average]:
    """One for every codec and setting, in the order in which they first appear."""
    groups: dict[tuple[str, float], list[Measurement]] = {}
    for m in measurements:
        groups.setdefault((m.codec, m.setting), []).append(m)
    return [average(codec, setting, group) for (codec, setting), group in groups.items()]


def average(codec: str, setting: float, group: Sequence[Measurement]) -> Average:
    """The mean figures of measurements of one codec."""
    megapixels = sum(m.megapixels for m in group)
    names = (*MEASURES, "ms_ssim", "ssim")
    return Average(
        codec=codec,
        setting=setting,
        images=len(group),
        bpp=math.fsum(m.bpp for m in group) / len(group),
        values={name: mean(m.value(name) for m in group) for name in names},
        encode_speed=megapixels / sum(m.encode_seconds for m in group),
        decode_speed=megapixels / sum(m.decode_seconds for m in group),
    )


def speeds(measurements: Sequence[Measurement], memory: Memory | None) -> list[Speed]:
    """One for every codec."""
    peaks = memory.peaks if memory else {}
    rows = []
    for codec in codec_names(measurements):
        of_codec = average(codec, 0, [m for m in measurements if m.codec == codec])
        rows.append(Speed(codec, of_codec.encode_speed, of_codec.decode_speed, peaks.get(codec)))
    return rows


def coded_by_all(measurements: Sequence[Measurement]) -> list[Measurement]:
    """The measurements of the images that every codec has coded, or all of them if there is no such image.

    Means over different images would not compare.
    """
    coded: dict[str, set[str]] = {}
    for m in measurements:
        coded.setdefault(m.image, set()).add(m.codec)
    every = set(codec_names(measurements))
    common = [m for m in measurements if coded[m.image] == every]
    return common or list(measurements)


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are not None, None without any."""
    present = [value for value in values if value is not None]
    return math.fsum(present) / len(present) if present else None
