"""What was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from . import metrics

OURS = "dmecodec"


@dataclass(frozen=True)
class Measure:
    """One way to say how good a decoded image is."""

    label: str
    unit: str

    @property
    def title(self) -> str:
        """Label and unit, for axes and heads of columns."""
        return f"{self.label}, {self.unit}" if self.unit else self.label


MEASURES = {
    "psnr": Measure("PSNR", "dB"),
    "ms_ssim_db": Measure("MS-SSIM", "dB"),
    "ssim_db": Measure("SSIM", "dB"),
    "max_error": Measure("largest error", "levels"),
    "spectral_angle": Measure("spectral angle", "degrees"),
    "ndvi_error": Measure("error of NDVI", ""),
}
"""By the names of the attributes of :class:`Quality`."""
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


def codec_names(measurements: Iterable[Measurement]) -> list[str]:
    """In the order in which they first appear."""
    return list(dict.fromkeys(m.codec for m in measurements))


def points(measurements: Iterable[Measurement], codec: str, measure: str) -> Points:
    """The rate-distortion points of a codec, by image; `measure` is a key of `MEASURES`."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for m in measurements:
        quality = m.value(measure)
        if m.codec == codec and quality is not None:
            curves.setdefault(m.image, []).append((m.bpp, quality))
    return curves
