"""The base image: the linear path of the synthesis in fixed point, bit-exact on every machine.

The floating-point synthesis may differ by one grey level between machines, so a residual cannot be coded relative to
it. Here the shortcut B and the inverse 9/7 wavelet run in integers, on the latents of one tile. The path of the paper
is left out (benchmarks/README.md has the cost). `docs/format.md`, "Base image", is normative.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal, localcontext

import numpy as np

from ..errors import ModelError
from ..format.limits import QUALITY_STEPS
from ..network.wavelet import FOLDS, PACKED
from ..weights.model import Model

GAIN_BITS, LATENT_BITS, WEIGHT_BITS = 24, 13, 24
LATENT_LIMIT = 1 << 22
"""Dequantised latents are clamped to +-512; those of images reach a tenth of it."""
EXACT_LIMIT = 1 << 53
"""float64 holds each integer up to 2^53."""
GREY_BITS = 12
"""Coefficients and pixels are in units of 2^-12 grey level."""
GREY_LIMIT = 1 << 26
"""They are clamped to +-2^14 grey levels, so that 64 bits hold every product."""
LIFT_BITS = 16
LIFTING = (-103949, -3472, 57862, 29066)
"""alpha, beta, gamma and delta of the 9/7 wavelet, times 2^16."""
_ROWS_AT_ONCE = 16
"""Rows of latents that are multiplied at once; it bounds memory."""
LOW_SCALE, HIGH_SCALE = 57007, 75340
"""1 / K and K, times 2^16."""


class LinearBase:
    """Computes the base image of tiles at one quality.

    Args:
        model: a loaded model.
        quality: in 1/32 steps.

    Raises:
        ModelError: the model has no linear path, or its weights are too large for exact arithmetic.
    """

    def __init__(self, model: Model, quality: int) -> None:
        shortcut = model.net.synthesis.shortcut
        if shortcut is None:
            raise ModelError(f"model {model.name} has no linear path, which a bound on the error needs; name another")
        weight = shortcut.weight.detach().cpu().double().numpy()[:, :, 0, 0]
        assert shortcut.bias is not None
        bias = shortcut.bias.detach().cpu().double().numpy()
        # Exact: floats times a power of two, and integers below 2^53 in float64.
        self._weight = np.floor(weight * 2.0**WEIGHT_BITS + 0.5)
        self._bias = np.floor(bias * 2.0 ** (WEIGHT_BITS + LATENT_BITS) + 0.5)
        # No partial sum, in any order, exceeds this for any latents.
        reach = np.abs(self._weight).sum(1) * LATENT_LIMIT + np.abs(self._bias)
        if not (reach < EXACT_LIMIT).all():
            raise ModelError(f"model {model.name}: its linear path is too large for a bound on the error; name another")
        knots = model.net.log_inverse_gain.detach().cpu().double().numpy()
        self._gain = inverse_gains(knots, quality, model.name)

    def image(self, y_hat: np.ndarray, *, grey: bool = False) -> np.ndarray:
        """The pixels of one tile, neither rounded to levels nor clamped to 0..255.

        Args:
            y_hat: int32 (M, h, w), in 1/16 step.
            grey: whether to return the mean of red, green and blue.

        Returns:
            int32 (16 h, 16 w, 1 or 3), in units of 2^-12 grey level (255 levels are white).
        """
        colours = by_colour(self._coefficients(y_hat))
        if grey:  # rounded: a third of an integer is never half-way
            colours = (colours.sum(0, keepdims=True) + 1) // 3
        return np.stack([unpack(band) for band in colours], 2)

    def _coefficients(self, y_hat: np.ndarray) -> np.ndarray:
        """Packed wavelet coefficients of a tile: int32 (768, h, w) in 2^-12 grey level."""
        packed = np.empty((PACKED, *y_hat.shape[1:]), np.int32)
        for top in range(0, y_hat.shape[1], _ROWS_AT_ONCE):
            rows = slice(top, top + _ROWS_AT_ONCE)
            part = packed[:, rows]
            part[...] = self._convolve(y_hat[:, rows]).reshape(part.shape)
        return packed

    def _convolve(self, y_hat: np.ndarray) -> np.ndarray:
        # |y_hat| < 2^29 and gains below 2^32: the products stay below 2^62.
        y = y_hat.reshape(len(y_hat), -1).astype(np.int64) * self._gain[:, None]
        shift = GAIN_BITS + 4 - LATENT_BITS  # 4: y_hat is in 1/16 step
        y = (y + (1 << shift - 1) >> shift).clip(-LATENT_LIMIT, LATENT_LIMIT)
        sums = (self._weight @ y.astype(np.float64) + self._bias[:, None]).astype(np.int64)
        shift = WEIGHT_BITS + LATENT_BITS - GREY_BITS
        return (255 * sums + (1 << shift - 1) >> shift).clip(-GREY_LIMIT, GREY_LIMIT)


def inverse_gains(knots: np.ndarray, quality: int, name: str) -> np.ndarray:
    """floor(2^24 exp(g) + 1/2), with g interpolated between the knots (8, M): int64 (M,).

    Computed in decimals of 60 digits, as the exponential of floats may differ between machines.

    Raises:
        ModelError: a log gain is 5.5 or more.
    """
    low = min(quality // QUALITY_STEPS, len(knots) - 2)
    part = quality - low * QUALITY_STEPS
    if not (knots[low : low + 2] < 5.5).all():
        raise ModelError(f"model {name}: its gains are too large for a bound on the error; name another")
    with localcontext() as context:
        context.prec = 60
        gains = [
            ((Decimal(float(a)) * (QUALITY_STEPS - part) + Decimal(float(b)) * part)
             / QUALITY_STEPS).exp() * 2**GAIN_BITS + Decimal("0.5")
            for a, b in zip(knots[low], knots[low + 1], strict=True)
        ]  # fmt: skip
        return np.array([int(gain.to_integral_value(ROUND_FLOOR)) for gain in gains], np.int64)


def by_colour(packed: np.ndarray) -> np.ndarray:
    """Packed coefficients (768, h, w), ordered by level, subband and colour, to (3, 256, h, w)."""
    size, start, levels = packed.shape[1:], 0, []
    for fold in FOLDS:
        stop = start + 9 * fold * fold
        level = packed[start:stop].reshape(3, 3, fold * fold, *size)
        levels.append(level.swapaxes(0, 1).reshape(3, 3 * fold * fold, *size))
        start = stop
    return np.concatenate([*levels, packed[start:, None]], 1)


def unpack(packed: np.ndarray) -> np.ndarray:
    """The inverse wavelet of one band: int32 (256, h, w) to int32 (16 h, 16 w)."""
    low, end = packed[255].astype(np.int64), 255
    for fold in reversed(FOLDS):
        start = end - 3 * fold * fold
        low_high, high_low, high_high = (_unshuffle(part, fold) for part in np.split(packed[start:end], 3))
        low = _merge(_merge(low, low_high, 0), _merge(high_low, high_high, 0), 1)
        low, end = low.clip(-GREY_LIMIT, GREY_LIMIT), start
    return low.astype(np.int32)


def _unshuffle(channels: np.ndarray, fold: int) -> np.ndarray:
    """int32 (fold^2, h, w) to int64 (fold h, fold w)."""
    _, height, width = channels.shape
    grid = channels.reshape(fold, fold, height, width).transpose(2, 0, 3, 1)
    return grid.reshape(height * fold, width * fold).astype(np.int64)


def _merge(low: np.ndarray, high: np.ndarray, axis: int) -> np.ndarray:
    """One level of the inverse lifting along an axis: (n, ...) and (n, ...) to (2 n, ...)."""
    alpha, beta, gamma, delta = LIFTING
    even, odd = _scaled(low, LOW_SCALE), _scaled(high, HIGH_SCALE)
    for of_even, of_odd in ((delta, gamma), (beta, alpha)):
        even -= _scaled(odd + _shifted(odd, axis, before=True), of_even)
        odd -= _scaled(even + _shifted(even, axis, before=False), of_odd)
    merged = np.stack([even, odd], axis + 1)
    shape = list(low.shape)
    shape[axis] *= 2
    return merged.reshape(shape)


def _scaled(x: np.ndarray, factor: int) -> np.ndarray:
    """x factor / 2^16, rounded half up."""
    x = x * factor
    x += 1 << LIFT_BITS - 1
    x >>= LIFT_BITS
    return x


def _shifted(x: np.ndarray, axis: int, *, before: bool) -> np.ndarray:
    """The neighbour before or after each along an axis; the outermost is its own neighbour."""
    n = x.shape[axis]
    index = [slice(None)] * 2
    index[axis] = slice(0, 1) if before else slice(n - 1, n)
    edge = x[tuple(index)]
    index[axis] = slice(0, n - 1) if before else slice(1, n)
    inner = x[tuple(index)]
    return np.concatenate([edge, inner] if before else [inner, edge], axis)
