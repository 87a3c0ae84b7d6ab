"""A size or a fidelity instead of a quality: a search over the 225 qualities of the format."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .. import container
from ..bands.samples import to_network
from ..container import MAX_QUALITY
from ..errors import OptionError
from ..tiling import Box
from .decoder import Decoder
from .encoder import Encoder


def search_bpp(encoder: Encoder, bpp: float) -> bytes:
    """The file whose size is nearest to `bpp` bits per pixel.

    Raises:
        OptionError: where no quality comes near it.
    """
    pixels = encoder.image.width * encoder.image.height

    def measure(data: bytes) -> float:
        return len(data) * 8 / pixels

    data, reached, bracketed = _search(encoder, bpp, measure, math.log)
    if not 0.98 <= reached / bpp <= 1.02 and not bracketed:
        if reached < bpp and file_psnr(encoder, smallest := encoder.encode(0)) == math.inf:
            return smallest  # such as one where nothing is valid: more bits would say no more
        raise OptionError(
            f"{bpp:g} bpp is out of range for this image; the nearest is {reached:.4f} bpp"
        )
    return data


def search_psnr(encoder: Encoder, psnr: float) -> bytes:
    """The file whose RGB PSNR is nearest to `psnr` dB.

    Raises:
        OptionError: where no quality comes near it.
    """

    def measure(data: bytes) -> float:
        return file_psnr(encoder, data)

    data, reached, bracketed = _search(encoder, psnr, measure, float)
    if abs(reached - psnr) > 0.1 and not bracketed and reached != math.inf:
        raise OptionError(
            f"{psnr:g} dB is out of range for this image; the nearest is {reached:.2f} dB"
        )
    return data


def _search(
    encoder: Encoder,
    target: float,
    measure: Callable[[bytes], float],
    scale: Callable[[float], float],
) -> tuple[bytes, float, bool]:
    """Bisects; both measures rise with the quality.

    Returns the nearest file, its measure, and whether some files lay below the target and some above.
    """
    low, high = 0, MAX_QUALITY
    best: tuple[float, bytes, float] | None = None
    sides = set()
    while low <= high:
        middle = (low + high) // 2
        data = encoder.encode(middle)
        reached = measure(data)
        error = abs(scale(reached) - scale(target))
        ties = best is not None and error == best[0] == math.inf  # exact, and smaller
        if best is None or error < best[0] or ties:
            best = (error, data, reached)
        sides.add(reached < target)
        if reached < target:
            low = middle + 1
        else:
            high = middle - 1
    assert best is not None
    return best[1], best[2], len(sides) == 2


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
    Decoder(container.Reader(data), encoder.model, steady=True).blocks(image, compare)
    return 10 * math.log10(count / total) if total else math.inf
