"""Float and integer rasters of other types than uint8 and uint16: coded as 16 bits, decoded as their own type."""

from __future__ import annotations

import copy
import io
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import refused, works
from conftest import aerial

import dmecodec
from dmecodec.base.boxes import Box
from dmecodec.errors import FormatError, ImageError, OptionError
from dmecodec.format.layout import Band, Layout, parse_layout
from dmecodec.format.values import TYPES, ValueMap
from dmecodec.images.open import open_source
from dmecodec.images.options import ReadOptions

FLOATS = ("float16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint32", "uint64")


def terrain(dtype: str, height: int = 70, width: int = 80) -> np.ndarray:
    row, col = np.mgrid[:height, :width]
    hills = 40 * np.sin(col / 9) * np.cos(row / 13) + 0.01 * row + (0 if dtype[0] == "i" else 60)
    return hills.astype(dtype)


def opened(data: bytes) -> dmecodec.File:
    return dmecodec.File(io.BytesIO(data))


def scale_for(dtype: str) -> str | None:
    return None if dtype in ("int8", "int16") else "auto"


# ---- arrays ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("bound", [0, 3, None])
def test_types_come_back(dtype: str, bound: int | None) -> None:
    image = terrain(dtype)
    data = dmecodec.encode(image, scale=scale_for(dtype), max_error=bound)
    decoded = dmecodec.decode(data)
    assert decoded.dtype == dtype and decoded.shape == image.shape
    with opened(data) as file:
        (step,) = file.layout.step_sizes
        assert file.verify(original=image) <= (70000 if bound is None else bound)
    if bound is not None:
        error = np.abs(decoded.astype(float) - image.astype(float)).max()
        if dtype in FLOATS:
            ulp = float(np.spacing(np.abs(image).max()))
            assert error <= (bound + 0.5) * step + ulp
        else:
            assert step == 1 and error <= bound


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_every_value_of_a_small_type_is_kept_without_scale(dtype: str) -> None:
    limits = np.iinfo(dtype)
    values = np.arange(limits.min, limits.max + 1, dtype=np.int32)
    image = np.resize(values, (256, 256)).astype(dtype)
    np.testing.assert_array_equal(dmecodec.decode(dmecodec.encode(image, max_error=0)), image)
    for nodata in (limits.min, limits.max, -1):
        decoded = dmecodec.decode(dmecodec.encode(image, max_error=0, nodata=nodata))
        np.testing.assert_array_equal(decoded, image)
        lossy = dmecodec.decode(dmecodec.encode(image, 1, nodata=nodata))
        np.testing.assert_array_equal(lossy == nodata, image == nodata)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "uint64"])
@pytest.mark.parametrize("low", [0, 70000, 3_000_000_000])
def test_integers_that_span_16_bits_are_kept(dtype: str, low: int) -> None:
    if low > np.iinfo(dtype).max:
        low = -3_000_000 if dtype == "int32" else 0
    image = (np.resize(np.arange(65535), (64, 1024)) + low).astype(dtype)
    np.testing.assert_array_equal(dmecodec.decode(dmecodec.encode(image, scale="auto", max_error=0)), image)
    scale = int(image.min()), int(image.max())
    np.testing.assert_array_equal(dmecodec.decode(dmecodec.encode(image, scale=scale, max_error=0)), image)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("fill", [math.nan, math.inf, -math.inf, -9999.0, 20.0])
@pytest.mark.parametrize("bound", [0, 2, None])
def test_what_is_not_valid_comes_back_exactly(dtype: str, fill: float, bound: int | None) -> None:
    image = terrain(dtype)
    image[20:40, 30:] = fill
    nodata = None if not math.isfinite(fill) else fill
    decoded = dmecodec.decode(dmecodec.encode(image, scale="auto", nodata=nodata, max_error=bound))
    hidden = np.isnan(image) if math.isnan(fill) else image == image.dtype.type(fill)
    there = np.isnan(decoded) if math.isnan(fill) else decoded == image.dtype.type(fill)
    np.testing.assert_array_equal(there, hidden)
    assert np.isfinite(decoded[~hidden]).all()


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64"])
@pytest.mark.parametrize("nodata", [0, 5, 99999])
def test_nodata_of_integers(dtype: str, nodata: int) -> None:
    image = np.resize(np.arange(5, 2005), (80, 50)).astype(dtype)
    image[10:20] = nodata
    for options in ({"max_error": 0}, {"max_error": 4}, {"quality": 1}):
        decoded = dmecodec.decode(dmecodec.encode(image, scale="auto", nodata=nodata, **options))
        np.testing.assert_array_equal(decoded == nodata, image == nodata)
        if "max_error" in options:
            assert np.abs(decoded.astype(int) - image.astype(int)).max() <= options["max_error"]


