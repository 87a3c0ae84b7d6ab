"""Writes an image into a zarr store whose chunks are .dmen files, and reads a window with xarray.

    pip install "dmecodec[zarr]" xarray
    python examples/zarr_with_xarray.py scene.png scene.zarr

Reading needs dmecodec installed, but no import: xarray finds the codec by its name in the store.
"""

from __future__ import annotations

import argparse

import numpy as np
import xarray
from PIL import Image

from dmecodec.zarr import Dmecodec


def main() -> None:
    """Writes the store and reads from it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image")
    parser.add_argument("store")
    parser.add_argument("--chunk", type=int, default=512, help="side of a chunk in pixels")
    arguments = parser.parse_args()

    with Image.open(arguments.image) as image:
        pixels = np.asarray(image.convert("RGB"))
    dataset = xarray.Dataset({"rgb": (("y", "x", "band"), pixels)})
    encoding = {
        "chunks": (arguments.chunk, arguments.chunk, 3),
        "serializer": Dmecodec(quality=4),
        "compressors": None,
    }
    dataset.to_zarr(arguments.store, mode="w", zarr_format=3, encoding={"rgb": encoding}, consolidated=False)

    with xarray.open_zarr(arguments.store, consolidated=False) as opened:
        window = opened["rgb"][:64, :64].load()  # decodes one chunk
    print(dict(window.sizes), f"mean {float(window.mean()):.1f}")


if __name__ == "__main__":
    main()
