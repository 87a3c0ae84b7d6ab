"""Gradients and steps with implementations of their own: depthwise convolutions, Muon, parts of a batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dmecodec.network.depthwise import DepthwiseConv
from dmecodec.train.parallel import Parts


def _gradients(layer: nn.Module, call: object, x: Tensor) -> list[Tensor]:
    layer.zero_grad()
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = call(x)  # type: ignore[operator]
    (y.float() ** 3 * torch.arange(y.shape[3])).sum().backward()
    assert x.grad is not None
    return [y.detach(), x.grad, *(p.grad for p in layer.parameters() if p.grad is not None)]


def _same(ours: list[Tensor], theirs: list[Tensor], tolerance: float) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert (a.float() - b.float()).abs().max() <= tolerance * b.float().abs().max()


@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (1, 9), (9, 1), (7, 7)])
@pytest.mark.parametrize("shape", [(2, 8, 16, 16), (1, 6, 5, 12), (3, 4, 1, 1)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_depthwise_gradients(kernel: tuple[int, int], shape: tuple[int, ...], layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    layer = DepthwiseConv(shape[1], *kernel)
    x = torch.randn(shape).contiguous(memory_format=layout)
    theirs = _gradients(layer, lambda v: nn.Conv2d.forward(layer, v), x)
    _same(_gradients(layer, layer, x), theirs, 1e-5)


@pytest.mark.parametrize("side", [3, 5])
def test_depthwise_gradients_in_bfloat16(side: int) -> None:
    torch.manual_seed(0)
    layer = DepthwiseConv(8, side, side)
    x = torch.randn(2, 8, 16, 16)
    exact = _gradients(layer, lambda v: nn.Conv2d.forward(layer, v), x)

    def rounded(v: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return layer(v)

    _same(_gradients(layer, rounded, x), exact, 0.03)


@pytest.mark.parametrize("shape", [(24, 200), (200, 24)])
def test_muon_orthogonalises(shape: tuple[int, int]) -> None:
    muon = pytest.importorskip("dmecodec.train.muon")
    torch.manual_seed(0)
    spread = torch.logspace(0, -2, 24)  # the singular values
    x = torch.randn(shape) * (spread if shape[1] == 24 else spread[:, None])
    orthogonal = muon.orthogonalise(x).float()
    values = torch.linalg.svdvals(orthogonal)
    assert values.min() > 0.6 and values.max() < 1.3
    left, _, right = torch.linalg.svd(x, full_matrices=False)
    assert (orthogonal * (left @ right)).sum() / orthogonal.norm() / 24**0.5 > 0.95


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_parts_of_a_batch_give_the_gradient_of_the_whole(batch: int) -> None:
    x = torch.rand(batch, 4)
    used, unused = torch.nn.Parameter(torch.rand(4)), torch.nn.Parameter(torch.rand(4))
    fixed = torch.nn.Parameter(torch.rand(4), requires_grad=False)

    def loss(part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        errors = (x[part] * used * fixed).sum(1) ** 2
        return errors.mean(), torch.stack([errors.mean(), x[part].mean()])

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        mean, values = Parts(torch.device("cpu")).backward(loss, batch, [used, unused, fixed])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    whole, expected = loss(slice(0, batch))
    assert torch.allclose(mean, whole) and torch.allclose(values, expected)
    assert used.grad is not None
    assert torch.allclose(used.grad, torch.autograd.grad(whole, used)[0])
    assert unused.grad is None and fixed.grad is None
