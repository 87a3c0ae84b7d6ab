"""Figs. 15 to 17: what MDEI, SDPM and LSM are worth in the paper's own network.

    python experiments/ablation.py DATA... --val VAL/ucmerced --minutes 20

The baseline, each module, each pair, and all three; from random weights, two lambdas, two seeds. The network is that of
`dmecodec train --network paper`. Without MDEI, psi is 0. Without SDPM, both are identities. Without LSM, the 1x1
convolution of equation 10 sees the hyper decoder's last layer. Plain rounding, rate from the likelihoods.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path
from typing import Any

import torch
from common import begin, images, parser, pixels, quality, tensor, write_points
from torch import Tensor, nn

from dmecodec.base.device import autocast
from dmecodec.network.config import PAPER
from dmecodec.train.data import Crops
from dmecodec.train.model import PSI, TrainingModel
from dmecodec.train.muon import Muon

MODULES = ("MDEI", "SDPM", "LSM")
QUALITIES = (1.0, 4.0)
"""The paper's lambdas 0.007 and 0.072."""


class _Plain(nn.Module):
    """In the place of SDPM or LSM: its input."""

    def forward(self, x: Tensor, quality: Tensor | None = None) -> Tensor:
        return x


def main() -> None:
    options = _options()
    begin(options)
    crops = images(options.data, options.smoke)
    rows: list[dict[str, Any]] = []
    for seed, q in itertools.product(options.seeds, QUALITIES):
        for count in range(len(MODULES) + 1):
            for modules in itertools.combinations(MODULES, count):
                torch.manual_seed(seed)
                model = network(modules)
                side = 64 if options.smoke else 256
                steps = train(model, Crops(crops, side, seed), q, "MDEI" in modules, options)
                for row in measure(model, q, options):
                    rows.append({"modules": "+".join(modules) or "baseline", "seed": seed, "steps": steps, **row})
                write_points(options.out / "ablation.csv", rows)  # after every run: it takes hours
                if options.smoke and count == 1:
                    return


def _options() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("data", nargs="*", type=Path, help="training images, folders or tar shards")
    options.add_argument("--val", nargs="*", type=Path, default=[])
    options.add_argument("--minutes", type=float, default=20, help="for each run")
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    return options.parse_args()


def network(modules: tuple[str, ...]) -> TrainingModel:
    """The paper's network with these modules, from random weights."""
    model = TrainingModel(PAPER)
    if "SDPM" not in modules:
        model.net.analysis.blocks[2] = _Plain()
        model.net.synthesis.blocks[2] = _Plain()
    if "LSM" not in modules:
        model.net.parameters_of_y.decoder.lsm = _Plain()  # type: ignore[assignment]
    model.set_stage(2)
    return model.to(memory_format=torch.channels_last)


def train(model: TrainingModel, crops: Crops, q: float, with_mdei: bool, options: argparse.Namespace) -> int:
    """Trains at one quality with the paper's loss, on Muon and Adam, and a rate that falls to zero."""
    model.train()
    weights = [p for name, p in model.named_parameters() if not name.endswith("quantiles")]
    matrices = [p for p in weights if p.ndim > 1 and p.flatten(1).shape[1] > 1 and len(p) > 1]
    others = [p for p in weights if all(p is not m for m in matrices)]
    optimizers = [Muon(matrices, 1e-3), torch.optim.Adam(others, 1e-3)]
    auxiliary = torch.optim.Adam([model.bottleneck.quantiles], 1e-3)
    began, step = time.monotonic(), 0
    while (done := (time.monotonic() - began) / 60 / options.minutes) < 1 and not (options.smoke and step == 1):
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = 1e-3 * min(1, (step + 1) / 100, 3 * (1 - done))
        x = crops.batch(1 if options.smoke else 8)
        levels = torch.full((len(x),), q)
        with autocast(torch.device("cpu")):
            loss = model(x, levels, mdse=with_mdei).paper_loss(levels, PSI if with_mdei else 0.0)
        for optimizer in (*optimizers, auxiliary):
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        model.bottleneck.loss().backward()
        for optimizer in (*optimizers, auxiliary):
            optimizer.step()
        step += 1
    return step


@torch.inference_mode()
def measure(model: TrainingModel, q: float, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each validation image."""
    model.eval()
    rows = []
    for n, image in enumerate(images(options.val, options.smoke)):
        height, width = (side // 64 * 64 for side in image.shape[:2])
        part = image[:height, :width]
        out = model(tensor(part), torch.tensor([q]))
        points = quality(part, pixels(out.reconstruction))
        rows.append({"image": n, "quality": q, "bpp": (out.y_bpp + out.z_bpp).item(), **points})
    return rows


if __name__ == "__main__":
    main()
