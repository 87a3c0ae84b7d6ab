"""Training a tiny network for a few steps, and resuming it after a kill."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from command import refused
from command import start as start_command
from conftest import aerial, psnr
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_run import CONFIG, FEW, STEPS

import dmecodec
from dmecodec.codec.rounding import round_for_rate
from dmecodec.errors import DmecodecError, ImageError, ModelError, OptionError
from dmecodec.network.config import FAST, Config
from dmecodec.network.parameters import INDEX_PER_NAT, LOG_SCALE_LOW
from dmecodec.train import checkpoint, evaluate, session, tables
from dmecodec.train.data import Crops, load_images
from dmecodec.train.model import Outcome, TrainingModel, lambda_of, rate_offset
from dmecodec.train.start import initialise
from dmecodec.train.trainer import Options, Snapshot, Trainer
from dmecodec.weights import registry
from dmecodec.weights.model import read_file

pytest.importorskip("compressai", reason="training needs compressai")


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `train` return the rows of its table, as numbers."""
    monkeypatch.setattr(session, "table", lambda rows: rows)


def copy_of(run: Path, folder: Path) -> Path:
    folder.mkdir()
    for name in ("state.safetensors", "settings.json"):
        (folder / name).write_bytes((run / name).read_bytes())
    return folder


# ---- data ---------------------------------------------------------------------------------------------------------


def test_images_come_from_folders_and_shards(data: Path) -> None:
    images = load_images([data], 64)
    assert [image.shape for image in images] == [(72, 80, 3), (64, 96, 3), (70, 66, 3), (70, 66, 3)]
    shard = load_images([data / "shard.tar"], 64)
    assert np.array_equal(shard[0], aerial(4, 70, 66))
    shouted = data.parent / "SHARD.TAR"
    shouted.write_bytes((data / "shard.tar").read_bytes())
    assert np.array_equal(load_images([shouted], 64)[0], shard[0])


def test_missing_or_unusable_data_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file or folder"):
        load_images([tmp_path / "nowhere"], 64)
    with pytest.raises(ImageError, match="no image of at least 512 x 512"):
        load_images([data], 512)
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"bad\.png: image: is not an image"):
        load_images([tmp_path], 64)


def without_augmentation(monkeypatch: pytest.MonkeyPatch, **shares: float) -> None:
    """Sets the shares of all augmentations to 0, but those that are given."""
    for share in ("REDUCED", "ENLARGED", "RELIT", "COMPRESSED", "EMPTY"):
        monkeypatch.setattr(Crops, share, shares.get(share, 0.0))


def test_images_of_16_bits_are_refused_by_name(tmp_path: Path) -> None:
    Image.fromarray(np.full((80, 80), 9000, np.uint16)).save(tmp_path / "deep.tif")
    with pytest.raises(DmecodecError, match="16 bits a sample"):
        load_images([tmp_path], 1)


def test_broken_shards_are_refused_by_name(data: Path, tmp_path: Path) -> None:
    image = next(data.rglob("*.png"))
    packed = tmp_path / "packed.tar"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(image, "a.png")
    packed.write_bytes(packed.read_bytes()[:-2000])
    linked = tmp_path / "linked.tar"
    with tarfile.open(linked, "w") as tar:
        link = tarfile.TarInfo("b.png")
        link.type, link.linkname = tarfile.SYMTYPE, "missing.png"
        tar.addfile(link)
    for shard in (packed, linked):
        with pytest.raises(ImageError, match=f"{shard.name}: not a readable tar file"):
            load_images([shard], 1)


def test_some_image_is_held_out_whatever_their_hashes(data: Path) -> None:
    images = load_images([data], 1)
    for several in ([images[0]] * 60, (images * 60)[:60]):
        loaded = session._Data([], [])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(session, "load_images", lambda paths, min_side, images=several: images)
            loaded = session._load_data([str(data)], None, 64)
        assert loaded.training and loaded.validation


