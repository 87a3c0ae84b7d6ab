"""Files with a bound on the error against JPEG-LS, and lossless ones against JPEG 2000, JPEG XL and WebP.

    python benchmarks/bound.py VAL/ucmerced VAL/aerial

Every image is coded to real files, decoded again and compared with the original. JPEG-LS codes red, green and blue as
they are (what its near-lossless mode needs to keep a bound in RGB), one by one or interleaved, whichever is smaller,
and, where it is lossless, also after taking green from red and blue. The other codecs come from the package
imagecodecs. Prints Markdown: mean bits per pixel, our speed, and what the linear base costs against the whole float
synthesis as a base.
"""

from __future__ import annotations

import argparse
import io
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from common import machine
from PIL import Image

import dmecodec
from dmecodec.bounded.fit import encode_residual
from dmecodec.format.kinds import Kind
from dmecodec.format.limits import QUALITY_STEPS
from dmecodec.format.reader import Reader

Row = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--bounds", nargs="+", type=int, default=[0, 1, 2, 4, 8], metavar="N")
    parser.add_argument("--model", help="name or path of the model")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(machine(1) + "; cpu time\n")
    for folder in options.folders:
        rows: dict[int, list[Row]] = defaultdict(list)
        for file in sorted(folder.iterdir()):
            pixels = np.asarray(Image.open(file).convert("RGB"))
            for bound in options.bounds:
                rows[bound].append(ours(pixels, bound, options.model) | peers(pixels, bound))
        print(markdown(folder.name, rows), flush=True)


def ours(pixels: np.ndarray, bound: int, model: str | None) -> Row:
    """Bits per pixel, seconds, and the residual's bits over the float synthesis instead."""
    count = pixels.shape[0] * pixels.shape[1]
    began = time.process_time()
    data = dmecodec.encode(pixels, max_error=bound, model=model, device="cpu")
    encoded = time.process_time()
    decoded = dmecodec.decode(data, device="cpu")
    ended = time.process_time()
    assert np.abs(decoded.astype(int) - pixels).max() <= bound
    reader = Reader(data)
    plain = dmecodec.encode(pixels, reader.header.quality / QUALITY_STEPS, model=model, device="cpu")
    over_float = encode_residual(pixels, dmecodec.decode(plain, device="cpu"), bound)
    return {
        "dmecodec": 8 * len(data) / count,
        "base": 8 * (len(data) - reader.stream_sizes[Kind.RESIDUAL]) / count,
        "quality": reader.header.quality / QUALITY_STEPS,
        "cost": 8 * (reader.stream_sizes[Kind.RESIDUAL] - len(over_float)) / count,
        "encode": count / 1e6 / (encoded - began),
        "decode": count / 1e6 / (ended - encoded),
    }


def peers(pixels: np.ndarray, bound: int) -> Row:
    import imagecodecs

    count = pixels.shape[0] * pixels.shape[1]
    planes = [np.ascontiguousarray(pixels[..., band]) for band in range(3)]

    def bits(encode: Callable[..., bytes], images: Sequence[np.ndarray], **options: object) -> float:
        return 8 * sum(len(encode(image, **options)) for image in images) / count

    by_band, interleaved = (bits(imagecodecs.jpegls_encode, images, level=bound) for images in (planes, [pixels]))
    row = {"JPEG-LS": min(by_band, interleaved)}
    decoded = imagecodecs.jpegls_decode(imagecodecs.jpegls_encode(planes[0], level=bound))
    assert np.abs(decoded.astype(int) - planes[0]).max() <= bound
    if bound:
        return row
    apart = [planes[0] - planes[1], planes[1], planes[2] - planes[1]]  # modulo 256
    apart[0], apart[2] = apart[0] + np.uint8(128), apart[2] + np.uint8(128)
    webp = io.BytesIO()
    Image.fromarray(pixels).save(webp, "WEBP", lossless=True, quality=100, method=6)
    return row | {
        "JPEG-LS, R-G and B-G": bits(imagecodecs.jpegls_encode, apart, level=0),
        "JPEG 2000": bits(
            imagecodecs.jpeg2k_encode,
            [pixels],
            level=0,
            reversible=True,
            mct=True,
            codecformat="j2k",
        ),
        "WebP": 8 * webp.tell() / count,
        "JPEG XL, effort 7": bits(imagecodecs.jpegxl_encode, [pixels], lossless=True, effort=7),
    }


def markdown(name: str, rows: dict[int, list[Row]]) -> str:
    lines = [
        f"## {name}, {len(next(iter(rows.values())))} images",
        "",
        "| N | quality | dmecodec bpp | of it base | JPEG-LS | saved | linear base costs bpp "
        "| encode MPix/s | decode MPix/s |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for bound, of_images in rows.items():
        m = {key: float(np.mean([row[key] for row in of_images])) for key in of_images[0]}
        lines.append(
            f"| {bound} | {m['quality']:g} | {m['dmecodec']:.3f} | {m['base']:.3f} | {m['JPEG-LS']:.3f} "
            f"| {100 - 100 * m['dmecodec'] / m['JPEG-LS']:.1f} % | {m['cost']:.3f} "
            f"| {m['encode']:.2f} | {m['decode']:.2f} |"
        )
    if 0 in rows:
        lines += ["", "| lossless | bpp |", "|---|---:|"]
        names = ["dmecodec", *(n for n in rows[0][0] if n.startswith(("JPEG", "WebP")))]
        lines += [f"| {n} | {np.mean([row[n] for row in rows[0]]):.3f} |" for n in names]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
