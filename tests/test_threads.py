"""The bytes of a file do not depend on the number of threads."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import aerial, in_mode

import dmecodec
from dmecodec.base.boxes import Box
from dmecodec.base.threads import side_by_side
from dmecodec.codec import analysis, annealing
from dmecodec.codec.decoder import Decoder
from dmecodec.format.reader import Reader
from dmecodec.network.config import Config, get_config
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


def encoded_with(threads: Sequence[int], image: np.ndarray, *args: Any, **options: Any) -> set[bytes]:
    """The different files from encoding with these numbers of threads."""
    files = set()
    for count in threads:
        torch.set_num_threads(count)
        files.add(dmecodec.encode(image, *args, **options))
    return files


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("effort", "quality", "height", "width", "tile"),
    [(1, 4, 400, 528, 1024), (0, 1, 333, 100, 1024), (1, 2, 300, 300, 128), (2, 2, 128, 300, 1024)],
)
def test_the_number_of_threads_changes_no_byte(
    model: str, effort: int, quality: int, height: int, width: int, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At sizes at which the last bits of torch's own parallel operations change."""
    monkeypatch.setattr(annealing, "STEPS", 3)
    image = aerial(40, height, width)
    assert len(encoded_with((1, 2, 3, 5), image, quality, model=model, effort=effort, tile=tile)) == 1


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize(
    ("mode", "height", "width", "options"),
    [
        ("L", 400, 528, {}),
        ("RGBA", 400, 528, {}),  # pixels under alpha 0 are filled
        ("RGB", 200, 210, {"max_error": 0}),
        ("RGB", 200, 210, {"max_error": 3}),
        ("RGB", 300, 333, {"nodata": 0}),
    ],
    ids=str,
)
def test_nor_with_other_modes_and_options(mode: str, height: int, width: int, options: dict[str, int]) -> None:
    image = in_mode(aerial(41, height, width), mode)
    if "nodata" in options:
        image[40:150, 100:260] = 0
    assert len(encoded_with((1, 2, 3, 5), image, model=MODELS[-1], **options)) == 1


@pytest.mark.usefixtures("_threads")
def test_nor_the_pixels_that_a_search_measures() -> None:
    """Bit for bit, so that ties between qualities are broken the same way."""
    model = weights.load(registry.find(MODELS[-1]), CPU)
    image = aerial(43, 400, 700)
    data = dmecodec.encode(image, 5, model=MODELS[-1])
    whole, decoded = Box(0, 0, 700, 400), []
    for threads in (1, 2, 3, 5):
        torch.set_num_threads(threads)
        decoded.append(Decoder(Reader(data), model, steady=True)._synthesise(whole, 0))
    assert all(torch.equal(pixels, decoded[0]) for pixels in decoded)
    plain = Decoder(Reader(data), model)._synthesise(whole, 0)
    assert (plain - decoded[0]).abs().max() < 1  # of a level


GATED = Config(channels=16, hyper=8, slices=(8, 16), hidden=(16, 16), checkered=1, eighths=(3, 16), sixteenths=(2, 16))


@pytest.mark.parametrize("config", [get_config("fast"), get_config("paper"), GATED])
@pytest.mark.parametrize("rows", [1, 2, 16, 17, 33, 72])
def test_strips_give_the_same_as_the_whole(config: Config, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32 with random weights, so that an error at a seam is large."""
    monkeypatch.setattr(analysis, "autocast", lambda _: contextlib.nullcontext())
    torch.manual_seed(rows)
    net = DMENet(config).eval().requires_grad_(False)
    for p in net.parameters():
        if p.ndim > 1:
            p.normal_(0, 2 / p[0].numel() ** 0.5)
    model = SimpleNamespace(net=net, device=CPU)
    pixels = torch.rand(1, 3, 16 * rows, 32)
    y = torch.randn(1, net.config.latents, 4 * rows, 8)
    with torch.inference_mode():
        expected, in_strips = net.analysis(pixels), analysis.latents_of(model, pixels)  # type: ignore[arg-type]
        assert torch.allclose(in_strips, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
        expected, in_strips = net.hyper_encoder(y), analysis.hyper_latents_of(model, y)  # type: ignore[arg-type]
        assert torch.allclose(in_strips, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_a_strip_without_its_margin_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows that the test above can fail."""
    monkeypatch.setattr(analysis, "SDPM_REACH", 0)
    with pytest.raises(AssertionError):
        test_strips_give_the_same_as_the_whole(get_config("fast"), 33, monkeypatch)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.usefixtures("_threads")
def test_a_forked_child_starts_its_own_threads() -> None:
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
def test_each_part_runs_on_a_single_thread() -> None:
    torch.set_num_threads(3)
    results = side_by_side(lambda part: (part, torch.get_num_threads()), list(range(8)), CPU)
    assert results == [(part, 1) for part in range(8)]
    assert torch.get_num_threads() == 3
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        modes = side_by_side(lambda _: (torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")), [0], CPU)
    assert modes == [(True, True)]
    with torch.no_grad():
        assert side_by_side(lambda _: torch.is_grad_enabled(), [0], CPU) == [False]


@pytest.mark.usefixtures("_threads")
def test_an_exception_in_a_part_is_raised() -> None:
    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda part: 1 // part, [1, 0, 1], CPU)
