"""What the linear path of a model lacks in colour, found by the model itself.

The network of the synthesis corrects the colours of its linear path: on the mean, by an affine map of red, green and
blue that depends on the quality alone. It is fitted here to a few pictures of noise, which the model analyses and
synthesises once for each quality. With it a reduced image comes within a decibel of the whole decode.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..base.fork import Lock
from ..network.dmenet import DMENet
from ..network.knots import knots_of
from ..network.parameters import MEAN_UNIT
from ..weights.model import Model
from .analysis import latents_of
from .synthesis import linear_image, synthesise

_SIDE, _COUNT, _BORDER, _CELL = 128, 4, 16, 8
"""Pixels along a picture and how many pictures; what is left out at the border; pixels along what is averaged."""
_BRIGHTNESS, _LIGHT, _COLOUR = 0.45, 0.18, 0.1
"""Of the pictures: their mean, the strength of what red, green and blue share, and of what each has by itself."""
_fitted: WeakKeyDictionary[DMENet, dict[int, Tensor]] = WeakKeyDictionary()
"""By network and quality."""
_lock = Lock()


def corrected(model: Model, x: Tensor, quality: int) -> Tensor:
    """A linear image (3, h, w) with the colours that the whole synthesis would give it on the mean."""
    with _lock:
        maps = _fitted.setdefault(model.net, {})
        if quality not in maps:
            maps[quality] = _fit(model, quality)
        matrix = maps[quality].to(x)
    flat = torch.addmm(matrix[:, 3:], matrix[:, :3], x.reshape(3, -1))
    return flat.view(x.shape)


def _fit(model: Model, quality: int) -> Tensor:
    """The affine map (3, 4) by least squares, between means of both images."""
    x = _pictures().to(model.device)
    knots = knots_of(quality, model.device)
    y = latents_of(model, x.contiguous(memory_format=torch.channels_last))
    y_hat = torch.round(y * model.net.gain(knots)) * MEAN_UNIT
    linear, whole = (_colours(image(model, y_hat, quality)) for image in (linear_image, synthesise))
    known = torch.cat([linear, torch.ones_like(linear[:, :1])], 1)
    return torch.linalg.lstsq(known, whole).solution.T


def _colours(images: Tensor) -> Tensor:
    """Means over cells, without the borders: float64 (n, 3)."""
    inner = images[:, :, _BORDER:-_BORDER, _BORDER:-_BORDER].cpu().double()
    return F.avg_pool2d(inner, _CELL).permute(0, 2, 3, 1).reshape(-1, 3)


def _pictures() -> Tensor:
    """Noise of every scale, its strength falling as in a photograph: (n, 3, h, w) in 0..1."""
    rng = np.random.default_rng(0)
    total = torch.full((_COUNT, 3, _SIDE, _SIDE), _BRIGHTNESS)
    for cells in (2, 4, 8, 16, 32, 64):
        for channels, strength in ((1, _LIGHT), (3, _COLOUR)):
            noise = torch.from_numpy(rng.integers(-255, 256, (_COUNT, channels, cells, cells)) / 147.0).float()
            total += F.interpolate(noise, size=(_SIDE, _SIDE), mode="bicubic") * (strength * (2 / cells) ** 0.7)
    return total.clamp(0, 1)
