"""A size or a fidelity instead of a quality: a search over the 225 qualities of the format, and between two of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ..base.boxes import Box
from ..errors import OptionError
from ..format.limits import MAX_QUALITY
from ..format.reader import Reader
from .decoder import Decoder
from .encoder import Encoded, Encoder
from .samples import to_network

_NEAR_BPP, _NEAR_PSNR = math.log(1.01), 0.05
"""A search ends this near its target: half of what is promised."""
_LEAST_WEIGHT, _PLAIN_WEIGHT, _HALVINGS = 1 / 4, 64, 6
"""Between two qualities the weight of an error is at least the first; with the second, rounding is plain."""


def search(encoder: Encoder) -> Encoded:
    """The file that comes nearest to the target in the encoder's options.

    Raises:
        OptionError: no quality comes near it.
    """
    bpp, psnr = encoder.options.bpp, encoder.options.psnr
    if bpp is not None:
        return _search_bpp(encoder, bpp)
    assert psnr is not None
    return _search_psnr(encoder, psnr)


def _search_bpp(encoder: Encoder, bpp: float) -> Encoded:
    pixels = encoder.image.width * encoder.image.height
    bisection = _Bisection(encoder, bpp, lambda file: len(file.data) * 8 / pixels, math.log, _NEAR_BPP)
    best = bisection.run()
    if not 0.98 <= best.reached / bpp <= 1.02 and not bisection.is_bracketed:
        # Where nothing is valid, the smallest file is exact: more bits would say no more.
        if best.reached < bpp and file_psnr(encoder, smallest := encoder.encode(0)) == math.inf:
            return smallest
        raise OptionError(f"{bpp:g} bpp is out of range for this image; the nearest is {best.reached:.4f} bpp")
    return best.file


def _search_psnr(encoder: Encoder, psnr: float) -> Encoded:
    bisection = _Bisection(encoder, psnr, partial(file_psnr, encoder), float, _NEAR_PSNR)
    best = bisection.run()
    if abs(best.reached - psnr) > 0.1 and not bisection.is_bracketed and best.reached != math.inf:
        raise OptionError(f"{psnr:g} dB is out of range for this image; the nearest is {best.reached:.2f} dB")
    return best.file


@dataclass(frozen=True)
class _Try:
    """A file, its measure, and how far that is from the target."""

    file: Encoded
    reached: float
    error: float


@dataclass
class _Bisection:
    """Bisects the qualities, then the weight of an error: the measure rises with both.

    Attributes:
        encoder: of the image.
        target: the wanted measure.
        measure: of a file.
        scale: on which errors of the measure are compared.
        near: an error that will do, on that scale.
        sides: whether files lay below the target, and whether above.
        best: the file that came nearest.
    """

    encoder: Encoder
    target: float
    measure: Callable[[Encoded], float]
    scale: Callable[[float], float]
    near: float
    sides: set[bool] = field(default_factory=set)
    best: _Try | None = None

    @property
    def is_bracketed(self) -> bool:
        """Whether some files lay below the target and some above."""
        return len(self.sides) == 2

    def run(self) -> _Try:
        """The nearest file."""
        low, high = 0, MAX_QUALITY
        while low <= high:
            middle = (low + high) // 2
            if self._is_below(self.encoder.encode(middle)):
                low = middle + 1
            else:
                high = middle - 1
        assert self.best is not None
        if self.is_bracketed and self.best.error > self.near:
            self._search_between(min(low, MAX_QUALITY))
        return self.best

    def _search_between(self, quality: int) -> None:
        """One step of quality is too coarse: tries files of one that is too good, with errors that weigh less."""
        assert self.best is not None
        low, high = math.log(_LEAST_WEIGHT), math.log(1 if self.encoder.options.effort else _PLAIN_WEIGHT)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self._is_below(self.encoder.encode(quality, math.exp(middle))):
                low = middle
            else:
                high = middle
            if self.best.error <= self.near:
                break

    def _is_below(self, file: Encoded) -> bool:
        """Whether a file lies below the target; keeps it where it is the nearest."""
        reached = self.measure(file)
        error = abs(self.scale(reached) - self.scale(self.target))
        ties = self.best is not None and error == self.best.error == math.inf  # exact, and smaller
        if self.best is None or error < self.best.error or ties:
            self.best = _Try(file, reached, error)
        self.sides.add(reached < self.target)
        return reached < self.target


def file_psnr(encoder: Encoder, file: Encoded) -> float:
    """PSNR of a file against the image that it was made from, over the valid samples: dB.

    The peak is the range of each band's scale, 255 for samples of 8 bits.
    """
    source, image = encoder.source, encoder.image
    layout = source.layout
    total, count = 0.0, 0

    def compare(col: int, row: int, pixels: np.ndarray) -> None:
        nonlocal total, count
        box = Box(col, row, pixels.shape[1], pixels.shape[0])
        for group, members in enumerate(layout.groups):
            samples = source.samples(box, group)
            valid = source.valid(box, samples, group)
            decoded = pixels[..., [layout.plane_of(band) for band in members]]
            error = to_network(samples, layout, group) - to_network(decoded, layout, group)
            if valid is not None:
                error = error[valid]
            total += float(np.square(error, dtype=np.float64).sum())
            count += error.size

    # Steady, for the bytes that come out must not depend on the number of threads.
    Decoder(Reader(file.data), encoder.model, steady=True).blocks(image, compare)
    return 10 * math.log10(count / total) if total else math.inf
