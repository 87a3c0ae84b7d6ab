"""Every script of examples/, run as its first lines say."""

from __future__ import annotations

import functools
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import environment
from conftest import DATA, aerial
from PIL import Image

import dmecodec

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="needs the source tree")


def run(name: str, *arguments: object) -> str:
    """What an example prints."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "scenes" / "scene.png"
    path.parent.mkdir()
    Image.fromarray(aerial(7, 96, 160)).save(path)
    return path


def test_folder_to_folder(scene: Path, tmp_path: Path) -> None:
    (scene.parent / "readme.txt").write_text("no image")
    out = run("folder_to_folder", scene.parent, tmp_path / "coded", tmp_path / "decoded", "--quality", 2)
    assert "scene.png: " in out and "readme.txt" in out
    coded = (tmp_path / "coded" / "scene.dmen").read_bytes()
    with Image.open(tmp_path / "decoded" / "scene.tif") as image:
        np.testing.assert_allclose(np.asarray(image).astype(int), dmecodec.decode(coded), atol=1)


def test_window_by_window(scene: Path, tmp_path: Path) -> None:
    path = tmp_path / "scene.dmen"
    path.write_bytes(dmecodec.encode(scene, 2, tile=64))
    lines = run("window_by_window", path, "--side", 64).splitlines()
    assert len(lines) == 6 and lines[-1].startswith("128 64 32 32 ")


def test_with_pillow(scene: Path, tmp_path: Path) -> None:
    out = run("with_pillow", scene, tmp_path / "scene.dmen", tmp_path / "small.png")
    assert out == "DMEN (160, 96) RGB\n"
    with Image.open(tmp_path / "small.png") as image:
        assert image.size == (128, 77)


def test_zarr_with_xarray(scene: Path, tmp_path: Path) -> None:
    pytest.importorskip("xarray", reason="needs xarray")
    pytest.importorskip("zarr", minversion="3.1", reason="needs dmecodec[zarr]")
    out = run("zarr_with_xarray", scene, tmp_path / "scene.zarr", "--chunk", 64)
    assert out.startswith("{'y': 64, 'x': 64, 'band': 3} mean ")


def test_training_on_own_scenes(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("compressai", reason="training needs compressai")
    from dmecodec.train import session

    short = functools.partial(session.freeze_run, batches=1, table_batches=4)
    monkeypatch.setattr(session, "freeze_run", short)
    model, target = tmp_path / "mine.safetensors", tmp_path / "scene.dmen"
    few = ["--init", DATA / "tiny.safetensors", "--max-steps", 1, "--side", 64, "--batch", 1]
    arguments = [scene.parent, tmp_path / "run", model, scene, target, *few]
    monkeypatch.setattr(sys, "argv", ["train_on_own_scenes.py", *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / "train_on_own_scenes.py"), run_name="__main__")
    assert f"wrote {model}" in capsys.readouterr().out
    assert dmecodec.decode(target.read_bytes(), model=model).shape == (96, 160, 3)