def test_crops_occur_in_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each crop, rotated and flipped, occurs in its image."""
    without_augmentation(monkeypatch)
    image = aerial(0, 80, 70)
    for crop in Crops([image], 64, 0).batch(8):
        pixels = (crop * 255).round().byte().permute(1, 2, 0).numpy()
        turned = [np.rot90(p, k) for p in (pixels, pixels[:, ::-1]) for k in range(4)]
        places = [image[r : r + 64, c : c + 64] for r in range(17) for c in range(7)]
        assert any(np.array_equal(a, b) for a in turned for b in places)


def test_crops_have_plain_borders(monkeypatch: pytest.MonkeyPatch) -> None:
    without_augmentation(monkeypatch, EMPTY=1.0)
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    shares = []
    for crop in Crops([noise], 64, 0).batch(20):
        _, counts = (crop[0] * 255).round().unique(return_counts=True)
        shares.append(float(counts.max()) / 64**2)
    assert min(shares) < 0.2 and max(shares) > 0.8


def detail(x: torch.Tensor) -> float:
    """Mean difference of neighbours, in levels."""
    return float(255 * x.diff(dim=3).abs().mean())


@pytest.mark.parametrize(
    ("share", "least", "most"),
    [("REDUCED", 0.3, 0.95), ("ENLARGED", 0.3, 0.95), ("RELIT", 0.3, 0.98), ("COMPRESSED", 0.7, 1.2)],
)
def test_augmentation_changes_detail(monkeypatch: pytest.MonkeyPatch, share: str, least: float, most: float) -> None:
    """Each augmentation changes the mean difference of neighbours; reducing and enlarging smooth these noisy images."""
    images = [aerial(seed, 128, 128) for seed in range(8)]
    without_augmentation(monkeypatch)
    plain = Crops(images, 64, 0).batch(48)
    without_augmentation(monkeypatch, **{share: 1.0})
    crops = Crops(images, 64, 0).batch(48)
    assert crops.shape == plain.shape and crops.dtype == torch.float32
    assert torch.equal(crops, (255 * crops).round() / 255)
    assert crops.min() >= 0 and crops.max() <= 1
    assert least < detail(crops) / detail(plain) < most


def test_a_seed_determines_the_crops() -> None:
    images = [aerial(seed, 100, 128) for seed in range(3)]
    first, again, other = (Crops(images, 64, seed).batch(30) for seed in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)


# ---- a run --------------------------------------------------------------------------------------------------------


def test_all_stages_are_trained_and_reported(trained: tuple[Path, list[Snapshot]]) -> None:
    run, snapshots = trained
    assert [(snapshot.stage, snapshot.step) for snapshot in snapshots] == [
        (stage, step) for stage in (1, 2, 3) for step in (1, 2, 3)
    ]
    for snapshot in snapshots:
        assert np.isfinite(snapshot.loss) and snapshot.psnr > 15
        assert snapshot.y_bpp > 0 and snapshot.z_bpp > 0 and snapshot.megapixels_per_second > 0
        assert f"{snapshot.psnr:.2f} dB" in snapshot.line()
    _, progress, config = checkpoint.load(run)
    assert (progress.stage, progress.step, progress.total_steps) == (3, 3, STEPS)
    assert Config.from_json(config) == CONFIG


def test_training_lowers_the_loss(data: Path, tmp_path: Path) -> None:
    images = load_images([data], 64)
    trainer = Trainer(tmp_path, CONFIG, torch.device("cpu"))
    initialise(trainer.model, images, Crops(images, 64, 1))
    trainer.begin_stage(1)
    x, quality = Crops(images, 64, 2).batch(8), torch.arange(8.0)

    def loss() -> float:
        with torch.inference_mode():
            return float(trainer.model.eval()(x, quality).loss(quality, 0))

    before = loss()
    options = Options(batch=4, side=64, psi=0.0, max_steps=60)
    trainer.run(Crops(images, 64, 3), options, lambda _: None)
    assert loss() < before - 0.03  # a logarithm


def test_the_network_of_the_paper_is_trained_on_equation_15(data: Path, tmp_path: Path) -> None:
    outcome = Outcome(*torch.tensor([[1.0, 2.0], [0.5, 0.0], [9.0, 9.0], [4.0, 8.0], [3.0, 6.0]]),
                      torch.zeros(2, 3, 64, 64))  # fmt: skip
    quality = torch.tensor([1.0, 4.0])
    expected = (1.5 + 0.007 * (4 + 0.0185 * 3) + 2 + 0.072 * (8 + 0.0185 * 6)) / 2
    assert outcome.paper_loss(quality).item() == pytest.approx(expected, rel=1e-5)
    snapshots: list[Snapshot] = []
    session.train([str(data)], str(tmp_path / "run"), network=replace(CONFIG, paper=True),
                  report=snapshots.append, report_every=1, **FEW | {"first": 0.0, "last": 0.0})  # fmt: skip
    for snapshot in snapshots:  # a cost in bits a pixel, not its logarithm
        assert snapshot.loss > snapshot.y_bpp + snapshot.z_bpp


def test_a_saving_of_1_per_cent_counts_the_same_for_each_image() -> None:
    """Two images at qualities 0 and 7 cost 0.2 and 8 bits per pixel, half of it distortion."""
    quality, zero = torch.tensor([0.0, 7.0]), torch.zeros(2)
    bpp = torch.tensor([0.1, 4.0], requires_grad=True)
    mse = (bpp / lambda_of(quality)).detach()
    Outcome(bpp, zero, mse, mse, zero, zero).loss(quality, 0).backward()
    assert bpp.grad is not None
    small, large = (bpp.grad * bpp).tolist()
    assert small == pytest.approx(large, rel=0.1) and large == pytest.approx(0.25, rel=0.15)


def test_the_error_before_the_filter_costs_too(data: Path) -> None:
    """Otherwise the network relies on the filter."""
    model = TrainingModel(CONFIG).train()
    model.set_stage(2)
    x, quality = Crops(load_images([data], 64), 64, 4).batch(4), torch.arange(4.0)
    outcome = model(x, quality)
    assert (outcome.mse < outcome.unfiltered).all()
    drifted = replace(outcome, unfiltered=4 * outcome.unfiltered)
    assert drifted.loss(quality, 0) > outcome.loss(quality, 0)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_every_stage_trains_what_it_should(stage: int, data: Path, tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, CONFIG, torch.device("cpu"))
    trainer.begin_stage(stage)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    crops = Crops(load_images([data], 64), 64, 0)
    trainer.run(crops, Options(batch=2, side=64, psi=0.0, max_steps=3), lambda _: None)
    moved = {n for n, p in trainer.model.named_parameters() if not torch.equal(p, before[n])}
    expected = {
        "net.analysis.shortcut.weight": stage < 3,
        "net.analysis.eighths.0.expand.weight": stage == 2,
        "net.hyper_encoder.layers.0.weight": stage < 3,
        "net.log_gain": stage < 3,
        "net.log_inverse_gain": True,
        "net.synthesis.shortcut.weight": True,
        "net.synthesis.blocks.0.0.weight": stage > 1,
        "net.synthesis.refinement.last.weight": stage > 1,
        "net.parameters_of_y.networks.1.hidden.0.weight": True,
    }
    assert {name: name in moved for name in expected} == expected
    assert all(bool(torch.isfinite(p).all()) for p in trainer.model.parameters())
    apart = [n for n, p in trainer.ema.items() if not torch.equal(p, trainer.model.state_dict()[n])]
    assert "net.log_inverse_gain" in apart  # the average follows more slowly


@given(seed=st.integers(0, 2**16), log_scale=st.floats(-3, 3), weight=st.floats(0, 20))
def test_training_rounds_latents_as_the_encoder(seed: int, log_scale: float, weight: float) -> None:
    """Up to rounding ties: the encoder uses code lengths of tables, training those of Gaussians."""
    scale_index = round((log_scale - LOG_SCALE_LOW) * INDEX_PER_NAT)
    exact = LOG_SCALE_LOW + scale_index / INDEX_PER_NAT
    generator = torch.Generator().manual_seed(seed)
    residual = math.exp(exact) * torch.randn(1, 2, 5, 5, generator=generator).clamp(-3, 3)
    log_scales = torch.full_like(residual, exact)
    weights = torch.full((1, 2, 1, 1), weight)
    ours = residual.round() + rate_offset(residual, log_scales, weights)
    theirs = round_for_rate(
        residual[0].flatten(1), np.full(50, scale_index, np.uint8), tables.plain_tables(), np.full(2, weight)
    )
    assert (ours.flatten().numpy() != theirs).mean() <= 0.04  # next to ties


# ---- resuming ----------------------------------------------------------------------------------------------------


def test_a_finished_run_can_be_resumed(trained: tuple[Path, list[Snapshot]], tmp_path: Path, rows: None) -> None:
    run = copy_of(trained[0], tmp_path / "run")
    snapshots: list[Snapshot] = []
    options = FEW | {"max_steps": 5}
    session.train([], str(run), resume=True, report=snapshots.append, report_every=1, **options)
    assert [(snapshot.stage, snapshot.step) for snapshot in snapshots] == [(3, 4), (3, 5)]
    assert checkpoint.load(run)[1].total_steps == STEPS + 2


def test_resuming_restores_everything(trained: tuple[Path, list[Snapshot]], tmp_path: Path) -> None:
    tensors, progress, config = checkpoint.load(trained[0])
    trainer = Trainer(tmp_path, Config.from_json(config), torch.device("cpu"), seed=1)
    trainer.restore(tensors, progress)
    trainer.save()
    again, progress_again, config_again = checkpoint.load(tmp_path)
    assert (progress_again, config_again) == (progress, config)
    assert again.keys() == tensors.keys()
    assert any(name.startswith("optimizer1.") for name in tensors)
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)


class Killed(BaseException):
    """Stands for a signal that cannot be caught."""


def killed_at(stage: int, step: int) -> Callable[[Snapshot], None]:
    def report(snapshot: Snapshot) -> None:
        if (snapshot.stage, snapshot.step) == (stage, step):
            raise Killed

    return report


@pytest.mark.parametrize("moment", [(1, 2), (2, 2), (3, 2)], ids=str)
def test_a_killed_run_resumes_from_its_last_state(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: tuple[int, int]
) -> None:
    monkeypatch.setattr("dmecodec.train.trainer._SAVE_EVERY_MINUTES", 0.0)  # after every step
    run = str(tmp_path / "run")
    arguments: dict[str, Any] = FEW | {"report_every": 1}
    with pytest.raises(Killed):
        session.train([str(data)], run, init="tiny", report=killed_at(*moment), **arguments)
    snapshots: list[Snapshot] = []
    session.train([], run, resume=True, report=snapshots.append, **arguments)
    # The step that was reported last had not been saved.
    assert (snapshots[0].stage, snapshots[0].step) == moment
    assert (snapshots[-1].stage, snapshots[-1].step) == (3, 3)
    assert checkpoint.load(tmp_path / "run")[1].total_steps == STEPS


def test_a_run_killed_before_its_first_state_can_be_started_again(data: Path, tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    arguments: dict[str, Any] = FEW | {"report_every": 1, "init": "tiny"}
    with pytest.raises(Killed):
        session.train([str(data)], run, report=killed_at(1, 1), **arguments)
    session.train([str(data)], run, **arguments)


KILL_IN_SECOND_STATE = """
import os, signal
sync, count = os.fsync, [0]
def killed(descriptor):
    count[0] += 1
    if count[0] == 3:  # the settings and the state of stage 1 were synced before
        os.ftruncate(descriptor, 1000)
        os.kill(os.getpid(), signal.SIGKILL)
    sync(descriptor)
