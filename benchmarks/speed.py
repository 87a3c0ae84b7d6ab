"""Speed of encoding and decoding, from an array in memory to bytes and back.

    python benchmarks/speed.py --images FOLDER [--clock cpu]     against CompressAI's mbt2018-mean
    python benchmarks/speed.py --images FOLDER --device cuda     4096 x 4096 on a GPU, ours alone

On the CPU both codecs run in turn on the same 1024 x 1024 image and threads; medians are compared.
mbt2018-mean has random weights, which cost the same time as trained ones, and comes in its two
widths: that of its qualities 1 to 4 (N = 128, M = 192) and of 5 to 8 (N = 192, M = 320). Then the
parts of our own time, what bf16 changes against float32, all our models beside Pillow's codecs on one thread, and a
larger scene on several threads, which is wall time whatever the clock. `--only` runs some of these parts. Threads as
OMP_NUM_THREADS says; on a machine that is busy otherwise take one thread and --clock cpu, the processor's time. Prints
Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from unittest import mock

import numpy as np
import torch
from common import CLOCKS, add_image_option, machine, medians, mosaic
from PIL import AvifImagePlugin

import dmecodec
from dmecodec.base.boxes import Box
from dmecodec.base.device import autocast, pick_device
from dmecodec.bench.codecs import CODECS, DEFAULT_CODECS, Codec, Dmecodec
from dmecodec.bench.metrics import psnr
from dmecodec.codec import tile as codec
from dmecodec.codec.analysis import analyse
from dmecodec.codec.fit_filter import fit_filter
from dmecodec.codec.synthesis import synthesise
from dmecodec.entropy import rans as entropy
from dmecodec.format.limits import QUALITY_STEPS
from dmecodec.images.open import open_source
from dmecodec.network.knots import knots_of
from dmecodec.restoration.details import DETAILS, apply
from dmecodec.weights import model as weights
from dmecodec.weights import registry
from dmecodec.weights.model import Model

GOAL = 4.0
"""Times as fast as the baseline."""
CPU_SIDE, GPU_SIDE = 1024, 4096
PARTS = ["baseline", "parts", "precision", "codecs", "threads"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_image_option(parser)
    parser.add_argument("--model", help="name or path of the model")
    parser.add_argument("--quality", type=float, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--side", type=int, help="of the image; 1024, or 4096 on a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2, 16], help="of the last part")
    parser.add_argument("--scene", type=int, default=8192, help="side of the scene of the last part")
    options = parser.parse_args(arguments)

    device = pick_device(options.device)
    if device.type != "cpu":
        options.clock = "wall"  # the processor's time says nothing of a GPU
    model = weights.load(registry.find(options.model), device)
    side = options.side or (CPU_SIDE if device.type == "cpu" else GPU_SIDE)
    pixels = np.asarray(mosaic(options.images, side, side))
    print(f"{machine(torch.get_num_threads())}; {_name(device)}; {options.clock} time; ", end="")
    print(f"{side} x {side}, quality {options.quality:g}, median of {options.rounds}\n", flush=True)

    ours = our_tasks(pixels, options)
    if device.type == "cpu":
        if "baseline" in options.only:
            theirs = {f"q {low} to {low + 3}": baseline_tasks(pixels, low) for low in (1, 5)}
            compare(ours, theirs, pixels, options)
        if "parts" in options.only:
            parts(model, pixels, options)
        if "precision" in options.only:
            precision(pixels, options)
        if "codecs" in options.only:
            codecs(pixels, options)
        if "threads" in options.only:
            over_threads(options)
    else:
        table(medians(ours, options.rounds), pixels)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def our_tasks(pixels: np.ndarray, options: argparse.Namespace) -> dict[str, Callable[[], object]]:
    settings = {"model": options.model, "device": options.device}
    data = dmecodec.encode(pixels, options.quality, **settings)
    return {
        "encode": lambda: dmecodec.encode(pixels, options.quality, **settings),
        "decode": lambda: dmecodec.decode(data, **settings),
    }


def baseline_tasks(pixels: np.ndarray, quality: int) -> dict[str, Callable[[], object]]:
    """The same from and to arrays, with CompressAI."""
    from compressai.zoo import mbt2018_mean

    torch.manual_seed(0)
    net = mbt2018_mean(quality, pretrained=False).eval()
    net.update()

    @torch.inference_mode()
    def compress() -> dict[str, object]:
        x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
        return net.compress(x)

    coded = compress()

    @torch.inference_mode()
    def decompress() -> np.ndarray:
        x = net.decompress(**coded)["x_hat"][0]
        x = (x * 255).round().clamp(0, 255).to(torch.uint8)
        return x.permute(1, 2, 0).contiguous().numpy()

    return {"encode": compress, "decode": decompress}


def compare(
    ours: dict[str, Callable[[], object]],
    theirs: dict[str, dict[str, Callable[[], object]]],
    pixels: np.ndarray,
    options: argparse.Namespace,
) -> None:
    tasks = {f"{way} ours": task for way, task in ours.items()}
    for name, baseline in theirs.items():
        tasks |= {f"{way} {name}": task for way, task in baseline.items()}
    seconds = medians(tasks, options.rounds, options.clock)
    print("| | dmecodec s | MPix/s | mbt2018-mean | s | MPix/s | ratio | goal |")
    print("|---|---:|---:|---|---:|---:|---:|---:|")
    for way in ours:
        mine = seconds[f"{way} ours"]
        for name in theirs:
            other = seconds[f"{way} {name}"]
            print(
                f"| {way} | {mine:.2f} | {_rate(pixels, mine)} | {name} | {other:.2f} "
                f"| {_rate(pixels, other)} | {other / mine:.1f} | {GOAL:g} |"
            )
    print(flush=True)


def table(seconds: dict[str, float], pixels: np.ndarray) -> None:
    print("| | seconds | MPix/s |\n|---|---:|---:|")
    for name, value in seconds.items():
        print(f"| {name} | {value:.3f} | {_rate(pixels, value)} |")
    print(flush=True)


def _rate(pixels: np.ndarray, seconds: float) -> str:
    return f"{pixels.shape[0] * pixels.shape[1] / 1e6 / seconds:.1f}"


def parts(model: Model, pixels: np.ndarray, options: argparse.Namespace) -> None:
    """Where the time of one tile goes."""
    source, box = open_source(pixels), Box(0, 0, pixels.shape[1], pixels.shape[0])
    quality = round(options.quality * QUALITY_STEPS)
    with torch.inference_mode():
        gain = model.net.gain(knots_of(quality))
        y = analyse(model, source, box) * gain
        z_hat, passes, y_hat = codec.encode_symbols(model, y, quality)
        exact = torch.from_numpy(y_hat)[None]
        seen = synthesise(model, exact, quality)
        z = z_hat.ravel(), codec.channels_of(z_hat.shape)
        symbols = ([z], model.z_tables), (passes, model.y_tables)
        streams = entropy.encode_stacked(*symbols)

        def read() -> None:
            decoder = entropy.SymbolDecoder(streams[0], model.z_tables, streams[1])
            decoder.read(z[1])
            decoder.go_on(model.y_tables)
            for _, indices in passes:
                decoder.read(indices)

        seconds = medians(
            {
                "analysis": lambda: analyse(model, source, box),
                "hyper encoder": lambda: codec.hyper_latents(model, y),
                "symbols": lambda: codec.encode_symbols(model, y, quality),
                "entropy encoding": lambda: entropy.encode_stacked(*symbols),
                "entropy decoding": read,
                "tile": lambda: codec.decode_tile(model, *streams, quality, *y.shape[2:], filtered=False),
                "synthesis": lambda: synthesise(model, exact, quality),
                "fit": lambda: fit_filter(model, source, box, 0, y_hat, quality, False),
                "filter": lambda: apply(seen, torch.full((1, 3, DETAILS), 0.1)),
            },
            options.rounds,
            options.clock,
        )
    table(
        {
            "encode: analysis": seconds["analysis"],
            "encode: hyper encoder": seconds["hyper encoder"],
            "encode: entropy parameters, rounding": seconds["symbols"] - seconds["hyper encoder"],
            "encode: entropy coding": seconds["entropy encoding"],
            "encode: fitting the restoration filter": seconds["fit"],
            "decode: entropy coding": seconds["entropy decoding"],
            "decode: entropy parameters": seconds["tile"] - seconds["entropy decoding"],
            "decode: synthesis": seconds["synthesis"],
            "decode: restoration filter": seconds["filter"],
        },
        pixels,
    )


def codecs(pixels: np.ndarray, options: argparse.Namespace) -> None:
    """All our models and Pillow's codecs, each at the setting that comes nearest to the bits of the first."""
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    models = [str(model["name"]) for model in registry.survey()]
    tools: dict[str, Codec] = {name: Dmecodec([options.quality], name, "cpu") for name in models}
    tools |= {name: CODECS[name]() for name in DEFAULT_CODECS}
    goal = len(tools[models[0]].encode(pixels, options.quality))
    files: dict[str, bytes] = {}
    tasks: dict[str, Callable[[], object]] = {}
    for name, tool in tools.items():
        coded = {setting: tool.encode(pixels, setting) for setting in tool.settings}
        setting = min(coded, key=lambda setting: abs(len(coded[setting]) - goal))
        files[name] = coded[setting]
        tasks[f"{name} encode"] = partial(tool.encode, pixels, setting)
        tasks[f"{name} decode"] = partial(tool.decode, files[name])
    before = torch.get_num_threads()
    dmecodec.set_threads(1)
    seconds = medians(tasks, options.rounds, options.clock)
    torch.set_num_threads(before)
    print("| one thread | bpp | PSNR, dB | encode MPix/s | decode MPix/s |\n|---|---:|---:|---:|---:|")
    for name, tool in tools.items():
        bits, quality = 8 * len(files[name]) / pixels[..., 0].size, psnr(pixels, tool.decode(files[name]))
        rates = (_rate(pixels, seconds[f"{name} {way}"]) for way in ("encode", "decode"))
        print(f"| {name} | {bits:.2f} | {quality:.1f} | {' | '.join(rates)} |")
    print(flush=True)


