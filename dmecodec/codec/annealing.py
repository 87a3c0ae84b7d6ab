"""The encoder's last effort: latents that gradient descent improves for this one image.

Stochastic Gumbel annealing (Yang, Bamler and Mandt, 2020): each latent is rounded up or down by chance, the nearer
integer more likely so, and ever more so as the temperature falls. Through that the cost R + lambda D has a gradient,
that of the passes' contexts and of the whole synthesis included. The format and the decoder know nothing of it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from ..base.device import autocast
from ..base.threads import side_by_side
from ..network.config import Pass
from ..network.knots import knots_of
from ..network.lambdas import error_price
from ..network.likelihood import gaussian_likelihood
from ..network.parameters import EntropyParameters
from ..network.thaw import thaw
from ..weights.model import Model
from .synthesis import synthesise
from .tile import channels_of, encode_symbols, hyper_latents

STEPS = 100
BLOCK = 256
"""Side in pixels of what is improved at a time, as if it were an image of its own."""
_RATE = 0.005
_HOT, _COLD, _COOLING = 0.5, 0.05, 2.5
_NEAR = 1e-4


class Annealer:
    """Improves latents; holds the float form of a model's entropy parameters."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._ended = threading.Event()
        with torch.inference_mode(False):
            self.parameters = EntropyParameters(model.net.config).float().to(model.device)
            thaw(self.parameters, model.net.parameters_of_y)
            self.parameters.requires_grad_(False)

    def improve_all(self, blocks: Sequence[tuple[Tensor, Tensor]], quality: int) -> list[Tensor]:
        """:meth:`improve` of several blocks side by side; all end soon where one fails or the user interrupts."""
        try:
            return side_by_side(lambda block: self.improve(*block, quality), blocks, self.model.device)
        except BaseException:
            self._ended.set()
            raise

    def improve(self, x: Tensor, y: Tensor, quality: int) -> Tensor:
        """Better latents of a block, or the same where none are found.

        Args:
            x: pixels (1, 3, 16 h, 16 w) in 0..1.
            y: (1, M, h, w) float32, the gain applied.
            quality: in 1/32 steps.
        """
        with torch.inference_mode(False), torch.enable_grad():
            x, start = x.clone(), y.clone()
            better = self._descend(x, start, quality)
        return min((y, better), key=lambda latents: self._cost(x, latents, quality))

    def _descend(self, x: Tensor, start: Tensor, quality: int) -> Tensor:
        knots = knots_of(quality, x.device)
        z = hyper_latents(self.model, start).clone().to(x.device)
        with torch.no_grad():
            features = self.parameters.decoder(z, knots)[:, :, : start.shape[2], : start.shape[3]]
            gain = self.model.net.inverse_gain(knots).clone()
        chance = torch.Generator(x.device).manual_seed(0)  # the same file every time
        y = start.clone().requires_grad_()
        descent = torch.optim.Adam([y], _RATE, betas=(0.9, 0.99))
        for step in range(STEPS):
            if self._ended.is_set():
                break
            done = step / STEPS
            temperature = max(_COLD, _HOT * math.exp(-_COOLING * done))
            quantise = partial(_by_chance, temperature, chance)
            with autocast(self.model.device):
                y_hat, likelihood = self.parameters.run_passes(y, features, knots, quantise)
                latents = (y_hat * gain).contiguous(memory_format=torch.channels_last)
                seen = self.model.net.synthesis(latents, knots)
            cost = error_price(quality) * (seen - x).square().sum() - likelihood.log2().sum()
            (y.grad,) = torch.autograd.grad(cost, y)
            descent.param_groups[0]["lr"] = _RATE * min(1.0, 2 * (1 - done))
            descent.step()
        return y.detach()

    @torch.inference_mode()
    def _cost(self, x: Tensor, y: Tensor, quality: int) -> float:
        """Bits and the worth of the error, as coded."""
        z, coded, y_hat = encode_symbols(self.model, y, quality)
        bits = self.model.z_tables.bits(z.ravel(), channels_of(z.shape))
        bits += sum(self.model.y_tables.bits(*one) for one in coded)
        seen = synthesise(self.model, torch.from_numpy(y_hat)[None].to(x.device), quality)
        return float(bits) + error_price(quality) * float((seen - x).square().sum())


def _by_chance(
    temperature: float, chance: torch.Generator, y: Tensor, mean: Tensor, log_scale: Tensor, _: Pass
) -> tuple[Tensor, Tensor]:
    """y-hat of a pass, softly rounded, and its likelihoods."""
    y_hat = mean + _round_by_chance(y - mean, temperature, chance)
    return y_hat, gaussian_likelihood(y_hat, mean, log_scale)


def _round_by_chance(x: Tensor, temperature: float, chance: torch.Generator) -> Tensor:
    """x, softly rounded up or down: a Gumbel softmax over both, by their distances."""
    low = x.detach().floor()
    up = (x - low).clamp(_NEAR, 1 - _NEAR)
    logits = -torch.atanh(torch.stack([up, 1 - up], -1)) / temperature
    uniform = torch.rand(logits.shape, generator=chance, device=x.device, dtype=x.dtype)
    gumbel = -torch.log(-torch.log(uniform.clamp(1e-6, 1 - 1e-6)))
    return low + ((logits + gumbel) / temperature).softmax(-1)[..., 1]
