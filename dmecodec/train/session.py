"""A training run: loading data, training all stages, measuring the result; and freezing it."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..base.device import pick_device
from ..base.files import remove_leftovers, replace_file
from ..errors import ModelError, OptionError, OutputError
from ..network.config import Config, get_config
from ..network.exact import ExactnessError
from ..weights import registry
from . import checkpoint
from .data import Crops, load_images
from .evaluate import Row, frozen_rates, rate_distortion, table
from .freeze import freeze, update_manifest, write_model
from .model import PSI, TrainingModel
from .start import initialise
from .tables import plain_tables
from .trainer import Options, Snapshot, Trainer
from .warm import from_model

if TYPE_CHECKING:
    from rich.table import Table

_SETTINGS_FILE = "settings.json"
_LAST_RATE = 0.4
"""Factor of the learning rate in stage 3."""
_HELD_OUT = 50
"""Without validation images, about 1 of this many training images is held out for the table."""
_MEASURED = 24
"""Largest number of images on which freezing measures the rate."""
_OPTIONAL = {"val": (str, type(None)), "max_steps": (int, type(None))}
"""Types of the settings whose default is None."""


@dataclass(frozen=True)
class RunSettings:
    """The settings of a run, stored in its folder as JSON, so that a resumed run keeps them.

    Attributes:
        data: folders of images, image files, tar shards.
        time_budget: minutes for all stages together.
        first: share of it for stage 1 (shortcut and entropy model alone); 0 by default for a start from a model, or
            without a shortcut.
        last: share of it for stage 3 (all but the encoder, on latents rounded as in files).
        val: folder of images for the table; None holds out some training images.
        batch, side, rate, psi, max_steps: as in :class:`Options`.
        seed: seed of crops, noise and starting values.
    """

    data: tuple[str, ...] = ()
    time_budget: float = 120.0
    first: float = 0.5
    last: float = 0.1
    val: str | None = None
    batch: int = 8
    side: int = 256
    rate: float = 1e-3
    psi: float = PSI
    max_steps: int | None = None
    seed: int = 0

    def check_types(self) -> None:
        """Checks that the fields have the types of the defaults (TypeError)."""
        for name, default in asdict(RunSettings()).items():
            kinds = (type(default),) if default is not None else _OPTIONAL[name]
            value = getattr(self, name)
            if not isinstance(value, (*kinds, int) if float in kinds else kinds):
                raise TypeError(f"{name} is {value!r}")
        if not all(isinstance(name, str) for name in self.data):
            raise TypeError("data is not a list of names")

    def check(self, config: Config) -> None:
        """Checks the ranges (OptionError)."""
        if not self.data:
            raise OptionError("name the folders or shards of images to train on")
        if self.side % 64 or self.side < 64 or self.batch < 1 or not 0 < self.time_budget < math.inf:
            raise OptionError("the side must be a multiple of 64, the batch size and the time above 0")
        if not (0 < self.rate < math.inf and 0 <= self.psi < math.inf):
            raise OptionError("the learning rate must be above 0, psi at least 0")
        if self.seed < 0 or (self.max_steps or 0) < 0:
            raise OptionError("the seed and the number of steps must be at least 0")
        if not (0 <= self.first <= 1 and 0 <= self.last <= 1 and self.first + self.last <= 1):
            raise OptionError("the shares of stages 1 and 3 must be in 0..1, and at most 1 together")
        if self.first > 0 and config.paper:
            raise OptionError("stage 1 trains the shortcut, which this network does not have; leave out --stage-1")

    def options(self, stage: int) -> Options:
        """The options of one stage."""
        share = {1: self.first, 2: 1 - self.first - self.last, 3: self.last}[stage]
        return Options(
            minutes=self.time_budget * share,
            batch=self.batch,
            side=self.side,
            rate=self.rate * (_LAST_RATE if stage == 3 else 1),
            psi=self.psi,
            max_steps=self.max_steps,
        )


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
    # Chosen by a hash of the pixels: a resumed run holds out the same images if other data is added.
    hashes = [zlib.crc32(image.data) for image in images]
    held_out = [value % _HELD_OUT == 0 for value in hashes]
    held_out = held_out if any(held_out) else [value == min(hashes) for value in hashes]
    validation = [image for image, is_out in zip(images, held_out, strict=True) if is_out]
    training = [image for image, is_out in zip(images, held_out, strict=True) if not is_out]
    return _Data(training or images, validation)


def train(
    data: Sequence[str],
    out: str,
    *,
    resume: bool = False,
    init: str | None = None,
    network: str | Config | None = None,
    device: str = "auto",
    report: Callable[[Snapshot], None] = lambda _: None,
    report_every: int = 50,
    **settings: Any,
) -> Table:
    """Trains a network, or resumes a run.

    Args:
        data: folders of images, image files, tar shards; empty for a resumed run that keeps its own.
        out: folder of the run.
        resume: whether to resume the run in `out`.
        init: a frozen model to start from, instead of the starting values.
        network: a name for :func:`dmecodec.network.config.get_config`, or a configuration; "dmenet" by default. A
            resumed run and a start from a model keep theirs.
        device: as for encoding.
        report: called with the progress.
        report_every: steps between reports.
        settings: fields of :class:`RunSettings`. A field that is None or missing has its default, or in a resumed run
            its stored value.

    Returns:
        Rate and distortion at each quality on the validation images.

    Raises:
        OptionError, ImageError, ModelError: an argument, an image or the state of the run is wrong.
        DmecodecError: the loss is no longer finite.
    """
    folder = Path(out)
    _check_run(folder, resume)
    if resume and (init is not None or network is not None):
        raise OptionError("a resumed run keeps its network; leave out --init and --network")
    if init is not None and network is not None:
        raise OptionError("a start from a model keeps its network; leave out --network")
    config = network if isinstance(network, Config) else get_config(network or "dmenet")
    given = _given_settings(data, settings)
    if resume:
        remove_leftovers(folder / checkpoint.STATE_NAME, "*")  # of a run that was killed
        chosen = replace(_stored_settings(folder), **given)
    else:
        skip_stage_1 = init is not None or config.paper
        chosen = RunSettings(**_shares(skip_stage_1, given.get("first")) | given)
    torch_device = pick_device(device)
    trainer = _resumed_trainer(folder, torch_device, chosen.seed) if resume else None
    chosen.check(trainer.config if trainer else config)
    images = _load_data(chosen.data, chosen.val, chosen.side)
    steps_done = trainer.progress.total_steps if trainer else 0
    crops = Crops(images.training, chosen.side, chosen.seed + steps_done, torch_device)
    if trainer is None:
        trainer = _new_trainer(folder, config, torch_device, chosen.seed, init, images, crops)
        folder.mkdir(parents=True, exist_ok=True)
    with replace_file(folder / _SETTINGS_FILE, overwrite=True) as file:
        file.write((json.dumps(asdict(chosen), indent=2) + "\n").encode())
    _run_stages(trainer, chosen, crops, report, report_every)
    return table(rate_distortion(trainer.averaged(), images.validation))


def _given_settings(data: Sequence[str], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that the caller names, with absolute paths."""
    given = {name: value for name, value in settings.items() if value is not None}
    if data:
        given["data"] = tuple(str(Path(name).resolve()) for name in data)
    if "val" in given:
        given["val"] = str(Path(given["val"]).resolve())
    return given


