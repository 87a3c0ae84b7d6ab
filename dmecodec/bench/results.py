"""What was measured, and its averages."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from . import metrics

OURS = "dmecodec"


@dataclass(frozen=True)
class Measure:
    """One way to say how good a decoded image is."""

    label: str
    unit: str
    higher_is_better: bool = True

    @property
    def title(self) -> str:
        """Label and unit, for axes and heads of columns."""
        return f"{self.label}, {self.unit}" if self.unit else self.label


MEASURES = {
    "psnr": Measure("PSNR", "dB"),
    "ms_ssim_db": Measure("MS-SSIM", "dB"),
    "ssim_db": Measure("SSIM", "dB"),
    "max_error": Measure("largest error", "levels", higher_is_better=False),
    "spectral_angle": Measure("spectral angle", "degrees", higher_is_better=False),
    "ndvi_error": Measure("error of NDVI", "", higher_is_better=False),
}
"""By the names of the attributes of :class:`Measurement` and :class:`Average`."""
BD_MEASURES = ("psnr", "ms_ssim_db", "ssim_db")
"""The measures in dB, which have BD-rates."""

Points = Mapping[str, Sequence[tuple[float, float]]]  # by image: (bits per pixel, quality in dB)


@dataclass(frozen=True)
class Quality:
    """What a decoded image has kept; None where a measure does not apply.

    Attributes:
        psnr: dB over all samples, infinite of equal images.
        ms_ssim, ssim: at most 1; None of small images.
        max_error: levels.
        spectral_angle: degrees; of more than three bands.
        ndvi_error: a difference of NDVI; where red and near infrared are named.
    """

    psnr: float
    ms_ssim: float | None
    ssim: float | None
    max_error: float
    spectral_angle: float | None = None
    ndvi_error: float | None = None

    @property
    def ms_ssim_db(self) -> float | None:
        """MS-SSIM in dB."""
        return metrics.similarity_db(self.ms_ssim)

    @property
    def ssim_db(self) -> float | None:
        """SSIM in dB."""
        return metrics.similarity_db(self.ssim)


@dataclass(frozen=True)
class Measurement:
    """One image coded at one setting of one codec.

    Attributes:
        size: bytes of the whole file, or of all files of the image.
        encode_seconds, decode_seconds: of one call each.
    """

    image: str
    width: int
    height: int
    bands: int
    codec: str
    setting: float
    size: int
    quality: Quality
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
    def encode_speed(self) -> float:
        """Megapixels a second."""
        return self.megapixels / self.encode_seconds

    @property
    def decode_speed(self) -> float:
        """Megapixels a second."""
        return self.megapixels / self.decode_seconds

    def value(self, measure: str) -> float | None:
        """By a key of `MEASURES`."""
        return getattr(self.quality, measure)


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


@dataclass(frozen=True)
class LeftOut:
    """An image, a codec, or an image with a codec, that was not measured, and why."""

    what: str
    reason: str


@dataclass(frozen=True)
class Memory:
    """Peak memory of the codecs on one image.

    Attributes:
        peaks: bytes, by codec: the whole process, which holds the image, Python and the codec's libraries.
    """

    image: str
    peaks: Mapping[str, int] = field(default_factory=dict)


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


def codec_names(measurements: Iterable[Measurement]) -> list[str]:
    """In the order in which they first appear."""
    return list(dict.fromkeys(m.codec for m in measurements))


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


def points(measurements: Iterable[Measurement], codec: str, measure: str) -> Points:
    """The rate-distortion points of a codec, by image; `measure` is a key of `MEASURES`."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for m in measurements:
        quality = m.value(measure)
        if m.codec == codec and quality is not None:
            curves.setdefault(m.image, []).append((m.bpp, quality))
    return curves


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are not None, None without any."""
    present = [value for value in values if value is not None]
    return math.fsum(present) / len(present) if present else None
