"""The command line on real files, with the tiny model."""

from __future__ import annotations

import functools
import io
import json
import os
import re
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from command import environment, one_line, refused, run, start, works
from conftest import DATA, aerial, in_mode, psnr
from PIL import Image
from rich.table import Table

import dmecodec
from dmecodec.cli import report
from dmecodec.network import complexity
from dmecodec.weights import model as weights

SMALL = DATA / "rgb_37x91.png"
TILES = DATA / "rgb_tiles.dmen"  # 200 x 150 in tiles of 64


def pixels(image: Path | bytes) -> np.ndarray:
    with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
        return np.asarray(opened)


def write(path: Path, seed: int, height: int = 40, width: int = 56, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(in_mode(aerial(seed, height, width), mode)).save(path)
    return path


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


# ---- one file -----------------------------------------------------------------------------------------------------


def test_encode_then_decode(tmp_path: Path) -> None:
    coded, decoded = tmp_path / "a.dmen", tmp_path / "a.png"
    line = works("encode", SMALL, "-o", coded).out
    size = coded.stat().st_size
    for part in (f"{SMALL} -> {coded}", "37 x 91", "q 4", f"{size} B", f"{8 * size / 3367:.3f} bpp",
                 f"{3 * 3367 / size:.1f}:1", " s "):  # fmt: skip
        assert part in line
    assert line.count("\n") == 1
    works("decode", coded, "-o", decoded)
    assert psnr(pixels(decoded), pixels(SMALL)) > 20
    assert names(tmp_path) == {"a.dmen", "a.png"}


def test_the_command_writes_what_the_library_gives(tmp_path: Path) -> None:
    works("encode", SMALL, "-o", tmp_path / "a.dmen", "-q", 5.5, "--tile", 64)
    assert (tmp_path / "a.dmen").read_bytes() == dmecodec.encode(SMALL, 5.5, tile=64)
    works("decode", tmp_path / "a.dmen")
    expected = dmecodec.decode((tmp_path / "a.dmen").read_bytes())
    assert np.array_equal(pixels(tmp_path / "a.png"), expected)


def test_without_output_it_stands_beside_the_input(tmp_path: Path) -> None:
    image = write(tmp_path / "sub" / "scene.tif", 1)
    works("encode", image)
    assert names(tmp_path) == {"sub/scene.tif", "sub/scene.dmen"}
    works("decode", tmp_path / "sub" / "scene.dmen")
    assert names(tmp_path) == {"sub/scene.tif", "sub/scene.dmen", "sub/scene.png"}


def test_an_output_folder_takes_the_name_of_the_input(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    works("encode", SMALL, "-o", tmp_path / "there")
    works("encode", SMALL, "-o", f"{tmp_path}/new/")
    assert names(tmp_path) == {"there/rgb_37x91.dmen", "new/rgb_37x91.dmen"}


@pytest.mark.parametrize("option", ["-q2.5", "--quality=2.5"])
def test_quality(tmp_path: Path, option: str) -> None:
    works("encode", SMALL, "-o", tmp_path / "a.dmen", option)
    facts = json.loads(works("info", tmp_path / "a.dmen", "--json").out)
    assert facts["quality"] == 2.5


def test_quality_options_apart_from_their_value(tmp_path: Path) -> None:
    sizes = []
    for quality in ("0", "4", "7"):
        target = tmp_path / f"{quality}.dmen"
        works("encode", SMALL, "-o", target, "-q", quality)
        sizes.append(target.stat().st_size)
    assert sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".PNG"])
