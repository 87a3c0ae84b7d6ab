"""Makes the golden files of this folder, once: what it wrote then must decode for ever.

Do NOT run it again to make a failing test pass. New features get new names: with names as arguments it
makes only those files.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
TESTS = HERE.parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]
os.environ["DMECODEC_MODELS"] = str(HERE.parent)

from conftest import aerial, in_mode  # noqa: E402
from second_bands import digest  # noqa: E402

import dmecodec  # noqa: E402
import dmecodec.codec.synthesis  # noqa: E402


def edge(pixels: np.ndarray, nodata: int) -> np.ndarray:
    """The end of a survey: nodata right of a slanted line, and here and there in one band."""
    row, col = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    pixels[col > 90 + row // 2] = nodata
    pixels[5:9, 20:60, 0] = nodata
    return pixels


def floats(pixels: np.ndarray) -> np.ndarray:
    """Heights in metres, NaN beyond the end of the survey."""
    heights = (pixels[:100, :150] / 40 - 30).astype(np.float32)
    heights[:, 120:] = np.nan
    return heights


def scenes() -> dict[str, tuple[np.ndarray, dict[str, object]]]:
    """Arrays, and how they are encoded."""
    rgb = np.maximum(aerial(201, 130, 260), 1)
    more = aerial(202, 130, 260).astype(np.uint16)
    deep = np.concatenate([rgb * np.uint16(100), more * 30 + 200], 2)
    return {
        "rgb_nodata": (edge(rgb.copy(), 0), {"nodata": 0, "tile": 64, "quality": 3.5}),
        "grey_nodata": (edge(rgb[..., :1].copy(), 77), {"nodata": 77, "quality": 5}),
        "rgbn": (np.concatenate([rgb, 255 - rgb[..., :1]], 2), {"bands": "last", "alpha": False, "quality": 4}),
        "deep_nodata": (edge(deep[..., :5].copy(), 0), {"nodata": 0, "tile": 64, "quality": 2}),
        "deep": (deep[:70, :90, 1:3].copy(), {"scale": (300, 20000), "quality": 6}),
        "deep_alpha": (
            np.concatenate([deep, 65535 * (in_mode(rgb, "LA")[..., 1:] > 99).astype("u2")], 2),
            {"alpha": True, "tile": 128, "quality": 1},
        ),
        "six_alpha": (
            np.concatenate([rgb, in_mode(aerial(203, 130, 260), "RGBA")], 2),
            {"alpha": True, "tile": 192, "quality": 3},
        ),
        "four_nodata": (
            edge(np.concatenate([rgb, 255 - rgb[..., 1:2]], 2)[:100, :180], 0),
            {"nodata": 0, "alpha": False, "tile": 64, "quality": 2},
        ),
        "floats": (floats(deep[..., :2]), {"scale": "auto", "bands": "last", "quality": 5}),
        "int16": (deep[:70, :90, :1].astype(np.int16) - 9000, {"bands": "last", "quality": 4}),
        "two_nodata": (edge(rgb[:70, :140, :2].copy(), 0), {"nodata": 0, "quality": 3}),
    }


def make(name: str, pixels: np.ndarray, options: dict[str, object]) -> dict[str, object]:
    """Writes NAME.dmen and NAME.npz; returns what its latents must be."""
    data = dmecodec.encode(pixels, **options)
    (HERE / f"{name}.dmen").write_bytes(data)
    with contextlib.ExitStack() as stack:
        before = dmecodec.codec.synthesis.autocast
        stack.callback(setattr, dmecodec.codec.synthesis, "autocast", before)
        dmecodec.codec.synthesis.autocast = lambda _: contextlib.nullcontext()  # float32 throughout
        np.savez_compressed(HERE / f"{name}.npz", pixels=dmecodec.decode(data))
    y_hat, z_hat = dmecodec.latents(data)
    return {"nodata": options.get("nodata"), "y_hat": digest(y_hat), "z_hat": digest(z_hat)}


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    listing = HERE / "golden.json"
    golden = json.loads(listing.read_text()) if names else {}
    for name, (pixels, options) in scenes().items():
        if not names or name in names:
            golden[name] = make(name, pixels, options)
            print(name, (HERE / f"{name}.dmen").stat().st_size, "bytes")
    listing.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
