"""The folder of a report: a page, raw numbers, and plots."""

from __future__ import annotations

import os
from pathlib import Path

from ..base.files import replace_file
from ..errors import OptionError, OutputError
from . import plots
from .data import as_csv, as_json
from .page.page import page
from .report import Report

CACHE = "cache"
"""The folder, in that of the report, of results that are not measured again."""


def write_report(report: Report, folder: str | Path) -> list[Path]:
    """Write index.html, results.json, results.csv, and plots as PNG and SVG.

    A measure that no image has (MS-SSIM, if all are small) gets no plot. Files of an earlier
    report in the same folder are replaced, and plots of it that this one lacks are removed.

    Returns:
        The files written.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    folder = Path(folder)
    drawn = plots.draw_all(report)
    files = {
        "index.html": page(report, drawn),
        "results.json": as_json(report),
        "results.csv": as_csv(report),
        **drawn,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in plots.all_names():
            if name not in files:
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot write the report: {error.strerror or error}") from error
    for name, data in files.items():
        with replace_file(folder / name, overwrite=True) as file:
            file.write(data)
    return [folder / name for name in files]


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
