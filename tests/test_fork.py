"""Forked children code as their parent does, whether or not the parent has coded before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DATA, aerial
from PIL import Image

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

CHILD = """
import io, multiprocessing, os, sys
import concurrent.futures as futures
from pathlib import Path
import numpy as np
import dmecodec

used, how, name = sys.argv[1:]
image = np.random.default_rng(0).integers(0, 255, (300, 300, 3)).astype("uint8")
coded = Path("coded.dmen").read_bytes()
opened = dmecodec.open("coded.dmen")
in_memory = dmecodec.File(io.BytesIO(coded))


def encode(_):
    return len(dmecodec.encode(image))


def decode(_):
    return dmecodec.decode(coded).shape


def verify(_):
    return dmecodec.File("coded.dmen").verify(deep=True)


def read(number):
    return [int(opened.read((x, 0, 16, 16)).sum()) for x in range(number, 8)]


def read_memory(number):
    return int(in_memory.read((number, 0, 16, 16)).sum())


def geotiff(_):
    return len(dmecodec.encode("scene.tif"))


def file(_):
    return len(dmecodec.encode("image.png"))


work = globals()[name]
if used == "used":
    expected = work(0)
    with open("coded.dmen", "rb") as shared:
        dmecodec.File(shared).read((0, 0, 8, 8))
if how == "fork":
    children = []
    for number in range(3):
        child = os.fork()
        if not child:
            status = 1
            try:
                work(number)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
elif how == "pool":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = pool.map(work, range(4))
else:
    with futures.ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        results = list(pool.map(work, range(4)))
if how != "fork":
    assert results == [work(number) for number in range(4)]
assert work(0) == work(0)  # the parent goes on
print("done")
"""


def _write_inputs(folder: Path) -> None:
    import dmecodec

    image = aerial(3, 96, 96)
    (folder / "coded.dmen").write_bytes(dmecodec.encode(image, tile=64))
    Image.fromarray(image).save(folder / "image.png")


def _run(folder: Path, *arguments: str) -> None:
    environment = dict(os.environ) | {"DMECODEC_MODELS": str(DATA), "PYTHONWARNINGS": "ignore"}
    environment["OMP_NUM_THREADS"] = "2"
    root = str(Path(__file__).resolve().parents[1])
    environment["PYTHONPATH"] = os.pathsep.join([root, environment.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.stdout == "done\n", done.stderr


@pytest.mark.parametrize(
    ("used", "how", "work"),
    [
        ("used", "fork", "encode"), ("used", "pool", "encode"), ("used", "futures", "decode"),
        ("used", "pool", "verify"),
        ("used", "pool", "read"), ("used", "pool", "read_memory"), ("used", "futures", "file"),
        ("unused", "fork", "encode"), ("unused", "futures", "decode"),
    ],
)  # fmt: skip
def test_children_finish_with_the_results_of_the_parent(tmp_path: Path, used: str, how: str, work: str) -> None:
    _write_inputs(tmp_path)
    _run(tmp_path, used, how, work)


@pytest.mark.parametrize("used", ["used", "unused"])
def test_children_read_geotiffs(tmp_path: Path, used: str) -> None:
    rasterio = pytest.importorskip("rasterio")
    _write_inputs(tmp_path)
    profile = {"driver": "GTiff", "width": 96, "height": 96, "count": 3, "dtype": "uint16", "crs": "EPSG:32629"}
    place = rasterio.transform.from_origin(5e5, 4e6, 10, 10)
    with rasterio.open(tmp_path / "scene.tif", "w", transform=place, **profile) as file:
        file.write(aerial(3, 96, 96).transpose(2, 0, 1).astype("uint16") * 100)
    _run(tmp_path, used, "pool", "geotiff")
