"""What the experiments share: arguments, images, measures, files of raw points."""

from __future__ import annotations

import argparse
import csv
import datetime
import platform
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from dmecodec.base.processor import cpu_info
from dmecodec.bench import metrics
from dmecodec.train.data import load_images

warnings.filterwarnings("ignore", category=FutureWarning)  # of torch, by CompressAI

RESULTS = Path(__file__).parent / "results"
"""Raw points: one CSV per experiment. docs/results.md quotes them."""


PICTURES = Path(__file__).parent.parent / "docs" / "figures"


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the options of every experiment."""
    options = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    options.add_argument("--out", type=Path, default=RESULTS, help="folder for the raw points")
    options.add_argument("--smoke", action="store_true", help="a run of seconds that proves the script, not a result")
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    return options


def begin(options: argparse.Namespace) -> None:
    """Seeds, threads, and a line about the machine."""
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    print(machine(options.threads), flush=True)


def machine(threads: int) -> str:
    """Processor, threads, versions and date, as one line."""
    name = cpu_info().get("model name") or platform.processor() or platform.machine()
    return f"{name}, {threads} threads, torch {torch.__version__}, {datetime.date.today()}"


def images(paths: Sequence[Path], smoke: bool, side: int = 64) -> list[np.ndarray]:
    """RGB images (h, w, 3) uint8; four for a smoke run, synthetic where no path is given."""
    if smoke and not paths:
        rng = np.random.default_rng(0)
        return [np.kron(rng.integers(0, 256, (side // 8, side // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)] * 4
    loaded = load_images(paths, side)
    return loaded[:4] if smoke else loaded


def tensor(image: np.ndarray) -> Tensor:
    """uint8 (h, w, 3) to float32 (1, 3, h, w) in 0..1."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def pixels(x: Tensor) -> np.ndarray:
    """The inverse of :func:`tensor`, rounded."""
    levels: np.ndarray = x[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    return levels


def quality(original: np.ndarray, decoded: np.ndarray) -> dict[str, float | None]:
    """PSNR in dB and MS-SSIM in dB."""
    return {
        "psnr": metrics.psnr(original, decoded),
        "ms_ssim_db": metrics.similarity_db(metrics.ms_ssim(original, decoded)),
    }


def save_picture(figure: Figure, options: argparse.Namespace, name: str) -> None:
    """A figure for docs/results.md; that of a smoke run goes to its own folder."""
    folder = options.out if options.smoke else PICTURES
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.webp"
    figure.savefig(path, dpi=70, pil_kwargs={"quality": 90})
    print(f"wrote {path}", flush=True)


def write_points(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A CSV of raw points; nothing is written where there are none."""
    rows = list(rows)
    if not rows:
        return
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"wrote {path}", flush=True)
