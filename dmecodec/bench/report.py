"""What a run has measured, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from .averages import Average, Speed, average, averages, coded_by_all, speeds
from .bd_rate import FEWEST_POINTS, SMALLEST_OVERLAP
from .comparisons import Comparison, against_others, every_pair
from .examples import Example
from .results import MEASURES, OURS, LeftOut, Measurement, Memory, codec_names

MOST_NAMES = 5  # that a note lists


@dataclass(frozen=True)
class Report:
    """All measurements of a run, and what they come to.

    Attributes:
        measurements: every image at every setting of every codec.
        left_out: what was not measured.
        environment: machine and versions.
        versions: by codec.
        at_bpp: bits per pixel of `at_rate`, or None.
        at_rate: of every image and codec the measurement nearest to that rate.
        memory: peak memory, or None where it was not measured.
        examples: crops for the page.
    """

    measurements: Sequence[Measurement]
    left_out: Sequence[LeftOut] = field(default=())
    environment: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    at_bpp: float | None = None
    at_rate: Sequence[Measurement] = field(default=())
    memory: Memory | None = None
    examples: Sequence[Example] = field(default=())

    def averages(self) -> list[Average]:
        """Mean figures of every codec and setting over the images that all codecs have coded."""
        return averages(coded_by_all(self.measurements))

    def averages_at_rate(self) -> list[Average]:
        """The same near the rate `at_bpp`; their setting means nothing."""
        common = coded_by_all(self.at_rate)
        return [average(name, 0, [m for m in common if m.codec == name]) for name in codec_names(common)]

    def speeds(self) -> list[Speed]:
        """Speed and memory of every codec, over the same images."""
        return speeds(coded_by_all(self.measurements), self.memory)

    def comparisons(self) -> list[Comparison]:
        """BD-rates of dmecodec against every other codec, in every measure in dB."""
        return against_others(self.measurements, OURS)

    @cached_property
    def pairs(self) -> list[Comparison]:
        """BD-rates of every codec against every other, in every measure in dB."""
        return every_pair(self.measurements)

    def notes(self) -> list[LeftOut]:
        """What was left out, and why a BD-rate is missing."""
        return [*self.left_out, *self._without_bd_rate()]

    def _without_bd_rate(self) -> list[LeftOut]:
        """Why there is no BD-rate, where there is none."""
        compared = self.comparisons()
        qualities = {m.setting for m in self.measurements if m.codec == OURS}
        if compared and len(qualities) < FEWEST_POINTS:
            reason = f"needs at least {FEWEST_POINTS} qualities, and {len(qualities)} were measured; add --quality"
            return [LeftOut("BD-rate", reason)]
        return [note for c in compared for note in _missing(c)]


def _missing(c: Comparison) -> list[LeftOut]:
    """The images on which two codecs have no BD-rate, and why."""
    what = f"BD-rate against {c.anchor} in {MEASURES[c.measure].label}"
    reasons = {
        f"fewer than {FEWEST_POINTS} points that rise, of {c.anchor} or {c.codec}": c.too_few,
        f"less than {SMALLEST_OVERLAP:g} dB in common": c.too_far_apart,
    }
    return [LeftOut(what, f"{reason}: {_listed(images)}") for reason, images in reasons.items() if images]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
