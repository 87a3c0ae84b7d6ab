"""Ctrl-C in the middle of every command that takes time: one line, status 130, and nothing half-done is left."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from command import one_line, refused, start, works
from conftest import DATA, aerial
from PIL import Image

CODED = DATA / "rgb_tiles.dmen"
INTERRUPTED = 130

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


def ctrl_c_in(module: str, function: str) -> str:
    """Python that makes a process send itself Ctrl-C as it calls a function for the second time."""
    return f"""
import importlib, os, signal
holder = importlib.import_module({module!r})
*path, name = {function!r}.split(".")
for part in path:
    holder = getattr(holder, part)
function, calls = getattr(holder, name), []
def counted(*arguments, **options):
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGINT)
    return function(*arguments, **options)
setattr(holder, name, counted)
"""


def interrupted(*arguments: object, within: tuple[str, str]) -> str:
    """Standard output of a command that gets Ctrl-C within a function."""
    process = start(*arguments, before=ctrl_c_in(*within))
    out, err = process.communicate(timeout=120)
    assert process.returncode == INTERRUPTED, err.decode()
    assert one_line(err.decode()) == "interrupted"
    return out.decode()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_decode(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / "out" / f"a.{suffix}"
    within = ("dmecodec.codec.decoded_tile", "decode_tile")
    assert interrupted("decode", CODED, "-o", out, within=within) == ""
    assert not out.parent.exists()


def test_decode_keeps_what_stood_there(tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    out.write_bytes(b"what stood there")
    within = ("dmecodec.codec.decoded_tile", "decode_tile")
    interrupted("decode", CODED, "-o", out, "--overwrite", within=within)
    assert out.read_bytes() == b"what stood there"
    assert list(tmp_path.iterdir()) == [out]


def test_verify() -> None:
    interrupted("verify", "--deep", CODED, within=("dmecodec.codec.decoded_tile", "decode_tile"))


def test_several(tmp_path: Path) -> None:
    """What is done stays, whole; the others have no file."""
    for name in "abc":
        (tmp_path / f"{name}.dmen").write_bytes((DATA / "rgb_q4.dmen").read_bytes())
    within = ("dmecodec.codec.decoded_tile", "decode_tile")
    interrupted("decode", tmp_path, "-o", tmp_path / "out", "--quiet", within=within)
    (done,) = (tmp_path / "out").iterdir()
    works("decode", tmp_path / "a.dmen", "-o", tmp_path / "whole.png")
    assert done.name == "a.png"
    assert done.read_bytes() == (tmp_path / "whole.png").read_bytes()


def test_bench(tmp_path: Path) -> None:
    Image.fromarray(aerial(1, 64, 64)).save(tmp_path / "a.png")
    command = ("bench", tmp_path, "-q", 2, "-q", 4, "--codecs", "webp", "--out", tmp_path / "out")
    out = interrupted(*command, "--quiet", within=("dmecodec.codec.decoded_tile", "decode_tile"))
    assert out == ""
    assert not (tmp_path / "out").exists()


@pytest.fixture
def run(trained: tuple[Path, object], tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return shutil.copytree(trained[0], tmp_path / "run")


def test_train(run: Path) -> None:
    """The run goes on from its last state."""
    more = ("train", "--out", run, "--resume", "--max-steps", 6)
    interrupted(*more, within=("dmecodec.train.trainer", "Trainer._step"))
    assert "quality" in works(*more).out


def test_freeze(run: Path) -> None:
    out, before = run.parent / "a.safetensors", set(run.parent.iterdir())
    interrupted("freeze", run, "--out", out, within=("dmecodec.network.exact", "ExactConv.freeze"))
    assert set(run.parent.iterdir()) == before
    works("freeze", run, "--out", out)
    assert "exists" in refused("freeze", run, "--out", out)
