"""The restoration filter in the training graph: each crop gets its least-squares filter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..restoration.details import DETAILS, apply, details, mirrored, on_axes


@torch.no_grad()
def best_coefficients(x: Tensor, original: Tensor) -> Tensor:
    """The least-squares coefficients of each image of a batch (b, 3, h, w): (b, 3, 12)."""
    details_of_x = details(mirrored(on_axes(x))).flatten(2)
    error = on_axes(original - x).flatten(2)
    gram = (details_of_x @ details_of_x.mT).cpu().double()  # MPS has no float64
    size = gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    ridge = (1e-5 * size + 1e-9) * torch.eye(DETAILS).double()
    best = torch.linalg.solve(gram + ridge, (details_of_x @ error.mT).cpu().double())
    return best.mT.to(x.device, x.dtype)


class _Filtered(torch.autograd.Function):
    """The filter with constant coefficients; its gradient is the filter with transposed axes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, coefficients: Tensor) -> Tensor:
        ctx.save_for_backward(coefficients)
        return apply(x, coefficients)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (coefficients,) = ctx.saved_tensors
        by_radius = coefficients.unflatten(2, (-1, 3))
        return apply(gradients[0], by_radius.transpose(1, 3).flatten(2)), None


def restored(x: Tensor, original: Tensor) -> Tensor:
    """Filters each image of a batch (b, 3, h, w) with its least-squares coefficients.

    There the derivative of the squared error by the coefficients is zero, so the gradient takes them as constants.
    """
    x = x.contiguous()
    filtered: Tensor = _Filtered.apply(x, best_coefficients(x, original))  # type: ignore[no-untyped-call]
    return filtered
