"""What 16 bits lose and what an empty half costs.

    python benchmarks/geotiff.py depth FILES.tif...
    python benchmarks/geotiff.py empty IMAGE

`depth` encodes GeoTIFFs at several qualities and prints the PSNR of their valid samples as Markdown, the
peak being each band's range of valid samples for 16 bits and 255 for 8. `empty` compares an image with the
same image as one half of a scene, the other half nodata, the border straight or ragged.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import mosaic

import dmecodec
from dmecodec.base.boxes import Box
from dmecodec.codec.samples import to_network
from dmecodec.format.kinds import Kind
from dmecodec.format.reader import Reader
from dmecodec.images.open import open_source
from dmecodec.images.source import Source


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=["depth", "empty"])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--qualities", nargs="+", type=float, default=[2, 4, 6, 7])
    parser.add_argument("--side", type=int, default=2048, help="of the full half, in pixels")
    options = parser.parse_args(arguments)
    if options.what == "depth":
        depth(options.files, options.qualities)
    else:
        empty(options.files, options.side)
    return 0


def depth(files: Sequence[Path], qualities: Sequence[float]) -> None:
    print("| file | bands | quality | bpp | PSNR dB of each band | RMS error in levels |")
    print("|---|---|---:|---:|---|---|")
    for path in files:
        source = open_source(path)
        bands = f"{len(source.layout.bands)} x uint{source.layout.depth}"
        for quality in qualities:
            data = dmecodec.encode(path, quality)
            psnr, levels = errors(source, dmecodec.decode(data))
            bpp = 8 * len(data) / (source.source.width * source.source.height)
            print(
                f"| {path.stem} | {bands} | {quality:g} | {bpp:.2f} | {psnr} | {levels} |",
                flush=True,
            )


def errors(source: Source, decoded: np.ndarray) -> tuple[str, str]:
    """PSNR and root of the mean squared error of each band, over valid samples."""
    layout = source.layout
    decoded = decoded.reshape(*decoded.shape[:2], -1)  # of a single band there is no third axis
    box = Box(0, 0, source.source.width, source.source.height)
    psnr, levels = {}, {}
    for group, members in enumerate(layout.groups):
        samples = source.samples(box, group)
        valid = source.valid(box, samples, group)
        result = decoded[..., [layout.plane_of(band) for band in members]]
        difference = to_network(samples, layout, group) - to_network(result, layout, group)
        for n, band in enumerate(members):
            error = difference[..., n] if valid is None else difference[..., n][valid[..., n]]
            mean = float(np.square(error, dtype=np.float64).mean())
            psnr[band] = f"{-10 * np.log10(mean):.2f}"
            scale = layout.bands[band].high - layout.bands[band].low
            levels[band] = f"{scale * mean**0.5:.1f}"
    return ", ".join(psnr[n] for n in sorted(psnr)), ", ".join(levels[n] for n in sorted(levels))


def empty(files: Sequence[Path], side: int) -> None:
    """A full scene of `side` x `side`, then with as much nodata beside it."""
    full = np.asarray(mosaic(files, side, side)).clip(1, 255)
    half = np.zeros((side, 2 * side, 3), np.uint8)
    half[:, :side] = full
    ragged = np.concatenate([full, full[:, ::-1]], 1)
    edge = side + np.cumsum(np.random.default_rng(0).integers(-6, 7, side))
    ragged[np.arange(2 * side)[None] >= edge[:, None]] = 0
    print("| scene | valid pixels | bytes | mask bytes | encode s | decode s |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, image, nodata in (
        ("the full half alone", full, 0),
        ("a straight border, nodata beside it", half, 0),
        ("a ragged border, nodata beside it", ragged, 0),
        ("the same, nodata coded as black pixels", ragged, None),
    ):
        began = time.process_time()
        data = dmecodec.encode(image, nodata=nodata)
        encoded = time.process_time()
        dmecodec.decode(data)
        decoded = time.process_time()
        masks = Reader(data).stream_sizes.get(Kind.MASK, 0)
        valid = int((image != 0).all(2).sum())
        print(
            f"| {name} | {valid} | {len(data)} | {masks} | {encoded - began:.1f} | {decoded - encoded:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
