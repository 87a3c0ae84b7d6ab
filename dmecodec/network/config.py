"""The shape of a network, stored as JSON in every model file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from ..errors import OptionError

MAX_WIDTH = 1024
"""No network is wider ..."""
MAX_SLICES = 32
"""... nor has more slices, so that a damaged model file cannot ask for all of the memory."""
MAX_DEPTH = 3
"""The halo of the synthesis, and of the restoration filter after it, allows no more convolutions in the refinement."""
STRIDE = 16
"""Pixels of one latent along each axis."""
HYPER_STRIDE = 4
"""Latents of one hyper latent along each axis."""


@dataclass(frozen=True)
class Pass:
    """What one pass of the entropy model codes: channels of y, at all positions or at half of them.

    Attributes:
        slice: index of its slice.
        first, end: its channels are first..end - 1.
        parity: (row + column) mod 2 of its positions in the tile; None is all of them.
    """

    slice: int
    first: int
    end: int
    parity: int | None

    @property
    def channels(self) -> int:
        """How many channels it codes."""
        return self.end - self.first

    @property
    def before(self) -> int:
        """Channels of y that it sees: the slices before, and the other half of its own."""
        return self.end if self.parity == 1 else self.first


@dataclass(frozen=True)
class Config:
    """What decides the shape of every tensor.

    Attributes:
        channels: N of Table 1, the width of the transforms.
        hyper: N of Table 2, the width of the hyper coder and the number of channels of z.
        slices: channels of y in each pass of the entropy model; their sum is M. One slice is the
            paper's own single pass.
        hidden: width of the parameter network of each slice; 0 is the single 1x1 convolution of
            equation 10.
        checkered: the first so many slices are coded in two passes each, as a checkerboard.
        strip: length of LSM's strip convolutions.
        attention: width of LSM's channel attention.
        paper: whether it is the paper's own network. All others have what follows, and a linear wavelet path beside
            both transforms, magnitudes in the hyper encoder, and R blocks that know the quality.
        squeezed: channels of the hyper encoder's input after a 1x1 convolution.
        refinement: width of the refinement after the synthesis, which sees what the last R block sees.
        refining: convolutions between the refinement's first and last.
    """

    channels: int = 256
    hyper: int = 256
    slices: tuple[int, ...] = (16, 32, 64, 144, 192)
    hidden: tuple[int, ...] = (128, 128, 128, 192, 192)
    checkered: int = 4
    strip: int = 7
    attention: int = 48
    paper: bool = False
    squeezed: int = 128
    refinement: int = 32
    refining: int = 3

    def __post_init__(self) -> None:
        """Refuses what is no network (ValueError)."""
        widths = [self.channels, self.hyper, self.latents, self.strip, self.attention, *self.slices]
        if not all(1 <= width <= MAX_WIDTH for width in widths) or not self.strip % 2:
            raise ValueError("a width of the network is out of range")
        if self.channels < 4 or (self.channels // 4) % max(1, self.channels // 64):
            raise ValueError("SDPM cannot slice so many channels")
        if not len(self.hidden) == len(self.slices) <= MAX_SLICES or not all(0 <= w <= MAX_WIDTH for w in self.hidden):
            raise ValueError("each slice needs the width of its parameter network")
        if (
            not 0 <= self.checkered <= len(self.slices)
            or not 1 <= self.squeezed <= MAX_WIDTH
            or not 1 <= self.refinement <= MAX_WIDTH
            or not 0 <= self.refining <= MAX_DEPTH
        ):
            raise ValueError("a part of the network is out of range")

    @property
    def latents(self) -> int:
        """M, the number of channels of y."""
        return sum(self.slices)

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
        """The inverse of :meth:`to_json`."""
        fields = json.loads(text)
        for name in ("slices", "hidden"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


PAPER = Config(slices=(256,), hidden=(0,), checkered=0, paper=True)
"""The paper's own blocks: M = 256, one pass (Table 3)."""

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
"""Two fifths of the size, for those who want twice the speed."""

NETWORKS = {"dmenet": Config(), "fast": FAST, "paper": PAPER}
"""The networks that can be trained by name."""


def named(name: str) -> Config:
    """The network of this name; OptionError where there is none."""
    if name not in NETWORKS:
        raise OptionError(f"no network {name}; there are {', '.join(NETWORKS)}")
    return NETWORKS[name]
