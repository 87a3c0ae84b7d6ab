"""Makes the tiny models and the golden files of this folder.

Run once for each name (`python tests/data/make_golden.py NAME...`, with compressai installed). What it wrote
then must decode for ever, to the same latents, from the first release on: do NOT run it again to make a failing test
pass. Models and files for a later format version or a new feature get new names, beside the old ones.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]
os.environ["DMECODEC_MODELS"] = str(HERE)

from conftest import aerial, in_mode  # noqa: E402

import dmecodec  # noqa: E402
import dmecodec.codec.synthesis  # noqa: E402
import dmecodec.restoration.fit  # noqa: E402
from dmecodec.network.config import Config  # noqa: E402

SIDE = 64
MODELS = {
    "tiny": Config(
        channels=16,
        hyper=8,
        slices=(8, 16),
        hidden=(16, 16),
        checkered=1,
        attention=8,
        squeezed=12,
        refinement=8,
        refining=2,
    ),
    "paper": Config(channels=16, hyper=8, slices=(24,), hidden=(0,), checkered=0, attention=8, paper=True),
}

# name: seed, height, width, mode, quality, tile, metadata, and a bound on the error; the model is that of
# the name's beginning, or tiny
FILES = {
    "rgb_q4": (1, 96, 128, "RGB", 4.0, 1024, False),
    "rgb_q0": (2, 96, 128, "RGB", 0.0, 1024, False),
    "rgb_q7": (3, 64, 64, "RGB", 7.0, 1024, False),
    "rgb_fraction": (4, 80, 65, "RGB", 2.59375, 1024, False),
    "rgb_tiles": (5, 150, 200, "RGB", 3.5, 64, False),
    "rgb_1x1": (6, 1, 1, "RGB", 4.0, 1024, False),
    "rgb_37x91": (7, 91, 37, "RGB", 5.15625, 1024, False),
    "rgb_metadata": (8, 48, 48, "RGB", 4.0, 1024, True),
    "rgb_tiles_metadata": (40, 90, 130, "RGB", 2.5, 64, True),
    "rgba_tiles": (9, 70, 130, "RGBA", 1.03125, 64, False),
    "rgba_1x200": (10, 200, 1, "RGBA", 6.5, 1024, True),
    "grey": (11, 91, 37, "L", 4.0, 1024, False),
    "grey_200x1": (12, 1, 200, "L", 7.0, 64, False),
    "grey_17x9": (42, 17, 9, "L", 0.5, 1024, False),
    "grey_alpha": (13, 65, 129, "LA", 3.0, 64, False),
    "grey_alpha_q5": (46, 40, 70, "LA", 5.0, 1024, False),
    "extreme": (None, 48, 80, "RGB", 7.0, 1024, False),
    "filter_low": (38, 130, 90, "RGB", 0.25, 1024, False),
    "filter": (28, 100, 131, "RGBA", 3.0, 64, False),
    "filter_q1": (45, 100, 90, "RGB", 1.5, 1024, False),
    "filter_grey": (29, 70, 60, "L", 5.5, 1024, False),
    "paper_q2": (14, 90, 150, "RGB", 2.0, 64, False),
    "paper_q5": (15, 64, 96, "RGB", 5.5, 1024, False),
    "paper_grey": (16, 33, 17, "L", 3.0, 1024, False),
    "bound_0": (14, 70, 90, "RGB", 0.0, 64, False, 0),
    "bound_1": (44, 33, 70, "RGB", 1.0, 64, False, 1),
    "bound_2": (15, 50, 67, "RGBA", 2.0, 1024, False, 2),
    "bound_grey": (16, 33, 70, "L", 1.0, 1024, False, 1),
    "bound_extreme": (None, 40, 33, "RGB", 0.0, 1024, False, 0),
}


def icc_and_exif() -> tuple[bytes, bytes]:
    """Placeholders of plausible size; the codec keeps them as they are."""
    from PIL import ImageCms

    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation
    exif[0x010E] = "golden"
    return icc, exif.tobytes().removeprefix(b"Exif\0\0")


def extreme(height: int, width: int) -> np.ndarray:
    """Black and white in large blocks and fine noise: far outside the tables, so that values escape."""
    row, col = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).integers(0, 2, (height, width, 3))
    in_block = (col // 16 % 2 == row // 16 % 2)[..., None]
    return (255 * np.where(in_block, noise, col[..., None] // 32 % 2)).astype(np.uint8)


def make_model(name: str) -> None:
    """A few steps of training on generated images, then frozen: NAME.safetensors and its entry in the manifest."""
    from dmecodec.train.data import Crops
    from dmecodec.train.freeze import freeze, update_manifest, write_model
    from dmecodec.train.start import initialise
    from dmecodec.train.trainer import Options, Trainer

    images = [aerial(1000 + seed, 192, 192) for seed in range(60)]
    crops = Crops(images, SIDE, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(Path(folder), MODELS[name], torch.device("cpu"))
        initialise(trainer.model, images, crops)
        for stage, steps in ((2, 120),) if MODELS[name].paper else ((1, 60), (2, 60)):
            trainer.begin_stage(stage)
            options = Options(minutes=60, batch=8, side=SIDE, psi=0.0, max_steps=steps)
            trainer.run(crops, options, lambda s: print(s.line(), flush=True), every=20)
        frozen = freeze(trainer.averaged(), crops, batches=8, table_batches=150, report=print)
    write_model(frozen, HERE / f"{name}.safetensors", overwrite=True)
    digest = hashlib.sha256(frozen.data).hexdigest()
    update_manifest(HERE, name, digest, frozen.parameters)


def make_file(name: str) -> dict[str, object]:
    """Writes NAME.dmen and NAME.png; returns what its latents must be."""
    seed, height, width, mode, quality, tile, with_metadata, *bound = FILES[name]
    colours = extreme(height, width) if seed is None else aerial(seed, height, width)
    picture = Image.fromarray(in_mode(colours, mode))
    original = io.BytesIO()
    icc, exif = icc_and_exif() if with_metadata else (None, None)
    picture.save(original, "PNG", icc_profile=icc, exif=exif)
    original.seek(0)
    model = name.partition("_")[0]
    options = {
        "model": model if model in MODELS else "tiny",
        "max_error": bound[0] if bound else None,
    }
    if "filter" in name:  # of small tiles as well
        dmecodec.restoration.fit._MIN_SAMPLED_PIXELS = 1
    data = dmecodec.encode(original, quality, tile=tile, **options)
    (HERE / f"{name}.dmen").write_bytes(data)
    # In float32 throughout, in the middle of what machines with and without bf16 give.
    dmecodec.codec.synthesis.autocast = lambda _: contextlib.nullcontext()  # type: ignore[assignment]
    Image.fromarray(dmecodec.decode(data)).save(HERE / f"{name}.png", optimize=True)
    y_hat, z_hat = dmecodec.latents(data)
    bounded = {"max_error": bound[0]} if bound else {}
    return bounded | {
        "mode": mode,
        "size": [width, height],
        "quality": quality,
        "tile": tile,
        "y_hat": describe(y_hat),
        "z_hat": describe(z_hat),
        "icc": hashlib.sha256(icc).hexdigest() if icc else None,
        "exif": hashlib.sha256(exif).hexdigest() if exif else None,
    }


def describe(latents: np.ndarray) -> dict[str, object]:
    """Shape and SHA-256 of the values as little-endian 32-bit integers in C order."""
    digest = hashlib.sha256(latents.astype("<i4").tobytes()).hexdigest()
    return {"shape": list(latents.shape), "sha256": digest}


def main(names: list[str]) -> None:
    """The named models, then the named files."""
    torch.set_num_threads(1)
    listing = HERE / "golden.json"
    golden = json.loads(listing.read_text())
    for name in [name for name in MODELS if name in names]:
        make_model(name)
    for name in [name for name in FILES if name in names]:
        golden[name] = make_file(name)
        print(name, (HERE / f"{name}.dmen").stat().st_size, "bytes")
    listing.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
