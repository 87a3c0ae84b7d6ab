"""What a crop might look like from another sensor, in other light, after other processing.

Two thirds of the images at hand come from one survey. Trained on them as they are, the network was 7 to 32 % ahead of
AVIF on crops of each of its five sources, and not at all on images of eight others (docs/research/network.md).
"""

from __future__ import annotations

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

RELIT = 0.35
"""Share of crops in other light: haze, contrast, colours that are scaled a little, each by itself."""
COMPRESSED = 0.35
"""Share of crops that were JPEGs, most with chroma of half the resolution, as drones and web services deliver."""


def relit(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Levels (3, h, w) of 0..255 with other colours, saturation, contrast and brightness."""
    colours = torch.from_numpy(rng.uniform(0.85, 1.1, (3, 1, 1))).to(x.device, x.dtype)
    x = x * colours
    grey = x.mean(0, keepdim=True)
    x = torch.lerp(grey, x, float(rng.uniform(0.4, 1.15)))
    middle = x.mean()
    contrast, shift = float(rng.uniform(0.4, 1.2)), float(rng.uniform(-25, 25))
    return (x - middle) * contrast + middle + shift


def compressed(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Levels (3, h, w) of 0..255 as a JPEG gives them back."""
    pixels = x.round().clamp(0, 255).to("cpu", torch.uint8).permute(1, 2, 0).numpy()
    stream = io.BytesIO()
    halved = rng.random() < 0.8
    quality = int(rng.integers(60, 97))
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling=2 if halved else 0)
    decoded = np.array(Image.open(stream))
    return torch.from_numpy(decoded).permute(2, 0, 1).to(x.device, x.dtype)


def resampled(x: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """Levels (3, h, h) on a grid of another pitch: (3, side, side)."""
    # Orthophotos are resampled as they are rectified, with one kernel or the other.
    mode = "bicubic" if rng.random() < 0.6 else "bilinear"
    return F.interpolate(x[None], (side, side), mode=mode, antialias=True)[0]
