"""What a run has measured, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from .bd_rate import FEWEST_POINTS
from .comparisons import Comparison, against_others, every_pair
from .examples import Example
from .results import (
    MEASURES,
    OURS,
    Average,
    LeftOut,
    Measurement,
    Memory,
    Speed,
    average,
    averages,
    codec_names,
    speeds,
)


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
        """Mean figures of every codec and setting."""
        return averages(self.measurements)

    def averages_at_rate(self) -> list[Average]:
        """Mean figures of every codec near the rate `at_bpp`; their setting means nothing."""
        names = codec_names(self.at_rate)
        return [average(name, 0, [m for m in self.at_rate if m.codec == name]) for name in names]

    def speeds(self) -> list[Speed]:
        """Speed and memory of every codec."""
        return speeds(self.measurements, self.memory)

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
        notes = []
        for c in compared:
            label = MEASURES[c.measure].label
            points = f"fewer than {FEWEST_POINTS} points that rise in {label}, of {c.anchor} or {c.codec}: no BD-rate"
            apart = f"less than 1 dB of {label} in common with {c.anchor}: no BD-rate"
            notes += [LeftOut(image, points) for image in c.too_few]
            notes += [LeftOut(image, apart) for image in c.too_far_apart]
        return notes
