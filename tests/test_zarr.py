"""Chunks of zarr arrays: through numcodecs in format 2, through zarr's own codecs in format 3."""

from __future__ import annotations

import json
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DATA, aerial, in_mode, psnr

import dmecodec
from dmecodec.errors import DmecodecError, FormatError, ImageError, ModelError, OptionError
from dmecodec.plugins.chunks import image_shape

numcodecs = pytest.importorskip("numcodecs", reason="needs dmecodec[zarr]")
zarr = pytest.importorskip("zarr", minversion="3", reason="needs dmecodec[zarr]")

import dmecodec.numcodecs  # noqa: E402
import dmecodec.zarr  # noqa: E402


def v2(**options: Any) -> dict[str, Any]:
    return {"zarr_format": 2, "compressors": dmecodec.numcodecs.Dmecodec(**options)}


def v3(**options: Any) -> dict[str, Any]:
    return {"zarr_format": 3, "serializer": dmecodec.zarr.Dmecodec(**options), "compressors": None}


both = pytest.mark.parametrize("form", [v2, v3], ids=["format 2", "format 3"])


def make(path: Path, pixels: np.ndarray, chunks: tuple[int, ...], **options: Any) -> Any:
    array = zarr.create_array(path, shape=pixels.shape, chunks=chunks, dtype=pixels.dtype, fill_value=0, **options)
    array[...] = pixels
    return array


# ---- shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunk", "image"),
    [
        ((5, 6), (5, 6)), ((5, 3), (5, 3)), ((1, 1), (1, 1)), ((5, 6, 1), (5, 6, 1)), ((5, 6, 4), (5, 6, 4)),
        ((1, 5, 3), (1, 5, 3)), ((1, 5, 6), (5, 6)), ((1, 5, 6, 3), (5, 6, 3)), ((1, 1, 5, 6), (5, 6)),
        ((1, 1, 5, 6, 2), (5, 6, 2)), ((1, 1, 6, 3), (1, 6, 3)),
    ],
)  # fmt: skip
def test_shapes_that_are_images(chunk: tuple[int, ...], image: tuple[int, ...]) -> None:
    assert image_shape(chunk) == image


@pytest.mark.parametrize("chunk", [(), (5,), (3, 5, 6), (2, 5, 6, 3), (5, 6, 5), (5, 0), (0, 6, 3), (1, 6, 6, 0)])
def test_shapes_that_are_none(chunk: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="is no image: make chunks"):
        image_shape(chunk)


# ---- the codec of numcodecs -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a_chunk_is_a_dmen_file(mode: str) -> None:
    pixels = in_mode(aerial(80, 40, 50), mode)
    codec = dmecodec.numcodecs.Dmecodec(quality=6, tile=64)
    data = codec.encode(pixels[None])
    assert data == dmecodec.encode(pixels, 6, tile=64)
    expected = dmecodec.decode(data)
    for buffer in (data, bytearray(data), memoryview(data), np.frombuffer(data, np.uint8)):
        np.testing.assert_array_equal(codec.decode(buffer), expected)
    for out in (
        np.empty_like(pixels[None]),
        np.empty(pixels.size, np.uint8),
        bytearray(pixels.size),
    ):
        codec.decode(data, out=out)
        assert bytes(out) == expected.tobytes()


def test_a_lossless_chunk_and_less_effort() -> None:
    pixels = aerial(81, 40, 50)
    codec = dmecodec.numcodecs.Dmecodec(max_error=0)
    assert codec.get_config() == {"id": "dmecodec", "tile": 1024, "max_error": 0}
    assert codec.encode(pixels) == dmecodec.encode(pixels, max_error=0)
    np.testing.assert_array_equal(codec.decode(codec.encode(pixels)), pixels)
    quick = numcodecs.get_codec({"id": "dmecodec", "quality": 3, "effort": 0})
    assert quick.encode(pixels) == dmecodec.encode(pixels, 3, effort=0)


def test_settings_that_no_metadata_could_hold() -> None:
    with pytest.raises(OptionError, match="must be a name or a path"):
        dmecodec.numcodecs.Dmecodec(model=3)  # type: ignore[arg-type]
    codec = dmecodec.numcodecs.Dmecodec(max_error=np.uint8(200))  # type: ignore[arg-type]
    pixels = aerial(81, 40, 50)
    found = codec.decode(codec.encode(pixels)).astype(int)
    assert np.abs(found - pixels).max() <= 200


