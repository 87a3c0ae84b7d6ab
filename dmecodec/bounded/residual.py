"""The residual layer of a tile: what bounds the error of every valid sample.

The difference between original and base image is rounded to a multiple of 2 N + 1, so that base and residual together
are at most N away from the original; N = 0 is lossless. `docs/format.md`, "Residual", is normative.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..entropy import rans as entropy
from ..errors import FormatError
from .interlace import GRID, PASSES, WEIGHT_UNIT, Band, Weights, predict, settle
from .logistic import PHASES, SCALES, flat_table, residual_tables, table_index
from .settings import FLAG, LEVELS, SMALL, WIDE, Settings, slots, within

BLOCK = 1024
"""A tile is coded in blocks of at most this many pixels a side, each as if alone: it bounds memory."""
_THRESHOLDS = np.array([4 + i << j for j in range(21) for i in range(4)], np.int64)


def band_order(bands: int) -> tuple[int, ...]:
    """The order in which bands are coded: green first, it says most about the others."""
    return (1, 0, 2) if bands == 3 else tuple(range(bands))


def quantise(original: np.ndarray, base: np.ndarray, bound: int) -> np.ndarray:
    """The difference in steps of 2 N + 1, to the nearest: |original - base - q (2 N + 1)| <= N."""
    difference = original.astype(np.int32) - base
    return np.sign(difference) * ((np.abs(difference) + bound) // (2 * bound + 1))


def restore(base: np.ndarray, q: np.ndarray, bound: int, levels: int) -> np.ndarray:
    """Samples: cut off at 0 and `levels`, where the original lies, so the bound still holds."""
    return (base + q * np.int32(2 * bound + 1)).clip(0, levels)


# ---- one pass ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Coding:
    """How the integers of a pass are coded, one entry each, flat.

    Attributes:
        shift: int32, the integer that the prediction stands for, subtracted before coding.
        table: uint16, of the integer without its low bits.
        low_bits: int32, how many low bits are coded apart, or None where nobody has any.
    """

    shift: np.ndarray
    table: np.ndarray
    low_bits: np.ndarray | None


def coding(means: np.ndarray, spreads: np.ndarray, base: np.ndarray, weights: Weights, bound: int) -> Coding:
    """From prediction and expected error of some samples to what codes their integers."""
    step = 2 * bound + 1
    distance = means - base * np.int32(WEIGHT_UNIT)
    eighths = (distance + 4 * step) // (8 * step)  # of a step
    shift = (eighths + PHASES // 2) >> 3
    offset = eighths - PHASES * shift
    context = context_of(spreads, step)
    scale = weights.scales.take((context - weights.first).clip(0, len(weights.scales) - 1))
    low_bits = None
    if (weights.scales >= SCALES).any():
        low_bits = -((SCALES - 1 - scale) >> 2)
        np.maximum(low_bits, 0, out=low_bits)
        scale = scale - 4 * low_bits
        offset = np.where(low_bits > 0, 0, offset)
    table = table_index(scale, offset).astype(np.uint16)
    return Coding(shift, table, low_bits)


def context_of(spreads: np.ndarray, step: int) -> np.ndarray:
    """The context that an expected error falls into: four to each doubling."""
    return np.searchsorted(_THRESHOLDS, spreads // step, side="right")


def to_symbols(q: np.ndarray, how: Coding) -> Iterator[entropy.Symbols]:
    """The integers of a pass as passes of the entropy coder."""
    value = q - how.shift
    if how.low_bits is None:
        yield value, how.table
        return
    high, low = _split(value, how.low_bits)
    yield high, how.table
    many = np.flatnonzero(how.low_bits)
    if len(many):
        yield low[many], flat_table(how.low_bits[many]).astype(np.uint16)


def _split(value: np.ndarray, bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """value = high 2^bits + low - half of 2^bits."""
    raised = value + ((1 << bits) >> 1)
    high = raised >> bits
    return high, raised - (high << bits)


def from_symbols(decoder: entropy.Decoder, how: Coding, limit: int) -> np.ndarray:
    """The inverse of :func:`to_symbols`; integers beyond the limit are refused."""
    value = decoder.read(how.table)
    if how.low_bits is not None:
        many = np.flatnonzero(how.low_bits)
        if len(many):
            bits = how.low_bits[many]
            low = decoder.read(flat_table(bits).astype(np.uint16))
            wide = (value[many].astype(np.int64) << bits) + low - ((1 << bits) >> 1)
            value[many] = wide.clip(-(1 << 30), 1 << 30)
    value += how.shift
    if len(value) and (value.min() < -limit or value.max() > limit):
        raise FormatError("damaged: a residual is larger than any image needs")
    return value


# ---- one block -----------------------------------------------------------------------------------------------


def blocks(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """The blocks of a tile, row by row."""
    for row in range(0, height, BLOCK):
        for col in range(0, width, BLOCK):
            yield slice(row, min(row + BLOCK, height)), slice(col, min(col + BLOCK, width))


def padded(samples: np.ndarray) -> np.ndarray:
    """One band with its last row and column repeated up to a multiple of 16: int32."""
    height, width = samples.shape
    return np.pad(samples, ((0, -height % GRID), (0, -width % GRID)), mode="edge").astype(np.int32)


def coded_samples(shape: tuple[int, int], skip: np.ndarray | None) -> np.ndarray:
    """Which samples of a padded band are coded: bool (H, W)."""
    height, width = shape
    mask = np.zeros((height + -height % GRID, width + -width % GRID), bool)
    mask[:height, :width] = True if skip is None else ~skip
    return mask


def rank_of(base: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The number of the value that is nearest to each sample, the lower of two."""
    above = np.searchsorted(values, base).clip(1, max(1, len(values) - 1))
    if len(values) == 1:
        return np.zeros_like(base)
    nearer = base - values[above - 1] > values[above] - base
    return (above - 1 + nearer).astype(np.int32)


