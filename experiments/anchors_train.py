"""Figs. 9 to 11: trains the learned anchors of the paper and measures their rate and distortion.

    python experiments/anchors_train.py DATA... --val VAL/ucmerced VAL/aerial --minutes 240

Four core hours an architecture, from a random start. A network of one rate divides them over four lambdas, the highest
first, and each begins from its neighbour. QVRF trains all lambdas at once. The rate is the entropy of rounded latents
under the network's own model, which real files exceed by under one per cent. Checkpoints are not kept.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from anchors import ANCHORS, LAMBDAS, is_variable
from common import begin, images, parser, pixels, quality, tensor, write_points
from torch import Tensor, nn

from dmecodec.base.device import autocast
from dmecodec.train.data import Crops


def main() -> None:
    options = _options()
    begin(options)
    crops = Crops(images(options.data, options.smoke), 64 if options.smoke else 256, 0)
    for name in options.architectures:
        rows = []
        model = ANCHORS[name]().to(memory_format=torch.channels_last)
        indices = [list(range(len(LAMBDAS)))] if is_variable(name) else [[i] for i in reversed(range(len(LAMBDAS)))]
        for chosen in indices:
            steps = train(model, crops, chosen, options.minutes / len(indices), options.smoke)
            for index in chosen:
                rows += measure(model, name, index, options, steps)
        write_points(options.out / f"anchor-{name}.csv", rows)


def _options() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("data", nargs="*", type=Path, help="training images, folders or tar shards")
    options.add_argument("--val", nargs="*", type=Path, default=[])
    options.add_argument("--architectures", nargs="+", choices=list(ANCHORS), default=list(ANCHORS))
    options.add_argument("--minutes", type=float, default=240, help="for each architecture")
    return options.parse_args()


def train(model: nn.Module, crops: Crops, chosen: list[int], minutes: float, smoke: bool) -> int:
    """Trains at the chosen lambdas, batches of 8, with Adam and a rate that falls to zero; returns the steps."""
    model.train()
    weights = [p for name, p in model.named_parameters() if not name.endswith("quantiles")]
    quantiles = [p for name, p in model.named_parameters() if name.endswith("quantiles")]
    adam, auxiliary = torch.optim.Adam(weights, 5e-4), torch.optim.Adam(quantiles, 1e-3)
    began, step = time.monotonic(), 0
    while (done := (time.monotonic() - began) / 60 / minutes) < 1 and not (smoke and step == 1):
        adam.param_groups[0]["lr"] = 5e-4 * min(1, (step + 1) / 100, 3 * (1 - done))
        x = crops.batch(1 if smoke else 8)
        index = chosen[step % len(chosen)]
        with autocast(torch.device("cpu")):
            out = _run(model, x, index)
        loss = rate(out, x).mean() + LAMBDAS[index] * 255**2 * (out["x_hat"].float() - x).square().mean()
        adam.zero_grad(set_to_none=True)
        auxiliary.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        adam.step()
        model.aux_loss().backward()
        auxiliary.step()
        step += 1
        if step % 100 == 0:
            print(f"lambda {LAMBDAS[index]}: step {step}, loss {loss.item():.3f}", flush=True)
    return step


def _run(model: nn.Module, x: Tensor, index: int) -> dict[str, Any]:
    variable = hasattr(model, "log_regulator")
    result: dict[str, Any] = model(x, index) if variable else model(x)
    return result


def rate(out: dict[str, Any], x: Tensor) -> Tensor:
    """Bits per pixel: (b,)."""
    pixels_of_each = x.shape[2] * x.shape[3]
    bits = [-v.float().log2().flatten(1).sum(1) for v in out["likelihoods"].values()]
    return torch.stack(bits).sum(0) / pixels_of_each


@torch.inference_mode()
def measure(model: nn.Module, name: str, index: int, options: argparse.Namespace, steps: int) -> list[dict[str, Any]]:
    """One row for each validation image."""
    model.eval()
    rows = []
    for folder in options.val or [None]:
        for n, image in enumerate(images([folder] if folder else [], options.smoke or folder is None)):
            height, width = (side // 64 * 64 for side in image.shape[:2])
            part = image[:height, :width]
            out = _run(model, tensor(part), index)
            row = {"set": folder.name if folder else "synthetic", "image": n, "codec": name, "lambda": LAMBDAS[index]}
            points = quality(part, pixels(out["x_hat"]))
            rows.append({**row, "steps": steps, "bpp": rate(out, tensor(part)).item(), **points})
    return rows


if __name__ == "__main__":
    main()
