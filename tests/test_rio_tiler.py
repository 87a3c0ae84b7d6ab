"""rio-tiler's reader, and titiler on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import aerial

pytest.importorskip("rasterio", minversion="1.4")
pytest.importorskip("rio_tiler")

from geotiff_files import write
from rio_tiler.io import Reader as PlainReader

import dmecodec
from dmecodec.rio_tiler import Reader


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    write(folder / "a.tif", np.tile(aerial(95, 300, 350), (2, 2, 1)), nodata=None)
    (folder / "a.dmen").write_bytes(dmecodec.encode(folder / "a.tif", 4, tile=256))
    with dmecodec.open(folder / "a.dmen") as file:
        file.save(folder / "b.tif")
    return folder / "a.dmen"


def test_as_of_the_decoded_file(scene: Path) -> None:
    with Reader(str(scene)) as ours, PlainReader(str(scene.with_name("b.tif"))) as plain:
        assert ours.info() == plain.info() or ours.info().bounds == plain.info().bounds
        assert (ours.minzoom, ours.maxzoom) == (plain.minzoom, plain.maxzoom)
        west, south, east, north = plain.get_geographic_bounds("EPSG:4326")
        tile = ours.tms.tile((west + east) / 2, (south + north) / 2, ours.maxzoom)
        place = tile.x, tile.y, tile.z
        assert abs(ours.tile(*place).data.astype(int) - plain.tile(*place).data).max() <= 1
        middle = (west + east) / 2, (south + north) / 2
        np.testing.assert_allclose(ours.point(*middle).data, plain.point(*middle).data, atol=1)
        box = plain.bounds
        part = box[0] + 1000, box[1] + 1000, box[0] + 2500, box[1] + 2000
        crs = plain.crs
        np.testing.assert_allclose(
            ours.part(part, bounds_crs=crs, dst_crs=crs).data.astype(int),
            plain.part(part, bounds_crs=crs, dst_crs=crs).data, atol=1,
        )  # fmt: skip
        shape = {"type": "Polygon", "coordinates": [[(west, south), (east, south), middle, (west, south)]]}
        assert ours.feature(shape, max_size=64).data.shape == plain.feature(shape, max_size=64).data.shape
        small = ours.preview(max_size=100)
        assert abs(small.data.astype(int) - plain.preview(max_size=100).data).mean() < 4
        assert set(ours.statistics()) == set(plain.statistics())


def test_through_titiler(scene: Path) -> None:
    pytest.importorskip("titiler.core")
    pytest.importorskip("httpx")
    from fastapi import FastAPI
    from fastapi.testclient import TestClient
    from titiler.core.factory import TilerFactory

    app = FastAPI()
    app.include_router(TilerFactory(reader=Reader).router)
    client = TestClient(app)
    info = client.get("/info", params={"url": str(scene)})
    assert info.status_code == 200 and info.json()["width"] == 700
    found = client.get("/WebMercatorQuad/tilejson.json", params={"url": str(scene)}).json()
    with Reader(str(scene)) as reader:
        tile = reader.tms.tile(*found["center"][:2], found["maxzoom"])
    answer = client.get(f"/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.png", params={"url": str(scene)})
    assert answer.status_code == 200 and answer.content[1:4] == b"PNG"