def _run_stages(
    trainer: Trainer, settings: RunSettings, crops: Crops, report: Callable[[Snapshot], None], report_every: int
) -> None:
    for stage in range(trainer.progress.stage, 4):
        options = settings.options(stage)
        if options.minutes > 1e-9:
            if stage != trainer.progress.stage:
                trainer.begin_stage(stage)
            trainer.run(crops, options, report, report_every)


def _shares(skip_stage_1: bool, first: float | None) -> dict[str, float]:
    """Shares of the stages that differ from the defaults: that of stage 3 is at most what stage 1 leaves."""
    if first is None:
        return {"first": 0.0} if skip_stage_1 else {}
    return {"last": min(RunSettings.last, 1 - first)}


def _check_run(folder: Path, resume: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"{folder}: a run needs a folder, and this is a file")
    if (folder / checkpoint.STATE_NAME).exists() != resume:
        raise OptionError(
            f"{folder}: no run to resume here" if resume else f"{folder}: holds a run; add --resume to continue it"
        )


def _stored_settings(folder: Path) -> RunSettings:
    try:
        fields = json.loads((folder / _SETTINGS_FILE).read_text())
        settings = RunSettings(**fields | {"data": tuple(fields["data"])})
        settings.check_types()
        return settings
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{folder}: holds no readable {_SETTINGS_FILE} of a run") from error


def _resumed_trainer(folder: Path, device: torch.device, seed: int = 0) -> Trainer:
    tensors, progress, config = checkpoint.load(folder)
    seed += progress.total_steps  # so that the noise differs from that of the steps before
    try:
        trainer = Trainer(folder, Config.from_json(config), device, seed)
        trainer.restore(tensors, progress)
    except (LookupError, ValueError, TypeError, RuntimeError) as error:
        raise ModelError(f"{folder}: its state is damaged ({error})") from error
    return trainer


