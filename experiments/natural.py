"""Fig. 18: natural images. Kodak, against the curves that others have published.

    python experiments/natural.py VAL/kodak --published kodak_rd.json

Real files at the eight qualities. The published curves are means over the images, so this BD-rate is that of two mean
curves. The paper trains on 400 indoor pictures; dmecodec's model has seen aerial imagery alone.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from common import begin, images, parser, quality, write_points

import dmecodec
from dmecodec.bench.bd_rate import bd_rate


def main() -> None:
    options = parser(__doc__)
    options.add_argument("folder", nargs="?", type=Path, help="the 24 Kodak images")
    options.add_argument("--published", type=Path)
    options.add_argument("--model")
    chosen = options.parse_args()
    begin(chosen)
    pictures = images([chosen.folder] if chosen.folder else [], chosen.smoke)
    rows = []
    for setting in (1, 4) if chosen.smoke else range(8):
        for n, picture in enumerate(pictures):
            data = dmecodec.encode(picture, setting, model=chosen.model)
            bpp = 8 * len(data) / (picture.shape[0] * picture.shape[1])
            measured = quality(picture, dmecodec.decode(data))
            rows.append({"image": n, "quality": setting, "bpp": bpp, **measured})
    write_points(chosen.out / "natural.csv", rows)
    if chosen.published:
        curve = _mean_curve(rows)
        published = json.loads(chosen.published.read_text())["curves"]
        compared = [
            {"against": name, "bd_rate_psnr": bd_rate(list(zip(c["bpp"], c["psnr_rgb_db"], strict=True)), curve)}
            for name, c in published.items()
        ]
        write_points(chosen.out / "natural-published.csv", sorted(compared, key=lambda row: row["bd_rate_psnr"] or 0))


def _mean_curve(rows: list[dict[str, float]]) -> list[tuple[float, float]]:
    settings = sorted({row["quality"] for row in rows})
    of = {setting: [row for row in rows if row["quality"] == setting] for setting in settings}

    def mean(setting: float, key: str) -> float:
        return float(np.mean([row[key] for row in of[setting]]))

    return [(mean(s, "bpp"), mean(s, "psnr")) for s in settings]


if __name__ == "__main__":
    main()
