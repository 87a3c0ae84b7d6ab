"""The last phase: the synthesis alone learns from latents as they come out of a file.

Training rounds plainly, but the encoder rounds for rate and distortion, which leaves fewer and larger values: the best
reconstruction of them is another one. The encoder and everything exact stay as they are, so the rate does too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..codec import encode_symbols
from ..device import autocast
from ..network.config import MAX_QUALITY, QUALITY_STEPS
from ..network.parameters import MEAN_UNIT
from ..weights import Model
from .data import Crops
from .model import TrainingModel, lambda_of

_RATE, _BATCH = 3e-4, 4
_WARMUP_STEPS = 20


def settle(
    model: TrainingModel,
    coder: Model,
    crops: Crops,
    minutes: float,
    max_steps: int | None = None,
) -> Iterator[str]:
    """Trains the synthesis and the inverse gains of a model in place, yielding lines that tell how it goes.

    Args:
        model: a trained model, on the CPU.
        coder: the same, frozen: it makes the latents.
        crops: training crops.
        minutes: time budget, which the learning rate follows.
        max_steps: stops earlier; for tests.
    """
    synthesis = model.net.synthesis
    trained = [*synthesis.parameters(), model.net.log_inverse_gain]
    optimizer = torch.optim.Adam(trained, _RATE, betas=(0.9, 0.99))
    began, step, gained = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - began) / 60 / minutes) < 1 and step != max_steps:
        rate = _RATE * min(1, (step + 1) / _WARMUP_STEPS) * 0.5 * (1 + math.cos(math.pi * done))
        optimizer.param_groups[0]["lr"] = rate
        x, y_hat, quality = _coded(coder, crops)
        with autocast(torch.device("cpu")):
            seen = synthesis(y_hat * model.net.inverse_gain(quality), quality).float()
        mse = 255**2 * (seen - x).square().flatten(1).mean(1)
        loss = (mse * lambda_of(quality).sqrt()).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        step += 1
        gained += float((10 * torch.log10(_error(coder, x, y_hat, quality) / mse.detach())).mean())
        if step % 50 == 0:
            yield f"step {step} ({done:.0%})  {gained / 50:+.3f} dB against the synthesis before"
            gained = 0.0


@torch.no_grad()
def _coded(coder: Model, crops: Crops) -> tuple[Tensor, Tensor, Tensor]:
    """Crops (b, 3, h, w), their latents as a decoder gets them (b, M, h / 16, w / 16), in steps, and qualities (b,)."""
    x = crops.batch(_BATCH)
    steps = torch.randint(MAX_QUALITY + 1, (_BATCH,))
    quality = steps / QUALITY_STEPS
    with autocast(coder.device):
        y = coder.net.analysis(x)
    y = y * coder.net.gain(quality)
    decoded = [
        torch.from_numpy(encode_symbols(coder, part[None], int(at))[2])
        for part, at in zip(y, steps, strict=True)
    ]
    y_hat = torch.stack(decoded).float() / MEAN_UNIT
    return x, y_hat.contiguous(memory_format=torch.channels_last), quality


@torch.no_grad()
def _error(coder: Model, x: Tensor, y_hat: Tensor, quality: Tensor) -> Tensor:
    """Mean squared error of the synthesis that is being replaced, (b,)."""
    with autocast(coder.device):
        seen = coder.net.synthesis(y_hat * coder.net.inverse_gain(quality), quality).float()
    return 255**2 * (seen - x).square().flatten(1).mean(1)
