"""What the command line prints: lines, tables, progress. Imports rich only where it is used."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from ..batch.job import Result
    from ..network.complexity import Part
    from ..train.trainer import Snapshot


_UNBOUNDED = 10_000
"""Columns of a file or a pipe."""


def size(count: int) -> str:
    """Bytes for people."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{count} B" if unit == "B" else f"{value:.2f} {unit}"


def summary_line(result: Result) -> str:
    """One job in one line."""
    if result.skipped:
        return f"{result.job.source} -> {result.job.target}: is done already"
    megapixels = result.width * result.height / 1e6
    return (
        f"{result.job.source} -> {result.job.target}: {result.width} x {result.height}, "
        f"q {result.quality:g}, {size(result.bytes_out)}, {result.bpp:.3f} bpp, "
        f"{result.raw / max(1, result.bytes_out):.1f}:1, {result.seconds:.2f} s "
        f"({megapixels / max(1e-9, result.seconds):.2f} MPix/s)"
        + (f", {steps_in_words(result.steps)}" if result.steps else "")
    )


def steps_in_words(steps: Sequence[float]) -> str:
    """What a level of each band is worth in its own unit."""
    different = list(dict.fromkeys(f"{step:.6g}" for step in steps))
    return f"a level is {', '.join(different)}"


def verified_line(name: str, levels: int | None) -> str:
    """That a file is intact, and how many levels its samples are off where it was compared."""
    bound = "" if levels is None else f", valid samples at most {levels} levels from the original"
    return f"{name}: ok{bound}"


