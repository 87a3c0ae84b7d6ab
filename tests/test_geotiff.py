"""GeoTIFFs there and back: what is said of the pixels stays."""

from __future__ import annotations

import io
import json
import math
import os
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from command import one_line, refused, start, works
from conftest import DATA, aerial, in_mode, psnr

import dmecodec
from dmecodec.errors import FormatError, ImageError, OptionError
from dmecodec.format.kinds import Kind
from dmecodec.format.layout import Alpha
from dmecodec.format.reader import Reader

rasterio = pytest.importorskip("rasterio")

from affine import Affine  # noqa: E402
from geotiff_files import PLACE, RPC, SHARED, UTM, round_trip, same_but_for_pixels, write  # noqa: E402
from rasterio.control import GroundControlPoint  # noqa: E402
from rasterio.crs import CRS  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),  # of affine 3
]

# ---- round trips -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(SHARED.glob("*.tif")), ids=lambda path: path.stem)
def test_files_of_the_world(tmp_path: Path, path: Path) -> None:
    """A part of each, for time; the model is the tiny one."""
    copy = tmp_path / path.name
    with rasterio.open(path) as file:
        window = rasterio.windows.Window(0, 0, min(file.width, 200), min(file.height, 130))
        profile = file.profile | {"width": window.width, "height": window.height}
        profile |= {"blockxsize": 256, "blockysize": 256, "tiled": True}
        with rasterio.open(copy, "w", **profile) as part:
            part.write(file.read(window=window))
            part.colorinterp = file.colorinterp
            part.update_tags(**file.tags())
    before, after = same_but_for_pixels(copy, round_trip(copy, tmp_path))
    with rasterio.open(copy) as file:
        if file.nodata is not None:
            np.testing.assert_array_equal(before == file.nodata, after == file.nodata)
        if "alpha" in {color.name for color in file.colorinterp}:
            np.testing.assert_array_equal(before[3], after[3])
    scale = 255 / np.ptp(before[:3]) if before.dtype == np.uint16 else 1
    assert psnr(after[:3] * scale, before[:3] * scale) > 18


def test_everything_that_is_said(tmp_path: Path) -> None:
    tags = {
        "": {"AREA_OR_POINT": "Point", "TIFFTAG_SOFTWARE": "me", "key": "Stra\u00dfe = 7"},
        "RPC": RPC,
    }
    path = write(
        tmp_path / "a.tif",
        aerial(1, 90, 120),
        tags=tags,
        photometric="RGB",
        crs=None,
        transform=None,
    )
    with rasterio.open(path, "r+") as file:
        file.set_band_description(2, "vert")
        file.units, file.scales, file.offsets = ("m", None, None), (0.5, 1, 1), (3, 0, 0)
        file.update_tags(3, wavelength="480")
    same_but_for_pixels(path, round_trip(path, tmp_path))
    path = write(tmp_path / "b.tif", aerial(1, 90, 120), tags={"own": {"a": "b"}}, photometric="RGB")
    same_but_for_pixels(path, round_trip(path, tmp_path))


def test_tags_in_namespaces_and_of_bands_together(tmp_path: Path) -> None:
    tags = {"": {"key": "1"}, "own": {"a": "b", "c": "<d>"}, "other": {"e": "f"}, "RPC": RPC}
    path = write(tmp_path / "a.tif", aerial(1, 600, 520), tags=tags, crs=None, transform=None)
    with rasterio.open(path, "r+") as file:
        file.update_tags(1, wavelength="480", of='"red"')
        file.update_tags(2, ns="own", g="h")
        file.update_tags(3, ns="own", i="j")
        file.update_tags(3, wavelength="660")
        file.set_band_description(3, "blue")
    same_but_for_pixels(path, round_trip(path, tmp_path))
    assert b"dmecodec" not in round_trip(path, tmp_path).read_bytes()


@pytest.mark.parametrize(
    ("count", "dtype", "options", "reason"),
    [
        (1, "uint8", {"photometric": "MINISWHITE"}, "0 for white"),
        (1, "uint16", {"photometric": "MINISWHITE"}, "0 for white"),
        (4, "uint8", {"photometric": "RGB", "alpha": "PREMULTIPLIED"}, "multiplied by alpha"),
        (4, "uint16", {"photometric": "RGB", "alpha": "PREMULTIPLIED"}, "multiplied by alpha"),
        (4, "uint8", {"photometric": "CMYK"}, "CMYK"),
        (3, "uint8", {"photometric": "CIELAB"}, "CIELab"),
    ],
)
def test_colours_that_rasterio_would_change(
    tmp_path: Path, count: int, dtype: str, options: dict[str, str], reason: str
) -> None:
    pixels = np.resize(aerial(1, 64, 64), (64, 64, count)).astype(dtype)
    path = write(tmp_path / "a.tif", pixels, **options)
    assert reason in refused("encode", path, "-o", tmp_path / "a.dmen")


