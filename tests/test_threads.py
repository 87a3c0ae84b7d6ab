"""Bytes do not depend on how many threads there are."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import aerial, in_mode

import dmecodec
from dmecodec.base.boxes import Box
from dmecodec.base.threads import side_by_side
from dmecodec.codec import analysis, annealing
from dmecodec.codec.decoder import Decoder
from dmecodec.format.reader import Reader
from dmecodec.network.config import get_config
from dmecodec.network.dmenet import DMENet
from dmecodec.weights import model as weights
from dmecodec.weights import registry

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


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_nor_in_other_modes(mode: str) -> None:
    """What lies under alpha 0 is filled in first."""
    image, files = in_mode(aerial(41, 400, 528), mode), set()
    for threads in (1, 2, 3, 5):
        torch.set_num_threads(threads)
        files.add(dmecodec.encode(image, model=MODELS[-1]))
    assert len(files) == 1


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("bound", [0, 3])
def test_nor_with_a_bound(bound: int) -> None:
    image, files = aerial(43, 200, 210), set()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        files.add(dmecodec.encode(image, model=MODELS[-1], max_error=bound))
    assert len(files) == 1


@pytest.mark.usefixtures("_threads")
def test_nor_with_nodata() -> None:
    image, files = aerial(42, 300, 333), set()
    image[40:150, 100:260] = 0
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        files.add(dmecodec.encode(image, model=MODELS[-1], nodata=0))
    assert len(files) == 1


@pytest.mark.usefixtures("_threads")
def test_nor_what_a_search_measures() -> None:
    """Down to the last bit of what the network makes, so that no tie between qualities is settled otherwise."""
    model = weights.load(registry.find(MODELS[-1]), CPU)
    image = aerial(43, 400, 700)
    data = dmecodec.encode(image, 5, model=MODELS[-1])
    whole, found = Box(0, 0, 700, 400), []
    for threads in (1, 2, 3, 5):
        torch.set_num_threads(threads)
        found.append(Decoder(Reader(data), model, steady=True)._synthesise(whole, 0))
    assert all(torch.equal(one, found[0]) for one in found)
    plain = Decoder(Reader(data), model)._synthesise(whole, 0)
    assert (plain - found[0]).abs().max() < 1  # of a level


@pytest.mark.parametrize("network", ["fast", "paper"])
@pytest.mark.parametrize("rows", [1, 2, 16, 17, 33, 72])
def test_strips_give_what_the_whole_gives(network: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32 and with random weights, so that nothing at a seam is small."""
    monkeypatch.setattr(analysis, "autocast", lambda _: contextlib.nullcontext())
    torch.manual_seed(rows)
    net = DMENet(get_config(network)).eval().requires_grad_(False)
    for p in net.parameters():
        if p.ndim > 1:
            p.normal_(0, 2 / p[0].numel() ** 0.5)
    model = SimpleNamespace(net=net, device=CPU)
    pixels = torch.rand(1, 3, 16 * rows, 32)
    y = torch.randn(1, net.config.latents, 4 * rows, 8)
    with torch.inference_mode():
        expected, found = net.analysis(pixels), analysis.latents_of(model, pixels)  # type: ignore[arg-type]
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
        expected, found = net.hyper_encoder(y), analysis.hyper_latents_of(model, y)  # type: ignore[arg-type]
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_a_strip_that_sees_too_little_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the test above can fail."""
    monkeypatch.setattr(analysis, "SDPM_REACH", 0)
    with pytest.raises(AssertionError):
        test_strips_give_what_the_whole_gives("fast", 33, monkeypatch)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.usefixtures("_threads")
def test_a_fork_has_threads_of_its_own() -> None:
    torch.set_num_threads(2)
    assert side_by_side(abs, [-1, 2, -3], CPU) == [1, 2, 3]
    child = os.fork()
    if not child:
        status = 1
        try:
            status = int(side_by_side(abs, [-1, 2, -3], CPU) != [1, 2, 3])
        finally:
            os._exit(status)
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
    found = side_by_side(lambda part: (part, torch.get_num_threads()), list(range(8)), CPU)
    assert found == [(part, 1) for part in range(8)]
    assert torch.get_num_threads() == 3
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        modes = side_by_side(
            lambda _: (torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")),
            [0],
            CPU,
        )
    assert modes == [(True, True)]
    with torch.no_grad():
        assert side_by_side(lambda _: torch.is_grad_enabled(), [0], CPU) == [False]


@pytest.mark.usefixtures("_threads")
def test_what_fails_in_a_part_is_raised() -> None:
    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda part: 1 // part, [1, 0, 1], CPU)