os.fsync = killed
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_run_killed_by_a_signal_resumes(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    few = ["--side", 64, "--batch", 1, "--max-steps", 1, "--device", "cpu", "--stage-1", 0.5]
    process = start_command("train", data, "--out", run, "--init", "tiny", *few,
                            before=KILL_IN_SECOND_STATE)  # fmt: skip
    _, err = process.communicate(timeout=200)
    assert process.returncode == -signal.SIGKILL, err
    assert len(list(run.glob(".*.part"))) == 1
    assert checkpoint.load(run)[1].stage == 1
    session.train([], str(run), resume=True, device="cpu")
    progress = checkpoint.load(run)[1]
    assert (progress.stage, progress.total_steps) == (3, 3)
    assert not list(run.glob(".*.part"))


def test_a_kill_while_the_state_is_written_leaves_the_last_one(
    trained: tuple[Path, list[Snapshot]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy_of(trained[0], tmp_path / "run")
    before = (run / "state.safetensors").read_bytes()

    def killed(descriptor: int) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", killed)
        with pytest.raises(Killed):
            session.train([], str(run), resume=True, **(FEW | {"max_steps": 4}))
    assert (run / "state.safetensors").read_bytes() == before
    session.train([], str(run), resume=True, **(FEW | {"max_steps": 4}))
    assert checkpoint.load(run)[1].total_steps == STEPS + 1


def test_resume_needs_a_run_and_a_run_needs_resume(
    trained: tuple[Path, list[Snapshot]], data: Path, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="no run to resume here"):
        session.train([str(data)], str(tmp_path / "nowhere"), resume=True, **FEW)
    before = (trained[0] / "state.safetensors").read_bytes()
    with pytest.raises(OptionError, match="keeps its network"):
        session.train([], str(trained[0]), resume=True, network="paper", **FEW)
    with pytest.raises(OptionError, match="holds a run; add --resume"):
        session.train([str(data)], str(trained[0]), **FEW)
    assert (trained[0] / "state.safetensors").read_bytes() == before
    with pytest.raises(OptionError, match="name the folders or shards"):
        session.train([], str(tmp_path / "new"), **FEW)


def test_a_run_does_not_go_where_a_file_is(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    message = refused("train", data, "--out", tmp_path / "file")
    assert f"{tmp_path / 'file'}: a run needs a folder" in message


def test_a_damaged_state_is_refused(trained: tuple[Path, list[Snapshot]], tmp_path: Path) -> None:
    run = copy_of(trained[0], tmp_path / "run")
    whole = (run / "state.safetensors").read_bytes()
    for damaged in (whole[:-1], whole[:1000], b"", bytes(100)):
        (run / "state.safetensors").write_bytes(damaged)
        with pytest.raises(ModelError, match="not the state of a training run"):
            session.train([], str(run), resume=True, **FEW)
    (run / "state.safetensors").write_bytes(whole)
    tensors, progress, config = checkpoint.load(run)
    for config_text, kept in (("{}", tensors), ('{"hyper": -1}', tensors), (config, {})):
        checkpoint.save(run, kept or {"a": torch.zeros(1)}, progress, config_text)
        with pytest.raises(ModelError, match="its state is damaged"):
            session.train([], str(run), resume=True, **FEW)
    bare = {"progress": json.dumps(dataclasses.asdict(progress))}
    (run / "state.safetensors").write_bytes(safetensors.torch.save(tensors, bare))
    with pytest.raises(ModelError, match="not the state of a training run"):
        session.train([], str(run), resume=True, **FEW)


def test_a_resumed_run_keeps_its_settings(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    snapshots: list[Snapshot] = []
    begun = {"time_budget": 50.0, "side": 64, "batch": 3, "max_steps": 1, "psi": 0.0, "first": 0.3, "last": 0.2}
    session.train([str(data)], str(run), init="tiny", device="cpu", **begun)
    session.train([], str(run), resume=True, device="cpu", max_steps=2, report=snapshots.append, report_every=1)
    remembered = json.loads((run / "settings.json").read_text())
    assert remembered | begun | {"max_steps": 2} == remembered
    assert remembered["data"] == [str(data)]
    assert sorted(path.name for path in run.iterdir()) == ["settings.json", "state.safetensors"]
    assert (snapshots[-1].stage, snapshots[-1].step) == (3, 2)


@pytest.mark.parametrize("wrong", [{"side": "64"}, {"data": [3]}, {"val": 1}, {"rate": None}])
def test_settings_of_other_types_are_refused(
    trained: tuple[Path, list[Snapshot]], tmp_path: Path, wrong: dict[str, Any]
) -> None:
    run = copy_of(trained[0], tmp_path / "run")
    settings = json.loads((run / "settings.json").read_text())
    (run / "settings.json").write_text(json.dumps(settings | wrong))
    with pytest.raises(ModelError, match="no readable settings"):
        session.train([], str(run), resume=True)


def test_networks_by_name(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = {"side": 64, "batch": 1, "max_steps": 1, "device": "cpu", "time_budget": 0.01}
    session.train([str(data)], str(run), network="fast", **arguments)
    _, _, config = checkpoint.load(run)
    assert Config.from_json(config) == FAST
    with pytest.raises(OptionError, match="no network slow; there are dmenet, fast, paper"):
        session.train([str(data)], str(tmp_path / "other"), network="slow", **arguments)


def test_the_network_of_the_paper_has_no_stage_1(data: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, slices=(24,), hidden=(0,), checkered=0, paper=True)
    arguments = {"side": 64, "batch": 2, "max_steps": 1, "device": "cpu", "network": config}
    snapshots: list[Snapshot] = []
    run = str(tmp_path / "run")
    session.train([str(data)], run, report=snapshots.append, report_every=1, **arguments)
    assert [(snapshot.stage, snapshot.step) for snapshot in snapshots] == [(2, 1), (3, 1)]
    assert snapshots[0].done < 1 / 3600  # of the two hours that are the default
    with pytest.raises(OptionError, match="stage 1 trains the shortcut"):
        session.train([str(data)], str(tmp_path / "other"), first=0.5, **arguments)
    with pytest.raises(OptionError, match="at most 1 together"):
        session.train([str(data)], str(tmp_path / "other"), first=0.5, last=0.6, device="cpu")
    with pytest.raises(OptionError, match="leave out --network"):
        session.train([str(data)], str(tmp_path / "other"), init="tiny", network="paper")


def test_a_resumed_run_is_checked_with_its_own_network(data: Path, tmp_path: Path) -> None:
    few = FEW | {"first": 0.0, "max_steps": 1}
    session.train([str(data)], str(tmp_path / "run"), network=replace(CONFIG, paper=True), **few)
    with pytest.raises(OptionError, match="stage 1 trains the shortcut"):
        session.train([], str(tmp_path / "run"), resume=True, first=0.5)


def test_stage_3_takes_what_stage_1_leaves(data: Path, tmp_path: Path) -> None:
    snapshots: list[Snapshot] = []
    arguments = {"side": 64, "batch": 2, "max_steps": 1, "device": "cpu", "network": CONFIG}
    run = str(tmp_path / "run")
    session.train([str(data)], run, first=1.0, report=snapshots.append, report_every=1, **arguments)
    assert [snapshot.stage for snapshot in snapshots] == [1]


# ---- starting from a model ----------------------------------------------------------------------------------------


def test_a_start_from_a_model_has_its_rates_and_errors(data: Path, tmp_path: Path, rows: None) -> None:
    arguments: dict[str, Any] = FEW | {"max_steps": 0, "init": "tiny"}
    started: Any = session.train([str(data)], str(tmp_path / "run"), **arguments)
    images = load_images([data], 64)
    frozen = evaluate.frozen_rates(registry.find("tiny").path, images, tables.plain_tables())
    for ours, theirs in zip(started, frozen, strict=True):
        assert ours.bpp == pytest.approx(theirs.bpp, rel=0.02)
        assert ours.z_share == pytest.approx(theirs.z_share, rel=0.03)
    for quality in (0, 4, 7):
        files = [dmecodec.decode(dmecodec.encode(image, quality)) for image in images]
        reached = np.mean([psnr(a, b) for a, b in zip(files, images, strict=True)])
        # The encoder rounds for the rate, which costs some PSNR; the table rounds plainly.
        assert started[quality].psnr == pytest.approx(reached, abs=0.6)


def test_a_start_needs_the_distribution_of_z(data: Path, tmp_path: Path) -> None:
    tensors, metadata = read_file(registry.find("tiny").path)
    kept = {name: value for name, value in tensors.items() if not name.startswith("training.")}
    path = tmp_path / "without.safetensors"
    path.write_bytes(safetensors.torch.save(kept, metadata))
    with pytest.raises(ModelError, match="cannot be trained on"):
        session.train([str(data)], str(tmp_path / "run"), init=str(path), **FEW)


def test_a_start_from_a_damaged_model_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"no model")
    tensors, metadata = read_file(registry.find(None).path)
    for name, config in (("b", {}), ("c", {"config": "{}"}), ("d", {"config": "[]"})):
        changed = {k: v for k, v in metadata.items() if k != "config"} | config
        (tmp_path / f"{name}.safetensors").write_bytes(safetensors.torch.save(tensors, changed))
    named = [(str(tmp_path / f"{name}.safetensors"), "model|trained") for name in "abcd"]
    for init, reason in (("nonsense", "no such model"), *named):
        with pytest.raises(ModelError, match=reason):
            session.train([str(data)], str(tmp_path / "run"), init=init, **FEW)
    assert not (tmp_path / "run").exists()


# ---- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_a_loss_that_is_not_finite_stops_the_run(
    trained: tuple[Path, list[Snapshot]], tmp_path: Path, poison: float
) -> None:
    run = copy_of(trained[0], tmp_path / "run")
    tensors, progress, config = checkpoint.load(run)
    name = next(n for n in tensors if n.startswith("model.net.synthesis") and n.endswith("weight"))
    tensors[name].fill_(poison)
    checkpoint.save(run, tensors, progress, config)
    before = (run / "state.safetensors").read_bytes()
    with pytest.raises(DmecodecError, match="the loss is no longer finite; resume from"):
        session.train([], str(run), resume=True, **(FEW | {"max_steps": 5}))
    assert (run / "state.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"side": 100},
        {"side": 0},
        {"batch": 0},
        {"time_budget": 0.0},
        {"seed": -1},
        {"rate": 0.0},
        {"rate": math.nan},
        {"psi": -1.0},
        {"time_budget": math.nan},
        {"first": -1.0},
        {"first": math.nan},
        {"last": -0.5},
        {"max_steps": -1},
    ],
    ids=str,
)
def test_options_out_of_range(data: Path, tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        session.train([str(data)], str(tmp_path / "run"), **(FEW | wrong))
