"""GeoTIFFs as they are written: names, profiles, and nothing half done."""

from __future__ import annotations

import io
import logging
import shutil
import signal
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command import refused, start, works
from conftest import aerial

import dmecodec
from dmecodec.base import files

rasterio = pytest.importorskip("rasterio")

from geotiff_files import UTM, round_trip, write  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),  # of affine 3
]


def test_streams_and_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", aerial(1, 40, 50), photometric="RGB")
    coded = works("encode", "-", "-o", "-", data=path.read_bytes()).data
    assert coded == dmecodec.encode(path)
    (tmp_path / "a.dmen").write_bytes(coded)
    shutil.move(path, tmp_path / "original.tif")
    works("decode", tmp_path / "a.dmen")  # a GeoTIFF beside it
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.crs == UTM
    target = io.BytesIO()
    with dmecodec.open(tmp_path / "a.dmen") as file:
        file.save(target, format="TIFF")
    assert target.getvalue() == (tmp_path / "a.tif").read_bytes()
    assert "exists already" in refused("decode", tmp_path / "a.dmen")


@pytest.mark.parametrize("profile", ["deflate", "zstd", "lzw", "webp", "raw", "jpeg"])
def test_profiles(tmp_path: Path, profile: str) -> None:
    path = write(tmp_path / "a.tif", aerial(1, 40, 50), photometric="RGB")
    decoded = round_trip(path, tmp_path, "--profile", profile)
    with rasterio.open(decoded) as file:
        found = file.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION", "raw")
        assert profile.upper() in found.upper()
        pixels = file.read().transpose(1, 2, 0)
    if profile != "jpeg":
        expected = dmecodec.decode((tmp_path / "a.dmen").read_bytes())
        np.testing.assert_array_equal(pixels, expected)


def test_lossy_profiles_and_what_is_not_valid(tmp_path: Path) -> None:
    """jpeg would move nodata; alpha becomes a mask with it. webp keeps both, bit for bit."""
    colour = np.maximum(aerial(1, 40, 50), 1)
    colour[:13, :17] = 0
    write(tmp_path / "nodata.tif", colour, photometric="RGB", nodata=0)
    alpha = np.where(colour[..., :1] > 0, 255, 0).astype(np.uint8)
    write(tmp_path / "alpha.tif", np.concatenate([colour, alpha], 2), photometric="RGB",
        colors=["red", "green", "blue", "alpha"],
    )  # fmt: skip
    for name in ("nodata", "alpha"):
        decoded = round_trip(tmp_path / f"{name}.tif", tmp_path, "--profile", "webp")
        with rasterio.open(decoded) as file:
            np.testing.assert_array_equal(file.dataset_mask(), alpha[..., 0])
            expected = dmecodec.decode((tmp_path / "a.dmen").read_bytes())
            found = file.read().transpose(1, 2, 0)
            np.testing.assert_array_equal(found[..., :3], expected[..., :3])
        if name == "nodata":
            target = tmp_path / "x.tif"
            message = refused("decode", tmp_path / "a.dmen", "--profile", "jpeg", "-o", target)
            assert "profile jpeg would change which samples are nodata" in message
            assert not target.exists()
    with rasterio.open(round_trip(tmp_path / "alpha.tif", tmp_path, "--profile", "jpeg")) as file:
        assert file.count == 3
        np.testing.assert_array_equal(file.dataset_mask(), alpha[..., 0])


def test_it_is_a_cloud_optimized_geotiff(tmp_path: Path) -> None:
    validate = pytest.importorskip("rio_cogeo.cogeo").cog_validate
    path = write(tmp_path / "a.tif", np.maximum(aerial(1, 64, 700), 1), nodata=0)
    assert validate(round_trip(path, tmp_path))[0]


# ---- interrupted -----------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_kill_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.maximum(aerial(1, 128, 1100), 1), nodata=0)
    works("encode", path, "--tile", 64)
    shutil.move(tmp_path / "a.dmen", tmp_path / "b.dmen")
    for arguments, target in (
        (["encode", path, "--tile", 64], tmp_path / "a.dmen"),
        (["decode", tmp_path / "b.dmen"], tmp_path / "b.tif"),
    ):
        # A fast machine would finish before the kill: the last step before the rename never ends.
        process = start(*arguments, before="import os, time; os.fsync = lambda _: time.sleep(600)")
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".dmecodec-*")) and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.1)
        process.kill()
        process.communicate()
        assert not target.exists()
        left = {path.name.split("-")[1] for path in tmp_path.glob(".dmecodec-*")}
        assert len(left) == 1  # one process
        files.remove_leftovers(target, *left)
        assert not list(tmp_path.glob(".dmecodec-*"))
        works(*arguments)


