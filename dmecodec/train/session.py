"""A whole training run: data, all stages, the table at the end; and freezing what came out."""

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
from .start import start
from .tables import plain_tables
from .trainer import Options, Snapshot, Trainer
from .warm import from_model

if TYPE_CHECKING:
    from rich.table import Table

_SETTINGS_FILE = "settings.json"
_LAST_RATE = 0.4
"""Factor on the learning rate in stage 3, where everything is trained already."""
_HELD_OUT = 50
"""Without a validation folder, about one image in so many is kept out of the training for the table."""
_OPTIONAL = {"val": (str, type(None)), "max_steps": (int, type(None))}
"""Types of those settings that may be left out."""


@dataclass(frozen=True)
class Settings:
    """What a run remembers, so that it can be resumed as it was begun.

    Attributes:
        data: folders of images, image files, tar shards.
        time_budget: minutes for all stages together.
        first: share of it for stage 1 (shortcut and entropy model alone); nothing by default where a
            trained model is the start, or where there is no shortcut.
        last: share of it for stage 3 (all but the encoder, on latents as files hold them).
        val: folder of images for the table; else some training images are held out.
        batch, side, rate, psi, max_steps: as :class:`Options`.
        seed: of crops, noise and starting values.
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
        """Refuses fields of other types than the defaults have (TypeError)."""
        for name, usual in asdict(Settings()).items():
            kinds = (type(usual),) if usual is not None else _OPTIONAL[name]
            value = getattr(self, name)
            if not isinstance(value, (*kinds, int) if float in kinds else kinds):
                raise TypeError(f"{name} is {value!r}")
        if not all(isinstance(name, str) for name in self.data):
            raise TypeError("data is no list of names")

    def check(self, config: Config) -> None:
        """Refuses what cannot be trained with (OptionError)."""
        if not self.data:
            raise OptionError("name the folders or shards of images to train on")
        if self.side % 64 or self.side < 64 or self.batch < 1 or not 0 < self.time_budget < math.inf:
            raise OptionError("the side must be a multiple of 64, the batch and the time above 0")
        if not (0 < self.rate < math.inf and 0 <= self.psi < math.inf):
            raise OptionError("the learning rate must be above 0, psi not below it")
        if self.seed < 0 or (self.max_steps or 0) < 0:
            raise OptionError("the seed and the number of steps cannot be below 0")
        if not (0 <= self.first <= 1 and 0 <= self.last <= 1 and self.first + self.last <= 1):
            raise OptionError("stages 1 and 3 take shares of the time, at most all of it together")
        if self.first > 0 and not config.shortcut:
            raise OptionError("stage 1 trains the shortcut, which the paper's network has not")

    def options(self, stage: int) -> Options:
        """How to train one stage."""
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
    # By their pixels, so that those of a run stay out whatever else it is told to train on.
    hashes = [zlib.crc32(image.data) for image in images]
    out = [hash % _HELD_OUT == 0 for hash in hashes]
    out = out if any(out) else [hash == min(hashes) for hash in hashes]
    held = [image for image, is_out in zip(images, out, strict=True) if is_out]
    kept = [image for image, is_out in zip(images, out, strict=True) if not is_out]
    return _Data(kept or images, held)


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
    """Trains a network, or goes on with a run.

    Args:
        data: folders of images, image files, tar shards; a resumed run remembers its own.
        out: folder of the run.
        resume: go on with the run in `out` where it stopped.
        init: a frozen model to start from, instead of the starting values.
        network: a name that :func:`dmecodec.network.config.get_config` knows, or another shape; "dmenet" by
            default. A resumed run and a start from a model keep theirs.
        device: as for encoding.
        report: told how it goes.
        report_every: steps between reports.
        settings: fields of :class:`Settings`; None, or left out, is the default, and for a resumed
            run what it was begun with.

    Returns:
        Rate and distortion of every quality on the validation images.

    Raises:
        OptionError, ImageError, ModelError: what is wrong with the arguments.
        DmecodecError: where the loss is no longer finite.
    """
    folder = Path(out)
    _check_run(folder, resume)
    if resume and (init is not None or network is not None):
        raise OptionError("a run that goes on keeps its network; leave out --init and --network")
    if init is not None and network is not None:
        raise OptionError("a start from a model keeps its network; leave out --network")
    config = network if isinstance(network, Config) else get_config(network or "dmenet")
    given = {name: value for name, value in settings.items() if value is not None}
    if data:
        given["data"] = tuple(str(Path(name).resolve()) for name in data)
    if "val" in given:
        given["val"] = str(Path(given["val"]).resolve())
    if resume:
        remove_leftovers(folder / checkpoint.STATE_NAME, "*")  # of a run that was killed
        chosen = replace(_remembered(folder), **given)
    else:
        one_stage = init is not None or not config.shortcut
        chosen = Settings(**_shares(one_stage, given.get("first")) | given)
    place = pick_device(device)
    trainer = _resumed(folder, place, chosen.seed) if resume else None
    chosen.check(trainer.config if trainer else config)
    images = _load_data(chosen.data, chosen.val, chosen.side)
    done = trainer.progress.total_steps if trainer else 0
    crops = Crops(images.training, chosen.side, chosen.seed + done, place)
    if trainer is None:
        trainer = _begun(folder, config, place, chosen.seed, init, images, crops)
        folder.mkdir(parents=True, exist_ok=True)
    with replace_file(folder / _SETTINGS_FILE, overwrite=True) as file:
        file.write((json.dumps(asdict(chosen), indent=2) + "\n").encode())
    _run_stages(trainer, chosen, crops, report, report_every)
    return table(rate_distortion(trainer.averaged(), images.validation))


def _run_stages(
    trainer: Trainer,
    settings: Settings,
    crops: Crops,
    report: Callable[[Snapshot], None],
    report_every: int,
) -> None:
    for stage in range(trainer.progress.stage, 4):
        options = settings.options(stage)
        if options.minutes > 1e-9:
            if stage != trainer.progress.stage:
                trainer.begin_stage(stage)
            trainer.run(crops, options, report, report_every)


def _shares(one_stage: bool, first: float | None) -> dict[str, float]:
    """The stages' shares of the time that differ from the usual ones: stage 3 takes what stage 1 leaves."""
    if first is None:
        return {"first": 0.0} if one_stage else {}
    return {"last": min(Settings.last, 1 - first)}


