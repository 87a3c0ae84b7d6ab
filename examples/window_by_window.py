"""Goes through a .dmen file window by window, in memory that does not grow with the image.

    python examples/window_by_window.py scene.dmen --side 1024

It prints the mean of each band in each window. A window reads the tiles under it and beside it (1024 pixels by
default), so much smaller windows decode the same tiles again. `File.blocks` goes through a whole image without that.
"""

from __future__ import annotations

import argparse

import dmecodec


def main() -> None:
    """Reads windows and prints their means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--side", type=int, default=1024)
    arguments = parser.parse_args()

    with dmecodec.open(arguments.file) as file:
        width, height, side = file.header.width, file.header.height, arguments.side
        for row in range(0, height, side):
            for col in range(0, width, side):
                window = col, row, min(side, width - col), min(side, height - row)
                pixels = file.read(window)  # (height, width), or (height, width, bands)
                means = pixels.reshape(-1, pixels.shape[2] if pixels.ndim == 3 else 1).mean(0)
                print(*window, *(f"{mean:.1f}" for mean in means))


if __name__ == "__main__":
    main()
