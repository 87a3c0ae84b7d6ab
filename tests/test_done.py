"""A second run leaves out what is done, and makes again what is damaged, older, or otherwise made."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import refused, run, works
from conftest import DATA, aerial
from PIL import Image

import dmecodec
from dmecodec.batch import actions, done
from dmecodec.batch.job import Job
from dmecodec.codec.options import EncodeOptions
from dmecodec.errors import OptionError
from dmecodec.images.options import ReadOptions

LONG_AGO = 10**9


def is_encoded(job: Job, *, model: str | None = None, geo: bool = True, scale: Any = None, **options: Any) -> bool:
    reading = ReadOptions.checked(scale=scale, geo=geo)
    return done.is_encoded(job, EncodeOptions.checked(**options), reading, model)


def image(path: Path, seed: int, height: int = 20, width: int = 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(aerial(seed, height, width)).save(path)
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


@pytest.fixture
def coded(tmp_path: Path) -> Path:
    """The outputs of a run on three images."""
    for number in range(3):
        image(tmp_path / "in" / f"{number}.png", number)
    works("encode", tmp_path / "in", "-o", tmp_path / "out", "--quiet")
    return tmp_path / "out"


def again(folder: Path, *options: object) -> list[bool]:
    """Encodes once more; for each output whether it was left out."""
    arguments = [folder / "in", "-o", folder / "out", "--skip-done", "--json", *options]
    rows = json.loads(works("encode", *arguments).out)
    return [row.get("skipped", False) for row in rows]


def test_what_is_done_is_left_as_it_is(tmp_path: Path, coded: Path) -> None:
    before = {path: (path.stat().st_ino, path.read_bytes()) for path in coded.iterdir()}
    assert again(tmp_path) == [True, True, True]
    assert {path: (path.stat().st_ino, path.read_bytes()) for path in coded.iterdir()} == before
    text = works("encode", tmp_path / "in", "-o", coded, "--skip-done").out
    assert "3 of 3 files" in text and "3 done already" in text
    one = works("encode", tmp_path / "in" / "0.png", "-o", coded / "0.dmen", "--skip-done").out
    assert one == f"{tmp_path / 'in' / '0.png'} -> {coded / '0.dmen'}: is done already\n"
    refused("encode", tmp_path / "in" / "0.png", "-o", coded / "0.dmen")


def test_what_is_missing_or_damaged_is_made(tmp_path: Path, coded: Path) -> None:
    good = {path.name: path.read_bytes() for path in coded.iterdir()}
    (coded / "0.dmen").write_bytes(good["0.dmen"][:-1] + b"\0")
    (coded / "1.dmen").unlink()
    (coded / "2.dmen").write_bytes(b"")
    assert again(tmp_path) == [False, False, False]
    assert {path.name: path.read_bytes() for path in coded.iterdir()} == good
    assert again(tmp_path) == [True, True, True]


def test_an_input_that_has_changed(tmp_path: Path, coded: Path) -> None:
    image(tmp_path / "in" / "0.png", 10)
    os.utime(tmp_path / "in" / "0.png")  # now, which is later than its output
    image(tmp_path / "in" / "1.png", 11, height=21)  # another size, though older than its output
    os.utime(coded / "1.dmen")
    assert again(tmp_path) == [False, False, True]
    same = (coded / "0.dmen").stat().st_mtime_ns
    os.utime(tmp_path / "in" / "0.png", ns=(same, same))
    assert again(tmp_path) == [True, True, True]


@pytest.mark.parametrize("option", [("-q", 3), ("--tile", 64), ("--model", "other")], ids=str)
def test_other_settings(
    tmp_path: Path, coded: Path, option: tuple[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "models" / "other.safetensors"
    other.parent.mkdir()
    make_other_model(other)
    monkeypatch.setenv("DMECODEC_MODELS", os.pathsep.join([str(DATA), str(other.parent)]))
    assert again(tmp_path, *option) == [False] * 3
    assert again(tmp_path, *option) == [True] * 3
    assert again(tmp_path, "-q", 4.01) == [False] * 3  # which is quality 4, not what is there now
    assert again(tmp_path) == [True] * 3


def make_other_model(path: Path) -> None:
    """The tiny model under another id."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(DATA / "tiny.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        save_file(tensors, path, {**file.metadata(), "note": "another file"})