def show(renderables: Iterable[RenderableType]) -> None:
    """Prints tables, as wide as they are where no terminal bounds them."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=_UNBOUNDED)
    for renderable in renderables:
        console.print(renderable)


def summary_table(results: Sequence[Result]) -> None:
    """Several jobs in a table, the totals below."""
    from rich.table import Table

    table = Table("input", "pixels", "q", "size", "bpp", "ratio", "time", show_footer=True)
    done = [result for result in results if result.error is None]
    for result in results:
        if result.error is not None:
            table.add_row(_as_it_is(result.job.source), "[red]failed[/red]")
            continue
        table.add_row(
            _as_it_is(result.job.source),
            f"{result.width} x {result.height}",
            f"{result.quality:g}",
            size(result.bytes_out),
            f"{result.bpp:.3f}",
            f"{result.raw / max(1, result.bytes_out):.1f}:1",
            "done already" if result.skipped else f"{result.seconds:.2f} s",
        )
    written = sum(result.bytes_out for result in done)
    raw = sum(result.raw for result in done)
    before = sum(result.skipped for result in done)
    totals = (
        f"{len(done)} of {len(results)} files", f"{before} done already" if before else "", "",
        size(written), "", f"{raw / max(1, written):.1f}:1",
        f"{sum(r.seconds for r in results):.2f} s",
    )  # fmt: skip
    for column, total in zip(table.columns, totals, strict=True):
        column.footer = total
    show([table])


def _as_it_is(name: str) -> Text:
    """A name that rich leaves alone: without colours, smileys, or what a terminal would take for a command."""
    from rich.text import Text

    return Text("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name))


def info_lines(name: str, facts: dict[str, Any]) -> str:
    """The facts of `dmecodec info` as aligned lines."""
    model = facts["model_name"] or "not here"
    rows = {
        "image": f"{facts['width']} x {facts['height']} {_bands(facts)}",
        "quality": f"{facts['quality']:g}",
        "error": "not bounded" if facts["max_error"] is None else _bound(facts["max_error"]),
        "format": f"version {facts['version']}",
        "size": f"{facts['bytes']} bytes, {facts['bpp']:.4f} bpp",
        "model": f"{facts['model']} ({model})",
        "tiles": f"{facts['tiles']} of {facts['tile']} pixels",
        "streams": ", ".join(f"{k} {v}" for k, v in facts["streams"].items()),
        "overhead": f"{facts['overhead']} bytes",
        "metadata": ", ".join(facts["metadata"]) or "none",
    }
    if "bounds" in facts:
        rows |= _geo_rows(facts)
    return "\n".join([name, *(f"  {key:9} {value}" for key, value in rows.items())])


def _bands(facts: dict[str, Any]) -> str:
    """The mode, or what there is of bands."""
    if facts["mode"] != "BANDS":
        return str(facts["mode"])
    nodata = sorted({value for value in facts["nodata"] if value is not None}, key=repr)
    steps = f" as 16 bits, {steps_in_words(facts['steps'])}" if facts["steps"] else ""
    parts = [f"{facts['bands']} x {facts['type']}{steps}"]
    parts += [f"nodata {', '.join(map(str, nodata))}"] if nodata else []
    parts += {"band": ["alpha"], "mask": ["a mask"]}.get(facts["alpha"], [])
    return ", ".join(parts)


def _geo_rows(facts: dict[str, Any]) -> dict[str, str]:
    code = f" (EPSG:{facts['epsg']})" if facts["epsg"] else ""
    rows = {"crs": f"{facts['crs']}{code}" if facts["crs"] else "none"}
    if facts["bounds"]:
        rows["bounds"] = ", ".join(f"{side:.10g}" for side in facts["bounds"])
    if facts["gcps"]:
        rows["gcps"] = f"{facts['gcps']} points"
    return rows


def _bound(levels: int) -> str:
    return (f"at most {levels} levels" if levels else "lossless") + "; not bounded with --reduce"


def models_table(found: Sequence[dict[str, Any]]) -> None:
    """Models, whether they are intact, and which one is the default; below, their files."""
    from rich.table import Column, Table

    table = Table("name", Column("id", no_wrap=True), "parameters", "qualities", "state")
    for model in found:
        name = _as_it_is(model["name"] + (" (default)" if model["default"] else ""))
        parameters = f"{model['parameters'] / 1e6:.2f} M" if model["parameters"] else ""
        state = "[green]intact[/green]" if model["intact"] else "[red]damaged[/red]"
        low, high = model["qualities"]
        table.add_row(name, model["id"], parameters, f"{low:g} to {high:g}", state)
    show([table])
    for model in found:
        print(f"{model['name']}: {model['path']}", flush=True)


def complexity_table(parts: Sequence[Part]) -> None:
    """Parameters and operations, part by part."""
    from rich.table import Table

    table = Table("part", "parameters", "GFLOPs at 3 x 256 x 256")
    for part in parts:
        style = "bold" if part.total else None
        table.add_row(part.name, f"{part.parameters / 1e6:.3f} M", f"{part.flops / 1e9:.3f}", style=style)
    show([table])


def tracked(results: Iterator[Result], total: int, *, show: bool) -> Iterator[Result]:
    """Passes results on, under a progress bar on stderr where asked for and where it is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    if show and console.is_terminal:
        yield from track(results, total=total, console=console, description="files")
    else:
        yield from results


@contextmanager
def progress_callback(*, show: bool) -> Iterator[Callable[[int, int, str], None] | None]:
    """A progress bar on stderr as a callback (done, total, what); where it is no terminal, a line every half minute."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not show:
        yield None
        return
    if not console.is_terminal:
        yield _LineEvery(30)
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None)
        yield lambda done, total, what: progress.update(task, completed=done, total=total, description=what)


class _LineEvery:
    """Prints a line on stderr, at most one in so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last = seconds, time.monotonic()

    def __call__(self, done: int, total: int, what: str) -> None:
        if time.monotonic() - self._last >= self._seconds:
            self._last = time.monotonic()
            print(f"{done} of {total}: {what}", file=sys.stderr, flush=True)


@contextmanager
def training_progress() -> Iterator[Callable[[Snapshot], None]]:
    """A live line on a terminal, plain lines in a log."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda snapshot: console.print(snapshot.line(), soft_wrap=True)
        return
    columns = (TextColumn("{task.description}"), BarColumn(20), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("starting", total=1.0)
        yield lambda snapshot: progress.update(task, completed=snapshot.done, description=snapshot.line())
