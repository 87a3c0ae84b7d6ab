"""The 9/7 wavelet of JPEG 2000 by lifting, packed to the resolution of the latents.

Four levels; every subband is pixel-unshuffled to 1/16, which gives 3 * 256 channels. Borders are symmetric, and the
transform is orthonormal to a few per cent.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Lifting coefficients and the scaling of ISO/IEC 15444-1, annex F.
_ALPHA, _BETA, _GAMMA, _DELTA = (
    -1.586134342059924,
    -0.052980118572961,
    0.882911075530934,
    0.443506852043971,
)
_K = 1.149604398860241

PACKED = 768
FOLDS = (8, 4, 2, 1)  # pixel-unshuffle factor of each level, finest first


def _next(even: Tensor, dim: int) -> Tensor:
    """even[i + 1], the last one repeated."""
    n = even.shape[dim]
    return torch.cat([even.narrow(dim, 1, n - 1), even.narrow(dim, n - 1, 1)], dim)


def _previous(odd: Tensor, dim: int) -> Tensor:
    """odd[i - 1], the first one repeated."""
    return torch.cat([odd.narrow(dim, 0, 1), odd.narrow(dim, 0, odd.shape[dim] - 1)], dim)


def _split(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """One level along `dim` (2 or 3): low and high half band."""
    even, odd = (x[:, :, 0::2], x[:, :, 1::2]) if dim == 2 else (x[..., 0::2], x[..., 1::2])
    even, odd = even.contiguous(), odd.contiguous()
    odd = odd.add(even + _next(even, dim), alpha=_ALPHA)
    even = even.add(odd + _previous(odd, dim), alpha=_BETA)
    odd = odd.add(even + _next(even, dim), alpha=_GAMMA)
    even = even.add(odd + _previous(odd, dim), alpha=_DELTA)
    return even * _K, odd / _K


def _merge(low: Tensor, high: Tensor, dim: int) -> Tensor:
    even, odd = low / _K, high * _K
    even = even.sub(odd + _previous(odd, dim), alpha=_DELTA)
    odd = odd.sub(even + _next(even, dim), alpha=_GAMMA)
    even = even.sub(odd + _previous(odd, dim), alpha=_BETA)
    odd = odd.sub(even + _next(even, dim), alpha=_ALPHA)
    return torch.stack([even, odd], dim + 1).flatten(dim, dim + 1)


def pack(x: Tensor) -> Tensor:
    """Image (b, 3, 16 h, 16 w) to packed coefficients (b, 768, h, w), finest level first."""
    bands = []
    for fold in FOLDS:
        low, high = _split(x, 3)
        x, low_high = _split(low, 2)
        high_low, high_high = _split(high, 2)
        bands.append(F.pixel_unshuffle(torch.cat([low_high, high_low, high_high], 1), fold))
    return torch.cat([*bands, x], 1)


def unpack(coefficients: Tensor) -> Tensor:
    """The inverse of :func:`pack`: (b, 768, h, w) to (b, 3, 16 h, 16 w)."""
    *bands, x = coefficients.split([9 * fold * fold for fold in FOLDS] + [3], 1)
    for band, fold in zip(reversed(bands), reversed(FOLDS), strict=True):
        low_high, high_low, high_high = F.pixel_shuffle(band, fold).chunk(3, 1)
        x = _merge(_merge(x, low_high, 2), _merge(high_low, high_high, 2), 3)
    return x
