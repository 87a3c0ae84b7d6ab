"""The engine of xarray, with Dask and rioxarray."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import aerial

xarray = pytest.importorskip("xarray")
rasterio = pytest.importorskip("rasterio")
pytest.importorskip("rioxarray")

from geotiff_files import write  # noqa: E402

import dmecodec  # noqa: E402
from dmecodec.errors import OptionError  # noqa: E402
from dmecodec.plugins.xarray import DmecodecBackend  # noqa: E402

# By its name where this tree is installed.
ENGINE: Any = "dmecodec" if "dmecodec" in xarray.backends.list_engines() else DmecodecBackend


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    pixels = aerial(90, 150, 210)
    mask = np.full((150, 210), 255, np.uint8)
    mask[:40, :50] = 0
    write(tmp_path / "a.tif", pixels, mask=mask, tags={"": {"camera": "x"}})
    (tmp_path / "a.dmen").write_bytes(dmecodec.encode(tmp_path / "a.tif", 4, tile=64))
    return tmp_path / "a.dmen"


def open_scene(scene: Any, **options: Any) -> Any:
    return xarray.open_dataset(scene, engine=ENGINE, **options)


def test_as_rioxarray_expects_it(scene: Path) -> None:
    dataset = open_scene(scene)
    with rasterio.open(scene.with_name("a.tif")) as file:
        assert dataset.rio.crs == file.crs and dataset.rio.transform() == file.transform
        assert dataset.rio.bounds() == tuple(file.bounds)
    assert dataset.band_data.attrs["camera"] == "x" and dataset.band_data.dims == ("band", "y", "x")
    found = dataset.band_data.rio.reproject("EPSG:4326")
    assert found.rio.crs.to_epsg() == 4326


@pytest.mark.parametrize("key", [
    np.s_[:, :, :], np.s_[0], np.s_[:, 5, 7], np.s_[1:, 10:40, ::3], np.s_[::-1, ::-2, 100:20:-7], np.s_[:, 3:3, :],
    np.s_[:, [1, 9, 100], :], np.s_[2, -1, -5:],
])  # fmt: skip
def test_indexing(scene: Path, key: Any) -> None:
    with dmecodec.open(scene) as file:
        wanted = file.read().transpose(2, 0, 1)
    dataset = open_scene(scene)
    assert abs(dataset.band_data[key].values.astype(int) - wanted[key]).max(initial=0) <= 1
    assert dataset.mask[:45, 48:52].values.tolist() == (np.mgrid[:45, 48:52] >= [[[40]], [[50]]]).any(0).tolist()


def test_lazy_by_tiles_in_dask(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_scene(scene, chunks={})
    assert dataset.band_data.chunks == ((3,), (64, 64, 22), (64, 64, 64, 18))
    with dmecodec.open(scene) as file:
        wanted = file.read().transpose(2, 0, 1)
    lazy = pickle.loads(pickle.dumps(dataset))  # as for another process
    for scheduler in ("threads", "synchronous"):
        assert abs(lazy.band_data.compute(scheduler=scheduler).values.astype(int) - wanted).max() <= 1
    monkeypatch.setattr(dmecodec.File, "planes", lambda *_, **__: pytest.fail("decoded"))
    open_scene(scene, chunks={}).band_data.mean()


def test_rioxarray_with_the_opener(scene: Path) -> None:
    from dmecodec.geotiff import opener

    rioxarray = pytest.importorskip("rioxarray")
    found = rioxarray.open_rasterio(scene, opener=opener, chunks={"x": 512, "y": 512})
    assert found.rio.crs.to_epsg() == 32629
    np.testing.assert_array_equal(found.compute(), open_scene(scene).band_data)


def test_reduced_and_other_kinds(scene: Path) -> None:
    small = open_scene(scene, reduce=2)
    assert small.band_data.shape == (3, 38, 53) and small.rio.resolution() == (40, -40)
    with dmecodec.open(scene) as file:
        np.testing.assert_array_equal(small.band_data.values, file.read(reduce=2).transpose(2, 0, 1))
    with pytest.raises(OptionError, match="reduce"):
        open_scene(scene, reduce=9)
    values = np.linspace(0, 1, 5000, dtype=np.float32).reshape(50, 100)
    values[0, :5] = np.nan
    plain = open_scene(io.BytesIO(dmecodec.encode(values, 6, scale="auto", nodata=float("nan"))))
    assert plain.band_data.dtype == np.float32 and np.isnan(plain.band_data.rio.nodata)
    assert np.isnan(plain.band_data.values).sum() == 5 and "mask" not in plain and "x" not in plain.coords
    assert "band_data" not in open_scene(scene, drop_variables="band_data")
    assert DmecodecBackend().guess_can_open(scene) and not DmecodecBackend().guess_can_open("a.tif")
