"""GeoTIFFs that are refused, and what happens without rasterio."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from command import refused, run, works
from conftest import aerial

import dmecodec
from dmecodec.errors import DependencyError
from dmecodec.format.kinds import Kind
from dmecodec.format.layout import Alpha
from dmecodec.format.reader import Reader

rasterio = pytest.importorskip("rasterio")

from geotiff_files import PLACE, RPC, write  # noqa: E402
from rasterio.control import GroundControlPoint  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),  # of affine 3
]

# ---- what cannot be coded --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "words"),
    [
        ("float32", "32-bit floating-point"),
        ("float64", "64-bit floating-point"),
        ("int32", "32-bit signed"),
        ("uint32", "uint32 samples"),
        ("complex64", "complex64"),
    ],
)
def test_samples_that_are_refused(tmp_path: Path, dtype: str, words: str) -> None:
    path = write(tmp_path / "a.tif", np.ones((9, 9, 1), dtype))
    message = refused("encode", path)
    assert words in message and str(path) in message
    assert not (tmp_path / "a.dmen").exists()


def test_other_files_that_are_refused(tmp_path: Path) -> None:
    many = write(tmp_path / "many.tif", np.ones((9, 9, 65), np.uint8))
    assert "65 bands" in refused("encode", many)
    bits = write(tmp_path / "bits.tif", np.ones((9, 9, 1), np.uint8), nbits=1)
    assert "1 bits a sample" in refused("encode", bits)
    soft = np.full((9, 9, 4), 300, np.uint16)
    alpha = write(tmp_path / "alpha.tif", soft, colors=["red", "green", "blue", "alpha"], photometric="RGB")
    assert "alpha band has values" in refused("encode", alpha)
    cut = tmp_path / "cut.tif"
    whole = write(tmp_path / "whole.tif", aerial(1, 200, 200), photometric="RGB").read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    assert "cut.tif" in refused("encode", cut)
    assert "--scale" not in refused("encode", tmp_path / "whole.tif", "--scale", "1,2", "-o", tmp_path / "x.dmen")
    works("encode", tmp_path / "whole.tif")
    coded = tmp_path / "whole.dmen"
    assert "must be one of deflate" in refused("decode", coded, "--profile", "x", "-o", tmp_path / "x.tif")
    assert "for GeoTIFF" in refused("decode", coded, "--profile", "lzw", "-o", tmp_path / "x.png")
    deep = tmp_path / "deep.dmen"
    deep.write_bytes(dmecodec.encode(np.ones((9, 9, 5), np.uint16)))
    for suffix in ("png", "jpg", "webp"):
        message = refused("decode", deep, "-o", tmp_path / f"x.{suffix}")
        assert "only a GeoTIFF can hold 5 bands of 16 bits" in message
    assert "profile jpeg cannot hold" in refused("decode", deep, "--profile", "jpeg", "-o", tmp_path / "x.tif")
    assert not list(tmp_path.glob("x.*"))


def test_damaged_geokeys_are_no_traceback(tmp_path: Path) -> None:
    """rasterio lets an error of GDAL through there that is none of its own; the batch goes on."""
    gcps = [GroundControlPoint(row, col, col, -row) for row, col in ((0, 0), (0, 50), (40, 0))]
    path = write(tmp_path / "a.tif", aerial(1, 40, 50), gcps=gcps, crs=None, transform=None)
    model_type = struct.pack("<4H", 1024, 0, 1, 2)
    data = path.read_bytes()
    assert data.count(model_type) == 1
    (tmp_path / "0.tif").write_bytes(data.replace(model_type, struct.pack("<4H", 1024, 0, 999, 2)))
    outcome = run("encode", tmp_path, "-o", tmp_path / "coded")
    assert outcome.status == 1 and "0.tif" in outcome.err and "GTModelTypeGeoKey" in outcome.err
    assert (tmp_path / "coded" / "a.dmen").is_file()


def without_rasterio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)
    monkeypatch.setattr("dmecodec.images.open.is_installed", lambda: False)


def test_without_rasterio_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tif", aerial(1, 40, 50), photometric="RGB")
    nodata = write(tmp_path / "n.tif", aerial(1, 40, 50), nodata=0, crs=None, transform=None)
    deep = write(tmp_path / "d.tif", np.ones((9, 9, 1), np.uint16), crs=None, transform=None)
    works("encode", path)
    without_rasterio(monkeypatch)
    for file in (path, nodata, deep):
        message = refused("encode", file, "-o", tmp_path / "b.dmen")
        assert 'pip install "dmecodec[geo]"' in message
        assert ("--no-geo" in message) == (file != deep)  # where it would help
        with pytest.raises(DependencyError):
            dmecodec.encode(file)
    assert 'pip install "dmecodec[geo]"' in refused("decode", tmp_path / "a.dmen", "-o", tmp_path / "x.tif")
    works("decode", tmp_path / "a.dmen", "-o", tmp_path / "x.tif", "--no-geo")
    works("encode", path, "--no-geo", "-o", tmp_path / "b.dmen")
    assert Kind.GEO not in Reader((tmp_path / "b.dmen").read_bytes()).header.kinds
    works("decode", tmp_path / "b.dmen", "-o", tmp_path / "y.tif")
    works("info", tmp_path / "a.dmen")


def test_without_georeference_nothing_changes(tmp_path: Path) -> None:
    """A plain TIFF goes through Pillow, whether rasterio is there or not."""
    from PIL import Image

    Image.fromarray(aerial(1, 40, 50)).save(tmp_path / "a.tif")
    data = dmecodec.encode(tmp_path / "a.tif")
    assert Kind.GEO not in Reader(data).header.kinds
    assert data == dmecodec.encode(aerial(1, 40, 50))
    (tmp_path / "a.tfw").write_text("10\n0\n0\n-10\n500005\n3999995\n")  # a world file beside it
    with dmecodec.File(io.BytesIO(dmecodec.encode(tmp_path / "a.tif"))) as file:
        assert file.geo is not None and file.geo.transform == tuple(PLACE)[:6]


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("a.TIF", "a.TFW"),
        ("a.TIF", "a.tfw"),
        ("a.tiff", "a.Wld"),
        ("a.tif", "a.tif.aux.xml"),
        ("a.TIF", "a.TIF.aux.xml"),
        ("a.tif", "a.TAB"),
        ("a.geo.tiff", "a.geo.tab"),
    ],
)
def test_files_beside_a_tiff_are_found(tmp_path: Path, name: str, beside: str) -> None:
    from PIL import Image

    Image.fromarray(aerial(1, 40, 50)).save(tmp_path / name, format="TIFF")
    said = {
        ".xml": "<PAMDataset><GeoTransform>500000,10,0,4000000,0,-10</GeoTransform></PAMDataset>",
        ".tab": (
            '!table\n!version 300\nDefinition Table\n  File "x"\n  Type "RASTER"\n'
            '  (500000,4000000) (0,0) Label "a",\n  (500500,4000000) (50,0) Label "b",\n'
            '  (500000,3999600) (0,40) Label "c"\n'
        ),
    }.get(Path(beside).suffix.lower(), "10\n0\n0\n-10\n500005\n3999995\n")
    (tmp_path / beside).write_text(said)
    with dmecodec.File(io.BytesIO(dmecodec.encode(tmp_path / name))) as file:
        assert file.geo is not None and file.geo.transform == pytest.approx(tuple(PLACE)[:6])


@pytest.mark.parametrize("name", ["a.TIF", "a.tif"])
def test_a_mask_and_polynomials_beside_a_tiff_are_found(tmp_path: Path, name: str) -> None:
    from PIL import Image

    path, mask = tmp_path / name, np.ones((40, 50), bool)
    mask[:9] = False
    Image.fromarray(aerial(1, 40, 50)).save(path, format="TIFF")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
        file.write_mask(mask)
    assert (tmp_path / f"{name}.msk").is_file()
    lines = [f"{key}: {value}" for key, value in RPC.items() if "COEFF" not in key]
    lines += [f"{key}_{n}: 1" for key in RPC if "COEFF" in key for n in range(1, 21)]
    (tmp_path / "a_rpc.txt").write_text("\n".join(lines))
    with dmecodec.File(io.BytesIO(dmecodec.encode(path))) as file:
        assert file.layout.alpha is Alpha.MASK
        assert file.geo is not None and "RPC" in file.geo.tags
