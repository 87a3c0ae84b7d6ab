"""Trains on scenes of your own, from a model of the package, and codes a scene with the result.

    python examples/train_on_own_scenes.py scenes/ run/ mine.safetensors scene.png scene.dmen --minutes 120

Scenes are files or folders of RGB images of at least 256 x 256 pixels.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import dmecodec
from dmecodec.train import session


def train_and_encode(data: str, run: str, model: str, image: str, target: str, **options: Any) -> None:
    """Trains, freezes, and codes one image. The options are those of `dmecodec train`."""
    session.train([data], run, **options)  # resume=True goes on with an interrupted run
    for line in session.freeze_run(run, model):
        print(line)
    coded = dmecodec.encode(image, quality=4, model=model)
    Path(target).write_bytes(coded)
    dmecodec.decode(coded, model=model)  # decoding needs the model, too: see DMECODEC_MODELS
    print(f"{target}: {len(coded)} bytes")


def main() -> None:
    """Parses the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("data", "run", "model", "image", "target"):
        parser.add_argument(name)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--init", default="dmenet-1", help="the model to start from")
    parser.add_argument("--max-steps", type=int, help="steps of each stage, for a trial")
    parser.add_argument("--side", type=int, default=256, help="of a crop")
    parser.add_argument("--batch", type=int, default=8)
    a = parser.parse_args()
    options = {"time_budget": a.minutes, "max_steps": a.max_steps, "side": a.side, "batch": a.batch}
    train_and_encode(a.data, a.run, a.model, a.image, a.target, init=a.init, **options)


if __name__ == "__main__":
    main()
