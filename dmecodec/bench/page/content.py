"""What the page shows, as values that JSON holds."""

from __future__ import annotations

import base64
import io
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image

from ..data import content, without_infinities
from ..examples import Example
from ..plots import colours_of, first_anchor
from ..report import Report
from ..results import BD_MEASURES, MEASURES, OURS, codec_names


def page_content(report: Report) -> dict[str, Any]:
    """The numbers of results.json, and what the page needs to show them."""
    names = codec_names(report.measurements)
    shown = content(report) | {
        "ours": OURS,
        "names": names,
        "colours": colours_of(names),
        "anchor": first_anchor(names),
        "images": list(dict.fromkeys(m.image for m in report.measurements)),
        "measures": {
            name: asdict(measure) | {"title": measure.title, "has_bd_rate": name in BD_MEASURES}
            for name, measure in MEASURES.items()
            if any(m.value(name) is not None for m in report.measurements)
        },
        "examples": [_of_example(example) for example in report.examples],
    }
    return without_infinities(shown)


def _of_example(example: Example) -> dict[str, Any]:
    return {
        "image": example.image,
        "column": example.column,
        "row": example.row,
        "side": example.original.shape[0],
        "rate": example.rate,
        "gain": example.gain,
        "original": _png_uri(example.original),
        "crops": [
            {
                "codec": crop.measurement.codec,
                "setting": crop.measurement.setting,
                "bytes": crop.measurement.size,
                "bpp": crop.measurement.bpp,
                "psnr": crop.measurement.quality.psnr,
                "ms_ssim_db": crop.measurement.quality.ms_ssim_db,
                "pixels": _png_uri(crop.pixels),
                "errors": _png_uri(crop.errors),
            }
            for crop in example.crops
        ],
    }


def _png_uri(pixels: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
