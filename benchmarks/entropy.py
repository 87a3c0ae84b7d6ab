"""Speed of the entropy coding alone, on the symbols of real images.

    python benchmarks/entropy.py --images FOLDER [--qualities 1 4 7]

The images make a mosaic of one tile, 1024 x 1024. Its symbols and tables, z and y, are found once
by the model and then coded again and again: sorting, gathering, constriction's rANS, scattering. The
networks that predict the tables are not part of it (speed.py has them). One thread. Prints Markdown;
a megapixel is one of the image.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from common import CLOCKS, add_image_option, machine, medians, mosaic

from dmecodec.base.boxes import Box
from dmecodec.codec.analysis import analyse
from dmecodec.codec.tile import channels_of, encode_symbols
from dmecodec.entropy.rans import SymbolDecoder, Symbols, encode_stacked
from dmecodec.format.limits import QUALITY_STEPS
from dmecodec.images.open import open_source
from dmecodec.network.knots import knots_of
from dmecodec.weights import model as weights
from dmecodec.weights import registry
from dmecodec.weights.model import Model

SIDE = 1024


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_image_option(parser)
    parser.add_argument("--model", help="name or path of the model")
    parser.add_argument("--qualities", nargs="+", type=float, default=[1, 4, 7])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    model = weights.load(registry.find(options.model), torch.device("cpu"))
    picture = np.asarray(mosaic(options.images, SIDE, SIDE))
    with torch.inference_mode():
        latents = analyse(model, open_source(picture), Box(0, 0, SIDE, SIDE))
    print(f"{machine(1)}; {options.clock} time\n")
    print("| quality | bpp | encode MPix/s | decode MPix/s |\n|---:|---:|---:|---:|")
    for quality in options.qualities:
        passes = symbols(model, latents, round(quality * QUALITY_STEPS))
        streams = code(model, *passes)
        check(model, streams, *passes)
        seconds = medians(
            {
                "encode": partial(code, model, *passes),
                "decode": partial(read, model, streams, *passes),
            },
            options.rounds,
            options.clock,
        )
        bpp = 8 * sum(map(len, streams)) / SIDE**2
        rates = [SIDE**2 / 1e6 / seconds[name] for name in ("encode", "decode")]
        print(f"| {quality:g} | {bpp:.2f} | {rates[0]:.0f} | {rates[1]:.0f} |", flush=True)


@torch.inference_mode()
def symbols(model: Model, latents: torch.Tensor, quality: int) -> tuple[Symbols, list[Symbols]]:
    """What is coded of z, and of each pass of y."""
    gain = model.net.gain(knots_of(quality))
    z_hat, passes, _ = encode_symbols(model, latents * gain, quality)
    return (z_hat.ravel(), channels_of(z_hat.shape)), passes


def code(model: Model, z: Symbols, y: list[Symbols]) -> tuple[bytes, bytes]:
    return encode_stacked(([z], model.z_tables), (y, model.y_tables))


def read(model: Model, streams: tuple[bytes, bytes], z: Symbols, y: list[Symbols]) -> list[np.ndarray]:
    decoder = SymbolDecoder(streams[0], model.z_tables, streams[1])
    values = [decoder.read(z[1])]
    decoder.go_on(model.y_tables)
    values += [decoder.read(indices) for _, indices in y]
    decoder.finish()
    return values


def check(model: Model, streams: tuple[bytes, bytes], z: Symbols, y: list[Symbols]) -> None:
    """Checks once that what is read is what was coded."""
    for values, (expected, _) in zip(read(model, streams, z, y), [z, *y], strict=True):
        if not np.array_equal(values, expected):
            raise SystemExit("the streams do not decode to what was coded")


if __name__ == "__main__":
    main()
