"""Figs. 12 and 13: one scene from every codec at one rate, with PSNR and MS-SSIM, and a part of it enlarged.

    python experiments/crops.py docs/example.png --bpp 0.28

Each codec of Pillow gets the setting whose file comes nearest to the rate; dmecodec finds its quality by `bpp`.
The learned anchors of the paper are left out: after four core hours of training they are no match for the paper's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import begin, images, parser, quality, save_picture, write_points
from matplotlib.figure import Figure

import dmecodec
from dmecodec.bench.codecs import CODECS, DEFAULT_CODECS, JPEG2000

BISECTIONS = 9


def main() -> None:
    options = parser(__doc__)
    options.add_argument("image", type=Path)
    options.add_argument("--bpp", type=float, default=0.28)
    options.add_argument("--crop", type=int, nargs=4, default=(0, 0, 96, 96), metavar=("COL", "ROW", "W", "H"))
    chosen = options.parse_args()
    begin(chosen)
    image = images([chosen.image], chosen.smoke)[0]
    decoded = {"original": image, **at_rate(image, chosen.bpp)}
    rows = [{"codec": name, **_figures(image, entry)} for name, entry in decoded.items() if name != "original"]
    stem = f"crops-{chosen.image.stem}"
    write_points(chosen.out / f"{stem}.csv", rows)
    save_picture(_draw(image, decoded, rows, chosen.crop), chosen, stem)


def at_rate(image: np.ndarray, bpp: float) -> dict[str, tuple[int, np.ndarray]]:
    """File size and decoded image of each codec, nearest the rate."""
    size = bpp * image.shape[0] * image.shape[1] / 8
    decoded: dict[str, tuple[int, np.ndarray]] = {}
    for name in DEFAULT_CODECS:
        codec = CODECS[name]()
        if codec.missing() is None:
            low, high = (0.01, 24.0) if isinstance(codec, JPEG2000) else (0.0, 100.0)
            files = []
            for _ in range(BISECTIONS):
                middle = (low + high) / 2
                files.append(codec.encode(image, middle))
                low, high = (middle, high) if len(files[-1]) < size else (low, middle)
            data = min(files, key=lambda file: abs(len(file) - size))
            decoded[name] = len(data), codec.decode(data)
    data = dmecodec.encode(image, bpp=bpp)
    decoded["dmecodec"] = len(data), dmecodec.decode(data)
    return decoded


def _figures(image: np.ndarray, entry: tuple[int, np.ndarray]) -> dict[str, Any]:
    size, pixels = entry
    return {"bpp": 8 * size / (image.shape[0] * image.shape[1]), **quality(image, pixels)}


def _draw(image: np.ndarray, decoded: dict[str, Any], rows: list[dict[str, Any]], crop: tuple[int, ...]) -> Figure:
    """Above each whole image, below the part."""
    col, row, width, height = crop
    figure = Figure(figsize=(3 * len(decoded), 6.4), layout="constrained")
    axes = figure.subplots(2, len(decoded))
    titles = {"original": "original"}
    for r in rows:
        similarity = "" if r["ms_ssim_db"] is None else f", {r['ms_ssim_db']:.2f} dB"
        titles[r["codec"]] = f"{r['codec']}, {r['bpp']:.3f} bpp\n{r['psnr']:.2f} dB{similarity}"
    for column, (name, entry) in zip(axes.T, decoded.items(), strict=True):
        pixels = entry if name == "original" else entry[1]
        column[0].imshow(pixels)
        column[0].set_title(titles[name], fontsize="medium")
        column[1].imshow(pixels[row : row + height, col : col + width], interpolation="nearest")
        for axis in column:
            axis.set_axis_off()
    return figure


if __name__ == "__main__":
    main()
