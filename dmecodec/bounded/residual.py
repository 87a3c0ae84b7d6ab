"""The residual layer of a tile: it bounds the error of every valid sample.

The difference between original and base image is rounded to a multiple of 2 N + 1. So the sum of base and residual is
at most N off the original; N = 0 is lossless. `docs/format.md`, "Residual", is normative.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..entropy import rans as entropy
from ..errors import FormatError
from .interlace import GRID, LATTICES, WEIGHT_UNIT, BandState, SlotWeights, predict, store
from .logistic import PHASES, SCALES, flat_table, residual_tables, table_index
from .slots import FLAG, LEVELS, SMALL, WIDE, SlotReader, slots, within

SECTION = 1024
"""Largest side in pixels of a section: the layer codes each section of a tile by itself, which bounds memory."""
_CONTEXT_BOUNDS = np.array([4 + i << j for j in range(21) for i in range(4)], np.int64)


def band_order(bands: int) -> tuple[int, ...]:
    """The coding order of bands: of three, green first, as it predicts the others best."""
    return (1, 0, 2) if bands == 3 else tuple(range(bands))


def quantise(original: np.ndarray, base: np.ndarray, bound: int) -> np.ndarray:
    """q, the difference in steps of 2 N + 1, rounded: |original - base - q (2 N + 1)| <= N."""
    difference = original.astype(np.int32) - base
    return np.sign(difference) * ((np.abs(difference) + bound) // (2 * bound + 1))


def restore(base: np.ndarray, q: np.ndarray, bound: int, levels: int) -> np.ndarray:
    """The samples, clamped to 0..levels. The original lies in this range, so the bound still holds."""
    return (base + q * np.int32(2 * bound + 1)).clip(0, levels)


# ---- one lattice ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SymbolCoding:
    """How the integers of a lattice are coded: flat arrays with an entry for each integer.

    Attributes:
        shift: int32, the predicted integer, which is subtracted before coding.
        table: uint16, table of the integer without its low bits.
        low_bits: int32, number of low bits that are coded separately; None if all are 0.
    """

    shift: np.ndarray
    table: np.ndarray
    low_bits: np.ndarray | None


def symbol_coding(
    means: np.ndarray, spreads: np.ndarray, base: np.ndarray, weights: SlotWeights, bound: int
) -> SymbolCoding:
    """The coding of some samples, from predictions and expected errors in 1/64 level: all flat, int32."""
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
    return SymbolCoding(shift, table, low_bits)


def context_of(spreads: np.ndarray, step: int) -> np.ndarray:
    """The context of each expected error: four contexts per octave."""
    return np.searchsorted(_CONTEXT_BOUNDS, spreads // step, side="right")


def to_symbols(q: np.ndarray, coding: SymbolCoding) -> Iterator[entropy.Symbols]:
    """The integers of a lattice as passes of the entropy coder: the high parts, then the low bits if there are any."""
    value = q - coding.shift
    if coding.low_bits is None:
        yield value, coding.table
        return
    high, low = _split(value, coding.low_bits)
    yield high, coding.table
    split = np.flatnonzero(coding.low_bits)
    if len(split):
        yield low[split], flat_table(coding.low_bits[split]).astype(np.uint16)


def _split(value: np.ndarray, bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """high and low with value = high 2^bits + low - 2^bits / 2."""
    raised = value + ((1 << bits) >> 1)
    high = raised >> bits
    return high, raised - (high << bits)


def from_symbols(decoder: entropy.SymbolDecoder, coding: SymbolCoding, limit: int) -> np.ndarray:
    """The inverse of :func:`to_symbols`.

    Raises:
        FormatError: an integer exceeds the limit in magnitude.
    """
    value = decoder.read(coding.table)
    if coding.low_bits is not None:
        split = np.flatnonzero(coding.low_bits)
        if len(split):
            bits = coding.low_bits[split]
            low = decoder.read(flat_table(bits).astype(np.uint16))
            wide = (value[split].astype(np.int64) << bits) + low - ((1 << bits) >> 1)
            value[split] = wide.clip(-(1 << 30), 1 << 30)
    value += coding.shift
    if len(value) and (value.min() < -limit or value.max() > limit):
        raise FormatError("damaged: a residual is larger than any image needs")
    return value


# ---- one section -----------------------------------------------------------------------------------------------


def sections(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """The sections of a tile, row by row: slices of rows and columns."""
    for row in range(0, height, SECTION):
        for col in range(0, width, SECTION):
            yield slice(row, min(row + SECTION, height)), slice(col, min(col + SECTION, width))


def padded(samples: np.ndarray) -> np.ndarray:
    """A band (h, w) padded to multiples of 16 by repeating its last row and column: int32 (H, W)."""
    height, width = samples.shape
    return np.pad(samples, ((0, -height % GRID), (0, -width % GRID)), mode="edge").astype(np.int32)


def coded_samples(shape: tuple[int, int], skip: np.ndarray | None) -> np.ndarray:
    """Mask of the coded samples of a padded band: bool (H, W)."""
    height, width = shape
    mask = np.zeros((height + -height % GRID, width + -width % GRID), bool)
    mask[:height, :width] = True if skip is None else ~skip
    return mask


def rank_of(base: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The index in `values`, ascending, of the value nearest to each sample; the lower of two: int32."""
    above = np.searchsorted(values, base).clip(1, max(1, len(values) - 1))
    if len(values) == 1:
        return np.zeros_like(base)
    nearer = base - values[above - 1] > values[above] - base
    return (above - 1 + nearer).astype(np.int32)


