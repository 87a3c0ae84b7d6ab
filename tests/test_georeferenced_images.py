"""PNG, JPEG, JPEG 2000 and others with a georeference, in the file or beside it: kept, and written back."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import refused, run, start, works
from conftest import aerial, in_mode
from PIL import Image

import dmecodec
from dmecodec.errors import LossWarning
from dmecodec.format.geo import GeoRecord
from dmecodec.format.kinds import Kind
from dmecodec.format.layout import Alpha
from dmecodec.format.reader import Reader

rasterio = pytest.importorskip("rasterio")
pytest.importorskip("rasterio.shutil")

from corpus_files import WORLD, bit_fields, rpc_text  # noqa: E402
from geotiff_files import PLACE, RPC, UTM, round_trip, write  # noqa: E402
from rasterio.crs import CRS  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),  # of affine 3
]
TRANSFORM = "<GeoTransform>500000,10,0,4000000,0,-10</GeoTransform>"
TAB = (
    '!table\n!version 300\nDefinition Table\n  File "x"\n  Type "RASTER"\n'
    '  (500000,4000000) (0,0) Label "a",\n  (500500,4000000) (50,0) Label "b",\n  (500000,3999600) (0,40) Label "c"\n'
)
ROTATED_POLE = CRS.from_user_input("+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39 +lon_0=18 +R=6371229")


def picture(path: Path, mode: str = "RGB", **options: Any) -> Path:
    Image.fromarray(in_mode(aerial(1, 40, 50), mode)).save(path, **options)
    return path


def record_of(path: Path, **options: Any) -> GeoRecord | None:
    with dmecodec.File(io.BytesIO(dmecodec.encode(path, effort=0, **options))) as file:
        return file.geo


def pam(path: Path, content: str) -> None:
    Path(f"{path}.aux.xml").write_text(f"<PAMDataset>{content}</PAMDataset>")


# ---- found ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("a.png", "a.pgw"), ("a.png", "a.pngw"), ("a.PNG", "A.PGW"), ("a.png", "a.wld"), ("a.png", "a.png.aux.xml"),
        ("a.jpg", "a.jgw"), ("a.jpeg", "a.jgw"), ("a.jpg", "a.jpgw"), ("a.jpg", "a.JGW"), ("a.jpg", "a.tab"),
        ("a.webp", "a.webp.aux.xml"), ("a.bmp", "a.bpw"), ("a.bmp", "a.wld"), ("a.gif", "a.gfw"),
        ("a.jp2", "a.j2w"), ("a.j2k", "a.wld"), ("a.ppm", "a.wld"), ("b.a.png", "b.a.pgw"), ("a.tif", "a.tfw"),
    ],
)  # fmt: skip
def test_files_beside_an_image_are_read(tmp_path: Path, name: str, beside: str) -> None:
    path = picture(tmp_path / name)
    contents = {".xml": f"<PAMDataset>{TRANSFORM}</PAMDataset>", ".tab": TAB}
    (tmp_path / beside).write_text(contents.get(Path(beside).suffix.lower(), WORLD))
    if name[0] != beside[0] and os.name == "posix":  # GDAL finds no other case of the stem
        return
    record = record_of(path)
    assert record is not None and record.transform == pytest.approx(tuple(PLACE)[:6])


@pytest.mark.parametrize(
    ("driver", "suffix"), [("JP2OpenJPEG", "jp2"), ("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")]
)
@pytest.mark.parametrize("target", [".tif", ".png", ".jpg", ".webp"])
def test_what_gdal_has_written_stays(tmp_path: Path, driver: str, suffix: str, target: str) -> None:
    tags = {"": {"season": "spring", "AREA_OR_POINT": "Area"}}
    source = write(tmp_path / "s.tif", aerial(1, 40, 50), photometric="RGB", tags=tags)
    path = tmp_path / f"a.{suffix}"
    rasterio.shutil.copy(str(source), str(path), driver=driver)
    back = round_trip(path, tmp_path, suffix=target)
    with rasterio.open(path) as a, rasterio.open(back) as b:
        assert b.crs == a.crs == UTM and b.transform == a.transform == PLACE
        assert b.tags()["season"] == "spring" and b.count == 3
    assert (tmp_path / f"a-decoded{target}.aux.xml").is_file() == (target != ".tif")


@pytest.mark.parametrize("boxes", [{"GMLJP2": "YES", "GeoJP2": "NO"}, {"GMLJP2": "NO", "GeoJP2": "YES"}])
def test_boxes_of_jpeg_2000(tmp_path: Path, boxes: dict[str, str]) -> None:
    source = write(tmp_path / "s.tif", aerial(1, 40, 50), photometric="RGB")
    rasterio.shutil.copy(str(source), str(tmp_path / "a.jp2"), driver="JP2OpenJPEG", **boxes)
    for image in (tmp_path / "a.jp2", io.BytesIO((tmp_path / "a.jp2").read_bytes())):
        with dmecodec.File(io.BytesIO(dmecodec.encode(image))) as file:
            assert file.geo is not None and file.geo.epsg == 32629 and file.geo.transform == tuple(PLACE)[:6]


def test_a_georeference_changes_no_pixel(tmp_path: Path) -> None:
    for name, mode in (("a.png", "RGBA"), ("b.jpg", "RGB"), ("c.webp", "RGB"), ("d.png", "L")):
        path = picture(tmp_path / name, mode)
        alone = dmecodec.decode(dmecodec.encode(path, max_error=0))
        pam(path, TRANSFORM)
        assert record_of(path) is not None
        np.testing.assert_array_equal(dmecodec.decode(dmecodec.encode(path, max_error=0)), alone)


def test_icc_and_exif_stay(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[270] = "a field"
    path = picture(tmp_path / "a.jpg", exif=exif, icc_profile=b"icc")
    (tmp_path / "a.jgw").write_text(WORLD)
    with dmecodec.File(io.BytesIO(dmecodec.encode(path))) as file:
        assert file.geo is not None and file.metadata.icc == b"icc"
        assert file.metadata.exif is not None and b"a field" in file.metadata.exif


@pytest.mark.parametrize("vendor", ["kompsat", "digital globe", "rpb"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_polynomials_of_vendors(tmp_path: Path, vendor: str, dtype: str) -> None:
    path = write(tmp_path / "IMG_a.tif", aerial(1, 64, 64).astype(dtype), photometric="RGB", crs=None, transform=None)
    for name, text in _vendor_files(vendor).items():
        (tmp_path / name).write_text(text)
    with rasterio.open(path) as file:
        expected = float(file.tags(ns="RPC")["LINE_OFF"].split()[0])
    with rasterio.open(round_trip(path, tmp_path)) as file:
        assert float(file.tags(ns="RPC")["LINE_OFF"]) == expected


def _vendor_files(vendor: str) -> dict[str, str]:
    if vendor == "kompsat":
        return {"IMG_a.rpc": rpc_text(), "IMG_a.txt": "AUX_SATELLITE_NAME\tKX\n", "IMG_a.eph": "x\n"}
    ones = " ".join(["1"] + ["0.001"] * 19)
    values = dict.fromkeys(
        ["LINESCALE", "SAMPSCALE", "LATSCALE", "LONGSCALE", "HEIGHTSCALE", "LATOFFSET", "LONGOFFSET"], 1
    )
    values |= {"ERRBIAS": 1, "ERRRAND": 1, "LINEOFFSET": 32, "SAMPOFFSET": 32, "HEIGHTOFFSET": 4}
    coefficients = ("LINENUMCOEF", "LINEDENCOEF", "SAMPNUMCOEF", "SAMPDENCOEF")
    if vendor == "digital globe":
        items = "".join(f"<{key}>{value}</{key}>" for key, value in values.items())
        items += "".join(f"<{key}List><{key}>{ones}</{key}></{key}List>" for key in coefficients)
        return {
            "IMG_a.XML": "<?xml version='1.0'?><isd><IMD><SATID>X</SATID></IMD><RPB><SATID>X</SATID>"
            f"<SPECID>RPC00B</SPECID><IMAGE>{items}</IMAGE></RPB></isd>"
        }
    names = {"LINENUMCOEF": "lineNumCoef", "LINEDENCOEF": "lineDenCoef", "SAMPNUMCOEF": "sampNumCoef",
             "SAMPDENCOEF": "sampDenCoef", "ERRBIAS": "errBias", "ERRRAND": "errRand"}  # fmt: skip
    lines = ['satId = "X";', 'bandId = "P";', 'SpecId = "RPC00B";', "BEGIN_GROUP = IMAGE"]
    for key, value in values.items():
        axis, part = key.split("OFF")[0].split("SCALE")[0], "Offset" if "OFF" in key else "Scale"
        lines.append(f"{names.get(key, axis.lower() + part)} = {value};")
    for key in coefficients:
        lines.append(f"{names[key]} = ({', '.join(ones.split())});")
    return {"IMG_a.RPB": "\n".join([*lines, "END_GROUP = IMAGE", "END;", ""]), "IMG_a.IMD": "version = 1;\nEND;\n"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR"),
        ("GDAL_DISABLE_READDIR_ON_OPEN", "TRUE"),
        ("GDAL_PAM_ENABLED", "NO"),
        ("GDAL_GEOREF_SOURCES", "NONE"),
    ],
)
def test_settings_hide_nothing(tmp_path: Path, name: str, value: str) -> None:
    for path in (picture(tmp_path / "a.png"), picture(tmp_path / "b.tif")):
        pam(path, TRANSFORM)
    picture(tmp_path / "c.tif")
    (tmp_path / "c.tfw").write_text(WORLD)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(tmp_path / "c.tif", "r+") as file:
        file.write_mask(np.arange(2000).reshape(40, 50) > 900)
    images = [tmp_path / name for name in ("a.png", "b.tif", "c.tif")]
    process = start("encode", *images, "--effort", 0, "--quiet", **{name: value})  # set in the environment
    assert process.communicate(timeout=100)[1] == b""
    with rasterio.Env(**{name: value}):  # set by a program
        coded = [dmecodec.encode(path, effort=0) for path in images]
    for path, data in zip(images, coded, strict=True):
        assert path.with_suffix(".dmen").read_bytes() == data
        with dmecodec.File(io.BytesIO(data)) as file:
            assert file.geo is not None and file.geo.transform == tuple(PLACE)[:6]
            assert (file.layout.alpha is Alpha.MASK) == (path.name == "c.tif")


def test_a_setting_does_not_hide_the_vertical_part_of_a_crs(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", aerial(2, 40, 50), photometric="RGB", crs="EPSG:32633+5773")
    with rasterio.Env(GTIFF_REPORT_COMPD_CS="NO"):
        data = dmecodec.encode(path, effort=0)
    with dmecodec.File(io.BytesIO(data)) as file:
        assert file.geo is not None and "EGM96" in (file.geo.crs or "")


# ---- not found, or not to be read ------------------------------------------------------------------------


@pytest.mark.parametrize("beside", ["a.txt", "a.json", "a.xml", "a.dmen", "b.pgw", "a.png.xml", "a.jpg"])
def test_other_files_beside_an_image_are_no_sidecars(tmp_path: Path, beside: str) -> None:
    from test_imports import imported_by

    path = picture(tmp_path / "a.png")
    (tmp_path / beside).write_text("<annotation/>")
    modules = imported_by(tmp_path, "encode", path, "-o", tmp_path / "x.dmen", "--effort", 0)
    assert "rasterio" not in modules
    assert Kind.GEO not in Reader((tmp_path / "x.dmen").read_bytes()).header.kinds


def test_a_file_beside_that_says_nothing(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.webp")
    (tmp_path / "a.wld").write_text(WORLD)  # GDAL reads none beside WebP
    assert record_of(path) is None


def test_without_rasterio_it_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "s.tif", aerial(1, 40, 50), photometric="RGB")
    rasterio.shutil.copy(str(source), str(tmp_path / "boxes.jp2"), driver="JP2OpenJPEG")
    (tmp_path / "boxes.jp2.aux.xml").unlink(missing_ok=True)
    pam(picture(tmp_path / "aux.png"), TRANSFORM)
    picture(tmp_path / "world.jpg")
    (tmp_path / "world.jgw").write_text(WORLD)
    monkeypatch.setitem(sys.modules, "rasterio", None)
    monkeypatch.setattr("dmecodec.images.open.is_installed", lambda: False)
    for name, word in (("boxes.jp2", "georeferenced"), ("aux.png", "aux.png.aux.xml"), ("world.jpg", "world.jgw")):
        message = refused("encode", tmp_path / name, "-o", tmp_path / "x.dmen", "--overwrite")
        assert word in message and 'pip install "dmecodec[geo]"' in message and "--no-geo" in message
        works("encode", tmp_path / name, "-o", tmp_path / "x.dmen", "--no-geo", "--overwrite")
        assert Kind.GEO not in Reader((tmp_path / "x.dmen").read_bytes()).header.kinds


@pytest.mark.skipif("AVIF" not in Image.SAVE and not Image.init(), reason="Pillow without AVIF")
def test_a_format_that_gdal_cannot_read(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.avif")
    pam(path, TRANSFORM)
    with rasterio.Env() as env:
        if {"AVIF", "HEIF"} & set(env.drivers()):
            pytest.skip("this GDAL reads AVIF")
    message = refused("encode", path)
    assert "a.avif.aux.xml" in message and "--no-geo" in message and "damaged" not in message
    works("encode", path, "--no-geo")


# ---- written beside an image -----------------------------------------------------------------------------


def test_a_window_has_its_own_world_file(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", aerial(1, 100, 150), photometric="RGB", crs=None, transform=PLACE, tags={"RPC": RPC})
    works("encode", tmp_path / "a.tif")
    works("decode", tmp_path / "a.dmen", "-o", tmp_path / "w.png", "--window", "20,10,50,50")
    assert [float(line) for line in (tmp_path / "w.pgw").read_text().split()] == [10, 0, 0, -10, 500205, 3999895]
    with rasterio.open(tmp_path / "w.png") as file:
        assert file.transform == PLACE * rasterio.Affine.translation(20, 10)
        assert float(file.tags(ns="RPC")["LINE_OFF"]) == -3
    works("decode", tmp_path / "a.dmen", "-o", tmp_path / "v.png", "--no-geo")
    assert not list(tmp_path.glob("v.p*w")) and not list(tmp_path.glob("v.png.*"))


def test_sidecars_appear_with_the_image_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    works("encode", write(tmp_path / "a.tif", aerial(1, 40, 50), photometric="RGB"))
    before = sorted(tmp_path.iterdir())
    with monkeypatch.context() as context:
        context.setattr("dmecodec.base.files._rename_new", _full)
        assert "full" in refused("decode", tmp_path / "a.dmen", "-o", tmp_path / "b.png")
        context.setattr("dmecodec.images.save_sidecars.aux_xml", _full)
        assert "full" in refused("decode", tmp_path / "a.dmen", "-o", tmp_path / "b.png")
    assert sorted(tmp_path.iterdir()) == before
    (tmp_path / "b.pgw").write_text("mine")
    assert "b.pgw exists already" in refused("decode", tmp_path / "a.dmen", "-o", tmp_path / "b.png")
    assert (tmp_path / "b.pgw").read_text() == "mine" and not (tmp_path / "b.png").exists()
    works("decode", tmp_path / "a.dmen", "-o", tmp_path / "b.png", "--overwrite")
    assert (tmp_path / "b.pgw").read_text() != "mine"


def _full(*_: object) -> None:
    raise OSError(28, "the disk is full")


def test_what_has_no_place_is_said(tmp_path: Path) -> None:
    works("encode", write(tmp_path / "a.tif", aerial(1, 40, 50), photometric="RGB"))
    outcome = run("decode", tmp_path / "a.dmen", "-o", "-", "--quiet")
    assert outcome.status == 0 and outcome.data.startswith(b"\x89PNG")
    assert outcome.err.count("\n") == 1 and ".aux.xml, .pgw" in outcome.err
    with dmecodec.open(tmp_path / "a.dmen") as file, pytest.warns(LossWarning, match=r"\.aux\.xml"):
        file.save(io.BytesIO(), format="PNG")


def test_sidecars_from_before_are_said(tmp_path: Path) -> None:
    picture(tmp_path / "plain.tif")
    works("encode", tmp_path / "plain.tif")
    (tmp_path / "b.pgw").write_text(WORLD)
    err = works("decode", tmp_path / "plain.dmen", "-o", tmp_path / "b.png", "--quiet").err
    assert err.count("\n") == 1 and "b.pgw beside it is from before" in err


# ---- what a TIFF cannot hold -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "crs", [ROTATED_POLE, CRS.from_user_input("EPSG:32651+4326"), CRS.from_epsg(4979), CRS.from_epsg(4326)]
)
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_any_crs_comes_back(tmp_path: Path, crs: CRS, suffix: str) -> None:
    path = write(tmp_path / "a.tif", aerial(1, 40, 50), photometric="RGB", crs=crs)
    with rasterio.open(path) as a, rasterio.open(round_trip(path, tmp_path, suffix=suffix)) as b:
        assert a.crs == b.crs and a.transform == b.transform


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_control_points_and_a_transform_together(tmp_path: Path, suffix: str) -> None:
    points = "".join(f'<GCP Id="{n}" Pixel="{n}" Line="{n * n}" X="{n}" Y="{9 - n}" Z="1"/>' for n in range(4))
    gcps = f'<GCPList Projection="{CRS.from_epsg(4326).to_wkt()}">{points}</GCPList>'.replace('["', "[&quot;")
    gcps = gcps.replace('",', "&quot;,").replace(',"', ",&quot;").replace('"]', "&quot;]")
    for name in ("a.png", "b.tif"):
        path = picture(tmp_path / name)
        pam(path, TRANSFORM + gcps)
        with rasterio.open(path) as a, rasterio.open(round_trip(path, tmp_path, suffix=suffix)) as b:
            assert len(a.gcps[0]) == 4 and a.gcps[1] is not None
            assert [(p.row, p.col, p.x) for p in a.gcps[0]] == [(p.row, p.col, p.x) for p in b.gcps[0]]
            assert (a.transform, a.gcps[1], a.crs) == (b.transform, b.gcps[1], b.crs)
    path = picture(tmp_path / "c.png")
    pam(path, f"<SRS>EPSG:32629</SRS>{TRANSFORM}{gcps}")
    works("encode", path)
    outcome = works("decode", tmp_path / "c.dmen", "-o", tmp_path / "d.tif", "--quiet")
    assert "left out: ground control points" in outcome.err
    with rasterio.open(tmp_path / "d.tif") as file:
        assert file.crs == UTM and file.transform == PLACE
    assert not works("decode", tmp_path / "c.dmen", "-o", tmp_path / "e.png", "--quiet").err
    with rasterio.open(tmp_path / "e.png") as file:
        assert file.crs == UTM and file.transform == PLACE and len(file.gcps[0]) == 4


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_partial_masks(tmp_path: Path, dtype: str) -> None:
    path = write(tmp_path / "a.tif", aerial(1, 40, 50).astype(dtype), photometric="RGB")
    mask = np.tile(np.arange(0, 250, 5, dtype=np.uint8), (40, 1))
    with rasterio.open(f"{path}.msk", "w", driver="GTiff", width=50, height=40, count=1, dtype="uint8") as file:
        file.write(mask, 1)
        file.update_tags(**{f"INTERNAL_MASK_FLAGS_{n}": "2" for n in (1, 2, 3)})
    back = round_trip(path, tmp_path, lossless=True)
    with rasterio.open(path) as a, rasterio.open(back) as b:
        assert a.mask_flag_enums == b.mask_flag_enums
        for n in (1, 2, 3):
            np.testing.assert_array_equal(b.read_masks(n), mask)
        np.testing.assert_array_equal(a.read()[:, mask > 0], b.read()[:, mask > 0])
    works("verify", "--original", path, tmp_path / "a.dmen")
    if dtype == "uint8":
        works("decode", tmp_path / "a.dmen", "-o", tmp_path / "b.png")
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png"))[..., 3], mask)


def test_a_mask_behind_a_jpeg(tmp_path: Path) -> None:
    mask = np.where(np.arange(2000).reshape(40, 50) > 900, 255, 0).astype(np.uint8)
    source = write(tmp_path / "s.tif", aerial(1, 40, 50), photometric="RGB", crs=None, transform=None, mask=mask)
    path = tmp_path / "a.jpg"
    rasterio.shutil.copy(str(source), str(path), driver="JPEG")
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.dataset_mask(), mask)
    with rasterio.open(round_trip(path, tmp_path)) as file:
        np.testing.assert_array_equal(file.dataset_mask(), mask)


# ---- tags --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["", " pixels", " px"])
def test_polynomials_with_units_move_with_a_window(tmp_path: Path, unit: str) -> None:
    path = write(tmp_path / "s.tif", aerial(1, 80, 90), crs=None, transform=None)
    (tmp_path / "s_RPC.TXT").write_text(rpc_text(unit))
    works("encode", path)
    works("decode", tmp_path / "s.dmen", "-o", tmp_path / "w.tif", "--window", "30,20,40,40")
    with rasterio.open(tmp_path / "w.tif") as file:
        assert (file.tags(ns="RPC")["SAMP_OFF"], file.tags(ns="RPC")["LINE_OFF"]) == ("-10", "0")


def test_geolocation_arrays_move_with_a_window(tmp_path: Path) -> None:
    for name, offsets in (("a", {"PIXEL_OFFSET": "3", "LINE_OFFSET": "0.5"}), ("b", {}), ("c", {"PIXEL_OFFSET": "x"})):
        tags = {"GEOLOCATION": {"X_DATASET": "lon.tif", **offsets}}
        works("encode", write(tmp_path / f"{name}.tif", aerial(1, 80, 90), crs=None, transform=None, tags=tags))
        works("decode", tmp_path / f"{name}.dmen", "-o", tmp_path / "w.tif", "--window", "30,20,40,40", "--overwrite")
        with rasterio.open(tmp_path / "w.tif") as file:
            found = file.tags(ns="GEOLOCATION")
        expected = {"a": (-27, -19.5), "b": (-30, -20), "c": None}[name]
        moved = (float(found["PIXEL_OFFSET"]), float(found["LINE_OFFSET"])) if found else None
        assert moved == expected


def test_bytes_that_are_no_utf8_stay(tmp_path: Path) -> None:
    tags = {"": {"place": "Gel@nde", "TIFFTAG_ARTIST": "M@ller"}, "own": {"k@y": "val@"}}
    path = write(tmp_path / "a.tif", aerial(1, 40, 50), photometric="RGB", tags=tags)
    with rasterio.open(path, "r+") as file:
        file.set_band_description(1, "caf@")
        file.update_tags(2, name="gr@n")
    latin = path.read_bytes()
    for word in (b"Gel@nde", b"M@ller", b"k@y", b"val@", b"caf@", b"gr@n"):
        assert word in latin
        latin = latin.replace(word, word.replace(b"@", b"\xe4"))
    path.write_bytes(latin)
    found = round_trip(path, tmp_path).read_bytes()
    for word in (b">Gel\xe4nde<", b"M\xe4ller\0", b'"k\xe4y"', b">val\xe4<", b">caf\xe4<", b">gr\xe4n<"):
        assert word in found
    picture_back = round_trip(path, tmp_path, suffix=".png")
    assert b">caf\xe4<" in Path(f"{picture_back}.aux.xml").read_bytes()


def test_undefined_colours_and_band_tags_under_a_palette(tmp_path: Path) -> None:
    for count in (1, 3, 4):
        pixels = np.resize(aerial(1, 40, 50), (40, 50, count))
        path = write(tmp_path / "a.tif", pixels, colors=["undefined"] * count, photometric="MINISBLACK")
        (tmp_path / "b.tif").write_bytes(path.read_bytes())
        back = round_trip(path, tmp_path)
        with rasterio.open(path) as a, rasterio.open(back) as b:
            assert a.colorinterp == b.colorinterp
    path = write(tmp_path / "p.tif", aerial(1, 40, 50)[..., :1] // 64, photometric="PALETTE")
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {n: (n, 2 * n, 3 * n, 255) for n in range(4)})
        file.update_tags(1, crop="wheat")
        file.set_band_description(1, "classes")
    with rasterio.open(round_trip(path, tmp_path)) as file:
        assert [file.tags(n)["crop"] for n in (1, 2, 3)] == ["wheat"] * 3
        assert file.descriptions == ("classes",) * 3


def test_a_nodata_value_between_samples(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", aerial(1, 40, 50), photometric="RGB", nodata=0.5)
    for suffix in (".tif", ".png"):
        with rasterio.open(round_trip(path, tmp_path, suffix=suffix)) as file:
            assert file.nodatavals == (0.5, 0.5, 0.5)


# ---- what Pillow cannot read ---------------------------------------------------------------------------------


def test_bmp_with_bit_fields(tmp_path: Path) -> None:
    (tmp_path / "a.bmp").write_bytes(bit_fields())
    with rasterio.open(tmp_path / "a.bmp") as file:
        expected = file.read().transpose(1, 2, 0)
    np.testing.assert_array_equal(dmecodec.decode(dmecodec.encode(tmp_path / "a.bmp", max_error=0)), expected)


@pytest.mark.parametrize(("count", "dtype"), [(3, "uint8"), (4, "uint8"), (5, "uint8"), (1, "uint16"), (3, "uint16")])
def test_jpeg_2000_that_pillow_cannot_hold(tmp_path: Path, count: int, dtype: str) -> None:
    pixels = np.resize(aerial(1, 40, 50), (40, 50, count)).astype(dtype)
    with rasterio.open(tmp_path / "a.jp2", "w", driver="JP2OpenJPEG", width=50, height=40, count=count, dtype=dtype,
                       QUALITY="100", REVERSIBLE="YES") as file:  # fmt: skip
        file.write(pixels.transpose(2, 0, 1))
    found = dmecodec.decode(dmecodec.encode(tmp_path / "a.jp2", max_error=0))
    np.testing.assert_array_equal(found.reshape(pixels.shape), pixels)
    cut = tmp_path / "cut.jp2"
    cut.write_bytes((tmp_path / "a.jp2").read_bytes()[:-400])
    assert "cut.jp2" in refused("encode", cut)


@pytest.mark.parametrize(
    "options", [{"compress": "webp", "WEBP_LOSSLESS": "YES"}, {"bigtiff": "YES", "endianness": "BIG"}]
)
def test_tiffs_that_pillow_cannot_read(tmp_path: Path, options: dict[str, str]) -> None:
    pixels = aerial(1, 40, 50)
    path = write(tmp_path / "a.tif", pixels, photometric="RGB", crs=None, transform=None, **options)
    np.testing.assert_array_equal(dmecodec.decode(dmecodec.encode(path, max_error=0)), pixels)


@pytest.mark.parametrize("bits", [3, 5, 7])
def test_few_bits_are_refused_with_the_command_that_keeps_them(tmp_path: Path, bits: int) -> None:
    for options in ({}, {"crs": None, "transform": None}):
        path = write(tmp_path / "a.tif", np.ones((9, 9, 1), np.uint8), nbits=bits, **options)
        assert "gdal_translate -co NBITS=8 IN OUT.tif" in refused("encode", path)


@pytest.mark.parametrize("compress", ["LZW", "DEFLATE", "NONE"])
def test_grey_and_alpha_in_planes(tmp_path: Path, compress: str) -> None:
    pixels = in_mode(aerial(1, 40, 50), "LA")
    options = {"interleave": "BAND", "alpha": "YES", "compress": compress}
    path = write(tmp_path / "a.tif", pixels, crs=None, transform=None, **options)
    found = dmecodec.decode(dmecodec.encode(path, max_error=0))
    np.testing.assert_array_equal(found[..., 1], pixels[..., 1])
    np.testing.assert_array_equal(found[pixels[..., 1] > 0], pixels[pixels[..., 1] > 0])


def test_a_palette_that_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", aerial(1, 16, 16)[..., :1], colors=["palette"])
    with rasterio.open(round_trip(path, tmp_path)) as file:
        assert file.count == 1 and file.crs == UTM


# ---- the environment, and messages ---------------------------------------------------------------------------


def test_a_foreign_projection_database(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", aerial(1, 40, 50), photometric="RGB")
    for arguments in (("encode", path), ("decode", tmp_path / "a.dmen", "-o", tmp_path / "b.tif")):
        process = start(*arguments, PROJ_LIB=str(tmp_path), PROJ_DATA=str(tmp_path))
        _, err = process.communicate(timeout=100)
        assert process.returncode == 0 and b"damaged" not in err, err
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.crs is not None and "UTM zone 29N" in file.crs.to_wkt() and file.transform == PLACE


@pytest.mark.parametrize("skipped", ["COG", "GTiff"])
def test_drivers_that_are_skipped(tmp_path: Path, skipped: str) -> None:
    path = write(tmp_path / "a.tif", aerial(1, 40, 50), photometric="RGB")
    works("encode", path)
    process = start("decode", tmp_path / "a.dmen", "-o", tmp_path / "b.tif", GDAL_SKIP=skipped)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 1 and err.count(b"\n") == 1 and b"GDAL_SKIP" in err and b"Traceback" not in err


def test_nodata_on_the_command_line(tmp_path: Path) -> None:
    pixels = aerial(1, 40, 50)
    pixels[:9] = 7
    Image.fromarray(pixels).save(tmp_path / "a.png")
    write(tmp_path / "b.tif", pixels.astype(np.uint16), photometric="RGB")
    for name in ("a.png", "b.tif"):
        works("encode", tmp_path / name, "--nodata", 7)
        coded = tmp_path / name.replace(Path(name).suffix, ".dmen")
        with dmecodec.open(coded) as file:
            assert {band.nodata for band in file.layout.bands} == {7}
        found = dmecodec.decode(coded.read_bytes())
        np.testing.assert_array_equal(found == 7, pixels == 7)
        assert "between 0" in refused("encode", tmp_path / name, "--nodata", 70000, "--overwrite")
    assert dmecodec.decode(dmecodec.encode(tmp_path / "a.png", nodata=7))[0, 0, 0] == 7


def test_standard_error_has_no_warnings(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.jp2")
    (tmp_path / "a.wld").write_text("1\n0\n0\n1\n0.5\n0.5\n")
    plain = write(tmp_path / "b.tif", aerial(1, 40, 50).astype(np.uint16), crs=None, transform=None)
    for arguments in (("encode", path, plain), ("decode", tmp_path / "b.dmen", "-o", tmp_path / "c.tif")):
        process = start(*arguments, "--quiet")
        assert process.communicate(timeout=100)[1] == b"" and process.returncode == 0
    process = start("verify", "--original", plain, tmp_path / "b.dmen", "--quiet")
    assert process.communicate(timeout=100)[1] == b"" and process.returncode == 0


def test_verify_reads_with_the_other_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dmecodec.images import raster

    path = picture(tmp_path / "a.tif", "LA")
    with monkeypatch.context() as context:
        read = raster.PillowSource.read

        def misread(self: Any, box: Any, planes: Any) -> np.ndarray:
            pixels = read(self, box, planes)
            pixels[..., [n for n, plane in enumerate(planes) if plane == 1]] = 0
            return pixels

        context.setattr(raster.PillowSource, "read", misread)
        works("encode", path, "--max-error", 0)
        assert "levels off the original" in refused("verify", "--original", path, tmp_path / "a.dmen")
    works("encode", path, "--max-error", 0, "--overwrite")
    works("verify", "--original", path, tmp_path / "a.dmen")
