"""Freezing a training run: the model file, its entry in the manifest, errors."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import aerial, psnr
from PIL import Image
from small_run import STEPS

import dmecodec
from dmecodec.errors import ModelError, OptionError, OutputError
from dmecodec.network import exact
from dmecodec.network.config import Config
from dmecodec.train import checkpoint, session
from dmecodec.train.data import load_images
from dmecodec.train.trainer import Snapshot, Trainer
from dmecodec.weights import registry
from dmecodec.weights.model import read_file

pytest.importorskip("compressai", reason="training needs compressai")


@pytest.fixture(scope="module")
def frozen(trained: tuple[Path, list[Snapshot]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The model file of the run, and the lines of freezing."""
    path = tmp_path_factory.mktemp("models") / "mine.safetensors"
    lines = session.freeze_run(str(trained[0]), str(path), batches=3, table_batches=12)
    return path, list(lines)


def test_a_frozen_model_codes(frozen: tuple[Path, list[str]], data: Path) -> None:
    path, _ = frozen
    image = aerial(1, 72, 80)
    sizes = []
    for quality in (0, 3.5, 7):
        file = dmecodec.encode(image, quality, model=path)
        sizes.append(len(file))
        assert psnr(dmecodec.decode(file, model=path), image) > 15
        assert file[6:14] == registry.find(path).id
    assert sizes == sorted(sizes)


def test_freezing_reports_its_cost(frozen: tuple[Path, list[str]]) -> None:
    path, lines = frozen
    assert lines[0].startswith(f"run of {STEPS} steps")
    assert any(str(path) in line and f"{path.stat().st_size} bytes" in line for line in lines)
    words = next(line for line in lines if "integer arithmetic" in line).split()
    assert abs(float(words[words.index("%") - 1])) < 2


def test_the_mean_of_runs(trained: tuple[Path, list[Snapshot]], data: Path, tmp_path: Path) -> None:
    """The mean of the weights of a run and of one that continued it."""
    first, second, other = trained[0], tmp_path / "second", tmp_path / "other"
    shutil.copytree(first, second)
    tensors, progress, config = checkpoint.load(first)
    ema = {k: v + 2 if k == "ema.net.log_gain" else v for k, v in tensors.items()}
    checkpoint.save(second, ema, progress, config)
    path = tmp_path / "mean.safetensors"
    options: dict[str, Any] = {"batches": 1, "table_batches": 1}
    lines = session.freeze_run(str(first), str(path), others=[str(second)], **options)
    assert sum(line.startswith("run of") for line in lines) == 2
    gain = read_file(path)[0]["log_gain"].float()
    assert torch.allclose(gain, tensors["ema.net.log_gain"] + 1, atol=1e-2)
    other_config = dataclasses.replace(Config.from_json(config), strip=9)
    Trainer(other, other_config, torch.device("cpu")).save()
    with pytest.raises(OptionError, match="same network"):
        list(session.freeze_run(str(first), str(path), others=[str(other)], overwrite=True))


def test_the_manifest_lists_the_model(frozen: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = frozen
    content = json.loads((path.parent / "manifest.json").read_text())
    (entry,) = content["models"]
    assert content["default"] == entry["name"] == "mine"
    assert entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setenv("DMECODEC_MODELS", str(path.parent))
    assert registry.find().path == path
    assert all(model["intact"] for model in registry.survey())


def test_an_existing_model_is_not_replaced(trained: tuple[Path, list[Snapshot]], tmp_path: Path) -> None:
    target = tmp_path / "a.safetensors"
    target.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists already; add --overwrite"):
        list(session.freeze_run(str(trained[0]), str(target), batches=1, table_batches=1))
    assert target.read_bytes() == b"old"


def test_freezing_measures_on_the_validation_images_of_the_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(aerial(77, 64, 128)).save(tmp_path / "held.png")
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    few = {"side": 64, "batch": 1, "max_steps": 1, "device": "cpu"}
    session.train([str(data)], str(run), init="tiny", val="held.png", **few)
    monkeypatch.chdir(data)
    of_run = session._images_to_freeze_on(run, (), None)
    assert [image.shape for image in of_run.validation] == [(64, 128, 3)]
    of_data = session._images_to_freeze_on(run, (str(data),), None)
    assert len(of_data.validation) == len(load_images([data], 64))


def test_a_layer_that_cannot_be_exact_is_an_error(
    trained: tuple[Path, list[Snapshot]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "EXACT_LIMIT", 300)
    with pytest.raises(ModelError, match="cannot be frozen"):
        list(session.freeze_run(str(trained[0]), str(tmp_path / "a.safetensors"), batches=1))
    assert not list(tmp_path.iterdir())


def test_freezing_needs_a_run_and_a_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no training run here"):
        list(session.freeze_run(str(tmp_path), str(tmp_path / "a.safetensors")))
    with pytest.raises(OptionError, match=r"must end in \.safetensors"):
        list(session.freeze_run(str(tmp_path), str(tmp_path / "a.bin")))
    with pytest.raises(OutputError, match="there is no folder"):
        list(session.freeze_run(str(tmp_path), str(tmp_path / "nowhere" / "a.safetensors")))


def test_a_damaged_manifest_is_an_error_before_freezing(trained: tuple[Path, list[Snapshot]], tmp_path: Path) -> None:
    for content in ("{", "[]", '{"models": []}', '{"default": "a", "models": [{}]}'):
        (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(ModelError, match=r"manifest\.json"):
            next(session.freeze_run(str(trained[0]), str(tmp_path / "mine.safetensors")))
    assert not (tmp_path / "mine.safetensors").exists()
