"""Saves an image as .dmen with Pillow, opens it again and makes a thumbnail.

python examples/with_pillow.py photo.png photo.dmen thumbnail.png
"""

from __future__ import annotations

import argparse

from PIL import Image

import dmecodec.pillow  # noqa: F401  (registers .dmen with Pillow)


def main() -> None:
    """Saves, opens and reduces."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image")
    parser.add_argument("coded")
    parser.add_argument("thumbnail")
    arguments = parser.parse_args()

    with Image.open(arguments.image) as image:
        image.save(arguments.coded, quality=4)
    with Image.open(arguments.coded) as image:  # reads the header only
        print(image.format, image.size, image.mode)
        image.thumbnail((128, 128))  # decodes
        image.save(arguments.thumbnail)


if __name__ == "__main__":
    main()
