"""The passes of the frozen entropy model over one tile.

All values are integers in tensors of the dtype of the entropy model. The channels of a position are a row of a matrix,
so the positions of a checkered pass are gathered row by row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .config import Pass
from .parameters import INDEX_COUNT, INDEX_UNIT, LOG_ENTRIES, VALUE_TOP, EntropyParameters, checkerboard


class ExactPasses:
    """Decodes the latents of one tile pass by pass: :meth:`predict`, then :meth:`store`, for each pass in order.

    Args:
        parameters: a frozen entropy model.
        z: integers (1, N, ceil(h / 4), ceil(w / 4)), device and dtype of the entropy model.
        quality: in 1/32 steps.
        height, width: h and w, size of the tile in latents.

    Attributes:
        y: y-hat, 0 where it is not decoded yet: int32 (M, h * w) in 1/16 step.
    """

    def __init__(self, parameters: EntropyParameters, z: Tensor, quality: int, height: int, width: int) -> None:
        self._parameters, self._quality = parameters, quality
        self._size = height, width
        wide = parameters.decoder(z.contiguous(memory_format=torch.channels_last), quality)
        features = wide[0, :, :height, :width].permute(1, 2, 0).flatten(0, 1)
        self._positions: dict[int | None, Tensor | None] = {None: None}
        self._features: dict[int | None, Tensor] = {None: features}
        for parity in {pass_.parity for pass_ in parameters.passes if pass_.parity is not None}:
            positions = checkerboard(height, width, parity).flatten().nonzero()[:, 0].to(z.device)
            self._positions[parity], self._features[parity] = positions, features.index_select(0, positions)
        # The context: values and logarithms of the channels that any pass sees, (h * w, c) each.
        channels = max(pass_.context_channels for pass_ in parameters.passes)
        self._values, self._logs = (features.new_zeros(len(features), channels) for _ in range(2))
        shape = features.shape[1], features.shape[0]
        # int32, as float32 rounds above 2^24.
        self.y = torch.zeros(shape, dtype=torch.int32, device=z.device)

    def __len__(self) -> int:
        """Number of passes."""
        return len(self._parameters.passes)

    def predict(self, index: int) -> tuple[Tensor, Tensor]:
        """Means in 1/16 step and scale indices 0..63 of a pass at its n positions: integers (c, n)."""
        pass_ = self._parameters.passes[index]
        features, positions = self._features[pass_.parity], self._positions[pass_.parity]
        context = self._context(pass_.context_channels)
        outputs = self._parameters.networks[index].exact(features, context, positions, self._quality)
        mean, scale = outputs.T.contiguous().chunk(2)
        scale_index = scale.add_(INDEX_UNIT // 2).div_(INDEX_UNIT).floor_()
        return mean, scale_index.clamp_(0, INDEX_COUNT - 1)

    def _context(self, channels: int) -> Tensor | None:
        """The context of a pass: (1, 2 channels, h, w), channels last; None if it has no channels."""
        if not channels:
            return None
        context = torch.cat([self._values[:, :channels], self._logs[:, :channels]], 1)
        return context.view(1, *self._size, 2 * channels).permute(0, 3, 1, 2)

    def gather(self, index: int, x: Tensor) -> Tensor:
        """The values of x (c, h, w) at the positions of a pass: (c, n)."""
        positions = self._positions[self._parameters.passes[index].parity]
        return x.flatten(1) if positions is None else x.flatten(1).index_select(1, positions)

    def store(self, index: int, y_hat: Tensor) -> None:
        """Stores the y-hat of a pass at its n positions: int32 (c, n) in 1/16 step."""
        pass_ = self._parameters.passes[index]
        positions = self._positions[pass_.parity]
        y = self.y[pass_.first : pass_.end]
        if positions is None:
            y.copy_(y_hat)
        else:
            y.index_copy_(1, positions, y_hat)
        if pass_.end <= self._values.shape[1]:
            self._add_to_context(pass_, positions, y_hat.T.contiguous())

    def _add_to_context(self, pass_: Pass, positions: Tensor | None, rows: Tensor) -> None:
        """Adds the y-hat (n, c) of a pass to the context of later passes."""
        dtype = self._values.dtype
        values = rows.clamp(-VALUE_TOP, VALUE_TOP).to(dtype)
        logs = self._parameters.log_table.to(dtype)[rows.abs().clamp_(max=LOG_ENTRIES - 1)]
        for tensor, source in ((self._values, values), (self._logs, logs)):
            target = tensor[:, pass_.first : pass_.end]
            if positions is None:
                target.copy_(source)
            else:
                target.index_copy_(0, positions, source)
