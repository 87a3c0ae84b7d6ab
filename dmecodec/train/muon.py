"""Muon: orthogonalised momentum for weight matrices (Jordan et al., 2024).

`torch.optim.Muon` accepts matrices only. Here the kernel of a convolution is flattened to (outputs, all other axes).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..base.processor import computes_in_bf16

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # the quintic of the authors
_STEPS = 5


def orthogonalise(x: Tensor) -> Tensor:
    """Approximates the nearest orthogonal matrix of x (n, m): singular values between 0.6 and 1.3, bfloat16.

    A Newton-Schulz iteration with products in bfloat16. A CPU that emulates bfloat16 computes in float32.
    """
    a, b, c = _NEWTON_SCHULZ
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    emulated = x.device.type == "cpu" and not computes_in_bf16()
    x = (x.float() / (x.norm() + 1e-7)).to(torch.float32 if emulated else torch.bfloat16)
    for _ in range(_STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).bfloat16()


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum; the root mean square of a step is 0.2 `lr`, as of an Adam step."""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Updates each parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                mean = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                update = orthogonalise(p.grad.lerp(mean, group["momentum"]).flatten(1))
                size = max(update.shape) ** 0.5
                p.add_(update.view(p.shape).to(p.dtype), alpha=-0.2 * group["lr"] * size)