def over_threads(options: argparse.Namespace) -> None:
    """Wall time of a scene of many tiles, the numbers of threads in turn."""
    scene = np.asarray(mosaic(options.images, options.scene, options.scene))
    data = dmecodec.encode(scene, options.quality, model=options.model, device="cpu")
    settings = {"model": options.model, "device": "cpu"}
    ways: dict[str, Callable[[], object]] = {
        "encode": lambda: dmecodec.encode(scene, options.quality, **settings),
        "decode": lambda: dmecodec.decode(data, **settings),
    }
    before = torch.get_num_threads()
    tasks = {
        f"{count} {way}": partial(_on_threads, count, task) for count in options.threads for way, task in ways.items()
    }
    seconds = medians(tasks, min(options.rounds, 3))
    torch.set_num_threads(before)
    print(f"| threads, {options.scene} x {options.scene} | encode s | times | decode s | times |")
    print("|---:|---:|---:|---:|---:|")
    for count in options.threads:
        cells = []
        for way in ("encode", "decode"):
            mine = seconds[f"{count} {way}"]
            cells.append(f"{mine:.1f} | {seconds[f'{options.threads[0]} {way}'] / mine:.2f}")
        print(f"| {count} | {' | '.join(cells)} |")
    print(flush=True)


def _on_threads(count: int, task: Callable[[], object]) -> None:
    dmecodec.set_threads(count)
    task()


