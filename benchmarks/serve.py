"""Memory and time of `dmecodec serve` on a large scene, with 16 requests at a time (Linux).

python benchmarks/serve.py SCENE.dmen
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import numpy as np
from common import machine

AT_ONCE = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "dmecodec", "serve", str(arguments.scene), "--port", "0"]
    variables = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables) as server:
        assert server.stdout is not None
        server.stdout.readline()
        address = server.stdout.readline().split("/ has")[0]
        try:
            measure(address, quote(arguments.scene.stem), server.pid, arguments.threads)
        finally:
            server.terminate()


def measure(address: str, name: str, process: int, threads: int) -> None:
    (scene,) = json.loads(fetch(f"{address}/scenes.json"))
    size = f"{scene['width']} x {scene['height']}"
    print(
        f"{machine(threads)}\n\n| {size}, quality {scene['quality']:g} | seconds | peak memory MiB |\n|---|---:|---:|"
    )
    last = scene["zooms"]
    cols, rows = scene["width"] // 256, scene["height"] // 256
    rng = np.random.default_rng(1)
    places = [(last, int(rng.integers(cols)), int(rng.integers(rows))) for _ in range(2 * AT_ONCE + 1)]
    show("a tile of single pixels, the first", process, lambda: tile(address, name, places[0]))
    show("the same again", process, lambda: tile(address, name, places[0]))
    with ThreadPoolExecutor(AT_ONCE) as pool:

        def several(wanted: list[tuple[int, int, int]]) -> list[bytes]:
            return list(pool.map(lambda place: tile(address, name, place), wanted))

        show(f"{2 * AT_ONCE} of them, {AT_ONCE} at a time", process, lambda: several(places[1:]))
        quarter = [(last - 2, int(rng.integers(cols // 4)), int(rng.integers(rows // 4))) for _ in range(AT_ONCE)]
        show(f"{AT_ONCE} tiles of one pixel in 4 x 4, at once", process, lambda: several(quarter))
    show("a tile of one pixel in 32 x 32: the whole scene", process, lambda: tile(address, name, (0, 0, 0)))


def tile(address: str, name: str, place: tuple[int, int, int]) -> bytes:
    z, x, y = place
    return fetch(f"{address}/{name}/pixels/{z}/{x}/{y}.png")


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=3600) as answer:
        return answer.read()


def show(what: str, process: int, work: Callable[[], object]) -> None:
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    peak = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{process}/status").read_text())
    assert peak is not None
    print(f"| {what} | {seconds:.2f} | {int(peak[1]) / 1024:.0f} |", flush=True)


if __name__ == "__main__":
    main()
