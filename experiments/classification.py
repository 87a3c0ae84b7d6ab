"""Section 3.6, Figs. 19 to 21: scene classification of decoded images.

    python experiments/classification.py DATA

A ResNet-18 from random weights, in five folds over the UC Merced images of the training set (21 classes, which
manifest.csv names): trained on the originals of four folds, tested on the decoded images of the fifth, never trained on
decoded ones. Differences to the paper: it trains EMTCAL on NWPU-RESISC45, and its codecs have not seen the test images.
dmecodec's models were trained on these, so its images are a little better than those of new scenes.

Training takes random crops of 128 x 128, tests see the whole image.
"""

from __future__ import annotations

import argparse
import csv
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import begin, parser, write_points
from PIL import Image
from torch import Tensor, nn
from torchvision.models import resnet18

from dmecodec.bench.codecs import CODECS, DEFAULT_CODECS, Codec, Dmecodec

FOLDS, SIDE, BATCH = 5, 128, 32
OURS = (0.5, 1.0, 2.0, 4.0)
PAPERS_BPP = 0.7


def main() -> None:
    options = _options()
    begin(options)
    names, labels, scenes = _scenes(options)
    fold_of = torch.arange(len(scenes)) % FOLDS
    logits: dict[tuple[str, float], Tensor] = {}
    rates: dict[tuple[str, float], list[float]] = {}
    for fold in range(1 if options.smoke else FOLDS):
        inside, outside = fold_of == fold, fold_of != fold
        model = train(scenes[outside], labels[outside], len(names), options)
        for key, decoded, bpp in _decodings(scenes[inside], options.smoke):
            logits.setdefault(key, torch.zeros(len(scenes), len(names)))[inside] = predict(model, decoded)
            rates.setdefault(key, []).append(bpp)
        print(f"fold {fold + 1} of {FOLDS}", flush=True)
    tested = fold_of == 0 if options.smoke else torch.ones(len(scenes), dtype=torch.bool)
    rows, confusion = [], []
    for (codec, setting), scores in logits.items():
        guesses = scores[tested].argmax(1)
        accuracy = (guesses == labels[tested]).float().mean().item()
        bpp = float(np.mean(rates[codec, setting]))
        rows.append({"codec": codec, "setting": setting, "bpp": bpp, "accuracy": accuracy, "images": int(tested.sum())})
        counts = torch.bincount(labels[tested] * len(names) + guesses, minlength=len(names) ** 2)
        confusion.append(
            {"codec": codec, "setting": setting, "bpp": bpp, "counts": " ".join(map(str, counts.tolist()))}
        )
    write_points(options.out / "classification.csv", rows)
    write_points(options.out / "confusion.csv", _nearest(confusion))
    (options.out / "classes.txt").write_text("\n".join(names) + "\n")


def _options() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("data", nargs="?", type=Path, help="folder of the tar shards and manifest.csv")
    options.add_argument("--epochs", type=int, default=25)
    return options.parse_args()


def _scenes(options: argparse.Namespace) -> tuple[list[str], Tensor, Tensor]:
    """Names of the classes, label of each image (n,), images uint8 (n, 3, 256, 256) in a fixed random order."""
    if options.data is None:
        return ["a", "b"], torch.arange(10) % 2, torch.randint(0, 256, (10, 3, 64, 64), dtype=torch.uint8)
    with (options.data / "manifest.csv").open(newline="") as file:
        chosen = {r["file"]: r["class"] for r in csv.DictReader(file) if r["source"] == "ucmerced"}
    names, scenes, classes = sorted(set(chosen.values())), [], []
    for shard in sorted(options.data.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                file_name = member.name.removeprefix("./")
                handle = tar.extractfile(member) if file_name in chosen else None
                if handle is not None:
                    image = Image.open(io.BytesIO(handle.read())).convert("RGB").crop((0, 0, 256, 256))
                    scenes.append(torch.from_numpy(np.array(image)).permute(2, 0, 1))
                    classes.append(names.index(chosen[file_name]))
    order = torch.randperm(len(scenes), generator=torch.Generator().manual_seed(0))
    if options.smoke:
        order = order[:20]
    return names, torch.tensor(classes)[order], torch.stack(scenes)[order]


def _as_input(x: Tensor) -> Tensor:
    return ((x.float() - 118) / 60).contiguous(memory_format=torch.channels_last)


def train(scenes: Tensor, labels: Tensor, classes: int, options: argparse.Namespace) -> nn.Module:
    """A ResNet-18 trained with SGD and one cycle of the rate, on crops, flips and quarter turns."""
    model = resnet18(num_classes=classes).to(memory_format=torch.channels_last).train()
    batch = min(BATCH, len(scenes))
    per_epoch, epochs = len(scenes) // batch, 1 if options.smoke else options.epochs
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=per_epoch * epochs + 1)
    for _ in range(epochs):
        order = torch.randperm(len(scenes))
        for step in range(per_epoch):
            chosen = order[step * batch : (step + 1) * batch]
            side = min(SIDE, scenes.shape[2])
            row, col = (int(torch.randint(0, scenes.shape[2] - side + 1, ())) for _ in range(2))
            x = scenes[chosen, :, row : row + side, col : col + side]
            x = x.rot90(int(torch.randint(0, 4, ())), (2, 3))
            x = x.flip(3) if torch.rand(()) < 0.5 else x
            with torch.autocast("cpu", torch.bfloat16, enabled=not options.smoke):
                loss = F.cross_entropy(model(_as_input(x)).float(), labels[chosen], label_smoothing=0.1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.inference_mode()
def predict(model: nn.Module, scenes: Tensor) -> Tensor:
    """Scores of each class: (n, classes)."""
    with torch.autocast("cpu", torch.bfloat16):
        return torch.cat([model(_as_input(part)).float() for part in scenes.split(32)])


def _decodings(scenes: Tensor, smoke: bool) -> Iterator[tuple[tuple[str, float], Tensor, float]]:
    """The originals, then those of every codec and setting, with their mean bits per pixel."""
    yield ("original", 0.0), scenes, 24.0
    ours = Dmecodec(OURS[:1] if smoke else OURS, None, "cpu")
    peers: list[Codec] = [CODECS[name]() for name in DEFAULT_CODECS if CODECS[name].missing() is None]
    for codec in [ours, *peers[: 1 if smoke else None]]:
        settings: Any = codec.settings[:1] if smoke else codec.settings if codec is ours else codec.settings[1:8:2]
        for setting in settings:
            files = [codec.encode(image.permute(1, 2, 0).contiguous().numpy(), setting) for image in scenes]
            decoded = [torch.from_numpy(codec.decode(data).copy()).permute(2, 0, 1) for data in files]
            bits = 8 * sum(map(len, files)) / (len(scenes) * scenes.shape[2] * scenes.shape[3])
            yield (codec.name, float(setting)), torch.stack(decoded), bits


def _nearest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The confusion of each codec at the setting nearest the paper's 0.7 bits per pixel."""
    nearest: dict[str, dict[str, Any]] = {}
    for row in rows:
        best = nearest.get(row["codec"])
        if best is None or abs(row["bpp"] - PAPERS_BPP) < abs(best["bpp"] - PAPERS_BPP):
            nearest[row["codec"]] = row
    return list(nearest.values())


if __name__ == "__main__":
    main()
