"""The run and its report. dmecodec's place is taken by a toy codec, whose curve is known to rise."""

from __future__ import annotations

import csv
import io
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import refused
from PIL import Image
from rich.console import Console
from toy_codec import picture, toy_decode, toy_encode, write_images

import dmecodec
from dmecodec.bench import at_rate, metrics
from dmecodec.bench.bd_rate import bd_rate
from dmecodec.bench.cache import Cache
from dmecodec.bench.codecs import AVIF, CODECS, DEFAULT_CODECS, JPEG, JPEG2000, Codec
from dmecodec.bench.comparisons import compare
from dmecodec.bench.data import as_json
from dmecodec.bench.examples import SIDE, make_example
from dmecodec.bench.folder import write_report
from dmecodec.bench.measure import Bench
from dmecodec.bench.memory import peak_memory
from dmecodec.bench.report import Report
from dmecodec.bench.results import LeftOut, Measurement, Quality
from dmecodec.bench.runner import run
from dmecodec.bench.scene import Scene, load_scene
from dmecodec.bench.tables import report_tables
from dmecodec.errors import ImageError, ModelError, OptionError, OutputError
from dmecodec.images.gdal import opened

PEERS_SCRIPT = Path(__file__).parent.parent / "benchmarks" / "peers.py"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dmecodec, "encode", toy_encode, raising=False)
    monkeypatch.setattr(dmecodec, "decode", toy_decode, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The qualities that the toy was asked to encode at."""
    made: list[float] = []

    def encode(image: np.ndarray, quality: float, **options: Any) -> bytes:
        made.append(quality)
        return toy_encode(image, quality)

    monkeypatch.setattr(dmecodec, "encode", encode, raising=False)
    monkeypatch.setattr(dmecodec, "decode", toy_decode, raising=False)
    return made


def as_text(report: Report) -> str:
    console = Console(width=300, file=io.StringIO(), record=True)
    for table in report_tables(report):
        console.print(table)
    return console.export_text()


# ---- what is measured ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("toy")
def test_measures_are_those_of_the_files(folder: Path) -> None:
    report = run(folder, codecs=["jpeg"], qualities=(2, 6.5))
    assert [(m.image, m.codec) for m in report.measurements[:2]] == [("a.png", "dmecodec")] * 2
    assert {m.codec for m in report.measurements} == {"dmecodec", "jpeg"}
    assert {m.image for m in report.measurements} == {"a.png", "b.tif"}
    assert report.left_out == []
    image = picture(170, 180)
    m = report.measurements[1]
    data = toy_encode(image, 6.5)
    decoded = toy_decode(data)
    assert (m.setting, m.width, m.height, m.bands, m.size) == (6.5, 180, 170, 3, len(data))
    assert m.bpp == 8 * len(data) / (170 * 180)
    assert m.quality.psnr == metrics.psnr(image, decoded)
    assert m.quality.ms_ssim == metrics.ms_ssim(image, decoded)
    assert m.quality.ssim == metrics.ssim(image, decoded)
    assert m.quality.max_error == np.abs(image.astype(int) - decoded).max()
    assert m.quality.spectral_angle is m.quality.ndvi_error is None
    assert m.encode_seconds > 0
    assert m.decode_speed == pytest.approx(0.0306 / m.decode_seconds)


@pytest.mark.usefixtures("toy")
def test_further_bands_have_a_spectral_angle_and_ndvi(tmp_path: Path) -> None:
    write_bands(tmp_path / "named.tif", ("NIR", "red", "Green", None))
    write_bands(tmp_path / "plain.tif", (None, None, None, None))
    report = run(tmp_path, codecs=["jpeg"], qualities=[2, 6])
    assert report.left_out == []
    by_image = {m.image: m.quality for m in report.measurements if m.codec == "jpeg"}
    assert by_image["plain.tif"].ndvi_error is None
    assert 0 < (by_image["plain.tif"].spectral_angle or 0) < 20
    assert 0 < (by_image["named.tif"].ndvi_error or 0) < 0.5
    scene = load_scene(tmp_path / "named.tif")
    assert (scene.red, scene.near_infrared) == (1, 0)
    assert "spectral angle" in as_text(report)


def write_bands(path: Path, names: tuple[str | None, ...]) -> None:
    pytest.importorskip("rasterio")
    size = {"width": 60, "height": 50, "count": len(names), "dtype": "uint8"}
    with opened(path, "w", driver="GTiff", alpha="unspecified", photometric="minisblack", **size) as file:
        file.write(picture(50, 60, bands=len(names)).transpose(2, 0, 1))
        for band, name in enumerate(names, 1):
            if name is not None:
                file.set_band_description(band, name)


@pytest.mark.usefixtures("toy")
def test_a_damaged_image_is_named_and_the_rest_goes_on(folder: Path) -> None:
    whole = (folder / "a.png").read_bytes()
    (folder / "a0_cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "a1_empty.jpg").write_bytes(b"")
    rgba = np.dstack([picture(20, 20), np.full((20, 20), 9, np.uint8)])
    Image.fromarray(rgba).save(folder / "a2_alpha.png")
    report = run(folder, codecs=[], qualities=[4])
    assert [note.what for note in report.left_out] == ["a0_cut.png", "a1_empty.jpg", "a2_alpha.png"]
    assert "alpha" in report.left_out[2].reason
    assert [m.image for m in report.measurements] == ["a.png", "b.tif"]
    assert "a0_cut.png" in as_text(report)


@pytest.mark.usefixtures("toy")
def test_grey_and_small_images_are_measured(tmp_path: Path) -> None:
    Image.fromarray(picture(40, 30)[:, :, 0]).save(tmp_path / "grey.png")
    report = run(tmp_path / "grey.png", codecs=["jpeg"], qualities=[2, 6])
    assert report.left_out == []
    assert report.measurements[0].quality.ms_ssim is None
    assert report.averages()[0].values["ms_ssim_db"] is None
    names = [f.name for f in write_report(report, tmp_path / "report")]
    assert not any("ms_ssim" in name for name in names)  # no MS-SSIM, no plot of it


def test_a_codec_that_fails_on_an_image_is_named_and_the_rest_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_on_b(image: np.ndarray, quality: float, **options: Any) -> bytes:
        if image.shape[0] == 165 and quality == 5:
            raise RuntimeError("out of\nmemory")
        return toy_encode(image, quality)

    monkeypatch.setattr(dmecodec, "encode", fail_on_b, raising=False)
    monkeypatch.setattr(dmecodec, "decode", toy_decode, raising=False)
    last: list[tuple[int, int]] = []
    report = run(folder, codecs=[], qualities=[3, 4, 5], progress=lambda d, t, _: last.append((d, t)))
    assert report.left_out == [LeftOut("b.tif with dmecodec", "out of memory")]
    assert last[-1] == (6, 6)
    assert {m.image for m in report.measurements} == {"a.png"}  # no half curve of b.tif


def test_means_are_over_the_images_that_all_codecs_coded() -> None:
    measurements = [
        measurement("a", "jpeg", 1000, 30.0),
        measurement("a", "dmecodec", 1000, 32.0),
        measurement("b", "dmecodec", 1000, 99.0),
    ]
    averages = {a.codec: (a.images, a.values["psnr"]) for a in Report(measurements).averages()}
    assert averages == {"jpeg": (1, 30.0), "dmecodec": (1, 32.0)}


def test_a_missing_model_stops_at_once(folder: Path) -> None:
    with pytest.raises(ModelError, match="x: no such model"):
        run(folder, codecs=[], model="x")


@pytest.mark.usefixtures("toy")
def test_options_that_cannot_be(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="jpeg, jpeg2000, webp, avif"):
        run(folder, codecs=["jpg"])
    with pytest.raises(OptionError, match="quality"):
        run(folder, qualities=[])
    for rate in (0, -1, float("nan"), float("inf")):
        with pytest.raises(OptionError, match="must be above 0"):
            run(folder, at_bpp=rate)
    with pytest.raises(ImageError, match="no such folder"):
        run(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="no images"):
        run(tmp_path / "empty")


@pytest.mark.parametrize("suffix", [".gif", ".AVIF", ".j2k", ".pnm", ".jpe"])
@pytest.mark.usefixtures("toy")
def test_images_of_every_kind_are_measured(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(picture(170, 180)).save(tmp_path / f"a{suffix}")
    assert [m.image for m in run(tmp_path, codecs=[], qualities=[4]).measurements]


@pytest.mark.usefixtures("toy")
def test_a_default_codec_that_pillow_lacks_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AVIF, "missing", classmethod(lambda cls: "not built in"))
    for name in DEFAULT_CODECS:
        monkeypatch.setattr(CODECS[name], "settings", CODECS[name].settings[::5])
    report = run(folder, qualities=[4])
    assert report.left_out == [LeftOut("avif", "not built in")]
    assert {m.codec for m in report.measurements} == {"dmecodec", "jpeg", "jpeg2000", "webp"}


@pytest.mark.usefixtures("toy")
def test_nothing_that_can_be_measured(tmp_path: Path) -> None:
    Image.new("RGBA", (20, 20)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"nothing could be measured \(a.png: has alpha"):
        run(tmp_path, codecs=["jpeg"])


# ---- the cache -----------------------------------------------------------------------------------------------------


def test_what_was_measured_is_not_measured_again(folder: Path, tmp_path: Path, calls: list[float]) -> None:
    cache = tmp_path / "report" / "cache"
    first = run(folder, codecs=["jpeg"], qualities=[2, 4], cache=cache)
    assert sorted(calls) == [2, 2, 4, 4, 4]  # one to warm up
    calls.clear()
    again = run(folder, codecs=["jpeg"], qualities=[2, 4], cache=cache)
    assert calls == []
    assert again.measurements == first.measurements
    run(folder, codecs=["jpeg"], qualities=[2, 3], cache=cache)
    assert sorted(calls) == [3, 3, 3]


def test_pixels_count_and_names_do_not(folder: Path, tmp_path: Path, calls: list[float]) -> None:
    run(folder, codecs=[], qualities=[4], cache=tmp_path / "cache")
    calls.clear()
    (folder / "a.png").rename(folder / "c.png")
    Image.fromarray(picture(165, 163, 2)).save(folder / "b.tif")
    report = run(folder, codecs=[], qualities=[4], cache=tmp_path / "cache")
    assert [m.image for m in report.measurements] == ["b.tif", "c.png"]
    assert calls == [4, 4]  # b.tif has changed


@pytest.mark.parametrize("damage", ["cut", "other", "empty"])
def test_a_damaged_entry_is_measured_again(folder: Path, tmp_path: Path, calls: list[float], damage: str) -> None:
    cache = tmp_path / "cache"
    first = run(folder, codecs=[], qualities=[2, 4], cache=cache)
    entry = sorted(cache.iterdir())[0]
    whole = entry.read_bytes()
    entry.write_bytes({"cut": whole[:-9], "other": whole.replace(b'"size": 1', b'"size": 2'), "empty": b""}[damage])
    changed = damage != "other" or entry.read_bytes() != whole
    calls.clear()
    again = run(folder, codecs=[], qualities=[2, 4], cache=cache)
    assert len(calls) == (2 if changed else 0)  # one to warm up, and the entry
    assert [m.size for m in again.measurements] == [m.size for m in first.measurements]
    calls.clear()
    run(folder, codecs=[], qualities=[2, 4], cache=cache)
    assert calls == []


def test_a_run_that_was_stopped_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[float] = []

    def stop_at_the_fourth(image: np.ndarray, quality: float, **options: Any) -> bytes:
        if len(made) == 4:
            raise KeyboardInterrupt
        made.append(quality)
        return toy_encode(image, quality)

    monkeypatch.setattr(dmecodec, "encode", stop_at_the_fourth, raising=False)
    monkeypatch.setattr(dmecodec, "decode", toy_decode, raising=False)
    with pytest.raises(KeyboardInterrupt):
        run(folder, codecs=[], qualities=[1, 3, 5], cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 3
    made[:] = [0] * 5
    run(folder, codecs=[], qualities=[1, 3, 5], cache=tmp_path / "cache")
    assert made[5:] == [3, 1, 3, 5]  # one to warm up, then b.tif alone


def test_a_cache_that_cannot_be_written_stops_the_run(folder: Path, tmp_path: Path, calls: list[float]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        run(folder, codecs=[], qualities=[1], cache=tmp_path / "file" / "cache")


# ---- one rate ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("toy")
def test_at_a_rate_every_codec_is_near_it(folder: Path) -> None:
    codecs = ["jpeg", "jpeg2000", "webp"]
    report = run(folder, codecs=codecs, qualities=(0, 7), at_bpp=0.8)
    assert [(m.image, m.codec) for m in report.at_rate] == [
        (image, codec) for image in ("a.png", "b.tif") for codec in ("dmecodec", *codecs)
    ]
    for m in report.at_rate:
        if m.codec != "dmecodec":  # the toy makes steps of its own
            assert m.bpp == pytest.approx(0.8, rel=0.1)
    best = min(abs(8 * len(JPEG().encode(picture(170, 180), q)) / (170 * 180) / 0.8 - 1) for q in range(1, 40))
    assert abs(report.at_rate[1].bpp / 0.8 - 1) == pytest.approx(best, abs=0.02)
    assert "nearest to 0.8 bits per pixel" in as_text(report)


def test_a_rate_out_of_reach_gives_the_nearest_setting() -> None:
    measured = [measurement("a", "jpeg2000", size, 30) for size in (100, 200, 400)]

    def measure(setting: float) -> Measurement:
        raise AssertionError("no setting lies beyond those that were measured")

    assert at_rate.nearest(JPEG2000(), 99, measured, measure) is measured[2]
    assert at_rate.nearest(JPEG2000(), 0.001, measured, measure) is measured[0]


# ---- memory and crops ----------------------------------------------------------------------------------------------


def test_memory_is_that_of_a_fresh_process() -> None:
    small, large = (peak_memory(JPEG2000(), Scene("a", picture(side, side))) for side in (64, 1500))
    assert small > 20e6
    assert large > small + 3 * 1500**2
    with pytest.raises(ImageError, match="its process ended"):
        peak_memory(JPEG(), Scene("a", picture(8, 8).astype(np.uint16)))


class Stored(Codec):
    """Keeps everything."""

    name = "stored"
    settings = (1,)

    def version(self) -> str:
        return "1"

    def encode(self, image: np.ndarray, setting: float) -> bytes:
        return b"%d %d " % image.shape[:2] + image.tobytes()

    def decode(self, data: bytes) -> np.ndarray:
        height, width, pixels = data.split(b" ", 2)
        return np.frombuffer(pixels, np.uint8).reshape(int(height), int(width), 3)


class Spoiled(Stored):
    """Adds a few levels in one place."""

    name = "spoiled"

    def encode(self, image: np.ndarray, setting: float) -> bytes:
        image = image.copy()
        image[180:300, 260:390] += 3
        return super().encode(image, setting)


def test_crops_are_cut_where_codecs_differ() -> None:
    image = picture(340, 420) // 2
    scene, bench = Scene("a.png", image), Bench(Cache(None))
    chosen = {codec: bench.measure(codec, scene, 1) for codec in (Stored(), Spoiled())}
    example = make_example(scene, chosen, 24)
    assert example is not None
    assert 180 + 120 - SIDE <= example.row <= 180
    assert 260 + 130 - SIDE <= example.column <= 260
    assert example.original.shape == (SIDE, SIDE, 3)
    part = image[example.row :, example.column :][:SIDE, :SIDE]
    assert np.array_equal(example.original, part)
    assert [crop.measurement.codec for crop in example.crops] == ["stored", "spoiled"]
    for crop in example.crops:
        assert crop.pixels.shape == (SIDE, SIDE, 3)
        errors = np.abs(part.astype(float) - crop.pixels).mean(2) * example.gain
        assert np.abs(errors.clip(0, 255) - crop.errors).max() <= 1
    assert make_example(scene, chosen, 3) is None  # no file is near this rate


@pytest.mark.usefixtures("toy")
def test_crops_of_the_images_on_which_codecs_differ(folder: Path) -> None:
    report = run(folder, codecs=["jpeg", "jpeg2000"], qualities=(1, 3, 5, 7), crops=True)
    assert {example.image for example in report.examples} == {"a.png", "b.tif"}
    for example in report.examples:
        assert {crop.measurement.codec for crop in example.crops} >= {"jpeg", "jpeg2000"}
        assert {crop.measurement.image for crop in example.crops} == {example.image}


# ---- BD-rates ------------------------------------------------------------------------------------------------------


def measurement(image: str, codec: str, size: int, psnr: float) -> Measurement:
    return Measurement(image, 100, 80, 3, codec, size, size, Quality(psnr, None, None, 9), 0.5, 0.25)


def test_bd_rate_is_the_mean_of_the_images_and_names_those_without() -> None:
    curve = [(1000, 30.0), (1500, 32.0), (2000, 34.0), (4000, 38.0)]
    measurements = [
        *(measurement("a", "jpeg", size, psnr) for size, psnr in curve),
        *(measurement("a", "dmecodec", size // 2, psnr) for size, psnr in curve),
        *(measurement("b", "jpeg", size, psnr) for size, psnr in curve),
        *(measurement("b", "dmecodec", size * 2, psnr) for size, psnr in curve),
        *(measurement("far", "jpeg", size, psnr) for size, psnr in curve),
        *(measurement("far", "dmecodec", size, psnr + 7.5) for size, psnr in curve),
    ]
    report = Report(measurements)
    in_psnr, in_similarity, _ = report.comparisons()
    assert in_psnr.per_image == pytest.approx({"a": -50, "b": 100})
    assert (in_psnr.mean, in_psnr.median) == pytest.approx((25, 25))
    assert in_psnr.interval is None
    assert in_psnr.too_far_apart == ["far"]
    assert in_similarity.mean is None
    assert "BD-rate against jpeg in PSNR: less than 1 dB in common: far" in as_text(report)
    assert compare("x", "y", "psnr", {"a": [(1, 30)]}, {}).too_far_apart == []
    (back,) = [c for c in report.pairs if (c.codec, c.measure) == ("jpeg", "psnr")]
    assert back.per_image == pytest.approx({"a": 100, "b": -50})


def test_every_pair_is_compared() -> None:
    curve = [(1000 * 2**n, 30.0 + 4 * n) for n in range(5)]
    sizes = {"dmecodec": 4, "jpeg": 8, "webp": 6}
    images = ["a", "b", "c", "d", "e"]
    measurements = [
        measurement(image, codec, size * factor, psnr)
        for image in images
        for codec, factor in sizes.items()
        for size, psnr in curve
    ]
    in_psnr = {(c.codec, c.anchor): c for c in Report(measurements).pairs if c.measure == "psnr"}
    assert len(in_psnr) == 6
    for (codec, anchor), comparison in in_psnr.items():
        assert comparison.mean == pytest.approx(100 * (sizes[codec] / sizes[anchor] - 1))
        assert comparison.interval == pytest.approx((comparison.mean, comparison.mean))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_qualities_give_no_bd_rate_and_the_report_says_why(count: int) -> None:
    curve = [(1000 * 2**n, 30.0 + 4 * n) for n in range(5)]
    measurements = [measurement("a", "jpeg", size, psnr) for size, psnr in curve]
    measurements += [measurement("a", "dmecodec", size, psnr) for size, psnr in curve[:count]]
    report = Report(measurements)
    assert report.comparisons()[0].mean is None
    text = as_text(report)
    assert f"BD-rate: needs at least 4 qualities, and {count} were measured; add --quality" in text
    assert "BD-rate of dmecodec" not in text


def test_a_codec_with_few_points_is_named_once() -> None:
    curve = [(1000 * 2**n, 30.0 + 4 * n) for n in range(5)]
    images = [f"{n}.png" for n in range(9)]
    measurements = [measurement(image, "dmecodec", size, psnr) for image in images for size, psnr in curve]
    measurements += [measurement(image, "jpeg", size, psnr) for image in images for size, psnr in curve[:3]]
    text = as_text(Report(measurements))
    assert "BD-rate against jpeg in PSNR: fewer than 4 points that rise, of jpeg or dmecodec: 0.png, 1.png" in text
    assert "and 4 more" in text


# ---- the report's folder -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("toy")
def test_report_of_pillows_codecs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    available = [name for name in DEFAULT_CODECS if CODECS[name].missing() is None]
    for name in available:
        monkeypatch.setattr(CODECS[name], "settings", CODECS[name].settings[::3])
    steps: list[tuple[int, int, str]] = []
    report = run(folder, qualities=(1, 3, 5, 7), progress=lambda *step: steps.append(step))
    assert [done for done, _, _ in steps] == list(range(len(steps)))
    assert steps[-1] == (len(report.measurements), len(report.measurements), "")

    written = write_report(report, tmp_path / "made" / "report")
    stems = ("rd_psnr", "rd_ms_ssim", "rd_ssim", "rd_max_error", "bd_rate_speed")
    plots = [f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")]
    assert [f.name for f in written] == ["index.html", "results.json", "results.csv", *plots]
    with written[2].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(report.measurements)
    assert float(rows[0]["bpp"]) == pytest.approx(report.measurements[0].bpp, rel=1e-6)
    for plot in written[3::2]:
        with Image.open(plot) as image:
            assert image.size[0] > 600
    text = as_text(report)
    for word in ("dmecodec", "a.png", "b.tif", "MPix/s", "mean", "median", *available):
        assert word in text


@pytest.mark.usefixtures("toy")
def test_bd_rates_follow_from_the_raw_points_of_the_json(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for codec in (JPEG, JPEG2000):
        monkeypatch.setattr(codec, "settings", codec.settings[::2])
    report = run(folder, codecs=["jpeg", "jpeg2000"], qualities=range(8))
    results = json.loads(as_json(report))
    assert len(results["points"]) == len(report.measurements)
    checked = 0
    for c in results["bd_rate_percent"]:
        for image, percent in c["per_image"].items():
            curves = [
                [(p["bpp"], p[c["measure"]]) for p in results["points"] if (p["image"], p["codec"]) == (image, codec)]
                for codec in (c["anchor"], c["codec"])
            ]
            assert bd_rate(*curves) == pytest.approx(percent, abs=0.01)
            checked += 1
    assert checked >= 12


def test_infinite_quality_is_written_as_null(tmp_path: Path) -> None:
    report = Report([measurement("a", "dmecodec", 1000, float("inf"))])
    written = {path.name: path for path in write_report(report, tmp_path)}
    assert json.loads(written["results.json"].read_text())["averages"][0]["values"]["psnr"] is None
    assert "inf" in written["results.csv"].read_text()
    assert "rd_psnr.png" not in written


def test_report_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write the report"):
        write_report(Report([measurement("a", "dmecodec", 1000, 30)]), tmp_path / "file")


@pytest.mark.usefixtures("toy")
def test_a_report_of_names_that_are_no_utf_8(tmp_path: Path) -> None:
    Image.fromarray(picture(40, 50)).save(tmp_path / "\udcff.png")
    report = run(tmp_path, codecs=["jpeg"], at_bpp=1, crops=True)
    for path in write_report(report, tmp_path / "report")[:3]:
        assert "udcff.png" in path.read_text()


@pytest.mark.usefixtures("toy")
def test_an_image_that_needs_rasterio_is_left_out_without_it(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bands(folder / "bands.tif", (None,) * 5)
    for name in [n for n in sys.modules if n.split(".")[0] == "rasterio"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "rasterio", None)
    report = run(folder, codecs=[], qualities=[4])
    assert [note.what for note in report.left_out] == ["bands.tif"]
    assert "rasterio" in report.left_out[0].reason


@pytest.mark.usefixtures("toy")
def test_plots_of_an_earlier_report_go(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    write_report(run(folder, codecs=[], qualities=[4]), out)
    assert (out / "rd_ms_ssim.png").exists()
    small = tmp_path / "small"
    small.mkdir()
    Image.fromarray(picture(40, 50)).save(small / "a.png")
    written = write_report(run(small, codecs=[], qualities=[4]), out)
    assert {path.name for path in out.iterdir()} == {path.name for path in written}
    assert not (out / "rd_ms_ssim.png").exists()


def test_a_folder_that_cannot_hold_a_report_is_refused_before_anything_is_measured(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dmecodec.bench.runner.run", None)
    file = tmp_path / "file"
    file.write_bytes(b"")
    for out in (file, file / "below"):
        assert "is not a folder" in refused("bench", folder, "--out", out)
    assert "is empty" in refused("bench", folder, "--out", "")


@pytest.mark.usefixtures("toy")
def test_peers_script_compares_with_stored_curves(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peers = tmp_path / "peers"
    peers.mkdir()
    stored = run(folder, codecs=[], qualities=[1, 2, 4, 6]).measurements
    with (peers / "twice.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["codec", "q", "image", "bpp", "psnr", "msssim_db"])
        for m in stored:
            writer.writerow(["twice", m.setting, m.image, 2 * m.bpp, m.quality.psnr, m.quality.ms_ssim_db])
    main = runpy.run_path(str(PEERS_SCRIPT))["main"]
    out = tmp_path / "table.csv"
    main([str(folder), "--peers", str(peers), "--qualities", "1", "2", "4", "6", "--out", str(out)])
    assert "| twice | -50.00 | 2 | -50.00 | 2 |" in capsys.readouterr().out
    with out.open(newline="") as file:
        assert [row["q"] for row in csv.DictReader(file)] == ["1", "2", "4", "6"] * 2
