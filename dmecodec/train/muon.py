"""Muon: orthogonalised momentum for weight matrices (Jordan et al., 2024).

`torch.optim.Muon` accepts matrices only. Here the kernel of a convolution is flattened to (outputs, all other axes).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # the quintic of the authors
_STEPS = 5


def orthogonalise(x: Tensor) -> Tensor:
    """Approximates the nearest orthogonal matrix of x (n, m): singular values between 0.6 and 1.3, bfloat16.

    The steps of the iteration are polynomials of the Gram matrix, the smaller one. They are multiplied with each other,
    and only their product with `x`. They need float32, or small singular values are lost.
    """
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = x.float() / (x.norm() + 1e-7)
    gram = x @ x.T
    product = step = _newton_schulz(gram)
    for _ in range(_STEPS - 1):
        gram = step @ gram @ step
        step = _newton_schulz(gram)
        product = step @ product
    x = product.bfloat16() @ x.bfloat16()
    return x.T if tall else x


def _newton_schulz(gram: Tensor) -> Tensor:
    """The factor of one step of the iteration: a + b gram + c gram^2."""
    a, b, c = _NEWTON_SCHULZ
    step = torch.addmm(gram, gram, gram, beta=b, alpha=c)
    step.diagonal().add_(a)
    return step


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