def test_an_input_that_cannot_be_read_is_still_told(tmp_path: Path, coded: Path) -> None:
    (tmp_path / "in" / "1.png").write_bytes(b"no image")
    outcome = run("encode", tmp_path / "in", "-o", coded, "--skip-done", "--json")
    assert outcome.status == 1 and "1.png" in outcome.err


def test_targets_do_not_go_with_it(tmp_path: Path, coded: Path) -> None:
    arguments = ["encode", tmp_path / "in", "-o", coded, "--skip-done"]
    assert "--skip-done cannot check --bpp: the output does not record it" in refused(*arguments, "--bpp", 1)
    assert "--skip-done cannot check --psnr: " in refused(*arguments, "--psnr", 30)
    job = Job(str(tmp_path / "in" / "0.png"), str(coded / "0.dmen"))
    assert is_encoded(job)
    for unrecorded in ({"bpp": 1.0}, {"effort": 0}, {"something": True}):
        with pytest.raises(OptionError, match="--skip-done cannot check"):
            actions.encode_job(job, overwrite=True, skip_done=True, **unrecorded)


def test_decoding(tmp_path: Path, coded: Path) -> None:
    arguments = ["decode", coded, "-o", tmp_path / "back", "--skip-done", "--json"]
    works(*arguments)
    rows = json.loads(works(*arguments).out)
    assert [row.get("skipped") for row in rows] == [True] * 3
    (tmp_path / "back" / "0.png").write_bytes((tmp_path / "back" / "0.png").read_bytes()[:-60])
    (tmp_path / "back" / "1.png").unlink()
    outcome = run(*arguments)
    assert outcome.status == 1 and "0.png exists already; add --overwrite" in outcome.err
    rows = json.loads(works(*arguments, "--overwrite").out)
    assert [row.get("skipped", False) for row in rows] == [False, True, True]
    assert "cannot check --window" in refused(*arguments, "--window", "0,0,1,1")


def test_what_is_no_file_of_ours_is_not_replaced(tmp_path: Path) -> None:
    source = image(tmp_path / "a.png", 3)
    letter = tmp_path / "letter.txt"
    letter.write_text("dear all")
    assert "exists already" in refused("encode", source, "-o", letter, "--skip-done")
    assert letter.read_text() == "dear all"
    works("encode", source, "-o", letter, "--skip-done", "--overwrite")
    letter.write_bytes(letter.read_bytes()[:50])  # damaged, but one of ours
    works("encode", source, "-o", letter, "--skip-done")
    works("verify", letter)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_not_read_to_see_whether_it_is_done(tmp_path: Path) -> None:
    source, pipe = image(tmp_path / "a.png", 3), tmp_path / "pipe.png"
    os.mkfifo(pipe)
    assert "not a regular file" in refused("encode", source, "-o", pipe, "--skip-done")
    works("encode", source)
    assert "not a regular file" in refused("decode", tmp_path / "a.dmen", "-o", pipe, "--skip-done")


def test_the_original_is_no_output_of_decoding(tmp_path: Path) -> None:
    original = image(tmp_path / "a.png", 3)
    before = original.read_bytes()
    works("encode", original)
    assert "exists already" in refused("decode", tmp_path / "a.dmen", "--skip-done")
    assert original.read_bytes() == before


@pytest.mark.parametrize("action", [actions.encode_job, actions.decode_job])
def test_an_attempt_that_was_cut_short_after_its_end(tmp_path: Path, action: object) -> None:
    source = image(tmp_path / "a.png", 4)
    works("encode", source, "-o", tmp_path / "b.dmen")
    works("decode", tmp_path / "b.dmen", "-o", tmp_path / "c.png")
    pair = ("a.png", "b.dmen") if action is actions.encode_job else ("b.dmen", "c.png")
    job = Job(*(str(tmp_path / name) for name in pair))
    result = action(job, overwrite=False, restarted=True)  # type: ignore[operator]
    assert (result.width, result.height, result.quality) == (30, 20, 4.0)
    assert result.bytes_out == Path(job.target).stat().st_size and not result.skipped


