"""Draws docs/rate-distortion.svg: mean PSNR over mean rate of dmecodec and of Pillow's codecs on a folder of images.

    python docs/make_plot.py IMAGES docs/rate-distortion.svg

Every point is a whole file, decoded again.
"""

from __future__ import annotations

import argparse
from statistics import fmean
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from dmecodec.bench.codecs import AVIF, JPEG2000, Codec, Dmecodec, WebP
from dmecodec.bench.metrics import psnr
from dmecodec.bench.scene import find_images, load_scene


class SlowAVIF(AVIF):
    """AVIF as in `dmecodec bench`, but at speed 2, as in the tables of models/README.md."""

    def options(self, image: np.ndarray, setting: float) -> dict[str, Any]:
        """By quality."""
        return {**super().options(image, setting), "speed": 2}


def mean_curve(codec: Codec, images: list[np.ndarray], most: float) -> list[tuple[float, float]]:
    """Mean bits per pixel and mean PSNR at each setting of a codec, up to a rate."""
    curve = []
    for setting in codec.settings:
        files = [codec.encode(image, setting) for image in images]
        rates = [8 * len(data) / (image.shape[0] * image.shape[1]) for data, image in zip(files, images, strict=True)]
        errors = [psnr(image, codec.decode(data)) for data, image in zip(files, images, strict=True)]
        curve.append((fmean(rates), fmean(errors)))
    return sorted(point for point in curve if point[0] <= most)


def main() -> None:
    """Measures, prints the points and draws them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("target")
    parser.add_argument("--title", default="")
    parser.add_argument("--most", type=float, default=3.2, metavar="BPP", help="where the plot ends")
    arguments = parser.parse_args()

    images = [load_scene(path).pixels for path in find_images(arguments.folder)]
    curves = [
        ("dmecodec", Dmecodec(range(8), None, "auto"), "black"),
        ("AVIF 4:4:4", SlowAVIF(), "C3"),
        ("JPEG 2000", JPEG2000(), "C1"),
        ("WebP", WebP(), "C2"),
    ]
    mpl.rcParams["svg.hashsalt"] = "dmecodec"  # the same file every time
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axis = figure.subplots()
    for name, codec, colour in curves:
        width = 2.2 if name == "dmecodec" else 1.3
        curve = mean_curve(codec, images, arguments.most)
        print(name, *(f"{rate:.3f}:{quality:.2f}" for rate, quality in curve))
        axis.plot(*zip(*curve, strict=True), ".-", label=name, color=colour, lw=width, zorder=width)
    axis.set_xlabel("bits per pixel, mean of whole files")
    axis.set_ylabel("RGB PSNR in dB, mean")
    axis.set_title(arguments.title or f"{len(images)} images", fontsize="medium")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(arguments.target, metadata={"Date": None})


if __name__ == "__main__":
    main()
