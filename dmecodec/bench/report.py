"""The report of a run: tables for the terminal, CSV, JSON and plots for a folder."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.files import replace_file
from ..errors import OptionError, OutputError
from .metrics import BD_FEWEST_POINTS
from .results import MEASURES, OURS, Average, Comparison, Measurement, averages, comparisons

if TYPE_CHECKING:
    from rich.console import RenderableType

COLUMNS = (
    "image",
    "width",
    "height",
    "codec",
    "setting",
    "bytes",
    "bpp",
    "psnr",
    "ms_ssim",
    "ms_ssim_db",
    "encode_seconds",
    "decode_seconds",
    "encode_mpix_s",
    "decode_mpix_s",
)
PLOTS = {"psnr": "rd_psnr.png", "ms_ssim_db": "rd_msssim.png"}
MOST_IMAGES_LISTED = 30  # the terminal shows means alone for more; summary.json has them all


@dataclass(frozen=True)
class LeftOut:
    """An image, a codec, or an image with a codec, that was not measured, and why."""

    what: str
    reason: str


@dataclass(frozen=True)
class Report:
    """All measurements of a run, and what they come to."""

    measurements: Sequence[Measurement]
    left_out: Sequence[LeftOut] = field(default=())
    environment: Mapping[str, str] = field(default_factory=dict)

    def averages(self) -> list[Average]:
        """Mean figures of every codec and setting."""
        return averages(self.measurements)

    def comparisons(self) -> list[Comparison]:
        """BD-rates of dmecodec against every other codec in PSNR and in MS-SSIM."""
        return comparisons(self.measurements)

    def tables(self) -> list[RenderableType]:
        """For rich's console: the averages, the BD-rates, and what was left out."""
        from . import tables

        compared = self.comparisons()
        shown: list[RenderableType] = [tables.average_table(self.averages())]
        if any(c.per_image or c.left_out for c in compared):
            shown.append(tables.comparison_table(compared, MOST_IMAGES_LISTED))
        notes = [*self.left_out, *self._without_bd_rate(compared)]
        if notes:
            shown.append(tables.left_out_list([(note.what, note.reason) for note in notes]))
        return shown

    def write(self, folder: str | Path) -> list[Path]:
        """Write results.csv, summary.json and the plots (rd_psnr.png, rd_msssim.png).

        A measure that no image has (MS-SSIM, if all are small) gets no plot. Files of an earlier
        report in the same folder are replaced.

        Returns:
            The files written.

        Raises:
            OutputError: the folder cannot be made or written to.
        """
        from . import plots

        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            summary = json.dumps(self.summary(), indent=1, allow_nan=False) + "\n"
            files = {"results.csv": self._csv(), "summary.json": summary.encode()}
            for measure, name in PLOTS.items():
                plot = plots.draw(self.measurements, measure)
                if plot is None:
                    (folder / name).unlink(missing_ok=True)
                else:
                    files[name] = plot
        except OSError as error:
            raise OutputError(f"{folder}: cannot write the report: {error.strerror or error}") from error
        for name, data in files.items():
            with replace_file(folder / name, overwrite=True) as file:
                file.write(data)
        return [folder / name for name in files]

    def summary(self) -> dict[str, Any]:
        """What summary.json holds; infinite values (a lossless image's PSNR) are null."""
        compared = self.comparisons()
        return {
            "environment": dict(self.environment),
            "averages": [_without_infinities(asdict(a)) for a in self.averages()],
            "bd_rate_percent": [
                {
                    "anchor": c.anchor,
                    "measure": c.measure,
                    "mean": c.mean,
                    "per_image": dict(c.per_image),
                    "under_1_db_in_common": list(c.left_out),
                    "under_4_points": list(c.too_few),
                }
                for c in compared
            ],
            "left_out": [asdict(note) for note in self.left_out],
        }

    def _without_bd_rate(self, compared: Sequence[Comparison]) -> list[LeftOut]:
        """Why there is no BD-rate, where there is none."""
        qualities = {m.setting for m in self.measurements if m.codec == OURS}
        if compared and len(qualities) < BD_FEWEST_POINTS:
            reason = f"needs at least {BD_FEWEST_POINTS} qualities, and {len(qualities)} were measured; add --quality"
            return [LeftOut("BD-rate", reason)]
        return [*_too_few_points(compared), *_too_far_apart(compared)]

    def _csv(self) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        for m in self.measurements:
            floats = (m.bpp, m.psnr, m.ms_ssim, m.ms_ssim_db)
            times = (m.encode_seconds, m.decode_seconds, m.encode_speed, m.decode_speed)
            numbers = ["" if value is None else f"{value:.7g}" for value in (*floats, *times)]
            setting = f"{m.setting:g}"
            writer.writerow([m.image, m.width, m.height, m.codec, setting, m.size, *numbers])
        return text.getvalue().encode(errors="backslashreplace")  # names need not be UTF-8


def check_folder(folder: str | Path) -> None:
    """Refuses what no report can be written to, before anything is measured.

    Raises:
        OptionError: the name is empty.
        OutputError: it, or what it would stand in, is no folder, or not to be written to.
    """
    if not str(folder):
        raise OptionError("the name of the report's folder is empty; '.' is the current folder")
    try:
        folder = Path(os.path.realpath(folder))
        there = next(above for above in (folder, *folder.parents) if above.exists())
        if not there.is_dir():
            raise OutputError(f"{folder}: cannot write the report: {there} is not a folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise OutputError(f"{folder}: cannot write the report: no permission in {there}")
    except (OSError, ValueError) as error:
        raise OutputError(f"{folder}: cannot write the report: {error}") from None


def _too_few_points(compared: Sequence[Comparison]) -> list[LeftOut]:
    notes = []
    for c in compared:
        points = f"fewer than {BD_FEWEST_POINTS} points that rise in {MEASURES[c.measure]}"
        notes += [LeftOut(image, f"{points}, of {c.anchor} or {OURS}: no BD-rate") for image in c.too_few]
    return notes


def _too_far_apart(compared: Sequence[Comparison]) -> list[LeftOut]:
    notes = []
    for c in compared:
        reason = f"less than 1 dB of {MEASURES[c.measure]} in common with {c.anchor}: no BD-rate"
        notes += [LeftOut(image, reason) for image in c.left_out]
    return notes


def _without_infinities(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()
    }
