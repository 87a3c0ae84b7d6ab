"""The filter in the training graph: every crop with the one that suits it best."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..restoration.details import DETAILS, apply, details, mirrored, on_axes


@torch.no_grad()
def best_coefficients(x: Tensor, original: Tensor) -> Tensor:
    """Those that bring each of a batch (b, 3, h, w) nearest to its original: (b, 3, 12)."""
    of_x = details(mirrored(on_axes(x))).flatten(2)
    error = on_axes(original - x).flatten(2)
    gram = (of_x @ of_x.mT).cpu().double()  # Apple's GPUs have no float64
    size = gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    ridge = (1e-5 * size + 1e-9) * torch.eye(DETAILS).double()
    best = torch.linalg.solve(gram + ridge, (of_x @ error.mT).cpu().double())
    return best.mT.to(x.device, x.dtype)


class _Filtered(torch.autograd.Function):
    """The filter with constant coefficients; its own gradient, the axes' roles exchanged."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, coefficients: Tensor) -> Tensor:
        ctx.save_for_backward(coefficients)
        return apply(x, coefficients)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (coefficients,) = ctx.saved_tensors
        of_each_radius = coefficients.unflatten(2, (-1, 3))
        return apply(gradients[0], of_each_radius.transpose(1, 3).flatten(2)), None


def restored(x: Tensor, original: Tensor) -> Tensor:
    """A batch (b, 3, h, w), each image with the filter that brings it nearest to its original.

    As no other is better, the error does not change with the coefficients to first order: the gradient takes them as
    constants.
    """
    x = x.contiguous()
    filtered: Tensor = _Filtered.apply(x, best_coefficients(x, original))  # type: ignore[no-untyped-call]
    return filtered
