"""Layers of the exact path: float while training, integers once frozen, one definition for both.

Whatever selects the frequency table of a symbol must agree bit for bit between encoder and decoder. So the path from
z-hat to scale indices and means runs, once frozen, on integers held in float tensors:

    out = clamp(floor((sum(weight * in) + bias) / 2^shift), low, high)

with integer weights and biases, where rounding half up is already part of the bias. As long as
sum|weight| * max|in| + |bias| < 2^24 for an output channel, every partial sum is exact in float32 (not in bf16 or
TF32), in any order, on any device; :meth:`ExactConv.freeze` chooses the largest weight scale for which that holds. On
CUDA the same integers run in float64, where neither TF32 nor a fast convolution algorithm can touch them.
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
"""Integers up to this are exact in float32."""
GATE_UNIT = 256
"""A hard sigmoid's one, as an integer."""
_MAX_WEIGHT = 32767  # stored as int16
_MAX_SHIFT = 20
_MAX_HALVINGS = 40
_RANGES = {"relu": (0, 255), "signed": (-255, 255), "gate": (0, GATE_UNIT), "none": None}


class ExactnessError(ValueError):
    """A channel cannot be represented within the exactness bound."""


@dataclass(frozen=True)
class Signal:
    """What an integer tensor means: float value = integer / scale, with |integer| <= top.

    Attributes:
        scale: float64 (c,), integers per unit of each channel.
        top: float64 (c,), the largest magnitude of each channel.
    """

    scale: Tensor
    top: Tensor

    def __add__(self, other: Signal) -> Signal:
        """Channels of both, one after the other."""
        return Signal(torch.cat([self.scale, other.scale]), torch.cat([self.top, other.top]))


