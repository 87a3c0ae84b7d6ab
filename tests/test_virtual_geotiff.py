"""A `.dmen` file opened as a GeoTIFF: what rasterio, tifffile, GDAL's tools and rio-cogeo see."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import aerial

rasterio = pytest.importorskip("rasterio", minversion="1.4")

from affine import Affine  # noqa: E402
from geotiff_files import RPC, write  # noqa: E402
from rasterio.control import GroundControlPoint  # noqa: E402

import dmecodec  # noqa: E402
from dmecodec.base.cache import BoundedCache  # noqa: E402
from dmecodec.errors import DependencyError  # noqa: E402
from dmecodec.format.geo import GeoRecord  # noqa: E402
from dmecodec.geotiff import VirtualGeoTiff, check_rasterio, opener, plan, scene  # noqa: E402
from dmecodec.geotiff.directory import first_directory, laid_out  # noqa: E402
from dmecodec.images.metadata import Metadata  # noqa: E402


def masked(value: int = 255) -> np.ndarray:
    mask = np.full((700, 1100), 255, np.uint8)
    mask[:301, :203] = 0
    mask[350:360] = mask[350:360] // 255 * value
    return mask


def rgb() -> np.ndarray:
    return np.tile(aerial(70, 350, 550), (2, 2, 1))


def deep(bands: int) -> np.ndarray:
    return (np.dstack([rgb()] * 3)[:600, :530, :bands].astype(np.uint16) * 31) + 500


KINDS: dict[str, tuple[np.ndarray, dict[str, Any], dict[str, Any]]] = {
    "mask": (rgb(), {"mask": masked(), "tags": {"": {"camera": "x"}, "MINE": {"a": "b"}}}, {}),
    "grey": (rgb()[:600, :513, :1], {"tags": {"RPC": RPC}}, {}),
    "alpha": (np.dstack([rgb(), masked(70)]), {"colors": ["red", "green", "blue", "alpha"], "alpha": "yes"}, {}),
    "deep": (deep(5), {"nodata": 0, "colors": ["blue", "green", "red", "undefined", "undefined"]}, {}),
    "many": (deep(9)[:60, :50], {"photometric": "MINISBLACK"}, {}),
    "float": (deep(1).astype(np.float32) / 7, {"nodata": float("nan")}, {"scale": "auto"}),
    "int16": (deep(2).astype(np.int16) - 9000, {}, {}),
    "bound": (rgb()[:300, :530], {"nodata": 255}, {"max_error": 2}),
    "points": (
        rgb()[:520, :70],
        {"gcps": [GroundControlPoint(1.5 * n, 2 * n * n, n, n + 2) for n in range(4)], "crs": None,
         "transform": Affine.identity()},
        {},
    ),
}  # fmt: skip


@pytest.fixture(params=list(KINDS))
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A coded file, and the GeoTIFF that it is decoded to."""
    pixels, options, encoding = KINDS[request.param]
    write(tmp_path / "a.tif", pixels, **options)
    coded, decoded = tmp_path / "a.dmen", tmp_path / "b.tif"
    coded.write_bytes(dmecodec.encode(tmp_path / "a.tif", 4, tile=256, **encoding))
    (tmp_path / "a.tif").unlink()
    with dmecodec.open(coded) as file:
        file.save(decoded)
    return coded, decoded