def precision(pixels: np.ndarray, options: argparse.Namespace) -> None:
    """bf16 in the transforms against float32 throughout."""
    with autocast(torch.device("cpu")):
        if not torch.is_autocast_enabled("cpu"):
            print("No bf16 on this processor: float32 throughout.")
            return
    ours = our_tasks(pixels, options)
    data, fast = ours["encode"](), ours["decode"]()
    off = mock.Mock(side_effect=lambda device: torch.autocast(device.type, enabled=False))
    with (
        mock.patch("dmecodec.codec.synthesis.autocast", off),
        mock.patch("dmecodec.codec.analysis.autocast", off),
    ):
        slow = ours["decode"]()
        plain = our_tasks(pixels, options)
        exact_data, exact = plain["encode"](), plain["decode"]()
    assert isinstance(data, bytes) and isinstance(exact_data, bytes)
    assert isinstance(fast, np.ndarray) and isinstance(slow, np.ndarray)
    assert isinstance(exact, np.ndarray)
    difference = np.abs(fast.astype(int) - slow)
    print("| bf16 against float32 | |\n|---|---:|")
    print(f"| same file: largest difference of a pixel, levels | {difference.max()} |")
    print(f"| same file: samples that differ | {100 * (difference > 0).mean():.3f} % |")
    print(f"| same file: loss of PSNR, dB | {psnr(pixels, slow) - psnr(pixels, fast):.4f} |")
    loss = psnr(pixels, exact) - psnr(pixels, fast)
    print(f"| encoded so as well: loss of PSNR, dB | {loss:.4f} |")
    change = 100 * (len(data) / len(exact_data) - 1)
    print(f"| encoded so as well: size | {change:+.3f} % |")


if __name__ == "__main__":
    main()