def test_bands_have_maps_of_their_own() -> None:
    image = np.stack([terrain("float32") * 10**n + n for n in range(-3, 4)], 2)
    image[:5, :, 2], image[5:9, :, 4] = np.nan, -np.inf
    data = dmecodec.encode(image, scale="auto", max_error=0)
    decoded = dmecodec.decode(data)
    np.testing.assert_array_equal(np.isnan(decoded), np.isnan(image))
    np.testing.assert_array_equal(np.isinf(decoded), np.isinf(image))
    with opened(data) as file:
        steps = file.layout.step_sizes
        np.testing.assert_array_equal(file.read((3, 4, 20, 30)), decoded[4:34, 3:23])
        assert file.verify(original=image) == 0
    for n, step in enumerate(steps):
        where = np.isfinite(image[..., n])
        assert np.abs(decoded[..., n][where] - image[..., n][where]).max() <= step * 0.51 + 1e-6 * 10 ** (n - 3) * 100


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS)
@pytest.mark.parametrize("value", [0, 1, 100])
def test_a_constant_band_comes_back_exactly(dtype: str, value: int) -> None:
    image = np.full((20, 30), value, dtype)
    for quality in (0, 4):
        decoded = dmecodec.decode(dmecodec.encode(image, quality, scale=scale_for(dtype), max_error=0))
        np.testing.assert_array_equal(decoded, image)


@pytest.mark.parametrize("value", [1e-30, 1e30, 0.1, -3.4e38])
def test_a_constant_of_any_size(value: float) -> None:
    image = np.full((20, 30), value, np.float32)
    np.testing.assert_array_equal(dmecodec.decode(dmecodec.encode(image, scale="auto", max_error=0)), image)


def test_nothing_valid_at_all() -> None:
    image = np.full((70, 70), np.nan, np.float32)
    assert np.isnan(dmecodec.decode(dmecodec.encode(image, scale="auto"))).all()


def test_byte_order_and_views_do_not_matter() -> None:
    image = terrain("float32")
    expected = dmecodec.decode(dmecodec.encode(image, scale="auto"))
    for other in (image.astype(">f4"), np.asfortranarray(image), np.repeat(image, 2, 1)[:, ::2]):
        np.testing.assert_array_equal(dmecodec.decode(dmecodec.encode(other, scale="auto")), expected)


def test_a_nodata_value_that_no_sample_has_does_not_come_out_of_coding() -> None:
    image = np.resize(np.arange(0, 1000), (100, 100)).astype(np.float32)
    decoded = dmecodec.decode(dmecodec.encode(np.where(image == 500, 500.5, image), 0, scale="auto", nodata=500))
    assert not (decoded == 500).any()
    whole = np.where(image == 500, 501, image).astype(np.int32)
    for options in ({"quality": 0}, {"max_error": 3}):
        decoded = dmecodec.decode(dmecodec.encode(whole, scale="auto", nodata=500, **options))
        assert not (decoded == 500).any()
        if "max_error" in options:
            assert np.abs(decoded - whole).max() <= 3


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda image: image, {}, "array of float32: code it as 16 bits with '--scale auto'"),
        (lambda image: image, {"scale": (30, 200)}, r"has \d+ values outside 30,200 \(they reach from"),
        (lambda image: np.where(image > 99, np.where(image > 99.5, np.nan, np.inf), image), {"scale": "auto"},
         "NaN and infinity, of which one can"),
        (lambda image: np.where(image > 99, np.nan, image), {"scale": "auto", "nodata": 60},
         "has NaN and the nodata value 60"),
        (lambda image: np.where(image > 90, np.inf, np.where(image < 30, -np.inf, image)), {"scale": "auto"},
         "infinity and -infinity"),
        (lambda image: image.astype(complex), {"scale": "auto"}, "only numbers|complex"),
        (lambda image: image > 50, {}, "only numbers are coded"),
        (lambda image: (image * 2.0**60).astype(np.int64) + 2**60, {"scale": "auto"}, "beyond 2"),
        (lambda image: np.where(image > 60, 1.7e308, -1.7e308), {"scale": "auto"}, "more than float64 holds"),
    ],
)  # fmt: skip
def test_refusals_name_a_way_out(change: Any, options: dict[str, Any], message: str) -> None:
    image = change(terrain("float32"))
    with pytest.raises(ImageError, match=message) as caught:
        dmecodec.encode(image, **options)
    assert "\n" not in str(caught.value)


