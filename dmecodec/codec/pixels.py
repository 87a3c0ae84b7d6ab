"""What the network sees of an image: three channels of 0..1, whatever its bands."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..base.boxes import Box
from ..base.threads import side_by_side
from ..images.source import Source
from ..network.config import STRIDE
from .fill_before_analysis import fill
from .samples import to_network, to_three


def network_pixels(source: Source, box: Box, group: int, device: torch.device) -> tuple[Tensor, np.ndarray | None]:
    """Bands of a group in a box, filled where they are not valid.

    Returns:
        float32 (1, 3, h, w), channels last, the last row and column repeated to a multiple of 16; and which samples are
        valid, bool (height, width, c), or None where all are.
    """
    samples = source.samples(box, group)
    valid = source.valid(box, samples, group)
    x = _channels_first(to_network(samples, source.layout, group), device)
    if valid is not None:
        holes = _channels_first(valid, device)
        (x,) = side_by_side(lambda where: fill(x, where), [holes], device)
    if box.width % STRIDE or box.height % STRIDE:
        x = F.pad(x, (0, -box.width % STRIDE, 0, -box.height % STRIDE), mode="replicate")
    return to_three(x).contiguous(memory_format=torch.channels_last), valid


def _channels_first(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(array).to(device).permute(2, 0, 1)[None]
