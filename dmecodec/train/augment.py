"""Augmentation of crops: other light, JPEG compression, another resampling kernel.

Two thirds of the training images come from one survey. Trained without augmentation, the network saved 7 to 32 % over
AVIF on crops of each of its five sources, and nothing on images of eight other sources (docs/research/network.md).
"""

from __future__ import annotations

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

RELIT = 0.35
"""Share of crops whose colours, saturation, contrast and brightness are changed."""
COMPRESSED = 0.35
"""Share of crops that pass through JPEG, mostly with 4:2:0 chroma, as images of drones and web services do."""


def relit(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Changes colours, saturation, contrast and brightness of levels (3, h, w) in 0..255; not clamped."""
    colours = torch.from_numpy(rng.uniform(0.85, 1.1, (3, 1, 1))).to(x.device, x.dtype)
    x = x * colours
    grey = x.mean(0, keepdim=True)
    x = torch.lerp(grey, x, float(rng.uniform(0.4, 1.15)))
    middle = x.mean()
    contrast, shift = float(rng.uniform(0.4, 1.2)), float(rng.uniform(-25, 25))
    return (x - middle) * contrast + middle + shift


def compressed(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Passes levels (3, h, w) in 0..255 through a JPEG of quality 60 to 96."""
    pixels = x.round().clamp(0, 255).to("cpu", torch.uint8).permute(1, 2, 0).numpy()
    stream = io.BytesIO()
    subsampled = rng.random() < 0.8
    quality = int(rng.integers(60, 97))
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling=2 if subsampled else 0)
    decoded = np.array(Image.open(stream))
    return torch.from_numpy(decoded).permute(2, 0, 1).to(x.device, x.dtype)


def resampled(x: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """Resamples levels (3, h, h) to (3, side, side)."""
    # Rectification resamples orthophotos with one of these kernels.
    mode = "bicubic" if rng.random() < 0.6 else "bilinear"
    return F.interpolate(x[None], (side, side), mode=mode, antialias=True)[0]
