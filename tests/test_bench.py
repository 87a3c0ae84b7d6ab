"""The peers are real; dmecodec's place is taken by a toy codec, whose curve is known to rise."""

from __future__ import annotations

import csv
import io
import json
import runpy
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import refused
from PIL import Image
from rich.console import Console

import dmecodec
from dmecodec.bench import metrics
from dmecodec.bench.codecs import AVIF, JPEG, PEERS, PILLOW_CODECS, Dmecodec
from dmecodec.bench.report import LeftOut, Report
from dmecodec.bench.results import Measurement, compare
from dmecodec.bench.runner import run
from dmecodec.errors import ImageError, ModelError, OptionError, OutputError

PEERS_SCRIPT = Path(__file__).parent.parent / "benchmarks" / "peers.py"


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth waves with some noise: something to lose at every rate."""
    rows, columns = np.mgrid[:height, :width]
    waves = np.stack([np.sin(rows / (6 + b + seed)) + np.cos(columns / 9) for b in range(3)], 2)
    noise = np.random.default_rng(seed).normal(0, 6, waves.shape)
    return np.clip(127 + 50 * waves + noise, 0, 255).astype(np.uint8)


def toy_encode(image: np.ndarray, quality: float, **options: Any) -> bytes:
    step = 2 ** (7 - int(quality) // 2)
    header = np.array([*image.shape[:2], step], np.int32).tobytes()
    return header + zlib.compress((image // step).tobytes(), 9)


def toy_decode(data: bytes, **options: Any) -> np.ndarray:
    height, width, step = np.frombuffer(data[:12], np.int32)
    levels = np.frombuffer(zlib.decompress(data[12:]), np.uint8).reshape(height, width, 3)
    return np.clip(levels.astype(int) * step + step // 2, 0, 255).astype(np.uint8)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dmecodec, "encode", toy_encode, raising=False)
    monkeypatch.setattr(dmecodec, "decode", toy_decode, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(picture(170, 180)).save(images / "a.png")
    Image.fromarray(picture(165, 163, 1)).save(images / "b.tif")
    (images / "notes.txt").write_text("not an image, and not meant to be one")
    return images


@pytest.fixture
def available() -> list[str]:
    return [name for name in PEERS if PILLOW_CODECS[name].available()]


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (64, 100)])
def test_peers_code_any_size(name: str, size: tuple[int, int]) -> None:
    if not PILLOW_CODECS[name].available():
        pytest.skip(f"Pillow without {name}")
    codec = PILLOW_CODECS[name]()
    image = picture(*size)
    decoded = codec.decode(codec.encode(image, codec.settings[4]))
    assert decoded.shape == image.shape
    assert decoded.dtype == np.uint8


@pytest.mark.parametrize("name", PEERS)
def test_peers_settings_go_from_few_bits_to_many(name: str) -> None:
    if not PILLOW_CODECS[name].available():
        pytest.skip(f"Pillow without {name}")
    codec = PILLOW_CODECS[name]()
    image = picture(128, 128)
    files = [codec.encode(image, setting) for setting in (codec.settings[0], codec.settings[-1])]
    bits = [8 * len(file) / 128**2 for file in files]
    quality = [metrics.psnr(image, codec.decode(file)) for file in files]
    assert bits[0] < 0.6
    assert bits[1] > 2.5
    assert quality[1] > quality[0] + 5  # WebP cannot keep colour noise


def test_jpeg_of_noise_outgrows_the_optimiser_and_is_coded_all_the_same() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    codec = JPEG()
    assert codec.decode(codec.encode(noise, 90)).shape == noise.shape


def test_avif_without_tuning_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    if not AVIF.available():
        pytest.skip("Pillow without avif")
    save = AVIF._save

    def refuse_tuning(self: AVIF, image: np.ndarray, options: dict[str, Any]) -> bytes:
        if "advanced" in options:
            raise ValueError("this encoder knows no such option")
        return save(self, image, options)

    monkeypatch.setattr(AVIF, "_save", refuse_tuning)
    codec = AVIF()
    assert codec.decode(codec.encode(picture(16, 16), 50)).shape == (16, 16, 3)


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
    assert (m.setting, m.width, m.height, m.size) == (6.5, 180, 170, len(data))
    assert m.bpp == 8 * len(data) / (170 * 180)
    assert m.psnr == metrics.psnr(image, toy_decode(data))
    assert m.ms_ssim == metrics.ms_ssim(image, toy_decode(data))
    assert m.encode_seconds > 0
    assert m.decode_speed == pytest.approx(0.0306 / m.decode_seconds)


@pytest.mark.usefixtures("toy")
def test_report_of_all_codecs(
    folder: Path, tmp_path: Path, available: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in available:
        settings = PILLOW_CODECS[name].settings
        monkeypatch.setattr(PILLOW_CODECS[name], "settings", settings[::3])
    calls: list[tuple[int, int, str]] = []
    report = run(folder, qualities=(1, 3, 5, 7), progress=lambda *step: calls.append(step))
    assert [done for done, _, _ in calls] == list(range(len(calls)))
    assert calls[-1] == (len(report.measurements), len(report.measurements), "")

    written = report.write(tmp_path / "made" / "report")
    assert [f.name for f in written] == [
        "results.csv",
        "summary.json",
        "rd_psnr.png",
        "rd_msssim.png",
    ]
    with written[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(report.measurements)
    assert float(rows[0]["bpp"]) == pytest.approx(report.measurements[0].bpp, rel=1e-6)
    summary = json.loads(written[1].read_text())
    assert {c["anchor"] for c in summary["bd_rate_percent"]} == set(available)
    for c in summary["bd_rate_percent"]:
        assert {*c["per_image"], *c["under_1_db_in_common"], *c["under_4_points"]} == {"a.png", "b.tif"}
    for plot in written[2:]:
        with Image.open(plot) as image:
            assert image.size[0] > 600

    text = as_text(report)
    for word in ("dmecodec", "a.png", "b.tif", "MPix/s", "mean", *available):
        assert word in text


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
    assert report.measurements[0].ms_ssim is None
    assert report.averages()[0].ms_ssim_db is None
    names = [f.name for f in report.write(tmp_path / "report")]
    assert names == ["results.csv", "summary.json", "rd_psnr.png"]  # no MS-SSIM, no plot of it


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


def test_a_missing_model_stops_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_model(*args: Any, **options: Any) -> bytes:
        raise ModelError("no model 'x'")

    monkeypatch.setattr(dmecodec, "encode", no_model, raising=False)
    with pytest.raises(ModelError, match="no model 'x'"):
        run(folder, codecs=[], model="x")


@pytest.mark.usefixtures("toy")
def test_options_that_cannot_be(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="jpeg, jpeg2000, webp, avif"):
        run(folder, codecs=["jpg"])
    with pytest.raises(OptionError, match="quality"):
        run(folder, qualities=[])
    with pytest.raises(ImageError, match="no such folder"):
        run(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="no images"):
        run(tmp_path / "empty")


@pytest.mark.parametrize("suffix", [".gif", ".AVIF", ".j2k", ".pnm", ".jpe"])
@pytest.mark.usefixtures("toy")
def test_images_of_every_kind_are_found(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(picture(170, 180)).save(tmp_path / f"a{suffix}")
    assert [m.image for m in run(tmp_path, codecs=[], qualities=[4]).measurements]


@pytest.mark.usefixtures("toy")
def test_a_codec_that_pillow_lacks_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AVIF, "available", classmethod(lambda cls: False))
    report = run(folder, codecs=["avif"], qualities=[4])
    assert [note.what for note in report.left_out] == ["avif"]
    assert {m.codec for m in report.measurements} == {"dmecodec"}


def test_options_reach_dmecodec(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def encode(image: np.ndarray, quality: float, **options: Any) -> bytes:
        seen.append({"quality": quality, **options})
        return b""

    monkeypatch.setattr(dmecodec, "encode", encode, raising=False)
    Dmecodec((1.5,), "m", "cpu").encode(picture(8, 8), 1.5)
    assert seen == [{"quality": 1.5, "model": "m", "device": "cpu"}]


def measurement(image: str, codec: str, size: int, psnr: float) -> Measurement:
    return Measurement(image, 100, 80, codec, size, size, psnr, None, 0.5, 0.25)


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
    in_psnr, in_similarity = report.comparisons()
    assert in_psnr.per_image == pytest.approx({"a": -50, "b": 100})
    assert in_psnr.mean == pytest.approx(25)
    assert in_psnr.left_out == ["far"]
    assert in_similarity.mean is None
    assert "far: less than 1 dB" in as_text(report)
    assert compare("x", "psnr", {}, {"a": [(1, 30)]}).left_out == []


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_qualities_give_no_bd_rate_and_are_told_why(count: int) -> None:
    curve = [(1000 * 2**n, 30.0 + 4 * n) for n in range(5)]
    measurements = [measurement("a", "jpeg", size, psnr) for size, psnr in curve]
    measurements += [measurement("a", "dmecodec", size, psnr) for size, psnr in curve[:count]]
    report = Report(measurements)
    assert report.comparisons()[0].mean is None
    text = as_text(report)
    assert f"BD-rate: needs at least 4 qualities, and {count} were measured; add --quality" in text
    assert "BD-rate of dmecodec" not in text


def test_a_peer_with_few_points_is_named() -> None:
    curve = [(1000 * 2**n, 30.0 + 4 * n) for n in range(5)]
    measurements = [measurement("a", "dmecodec", size, psnr) for size, psnr in curve]
    measurements += [measurement("a", "jpeg", size, psnr) for size, psnr in curve[:3]]
    assert "a: fewer than 4 points that rise in RGB PSNR, of jpeg or dmecodec" in as_text(Report(measurements))


def test_infinite_quality_is_written_as_null(tmp_path: Path) -> None:
    report = Report([measurement("a", "dmecodec", 1000, float("inf"))])
    written = report.write(tmp_path)
    assert json.loads(written[1].read_text())["averages"][0]["psnr"] is None
    assert "inf" in written[0].read_text()
    assert len(written) == 2


def test_report_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write the report"):
        Report([]).write(tmp_path / "file")


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
            writer.writerow(["twice", m.setting, m.image, 2 * m.bpp, m.psnr, m.ms_ssim_db])
    main = runpy.run_path(str(PEERS_SCRIPT))["main"]
    out = tmp_path / "table.csv"
    main([str(folder), "--peers", str(peers), "--qualities", "1", "2", "4", "6", "--out", str(out)])
    assert "| twice | -50.00 | 2 | -50.00 | 2 |" in capsys.readouterr().out
    with out.open(newline="") as file:
        assert [row["q"] for row in csv.DictReader(file)] == ["1", "2", "4", "6"] * 2


def as_text(report: Report) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    for table in report.tables():
        console.print(table)
    return console.export_text()


def test_a_report_of_names_that_are_no_utf_8(toy: None, tmp_path: Path) -> None:
    name = "\udcff.png"
    Image.fromarray(picture(40, 50)).save(tmp_path / name)
    (path, *_) = run(tmp_path, codecs=["jpeg"]).write(tmp_path / "report")
    assert "\\udcff.png" in path.read_text()


def test_plots_of_an_earlier_report_go(toy: None, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    run(folder, codecs=["jpeg"]).write(out)
    assert (out / "rd_msssim.png").exists()
    small = tmp_path / "small"
    small.mkdir()
    Image.fromarray(picture(40, 50)).save(small / "a.png")
    run(small, codecs=["jpeg"]).write(out)
    assert {path.name for path in out.iterdir()} == {"results.csv", "summary.json", "rd_psnr.png"}


def test_nothing_that_can_be_measured(toy: None, tmp_path: Path) -> None:
    Image.new("RGBA", (20, 20)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"nothing could be measured \(a.png: has alpha"):
        run(tmp_path, codecs=["jpeg"])


def test_where_no_report_can_stand_is_told_before_anything_is_measured(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dmecodec.bench.run", None)
    file = tmp_path / "file"
    file.write_bytes(b"")
    for out in (file, file / "below"):
        assert "is not a folder" in refused("bench", folder, "--out", out)
    assert "is empty" in refused("bench", folder, "--out", "")