def test_decode_by_suffix(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"a{suffix}"
    works("decode", DATA / "rgb_q4.dmen", "-o", target)
    formats = {".tif": "TIFF", ".tiff": "TIFF", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
    with Image.open(target) as image:
        assert image.format == formats.get(suffix, "PNG")
        assert image.size == (128, 96)
    assert psnr(pixels(target), pixels(DATA / "rgb_q4.png")) > (30 if "j" in suffix else 48)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_modes(tmp_path: Path, mode: str) -> None:
    image = write(tmp_path / "a.png", 3, mode=mode)
    works("encode", image)
    works("decode", tmp_path / "a.dmen", "-o", tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as decoded:
        assert decoded.mode == mode
    if mode in ("LA", "RGBA"):
        assert np.array_equal(pixels(image)[..., -1], pixels(tmp_path / "b.png")[..., -1])


def test_overwrite(tmp_path: Path) -> None:
    coded = tmp_path / "a.dmen"
    coded.write_bytes(b"old")
    assert "exists already; add --overwrite" in refused("encode", SMALL, "-o", coded)
    assert coded.read_bytes() == b"old"
    works("encode", SMALL, "-o", coded, "--overwrite")
    works("verify", coded)
    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    assert "exists already" in refused("decode", coded)
    assert target.read_bytes() == b"old"
    works("decode", coded, "--overwrite")
    assert pixels(target).shape == (91, 37, 3)


def test_quiet_says_nothing(tmp_path: Path) -> None:
    for command in (["encode", SMALL, "-o", tmp_path / "a.dmen"], ["decode", tmp_path / "a.dmen"]):
        outcome = works(*command, "--quiet")
        assert (outcome.data, outcome.err) == (b"", "")
    assert works("verify", tmp_path / "a.dmen", "--quiet").data == b""


def test_json_of_one_file(tmp_path: Path) -> None:
    coded = tmp_path / "a.dmen"
    facts = json.loads(works("encode", SMALL, "-o", coded, "--json", "-q", 3).out)
    size = coded.stat().st_size
    assert facts.pop("seconds") > 0
    assert facts == {
        "input": str(SMALL), "output": str(coded), "width": 37, "height": 91, "quality": 3.0,
        "bytes": size, "bpp": 8 * size / (37 * 91), "ratio": 3 * 37 * 91 / size,
    }  # fmt: skip
    facts = json.loads(works("decode", coded, "--json").out)
    assert facts["bytes"] == (tmp_path / "a.png").stat().st_size


# ---- targets ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("scene") / "scene.png", 20, 256, 256)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_bpp_is_met(tmp_path: Path, scene: Path, share: float) -> None:
    low, high = (len(dmecodec.encode(scene, quality)) for quality in (0, 7))
    bpp = 8 * low ** (1 - share) * high**share / 256**2
    works("encode", scene, "-o", tmp_path / "a.dmen", "--bpp", bpp)
    assert 8 * (tmp_path / "a.dmen").stat().st_size / 256**2 == pytest.approx(bpp, rel=0.02)


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_psnr_is_met(tmp_path: Path, scene: Path, share: float) -> None:
    low, high = (reached(dmecodec.encode(scene, quality), scene) for quality in (0, 7))
    target = low + share * (high - low)
    works("encode", scene, "-o", tmp_path / "a.dmen", "--psnr", target)
    assert reached((tmp_path / "a.dmen").read_bytes(), scene) == pytest.approx(target, abs=0.1)


def reached(data: bytes, original: Path) -> float:
    return psnr(dmecodec.decode(data), pixels(original))


@pytest.mark.parametrize("option", [("--bpp", 0.001), ("--bpp", 50), ("--psnr", 3), ("--psnr", 80)], ids=str)
def test_a_target_out_of_range_says_what_is_nearest(tmp_path: Path, scene: Path, option: tuple[str, float]) -> None:
    for image in (scene, SMALL):  # on small images a better quality need not take more bytes
        message = refused("encode", image, "-o", tmp_path / "a.dmen", *option)
        assert "out of range for this image; the nearest is" in message
        assert str(image) in message
        assert names(tmp_path) == set()


@pytest.mark.parametrize("option", [("--bpp", 0), ("--bpp", "nan"), ("--psnr", "inf")], ids=str)
def test_a_target_that_is_none(tmp_path: Path, option: tuple[str, object]) -> None:
    assert "cannot be met" in refused("encode", SMALL, "-o", tmp_path / "a.dmen", *option)


def test_wrong_targets_are_told_once(tmp_path: Path) -> None:
    for wrong in (
        ["--bpp", -1],
        ["--psnr", "nan"],
        ["--bpp", 1, "--psnr", 30],
        ["-q4", "--bpp", 1],
    ):
        refused("encode", SMALL, DATA / "grey.png", "-o", tmp_path / "out", *wrong)
    assert "not both" in refused("encode", SMALL, "-o", tmp_path / "a.dmen", "--psnr", 30, "-q", 4)


def test_one_target_only(tmp_path: Path) -> None:
    arguments = ["--bpp", 1, "--psnr", 30]
    assert "not both" in refused("encode", SMALL, "-o", tmp_path / "a.dmen", *arguments)


# ---- several files ------------------------------------------------------------------------------------------------


def test_a_folder_keeps_its_tree_and_ends_in_a_table(tmp_path: Path) -> None:
    for name, seed in (("a.png", 1), ("x/b.tif", 2), ("x/y/c.webp", 3)):
        write(tmp_path / "in" / name, seed)
    write(tmp_path / "in" / "d.gif", 4, mode="L")
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    table = works("encode", tmp_path / "in", "-o", tmp_path / "out").out
    assert names(tmp_path / "out") == {"a.dmen", "d.dmen", "x/b.dmen", "x/y/c.dmen"}
    assert "4 of 4 files" in table
    for name in ("a.png", "b.tif", "c.webp", "56 x 40", "bpp", "ratio"):
        assert name in table
    works("decode", tmp_path / "out", "-o", tmp_path / "back")
    assert names(tmp_path / "back") == {"a.png", "d.png", "x/b.png", "x/y/c.png"}
    assert psnr(pixels(tmp_path / "back/x/b.png"), pixels(tmp_path / "in/x/b.tif")) > 20


def test_a_folder_without_output_is_done_in_place(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 1)
    write(tmp_path / "x" / "b.png", 2)
    works("encode", tmp_path)
    assert names(tmp_path) == {"a.png", "a.dmen", "x/b.png", "x/b.dmen"}


def test_files_and_folders_together(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.png", 1)
    works("encode", SMALL, tmp_path / "in", "-o", tmp_path / "out")
    assert names(tmp_path / "out") == {"rgb_37x91.dmen", "a.dmen"}


def test_one_failing_file_does_not_stop_the_others(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.png", 1)
    (tmp_path / "in" / "b.png").write_bytes(b"no image")
    write(tmp_path / "in" / "c.png", 2)
    outcome = run("encode", tmp_path / "in", "-o", tmp_path / "out", "--quiet")
    assert outcome.status == 1
    assert str(tmp_path / "in" / "b.png") in one_line(outcome.err)
    assert names(tmp_path / "out") == {"a.dmen", "c.dmen"}

    (tmp_path / "out" / "b.dmen").write_bytes(b"\x89DMN but no more")
    outcome = run("decode", tmp_path / "out", "-o", tmp_path / "back")
    assert outcome.status == 1
    assert "2 of 3 files" in outcome.out and "failed" in outcome.out
    assert names(tmp_path / "back") == {"a.png", "c.png"}


def test_json_of_several_files_is_a_list(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    arguments = [SMALL, tmp_path / "bad.png", "-o", tmp_path / "out", "--json", "--quiet"]
    outcome = run("encode", *arguments)
    assert outcome.status == 1
    good, bad = json.loads(outcome.out)
    assert good["bytes"] == (tmp_path / "out" / "rgb_37x91.dmen").stat().st_size
    assert bad["input"] == str(tmp_path / "bad.png") and bad["error"]


def test_json_of_one_file_in_a_folder_is_a_list_as_well(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.png", 1)
    facts = json.loads(works("encode", tmp_path / "in", "--json").out)
    assert [fact["width"] for fact in facts] == [56]


def test_two_inputs_for_one_output_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 1)
    write(tmp_path / "a.tif", 2)
    message = refused("encode", tmp_path, "-o", tmp_path / "out")
    assert "a.png and" in message and "would both become" in message
    assert names(tmp_path) == {"a.png", "a.tif"}


def test_the_same_input_twice_is_done_once(tmp_path: Path) -> None:
    image = write(tmp_path / "in" / "a.png", 1)
    outcome = works("encode", image, tmp_path / "in", image, "-o", tmp_path / "out", "--json")
    assert [Path(fact["output"]).name for fact in json.loads(outcome.out)] == ["a.dmen"]


def test_several_inputs_do_not_go_to_one_file(tmp_path: Path) -> None:
    target = tmp_path / "a.dmen"
    target.write_bytes(b"old")
    for output in (target, "-"):
        assert refused("encode", SMALL, DATA / "grey.png", "-o", output, "--overwrite")
    assert target.read_bytes() == b"old"


def test_a_folder_is_not_made_where_a_file_was_meant(tmp_path: Path) -> None:
    message = refused("encode", SMALL, DATA / "grey.png", "-o", tmp_path / "all.dmen")
    assert "several inputs, or a folder, need a folder" in message
    assert refused("decode", DATA, "-o", tmp_path / "all.tif")
    works("encode", SMALL, DATA / "grey.png", "-o", f"{tmp_path}/all.dmen/")
    assert names(tmp_path) == {"all.dmen/rgb_37x91.dmen", "all.dmen/grey.dmen"}


def test_the_input_is_not_replaced(tmp_path: Path) -> None:
    image = write(tmp_path / "a.png", 1)
    before = image.read_bytes()
    message = refused("encode", image, "-o", f"{tmp_path}/./a.png", "--overwrite")
    assert "the output would replace the input" in message
    assert image.read_bytes() == before


# ---- standard input and output -------------------------------------------------------------------------------------


def test_pipes() -> None:
    coded = works("encode", "-", data=SMALL.read_bytes())
    assert coded.data == dmecodec.encode(SMALL)
    assert "37 x 91" in coded.err  # the summary stays out of the data's way
    decoded = works("decode", "-", "-o", "-", "--quiet", data=coded.data)
    assert decoded.err == ""
    assert np.array_equal(pixels(decoded.data), dmecodec.decode(coded.data))


def test_one_end_may_be_a_file(tmp_path: Path) -> None:
    works("encode", "-", "-o", tmp_path / "a.dmen", data=SMALL.read_bytes())
    assert (tmp_path / "a.dmen").read_bytes() == dmecodec.encode(SMALL)
    decoded = works("decode", tmp_path / "a.dmen", "-o", "-")
    assert pixels(decoded.data).shape == (91, 37, 3)
    assert names(tmp_path) == {"a.dmen"}


def test_json_goes_to_stderr_where_stdout_has_the_data() -> None:
    outcome = works("encode", SMALL, "-o", "-", "--json")
    assert json.loads(outcome.err)["output"] == "-"
    assert outcome.data == dmecodec.encode(SMALL)


def test_nothing_on_stdout_when_the_input_is_wrong() -> None:
    assert "standard input" in refused("encode", "-", data=b"no image")
    assert "standard input" in refused("decode", "-", data=b"no file")


# ---- windows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", ["0,0,200,150", "0,0,1,1", "63,60,70,50", "199,149,1,1"])
def test_a_window_equals_the_same_part_of_the_whole(tmp_path: Path, window: str) -> None:
    works("decode", TILES, "-o", tmp_path / "a.png", "--window", window)
    col, row, width, height = map(int, window.split(","))
    expected = dmecodec.decode(TILES.read_bytes())[row : row + height, col : col + width]
    difference = pixels(tmp_path / "a.png").astype(int) - expected
    assert abs(difference).max() <= 1


# ---- looking at files ----------------------------------------------------------------------------------------------


def test_info() -> None:
    text = works("info", DATA / "rgba_tiles.dmen").out
    size = (DATA / "rgba_tiles.dmen").stat().st_size
    for part in ("130 x 70 RGBA", "1.03125", f"{size} bytes", "6 of 64 pixels", "ALPHA", "tiny"):
        assert part in text


def test_info_from_a_pipe() -> None:
    data = (DATA / "rgba_tiles.dmen").read_bytes()
    assert "130 x 70 RGBA" in works("info", "-", data=data).out
    assert "standard input" in refused("info", "-", data=b"no file")


def test_info_as_json() -> None:
    facts = json.loads(works("info", "--json", DATA / "rgb_metadata.dmen").out)
    size = (DATA / "rgb_metadata.dmen").stat().st_size
    assert (facts["width"], facts["height"], facts["mode"]) == (48, 48, "RGB")
    assert (facts["bytes"], facts["bpp"], facts["quality"]) == (size, 8 * size / 48**2, 4)
    assert facts["metadata"] == ["ICC", "EXIF"]
    assert facts["version"] == 1
    assert "format    version 1\n" in works("info", DATA / "rgb_metadata.dmen").out
    assert sum(facts["streams"].values()) + facts["overhead"] == size
    assert facts["model_name"] == "tiny"


def test_info_and_verify_without_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DMECODEC_MODELS")
    facts = json.loads(works("info", "--json", DATA / "rgb_q4.dmen").out)
    assert facts["model_name"] is None and len(facts["model"]) == 16
    assert "not here" in works("info", DATA / "rgb_q4.dmen").out
    works("verify", DATA / "rgb_q4.dmen")
    assert "not here" in refused("verify", "--deep", DATA / "rgb_q4.dmen")


def test_verify(tmp_path: Path) -> None:
    good = DATA / "rgb_q4.dmen"
    assert works("verify", good, DATA / "grey.dmen").out.splitlines() == [
        f"{good}: ok", f"{DATA / 'grey.dmen'}: ok"
    ]  # fmt: skip
    bad = tmp_path / "bad.dmen"
    bad.write_bytes(good.read_bytes()[:-1] + b"\0")
    outcome = run("verify", bad, good)
    assert outcome.status == 1
    assert outcome.out == f"{good}: ok\n"
    assert str(bad) in one_line(outcome.err) and "checksum" in outcome.err


def test_verify_deep_finds_what_checksums_do_not(tmp_path: Path) -> None:
    works("verify", "--deep", TILES, DATA / "grey_alpha.dmen")
    bad = tmp_path / "bad.dmen"
    bad.write_bytes(with_wrong_symbols((DATA / "rgb_q4.dmen").read_bytes()))
    works("verify", bad)
    assert str(bad) in refused("verify", "--deep", bad)


def with_wrong_symbols(data: bytes) -> bytes:
    """The same file with other bytes in its stream of y, and checksums that fit them."""
    from dmecodec.format import writer
    from dmecodec.format.kinds import Kind
    from dmecodec.format.reader import Reader

    reader = Reader(data)
    streams = dict(reader.tile(0))
    stream = streams[Kind.Y]
    streams[Kind.Y] = bytes(byte ^ 0x5A for byte in stream)
    return writer.write(reader.header, [streams], {})


# ---- models -------------------------------------------------------------------------------------------------------


def test_models() -> None:
    text = works("models").out
    assert "tiny (default)" in text and "intact" in text
    assert text.count("(default)") == 1
    assert "581f5e66" in text


def test_models_in_80_columns() -> None:
    process = start("models", COLUMNS="80")
    lines = process.communicate()[0].decode().splitlines()
    assert f"tiny: {DATA / 'tiny.safetensors'}" in lines
    rows = [line for line in lines if "(default)" in line]
    assert len(rows) == 1 and all(part in rows[0] for part in ("tiny", "581f5e66", "0 to 7", "intact"))


def test_tables_are_whole_in_files(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no terminal that would bound them, but for one that COLUMNS tells of."""
    long = Table("image")
    long.add_row("a" * 300)
    monkeypatch.delenv("COLUMNS", raising=False)
    report.show([long])
    assert "a" * 300 in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "100")
    report.show([long])
    assert max(map(len, capsys.readouterr().out.splitlines())) == 100


def test_models_as_json() -> None:
    found = json.loads(works("models", "--json").out)
    tiny = found[0]
    assert (tiny["name"], tiny["default"], tiny["intact"]) == ("tiny", True, True)
    assert tiny["path"] == str(DATA / "tiny.safetensors")
    assert sum(model["default"] for model in found) == 1


def test_a_damaged_model_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "manifest.json").write_bytes((DATA / "manifest.json").read_bytes())
    data = bytearray((DATA / "tiny.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "tiny.safetensors").write_bytes(data)
    monkeypatch.setenv("DMECODEC_MODELS", str(tmp_path))
    monkeypatch.setattr(weights, "_loaded", {})  # what this process has read before
    outcome = run("models")
    assert outcome.status == 1
    assert "damaged" in outcome.out
    assert "damaged" in refused("encode", SMALL, "-o", tmp_path / "a.dmen")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"default": "a", "models": [{}]}',
    '{"default": "a", "models": [{"name": "a", "file": "a", "sha256": "xy", "qualities": [0, 7], '
    '"parameters": 1}]}',
    *(json.dumps({"default": "a", "models": [{"name": "a", "file": "a", "sha256": "00" * 32,
    "qualities": [0, 7], "parameters": 1} | wrong]})
    for wrong in ({"name": 5}, {"parameters": "q"}, {"qualities": [0, None]}))])  # fmt: skip
def test_a_damaged_manifest_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    monkeypatch.setenv("DMECODEC_MODELS", str(tmp_path))
    assert "manifest.json: not a readable list of models" in refused("models")


def test_models_complexity(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = json.loads(works("models", "--complexity", "--json").out)
    fast = json.loads(works("models", "--complexity", "fast", "--json").out)
    assert fast[0]["parameters"] < parts[0]["parameters"]
    assert "no network slow" in refused("models", "--complexity", "slow")
    assert sum(part["total"] for part in parts) == 2
    counted = [complexity.Part(**part) for part in parts]
    monkeypatch.setattr(complexity, "count", lambda network: counted)
    text = works("models", "--complexity").out
    for part in parts:
        assert part["name"] in text
        assert f"{part['parameters'] / 1e6:.3f} M" in text


def test_model_by_name_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = DATA / "tiny.safetensors"
    works("encode", SMALL, "-o", tmp_path / "a.dmen", "--model", "tiny")
    monkeypatch.delenv("DMECODEC_MODELS")
    works("encode", SMALL, "-o", tmp_path / "b.dmen", "--model", path)
    assert (tmp_path / "a.dmen").read_bytes() == (tmp_path / "b.dmen").read_bytes()
    assert "not here" in refused("decode", tmp_path / "b.dmen")
    works("decode", tmp_path / "b.dmen", "--model", path)
    works("verify", "--deep", tmp_path / "b.dmen", "--model", path)


def test_a_folder_of_models_without_a_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "mine.safetensors"
    copy.write_bytes((DATA / "tiny.safetensors").read_bytes())
    monkeypatch.setenv("DMECODEC_MODELS", f"{tmp_path}{os.pathsep}")
    works("decode", DATA / "rgb_q4.dmen", "-o", tmp_path / "a.png")
    works("encode", SMALL, "-o", tmp_path / "a.dmen", "--model", "mine")
    assert json.loads(works("info", tmp_path / "a.dmen", "--json").out)["model_name"] == "mine"


# ---- measuring and training ----------------------------------------------------------------------------------------


def test_bench(tmp_path: Path) -> None:
    write(tmp_path / "in" / "one.png", 30, 64, 96)
    write(tmp_path / "in" / "two.png", 31, 64, 64)
    arguments = ["-q", 0, "-q", 3, "-q", "7", "--codecs", "jpeg", "--out", tmp_path / "report"]
    outcome = works("bench", tmp_path / "in", *arguments, "--quiet")
    assert "dmecodec" in outcome.out and "jpeg" in outcome.out and "BD-rate" in outcome.out
    written = {name for name in names(tmp_path / "report") if Path(name).parent.name != "cache"}
    assert {Path(name).suffix for name in written} == {".csv", ".html", ".json", ".png", ".svg"}
    for name in written:
        assert name in outcome.out.replace("\n", "")


def test_train_and_freeze(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("compressai", reason="training needs compressai")
    from dmecodec.train import session

    short = functools.partial(session.freeze_run, batches=2, table_batches=10)
    monkeypatch.setattr(session, "freeze_run", short)
    for seed in range(4):
        write(tmp_path / "data" / f"{seed}.png", 40 + seed, 72, 80)
    train = ["train", tmp_path / "data", "--out", tmp_path / "run", "--init", "tiny"]
    train += ["--max-steps", 1, "--batch", 2, "--side", 64, "--device", "cpu"]
    table = works(*train).out
    assert "PSNR" in table and len(table.splitlines()) > 8
    model = tmp_path / "models" / "mine.safetensors"
    model.parent.mkdir()
    text = works("freeze", tmp_path / "run", "--out", model).out
    assert "fitted frequency tables" in text
    works("encode", SMALL, "-o", tmp_path / "a.dmen", "--model", model)
    works("decode", tmp_path / "a.dmen", "-o", tmp_path / "a.png", "--model", model)
    assert psnr(pixels(tmp_path / "a.png"), pixels(SMALL)) > 20


# ---- the command itself --------------------------------------------------------------------------------------------


def test_version_and_help() -> None:
    assert dmecodec.__version__ in works("--version").out
    text = works("--help").out
    for command in ("encode", "decode", "info", "verify", "models", "bench", "train", "freeze"):
        assert command in text
        assert "Usage" in works(command, "-h").out


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode"],
        ["nonsense"],
        ["encode", "a", "--nonsense"],
        ["encode", "a", "-q", "high"],
        ["decode", "a", "--window", "1,2,3"],
        ["decode", "a", "--window", "1,2,3,x"],
        ["encode", "a", "--tile", "1.5"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_that_names_the_help(arguments: list[str]) -> None:
    assert "--help" in refused(*arguments)
    assert run(*arguments).status == 2


def test_help_tells_the_default_model() -> None:
    for command in ("decode", "verify"):
        assert "the one that the file names" in " ".join(works(command, "--help").out.split())
    assert "the manifest's" in works("encode", "--help").out


def test_no_arguments_show_the_help() -> None:
    outcome = run()
    assert "Usage" in outcome.out and outcome.status in (0, 2)  # 0 before click 8.2


def test_as_a_process_of_its_own(tmp_path: Path) -> None:
    encoder = start("encode", "-", "-o", "-", "--device", "cpu")
    coded, err = encoder.communicate(SMALL.read_bytes())
    assert encoder.returncode == 0
    assert b"37 x 91" in err
    assert coded == dmecodec.encode(SMALL, device="cpu")
    missing = start("info", tmp_path / "missing.dmen")
    out, err = missing.communicate()
    assert missing.returncode == 1 and out == b""
    one_line(err.decode())


def test_names_that_the_terminal_cannot_show(tmp_path: Path) -> None:
    for name in ("\u00e9\u4e2d.dmen", "\u00e9.dmen"):
        (tmp_path / name).write_bytes((DATA / "grey.dmen").read_bytes())
    inputs = sorted(tmp_path.iterdir())
    for command in (["info", inputs[0]], ["verify", *inputs], ["decode", *inputs]):
        process = start(*command, PYTHONIOENCODING="ascii", COLUMNS="300")
        out, err = process.communicate()
        assert (process.returncode, err) == (0, b""), command
    assert b"\\xe9\\u4e2d.dmen" in out  # the table
    process = start("info", tmp_path / "\u00e8", PYTHONIOENCODING="ascii")
    one_line(process.communicate()[1].decode())


@pytest.mark.skipif(os.name == "nt", reason="names there are Unicode")
def test_names_that_are_not_unicode(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    image = os.fsdecode(folder + b"/\xff.png")
    Path(image).write_bytes(SMALL.read_bytes())
    process = start("info", os.fsdecode(folder + b"/\xff.dmen"))
    assert process.communicate()[1].startswith(b"dmecodec: ")
    Path(image).with_suffix(".dmen").write_bytes((DATA / "grey.dmen").read_bytes())
    process = start("info", os.fsdecode(folder + b"/\xff.dmen"))
    out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert b"37 x 91" in out


# ---- names, pipes and terminals -------------------------------------------------------------------------------------


def test_a_file_that_is_called_as_standard_input_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("a.png"), 1, 32, 40).rename("-")
    write(Path("b.png"), 2, 16, 16)
    works("encode", "./-", data=b"")
    assert json.loads(works("info", "./-.dmen", "--json").out)["width"] == 40
    works("encode", "./-", "b.png", "-o", "out", data=b"")
    assert names(tmp_path / "out") == {"-.dmen", "b.dmen"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_decoding_a_pipe_waits_for_nobody(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def fill() -> None:
        with suppress(BrokenPipeError):
            pipe.write_bytes(b"x" * 100)

    threading.Thread(target=fill, daemon=True).start()
    assert "cannot be read in parts" in refused("decode", pipe)


def test_names_in_tables_stand_as_they_are(tmp_path: Path) -> None:
    for name in (":smile:.png", "[red]x.png", "esc\x1b[31m.png"):
        write(tmp_path / "in" / name, 1, 16, 16)
    out = works("encode", tmp_path / "in", "-o", tmp_path / "out").out
    for shown in (":smile:.png", "[red]x.png", "esc\\x1b[31m.png"):
        assert shown in out
    assert "\x1b" not in out


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_an_error_does_not_stand_on_the_line_of_the_progress_bar(tmp_path: Path) -> None:
    import pty

    for name in "ab":
        write(tmp_path / "in" / f"{name}.png", 1, 16, 16)
    (tmp_path / "in" / "b.png").write_bytes(b"no image")
    ours, theirs = pty.openpty()
    wide = {**environment(), "COLUMNS": "500", "TERM": "xterm"}
    command = [
        sys.executable,
        "-m",
        "dmecodec",
        "encode",
        str(tmp_path / "in"),
        "-o",
        str(tmp_path),
    ]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=wide)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the end of a terminal
        while part := os.read(ours, 4096):
            shown += part
    assert process.wait() == 1
    (line,) = [line for line in shown.split(b"\n") if b"b.png: is not" in line]
    last = line.rstrip(b"\r").split(b"\r")[-1]  # what stays on the terminal
    assert re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", last).startswith(b"dmecodec: ")
