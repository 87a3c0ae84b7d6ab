"""A job, and its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import DmecodecError


@dataclass(frozen=True)
class Job:
    """One input and where its output goes; either may be "-"."""

    source: str
    target: str


@dataclass(frozen=True)
class Result:
    """The result of a job.

    Attributes:
        job: the job.
        error: why it failed, or None.
        width, height: of the image, in pixels.
        bytes_out: size of the output.
        raw: bytes of the pixels without any compression.
        seconds: wall-clock time of the job, loading the model left out.
        quality: of the file that was written or read.
        steps: what a step of each band is worth in its own unit, of rasters of other types than 8 and 16 bits.
        skipped: whether the output was left as it is, because `skip_done` found it done.
        notes: what a user must know of the output, such as what has no place in it.
    """

    job: Job
    error: DmecodecError | None = None
    width: int = 0
    height: int = 0
    bytes_out: int = 0
    raw: int = 0
    seconds: float = 0.0
    quality: float = 0.0
    steps: tuple[float, ...] = ()
    skipped: bool = False
    notes: tuple[str, ...] = ()

    @property
    def bpp(self) -> float:
        """Bits per pixel of the written file."""
        return 8 * self.bytes_out / max(1, self.width * self.height)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        if self.error is not None:
            return {"input": self.job.source, "output": self.job.target, "error": str(self.error)}
        skipped = {"skipped": True} if self.skipped else {}
        steps = {"steps": list(self.steps)} if self.steps else {}
        notes = {"notes": list(self.notes)} if self.notes else {}
        return (
            skipped
            | steps
            | notes
            | {
                "input": self.job.source,
                "output": self.job.target,
                "width": self.width,
                "height": self.height,
                "quality": self.quality,
                "bytes": self.bytes_out,
                "bpp": self.bpp,
                "ratio": self.raw / max(1, self.bytes_out),
                "seconds": self.seconds,
            }
        )