def test_what_is_no_chunk() -> None:
    codec = dmecodec.numcodecs.Dmecodec()
    wrong = {
        "chunks of uint16": np.zeros((20, 20), np.uint16),
        "chunks of bool": np.zeros((20, 20), bool),
        "is no image": np.zeros((7, 20, 20), np.uint8),
        "C order": np.zeros((20, 30, 3), np.uint8, order="F"),
    }
    for message, chunk in wrong.items():
        with pytest.raises(ImageError, match=message):
            codec.encode(chunk)
    with pytest.raises(ImageError, match="is no image"):
        codec.encode(b"bytes")
    data = codec.encode(np.zeros((20, 20), np.uint8))
    with pytest.raises(ImageError, match="out has 399 bytes, but the chunk has 400"):
        codec.decode(data, out=np.empty(399, np.uint8))
    fixed = np.empty((20, 20), np.uint8)
    fixed.flags.writeable = False
    strided = np.empty((20, 40), np.uint8)[:, ::2]
    for out in (strided, np.empty((20, 20), np.uint8, order="F"), fixed):
        with pytest.raises(ImageError, match="out is not C-contiguous"):
            codec.decode(data, out=out)
    with pytest.raises(OptionError, match="not contiguous"):
        codec.decode(np.frombuffer(data + data, np.uint8)[::2])
    with pytest.raises(FormatError):
        codec.decode(data[:-1])
    with pytest.raises(OptionError, match="quality 8"):
        dmecodec.numcodecs.Dmecodec(quality=8).encode(np.zeros((20, 20), np.uint8))


def test_a_file_of_16_bits_is_decoded_as_it_is() -> None:
    data = dmecodec.encode(aerial(80, 20, 30).astype(np.uint16))
    pixels = dmecodec.numcodecs.Dmecodec().decode(data)
    assert (pixels.dtype, pixels.shape) == (np.uint16, (20, 30, 3))


def test_the_configuration() -> None:
    codec = dmecodec.numcodecs.Dmecodec(np.float32(2.5), Path("m.safetensors"), tile=128, device="cpu")
    config = {"id": "dmecodec", "quality": 2.5, "tile": 128, "model": "m.safetensors"}
    assert codec.get_config() == config
    assert json.loads(json.dumps(config)) == config
    assert numcodecs.get_codec(config) == codec != dmecodec.numcodecs.Dmecodec()
    again = pickle.loads(pickle.dumps(codec))
    assert again == codec and again._settings.device == "cpu"
    assert repr(dmecodec.numcodecs.Dmecodec()) == "Dmecodec(quality=4.0, tile=1024)"