def test_as_decode_writes_it(pair: tuple[Path, Path]) -> None:
    coded, decoded = pair
    with rasterio.open(coded, opener=opener) as ours, rasterio.open(decoded) as other:
        for name in (
            "width", "height", "count", "dtypes", "crs", "transform", "colorinterp", "descriptions", "units", "scales",
            "offsets", "mask_flag_enums", "rpcs",
        ):  # fmt: skip
            assert getattr(ours, name) == getattr(other, name), name
        assert repr(ours.nodatavals) == repr(other.nodatavals)
        assert ours.tags() == other.tags() and ours.tags(ns="MINE") == other.tags(ns="MINE")
        assert [(p.row, p.col, p.x, p.y) for p in ours.gcps[0]] == [(p.row, p.col, p.x, p.y) for p in other.gcps[0]]
        assert ours.gcps[1] == other.gcps[1]
        assert ours.overviews(1) == other.overviews(1)
        a, b = ours.read(), other.read()
        step = 1 if a.dtype == np.uint8 else max(1, np.ptp(np.nan_to_num(b)) / 100)
        np.testing.assert_allclose(a, b, atol=step)  # blocks may differ in the last bits
        np.testing.assert_array_equal(ours.dataset_mask(), other.dataset_mask())


def test_overviews_are_reduced_reads(pair: tuple[Path, Path]) -> None:
    coded, _ = pair
    with rasterio.open(coded, opener=opener) as file:
        levels = len(file.overviews(1))
    for level in range(levels):
        with rasterio.open(coded, opener=opener, overview_level=level) as file, dmecodec.open(coded) as whole:
            wanted, layout = whole.planes(reduce=level + 1)
            np.testing.assert_array_equal(file.read(), wanted[..., : layout.image_bands].transpose(2, 0, 1))
            if layout.planes > layout.image_bands:
                np.testing.assert_array_equal(file.dataset_mask() > 0, wanted[..., -1] > 0)


def test_other_readers(pair: tuple[Path, Path], tmp_path: Path) -> None:
    coded, _ = pair
    plain = tmp_path / "plain.tif"
    with opener(coded) as file:
        plain.write_bytes(file.read())
    with rasterio.open(plain) as whole, rasterio.open(coded, opener=opener) as virtual:
        pixels = whole.read()
        np.testing.assert_array_equal(pixels, virtual.read())
    tifffile = pytest.importorskip("tifffile")
    with opener(coded) as file, tifffile.TiffFile(file) as tiff:
        found = tiff.pages[0].asarray()
        np.testing.assert_array_equal(found.reshape(pixels.shape[1:] + pixels.shape[:1]), pixels.transpose(1, 2, 0))
    cogeo = pytest.importorskip("rio_cogeo")
    valid, errors, warnings = cogeo.cog_validate(plain)
    assert valid and not errors and not warnings
    if shutil.which("gdalinfo"):
        told = subprocess.run(["gdalinfo", "-checksum", plain], capture_output=True, text=True, check=True)
        assert "Checksum=" in told.stdout and "Overviews" in told.stdout + "Overviews" * (pixels.shape[1] <= 512)
        assert not told.stderr


def test_several_threads_at_random_places(tmp_path: Path) -> None:
    coded = tmp_path / "a.dmen"
    coded.write_bytes(dmecodec.encode(rgb(), 4, tile=256))
    with opener(coded) as file:
        whole = file.read()
    scene._pixels.__init__(1 << 20)  # one tile: the others are decoded again and again
    rng = np.random.default_rng(1)
    places = rng.integers(0, len(whole), (8, 6))
    wrong: list[int] = []

    def read(starts: np.ndarray) -> None:
        with opener(coded) as file:
            for start in map(int, starts):
                file.seek(start)
                wrong.extend([start] * (file.read(300_000) != whole[start : start + 300_000]))

    threads = [threading.Thread(target=read, args=(starts,)) for starts in places]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not wrong and scene._pixels.size <= 1 << 20
    scene._pixels.__init__(128 << 20)