def _check_run(folder: Path, resume: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"{folder}: a run needs a folder, and this is none")
    if (folder / checkpoint.STATE_NAME).exists() != resume:
        raise OptionError(
            f"{folder}: no run to resume here" if resume else f"{folder}: holds a run; add --resume to go on"
        )


def _remembered(folder: Path) -> Settings:
    try:
        fields = json.loads((folder / _SETTINGS_FILE).read_text())
        settings = Settings(**fields | {"data": tuple(fields["data"])})
        settings.check_types()
        return settings
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{folder}: holds no readable {_SETTINGS_FILE} of a run") from error


def _resumed(folder: Path, device: torch.device, seed: int = 0) -> Trainer:
    tensors, progress, config = checkpoint.load(folder)
    seed += progress.total_steps  # other noise than at the beginning
    try:
        trainer = Trainer(folder, Config.from_json(config), device, seed)
        trainer.restore(tensors, progress)
    except (LookupError, ValueError, TypeError, RuntimeError) as error:
        raise ModelError(f"{folder}: its state is damaged ({error})") from error
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
        trainer = Trainer(folder, config, device, seed)
        begin = TrainingModel(config)
        begin.load_state_dict(trainer.model.state_dict())
        start(begin, images.training, crops)
        trainer.model.load_state_dict(begin.state_dict())
    trainer.begin_stage(1 if trainer.config.shortcut else 2)
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
    """Freezes the averaged weights of a run, or their mean over several, yielding lines that tell how it goes.

    The mean is of use where one run went on from another: it is often better than both.

    The model file goes to `out`, its entry to the manifest beside it. The last lines say how many
    bits freezing costs, the same images coded by the float graph and by the frozen one, and how
    many the fitted tables save over the Gaussians of the float graph.

    It measures on the images of `val`; without it on some of `data`, where that is given, else on the images of the
    run's own `val`, or on those that the run held out of its training.

    Raises:
        ModelError: no run there, or a layer that cannot meet the exactness bound.
        OptionError: runs of networks that are not alike, or a name that no model file has.
        OutputError: the file exists and `overwrite` is not given.
    """
    path = Path(out)
    if path.suffix != registry.SUFFIX:
        raise OptionError(f"{out}: a model file must end in {registry.SUFFIX}")
    if path.exists() and not overwrite:
        raise OutputError(f"{out} exists already; add --overwrite to replace it")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {out}: there is no folder {path.parent}")
    registry.read_manifest(path.parent)  # a damaged one is found before the work
    trainers = [_resumed(Path(name), torch.device("cpu")) for name in (run, *others)]
    images = _images_to_freeze_on(Path(run), data, val)
    side = min(256, min(min(i.shape[:2]) for i in images.training) // 64 * 64)
    for done in (trainer.progress for trainer in trainers):
        yield f"run of {done.total_steps} steps, {done.total_minutes:.0f} minutes"
    model = _mean(trainers)
    before = rate_distortion(model, images.validation[:24])

    crops = Crops(images.training, side, 0)
    try:
        frozen = freeze(model, crops, batches=batches, table_batches=table_batches)
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


def _mean(trainers: Sequence[Trainer]) -> TrainingModel:
    """The model with the mean of the runs' averaged weights."""
    if any(trainer.config != trainers[0].config for trainer in trainers):
        raise OptionError("only runs of networks that are alike can be averaged")
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
    """Those that are given, or those of the run, with what it held out of its training."""
    if data:
        return _load_data(data, val, 64)
    settings = _remembered(run)
    return _load_data(settings.data, val or settings.val, settings.side)


def _change(before: list[Row], after: list[Row]) -> float:
    """Change of the mean rate over images and qualities in per cent."""
    float_bits, frozen_bits = (sum(row.bpp for row in rows) for rows in (before, after))
    return 100 * (frozen_bits / float_bits - 1)
