"""The passes over one tile, frozen: each predicts means and scale indices, and takes what was coded.

All of it is integers, in tensors of the entropy model's dtype. A position is a row: its channels lie together, so that
the positions of a checkered pass are gathered row by row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .config import Pass
from .parameters import (
    INDEX_COUNT,
    INDEX_UNIT,
    LOG_ENTRIES,
    VALUE_TOP,
    EntropyParameters,
    checkerboard,
)


class ExactPasses:
    """One tile on its way from z-hat to y-hat.

    Args:
        parameters: a frozen entropy model.
        z: integers (1, N, ceil(h / 4), ceil(w / 4)) on its device, in its dtype.
        quality: in 1/32 steps.
        height, width: h and w, latents of the tile.

    Attributes:
        y: y-hat so far, 0 where nothing is decoded yet: int32 (M, h * w) in 1/16 step.
    """

    def __init__(self, parameters: EntropyParameters, z: Tensor, quality: int, height: int, width: int) -> None:
        self._parameters, self._quality = parameters, quality
        self._size = height, width
        wide = parameters.decoder(z.contiguous(memory_format=torch.channels_last), quality)
        features = wide[0, :, :height, :width].permute(1, 2, 0).flatten(0, 1)
        self._where: dict[int | None, Tensor | None] = {None: None}
        self._features: dict[int | None, Tensor] = {None: features}
        for parity in {one.parity for one in parameters.passes if one.parity is not None}:
            where = checkerboard(height, width, parity).flatten().nonzero()[:, 0].to(z.device)
            self._where[parity], self._features[parity] = where, features.index_select(0, where)
        # As later passes see it: values and logarithms of the channels that any of them sees, (h * w, c) each.
        seen = max(one.before for one in parameters.passes)
        self._values, self._logs = (features.new_zeros(len(features), seen) for _ in range(2))
        shape = features.shape[1], features.shape[0]
        # In int32, for float32 would round from 2^24 on.
        self.y = torch.zeros(shape, dtype=torch.int32, device=z.device)

    def __len__(self) -> int:
        """How many passes there are."""
        return len(self._parameters.passes)

    def predict(self, index: int) -> tuple[Tensor, Tensor]:
        """Means in 1/16 step and scale indices 0..63 of a pass at its n positions: integers (c, n)."""
        one = self._parameters.passes[index]
        network = self._parameters.networks[index]
        where, features = self._where[one.parity], self._features[one.parity]
        both = network.exact(features, self._seen(one.before), where, self._quality)
        mean, scale = both.T.contiguous().chunk(2)
        scale_index = scale.add_(INDEX_UNIT // 2).div_(INDEX_UNIT).floor_()
        return mean, scale_index.clamp_(0, INDEX_COUNT - 1)

    def _seen(self, before: int) -> Tensor | None:
        """(1, 2 before, h, w), channels last; None where a pass sees nothing."""
        if not before:
            return None
        seen = torch.cat([self._values[:, :before], self._logs[:, :before]], 1)
        return seen.view(1, *self._size, 2 * before).permute(0, 3, 1, 2)

    def positions(self, index: int, x: Tensor) -> Tensor:
        """(c, h, w) at the positions of a pass: (c, n)."""
        where = self._where[self._parameters.passes[index].parity]
        return x.flatten(1) if where is None else x.flatten(1).index_select(1, where)

    def take(self, index: int, coded: Tensor) -> None:
        """Takes the y-hat of a pass at its n positions: int32 (c, n) in 1/16 step."""
        one = self._parameters.passes[index]
        where = self._where[one.parity]
        y = self.y[one.first : one.end]
        if where is None:
            y.copy_(coded)
        else:
            y.index_copy_(1, where, coded)
        if one.end <= self._values.shape[1]:
            self._show(one, where, coded.T.contiguous())

    def _show(self, one: Pass, where: Tensor | None, rows: Tensor) -> None:
        """Lets later passes see the y-hat (n, c) of a pass."""
        dtype = self._values.dtype
        values = rows.clamp(-VALUE_TOP, VALUE_TOP).to(dtype)
        logs = self._parameters.log_table.to(dtype)[rows.abs().clamp_(max=LOG_ENTRIES - 1)]
        for tensor, source in ((self._values, values), (self._logs, logs)):
            target = tensor[:, one.first : one.end]
            if where is None:
                target.copy_(source)
            else:
                target.index_copy_(0, where, source)
