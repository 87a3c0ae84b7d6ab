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
from .encoder import Encoder
from .samples import to_network

_NEAR_BPP, _NEAR_PSNR = math.log(1.01), 0.05
"""Nearer to its target a search need not come: half of what is promised."""
_LEAST_WORTH, _PLAIN_WORTH, _HALVINGS = 1 / 4, 64, 6
"""Between two qualities an error of the better one is worth so much at least; at the other end rounding is plain."""


def search_bpp(encoder: Encoder, bpp: float) -> bytes:
    """The file whose size is nearest to `bpp` bits per pixel.

    Raises:
        OptionError: where no quality comes near it.
    """
    pixels = encoder.image.width * encoder.image.height

    def measure(data: bytes) -> float:
        return len(data) * 8 / pixels

    search = _Search(encoder, bpp, measure, math.log, _NEAR_BPP)
    data, reached = search.run()
    if not 0.98 <= reached / bpp <= 1.02 and not search.bracketed:
        if reached < bpp and file_psnr(encoder, smallest := encoder.encode(0)) == math.inf:
            return smallest  # such as one where nothing is valid: more bits would say no more
        raise OptionError(f"{bpp:g} bpp is out of range for this image; the nearest is {reached:.4f} bpp")
    return data


def search_psnr(encoder: Encoder, psnr: float) -> bytes:
    """The file whose RGB PSNR is nearest to `psnr` dB.

    Raises:
        OptionError: where no quality comes near it.
    """
    search = _Search(encoder, psnr, partial(file_psnr, encoder), float, _NEAR_PSNR)
    data, reached = search.run()
    if abs(reached - psnr) > 0.1 and not search.bracketed and reached != math.inf:
        raise OptionError(f"{psnr:g} dB is out of range for this image; the nearest is {reached:.2f} dB")
    return data


@dataclass
class _Search:
    """Bisects the qualities, then what an error is worth: what is measured rises with both.

    Attributes:
        encoder: of the image.
        target: what is to be measured.
        measure: of a file.
        scale: on which errors of what is measured are compared.
        near: error that will do, on that scale.
        sides: whether files were found below the target, and whether above.
    """

    encoder: Encoder
    target: float
    measure: Callable[[bytes], float]
    scale: Callable[[float], float]
    near: float
    sides: set[bool] = field(default_factory=set)
    _best: tuple[float, bytes, float] | None = None

    @property
    def bracketed(self) -> bool:
        """Whether some files lay below the target and some above."""
        return len(self.sides) == 2

    def run(self) -> tuple[bytes, float]:
        """The nearest file, and its measure."""
        low, high = 0, MAX_QUALITY
        while low <= high:
            middle = (low + high) // 2
            if self._is_below(self.encoder.encode(middle)):
                low = middle + 1
            else:
                high = middle - 1
        assert self._best is not None
        if self.bracketed and self._best[0] > self.near:
            self._between(min(low, MAX_QUALITY))
        return self._best[1], self._best[2]

    def _between(self, quality: int) -> None:
        """One step of quality is too coarse: what lies below one that is too good, with its errors worth less."""
        assert self._best is not None
        low, high = math.log(_LEAST_WORTH), math.log(1 if self.encoder.effort else _PLAIN_WORTH)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self._is_below(self.encoder.encode(quality, math.exp(middle))):
                low = middle
            else:
                high = middle
            if self._best[0] <= self.near:
                break

    def _is_below(self, data: bytes) -> bool:
        """Whether a file lies below the target; it may be the nearest."""
        reached = self.measure(data)
        error = abs(self.scale(reached) - self.scale(self.target))
        ties = self._best is not None and error == self._best[0] == math.inf  # exact, and smaller
        if self._best is None or error < self._best[0] or ties:
            self._best = (error, data, reached)
        self.sides.add(reached < self.target)
        return reached < self.target


def file_psnr(encoder: Encoder, data: bytes) -> float:
    """PSNR of a file against the image that it was made from, over the valid samples: dB.

    The peak is the range of each band's scale, 255 for samples of 8 bits.
    """
    planes, image = encoder.planes, encoder.image
    layout = planes.layout
    total, count = 0.0, 0

    def compare(col: int, row: int, pixels: np.ndarray) -> None:
        nonlocal total, count
        box = Box(col, row, pixels.shape[1], pixels.shape[0])
        for group, members in enumerate(layout.groups):
            samples = planes.samples(box, group)
            valid = planes.valid(box, samples, group)
            decoded = pixels[..., [layout.plane_of(band) for band in members]]
            error = to_network(samples, layout, group) - to_network(decoded, layout, group)
            if valid is not None:
                error = error[valid]
            total += float(np.square(error, dtype=np.float64).sum())
            count += error.size

    # Steady, for the bytes that come out must not depend on the number of threads.
    Decoder(Reader(data), encoder.model, steady=True).blocks(image, compare)
    return 10 * math.log10(count / total) if total else math.inf
