"""The plots of the report's folder, as PNG and SVG: rate-distortion curves, and BD-rate over speed."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from .averages import averages, coded_by_all
from .report import Report
from .results import MEASURES, OURS, Measurement, codec_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_IMAGES = 12
COLUMNS = 4
_FORMATS = ("png", "svg")
_SPEED = "bd_rate_speed"
_RATIOS = (0.1, 0.25, 0.5, 0.7, 0.85, 1, 1.2, 1.5, 2, 3, 5, 10, 20)
_PALETTE = (
    *("#4477aa", "#228833", "#ccaa22", "#66ccee", "#aa3377", "#999933", "#cc6677", "#8877dd"),
    *("#44aa99", "#9a6324", "#7f8c8d", "#e377c2", "#117733", "#882255"),
)
_FIRST_ANCHORS = ("jpeg2000", "jpeg")

Curve = list[tuple[float, float]]


def all_names() -> list[str]:
    """The names of all plots that a report may have."""
    return [f"{stem}.{kind}" for stem in (*map(_stem, MEASURES), _SPEED) for kind in _FORMATS]


def draw_all(report: Report) -> dict[str, bytes]:
    """The plots of a report by the names of their files, without those that have nothing to show."""
    figures = {_stem(measure): draw_curves(report.measurements, measure) for measure in MEASURES}
    figures[_SPEED] = draw_speed(report)
    return {
        f"{stem}.{kind}": data
        for stem, figure in figures.items()
        if figure is not None
        for kind, data in _saved(figure).items()
    }


def draw_curves(measurements: Sequence[Measurement], measure: str) -> Figure | None:
    """Plot `measure` over bits per pixel, or None with nothing to plot.

    The mean curve of a codec joins its settings' mean bpp and mean quality over the images that all
    codecs coded. With 2 to 12 images each has its own axes too, in the same figure.
    """
    measurements = [m for m in measurements if m.value(measure) is not None]
    mean_curves = _curves((a.codec, a.bpp, a.values[measure]) for a in averages(coded_by_all(measurements)))
    if not mean_curves:
        return None
    panels = {"mean": mean_curves}
    images = list(dict.fromkeys(m.image for m in measurements))
    if 2 <= len(images) <= MOST_IMAGES:
        for image in images:
            of_image = (m for m in measurements if m.image == image)
            panels[image] = _curves((m.codec, m.bpp, m.value(measure)) for m in of_image)

    from matplotlib.figure import Figure  # no pyplot: no window system, no global state

    columns = min(COLUMNS, math.ceil(math.sqrt(len(panels))))
    rows = math.ceil(len(panels) / columns)
    width, height = (7.0, 5.0) if len(panels) == 1 else (4.2 * columns, 3.4 * rows)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    colours = colours_of(codec_names(measurements))
    for axis, (title, curves) in zip(axes, panels.items(), strict=False):
        _panel(axis, _printable(title), curves, MEASURES[measure].title, colours)
    axes[0].legend(fontsize="small")
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    return figure


def draw_speed(report: Report) -> Figure | None:
    """Mean BD-rate in PSNR over encode and over decode speed, or None without an anchor."""
    anchor = first_anchor(codec_names(report.measurements))
    rates = {c.codec: c.mean for c in report.pairs if c.anchor == anchor and c.measure == "psnr"}
    if anchor is None or all(rate is None for rate in rates.values()):
        return None
    rates[anchor] = 0.0

    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    colours = colours_of(codec_names(report.measurements))
    axes = figure.subplots(1, 2, sharey=True)
    for axis, which in zip(axes, ("encode", "decode"), strict=True):
        known = [(speed, rates[speed.codec]) for speed in report.speeds()]
        places = [(getattr(speed, which), 1 + rate / 100, speed.codec) for speed, rate in known if rate is not None]
        _speed_panel(axis, sorted(places), colours)
        axis.set_xlabel(f"{which}, megapixels a second")
    axes[0].set_ylabel(f"BD-rate in PSNR against {anchor}, %")
    return figure


def _speed_panel(axis: Axes, places: Sequence[tuple[float, float, str]], colours: Mapping[str, str]) -> None:
    """Codecs by speed and ratio of bits, both on logarithmic axes: half and twice the bits are equally far from 0 %."""
    for place, (speed, ratio, codec) in enumerate(places):
        axis.plot(speed, ratio, "o", color=colours[codec])
        above = (0, 6 if place % 2 else -14)  # points: neighbours' names do not meet
        axis.annotate(codec, (speed, ratio), above, textcoords="offset points", fontsize="small", ha="center")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.margins(0.15)
    lowest, highest = axis.get_ylim()
    ticks = [ratio for ratio in _RATIOS if lowest <= ratio <= highest]
    axis.set_yticks(ticks, ["0" if ratio == 1 else f"{100 * (ratio - 1):+.0f}" for ratio in ticks])
    axis.minorticks_off()
    axis.grid(alpha=0.3)


def first_anchor(codecs: Sequence[str]) -> str | None:
    """The codec that others are compared with at first: JPEG 2000, or else JPEG, or else any but dmecodec."""
    others = [name for name in codecs if name != OURS]
    return next((name for name in (*_FIRST_ANCHORS, *others) if name in others), None)


def colours_of(codecs: Iterable[str]) -> dict[str, str]:
    """A colour for each codec, as CSS and matplotlib know it, readable on white and black; dmecodec's stands out."""
    others = [name for name in codecs if name != OURS]
    return {OURS: "#e8590c", **{name: _PALETTE[place % len(_PALETTE)] for place, name in enumerate(others)}}


def _stem(measure: str) -> str:
    return f"rd_{measure.removesuffix('_db')}"


def _saved(figure: Figure) -> dict[str, bytes]:
    """The bytes of a figure in every format."""
    files = {}
    for kind in _FORMATS:
        stream = io.BytesIO()
        figure.savefig(stream, dpi=120, format=kind)
        figure.set_layout_engine("none")  # what was laid out once stays where it is
        files[kind] = stream.getvalue()
    return files


def _curves(triples: Iterable[tuple[str, float, float | None]]) -> dict[str, Curve]:
    """By codec, points in order of rate, without those that have no finite quality."""
    curves: dict[str, Curve] = {}
    for codec, bpp, quality in triples:
        if quality is not None and math.isfinite(quality):
            curves.setdefault(codec, []).append((bpp, quality))
    return {codec: sorted(curve) for codec, curve in curves.items()}


def _panel(axis: Axes, title: str, curves: Mapping[str, Curve], label: str, colours: Mapping[str, str]) -> None:
    for codec, curve in curves.items():
        rates, qualities = zip(*curve, strict=True)
        width = 2.2 if codec == OURS else 1.2
        axis.plot(rates, qualities, ".-", label=codec, color=colours[codec], lw=width, zorder=width)
    axis.set_title(title, fontsize="medium", parse_math=False)
    axis.set_xlabel("bits per pixel")
    axis.set_ylabel(label)
    axis.grid(alpha=0.3)


def _printable(name: str) -> str:
    """A file's name without what no font shows and no XML holds."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