class ExactConv(nn.Module):
    """A convolution (or its transpose, stride 2) and its activation.

    Args:
        inputs, outputs: channels.
        kernel: height and width.
        up: transposed convolution that doubles both sides.
        groups: as in `torch.nn.Conv2d`.
        activation: "relu", "signed" (linear, clamped when frozen), "gate" (hard sigmoid
            clamp(1/2 + x/4, 0, 1)) or "none" (linear, unclamped).
        knots: rows of the bias, one a quality; 1 is an ordinary bias.
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

    def extra_repr(self) -> str:
        """What print() shows."""
        return f"{tuple(self.weight.shape)}, {self.activation}, {'frozen' if self.frozen else 'float'}"

    def forward(self, x: Tensor, quality: Tensor | int) -> Tensor:
        """Applies the layer.

        Args:
            x: (b, inputs, h, w), floats, or integers in a float tensor once frozen.
            quality: (b,) float in knots while training; an int in 1/32 steps once frozen.
        """
        if self.frozen:
            assert isinstance(quality, int)
            return self._integers(x, quality)
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

    def _integers(self, x: Tensor, quality: int) -> Tensor:
        return self._settled(self._sums(x, quality), self.shift)

    def at(self, x: Tensor, where: Tensor | None, quality: int) -> Tensor:
        """The frozen layer at some positions of one image, or at all of them.

        Args:
            x: (1, inputs, h, w).
            where: int64 (n,), row by row; None is everywhere.
            quality: in 1/32 steps.

        Returns:
            (n, outputs).
        """
        rows = self._sums(x, quality).permute(0, 2, 3, 1).flatten(0, 2)
        rows = rows if where is None else rows.index_select(0, where)
        return self._settled(rows, self.shift.flatten())

    def rows(self, parts: Sequence[Tensor], quality: int) -> Tensor:
        """The frozen layer, of a single tap, at n positions: (n, outputs).

        Args:
            parts: the channels that it sees, some in each, (n, c).
            quality: in 1/32 steps.
        """
        first, *others = [part.T[None, :, :, None] for part in parts]
        if not first.shape[2]:  # a tile of a single latent has no odd position
            return parts[0].new_zeros(0, self.bias.shape[1])
        # As convolutions: matrix products may be told to round (torch.set_float32_matmul_precision).
        own, *weights = self.weight.split([part.shape[1] for part in parts], 1)
        y = F.conv2d(first, own, self._bias(quality).to(first.dtype))
        for x, weight in zip(others, weights, strict=True):
            y += F.conv2d(x, weight)
        return self._settled(y[0, :, :, 0].T, self.shift.flatten())

    def _bias(self, quality: int) -> Tensor:
        return self.bias[0] if len(self.bias) == 1 else interpolate_integers(self.bias, quality)

    def _sums(self, x: Tensor, quality: int) -> Tensor:
        return self._convolve(x, self.weight, self._bias(quality).to(x.dtype))

    def _settled(self, y: Tensor, shift: Tensor) -> Tensor:
        """Shifted and clamped; in place, as fresh memory costs more than the arithmetic."""
        y = y.mul_(shift).floor_()
        limits = _RANGES[self.activation]
        if self.activation == "gate":
            y = y.add_(GATE_UNIT // 2)
        return y if limits is None else y.clamp_(*limits)

    def freeze(self, signal: Signal, scale: Tensor | None = None) -> Signal:
        """Turns the layer into integers, in place.

        Args:
            signal: what the integers that come in mean.
            scale: integers per unit of each output channel, float64 (outputs,); not for gates.

        Returns:
            What the integers that go out mean.

        Raises:
            ExactnessError: where no weight scale meets the bound.
        """
        if self.activation == "gate":
            scale = torch.full((self.bias.shape[1],), GATE_UNIT / 4.0, dtype=torch.float64)
        assert scale is not None
        weight = self._by_output(self.weight.detach().double())
        per_input = (1 / signal.scale, signal.top)
        if self.groups > 1:  # depthwise: output c sees input c alone
            inverse, top = (v[:, None, None] for v in per_input)
        else:
            inverse, top = (v[None, :, None] for v in per_input)
        real, bias = weight.flatten(2) * inverse, self.bias.detach().double()
        for _ in range(_MAX_HALVINGS):
            integers, offsets, shift = _quantise(real * scale[:, None, None], bias * scale, top)
            if (shift >= 0).all() or self.activation not in ("relu", "signed"):
                break  # done, or what comes out has a fixed unit
            # A channel that is next to silent was asked for more resolution than there is.
            scale = torch.where(shift < 0, scale / 2, scale)
        if (shift < 0).any():
            raise ExactnessError(f"{int((shift < 0).sum())} output channels pass 2^24 at any scale")
        self._set(self._by_output(integers.view(weight.shape)), offsets, shift)
        self._note_scales(signal.scale.float(), scale.float())
        limits = _RANGES[self.activation]
        high = float(limits[1]) if limits else float(EXACT_LIMIT)
        return Signal(scale, torch.full_like(scale, high))

    def _by_output(self, weight: Tensor) -> Tensor:
        """Puts the output channel first, and back again."""
        return weight.transpose(0, 1) if self.up else weight

    def _set(self, weight: Tensor, bias: Tensor, shift: Tensor) -> None:
        self.weight = nn.Parameter(weight.float().contiguous(), requires_grad=False)
        self.bias = nn.Parameter(bias.long(), requires_grad=False)
        factor = torch.pow(2.0, -shift.float())[None, :, None, None]
        self.register_buffer("shift", factor, persistent=False)
        self.frozen = True

    def stored(self) -> dict[str, Tensor]:
        """The tensors of a frozen layer as a model file holds them (names as in docs/format.md)."""
        shift = (-torch.log2(self.shift)).flatten()
        return {
            "weight": self.weight.detach().cpu().to(torch.int16),
            "bias": self.bias.detach().cpu().to(torch.int32),
            "shift": shift.cpu().to(torch.uint8),
            "scale_in": self.scale_in.cpu(),
            "scale_out": self.scale_out.cpu(),
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Becomes the frozen layer that :meth:`stored` gave."""
        expected = (self.weight.shape, self.bias.shape, self.bias.shape[1:])
        if tuple(tensors[name].shape for name in ("weight", "bias", "shift")) != expected:
            raise ValueError("shape does not fit the configuration")
        self._set(tensors["weight"], tensors["bias"], tensors["shift"])
        self._note_scales(tensors["scale_in"], tensors["scale_out"])

    def _note_scales(self, scale_in: Tensor, scale_out: Tensor) -> None:
        """Keeps what the integers mean; inference never looks at it, :meth:`thaw` does."""
        self.register_buffer("scale_in", scale_in, persistent=False)
        self.register_buffer("scale_out", scale_out, persistent=False)

    def thaw(self) -> tuple[Tensor, Tensor]:
        """Float weight and bias of a frozen layer, as exact as the integers are."""
        scale, step = self.scale_out.double(), self.shift.double().flatten()
        weight = self._by_output(self.weight.detach().double())
        shape = (-1, 1, 1, 1) if self.groups > 1 else (1, -1, 1, 1)
        weight = weight * self.scale_in.view(shape) * (step / scale)[:, None, None, None]
        # freeze() put half a unit into the bias, to round; with shift 0 there is nothing to round.
        half = torch.where(step < 1, 0.5 / step, 0.0)
        bias = (self.bias.double() - half) * step / scale
        return self._by_output(weight).float().contiguous(), bias.float()


class ExactLayers(nn.ModuleList):
    """A list of exact layers."""

    def __iter__(self) -> Iterator[ExactConv]:
        return cast(Iterator[ExactConv], super().__iter__())


def _quantise(real: Tensor, bias: Tensor, top: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Integer weights, biases (rounding included) and shifts, each channel as fine as is exact.

    The shift is -1 where not even the coarsest is.
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
