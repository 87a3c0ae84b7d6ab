"""The report's tables for rich's console."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Table
from rich.text import Text

from .averages import Average, Speed
from .comparisons import Comparison
from .report import Report
from .results import MEASURES, OURS, LeftOut

MOST_IMAGES_LISTED = 30  # the terminal shows means alone for more; results.json has them all

_DIGITS = {"psnr": 2, "ms_ssim_db": 2, "ssim_db": 2, "max_error": 1, "spectral_angle": 3, "ndvi_error": 4}
_IN_DB = ("psnr", "ms_ssim_db")  # the terminal has no room for BD-rates in all measures


def report_tables(report: Report) -> list[Table | Text]:
    """The averages, speeds, BD-rates, the comparison at one rate, and what was left out."""
    compared = report.comparisons()
    shown: list[Table | Text] = [average_table(report.averages()), speed_table(report.speeds())]
    if any(c.per_image or c.too_far_apart for c in compared):
        shown.append(comparison_table(compared, MOST_IMAGES_LISTED))
    if report.at_bpp is not None:
        shown.append(rate_table(report.averages_at_rate(), report.at_bpp))
    notes = report.notes()
    if notes:
        shown.append(left_out_list(notes))
    return shown


def average_table(rows: Sequence[Average]) -> Table:
    """One row for every codec and setting."""
    return _averages("Mean of the images", rows, ("setting", lambda row: f"{row.setting:g}"))


def rate_table(rows: Sequence[Average], rate: float) -> Table:
    """One row a codec, at its settings nearest to a rate."""
    title = f"Mean of the images, each at the setting nearest to {rate:g} bits per pixel"
    return _averages(title, rows)


def speed_table(rows: Sequence[Speed]) -> Table:
    """One row a codec."""
    table = Table(title="Speed over all settings; peak memory of a process on the largest image")
    table.add_column("codec")
    for head in ("encode MPix/s", "decode MPix/s", "peak MB"):
        table.add_column(head, justify="right")
    for row in rows:
        peak = None if row.peak_memory is None else row.peak_memory / 1e6
        table.add_row(
            row.codec, f"{row.encode:.2f}", f"{row.decode:.2f}", _number(peak, ".0f"), style=_style(row.codec)
        )
    return table


def comparison_table(compared: Sequence[Comparison], most_images: int) -> Table:
    """One column for every codec, in PSNR and in MS-SSIM; a row an image, unless they are many, and their mean, median
    and interval."""
    compared = [c for c in compared if c.measure in _IN_DB]
    table = Table(title=f"BD-rate of {OURS}, per cent: bits for the same quality, less is better")
    table.add_column("image")
    for c in compared:
        table.add_column(f"{c.anchor}\n{MEASURES[c.measure].label}", justify="right")
    images = list(dict.fromkeys(i for c in compared for i in (*c.per_image, *c.too_far_apart)))
    if 1 < len(images) <= most_images:
        for image in images:
            table.add_row(Text(image), *(_number(c.per_image.get(image), "+.1f") for c in compared))
        table.add_section()
    table.add_row("mean", *(_number(c.mean, "+.1f") for c in compared), style="bold")
    table.add_row("median", *(_number(c.median, "+.1f") for c in compared))
    table.add_row("95 %", *("-" if c.interval is None else "{:+.1f} {:+.1f}".format(*c.interval) for c in compared))
    table.add_row("images", *(str(len(c.per_image)) for c in compared), style="dim")
    return table


def left_out_list(notes: Sequence[LeftOut]) -> Text:
    """One line for each thing that is missing from the tables."""
    return Text("Left out:\n" + "\n".join(f"  {note.what}: {note.reason}" for note in notes))


def _averages(title: str, rows: Sequence[Average], *columns: tuple[str, Callable[[Average], str]]) -> Table:
    measures = [name for name in MEASURES if any(row.values[name] is not None for row in rows)]
    table = Table(title=title)
    table.add_column("codec")
    heads = [MEASURES[name].title.replace(", ", "\n") for name in measures]
    for head in (*(head for head, _ in columns), "images", "bpp", *heads, "encode\nMPix/s", "decode\nMPix/s"):
        table.add_column(head, justify="right")
    for i, row in enumerate(rows):
        table.add_row(
            row.codec,
            *(text(row) for _, text in columns),
            str(row.images),
            f"{row.bpp:.3f}",
            *(_number(row.values[name], f".{_DIGITS[name]}f") for name in measures),
            f"{row.encode_speed:.2f}",
            f"{row.decode_speed:.2f}",
            style=_style(row.codec),
            end_section=bool(columns) and (i + 1 == len(rows) or rows[i + 1].codec != row.codec),
        )
    return table


def _style(codec: str) -> str:
    return "bold" if codec == OURS else ""


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
