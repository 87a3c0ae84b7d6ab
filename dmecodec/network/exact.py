"""Layers of the exact path: floats in training, integers once frozen, in one definition.

The frequency table of each symbol must be the same in encoder and decoder. So the path from z-hat to means and scale
indices runs, once frozen, on integers in float tensors:

    out = clamp(floor((sum(weight * in) + bias) / 2^shift), low, high)

Weights and biases are integers; the bias includes the half that rounds to nearest. If
sum|weight| * max|in| + |bias| < 2^24 for an output channel, each partial sum is exact in float32 (not in bf16 or
TF32), in any order, on any device. :meth:`ExactConv.freeze` chooses the largest weight scale that keeps this bound. On
CUDA the same integers run in float64, as float32 may be rounded to TF32 there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .depthwise import depthwise
from .knots import interpolate_integers, interpolate_knots

EXACT_LIMIT = 1 << 24
"""float32 holds each integer up to 2^24."""
GATE_UNIT = 256
"""The integer that stands for 1 in the output of a hard sigmoid."""
_MAX_WEIGHT = 32767  # stored as int16
_MAX_SHIFT = 20
_MAX_HALVINGS = 40
_RANGES = {"relu": (0, 255), "signed": (-255, 255), "gate": (0, GATE_UNIT), "none": None}


class ExactnessError(ValueError):
    """No integer weights of a layer meet the exactness bound."""


@dataclass(frozen=True)
class Signal:
    """The meaning of an integer tensor: value = integer / scale, |integer| <= top.

    Attributes:
        scale: float64 (c,), integers per unit of each channel.
        top: float64 (c,), largest magnitude of the integers of each channel.
    """

    scale: Tensor
    top: Tensor

    def __add__(self, other: Signal) -> Signal:
        """Concatenates the channels."""
        return Signal(torch.cat([self.scale, other.scale]), torch.cat([self.top, other.top]))


class ExactConv(nn.Module):
    """A convolution, or a transposed convolution of stride 2, and its activation.

    Args:
        inputs, outputs: number of channels.
        kernel: height and width.
        up: whether it is a transposed convolution, which doubles both sides.
        groups: as in `torch.nn.Conv2d`.
        activation: "relu", "signed" (linear, clamped once frozen), "gate" (hard sigmoid clamp(1/2 + x/4, 0, 1)) or
            "none" (linear, unclamped).
        knots: rows of the bias, one for each knot of the quality; 1 is a bias that does not depend on it.
    """

    shift: Tensor
    scale_in: Tensor
    scale_out: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int] = (1, 1),
        *,
        up: bool = False,
        groups: int = 1,
        activation: str = "relu",
        knots: int = 1,
    ) -> None:
        super().__init__()
        shape = (inputs, outputs) if up else (outputs, inputs // groups)
        self.weight = nn.Parameter(torch.empty(*shape, *kernel))
        self.bias = nn.Parameter(torch.zeros(knots, outputs))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.padding = (kernel[0] // 2, kernel[1] // 2)
        self.up, self.groups, self.activation = up, groups, activation
        self.frozen = False

    def forward(self, x: Tensor, quality: Tensor | int) -> Tensor:
        """Applies the layer.

        Args:
            x: (b, inputs, h, w), floats; once frozen, integers in a float tensor.
            quality: (b,) float in 0..7; once frozen, an int in 1/32 steps.
        """
        if self.frozen:
            assert isinstance(quality, int)
            return self._shift_and_clamp(self._sums(x, quality), self.shift)
        assert isinstance(quality, Tensor)
        if self.bias.shape[0] == 1:
            y = self._convolve(x, self.weight, self.bias[0])
        else:
            bias = interpolate_knots(self.bias, quality)
            y = self._convolve(x, self.weight, None)
            y = y + bias[:, :, None, None].to(y.dtype)
        if self.activation == "relu":
            return F.relu(y)
        return (0.5 + 0.25 * y).clamp(0, 1) if self.activation == "gate" else y

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.up:
            return F.conv_transpose2d(x, weight, bias, stride=2, padding=self.padding, output_padding=1)
        if self.groups > 1:
            return depthwise(x, weight, bias)
        return F.conv2d(x, weight, bias, padding=self.padding)

    def at_positions(self, x: Tensor, positions: Tensor | None, quality: int) -> Tensor:
        """Applies the frozen layer to one image, and gathers some positions.

        Args:
            x: (1, inputs, h, w).
            positions: int64 (n,), indices in row-major order; None is all positions.
            quality: in 1/32 steps.

        Returns:
            (n, outputs).
        """
        rows = self._sums(x, quality).permute(0, 2, 3, 1).flatten(0, 2)
        rows = rows if positions is None else rows.index_select(0, positions)
        return self._shift_and_clamp(rows, self.shift.flatten())

    def on_rows(self, parts: Sequence[Tensor], quality: int) -> Tensor:
        """Applies the frozen layer, of kernel 1x1, to n positions given as rows.

        Args:
            parts: integers (n, c) each; together they are the input channels in order.
            quality: in 1/32 steps.

        Returns:
            (n, outputs).
        """
        first, *others = parts
        if not len(first):  # a tile of 1 x 1 latents has no odd position
            return first.new_zeros(0, self.bias.shape[1])
        first_weight, *weights = self.weight.split([part.shape[1] for part in parts], 1)
        y = _products(first, first_weight, self._bias(quality).to(first.dtype))
        for rows, weight in zip(others, weights, strict=True):
            y += _products(rows, weight, None)
        return self._shift_and_clamp(y, self.shift.flatten())

    def _bias(self, quality: int) -> Tensor:
        return self.bias[0] if len(self.bias) == 1 else interpolate_integers(self.bias, quality)

    def _sums(self, x: Tensor, quality: int) -> Tensor:
        return self._convolve(x, self.weight, self._bias(quality).to(x.dtype))

    def _shift_and_clamp(self, y: Tensor, shift: Tensor) -> Tensor:
        """floor(y / 2^shift), then the activation; in place, as new memory costs more than the arithmetic."""
        y = y.mul_(shift).floor_()
        limits = _RANGES[self.activation]
        if self.activation == "gate":
            y = y.add_(GATE_UNIT // 2)
        return y if limits is None else y.clamp_(*limits)

    def freeze(self, signal: Signal, scale: Tensor | None = None) -> Signal:
        """Replaces weights and biases by integers, in place.

        Args:
            signal: meaning of the input integers.
            scale: integers per unit of each output channel, float64 (outputs,); gates have a fixed one.

        Returns:
            Meaning of the output integers.

        Raises:
            ExactnessError: no weight scale meets the bound.
        """
        if self.activation == "gate":
            scale = torch.full((self.bias.shape[1],), GATE_UNIT / 4.0, dtype=torch.float64)
        assert scale is not None
        weight = self._output_first(self.weight.detach().double())
        per_input = (1 / signal.scale, signal.top)
        if self.groups > 1:  # depthwise: output c sees input c alone
            inverse, top = (v[:, None, None] for v in per_input)
        else:
            inverse, top = (v[None, :, None] for v in per_input)
        real, bias = weight.flatten(2) * inverse, self.bias.detach().double()
        for _ in range(_MAX_HALVINGS):
            integers, offsets, shift = _quantise(real * scale[:, None, None], bias * scale, top)
            if (shift >= 0).all() or self.activation not in ("relu", "signed"):
                break  # each channel fits, or its output has a fixed unit
            # The weights of a channel with tiny values are too large at this scale: halve its resolution.
            scale = torch.where(shift < 0, scale / 2, scale)
        if (shift < 0).any():
            count = int((shift < 0).sum())
            raise ExactnessError(f"the weights of {count} output channels are too large: sums exceed 2^24")
        self._set_integers(self._output_first(integers.view(weight.shape)), offsets, shift)
        self._set_scales(signal.scale.float(), scale.float())
        limits = _RANGES[self.activation]
        high = float(limits[1]) if limits else float(EXACT_LIMIT)
        return Signal(scale, torch.full_like(scale, high))

    def _output_first(self, weight: Tensor) -> Tensor:
        """Moves the output channels to the front; its own inverse."""
        return weight.transpose(0, 1) if self.up else weight

    def _set_integers(self, weight: Tensor, bias: Tensor, shift: Tensor) -> None:
        self.weight = nn.Parameter(weight.float().contiguous(), requires_grad=False)
        self.bias = nn.Parameter(bias.long(), requires_grad=False)
        factor = torch.pow(2.0, -shift.float())[None, :, None, None]
        self.register_buffer("shift", factor, persistent=False)
        self.frozen = True

    def stored(self) -> dict[str, Tensor]:
        """The tensors of the frozen layer for a model file, named as in docs/format.md."""
        shift = (-torch.log2(self.shift)).flatten()
        return {
            "weight": self.weight.detach().cpu().to(torch.int16),
            "bias": self.bias.detach().cpu().to(torch.int32),
            "shift": shift.cpu().to(torch.uint8),
            "scale_in": self.scale_in.cpu(),
            "scale_out": self.scale_out.cpu(),
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Sets the tensors that :meth:`stored` returned; the layer is frozen then.

        Raises:
            ValueError: a shape does not match.
        """
        expected = (self.weight.shape, self.bias.shape, self.bias.shape[1:])
        if tuple(tensors[name].shape for name in ("weight", "bias", "shift")) != expected:
            raise ValueError("the shape of a tensor of the exact path does not match the configuration")
        self._set_integers(tensors["weight"], tensors["bias"], tensors["shift"])
        self._set_scales(tensors["scale_in"], tensors["scale_out"])

    def _set_scales(self, scale_in: Tensor, scale_out: Tensor) -> None:
        """Sets the meaning of the integers, which only :meth:`thaw` uses."""
        self.register_buffer("scale_in", scale_in, persistent=False)
        self.register_buffer("scale_out", scale_out, persistent=False)

    def thaw(self) -> tuple[Tensor, Tensor]:
        """The float weight and bias that the integers of a frozen layer represent."""
        scale, step = self.scale_out.double(), self.shift.double().flatten()
        weight = self._output_first(self.weight.detach().double())
        shape = (-1, 1, 1, 1) if self.groups > 1 else (1, -1, 1, 1)
        weight = weight * self.scale_in.view(shape) * (step / scale)[:, None, None, None]
        # freeze() added half a unit to the bias, for rounding; not with shift 0.
        half = torch.where(step < 1, 0.5 / step, 0.0)
        bias = (self.bias.double() - half) * step / scale
        return self._output_first(weight).float().contiguous(), bias.float()


