"""Muon: momentum, orthogonalised, for weight matrices (Jordan et al., 2024).

`torch.optim.Muon` takes matrices only; here a convolution's kernel counts as the matrix (outputs, everything else).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # the quintic that the method's authors tuned
_STEPS = 5


def orthogonalise(x: Tensor) -> Tensor:
    """The nearest orthogonal matrix, roughly: singular values end near 1, between 0.6 and 1.3.

    The iteration's steps are polynomials of the Gram matrix, which is small: they are multiplied with one another
    first and with `x` once. Those of a Gram matrix need float32, or small singular values drown.
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
    """What one step of the iteration multiplies by: a + b gram + c gram^2."""
    a, b, c = _NEWTON_SCHULZ
    step = torch.addmm(gram, gram, gram, beta=b, alpha=c)
    step.diagonal().add_(a)
    return step


class Muon(torch.optim.Optimizer):
    """Nesterov momentum of 0.95; a step has the root mean square of an Adam step of 0.2 `lr`."""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
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