def test_the_count_of_values_outside_is_right() -> None:
    image = np.arange(100, dtype=np.float32).reshape(10, 10)
    with pytest.raises(ImageError, match=r"has 17 values outside 5,87.5 \(they reach from 0 to 99\)"):
        dmecodec.encode(image, scale=(5, 87.5))


@pytest.mark.parametrize("scale", ["all", (1,), (1, 2, 3), (2, 1), (0, math.nan), (0, math.inf), 5, ("a", "b")])
def test_scales_that_are_none(scale: object) -> None:
    with pytest.raises(OptionError, match="scale"):
        dmecodec.encode(terrain("float32"), scale=scale)


def test_scales_of_other_types() -> None:
    with pytest.raises(OptionError, match="these have 8"):
        dmecodec.encode(aerial(1, 20, 20), scale="auto")
    image = aerial(1, 64, 64).astype(np.uint16) * 100
    assert dmecodec.encode(image, scale="auto") == dmecodec.encode(image)
    with pytest.raises(OptionError, match="two samples of 16 bits"):
        dmecodec.encode(image, scale=(0.5, 100))


def test_masked_arrays() -> None:
    image = np.ma.masked_greater(terrain("float32"), 90)
    decoded = dmecodec.decode(dmecodec.encode(image, scale="auto", nodata=math.nan))
    np.testing.assert_array_equal(np.isnan(decoded), np.ma.getmaskarray(image))
    decoded = dmecodec.decode(dmecodec.encode(np.ma.masked_greater(terrain("int16"), 30), nodata=-9999))
    np.testing.assert_array_equal(decoded == -9999, terrain("int16") > 30)


# ---- arrays of others --------------------------------------------------------------------------------------------


