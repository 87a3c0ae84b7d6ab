"""The training loop: Muon, Adam and an auxiliary Adam, EMA, clipping, a schedule by time, resumable state."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..base.device import autocast
from ..errors import DmecodecError
from ..network.config import Config
from ..network.lambdas import LAMBDAS
from . import checkpoint
from .checkpoint import Progress
from .data import Crops
from .model import PSI, TrainingModel
from .muon import Muon
from .parallel import Parts

_WARMUP_STEPS, _HOLD, _FLOOR = 200, 0.3, 1e-3
_SAVE_EVERY_MINUTES = 2.0
_QUALITY_EXPONENT = 1.4
"""Exponent > 1 of the distribution of qualities: low ones are drawn more often, as other codecs are better there."""


@dataclass(frozen=True)
class Options:
    """How to train one stage.

    Attributes:
        minutes: time budget of the stage; the learning rate follows it.
        batch, side: crops per step, and their side in pixels.
        rate: largest learning rate.
        psi: weight of Loss_MDSE; 0 leaves it out.
        max_steps: limit on the steps of the stage, if the time allows more.
    """

    minutes: float = 60.0
    batch: int = 8
    side: int = 256
    rate: float = 1e-3
    psi: float = PSI
    max_steps: int | None = None


@dataclass(frozen=True)
class Snapshot:
    """The progress of a run, with means over the steps since the last report.

    Attributes:
        stage, step: number of the stage, and of steps in it.
        done: share of the time budget of the stage that is over.
        loss, y_bpp, z_bpp, psnr: means; PSNR in dB.
        megapixels_per_second: speed of training.
    """

    stage: int
    step: int
    done: float
    loss: float
    y_bpp: float
    z_bpp: float
    psnr: float
    megapixels_per_second: float

    def line(self) -> str:
        """One line for a log."""
        return (
            f"stage {self.stage} step {self.step} ({self.done:.0%})  loss {self.loss:.4f}  "
            f"{self.y_bpp + self.z_bpp:.4f} bpp (z {self.z_bpp:.4f})  {self.psnr:.2f} dB  "
            f"{self.megapixels_per_second:.2f} MPix/s"
        )


def learning_rate(done: float, step: int) -> float:
    """Factor of the learning rate after a share `done` of the time: warm-up, hold, then cosine to a thousandth."""
    cosine = 0.5 * (1 + math.cos(math.pi * max(0.0, (min(done, 1.0) - _HOLD) / (1 - _HOLD))))
    return min(1.0, (step + 1) / _WARMUP_STEPS) * (cosine * (1 - _FLOOR) + _FLOOR)


def _is_matrix(p: Tensor) -> bool:
    """Whether Muon trains a parameter: dense kernels of at least 32 rows and columns."""
    rows = p.shape[0]
    return p.ndim == 4 and p.shape[1] > 1 and min(rows, p.numel() // rows) >= 32


class Trainer:
    """A training run, whose state is in a folder."""

    def __init__(self, folder: Path, config: Config, device: torch.device, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.folder, self.config, self.device = folder, config, device
        self.model = TrainingModel(config).to(memory_format=torch.channels_last).to(device)
        self.progress = Progress()
        self._parts = Parts(device)
        self.names = dict(self.model.named_parameters())
        self._reset()

    def _reset(self) -> None:
        """Creates new optimizers, and starts the EMA from the current weights."""
        main = {n: p for n, p in self.names.items() if not n.endswith("quantiles")}
        matrices = [p for n, p in main.items() if _is_matrix(p)]
        others = [p for n, p in main.items() if not _is_matrix(p)]
        self.optimizers: list[torch.optim.Optimizer] = [torch.optim.Adam(others, 1e-3, betas=(0.9, 0.99))]
        if matrices:  # a tiny network has none
            self.optimizers.insert(0, Muon(matrices, 1e-3))
        self.auxiliary = torch.optim.Adam([self.model.bottleneck.quantiles], 1e-3)
        self.trained = list(main.values())
        state = self.model.state_dict()
        self.ema = {k: v.detach().clone() for k, v in state.items() if v.is_floating_point()}

    def begin_stage(self, stage: int) -> None:
        """Starts a stage with a new schedule and new optimizers."""
        self.progress.stage, self.progress.step, self.progress.minutes = stage, 0, 0.0
        self._reset()

    # ---- state ------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Writes the resumable state."""
        tensors = checkpoint.add_prefix(self.model.state_dict(), "model.")
        tensors |= checkpoint.add_prefix(self.ema, "ema.")
        for i, optimizer in enumerate([*self.optimizers, self.auxiliary]):
            for name, p in self.names.items():
                state = {k: torch.as_tensor(v) for k, v in optimizer.state.get(p, {}).items()}
                tensors |= checkpoint.add_prefix(state, f"optimizer{i}.{name}.")
        checkpoint.save(self.folder, tensors, self.progress, self.config.to_json())

    def restore(self, tensors: dict[str, Tensor], progress: Progress) -> None:
        """Continues from the state that :meth:`save` wrote."""
        self.model.load_state_dict(checkpoint.with_prefix(tensors, "model."))
        self.ema = {k: v.to(self.device) for k, v in checkpoint.with_prefix(tensors, "ema.").items()}
        self.progress = progress
        for i, optimizer in enumerate([*self.optimizers, self.auxiliary]):
            for name, p in self.names.items():
                state = checkpoint.with_prefix(tensors, f"optimizer{i}.{name}.")
                if state:
                    optimizer.state[p] = {k: v if v.ndim == 0 else v.to(self.device) for k, v in state.items()}

    def averaged(self) -> TrainingModel:
        """The model with its EMA weights, in evaluation mode."""
        model = TrainingModel(self.config)
        state = {k: v.detach().cpu() for k, v in self.model.state_dict().items()}
        model.load_state_dict(state | {k: v.cpu() for k, v in self.ema.items()})
        model.set_stage(self.progress.stage)
        return model.to(memory_format=torch.channels_last).to(self.device).eval()

    # ---- the loop ---------------------------------------------------------------------------------------------

    def run(self, crops: Crops, options: Options, report: Callable[[Snapshot], None], every: int = 50) -> None:
        """Trains the current stage to the end of its time budget.

        Args:
            crops: source of the batches.
            options: how to train the stage.
            report: called with a snapshot every `every` steps.
            every: steps between reports.

        Raises:
            DmecodecError: the loss or its gradient is no longer finite.
        """
        self.model.train()
        self.model.set_stage(self.progress.stage)
        meter = _Meter()
        began, before = time.monotonic(), self.progress.minutes
        saved = before
        while not self._finished(options):
            self._set_rate(options)
            meter.add(self._step(crops, options), options)
            self.progress.step += 1
            self.progress.total_steps += 1
            now = before + (time.monotonic() - began) / 60
            self.progress.total_minutes += now - self.progress.minutes
            self.progress.minutes = now
            if self.progress.step % every == 0:
                report(meter.snapshot(self.progress, options))
            if now - saved > _SAVE_EVERY_MINUTES:
                self.save()
                saved = now
        self.save()

    def _finished(self, options: Options) -> bool:
        steps = options.max_steps is not None and self.progress.step >= options.max_steps
        return steps or self.progress.minutes >= options.minutes

    def _set_rate(self, options: Options) -> None:
        factor = learning_rate(self.progress.minutes / options.minutes, self.progress.step)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = options.rate * factor

    def _step(self, crops: Crops, options: Options) -> Tensor:
        x = crops.batch(options.batch).to(self.device)
        # Stratified: one quality from each part of the range.
        spread = (torch.arange(options.batch) + torch.rand(options.batch)) / options.batch
        quality = (spread**_QUALITY_EXPONENT * (len(LAMBDAS) - 1)).to(self.device)
        mdse = self.progress.stage > 1 and options.psi > 0

        def loss_of(part: slice) -> tuple[Tensor, Tensor]:
            with autocast(self.device):
                outcome = self.model(x[part], quality[part], mdse=mdse)
                of_batch = outcome.paper_loss if self.config.paper else outcome.loss
                loss = of_batch(quality[part], options.psi)
            psnr = 10 * torch.log10(255**2 / outcome.mse).mean()
            return loss, torch.stack([outcome.y_bpp.mean(), outcome.z_bpp.mean(), psnr])

        for optimizer in [*self.optimizers, self.auxiliary]:
            optimizer.zero_grad(set_to_none=True)
        loss, values = self._parts.backward(loss_of, options.batch, self.trained)
        norm = nn.utils.clip_grad_norm_(self.trained, 1.0)
        if not torch.isfinite(loss + norm):
            raise DmecodecError(
                f"step {self.progress.step}: the loss is no longer finite; resume from the last saved "
                "state with a lower learning rate"
            )
        for optimizer in self.optimizers:
            optimizer.step()
        self.model.bottleneck.loss().backward()
        self.auxiliary.step()
        self._average()
        return torch.cat([loss[None], values])

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(0.999, (self.progress.step + 1) / (self.progress.step + 11))
        state = self.model.state_dict()
        names = list(self.ema)
        torch._foreach_lerp_([self.ema[n] for n in names], [state[n] for n in names], 1 - decay)


class _Meter:
    """Running means between reports."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.sums = torch.zeros(4)
        self.steps, self.pixels, self.began = 0, 0, time.monotonic()

    def add(self, values: Tensor, options: Options) -> None:
        self.sums += values.float().cpu()
        self.steps += 1
        self.pixels += options.batch * options.side**2

    def snapshot(self, progress: Progress, options: Options) -> Snapshot:
        loss, y_bpp, z_bpp, psnr = (self.sums / max(1, self.steps)).tolist()
        speed = self.pixels / 1e6 / max(1e-9, time.monotonic() - self.began)
        done = min(1.0, progress.minutes / options.minutes)
        self.clear()
        return Snapshot(progress.stage, progress.step, done, loss, y_bpp, z_bpp, psnr, speed)