@pytest.mark.skipif(os.name == "nt", reason="names there are Unicode")
def test_a_folder_that_is_no_utf8(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", aerial(1, 64, 64))
    works("encode", path, "-o", tmp_path / "a.dmen")
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    assert "name is no UTF-8" in refused("decode", tmp_path / "a.dmen", "-o", folder / "a.tif")
    assert not list(folder.iterdir())


def test_a_description_that_is_no_utf8(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", aerial(1, 64, 64))
    with rasterio.open(path, "r+") as file:
        file.set_band_description(1, "MARK")
    path.write_bytes(path.read_bytes().replace(b"MARK", b"caf\xe9"))
    assert b">caf\xe9<" in round_trip(path, tmp_path).read_bytes()


@pytest.mark.parametrize("key", ["ns", "bidx"])
def test_tags_with_names_of_rasterios_arguments(tmp_path: Path, key: str) -> None:
    mark = "MARK"[: len(key)]
    path = write(tmp_path / "a.tif", aerial(1, 64, 64), tags={"": {mark: "1", "kept": "2"}})
    with rasterio.open(path, "r+") as file:
        file.update_tags(1, **{mark: "3", "kept": "4"})
    path.write_bytes(path.read_bytes().replace(f'"{mark}"'.encode(), f'"{key}"'.encode()))
    with rasterio.open(path) as file:
        assert file.tags()[key] == "1" and file.tags(1)[key] == "3"
    with rasterio.open(round_trip(path, tmp_path)) as file:
        assert file.tags()["kept"] == "2" and file.tags(1)["kept"] == "4"
        assert file.tags()[key] == "1" and file.tags(1)[key] == "3"


@pytest.mark.parametrize("point", ["Area", "Point"])
@pytest.mark.parametrize("photometric", ["RGB", "MINISBLACK"])
def test_control_points_of_no_crs(tmp_path: Path, point: str, photometric: str) -> None:
    path = write(tmp_path / "a.tif", aerial(2, 90, 120), crs=None, transform=None, photometric=photometric,
        tags={"": {"AREA_OR_POINT": point}}, gcps_crs=CRS(),
        gcps=[GroundControlPoint(row, col, col, -row) for row, col in ((0, 0), (0, 120), (45.5, 60.25))],
    )  # fmt: skip
    decoded = round_trip(path, tmp_path)
    same_but_for_pixels(path, decoded)
    with rasterio.open(decoded) as file:
        assert len(file.gcps[0]) == 3
        assert point == "Point" or file.gcps[1] is None  # GDAL makes up a local one for the former


@pytest.mark.parametrize("point", ["Area", "Point"])
def test_control_points_and_what_a_pixel_is(tmp_path: Path, point: str) -> None:
    corners = [(0, 0), (0, 120), (90, 0), (90, 120), (45.5, 60.25)]
    gcps = [GroundControlPoint(row, col, 10 + col / 100, 50 - row / 100, 5) for row, col in corners]
    tags = {"": {"AREA_OR_POINT": point}}
    path = write(tmp_path / "a.tif", aerial(2, 90, 120), tags=tags, gcps=gcps, crs=None, transform=None)
    same_but_for_pixels(path, round_trip(path, tmp_path))
    path = write(tmp_path / "b.tif", aerial(2, 90, 120), tags=tags)
    same_but_for_pixels(path, round_trip(path, tmp_path))
    turned = PLACE * Affine.rotation(30)
    path = write(tmp_path / "c.tif", aerial(2, 90, 120), tags=tags, transform=turned)
    with rasterio.open(round_trip(path, tmp_path)) as file:
        assert file.transform.almost_equals(turned, 1e-6)


@pytest.mark.parametrize(
    ("name", "bands", "dtype", "options", "mode"),
    [
        ("grey", 1, "uint8", {}, "L"),
        ("rgb", 3, "uint8", {"photometric": "RGB"}, "RGB"),
        ("rgb nodata", 3, "uint8", {"photometric": "RGB", "nodata": 255}, "BANDS"),
        ("grey nodata", 1, "uint8", {"nodata": 7}, "BANDS"),
        ("rgba", 4, "uint8", {"photometric": "RGB", "colors": ["red", "green", "blue", "alpha"]}, "RGBA"),
        ("rgbn", 4, "uint8", {"photometric": "RGB", "colors": ["red", "green", "blue", "undefined"]}, "BANDS"),
        ("bgrn", 4, "uint16", {"colors": ["blue", "green", "red", "gray"]}, "BANDS"),
        ("16 bit", 1, "uint16", {"nodata": 0}, "BANDS"),
        ("six", 6, "uint16", {"nodata": 65535}, "BANDS"),
        ("masked", 3, "uint8", {"mask": True}, "BANDS"),
        ("masked nodata", 3, "uint16", {"mask": True, "nodata": 9}, "BANDS"),
        ("alpha first", 4, "uint8", {"colors": ["alpha", "red", "green", "blue"]}, "BANDS"),
        ("alpha 16", 4, "uint16", {"photometric": "RGB", "colors": ["red", "green", "blue", "alpha"]}, "BANDS"),
        ("nodata of no sample", 3, "uint8", {"photometric": "RGB"}, "RGB"),
    ],
)  # fmt: skip
def test_kinds_of_files(tmp_path: Path, name: str, bands: int, dtype: str, options: dict[str, Any], mode: str) -> None:
    height, width = 100, 130
    pixels = np.concatenate([aerial(3, height, width)] * 2, 2)[..., :bands].astype(dtype)
    if dtype == "uint16":
        pixels *= 201
    gone = np.add.outer(np.arange(height), np.arange(width)) > 120
    colors = options.get("colors", [])
    if "nodata" in options:
        pixels[gone] = options["nodata"]
    if "alpha" in colors:
        pixels[..., colors.index("alpha")] = np.where(gone, 0, np.iinfo(dtype).max)
        if dtype == "uint8":
            pixels[..., colors.index("alpha")] = in_mode(aerial(3, height, width), "LA")[..., 1]
    if options.get("mask"):
        options = options | {"mask": np.where(gone, 0, 255).astype(np.uint8)}
    path = write(tmp_path / "a.tif", pixels, **options)
    before, after = same_but_for_pixels(path, round_trip(path, tmp_path))
    assert Reader((tmp_path / "a.dmen").read_bytes()).header.mode == mode
    for n, color in enumerate(colors):
        if color == "alpha":
            np.testing.assert_array_equal(before[n], after[n])
    if "nodata" in options:
        np.testing.assert_array_equal(before == options["nodata"], after == options["nodata"])
    valid = before != options.get("nodata", -1)
    scale = 201 if dtype == "uint16" else 1
    assert psnr(after[valid] / scale, before[valid] / scale) > 17 or "masked" in name or colors


def test_red_green_and_blue_are_coded_together_wherever_they_are(tmp_path: Path) -> None:
    pixels = np.concatenate([aerial(4, 80, 90)[..., ::-1], aerial(5, 80, 90)], 2)
    colors = ["blue", "green", "red", "gray", "undefined", "undefined"]
    data = dmecodec.encode(write(tmp_path / "a.tif", pixels, colors=colors))
    with dmecodec.File(io.BytesIO(data)) as file:
        assert file.layout.groups[0] == (2, 1, 0)


def test_a_palette_becomes_colours(tmp_path: Path) -> None:
    index = (aerial(6, 60, 70)[..., :1] // 64).astype(np.uint8)
    path = write(tmp_path / "a.tif", index, photometric="PALETTE")
    colours = {
        0: (10, 20, 30, 255),
        1: (90, 80, 70, 255),
        2: (200, 10, 10, 255),
        3: (0, 255, 0, 255),
    }
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, colours)
    decoded = round_trip(path, tmp_path)
    with rasterio.open(decoded) as file:
        assert file.count == 3 and file.crs == UTM and file.transform == PLACE
        assert [color.name for color in file.colorinterp] == ["red", "green", "blue"]
    with rasterio.open(path, "r+") as file:
        file.nodata = 0
    with rasterio.open(round_trip(path, tmp_path, lossless=True)) as file:  # the index becomes a mask
        np.testing.assert_array_equal(file.dataset_mask(), np.where(index[..., 0] == 0, 0, 255))
        table = np.array([[0, 0, 0], *[colours[n][:3] for n in (1, 2, 3)]])
        np.testing.assert_array_equal(file.read().transpose(1, 2, 0), table[index[..., 0]])


# ---- windows ---------------------------------------------------------------------------------------


def test_windows_and_bounds(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", aerial(7, 100, 150), photometric="RGB", tags={"RPC": RPC})
    works("encode", path, "-q", 5)
    whole = dmecodec.decode((tmp_path / "a.dmen").read_bytes())
    bounds = "500200,3999300,500700,3999800"
    for name, option in (("w.tif", ["--window", "20,20,50,50"]), ("b.tif", ["--bounds", bounds])):
        works("decode", tmp_path / "a.dmen", "-o", tmp_path / name, *option)
        with rasterio.open(tmp_path / name) as file:
            assert (file.width, file.height) == (50, 50)
            assert file.transform == PLACE * Affine.translation(20, 20)
            assert tuple(file.bounds) == (500200, 3999300, 500700, 3999800)
            assert file.tags(ns="RPC")["LINE_OFF"] == file.tags(ns="RPC")["SAMP_OFF"] == "-13"
            part = file.read().transpose(1, 2, 0).astype(int)
        assert abs(part - whole[20:70, 20:70]).max() <= 1
    for wrong in ("0,0,1,1", "5,5,4,4", "nan,0,1,1", "1,2,3", "a,b,c,d"):
        option = ["decode", tmp_path / "a.dmen", "-o", tmp_path / "c.tif", "--bounds", wrong]
        message = refused(*option)
        assert "bounds" in message or "WEST" in message
    assert "not both" in refused("decode", tmp_path / "a.dmen", "--window", "0,0,1,1", "--bounds", bounds)
    plain = tmp_path / "plain.dmen"
    plain.write_bytes((DATA / "rgb_q4.dmen").read_bytes())
    assert "no transform" in refused("decode", plain, "--bounds", bounds)


# ---- the GEO stream --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"crs": "nonsense"}',
        '{"transform": [0, 0, 0, 0, 0, 0]}',
        '{"bands": [{"color": "ultraviolet"}, {}, {}]}',
        '{"gcps": [[0, 0, 0, 0, 0]], "gcp_crs": "nonsense"}',
        '{"tags": {"IMAGE_STRUCTURE": {"NBITS": "1"}, "xml:x": {"": ""}, "": {"": "="}}}',
    ],
)
def test_an_absurd_record_is_no_traceback(tmp_path: Path, text: str) -> None:
    """The pixels can still be had."""
    from test_bands import changed

    path = write(tmp_path / "a.tif", aerial(8, 40, 50), photometric="RGB")
    data = changed(dmecodec.encode(path), {(-1, 0, Kind.GEO): zlib.compress(text.encode())})
    (tmp_path / "a.dmen").write_bytes(data)
    assert dmecodec.decode(data).shape == (40, 50, 3)
    works("decode", tmp_path / "a.dmen", "-o", tmp_path / "a.png")
    works("decode", tmp_path / "a.dmen", "-o", tmp_path / "plain.tif", "--no-geo")
    try:
        with dmecodec.File(io.BytesIO(data)) as file:
            file.save(tmp_path / "b.tif")
    except (FormatError, dmecodec.errors.OutputError) as error:
        assert "\n" not in str(error)
    assert not list(tmp_path.glob(".dmecodec-*"))


def test_info_shows_where_it_lies_without_rasterio(tmp_path: Path) -> None:
    from test_imports import imported_by

    path = write(tmp_path / "a.tif", aerial(9, 40, 50), nodata=0)
    works("encode", path)
    modules = imported_by(tmp_path, "info", tmp_path / "a.dmen")
    assert not {"rasterio", "torch", "numpy"} & modules
    text = works("info", tmp_path / "a.dmen").out
    assert "WGS 84 / UTM zone 29N (EPSG:32629)" in text
    assert "500000, 3999600, 500500, 4000000" in text
    facts = json.loads(works("info", "--json", tmp_path / "a.dmen").out)
    assert facts["epsg"] == 32629 and facts["bounds"] == [500000, 3999600, 500500, 4000000]


def test_metadata_of_pictures_stays(tmp_path: Path) -> None:
    from PIL import Image, ImageCms

    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a b="c"/></x:xmpmeta>'
    Image.fromarray(aerial(1, 40, 50)).save(tmp_path / "p.tif", icc_profile=icc, tiffinfo={700: xmp})
    with rasterio.open(tmp_path / "p.tif", "r+") as file:
        file.crs, file.transform = UTM, PLACE
    with Image.open(round_trip(tmp_path / "p.tif", tmp_path)) as picture:
        assert picture.info["icc_profile"] == icc and picture.tag_v2[700] == xmp


# ---- rio -------------------------------------------------------------------------------------------


def test_rio_dmen(tmp_path: Path) -> None:
    from dmecodec.plugins.rio import dmen

    path = write(tmp_path / "a.tif", aerial(1, 40, 50), photometric="RGB")
    runner = CliRunner()
    done = runner.invoke(dmen, ["encode", str(path)])
    assert done.exit_code == 0, done.output
    done = runner.invoke(dmen, ["decode", str(tmp_path / "a.dmen"), "-o", str(tmp_path / "b.tif")])
    assert done.exit_code == 0, done.output
    assert "EPSG:32629" in runner.invoke(dmen, ["info", str(tmp_path / "a.dmen")]).output
    for wrong in (["encode", str(tmp_path / "no.tif")], ["info", str(path)]):
        done = runner.invoke(dmen, wrong)
        assert done.exit_code == 1 and "Traceback" not in done.output
    project = (Path(dmecodec.__file__).parents[1] / "pyproject.toml").read_text()
    assert '[project.entry-points."rasterio.rio_plugins"]\ndmen = "dmecodec.plugins.rio:dmen"' in project


def test_a_mask_is_no_band(tmp_path: Path) -> None:
    mask = np.full((40, 50), 255, np.uint8)
    mask[:, 25:] = 0
    data = dmecodec.encode(write(tmp_path / "a.tif", aerial(1, 40, 50), mask=mask))
    with dmecodec.File(io.BytesIO(data)) as file:
        assert file.layout.alpha is Alpha.MASK
        assert file.read().shape == (40, 50, 3) and not file.read()[:, 25:].any()
        file.save(tmp_path / "a.png")  # where it becomes alpha
    from PIL import Image

    with Image.open(tmp_path / "a.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture)[..., 3], mask)


def test_errors_name_the_image(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.ones((9, 9, 1), np.float32))
    with pytest.raises(ImageError, match=r"a\.tif: has 32-bit"):
        dmecodec.encode(path)
    with pytest.raises(OptionError):
        dmecodec.encode(write(tmp_path / "b.tif", np.ones((9, 9, 1), np.uint16)), scale=(5, math.pi))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_verify_against_an_original_with_a_mask(tmp_path: Path, kind: type) -> None:
    pixels = aerial(75, 40, 70).astype(kind)
    mask = np.full((40, 70), 255, np.uint8)
    mask[:, :20] = 0
    path = write(tmp_path / "a.tif", pixels, mask=mask)
    works("encode", path, "--max-error", 2)
    assert "ok, valid samples at most 2 levels" in works("verify", "--original", path, tmp_path / "a.dmen").out
    mask[5, 30] = 0
    other = write(tmp_path / "b.tif", pixels, mask=mask)
    assert "column 30, row 5 is 255 levels" in refused("verify", "--original", other, tmp_path / "a.dmen")


def test_verify_against_the_pixels_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", aerial(76, 40, 70), nodata=0)
    works("encode", path, "--max-error", 0, "--no-geo")
    works("verify", "--original", path, tmp_path / "a.dmen")


# ---- samples alone, and what others print ---------------------------------------------------------------------------


def test_sixteen_bits_without_what_is_said_of_the_ground(tmp_path: Path) -> None:
    pixels = (aerial(3, 60, 70).astype(np.uint16) + 5) * 40
    path = write(tmp_path / "a.tif", pixels, photometric="RGB", nodata=400)
    works("encode", path, "--no-geo", "--max-error", 9)
    with dmecodec.open(tmp_path / "a.dmen") as file:
        assert Kind.GEO not in file.header.kinds
        assert [band.nodata for band in file.layout.bands] == [None] * 3
        assert np.abs(file.read().astype(int) - pixels).max() <= 9


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_on_standard_error_stand_our_lines_alone(tmp_path: Path) -> None:
    """Neither rasterio's warning of a file without transform, nor what libtiff says of a full disk."""
    pixels = (aerial(3, 200, 220).astype(np.uint16) + 5) * 40
    works("encode", write(tmp_path / "a.tif", pixels, crs=None, transform=None))
    process = start("decode", tmp_path / "a.dmen", "-o", tmp_path / "b.tif")
    _, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (0, b"")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))"
    process = start("decode", tmp_path / "a.dmen", "-o", tmp_path / "c.tif", before=limit)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 1 and "is the disk full?" in one_line(err.decode())
    assert {path.name for path in tmp_path.iterdir()} == {"a.tif", "a.dmen", "b.tif"}
