"""Rate and distortion of a network on whole images, with rates estimated from likelihoods, to compare runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..base.device import autocast
from ..codec import tile as codec
from ..entropy.rans import Tables
from ..format.limits import QUALITY_STEPS
from ..network.lambdas import LAMBDAS
from ..weights.model import load_file
from .model import TrainingModel

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Row:
    """Means over images at one quality.

    Attributes:
        quality: 0 to 7.
        bpp: bits per pixel of y and z.
        z_share: share of z in them.
        psnr: in dB; NaN if it was not measured.
    """

    quality: int
    bpp: float
    z_share: float
    psnr: float


def _padded(image: np.ndarray) -> Tensor:
    """uint8 (h, w, 3) to float32 (1, 3, H, W) in 0..1, sides padded to multiples of 64 by repeating the border."""
    x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
    height, width = image.shape[:2]
    return F.pad(x, (0, -width % 64, 0, -height % 64), mode="replicate")


def rate_distortion(model: TrainingModel, images: list[np.ndarray]) -> list[Row]:
    """Measures the float graph at each quality, with plain rounding and without the restoration filter.

    Args:
        model: in any mode; it is set to evaluation.
        images: uint8 (h, w, 3).
    """
    model = model.eval()
    device = model.net.log_gain.device
    rows = []
    for quality in range(len(LAMBDAS)):
        sums = np.zeros(3)
        for image in images:
            x = _padded(image).to(device)
            with torch.inference_mode(), autocast(device):
                outcome = model(x, torch.tensor([float(quality)], device=device))
            sums += _measure(image, x, outcome.y_bpp, outcome.z_bpp, outcome.reconstruction)
        bpp, z_bpp, psnr = sums / len(images)
        rows.append(Row(quality, bpp, z_bpp / bpp, psnr))
    return rows


def _measure(image: np.ndarray, x: Tensor, y: Tensor, z: Tensor, reconstruction: Tensor) -> np.ndarray:
    """bpp of y and z, bpp of z, and PSNR in dB, of the image without its padding."""
    height, width = image.shape[:2]
    share = x.shape[2] * x.shape[3] / (height * width)
    pixels = (reconstruction[0, :, :height, :width] * 255).round().clamp(0, 255).permute(1, 2, 0).cpu().numpy()
    mse = float(np.square(pixels - image).mean())
    bits = [float(y + z) * share, float(z) * share]
    return np.array([*bits, 10 * math.log10(255**2 / max(mse, 1e-3))])


def frozen_rates(
    path: Path, images: list[np.ndarray], y_tables: Tables | None = None, *, optimise: bool = False
) -> list[Row]:
    """Measures the rate of a frozen model by ideal code lengths.

    Args:
        path: path of the model file.
        images: uint8 (h, w, 3).
        y_tables: tables of y instead of those of the model.
        optimise: whether latents are rounded for rate and distortion, as in files, or plainly.
    """
    model = load_file(path, torch.device("cpu"))
    y_tables = y_tables or model.y_tables
    rows = []
    for quality in range(len(LAMBDAS)):
        total, total_z = 0.0, 0.0
        for image in images:
            x = _padded(image)
            with torch.inference_mode():
                with autocast(model.device):
                    y = model.net.analysis(x)
                y = y * model.net.gain(torch.tensor([float(quality)]))
                z, coded, _ = codec.encode_symbols(
                    model, y, quality * QUALITY_STEPS, error_weight=1.0 if optimise else None
                )
            bits_z = model.z_tables.bits(z.ravel(), codec.channels_of(z.shape))
            bits = sum(y_tables.bits(*symbols) for symbols in coded) + bits_z
            pixels = image.shape[0] * image.shape[1]
            total, total_z = total + bits / pixels, total_z + bits_z / pixels
        rows.append(Row(quality, total / len(images), total_z / max(total, 1e-9), math.nan))
    return rows


def table(rows: list[Row]) -> Table:
    """The rows as a table for the terminal."""
    from rich.table import Table

    result = Table("quality", "lambda", "bpp (estimated)", "z's share", "PSNR")
    for row in rows:
        result.add_row(
            str(row.quality), f"{LAMBDAS[row.quality]:g}", f"{row.bpp:.4f}", f"{row.z_share:.1%}", f"{row.psnr:.2f} dB"
        )
    return result
