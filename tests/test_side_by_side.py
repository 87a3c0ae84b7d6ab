"""Bytes do not depend on how many threads there are."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import aerial

import dmecodec
from dmecodec.coding import annealing
from dmecodec.side_by_side import each

ROOT = Path(__file__).resolve().parent.parent
MODELS = sorted(path.stem for path in (ROOT / "models").glob("*.safetensors"))
CPU = torch.device("cpu")


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("effort", "quality", "height", "width", "tile"),
    [(1, 4, 400, 528, 1024), (0, 1, 333, 100, 1024), (1, 2, 300, 300, 128), (2, 2, 128, 300, 1024)],
)
def test_threads_change_no_byte(
    model: str,
    effort: int,
    quality: int,
    height: int,
    width: int,
    tile: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sizes at which torch's own threads change the last bits."""
    monkeypatch.setattr(annealing, "STEPS", 3)
    image, files = aerial(40, height, width), set()
    for threads in (1, 2, 3, 5):
        torch.set_num_threads(threads)
        files.add(dmecodec.encode(image, quality, model=model, effort=effort, tile=tile))
    assert len(files) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.usefixtures("_threads")
def test_a_fork_has_threads_of_its_own() -> None:
    torch.set_num_threads(2)
    assert each(abs, [-1, 2, -3], CPU) == [1, 2, 3]
    child = os.fork()
    if not child:
        os._exit(each(abs, [-1, 2, -3], CPU) != [1, 2, 3])
    for _ in range(100):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the child hangs")


@pytest.mark.usefixtures("_threads")
def test_each_part_on_a_single_thread() -> None:
    torch.set_num_threads(3)
    found = each(lambda part: (part, torch.get_num_threads()), list(range(8)), CPU)
    assert found == [(part, 1) for part in range(8)]
    assert torch.get_num_threads() == 3
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        modes = each(
            lambda _: (torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")),
            [0],
            CPU,
        )
    assert modes == [(True, True)]


@pytest.mark.usefixtures("_threads")
def test_what_fails_in_a_part_is_raised() -> None:
    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError):
        each(lambda part: 1 // part, [1, 0, 1], CPU)
