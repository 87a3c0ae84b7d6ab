"""Draws docs/comparison.png: a crop of an image from JPEG 2000, AVIF and dmecodec at the same file size.

    python docs/make_picture.py docs/example.png docs/comparison.png

dmecodec codes the image at `--quality`. Each other codec gets the smallest file that is not smaller than that.
"""

from __future__ import annotations

import argparse

import numpy as np
from make_plot import SlowAVIF
from PIL import Image, ImageDraw, ImageFont

import dmecodec
from dmecodec.bench.codecs import JPEG2000, PillowCodec
from dmecodec.bench.metrics import psnr

SCALE = 2  # screen pixels for one pixel of the image
GAP, LABEL = 8, 44  # screen pixels


def jpeg2000(image: np.ndarray, least: int) -> bytes:
    """The smallest JPEG 2000 file of at least so many bytes; the rate is searched in steps of 0.2 %."""
    codec, rate = JPEG2000(), least * 8 / (image.shape[0] * image.shape[1])
    return next(data for step in range(200) if len(data := codec.encode(image, rate * (1 + step / 500))) >= least)


def avif(image: np.ndarray, least: int) -> bytes:
    """The smallest AVIF file of at least so many bytes, over all of Pillow's qualities."""
    files = (SlowAVIF().encode(image, quality) for quality in range(101))
    return min((data for data in files if len(data) >= least), key=len)


def panels(image: np.ndarray, quality: float) -> list[tuple[str, str, np.ndarray]]:
    """Name, figures and decoded image of the original and of each codec."""
    ours = dmecodec.encode(image, quality)
    peers: list[tuple[str, bytes, PillowCodec]] = [
        ("JPEG 2000", jpeg2000(image, len(ours)), JPEG2000()),
        ("AVIF", avif(image, len(ours)), SlowAVIF()),
    ]
    decoded = [(name, data, codec.decode(data)) for name, data, codec in peers]
    decoded.append(("dmecodec", ours, dmecodec.decode(ours)))
    found = [("original", f"{image.nbytes:,} bytes raw", image)]
    found += [(name, f"{len(data):,} bytes, {psnr(image, pixels):.1f} dB", pixels) for name, data, pixels in decoded]
    return found


def main() -> None:
    """Codes, decodes and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image")
    parser.add_argument("target")
    parser.add_argument("--quality", type=float, default=1.0)
    parser.add_argument("--crop", type=int, nargs=4, default=(80, 80, 128, 128), metavar=("COL", "ROW", "W", "H"))
    arguments = parser.parse_args()

    with Image.open(arguments.image) as file:
        image = np.asarray(file.convert("RGB"))
    col, row, width, height = arguments.crop
    shown = panels(image, arguments.quality)
    step = width * SCALE + GAP
    canvas = Image.new("RGB", (len(shown) * step - GAP, height * SCALE + LABEL), "white")
    draw = ImageDraw.Draw(canvas)
    for number, (name, figures, pixels) in enumerate(shown):
        crop = Image.fromarray(np.ascontiguousarray(pixels[row : row + height, col : col + width]))
        canvas.paste(crop.resize((width * SCALE, height * SCALE), Image.Resampling.NEAREST), (number * step, LABEL))
        draw.text((number * step, 0), name, "black", ImageFont.load_default(18))
        draw.text((number * step, 22), figures, "black", ImageFont.load_default(15))
    canvas.save(arguments.target, optimize=True)


if __name__ == "__main__":
    main()