def decode_residual(
    stream: bytes, base: np.ndarray, bound: int, *, skip: np.ndarray | None = None, levels: int = 255
) -> np.ndarray:
    """The samples of one tile and band group.

    Args:
        stream: the RESIDUAL stream.
        base: the base image, uint8 or uint16 (h, w, bands) in 0..levels.
        bound: N, in levels.
        skip: bool (h, w, bands), samples without a residual; their result is the base.
        levels: the largest sample, 255 or 65535.

    Returns:
        The samples, dtype and shape of `base`.

    Raises:
        FormatError: the stream is damaged.
    """
    decoder = entropy.SymbolDecoder(stream, residual_tables())
    pixels = np.empty_like(base)
    for section in sections(*base.shape[:2]):
        section_skip = None if skip is None else skip[section]
        pixels[section] = _SectionDecoder(decoder, base[section], bound, section_skip, levels).decode()
    decoder.finish()
    return pixels


class _SectionDecoder:
    """Decodes one section."""

    def __init__(
        self, decoder: entropy.SymbolDecoder, base: np.ndarray, bound: int, skip: np.ndarray | None, levels: int
    ) -> None:
        self._decoder, self._slots = decoder, SlotReader(decoder)
        self._base, self._bound, self._skip, self._levels = base, bound, skip, levels

    def decode(self) -> np.ndarray:
        """The samples of the section."""
        height, width, count = self._base.shape
        pixels = np.empty_like(self._base)
        slot_levels = 1 + self._slots.integer(2, LEVELS)
        decoded: list[BandState] = []
        for index in band_order(count):
            values = self._used_values()
            base = padded(self._base[..., index])
            if values is not None:
                base = rank_of(base, values)
            band = BandState.begin(base)
            levels = self._levels if values is None else len(values) - 1
            skip = None if self._skip is None else self._skip[..., index]
            self._decode_band(band, decoded, slot_levels, coded_samples((height, width), skip), levels)
            decoded.append(band)
            samples = band.value.full[:height, :width]
            samples = samples if values is None else values[samples]
            if skip is not None:
                samples = np.where(skip, self._base[..., index], samples)
            pixels[..., index] = samples
        return pixels

    def _used_values(self) -> np.ndarray | None:
        """The values that occur, ascending, if the stream lists them: int32."""
        if not self._slots.integer(1, FLAG):
            return None
        if self._bound:
            raise FormatError("damaged: a list of values in a residual layer that is not lossless")
        count = 1 + self._slots.integer(self._levels, WIDE)
        steps = within(self._slots.integers(count, SMALL), 0, self._levels)
        values = np.cumsum(steps + 1, dtype=np.int64) - 1
        return within(values, 0, self._levels).astype(np.int32)

    def _decode_band(
        self, band: BandState, others: Sequence[BandState], slot_levels: int, mask: np.ndarray, levels: int
    ) -> None:
        by_slot = {slot: self._slots.weights(slot.kind, len(others)) for slot in slots(slot_levels)}
        for lattice in LATTICES:
            weights = next(w for slot, w in by_slot.items() if slot.serves(lattice, slot_levels))
            means, spreads = predict(band, others, lattice, weights, levels)
            base, coded = lattice.of(band.base.full), lattice.of(mask)
            coding = symbol_coding(means[coded], spreads[coded], base[coded], weights, self._bound)
            q = np.zeros(base.shape, np.int32)
            q[coded] = from_symbols(self._decoder, coding, levels // (2 * self._bound + 1) + 1)
            store(band, lattice, means, restore(base, q, self._bound, levels))
