"""Rate-distortion plots: the mean of all images, and each image where they are few."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .results import MEASURES, OURS, Measurement, averages

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_IMAGES = 12
COLUMNS = 4
COLOURS = {OURS: "black", "jpeg": "C0", "jpeg2000": "C1", "webp": "C2", "avif": "C3"}

Curve = list[tuple[float, float]]


def draw(measurements: Sequence[Measurement], measure: str) -> bytes | None:
    """Plot `measure` over bits per pixel: the bytes of a PNG file, or None with nothing to plot.

    The mean curve of a codec joins its settings' mean bpp and mean quality over the images that it
    coded. With 2 to 12 images each has its own axes too, in the same file.
    """
    measurements = [m for m in measurements if getattr(m, measure) is not None]
    mean_curves = _curves((a.codec, a.bpp, getattr(a, measure)) for a in averages(measurements))
    if not mean_curves:
        return None
    panels = {"mean": mean_curves}
    images = list(dict.fromkeys(m.image for m in measurements))
    if 2 <= len(images) <= MOST_IMAGES:
        for image in images:
            of_image = (m for m in measurements if m.image == image)
            panels[image] = _curves((m.codec, m.bpp, getattr(m, measure)) for m in of_image)

    from matplotlib.figure import Figure  # no pyplot: no window system, no global state

    columns = min(COLUMNS, math.ceil(math.sqrt(len(panels))))
    rows = math.ceil(len(panels) / columns)
    width, height = (7.0, 5.0) if len(panels) == 1 else (4.2 * columns, 3.4 * rows)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis, (title, curves) in zip(axes, panels.items(), strict=False):
        _panel(axis, title, curves, MEASURES[measure])
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    stream = io.BytesIO()
    figure.savefig(stream, dpi=120, format="png")
    return stream.getvalue()


def _curves(triples: Iterable[tuple[str, float, float | None]]) -> dict[str, Curve]:
    """By codec, points in order of rate, without those that have no finite quality."""
    curves: dict[str, Curve] = {}
    for codec, bpp, quality in triples:
        if quality is not None and math.isfinite(quality):
            curves.setdefault(codec, []).append((bpp, quality))
    return {codec: sorted(curve) for codec, curve in curves.items()}


def _panel(axis: Axes, title: str, curves: dict[str, Curve], measure: str) -> None:
    for codec, curve in curves.items():
        rates, qualities = zip(*curve, strict=True)
        width = 2.2 if codec == OURS else 1.2
        axis.plot(rates, qualities, ".-", label=codec, color=COLOURS.get(codec), lw=width, zorder=width)
    axis.set_title(title, fontsize="medium", parse_math=False)
    axis.set_xlabel("bits per pixel")
    axis.set_ylabel(f"{measure}, dB")
    axis.grid(alpha=0.3)
    if curves:
        axis.legend(fontsize="small")
