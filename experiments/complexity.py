"""Table 3: parameters, operations, memory and times of all networks at 3 x 256 x 256, in one run.

    python experiments/complexity.py --threads 1

Operations are two for a multiply-add. Times are medians of five calls on the CPU, entropy coding included, and memory
is the peak of a fresh process beyond imports, which the child processes measure of themselves. Weights are random: they
do not change the figures of the transforms, and dmecodec's models are the real ones.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from anchors import ANCHORS, parameters
from common import begin, images, parser, tensor, write_points
from torch.utils.flop_counter import FlopCounterMode

import dmecodec
from dmecodec.network import complexity

MODELS = {"dmenet-1": "dmenet", "dmenet-fast": "fast"}
PAPERS = {
    "factorized-relu": (5.56, 25.95, 0.032, 0.039),
    "hyperprior": (9.91, 26.49, 0.073, 0.077),
    "mbt2018": (12.05, 27.04, 0.593, 1.078),
    "tong2023": (27.55, 67.21, 0.701, 1.321),
    "shi2024": (36.87, 131.91, 1.156, 1.921),
    "paper": (5.30, 5.51, 0.166, 0.083),
}
"""Millions of parameters, GFLOPs, seconds of compression and reconstruction (on an RTX 3090) in the paper."""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--one", help="measure this network alone and print JSON")
    chosen = options.parse_args()
    if chosen.one:
        torch.set_num_threads(chosen.threads)
        print(json.dumps(measure(chosen.one, 5)))
        return
    begin(chosen)
    if chosen.smoke:
        rows = [{"network": "factorized-relu", **measure("factorized-relu", 1)}]
    else:
        rows = [{"network": name, **_in_a_process(name, chosen.threads)} for name in (*ANCHORS, "paper", *MODELS)]
    write_points(chosen.out / "complexity.csv", rows)


def _in_a_process(name: str, threads: int) -> dict[str, Any]:
    """:func:`measure` in a fresh process, whose peak memory is that of this network alone."""
    command = [sys.executable, __file__, "--one", name, "--threads", str(threads)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    row: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    print(name, row, flush=True)
    return row


@torch.no_grad()
def measure(name: str, rounds: int) -> dict[str, Any]:
    """One network: its counts, seconds, and MiB beyond what was there before it."""
    image = images([], True, 256)[0]
    before = _peak()
    if name in ANCHORS:
        counts, encode, decode = _anchor(name, image)
    else:
        counts, encode, decode = _ours(name, image)
    seconds: tuple[float | None, float | None] = (None, None)
    if name != "paper":  # no weights of it are shipped
        data = encode()
        seconds = _median(encode, rounds), _median(lambda: decode(data), rounds)
    columns = ("paper_parameters_m", "paper_gflops", "paper_encode_s", "paper_decode_s")
    return {
        **counts,
        **dict(zip(("encode_s", "decode_s"), seconds, strict=True)),
        "memory_mib": round(_peak() - before),
        **dict(zip(columns, PAPERS.get(name, [None] * 4), strict=True)),
    }


def _anchor(name: str, image: Any) -> tuple[dict[str, Any], Callable[[], Any], Callable[[Any], Any]]:
    model = ANCHORS[name]().eval()
    model.update()
    x = tensor(image)
    with FlopCounterMode(display=False) as counter:
        model(x)
    counts = {"parameters_m": parameters(model) / 1e6, "gflops": counter.get_total_flops() / 1e9}
    return counts, lambda: model.compress(x), lambda out: model.decompress(out["strings"], out["shape"])


def _ours(name: str, image: Any) -> tuple[dict[str, Any], Callable[[], Any], Callable[[Any], Any]]:
    parts = complexity.count(MODELS.get(name, name))
    total = next(part for part in parts if part.total)
    counts = {"parameters_m": total.parameters / 1e6, "gflops": total.flops / 1e9}
    return counts, lambda: dmecodec.encode(image, model=name), lambda data: dmecodec.decode(data)


def _median(call: Callable[[], Any], rounds: int) -> float:
    """Median seconds of a call."""
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return round(statistics.median(seconds), 4)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
