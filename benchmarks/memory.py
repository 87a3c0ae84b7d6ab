"""Peak memory of the command line on large images.

    python benchmarks/memory.py [--image PHOTO.png] [--sizes 12288x12288 6144x6144 1024x40000 49152x3072]
    python benchmarks/memory.py [--image PHOTO.png] --geotiff --sizes 16384x16384

Writes an RGB TIFF of each size (a mosaic of the image given, else a synthetic one), encodes it and
decodes the file to a TIFF again, each in a process of its own, and prints the peak of each process's
resident memory as Markdown. The exit status is 1 where one passes 1.5 GiB + 1.6 times the raw image.
With `--geotiff` both files are GeoTIFFs, which are read and written by windows, and the bound is
2 GiB whatever the size. Needs a system with wait4 (Linux, macOS).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import mosaic
from PIL import Image

GIB = 2**30
RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes that a unit of ru_maxrss stands for."""


@dataclass(frozen=True)
class Run:
    seconds: float
    peak: int
    """Bytes."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--image", type=Path, help="what the mosaic is made of")
    parser.add_argument(
        "--sizes",
        nargs="+",
        default=["12288x12288", "6144x6144", "1024x40000", "49152x3072"],
        metavar="WxH",
    )
    parser.add_argument("--tile", default="1024")
    parser.add_argument("--geotiff", action="store_true", help="from GeoTIFF to GeoTIFF")
    parser.add_argument("--quality", default="4")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, help="where the files go (3 times the raw image)")
    options = parser.parse_args(arguments)

    print("| size | raw GiB | bound GiB | encode GiB | seconds | decode GiB | seconds | bpp |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    within = True
    for size in options.sizes:
        width, height = (int(side) for side in size.split("x"))
        raw = 3 * width * height
        bound = 2 * GIB if options.geotiff else 1.5 * GIB + 1.6 * raw
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            encoded, decoded, bits = measure(
                Path(name),
                options.image,
                (width, height),
                ["-q", options.quality, "--tile", options.tile, "--device", options.device],
                write_geotiff if options.geotiff else write_mosaic,
            )
        within &= max(encoded.peak, decoded.peak) <= bound
        print(
            f"| {width} x {height} | {raw / GIB:.2f} | {bound / GIB:.2f} "
            f"| {encoded.peak / GIB:.2f} | {encoded.seconds:.0f} "
            f"| {decoded.peak / GIB:.2f} | {decoded.seconds:.0f} | {bits / width / height:.2f} |",
            flush=True,
        )
    return 0 if within else 1


def measure(
    folder: Path,
    image: Path | None,
    size: tuple[int, int],
    encoding: list[str],
    write: Callable[[Path, Path | None, tuple[int, int]], None],
) -> tuple[Run, Run, int]:
    """Encoding, decoding, and the bits of the file between."""
    source, coded, target = folder / "in.tif", folder / "in.dmen", folder / "out.tif"
    # In a process of its own: what this one holds would count as the peak of its children.
    writer = multiprocessing.get_context("spawn").Process(target=write, args=(source, image, size))
    writer.start()
    writer.join()
    if writer.exitcode:
        raise SystemExit("cannot write the mosaic")
    encoded = run(["encode", str(source), "-o", str(coded), "--quiet", *encoding])
    decoded = run(["decode", str(coded), "-o", str(target), "--quiet", *encoding[-2:]])
    Image.MAX_IMAGE_PIXELS = None
    with Image.open(target) as result:
        if result.size != size:
            raise SystemExit(f"decoded to {result.size}, not {size}")
    return encoded, decoded, 8 * coded.stat().st_size


def run(arguments: list[str]) -> Run:
    """Runs the command and reports its time and its peak."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "dmecodec", *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"dmecodec {' '.join(arguments)}: exit status {process.returncode}")
    return Run(time.perf_counter() - began, usage.ru_maxrss * RSS_UNIT)


def write_mosaic(path: Path, image: Path | None, size: tuple[int, int]) -> None:
    """A TIFF of a size from copies of an image."""
    mosaic([image] if image else [], *size).save(path, "TIFF", compression="raw")


def write_geotiff(path: Path, image: Path | None, size: tuple[int, int]) -> None:
    """The same as a GeoTIFF in tiles, deflated."""
    import numpy as np
    import rasterio
    from affine import Affine
    from rasterio.windows import Window

    picture = mosaic([image] if image else [], *size)
    with rasterio.open(
        path, "w", driver="GTiff", width=size[0], height=size[1], count=3, dtype="uint8",
        tiled=True, blockxsize=512, blockysize=512, compress="deflate", zlevel=1,
        photometric="RGB", crs="EPSG:32629", transform=Affine(0.3, 0, 2e5, 0, -0.3, 4e6),
    ) as file:  # fmt: skip
        for top in range(0, size[1], 512):
            part = np.asarray(picture.crop((0, top, size[0], min(top + 512, size[1]))))
            file.write(part.transpose(2, 0, 1), window=Window(0, top, size[0], len(part)))


if __name__ == "__main__":
    sys.exit(main())
