"""Decoding at a reduced resolution: its quality, time and memory beside those of the whole decode.

    python benchmarks/reduced.py VAL/aerial [--side 4096]

Quality is the mean PSNR over the images, each against the mean of the original's pixels. Time and memory are those of
a mosaic of the images, decoded in a process of its own; memory is the peak beyond imports and model (Linux).
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import machine, mosaic
from PIL import Image

import dmecodec

POWERS = (1, 2, 3)
_RUN = """
import json, pathlib, re, sys, time
import dmecodec, torch
torch.set_num_threads(1)
def resident(name):
    return int(re.search(name + r":\\s*(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1024
with dmecodec.open(sys.argv[1]) as file:
    file.load_model()
    file.read((0, 0, 64, 64))
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, began = resident("VmRSS"), time.process_time()
    file.read(reduce=int(sys.argv[2]))
    print(json.dumps([time.process_time() - began, resident("VmHWM") - before]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=4096, help="of the mosaic, in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(machine(1), end="\n\n")
    quality(sorted(arguments.folder.glob("*.png")))
    cost(arguments.folder, arguments.side, arguments.rounds)


def means(x: np.ndarray, power: int) -> np.ndarray:
    """Means over whole squares of 2^power pixels a side: (h, w, bands)."""
    side = 1 << power
    height, width = (length // side for length in x.shape[:2])
    return x[: height * side, : width * side].reshape(height, side, width, side, -1).mean((1, 3))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(a - b).mean()))


def quality(paths: list[Path]) -> None:
    print("| quality | reduce | whole decode, averaged: dB | reduced: dB |\n|---:|---:|---:|---:|")
    for level in (1, 4):
        found: dict[int, list[tuple[float, float]]] = {power: [] for power in POWERS}
        for path in paths:
            original = np.asarray(Image.open(path).convert("RGB"))
            with dmecodec.File(io.BytesIO(dmecodec.encode(original, level))) as file:
                whole = file.read().astype(float)
                for power in POWERS:
                    wanted = means(original.astype(float), power)
                    reduced = file.read(reduce=power)[: wanted.shape[0], : wanted.shape[1]]
                    found[power].append((psnr(means(whole, power).round(), wanted), psnr(reduced, wanted)))
        for power, pairs in found.items():
            a, b = np.mean(pairs, 0)
            print(f"| {level} | {power} | {a:.2f} | {b:.2f} |")
    print()


def cost(folder: Path, side: int, rounds: int) -> None:
    print(f"| {side} x {side}, quality 4 | cpu s | MiB |\n|---|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        coded = Path(name) / "a.dmen"
        coded.write_bytes(dmecodec.encode(mosaic([folder], side, side), 4))
        runs: dict[int, list[list[float]]] = {power: [] for power in (0, *POWERS, 5)}
        for _ in range(rounds):
            for power, results in runs.items():
                results.append(run(coded, power))
        for power, results in runs.items():
            seconds, memory = np.median(results, 0)
            print(f"| reduce {power} | {seconds:.2f} | {memory:.0f} |")


def run(coded: Path, power: int) -> list[float]:
    command = [sys.executable, "-c", _RUN, str(coded), str(power)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
