"""Fig. 14: what HA, VA and EEM of MDEI see in an image, and their sum.

python experiments/feature_maps.py docs/example.png
"""

from __future__ import annotations

from pathlib import Path

import torch
from common import begin, images, parser, save_picture, tensor
from matplotlib.figure import Figure

from dmecodec.train.mdei import MDEI


def main() -> None:
    options = parser(__doc__)
    options.add_argument("image", type=Path, nargs="?")
    chosen = options.parse_args()
    begin(chosen)
    image = images([chosen.image] if chosen.image else [], chosen.image is None)[0]
    mdei, x = MDEI(), tensor(image)
    with torch.inference_mode():
        maps = {
            "HA": mdei.horizontal(x),
            "VA": mdei.vertical(x),
            "EEM": mdei.edges(x),
            "MDEI": mdei(x),
        }
    figure = Figure(figsize=(13, 8.4), layout="constrained")
    axes = figure.subplots(3, 1 + len(maps))
    for band, row in enumerate(axes):
        row[0].imshow(image[..., band], cmap="gray")
        row[0].set_ylabel(("red", "green", "blue")[band])
        for axis, (name, features) in zip(row[1:], maps.items(), strict=True):
            axis.imshow(features[0, band], cmap="gray")
            axis.set_title(name if band == 0 else "")
        for axis in row:
            axis.set_xticks([])
            axis.set_yticks([])
    axes[0][0].set_title("band")
    save_picture(figure, chosen, "feature-maps")


if __name__ == "__main__":
    main()
