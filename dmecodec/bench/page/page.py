"""Puts the page together: the numbers as JSON, and scripts and styles inlined."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path

from ..report import Report
from .content import page_content

_ASSETS = Path(__file__).parent / "assets"


def page(report: Report, plots: Mapping[str, bytes]) -> bytes:
    """index.html, which loads nothing from elsewhere.

    Names of files get into the page as JSON alone, and its script writes them as text, so that none of them can hold
    HTML that a browser obeys.

    Args:
        report: what to show.
        plots: the plots of the report's folder; they stand in the page where plotly is not installed.
    """
    content = page_content(report)
    chart_script = _plotly()
    if chart_script is None:
        content["plots"] = {name: _svg_uri(data) for name, data in plots.items() if name.endswith(".svg")}
    parts = {
        "STYLE": _asset("page.css"),
        "CHARTS": chart_script or "",
        "SCRIPT": "\n".join(_asset(f"{name}.js") for name in ("elements", "charts", "tables", "crops", "page")),
        "DATA": json.dumps(content, allow_nan=False).replace("<", "\\u003c"),
    }
    html = re.sub("<!--([A-Z]+)-->", lambda place: parts[place[1]], _asset("page.html"))
    return html.encode(errors="backslashreplace")


def _plotly() -> str | None:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        return None
    return get_plotlyjs()


def _svg_uri(data: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(data).decode()}"


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")