def _new_trainer(
    folder: Path, config: Config, device: torch.device, seed: int, init: str | None, images: _Data, crops: Crops
) -> Trainer:
    if init is not None:
        model = from_model(registry.find(init).path)
        trainer = Trainer(folder, model.net.config, device, seed)
        trainer.model.load_state_dict(model.state_dict())
    else:
        trainer = Trainer(folder, config, device, seed)
        model = TrainingModel(config)  # on the CPU
        model.load_state_dict(trainer.model.state_dict())
        initialise(model, images.training, crops)
        trainer.model.load_state_dict(model.state_dict())
    trainer.begin_stage(2 if trainer.config.paper else 1)
    return trainer


def freeze_run(
    run: str,
    out: str,
    *,
    others: Sequence[str] = (),
    data: Sequence[str] = (),
    val: str | None = None,
    overwrite: bool = False,
    batches: int = 24,
    table_batches: int = 400,
) -> Iterator[str]:
    """Freezes the averaged weights of a run, or their mean over several runs, into a model file.

    The mean of a run and of one that continued it is often better than both. The folder of the file gets an entry for
    it in its manifest. The last lines compare rates on the validation images: of the frozen and the float graph, then
    of the fitted tables and the Gaussians of the float graph.

    Args:
        run: folder of the run.
        out: path of the model file.
        others: folders of further runs of the same network.
        data: images for calibration; those of the run by default.
        val: images to measure on; by default some of `data`, or without `data` the validation images of the run.
        overwrite: whether to replace an existing file.
        batches, table_batches: as for :func:`dmecodec.train.freeze.freeze`.

    Yields:
        Lines about the progress.

    Raises:
        ModelError: there is no run, or a layer cannot meet the exactness bound.
        OptionError: the networks of the runs differ, or `out` has another suffix.
        OutputError: the file exists and `overwrite` is false, or its folder is missing.
    """
    path = Path(out)
    _check_model_path(path, overwrite)
    trainers = [_resumed_trainer(Path(name), torch.device("cpu")) for name in (run, *others)]
    images = _images_to_freeze_on(Path(run), data, val)
    for progress in (trainer.progress for trainer in trainers):
        yield f"run of {progress.total_steps} steps, {progress.total_minutes:.0f} minutes"
    model = _mean(trainers)
    before = rate_distortion(model, images.validation[:_MEASURED])

    side = min(256, min(min(i.shape[:2]) for i in images.training) // 64 * 64)
    crops = Crops(images.training, side, 0)
    try:
        frozen = freeze(model, crops, batches=batches, table_batches=table_batches)
    except ExactnessError as error:
        raise ModelError(f"{run}: cannot be frozen: {error}") from error
    write_model(frozen, path, overwrite=overwrite)
    sha256 = registry.file_hash(path)
    update_manifest(path.parent, path.name.removesuffix(registry.SUFFIX), sha256, frozen.parameters)
    yield f"wrote {path}: {len(frozen.data)} bytes, {frozen.parameters} parameters, id {sha256[:16]}"
    yield from _rate_changes(path, images.validation[:_MEASURED], before)


def _check_model_path(path: Path, overwrite: bool) -> None:
    if path.suffix != registry.SUFFIX:
        raise OptionError(f"{path}: a model file must end in {registry.SUFFIX}")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; add --overwrite to replace it")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}")
    registry.read_manifest(path.parent)  # raises on a damaged manifest, before any work


def _rate_changes(path: Path, images: list[np.ndarray], before: list[Row]) -> Iterator[str]:
    """Compares the rates of a model file with those of the float graph."""
    integers = frozen_rates(path, images, plain_tables())
    yield f"integer arithmetic and half precision change the rate by {_change(before, integers):+.2f} %"
    gaussian = frozen_rates(path, images, plain_tables(), optimise=True)
    fitted = frozen_rates(path, images, optimise=True)
    yield f"fitted frequency tables then change it by {_change(gaussian, fitted):+.2f} %"


def _mean(trainers: Sequence[Trainer]) -> TrainingModel:
    """The model with the mean of the averaged weights of several runs."""
    if any(trainer.config != trainers[0].config for trainer in trainers):
        raise OptionError("only runs of the same network can be averaged")
    model = trainers[0].averaged()
    states = [trainer.averaged().state_dict() for trainer in trainers]
    mean = {
        name: torch.stack([state[name] for state in states]).mean(0)
        for name, value in states[0].items()
        if value.is_floating_point()
    }
    model.load_state_dict(states[0] | mean)
    return model


def _images_to_freeze_on(run: Path, data: Sequence[str], val: str | None) -> _Data:
    """The given images, or those of the run, with the images that it held out."""
    if data:
        return _load_data(data, val, 64)
    settings = _stored_settings(run)
    return _load_data(settings.data, val or settings.val, settings.side)


def _change(before: list[Row], after: list[Row]) -> float:
    """Change in per cent of the mean rate over images and qualities."""
    float_bits, frozen_bits = (sum(row.bpp for row in rows) for rows in (before, after))
    return 100 * (frozen_bits / float_bits - 1)
