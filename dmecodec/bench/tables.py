"""The report's tables for rich's console."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from .results import MEASURES, OURS, Average, Comparison


def average_table(rows: Sequence[Average]) -> Table:
    """One row for every codec and setting."""
    table = Table(title="Mean of the images")
    table.add_column("codec")
    heads = "setting,images,bpp,PSNR dB,MS-SSIM,MS-SSIM dB,encode MPix/s,decode MPix/s"
    for head in heads.split(","):
        table.add_column(head, justify="right")
    for i, row in enumerate(rows):
        table.add_row(
            row.codec,
            f"{row.setting:g}",
            str(row.images),
            f"{row.bpp:.3f}",
            f"{row.psnr:.2f}",
            _number(row.ms_ssim, ".4f"),
            _number(row.ms_ssim_db, ".2f"),
            f"{row.encode_speed:.2f}",
            f"{row.decode_speed:.2f}",
            style="bold" if row.codec == OURS else "",
            end_section=i + 1 == len(rows) or rows[i + 1].codec != row.codec,
        )
    return table


def comparison_table(compared: Sequence[Comparison], most_images: int) -> Table:
    """One column for every codec and measure; one row an image, unless they are many, and a
    mean."""
    table = Table(title=f"BD-rate of {OURS}, per cent: bits for the same quality, less is better")
    table.add_column("image")
    for c in compared:
        table.add_column(f"{c.anchor}\n{MEASURES[c.measure]}", justify="right")
    images = list(dict.fromkeys(i for c in compared for i in (*c.per_image, *c.left_out)))
    if 1 < len(images) <= most_images:
        for image in images:
            table.add_row(Text(image), *(_number(c.per_image.get(image), "+.1f") for c in compared))
        table.add_section()
    table.add_row("mean", *(_number(c.mean, "+.1f") for c in compared), style="bold")
    table.add_row("images", *(str(len(c.per_image)) for c in compared), style="dim")
    return table


def left_out_list(notes: Sequence[tuple[str, str]]) -> Text:
    """One line for each thing that is missing from the tables."""
    return Text("Left out:\n" + "\n".join(f"  {what}: {reason}" for what, reason in notes))


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