def geotiff(path: Path, pixels: np.ndarray, nodata: int | None = None) -> Path:
    rasterio = pytest.importorskip("rasterio")
    height, width, count = pixels.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=count, dtype=pixels.dtype,
        nodata=nodata, compress="deflate", crs="EPSG:32629", transform=rasterio.Affine(10, 0, 5, 0, -10, 4),
    ) as file:  # fmt: skip
        file.write(pixels.transpose(2, 0, 1))
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_bands_and_georeference_are_the_inputs(tmp_path: Path, kind: type) -> None:
    pixels = aerial(12, 40, 50).astype(kind)
    job = Job(str(geotiff(tmp_path / "a.tif", pixels, 0)), str(tmp_path / "a.dmen"))

    def made_of(image: object, **options: object) -> bool:
        Path(job.target).write_bytes(dmecodec.encode(image, **options))  # type: ignore[arg-type]
        return is_encoded(job)

    assert made_of(job.source)
    assert is_encoded(job, geo=True) and not is_encoded(job, geo=False)
    other = geotiff(tmp_path / "b.tif", pixels[:-1], 0), geotiff(tmp_path / "c.tif", pixels)
    assert not any(made_of(path) for path in other)
    assert not made_of(pixels, nodata=0) and not made_of(pixels[..., 0])
    if kind is np.uint8:
        assert not made_of(job.source, geo=False) and is_encoded(job, geo=False)
    else:
        assert not made_of(job.source, scale=(0, 999)) and is_encoded(job, scale=(0, 999))


def test_another_mode(tmp_path: Path) -> None:
    job = Job(str(image(tmp_path / "a.png", 5)), str(tmp_path / "a.dmen"))
    Path(job.target).write_bytes(dmecodec.encode(aerial(5, 20, 30)[..., 0]))
    assert not is_encoded(job)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_damaged_geotiff_is_not_done(tmp_path: Path, kind: type) -> None:
    source = geotiff(tmp_path / "a.tif", aerial(13, 700, 600).astype(kind))
    works("encode", source, "-q", 0, "-o", tmp_path / "a.dmen")
    works("decode", tmp_path / "a.dmen", "-o", tmp_path / "b.tif")
    job = Job(str(tmp_path / "a.dmen"), str(tmp_path / "b.tif"))
    good = Path(job.target).read_bytes()
    assert done.is_decoded(job)
    with pytest.importorskip("rasterio").open(job.target) as file:
        start = int(file.get_tag_item("BLOCK_OFFSET_0_1", "TIFF", bidx=1))
    for bad in (good[: -len(good) // 8], good[:start] + bytes(99) + good[start + 99 :]):
        Path(job.target).write_bytes(bad)
        assert not done.is_decoded(job)


def test_a_georeference_beside_it_that_has_changed(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    job = Job(str(image(tmp_path / "a.tif", 1)), str(tmp_path / "a.dmen"))
    (tmp_path / "a.tfw").write_text("1\n0\n0\n-1\n500\n900\n")
    os.utime(tmp_path / "a.tfw", (LONG_AGO, LONG_AGO))
    works("encode", job.source)
    assert is_encoded(job)
    (tmp_path / "a.tfw").write_text("1\n0\n0\n-1\n700\n900\n")
    os.utime(tmp_path / "a.tfw", (LONG_AGO, LONG_AGO))  # older than the output all the same
    assert not is_encoded(job)
    works("encode", job.source, "--overwrite")
    assert is_encoded(job)
    os.utime(tmp_path / "a.tfw", (LONG_AGO + 1e10, LONG_AGO + 1e10))
    assert not is_encoded(job)