def _products(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Rows (n, c) times a weight (outputs, c, 1, 1), plus a bias: (n, outputs).

    It is a convolution, as torch.set_float32_matmul_precision can make matrix products inexact. On one thread torch
    leaves this one to a BLAS. That of oneDNN takes a third of the time on processors of AMD.
    """
    x = rows.T[None, :, None]
    if x.is_cpu and x.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        y = torch.ops.aten.mkldnn_convolution(x, weight, bias, (0, 0), (1, 1), (1, 1), 1)
    else:
        y = F.conv2d(x, weight, bias)
    return y[0, :, 0].T


class ExactLayers(nn.ModuleList):
    """A list of exact layers."""

    def __iter__(self) -> Iterator[ExactConv]:
        return cast(Iterator[ExactConv], super().__iter__())


def _quantise(real: Tensor, bias: Tensor, top: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Integer weights, biases (with the half for rounding) and shifts: of each channel the finest that is exact.

    A shift of -1 means that none is exact.
    """
    outputs = real.shape[0]
    shift = torch.full((outputs,), -1, dtype=torch.int64)
    integers, offsets = torch.zeros_like(real), torch.zeros_like(bias)
    for candidate in range(_MAX_SHIFT + 1):
        weight = torch.round(real * 2.0**candidate)
        half = 2.0 ** (candidate - 1) if candidate else 0.0
        offset = torch.round(bias * 2.0**candidate) + half
        reach = (weight.abs() * top).sum((1, 2)) + offset.abs().amax(0)
        fits = (reach < EXACT_LIMIT) & (weight.abs().amax((1, 2)) <= _MAX_WEIGHT)
        integers[fits], offsets[:, fits] = weight[fits], offset[:, fits]
        shift[fits] = candidate
    return integers, offsets, shift


def gate(x: Tensor, g: Tensor, *, base: int, frozen: bool) -> Tensor:
    """x * (base + g) for a gate g in 0..1; frozen: floor((x * (256 base + g) + 128) / 256)."""
    if not frozen:
        return x * (base + g)
    product = (base * GATE_UNIT + g).mul_(x)
    return product.add_(GATE_UNIT // 2).div_(GATE_UNIT).floor_()
