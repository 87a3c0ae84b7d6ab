"""What the benchmarks share: pictures, clocks, and a line about the machine."""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from dmecodec.base.processor import computes_in_bf16, cpu_info
from dmecodec.images.headers import IMAGE_SUFFIXES

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def add_image_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", nargs="+", type=Path, default=[], help="images or folders to make a mosaic of")


def mosaic(paths: Sequence[Path], width: int, height: int) -> Image.Image:
    """Copies of images side by side, mirrored from one round to the next; else a synthetic one."""
    files: list[Path] = []
    for path in paths:
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        files += [f for f in inside if f == path or f.suffix.lower() in IMAGE_SUFFIXES]
    tiles = [Image.open(file).convert("RGB") for file in files] or [synthetic()]
    side_x, side_y = min(tile.width for tile in tiles), min(tile.height for tile in tiles)
    canvas, used = Image.new("RGB", (width, height)), 0
    for row in range(0, height, side_y):
        for col in range(0, width, side_x):
            tile = tiles[used % len(tiles)].crop((0, 0, side_x, side_y))
            if used // len(tiles) % 2:
                tile = tile.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            canvas.paste(tile, (col, row))
            used += 1
    return canvas


def synthetic(side: int = 1024, seed: int = 0) -> Image.Image:
    """Noise of every scale, its power falling as in a photograph."""
    rng = np.random.default_rng(seed)
    total = np.full((side, side, 3), 128.0)
    cells = 4
    while cells <= side:
        noise = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        grown = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
        total += (np.asarray(grown, dtype=np.float64) - 128) * (2 / cells) ** 0.7
        cells *= 2
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def medians(tasks: Mapping[str, Callable[[], object]], rounds: int, clock: str = "wall") -> dict[str, float]:
    """Median seconds of each task; rounds are interleaved, so that a busy machine slows all alike."""
    now = CLOCKS[clock]
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()
    for _ in range(rounds):
        for name, task in tasks.items():
            began = now()
            task()
            times[name].append(now() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def machine(threads: int) -> str:
    """Processor, date, versions and threads, as one line."""
    packages = ("torch", "numpy", "constriction", "pillow")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{_processor()}, {platform.system()}; Python {platform.python_version()}, {versions}; "
        f"threads: {threads}; {datetime.date.today()}"
    )


def _processor() -> str:
    name = cpu_info().get("model name") or platform.processor() or platform.machine()
    return f"{name} ({'bf16' if computes_in_bf16() else 'float32'})"
