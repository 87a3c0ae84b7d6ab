"""The bytes of a file do not depend on the number of threads."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import threading
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
from dmecodec.base import machine, threads
from dmecodec.base.boxes import Box
from dmecodec.base.threads import in_order, side_by_side
from dmecodec.codec import analysis, annealing
from dmecodec.codec.decoder import Decoder
from dmecodec.errors import OptionError
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
    ("mode", "tile", "options"),
    [("RGB", 128, {}), ("RGBA", 128, {}), ("RGB", 256, {"max_error": 2}), ("RGB", 256, {"bpp": 0.5})],
    ids=str,
)
def test_tiles_and_blocks_side_by_side_give_the_same(
    mode: str, tile: int, options: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an image of several tiles and blocks; the pixels, too, as each block runs on one thread."""
    monkeypatch.setattr(threads, "cores", lambda: 5)
    image = in_mode(np.tile(aerial(44, 140, 260), (1, 8, 1)), mode)
    files = encoded_with((1, 5), image, model="dmenet-fast", tile=tile, **options)
    assert len(files) == 1
    decoded = []
    for count in (1, 5):
        torch.set_num_threads(count)
        decoded.append(dmecodec.decode(*files))
        assert dmecodec.File(io.BytesIO(*files)).verify(deep=True) is None
    assert all(np.array_equal(pixels, decoded[0]) for pixels in decoded)


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
    for count in (1, 2, 3, 5):
        torch.set_num_threads(count)
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
def test_parts_are_taken_ahead_and_finished_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 3)
    torch.set_num_threads(3)
    events: list[tuple[str, int]] = []

    def parts() -> Iterator[int]:
        for part in range(12):
            events.append(("taken", part))
            yield part

    def finish(part: int, result: int) -> None:
        assert (result, torch.get_num_threads()) == (-part, 3)
        events.append(("finished", part))

    in_order(slow_first, parts(), finish, CPU, several=True)
    assert [part for what, part in events if what == "finished"] == list(range(12))
    assert events.index(("finished", 0)) == 6  # of three threads: twice as many


def slow_first(part: int) -> int:
    """The negative of a part, the first after the others."""
    time.sleep(0.1 if part == 0 else 0)
    assert torch.get_num_threads() == 1
    return -part


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize(("free", "at_once"), [(None, 4), (1 << 40, 4), (900 << 20, 2), (0, 1)])
def test_fewer_threads_where_memory_is_short(free: int | None, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 4)
    monkeypatch.setattr(threads, "free_memory", lambda: free)
    torch.set_num_threads(4)
    lock, now, most = threading.Lock(), 0, 0

    def work(_: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1

    in_order(work, range(12), lambda part, result: None, CPU, several=True)
    assert most == at_once


@pytest.mark.usefixtures("_threads")
def test_an_exception_ends_the_parts_that_wait() -> None:
    torch.set_num_threads(2)
    done: list[int] = []

    def work(part: int) -> int:
        done.append(part)
        return 1 // part

    with pytest.raises(ZeroDivisionError):
        in_order(work, iter([1, 0, 1, 1, 1, 1, 1, 1]), lambda part, result: None, CPU, several=True)
    assert len(done) < 8


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("count", [0, -1, 1.5, "two", None, "0"])
def test_other_numbers_of_threads_are_refused(count: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match=r"threads .*: must be an integer of at least 1"):
        dmecodec.set_threads(count)
    monkeypatch.setenv("DMECODEC_THREADS", str(count))
    monkeypatch.setattr(threads, "_asks_environment", True)
    with pytest.raises(OptionError, match=r"DMECODEC_THREADS .*: must be an integer of at least 1"):
        dmecodec.encode(aerial(45, 64, 64), model="dmenet-fast")


@pytest.mark.usefixtures("_threads")
def test_who_says_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 3)
    monkeypatch.setattr(threads, "_asks_environment", True)
    monkeypatch.delenv("DMECODEC_THREADS", raising=False)
    torch.set_num_threads(2)
    assert threads.thread_count() == 2
    monkeypatch.setenv("DMECODEC_THREADS", "3")
    assert threads.thread_count() == 3
    dmecodec.set_threads(1)  # beats the environment
    assert threads.thread_count() == 1
    dmecodec.set_threads(16)
    assert threads.thread_count() == torch.get_num_threads() == 3


@pytest.mark.parametrize(
    ("files", "cores", "free"),
    [
        ({}, 8, 800),
        ({"cpu.max": "150000 100000", "memory.max": "500", "memory.current": "200",
          "memory.stat": "anon 1\ninactive_file 50"}, 2, 350),
        ({"cpu.max": "max 100000", "memory.max": "max", "memory.current": "200"}, 8, 800),
        ({"job/memory.max": "700", "job/memory.current": "400"}, 8, 300),
    ],
    ids=str,
)  # fmt: skip
def test_a_container_has_less(
    files: dict[str, str], cores: int, free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of memory in KiB here."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    groups = tmp_path / "cgroup"
    (groups / "job").mkdir(parents=True)
    for name, text in files.items():
        words = [str(int(word) << 10) if word.isdigit() and "memory" in name else word for word in text.split(" ")]
        text = " ".join(words) if "stat" not in name else f"anon 1\ninactive_file {50 << 10}"
        (groups / name).write_text(text)
    (tmp_path / "own").write_text("0::/job\n")
    (tmp_path / "meminfo").write_text("MemTotal: 1000 kB\nMemAvailable: 800 kB\n")
    for name, path in (("_CGROUPS", "cgroup"), ("_OWN", "own"), ("_MEMINFO", "meminfo")):
        monkeypatch.setattr(machine, name, tmp_path / path)
    assert (machine.cores(), machine.free_memory()) == (cores, free << 10)


@pytest.mark.usefixtures("_threads")
def test_an_exception_in_a_part_is_raised() -> None:
    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda part: 1 // part, [1, 0, 1], CPU)
