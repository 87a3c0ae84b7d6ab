"""MDEI and Loss_MDSE: their features and gradients."""

from __future__ import annotations

import pytest
import torch

from dmecodec.train.mdei import MDEI, EdgeExtraction, mdse_loss


def picture(height: int = 40, width: int = 48, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, 3, height, width, generator=generator)


def test_equal_images_have_no_loss_and_others_do() -> None:
    x = picture()
    y = x.clone()
    y[1] = (y[1] + 0.1 * torch.rand_like(y[1])).clamp(0, 1)
    loss = mdse_loss(x, y)
    assert loss.shape == (2,)
    assert loss.dtype == torch.float32
    assert loss[0] == 0
    assert loss[1] > 0


@pytest.mark.parametrize("size", [(3, 3), (5, 64), (33, 31), (64, 64)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    x = picture(*size)
    assert MDEI()(x).shape == x.shape
    assert torch.isfinite(mdse_loss(x, x.flip(3))).all()


def test_no_parameters_and_no_stored_buffers() -> None:
    mdei = MDEI()
    assert list(mdei.parameters()) == []
    assert mdei.state_dict() == {}


def test_the_gradient_is_exact() -> None:
    x = picture(7, 6, 1).double()
    y = (x + 0.05).requires_grad_()
    mdei = MDEI()
    assert torch.autograd.gradcheck(lambda image: (mdei(image) - mdei(x)).square().mean(), (y,))


def test_gradient_is_finite_on_flat_images() -> None:
    flat = torch.full((1, 3, 16, 16), 0.3, requires_grad=True)
    mdse_loss(picture(16, 16, 1), flat).sum().backward()
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()
    assert flat.grad.abs().max() > 0


@pytest.mark.parametrize("size", [(16, 16), (17, 12), (9, 21)])
def test_edges_of_a_flat_coloured_image_are_zero_up_to_the_border(size: tuple[int, int]) -> None:
    flat = torch.tensor([0.1, 0.5, 0.9]).view(1, 3, 1, 1).expand(1, 3, *size)
    torch.testing.assert_close(EdgeExtraction()(flat), torch.zeros_like(flat), atol=1e-6, rtol=0)


def test_edges_are_at_the_steps_of_the_image() -> None:
    step = torch.zeros(1, 3, 32, 32)
    step[..., 16:] = 1
    edges = EdgeExtraction()(step).abs()
    assert edges[..., 15:17].min() > 0.2
    assert edges[..., :8].max() < 1e-6
    assert edges[..., 24:].max() < 1e-6


def test_horizontal_and_vertical_attention_see_one_axis_each() -> None:
    columns = torch.zeros(1, 3, 24, 24)
    columns[..., 12:] = 1
    mdei = MDEI()
    horizontal, vertical = mdei.horizontal(columns), mdei.vertical(columns)
    assert horizontal[0, 0, 0].std() > 0.01
    assert torch.equal(vertical, torch.full_like(vertical, 0.5))
    rows = columns.transpose(2, 3)
    torch.testing.assert_close(mdei.vertical(rows), horizontal.transpose(2, 3))


def test_brightness_alone_is_no_structure_but_blur_is() -> None:
    x = 0.25 + 0.5 * picture(64, 64, 1)
    shifted = x + 0.05
    blurred = torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    blurred = x + (blurred - x) * 0.05 / (blurred - x).square().mean().sqrt()  # the same MSE
    assert mdse_loss(x, shifted) < 1e-3 * mdse_loss(x, blurred)


def test_autocast_of_the_caller_changes_nothing() -> None:
    x = picture()
    y = x + 0.01 * picture().flip(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = mdse_loss(x, y)
    assert torch.equal(inside, mdse_loss(x, y))
