"""Files by URL, and other file objects: what is fetched of them, and what happens where that fails."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from command import refused, works
from conftest import aerial
from range_server import RangeServer, serving

import dmecodec
from dmecodec.errors import DependencyError, FormatError

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")


@pytest.fixture(scope="module")
def coded() -> bytes:
    return dmecodec.encode(np.tile(aerial(80, 256, 256), (8, 8, 1)), 7, tile=256)


@pytest.fixture
def server(tmp_path: Path, coded: bytes):
    (tmp_path / "a.dmen").write_bytes(coded)
    with serving(tmp_path) as server:
        yield server


def test_a_window_fetches_its_chunks_alone(server: RangeServer, coded: bytes) -> None:
    with dmecodec.open(f"{server.url}/a.dmen") as file:
        assert (file.header.width, file.size) == (2048, len(coded))
        opening = sum(sent for _, sent in server.requests)
        assert opening <= 1 << 14 and len(server.requests) <= 4
        server.requests.clear()
        part = file.read((1374, 1374, 20, 20))  # with its halo in one tile
        np.testing.assert_array_equal(part, dmecodec.decode(coded, window=(1374, 1374, 20, 20)))
        ((method, sent),) = server.requests
        assert method == "GET" and sent < 2 * len(coded) / 64
        file.read((1520, 1520, 30, 30))  # near the corner of four tiles
        assert len(server.requests) == 1 + 4
    copy = pickle.loads(pickle.dumps(file))
    np.testing.assert_array_equal(copy.read((0, 0, 9, 9)), dmecodec.decode(coded, window=(0, 0, 9, 9)))


def test_info_and_decode_of_a_url(server: RangeServer, tmp_path: Path, coded: bytes) -> None:
    url = f"{server.url}/a.dmen"
    assert json.loads(works("info", url, "--json").out)["bytes"] == len(coded)
    assert sum(sent for _, sent in server.requests) < len(coded) / 8
    works("decode", url, "--window", "0,0,40,30", "-o", tmp_path / "b.png")
    assert (tmp_path / "b.png").is_file()


def test_what_goes_wrong(server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (("info",), ("decode", "-o", tmp_path / "b.png")):
        assert "b.dmen" in refused(command[0], f"{server.url}/b.dmen", *command[1:])
    with pytest.raises(FormatError, match="cannot be read"):
        dmecodec.open("http://127.0.0.1:9/a.dmen")
    with pytest.raises((FormatError, DependencyError), match="nosuch"):
        dmecodec.open("nosuch://a/b.dmen")
    with dmecodec.open(f"{server.url}/a.dmen") as file:
        server.cut = True  # the connection ends in the middle of an answer
        with pytest.raises(FormatError, match=r"cannot be read|truncated"):
            file.read((1374, 1374, 20, 20))
        server.cut = False
        assert file.read((1374, 1374, 20, 20)).shape == (20, 20, 3)
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(DependencyError, match=r'pip install "dmecodec\[remote\]"'):
        dmecodec.open(f"{server.url}/a.dmen")


def test_other_file_systems_and_objects(coded: bytes) -> None:
    with fsspec.open("memory://scenes/a.dmen", "wb") as file:
        file.write(coded)
    wanted = dmecodec.decode(coded, window=(0, 0, 20, 30))
    with dmecodec.open("memory://scenes/a.dmen") as file:
        np.testing.assert_array_equal(file.read((0, 0, 20, 30)), wanted)
    with dmecodec.File(io.BytesIO(coded)) as file:
        np.testing.assert_array_equal(file.read((0, 0, 20, 30)), wanted)


def test_readers_of_scenes_take_urls(server: RangeServer) -> None:
    rasterio = pytest.importorskip("rasterio", minversion="1.4")
    from dmecodec.geotiff import opener

    with rasterio.open(f"{server.url}/a.dmen", opener=opener) as file:
        assert file.read(window=((0, 20), (0, 30))).shape == (3, 20, 30)
