"""The numbers of a report as JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from .comparisons import Comparison
from .report import Report
from .results import MEASURES, Measurement

_FACTS = ("image", "width", "height", "bands", "codec", "setting")
_NUMBERS = ("bpp", *MEASURES, "ms_ssim", "ssim", "encode_seconds", "decode_seconds", "encode_mpix_s", "decode_mpix_s")
COLUMNS = (*_FACTS, "bytes", *_NUMBERS)


def as_csv(report: Report) -> bytes:
    """One row a measurement; an empty cell where a measure does not apply."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for m in report.measurements:
        row = _row(m)
        numbers = ["" if row[name] is None else f"{row[name]:.7g}" for name in _NUMBERS]
        facts = [f"{m.setting:g}" if name == "setting" else row[name] for name in (*_FACTS, "bytes")]
        writer.writerow([*facts, *numbers])
    return text.getvalue().encode(errors="backslashreplace")  # names need not be UTF-8


def as_json(report: Report) -> bytes:
    """Every raw point and what follows from them; infinite values (the PSNR of a lossless image) are null."""
    text = json.dumps(without_infinities(content(report)), indent=1, allow_nan=False)
    return (text + "\n").encode(errors="backslashreplace")


def content(report: Report) -> dict[str, Any]:
    """What results.json holds."""
    return {
        "environment": dict(report.environment),
        "codecs": dict(report.versions),
        "points": [_row(m) for m in report.measurements],
        "averages": [asdict(a) for a in report.averages()],
        "speeds": [asdict(s) for s in report.speeds()],
        "memory_image": report.memory.image if report.memory else None,
        "bd_rate_percent": [_of_comparison(c) for c in report.pairs],
        "at_bpp": report.at_bpp,
        "averages_at_bpp": [asdict(a) for a in report.averages_at_rate()],
        "points_at_bpp": [_row(m) for m in report.at_rate],
        "left_out": [asdict(note) for note in report.notes()],
    }


def without_infinities(value: Any) -> Any:
    """The same with null for infinite numbers, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: without_infinities(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [without_infinities(item) for item in value]
    return value


def _row(m: Measurement) -> dict[str, Any]:
    return {
        **{name: getattr(m, name) for name in _FACTS},
        "bytes": m.size,
        "bpp": m.bpp,
        **{name: m.value(name) for name in (*MEASURES, "ms_ssim", "ssim")},
        "encode_seconds": m.encode_seconds,
        "decode_seconds": m.decode_seconds,
        "encode_mpix_s": m.encode_speed,
        "decode_mpix_s": m.decode_speed,
    }


def _of_comparison(c: Comparison) -> dict[str, Any]:
    ends: Sequence[float] | None = c.interval
    return {
        "codec": c.codec,
        "anchor": c.anchor,
        "measure": c.measure,
        "mean": c.mean,
        "median": c.median,
        "interval_95": None if ends is None else list(ends),
        "per_image": dict(c.per_image),
        "under_1_db_in_common": list(c.too_far_apart),
        "under_4_points": list(c.too_few),
    }
