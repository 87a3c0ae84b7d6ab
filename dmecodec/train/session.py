"""A whole training run: data, both stages, the table at the end; and freezing what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from .. import registry
from ..device import pick_device
from ..errors import ModelError, OptionError, OutputError
from ..network.config import PAPER, Config
from ..network.exact import ExactnessError
from . import checkpoint
from .data import Crops, load_images
from .evaluate import Row, frozen_rates, rate_distortion, table
from .freeze import freeze, update_manifest, write_model
from .start import start
from .tables import plain_tables
from .trainer import Options, Snapshot, Trainer
from .warm import from_model

if TYPE_CHECKING:
    from rich.table import Table

_DATA_FILE = "data.txt"
_HELD_OUT = 50
"""Without a validation folder, one image in so many is kept out of the training for the table."""


@dataclass(frozen=True)
class _Data:
    training: list[np.ndarray]
    validation: list[np.ndarray]


def _load_data(data: Sequence[str], val: str | None, side: int) -> _Data:
    images = load_images([Path(name) for name in data], side)
    if val is not None:
        return _Data(images, load_images([Path(val)], 1))
    if len(images) < _HELD_OUT:
        return _Data(images, images)
    kept = [image for i, image in enumerate(images) if i % _HELD_OUT]
    return _Data(kept, images[::_HELD_OUT])


def train(
    data: Sequence[str],
    out: str,
    *,
    time_budget: float = 120.0,
    first: float | None = None,
    resume: bool = False,
    init: str | None = None,
    val: str | None = None,
    batch: int = 8,
    side: int = 256,
    rate: float = 1e-3,
    psi: float = 0.0185,
    max_steps: int | None = None,
    seed: int = 0,
    device: str = "auto",
    paper: bool = False,
    config: Config | None = None,
    report: Callable[[Snapshot], None] = lambda _: None,
    report_every: int = 50,
) -> Table:
    """Trains a network, or goes on with a run.

    Args:
        data: folders of images, image files, tar shards; a resumed run remembers its own.
        out: folder of the run.
        time_budget: minutes for both stages together.
        first: share of it for stage 1 (shortcut and entropy model alone); by default a half, and
            nothing where a trained model is the start.
        resume: go on with the run in `out` where it stopped; its stage keeps its schedule.
        init: a frozen model to start from, instead of the starting values.
        val: folder of images for the table; else some training images are held out.
        batch, side, rate, psi, max_steps, seed: as :class:`Options`.
        device: as for encoding.
        paper: train the paper's own network, with one pass and nothing beside it.
        config: another shape of the network; a resumed run and a start from a model keep theirs.
        report: told how it goes.
        report_every: steps between reports.

    Returns:
        Rate and distortion of every quality on the validation images.

    Raises:
        OptionError, ImageError, ModelError: what is wrong with the arguments.
        DmecodecError: where the loss is no longer finite.
    """
    if side % 64 or side < 64 or batch < 1 or time_budget <= 0:
        raise OptionError("the side must be a multiple of 64, the batch and the time above 0")
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"{out}: a run needs a folder, and this is none")
    if (folder / checkpoint.STATE_NAME).exists() != resume:
        raise OptionError(
            f"{out}: no run to resume here"
            if resume
            else f"{out}: holds a run; add --resume to go on"
        )
    data = data or _remembered(folder)
    images = _load_data(data, val, side)
    place = pick_device(device)
    trainer = _resumed(folder, place) if resume else None
    crops = Crops(images.training, side, seed + (trainer.progress.total_steps if trainer else 0))
    if trainer is None:
        trainer = _begun(
            folder, config or (PAPER if paper else Config()), place, seed, init, images, crops
        )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _DATA_FILE).write_text("\n".join(str(Path(d).resolve()) for d in data) + "\n")
    options = Options(batch=batch, side=side, rate=rate, psi=psi, max_steps=max_steps, seed=seed)
    first = (0.0 if init else 0.5) if first is None else first
    minutes = {1: time_budget * first, 2: time_budget * (1 - first)}
    for stage in range(trainer.progress.stage, 3):
        if stage != trainer.progress.stage:
            trainer.begin_stage(stage)
        if minutes[stage] > 0:
            trainer.run(crops, replace(options, minutes=minutes[stage]), report, report_every)
    return table(rate_distortion(trainer.averaged(), images.validation))


def _remembered(folder: Path) -> list[str]:
    try:
        return (folder / _DATA_FILE).read_text().split("\n")[:-1]
    except OSError as error:
        raise OptionError("name the folders or shards of images to train on") from error


def _resumed(folder: Path, device: torch.device) -> Trainer:
    tensors, progress, config = checkpoint.load(folder)
    trainer = Trainer(folder, Config.from_json(config), device)
    trainer.restore(tensors, progress)
    return trainer


def _begun(
    folder: Path,
    config: Config,
    device: torch.device,
    seed: int,
    init: str | None,
    images: _Data,
    crops: Crops,
) -> Trainer:
    if init is not None:
        model = from_model(registry.find(init).path)
        trainer = Trainer(folder, model.net.config, device, seed)
        trainer.model.load_state_dict(model.state_dict())
    else:
        trainer = Trainer(folder, config, torch.device("cpu"), seed)
        start(trainer.model, images.training, crops)
        trainer.device = device
        trainer.model.to(device)
    trainer.begin_stage(1 if trainer.config.shortcut else 2)
    return trainer


def freeze_run(
    run: str,
    out: str,
    *,
    data: Sequence[str] = (),
    val: str | None = None,
    overwrite: bool = False,
    batches: int = 24,
    table_batches: int = 400,
) -> Iterator[str]:
    """Freezes the averaged weights of a run, yielding lines that tell how it goes.

    The model file goes to `out`, its entry to the manifest beside it. The last lines say how many
    bits freezing costs, the same images coded by the float graph and by the frozen one, and how
    many the fitted tables save over the Gaussians of the float graph.

    Raises:
        ModelError: no run there, or a layer that cannot meet the exactness bound.
        OutputError: the file exists and `overwrite` is not given.
    """
    path = Path(out)
    if path.suffix != registry.SUFFIX:
        raise OptionError(f"{out}: a model file must end in {registry.SUFFIX}")
    if path.exists() and not overwrite:
        raise OutputError(f"{out} exists already; add --overwrite to replace it")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {out}: there is no folder {path.parent}")
    trainer = _resumed(Path(run), torch.device("cpu"))
    images = _load_data(list(data) or _remembered(Path(run)), val, 64)
    side = min(256, min(min(i.shape[:2]) for i in images.training) // 64 * 64)
    model = trainer.averaged()
    yield f"run of {trainer.progress.total_steps} steps, {trainer.progress.total_minutes:.0f} minutes"
    before = rate_distortion(model, images.validation[:24])
    try:
        frozen = freeze(
            model, Crops(images.training, side, 0), batches=batches, table_batches=table_batches
        )
    except ExactnessError as error:
        raise ModelError(f"{run}: cannot be frozen: {error}") from error
    write_model(frozen, path, overwrite=overwrite)
    sha256 = registry.file_hash(path)
    update_manifest(path.parent, path.name.removesuffix(registry.SUFFIX), sha256, frozen.parameters)
    yield f"wrote {path}: {len(frozen.data)} bytes, {frozen.parameters} parameters, id {sha256[:16]}"
    integers = frozen_rates(path, images.validation[:24], plain_tables())
    yield f"integer arithmetic and half precision change the rate by {_change(before, integers):+.2f} %"
    gaussian = frozen_rates(path, images.validation[:24], plain_tables(), optimise=True)
    fitted = frozen_rates(path, images.validation[:24], optimise=True)
    yield f"fitted frequency tables then change it by {_change(gaussian, fitted):+.2f} %"


def _change(before: list[Row], after: list[Row]) -> float:
    """Change of the mean rate over images and qualities in per cent."""
    float_bits, frozen_bits = (sum(row.bpp for row in rows) for rows in (before, after))
    return 100 * (frozen_bits / float_bits - 1)
