"""The configuration of a network: every tensor shape follows from it. Model files hold it as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from ..errors import OptionError

MAX_WIDTH, MAX_SLICES = 1024, 32
"""Largest width and number of slices, so that a damaged model file cannot ask for all of the memory."""
MAX_BLOCKS = 8
"""Largest number of gated blocks at one resolution."""
MAX_DEPTH = 3
"""Largest `Config.refining`: more convolutions would see beyond the halo (`transforms.HALO`)."""
STRIDE = 16
"""Pixels per latent along each axis."""
HYPER_STRIDE = 4
"""Latents per hyper latent along each axis."""


@dataclass(frozen=True)
class Pass:
    """One pass of the entropy model: it codes a slice of y at all positions, or at every second one.

    Attributes:
        slice: index of the slice.
        first, end: the channels of the slice are first..end - 1.
        parity: (row + column) mod 2 of the positions in the tile; None is all positions.
    """

    slice: int
    first: int
    end: int
    parity: int | None

    @property
    def channels(self) -> int:
        """Number of channels that the pass codes."""
        return self.end - self.first

    @property
    def context_channels(self) -> int:
        """Channels of y in the context: those of earlier slices; for parity 1 also those of its own slice."""
        return self.end if self.parity == 1 else self.first


@dataclass(frozen=True)
class Config:
    """The shape of a network. The field names are those of the JSON in model files.

    Attributes:
        channels: N of Table 1, the width of the transforms.
        hyper: N of Table 2, the width of the hyper coder and the number of channels of z.
        slices: channels of y in each slice; their sum is M. The paper has a single slice.
        hidden: width of the parameter network of each slice; 0 is the single 1x1 convolution of equation 10.
        checkered: number of slices, from the first, that are coded in two passes each, as a checkerboard.
        strip: length of LSM's strip convolutions.
        attention: width of LSM's channel attention.
        paper: whether it is the network of the paper alone. All others have what follows, a linear wavelet path
            parallel to both transforms, magnitudes as input of the hyper encoder, and R blocks that depend on the
            quality.
        eighths, sixteenths: number of gated blocks of the analysis at 1/8 and at 1/16 of the resolution, and the width
            of each; without any, the analysis has the C blocks of the paper.
        squeezed: width of the 1x1 convolution before the hyper encoder.
        refinement: width of the refinement after the synthesis, which also sees the input of the last R block.
        refining: number of convolutions between the first and the last of the refinement.
    """

    channels: int = 256
    hyper: int = 256
    slices: tuple[int, ...] = (16, 32, 64, 144, 192)
    hidden: tuple[int, ...] = (128, 128, 128, 192, 192)
    checkered: int = 4
    strip: int = 7
    attention: int = 48
    paper: bool = False
    eighths: tuple[int, int] = (0, 0)
    sixteenths: tuple[int, int] = (0, 0)
    squeezed: int = 128
    refinement: int = 32
    refining: int = 3

    def __post_init__(self) -> None:
        """Checks the ranges (ValueError)."""
        widths = [self.channels, self.hyper, self.latents, self.strip, self.attention, *self.slices]
        if not all(1 <= width <= MAX_WIDTH for width in widths) or not self.strip % 2:
            raise ValueError(f"a width of the network is not in 1..{MAX_WIDTH}, or the strip of LSM is even")
        if self.channels < 4 or (self.channels // 4) % max(1, self.channels // 64):
            raise ValueError(f"SDPM cannot divide {self.channels} channels into groups")
        if not len(self.hidden) == len(self.slices) <= MAX_SLICES or not all(0 <= w <= MAX_WIDTH for w in self.hidden):
            raise ValueError("the slices and the widths of their parameter networks do not match")
        if (
            not 0 <= self.checkered <= len(self.slices)
            or not all(0 <= count <= MAX_BLOCKS for count, _ in (self.eighths, self.sixteenths))
            or not all(0 <= width <= MAX_WIDTH for _, width in (self.eighths, self.sixteenths))
            or not 1 <= self.squeezed <= MAX_WIDTH
            or not 1 <= self.refinement <= MAX_WIDTH
            or not 0 <= self.refining <= MAX_DEPTH
        ):
            raise ValueError("checkered, eighths, sixteenths, squeezed, refinement or refining is out of range")

    @property
    def latents(self) -> int:
        """M, the number of channels of y."""
        return sum(self.slices)

    @property
    def is_gated(self) -> bool:
        """Whether the analysis has gated blocks instead of those of the paper."""
        return self.eighths[0] + self.sixteenths[0] > 0

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The passes of the entropy model over y, in coding order."""
        passes = []
        for index, channels in enumerate(self.slices):
            first = sum(self.slices[:index])
            parities = (0, 1) if index < self.checkered else (None,)
            passes += [Pass(index, first, first + channels, parity) for parity in parities]
        return tuple(passes)

    def to_json(self) -> str:
        """The configuration as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Config:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError, LookupError, TypeError: the text is no configuration.
        """
        fields = json.loads(text)
        for name in ("slices", "hidden", "eighths", "sixteenths"):
            if name in fields:
                fields[name] = tuple(fields[name])
        return cls(**fields)


PAPER = Config(slices=(256,), hidden=(0,), checkered=0, paper=True)
"""The blocks of the paper alone: M = 256, one pass (Table 3)."""

FAST = Config(
    channels=128,
    hyper=96,
    slices=(32, 96, 288),
    hidden=(96, 96, 96),
    checkered=2,
    attention=24,
    squeezed=96,
    refinement=24,
    refining=2,
)
"""Two fifths of the parameters and operations of the default, twice the speed."""

NETWORKS = {"dmenet": Config(), "fast": FAST, "paper": PAPER}
"""The networks that can be trained, by name."""


def get_config(name: str) -> Config:
    """The configuration of this name.

    Raises:
        OptionError: there is no such network.
    """
    if name not in NETWORKS:
        raise OptionError(f"no network {name}; there are {', '.join(NETWORKS)}")
    return NETWORKS[name]