def test_a_failure_on_the_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dmecodec.images import cog as writer

    path = write(tmp_path / "a.tif", aerial(1, 40, 50), photometric="RGB")
    works("encode", path)
    coded = (tmp_path / "a.dmen").read_bytes()
    before = sorted(tmp_path.iterdir())

    def fails(*_: object) -> None:
        raise rasterio.errors.RasterioIOError("No space left on device")

    monkeypatch.setattr(writer, "_copy_cloud", fails)
    message = refused("decode", tmp_path / "a.dmen", "-o", tmp_path / "b.tif")
    assert "No space left" in message
    with monkeypatch.context() as context:
        context.setattr(writer.shutil, "disk_usage", lambda _: SimpleNamespace(free=5999))
        message = refused("decode", tmp_path / "a.dmen", "-o", tmp_path / "b.tif")
        assert "not enough room; the pixels take 6000 bytes" in message
    damaged = bytearray(coded)
    damaged[len(coded) // 2] ^= 1
    (tmp_path / "a.dmen").write_bytes(damaged)
    assert "damaged" in refused("decode", tmp_path / "a.dmen", "-o", tmp_path / "new" / "b.tif")
    assert sorted(tmp_path.iterdir()) == before


def test_what_gdal_could_not_write_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk it may say nothing as it closes the file."""
    from dmecodec.images import cog as writer

    works("encode", write(tmp_path / "a.tif", aerial(1, 600, 700), photometric="RGB"))
    before, copy = sorted(tmp_path.iterdir()), writer._copy_cloud

    def without(lost: int, plain: Path, cloud: Path, *rest: Any) -> None:
        copy(plain, cloud, *rest)
        with cloud.open("r+b") as file:
            file.truncate(cloud.stat().st_size - lost)

    for lost in (8, 100, 4096, 100_000):  # fewer bytes are those after the last block
        monkeypatch.setattr(writer, "_copy_cloud", partial(without, lost))
        message = refused("decode", tmp_path / "a.dmen", "-o", tmp_path / "b.tif")
        assert "cannot write the GeoTIFF" in message
        assert sorted(tmp_path.iterdir()) == before
    monkeypatch.setattr(writer, "_copy_cloud", copy)
    works("decode", tmp_path / "a.dmen", "-o", tmp_path / "b.tif")

    def no_reason(*_: object) -> None:
        raise SystemError("Unknown GDAL Error")

    monkeypatch.setattr(writer, "_copy_cloud", no_reason)
    assert "Unknown GDAL" in refused("decode", tmp_path / "a.dmen", "-o", tmp_path / "c.tif")


def test_a_folder_that_vanishes_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dmecodec.images import cog as writer

    works("encode", write(tmp_path / "a.tif", aerial(1, 40, 50), photometric="RGB"))
    copy = writer._copy_cloud

    def late(plain: Path, *rest: Any) -> None:
        shutil.rmtree(plain.parent)
        copy(plain, *rest)

    def complains(*_: object) -> None:
        raise rasterio._err.CPLE_AppDefinedError(3, 1, "disk\nfull")

    for instead, words in ((late, "No such file"), (complains, "disk full")):
        monkeypatch.setattr(writer, "_copy_cloud", instead)
        message = refused("decode", tmp_path / "a.dmen", "-o", tmp_path / "b.tif")
        assert "cannot write the GeoTIFF" in message and words in message
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.dmen", "a.tif"]


def test_nothing_stays_open_and_logging_is_as_before(tmp_path: Path) -> None:
    from dmecodec.batch import done
    from dmecodec.batch.job import Job

    path = write(tmp_path / "a.tif", aerial(1, 40, 50), photometric="RGB")
    works("encode", path)
    works("decode", tmp_path / "a.dmen", "-o", tmp_path / "b.tif")
    logger = logging.getLogger("rasterio")
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        with dmecodec.open(tmp_path / "a.dmen") as file:
            file.verify(original=path)
        assert logger.level == logging.INFO
        assert done.is_decoded(Job(str(tmp_path / "a.dmen"), str(tmp_path / "b.tif")))
        assert logger.level == logging.INFO
    finally:
        logger.setLevel(before)


def test_threads_put_the_settings_back_when_the_last_is_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dmecodec.images.gdal import CACHE_BYTES, gdal

    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    logger, cache = logging.getLogger("rasterio"), rasterio._env.get_gdal_config("GDAL_CACHEMAX")
    before = logger.level
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with gdal():
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=other)
    with gdal():
        thread.start()
        assert entered.wait(30)
    assert logger.level == logging.CRITICAL  # the other thread is at work
    assert rasterio._env.get_gdal_config("GDAL_CACHEMAX") == min(cache, CACHE_BYTES)
    leave.set()
    thread.join()
    assert logger.level == before
    assert rasterio._env.get_gdal_config("GDAL_CACHEMAX") == cache