def decode_residual(
    stream: bytes,
    base: np.ndarray,
    bound: int,
    *,
    skip: np.ndarray | None = None,
    levels: int = 255,
) -> np.ndarray:
    """The samples of one tile and band group.

    Args:
        stream: the RESIDUAL stream.
        base: the base image, integers (h, w, bands) from 0 to `levels`.
        bound: N.
        skip: bool (h, w, bands), samples without a residual: there the base is the result.
        levels: the largest sample, 255 or 65535.

    Returns:
        The dtype and shape of `base`.

    Raises:
        FormatError: the stream is damaged.
    """
    decoder = entropy.Decoder(stream, residual_tables())
    pixels = np.empty_like(base)
    for block in blocks(*base.shape[:2]):
        part = BlockDecoder(decoder, base[block], bound, None if skip is None else skip[block], levels)
        pixels[block] = part.decode()
    decoder.finish()
    return pixels


class BlockDecoder:
    """Decodes one block."""

    def __init__(
        self,
        decoder: entropy.Decoder,
        base: np.ndarray,
        bound: int,
        skip: np.ndarray | None,
        levels: int,
    ) -> None:
        self._decoder, self._settings = decoder, Settings(decoder)
        self._base, self._bound, self._skip, self._levels = base, bound, skip, levels

    def decode(self) -> np.ndarray:
        """The samples of the block."""
        height, width, count = self._base.shape
        pixels = np.empty_like(self._base)
        slot_levels = 1 + self._settings.one(2, LEVELS)
        known: list[Band] = []
        for index in band_order(count):
            values = self._used_values()
            base = padded(self._base[..., index])
            if values is not None:
                base = rank_of(base, values)
            band = Band.begin(base)
            levels = self._levels if values is None else len(values) - 1
            skip = None if self._skip is None else self._skip[..., index]
            self._decode_band(band, known, slot_levels, coded_samples((height, width), skip), levels)
            known.append(band)
            samples = band.value.full[:height, :width]
            samples = samples if values is None else values[samples]
            if skip is not None:
                samples = np.where(skip, self._base[..., index], samples)
            pixels[..., index] = samples
        return pixels

    def _used_values(self) -> np.ndarray | None:
        """The values that occur, ascending, where only few do and the stream lists them."""
        if not self._settings.one(1, FLAG):
            return None
        if self._bound:
            raise FormatError("damaged: a list of values in a layer that is not lossless")
        count = 1 + self._settings.one(self._levels, WIDE)
        steps = within(self._settings.many(count, SMALL), 0, self._levels)
        values = np.cumsum(steps + 1, dtype=np.int64) - 1
        return within(values, 0, self._levels).astype(np.int32)

    def _decode_band(self, band: Band, others: Sequence[Band], slot_levels: int, mask: np.ndarray, levels: int) -> None:
        weights = {slot: self._settings.weights(slot.kind, len(others)) for slot in slots(slot_levels)}
        for where in PASSES:
            chosen = next(w for slot, w in weights.items() if slot.serves(where, slot_levels))
            means, spreads = predict(band, others, where, chosen, levels)
            base, here = where.of(band.base.full), where.of(mask)
            how = coding(means[here], spreads[here], base[here], chosen, self._bound)
            q = np.zeros(base.shape, np.int32)
            q[here] = from_symbols(self._decoder, how, levels // (2 * self._bound + 1) + 1)
            settle(band, where, means, restore(base, q, self._bound, levels))
