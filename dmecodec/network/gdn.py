"""Generalised divisive normalisation in its plain, folded form.

Training uses `GDN` of CompressAI, which reparametrises beta and gamma to keep them positive. The deployed graph holds
beta and gamma themselves.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CHUNK = 1 << 15
"""Positions normalised at a time; they fit in the cache of the processor."""


class PlainGDN(nn.Module):
    """x / sqrt(beta + gamma * x^2), or times the root for the inverse; (b, c, h, w) to the same."""

    beta: Tensor
    gamma: Tensor

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.register_buffer("beta", torch.ones(channels))
        self.register_buffer("gamma", 0.1 * torch.eye(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises each position across its channels. Works in place unless x requires a gradient."""
        if x.requires_grad:
            norm = F.conv2d(x * x, self.gamma[:, :, None, None], self.beta)
            return x * (norm.sqrt() if self.inverse else norm.rsqrt())
        for chunk in x.split(max(1, _CHUNK // x.shape[3]), 2):
            norm = F.conv2d(chunk * chunk, self.gamma[:, :, None, None], self.beta)
            chunk.mul_(norm.sqrt_() if self.inverse else norm.rsqrt_())
        return x


GDNFactory = Callable[..., nn.Module]


def fold_gdn(state: dict[str, Tensor], prefix: str, gdn: nn.Module) -> None:
    """Replaces the entries of a CompressAI `GDN` at `prefix` in a state dict by the folded beta and gamma."""
    for name in [key for key in state if key.startswith(prefix)]:
        del state[name]
    with torch.no_grad():
        state[prefix + "beta"] = gdn.beta_reparam(gdn.beta).detach().clone()  # type: ignore[operator]
        state[prefix + "gamma"] = gdn.gamma_reparam(gdn.gamma).detach().clone()  # type: ignore[operator]