class Wrapped:
    """What numpy makes an array of."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self._array


def test_arrays_of_other_libraries() -> None:
    import torch

    image = aerial(3, 40, 50)
    expected = dmecodec.encode(image)
    assert dmecodec.encode(Wrapped(image)) == expected
    assert dmecodec.encode(torch.from_numpy(image)) == expected
    assert dmecodec.encode(torch.from_numpy(image).permute(2, 0, 1), bands="first") == expected
    dask = pytest.importorskip("dask.array")
    assert dmecodec.encode(dask.from_array(image, chunks=20)) == expected
    with pytest.raises(ImageError, match=r"numpy makes no array of this Tensor: .*requires grad"):
        dmecodec.encode(torch.ones(20, 20, requires_grad=True), scale="auto")


def test_what_numpy_makes_no_array_of() -> None:
    class Bad:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            raise TypeError("not\ntoday")

    with pytest.raises(ImageError, match="numpy makes no array of this Bad: not today"):
        dmecodec.encode(Bad())
    with pytest.raises(ImageError, match="give a path, a binary file object, a Pillow image or an array"):
        dmecodec.encode([[1, 2], [3, 4]])


def test_an_open_file_is_pickled_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dmecodec.encode(aerial(3, 40, 50))
    monkeypatch.chdir(tmp_path)
    Path("a.dmen").write_bytes(data)
    with dmecodec.open("a.dmen", device="cpu") as file:
        stored = pickle.dumps(file)
        expected = file.read()
        with copy.copy(file) as other:
            np.testing.assert_array_equal(other.read(), expected)
    monkeypatch.chdir("/")
    with pickle.loads(stored) as again:
        np.testing.assert_array_equal(again.read(), expected)
    with pytest.raises(OptionError, match="no path to be pickled by"):
        pickle.dumps(opened(data))


# ---- files -------------------------------------------------------------------------------------------------------


def geotiff(path: Path, image: np.ndarray, **options: Any) -> None:
    rasterio = pytest.importorskip("rasterio")
    bands = image if image.ndim == 3 else image[None]
    place = rasterio.transform.from_origin(5e5, 4e6, 10, 10)
    with rasterio.open(
        path, "w", driver="GTiff", count=len(bands), height=bands.shape[1], width=bands.shape[2], dtype=bands.dtype,
        crs="EPSG:32633", transform=place, **options,
    ) as file:  # fmt: skip
        file.write(bands)


def read_back(path: Path) -> tuple[np.ndarray, Any]:
    import rasterio

    with rasterio.open(path) as file:
        return file.read(), (file.nodata, file.dtypes[0], file.crs.to_epsg())


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("nodata", [None, -9999, 7, math.nan, -3.4028234663852886e38])
def test_geotiffs_of_all_types(tmp_path: Path, dtype: str, nodata: float | None) -> None:
    pytest.importorskip("rasterio")
    if nodata is not None and (dtype not in FLOATS[1:]) and not (nodata == 7 or (nodata == -9999 and dtype == "int16")):
        pytest.skip("no such value of this type")
    image = terrain(dtype)
    if nodata is not None:
        image[10:30, 20:50] = nodata
    try:
        geotiff(tmp_path / "a.tif", image, nodata=nodata)
    except Exception:
        pytest.skip("this GDAL does not write the type")
    options = [] if scale_for(dtype) is None else ["--scale", "auto"]
    told = works("encode", tmp_path / "a.tif", "-o", tmp_path / "a.dmen", "--max-error", 0, *options)
    assert "a level is " in told.out
    works("verify", tmp_path / "a.dmen", "--original", tmp_path / "a.tif")
    works("decode", tmp_path / "a.dmen", "-o", tmp_path / "b.tif")
    (decoded,), facts = read_back(tmp_path / "b.tif")
    assert repr(facts) == repr(read_back(tmp_path / "a.tif")[1])
    with dmecodec.open(tmp_path / "a.dmen") as file:
        np.testing.assert_array_equal(file.read(), decoded)
        (step,) = file.layout.step_sizes
    hidden = np.zeros(image.shape, bool)
    if nodata is not None:
        hidden = np.isnan(image) if math.isnan(nodata) else image == image.dtype.type(nodata)
        np.testing.assert_array_equal(decoded[hidden], image[hidden])
    error = np.abs(decoded[~hidden].astype(float) - image[~hidden].astype(float)).max()
    assert error <= (0.51 * step + float(np.spacing(np.float32(200))) if dtype in FLOATS else 0)


@pytest.mark.filterwarnings("ignore")
def test_a_geotiff_of_floats_with_a_mask(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    image = np.stack([terrain("float32"), terrain("float32") * 2])
    image[:, :8] = 1e30  # under the mask, and no part of the range
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        geotiff(tmp_path / "a.tif", image)
        with rasterio.open(tmp_path / "a.tif", "r+") as file:
            file.write_mask(np.arange(70)[:, None].repeat(80, 1) >= 8)
    works("encode", tmp_path / "a.tif", "--scale", "auto", "--max-error", 0)
    works("decode", tmp_path / "a.dmen", "-o", tmp_path / "b.tif")
    decoded, _ = read_back(tmp_path / "b.tif")
    assert np.abs(decoded - image)[:, 8:].max() < 0.01
    with rasterio.open(tmp_path / "b.tif") as file:
        assert (file.read_masks(1)[:8] == 0).all() and file.read_masks(1)[8:].all()


def test_what_is_refused_of_files(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    geotiff(path, terrain("float32"))
    assert "--scale auto" in refused("encode", path)
    assert "values outside 0,60" in refused("encode", path, "--scale", "0,60")
    geotiff(path, terrain("float32").astype("complex64"))
    assert "DERIVED_SUBDATASET:REAL" in refused("encode", path)
    works_too = tmp_path / "b.tif"
    geotiff(works_too, terrain("float32"))
    works("encode", works_too, "--scale", "auto")
    message = refused("decode", tmp_path / "b.dmen", "-o", tmp_path / "b.png")
    assert "only a GeoTIFF can hold 1 bands of float32" in message
    geotiff(path, terrain("float64"))
    assert "unlike the file" in refused("verify", tmp_path / "b.dmen", "--original", path)


def test_info_and_skip_done(tmp_path: Path) -> None:
    image = np.stack([terrain("float32"), terrain("float32") * 3])
    image[0, :9] = np.nan
    geotiff(tmp_path / "a.tif", image, nodata=math.nan)
    arguments = ("encode", tmp_path / "a.tif", "--scale", "auto", "--skip-done")
    facts = json.loads(works(*arguments, "--json").out)
    steps = [pytest.approx(float(np.nanmax(band) - np.nanmin(band)) / 65534) for band in image]
    assert facts["steps"] == steps
    told = json.loads(works("info", tmp_path / "a.dmen", "--json").out)
    assert (told["type"], told["nodata"], told["steps"]) == ("float32", ["nan", "nan"], steps)
    assert "2 x float32 as 16 bits, a level is 0.00" in works("info", tmp_path / "a.dmen").out
    assert json.loads(works(*arguments, "--json").out)["skipped"]


@pytest.mark.parametrize("name", ["PNG", "JPEG"])
def test_a_scale_of_an_ordinary_image_is_refused(tmp_path: Path, name: str) -> None:
    from PIL import Image

    Image.fromarray(aerial(1, 20, 20)).save(tmp_path / "a.png", name)
    assert "these have 8" in refused("encode", tmp_path / "a.png", "--scale", "auto")


# ---- the stream --------------------------------------------------------------------------------------------------


def layout(**options: Any) -> Layout:
    given: dict[str, Any] = {"type": "float32", "scale": 0.25, "offset": -3.5} | options
    return Layout(16, (Band(65535, 0, 65534, ValueMap(**given)), Band(None, 5, 9, ValueMap(**given))), ((0, 1),))


@pytest.mark.parametrize(
    "options", [{}, {"fill": math.nan}, {"fill": -math.inf, "nodata": -9999.0}, {"type": "uint64", "nodata": 7.0}]
)
def test_maps_as_bytes(options: dict[str, Any]) -> None:
    made = layout(**options)
    again = parse_layout(made.to_bytes(), 1)
    assert again == made and hash(again.bands[0].values) == hash(made.bands[0].values)
    assert again.value_type == made.value_type and again.step_sizes == (0.25, 0.25)
    for length in range(len(made.to_bytes())):
        with pytest.raises(FormatError):
            parse_layout(made.to_bytes()[:length], 1)


def test_maps_that_are_none() -> None:
    data = bytearray(layout().to_bytes())
    place = data.index(bytes([TYPES.index("float32"), 0]))
    for at, value, message in ((place, 99, "newer"), (place + 1, 4, "newer")):
        changed = bytearray(data)
        changed[at] = value
        with pytest.raises(FormatError, match=message):
            parse_layout(bytes(changed), 1)
    for options in ({"scale": 0.0}, {"scale": math.nan}, {"scale": -1.0}, {"offset": math.inf}, {"type": "bool"}):
        with pytest.raises(FormatError):
            layout(**options)
    other = ValueMap("int16", 1.0, 0.0)
    with pytest.raises(FormatError, match="different types"):
        Layout(16, (Band(values=other), Band()), ((0, 1),))
    with pytest.raises(FormatError, match="different types"):
        Layout(8, (Band(values=other),), ((0,),))


def test_sixty_four_bands_fit_the_stream() -> None:
    image = np.stack([terrain("float64", 16, 16) + n for n in range(64)], 2)
    image[:2] = np.nan
    source = open_source(image, ReadOptions.checked(scale="auto", nodata=math.nan, bands="last"))
    parse_layout(source.layout.to_bytes(), len(source.layout.groups))
    assert source.read(Box(0, 0, 16, 16), [0, 63]).dtype == np.uint16