@pytest.mark.parametrize(
    "wrong",
    [{"quality": "high"}, {"quality": 9}, {"tile": "a"}, {"tile": 1000}, {"effort": 3}, {"max_error": 1.5}],
    ids=str,
)  # fmt: skip
def test_settings_that_no_chunk_could_have(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        dmecodec.numcodecs.Dmecodec(**wrong)


def test_a_model_in_no_known_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    path = DATA / "tiny.safetensors"
    codec = dmecodec.numcodecs.Dmecodec(model=path)
    monkeypatch.delenv("DMECODEC_MODELS")
    data = codec.encode(aerial(81, 20, 20))
    assert codec.decode(data).shape == (20, 20, 3)
    with pytest.raises(ModelError, match="not here"):
        dmecodec.numcodecs.Dmecodec().decode(data)


# ---- arrays ---------------------------------------------------------------------------------------


@both
def test_an_array_and_parts_of_it(tmp_path: Path, form: Any) -> None:
    pixels = aerial(82, 150, 200)
    make(tmp_path / "a", pixels, (64, 96, 3), **form(quality=6, tile=64))
    array = zarr.open_array(tmp_path / "a", mode="r")
    whole = array[...]
    assert whole.dtype == np.uint8 and psnr(whole, pixels) > 20
    for part in (np.s_[0:64, 0:96], np.s_[60:70, 90:200], np.s_[149, 199], np.s_[::7, ::5, 1]):
        np.testing.assert_array_equal(array[part], whole[part])
    first = dmecodec.encode(np.ascontiguousarray(pixels[:64, :96]), 6, tile=64)
    assert sum(p.is_file() and p.read_bytes() == first for p in (tmp_path / "a").rglob("*")) == 1
    # The last row of chunks is filled up with zeros.
    last = np.zeros((64, 96, 3), np.uint8)
    last[:22] = pixels[128:, 96:192]
    decoded = dmecodec.decode(dmecodec.encode(last, 6, tile=64))
    np.testing.assert_array_equal(whole[128:, 96:192], decoded[:22])


@both
def test_axes_before_rows_and_columns(tmp_path: Path, form: Any) -> None:
    times = np.stack([aerial(seed, 70, 64) for seed in (83, 84)])
    whole = make(tmp_path / "a", times, (1, 64, 64, 3), **form(quality=7))[...]
    assert whole.shape == times.shape and psnr(whole, times) > 20
    bands = np.ascontiguousarray(np.moveaxis(times[0], 2, 0))
    whole = make(tmp_path / "b", bands, (1, 64, 64), **form(quality=7))[...]
    assert whole.shape == bands.shape and psnr(whole, bands) > 20


def test_bands_first_in_one_chunk(tmp_path: Path) -> None:
    pixels = np.ascontiguousarray(np.moveaxis(aerial(85, 64, 70), 2, 0))
    filters = [zarr.codecs.TransposeCodec(order=(1, 2, 0))]
    make(tmp_path / "a", pixels, (3, 64, 64), filters=filters, **v3(quality=7))
    assert psnr(zarr.open_array(tmp_path / "a")[...], pixels) > 20
    with pytest.raises(ImageError, match=r"\(3, 64, 64\) is no image"):
        make(tmp_path / "b", pixels, (3, 64, 64), **v3())


def test_shards(tmp_path: Path) -> None:
    pixels = aerial(86, 128, 100)
    make(tmp_path / "a", pixels, (64, 64, 3), shards=(128, 128, 3), **v3(quality=7))
    array = zarr.open_array(tmp_path / "a")
    assert psnr(array[...], pixels) > 20
    np.testing.assert_array_equal(array[70:80, 10:20], array[...][70:80, 10:20])


@both
def test_the_metadata_of_an_array(tmp_path: Path, form: Any) -> None:
    make(tmp_path / "a", np.zeros((64, 64), np.uint8), (64, 64), **form(quality=3, device="cpu"))
    array = zarr.open_array(tmp_path / "a", mode="r+")
    array[...] = pixels = aerial(87, 64, 64)[..., 0]
    np.testing.assert_array_equal(array[...], dmecodec.decode(dmecodec.encode(pixels, 3)))
    stored = "".join(p.read_text() for p in (tmp_path / "a").glob("*z*") if p.suffix != ".dmen")
    assert '"quality": 3.0' in stored and "cpu" not in stored


@both
def test_an_array_of_another_type(tmp_path: Path, form: Any) -> None:
    with pytest.raises(ImageError, match="chunks of uint16 cannot be coded"):
        make(tmp_path / "a", np.ones((64, 64), np.uint16), (64, 64), **form())


def test_an_array_in_fortran_order(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="C order"):
        make(tmp_path / "a", aerial(1, 64, 64), (64, 64, 3), order="F", **v2())


@both
def test_a_damaged_chunk(tmp_path: Path, form: Any) -> None:
    make(tmp_path / "a", aerial(88, 64, 64), (64, 64, 3), **form())
    (chunk,) = (p for p in (tmp_path / "a").rglob("*") if p.is_file() and b"DMN" in p.read_bytes()[:4])
    good = chunk.read_bytes()
    chunk.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(DmecodecError, match="checksum"):
        zarr.open_array(tmp_path / "a")[...]
    if form is v3:
        chunk.write_bytes(dmecodec.encode(np.zeros((32, 32, 3), np.uint8)))
        with pytest.raises(FormatError, match=r"holds uint8 \(32, 32, 3\)"):
            zarr.open_array(tmp_path / "a")[...]


@both
def test_several_threads(tmp_path: Path, form: Any) -> None:
    pixels = aerial(89, 128, 128)
    array = make(tmp_path / "a", pixels, (64, 64, 3), **form())
    whole = array[...]
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda _: array[...], range(8)):
            np.testing.assert_array_equal(got, whole)


def test_nothing_warns(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module="zarr")
        make(tmp_path / "a", np.zeros((64, 64), np.uint8), (64, 64), **v2())
