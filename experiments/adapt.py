"""Other sensors: what a user gains by training on scenes of one sensor, and what it costs elsewhere.

    python experiments/adapt.py SCENES --elsewhere VAL/aerial VAL/ucmerced --minutes 60

Twenty of the scenes train, the others test. Training starts from a model and takes the whole network, or the entropy
model alone, which is the smallest part that pays: the same latents, with better probabilities. Both end with the stage
that trains on latents rounded as in files. Every model is frozen, and codes real files.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from common import begin, images, parser, quality, write_points

import dmecodec
from dmecodec.bench.bd_rate import bd_rate
from dmecodec.train.data import Crops
from dmecodec.train.freeze import freeze, write_model
from dmecodec.train.trainer import Options, Trainer
from dmecodec.train.warm import from_model
from dmecodec.weights import registry

TRAINED = 20
QUALITIES = (0.5, 1.5, 3.0, 4.5, 6.0)
WAYS = {"whole network": "", "entropy model": ("net.parameters_of_y.", "bottleneck.")}
"""What is trained, as beginnings of parameter names."""
LAST_STAGE = 0.3
"""Share of the time for stage 3."""
RATE = 3e-4


def main() -> None:
    options = _options()
    begin(options)
    scenes = images(options.scenes, options.smoke)
    order = np.random.default_rng(0).permutation(len(scenes))
    trained = 2 if options.smoke else TRAINED
    training, tested = ([scenes[n] for n in part] for part in (order[:trained], order[trained:]))
    sets = {"same sensor": tested} | {place.name: images([place], options.smoke) for place in options.elsewhere}
    start = registry.find(options.init).path
    with TemporaryDirectory() as folder:
        models = {"before": start}
        for way, prefixes in WAYS.items():
            models[way] = Path(folder) / f"{way.replace(' ', '-')}.safetensors"
            train(start, training, prefixes, models[way], options)
        rows = [
            {"model": name, "set": place, **row}
            for name, path in models.items()
            for place, tests in sets.items()
            for row in measure(path, tests, options.smoke)
        ]
    write_points(options.out / "adapt.csv", rows)
    write_points(options.out / "adapt-rates.csv", compare(rows))


def _options() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("scenes", nargs="*", type=Path, help="images of one sensor: folders, files or tar shards")
    options.add_argument("--elsewhere", nargs="*", type=Path, default=[], help="folders of other images to test on")
    options.add_argument("--init", help="the model to start from; the default one otherwise")
    options.add_argument("--minutes", type=float, default=60, help="for each way")
    return options.parse_args()


def train(start: Path, scenes: list[np.ndarray], prefixes: Any, out: Path, options: argparse.Namespace) -> None:
    """Trains the parameters whose names begin so, and writes the frozen model."""
    model = from_model(start)
    trainer = Trainer(out.with_suffix(""), model.net.config, torch.device("cpu"))
    trainer.folder.mkdir()
    trainer.model.load_state_dict(model.state_dict())
    crops = Crops(scenes, 64 if options.smoke else 256, 0)
    for stage, share in ((2, 1 - LAST_STAGE), (3, LAST_STAGE)):
        trainer.begin_stage(stage)
        trainer.trained = [
            p for name, p in trainer.names.items() if name.startswith(prefixes) and "quantiles" not in name
        ]
        settings = Options(
            minutes=share * options.minutes, rate=RATE, side=64 if options.smoke else 256,
            batch=2 if options.smoke else 8, max_steps=1 if options.smoke else None,
        )  # fmt: skip
        trainer.run(crops, settings, lambda snapshot: print(snapshot.line(), flush=True))
    few = {"batches": 1, "table_batches": 1} if options.smoke else {}
    write_model(freeze(trainer.averaged(), crops, **few), out)


def measure(model: Path, scenes: list[np.ndarray], smoke: bool) -> list[dict[str, Any]]:
    """A row for each image and quality, of real files."""
    rows = []
    for n, scene in enumerate(scenes):
        for q in QUALITIES[:1] if smoke else QUALITIES:
            data = dmecodec.encode(scene, q, model=model)
            points = quality(scene, dmecodec.decode(data, model=model))
            rows.append({"image": n, "quality": q, "bpp": 8 * len(data) / scene[..., 0].size, **points})
    return rows


def compare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """BD-rate in PSNR against the model before, for each image: mean of each set."""
    curves: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    for row in rows:
        curves.setdefault((row["set"], row["model"], row["image"]), []).append((row["bpp"], row["psnr"]))
    found: dict[tuple[str, str], list[float]] = {}
    for (place, model, image), curve in curves.items():
        change = bd_rate(curves[place, "before", image], curve)
        if change is not None:
            found.setdefault((place, model), []).append(change)
    return [
        {"set": place, "model": model, "bd_rate": float(np.mean(values)), "images": len(values)}
        for (place, model), values in found.items()
    ]


if __name__ == "__main__":
    main()
