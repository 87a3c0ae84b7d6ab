"""Codes every image of a folder, then decodes the files into a third folder.

    python examples/folder_to_folder.py scenes/ coded/ decoded/ --quality 4

For thousands of files, `dmecodec encode scenes/ -o coded/ --jobs 4` does the same on several processes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import dmecodec


def main() -> None:
    """Codes and decodes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("coded", type=Path)
    parser.add_argument("decoded", type=Path)
    parser.add_argument("--quality", type=float, default=4.0)
    arguments = parser.parse_args()

    arguments.coded.mkdir(parents=True, exist_ok=True)
    arguments.decoded.mkdir(parents=True, exist_ok=True)
    for path in sorted(arguments.images.iterdir()):
        if not path.is_file():
            continue
        try:
            data = dmecodec.encode(path, arguments.quality)
        except dmecodec.errors.ImageError as error:  # not an image, or one that would lose something
            print(error)
            continue
        target = arguments.coded / f"{path.stem}.dmen"
        target.write_bytes(data)
        with dmecodec.open(target) as file:
            file.save(arguments.decoded / f"{path.stem}.tif")
            pixels = file.header.width * file.header.height
        print(f"{path.name}: {len(data)} bytes, {8 * len(data) / pixels:.2f} bits per pixel")


if __name__ == "__main__":
    main()