def test_it_behaves_as_a_file(tmp_path: Path) -> None:
    coded = tmp_path / "a.dmen"
    coded.write_bytes(dmecodec.encode(rgb()[:40, :60], 4))
    with opener(coded) as file:
        assert isinstance(file, VirtualGeoTiff) and file.readable() and file.seekable() and not file.writable()
        assert file.seek(0, os.SEEK_END) == file.size == file.tell() and file.read() == b""
        assert file.seek(-10, os.SEEK_CUR) == file.size - 10 and len(file.read(50)) == 10
        with pytest.raises(OSError, match="cannot seek"):
            file.seek(-1)
    with pytest.raises(ValueError, match="closed"):
        file.read(1)
    with pytest.raises(PermissionError, match="cannot be written"):
        opener(coded, "w")
    with pytest.raises(FileNotFoundError):
        opener(tmp_path / "b.dmen")
    (tmp_path / "a.txt").write_text("text")
    with opener(tmp_path / "a.txt") as file:  # as a sidecar
        assert file.read() == b"text"


def test_damage_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    coded = tmp_path / "a.dmen"
    data = bytearray(dmecodec.encode(rgb(), 4, tile=256))
    data[-1000] ^= 1
    coded.write_bytes(data)
    with opener(coded) as file:
        assert isinstance(file, VirtualGeoTiff)
        with pytest.raises(OSError, match=r"a\.dmen: .*(damaged|checksum)"):
            file.read_at(0, file.size)
        assert len(file.read()) < file.size and "a.dmen: " in caplog.text
    with rasterio.open(coded, opener=opener) as file:
        assert file.read(window=((0, 9), (0, 9))).shape == (3, 9, 9)  # the rest can be had
        with pytest.raises(rasterio.errors.RasterioError):
            file.read()
    coded.write_bytes(data[:50])
    with pytest.raises(OSError, match=r"truncated|cut short|damaged"):
        opener(coded)


def test_a_file_that_changes_is_opened_anew(tmp_path: Path) -> None:
    coded = tmp_path / "a.dmen"
    for side in (40, 70):
        coded.write_bytes(dmecodec.encode(rgb()[:side, :side], 4))
        with rasterio.open(coded, opener=opener) as file:
            assert file.shape == (side, side)


def test_big_files_are_big_tiffs() -> None:
    layout = dmecodec.format.layout.plain_layout("RGB")
    small, big = (plan.make_plan(side, side, layout, GeoRecord(), Metadata()) for side in (3000, 60000))
    assert small.head[:4] == b"II\x2a\0" and big.head[:4] == b"II\x2b\0"
    assert big.size > 1 << 32 and [level.power for level in big.levels] == [5, 4, 3, 2, 1, 0]
    directory = first_directory(big.head)
    offsets = np.frombuffer(directory[324].data, "<u8")
    assert offsets[0] == big.levels[-1].start and offsets[-1] + 512 * 512 * 3 == big.size
    assert len(laid_out([directory], big=True)) < len(big.head)


def test_opening_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coded = tmp_path / "a.dmen"
    coded.write_bytes(dmecodec.encode(rgb(), 4, tile=256))
    monkeypatch.setattr(dmecodec.File, "load_model", lambda self: pytest.fail("the model was loaded"))
    with rasterio.open(coded, opener=opener) as file:
        assert file.overviews(1) == [2, 4]


def test_old_rasterio_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rasterio, "__version__", "1.3.11")
    with pytest.raises(DependencyError, match=r"needs rasterio 1\.4 or later, not 1\.3\.11"):
        check_rasterio()


def test_the_cache_makes_each_value_once() -> None:
    cache: BoundedCache[int, bytes] = BoundedCache(100)
    made: list[int] = []

    def make(key: int) -> bytes:
        made.append(key)
        return bytes(40)

    def ask() -> None:
        for key in (1, 2, 1, 2):
            assert len(cache.get(key, lambda key=key: make(key), len)) == 40

    threads = [threading.Thread(target=ask) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(made) == [1, 2] and cache.size == 80
    cache.get(3, lambda: make(3), len)
    assert cache.size == 80 and made[2:] == [3]
    with pytest.raises(ZeroDivisionError):
        cache.get(4, lambda: bytes(1 // 0), len)
    assert cache.get(4, lambda: make(4), len) and cache.size == 80
    assert io.BytesIO(cache.get(5, lambda: bytes(500), len)).read(1) and cache.size == 0
