"""BD-rate of dmecodec against curves of other codecs that were measured before.

    python benchmarks/peers.py VAL/ucmerced VAL/aerial --peers PEERS/ucmerced PEERS/aerial

Every image of each folder is coded to a real `.dmen` file at every quality and decoded again. The
folder of the same place after --peers holds one CSV a codec, one row an image and setting, with at
least the columns image, bpp, psnr and msssim_db. Prints Markdown: the means of each quality, and
the mean over the images of their BD-rates, in RGB PSNR and in MS-SSIM. It uses as many threads as
OMP_NUM_THREADS says.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from dmecodec.bench.comparisons import Comparison, compare
from dmecodec.bench.report import Report
from dmecodec.bench.results import OURS, Points, points
from dmecodec.bench.runner import run
from dmecodec.errors import DmecodecError

MEASURES = {"psnr": "psnr", "ms_ssim_db": "msssim_db"}  # ours: the CSV's column
COLUMNS = "set,codec,q,image,w,h,bytes,bpp,psnr,msssim,msssim_db,enc_wall,dec_wall"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="VAL_FOLDER")
    parser.add_argument("--peers", nargs="+", type=Path, required=True, metavar="PEERS_FOLDER")
    parser.add_argument("--model", help="name or path of the model")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--qualities", nargs="+", type=float, default=[*range(8)], metavar="Q")
    parser.add_argument("--out", type=Path, help="CSV of every image and quality")
    options = parser.parse_args(arguments)
    if len(options.folders) != len(options.peers):
        parser.error("as many folders after --peers as before it")

    for peers in options.peers:
        if not any(peers.glob("*.csv")):
            parser.error(f"{peers}: no CSV files")

    reports = {}
    for folder, peers in zip(options.folders, options.peers, strict=True):
        reports[folder.name] = report = run(
            folder,
            codecs=(),
            qualities=options.qualities,
            model=options.model,
            device=options.device,
            progress=show_progress,
        )
        print(markdown(folder.name, report, against(report, peers)), flush=True)
    if options.out:
        write_csv(reports, options.out)


def against(report: Report, peers: Path) -> list[tuple[Comparison, Comparison]]:
    """For every CSV of the folder, the comparisons in PSNR and in MS-SSIM."""
    return [
        (_against_one(report, file, "psnr"), _against_one(report, file, "ms_ssim_db"))
        for file in sorted(peers.glob("*.csv"))
    ]


def _against_one(report: Report, file: Path, measure: str) -> Comparison:
    ours = points(report.measurements, OURS, measure)
    return compare(OURS, file.stem, measure, ours, read_points(file, MEASURES[measure]))


def read_points(file: Path, column: str) -> Points:
    curves: dict[str, list[tuple[float, float]]] = {}
    with file.open(newline="", encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            if row[column]:
                point = float(row["bpp"]), float(row[column])
                curves.setdefault(row["image"], []).append(point)
    return curves


def markdown(name: str, report: Report, compared: Sequence[tuple[Comparison, Comparison]]) -> str:
    lines = [
        f"## {name}",
        "",
        "| quality | images | bpp | PSNR dB | MS-SSIM dB | encode MPix/s | decode MPix/s |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for a in report.averages():
        psnr, ms_ssim = a.values["psnr"], a.values["ms_ssim_db"]
        similarity = "-" if ms_ssim is None else f"{ms_ssim:.3f}"
        lines.append(
            f"| {a.setting:g} | {a.images} | {a.bpp:.4f} | {psnr:.3f} | {similarity} "
            f"| {a.encode_speed:.2f} | {a.decode_speed:.2f} |"
        )
    lines += [
        "",
        "| against | BD-rate % PSNR | images | BD-rate % MS-SSIM | images |",
        "|---|---:|---:|---:|---:|",
    ]
    for in_psnr, in_similarity in compared:
        cells = [f"{_percent(c)} | {len(c.per_image)}" for c in (in_psnr, in_similarity)]
        lines.append(f"| {in_psnr.anchor} | {cells[0]} | {cells[1]} |")
    lines.append("")
    for c in (c for pair in compared for c in pair if c.too_far_apart):
        images = ", ".join(c.too_far_apart)
        lines.append(f"Less than 1 dB ({c.measure}) in common with {c.anchor}: {images}")
    lines += [f"Left out: {note.what}: {note.reason}" for note in report.left_out]
    return "\n".join(lines)


def _percent(comparison: Comparison) -> str:
    return "-" if comparison.mean is None else f"{comparison.mean:+.2f}"


def write_csv(reports: dict[str, Report], out: Path) -> None:
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS.split(","))
        for name, report in reports.items():
            for m in report.measurements:
                row = [name, m.codec, f"{m.setting:g}", m.image, m.width, m.height, m.size]
                q = m.quality
                values = (m.bpp, q.psnr, q.ms_ssim, q.ms_ssim_db, m.encode_seconds, m.decode_seconds)
                writer.writerow(row + ["" if v is None else f"{v:.7g}" for v in values])


def show_progress(done: int, total: int, what: str) -> None:
    if sys.stderr.isatty():
        end = "" if done < total else "\n"
        print(f"\r\x1b[K{done}/{total} {what}", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except DmecodecError as error:
        sys.exit(f"peers.py: {error}")
