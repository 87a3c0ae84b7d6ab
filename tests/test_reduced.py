"""Decoding at a reduced resolution: sizes, seams, means, masks, georeference."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import refused, works
from conftest import DATA, aerial, in_mode, psnr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import dmecodec
import dmecodec.pillow
from dmecodec.bounded.linear import GREY_BITS, LinearBase
from dmecodec.codec import decoder, reduced
from dmecodec.codec.colour import corrected
from dmecodec.codec.synthesis import linear_image
from dmecodec.errors import OptionError
from dmecodec.format.geo import BandRecord, GeoRecord
from dmecodec.weights.model import Model

POWERS = range(1, 6)


def means(x: np.ndarray, power: int) -> np.ndarray:
    """Means of (h, w, ...) over squares; the last row and column of squares may be smaller."""
    rows, cols = (range(0, side, 1 << power) for side in x.shape[:2])
    side = 1 << power
    return np.array([[x[r : r + side, c : c + side].mean((0, 1)) for c in cols] for r in rows])


def linear(data: bytes, tiny: Model) -> np.ndarray:
    """The linear path of a whole RGB file, clamped: float64 (h, w, 3) in levels."""
    y, _ = dmecodec.latents(data)
    with dmecodec.File(io.BytesIO(data)) as file, torch.inference_mode():
        header = file.header
        x = linear_image(tiny, torch.from_numpy(y)[None], header.quality)[0]
        x = corrected(tiny, x, header.quality).permute(1, 2, 0).numpy()
    return (x[: header.height, : header.width].astype(float) * 255).clip(0, 255)


# ---- sizes, windows and seams ----------------------------------------------------------------------------------


@given(st.data(), st.sampled_from(POWERS))
@settings(max_examples=25)
def test_windows_are_parts_of_the_whole(tiled: bytes, data: Any, power: int) -> None:
    col, row = data.draw(st.integers(0, 149)), data.draw(st.integers(0, 204))
    width, height = data.draw(st.integers(1, 150 - col)), data.draw(st.integers(1, 205 - row))
    whole = dmecodec.decode(tiled, reduce=power)
    assert whole.shape == (-(-205 // 2**power), -(-150 // 2**power), 3)
    part = dmecodec.decode(tiled, window=(col, row, width, height), reduce=power)
    left, top = col >> power, row >> power
    assert part.shape == (-(-(row + height) // 2**power) - top, -(-(col + width) // 2**power) - left, 3)
    expected = whole[top : top + part.shape[0], left : left + part.shape[1]].astype(int)
    assert abs(part - expected).max() <= 1


@pytest.fixture(scope="module")
def tiled() -> bytes:
    return dmecodec.encode(aerial(60, 205, 150), 4, tile=64)


@pytest.mark.parametrize("power", POWERS)
def test_means_of_the_linear_path_without_seams(power: int, tiled: bytes, tiny: Model) -> None:
    expected = means(linear(tiled, tiny), power)
    assert abs(dmecodec.decode(tiled, reduce=power) - expected).max() < 0.6


def test_blocks_are_seamless_too(tiny: Model) -> None:
    image = np.tile(aerial(61, 64, 256), (1, 5, 1))  # 1280 wide: two blocks
    data = dmecodec.encode(image, 4, tile=512)
    expected = means(linear(data, tiny), 2)
    assert abs(dmecodec.decode(data, reduce=2) - expected).max() < 0.6


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (90, 90, 90), (200, 30, 60)])
def test_flat_colours_keep_their_mean(colour: tuple[int, int, int]) -> None:
    data = dmecodec.encode(np.broadcast_to(np.uint8(colour), (96, 96, 3)).copy(), 4, tile=64)
    whole = abs(dmecodec.decode(data).astype(int) - colour).max()
    for power in POWERS:
        assert abs(dmecodec.decode(data, reduce=power).astype(int) - colour).max() <= whole + 3


def test_it_looks_like_the_reduced_original(tiled: bytes) -> None:
    original = aerial(60, 205, 150).astype(float)
    for power in POWERS:
        wanted = means(original, power)
        whole = psnr(means(dmecodec.decode(tiled).astype(float), power), wanted)
        assert psnr(dmecodec.decode(tiled, reduce=power), wanted) > min(whole - 4, 30)


def test_no_synthesis_runs(tiled: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "synthesise", lambda *_: pytest.fail("the network ran"))
    assert dmecodec.decode(tiled, reduce=1).shape == (103, 75, 3)


def test_zero_is_the_whole_resolution(tiled: bytes) -> None:
    np.testing.assert_array_equal(dmecodec.decode(tiled, reduce=0), dmecodec.decode(tiled))


@pytest.mark.parametrize("reduce", [-1, 6, 1.5, "a", None])
def test_impossible_reductions(reduce: Any, tiled: bytes) -> None:
    with pytest.raises(OptionError, match=r"reduce .*: must be an integer from 0 to 5"):
        dmecodec.decode(tiled, reduce=reduce)


def test_a_model_without_linear_path_is_decoded_whole() -> None:
    data = (DATA / "paper_q5.dmen").read_bytes()
    expected = means(dmecodec.decode(data).astype(float), 2)
    assert abs(dmecodec.decode(data, reduce=2) - expected).max() < 1.1


def test_an_image_of_one_pixel() -> None:
    data = dmecodec.encode(np.full((1, 1), 77, np.uint8))
    assert [dmecodec.decode(data, reduce=power).shape for power in POWERS] == [(1, 1)] * 5


# ---- files with a bound ----------------------------------------------------------------------------------------


def test_a_bounded_file_is_read_from_its_base(tiny: Model, tmp_path: Path) -> None:
    data = dmecodec.encode(aerial(62, 150, 140), 4, max_error=1, tile=64)
    y, _ = dmecodec.latents(data)
    base = LinearBase(tiny, 4 * 32)
    tiles = [
        [base.image(y[:, row : row + 4, col : col + 4]) for col in range(0, 9, 4)] for row in range(0, 10, 4)
    ]  # the base of a tile uses nothing of other tiles
    image = np.concatenate([np.concatenate(row, 1) for row in tiles], 0)[:150, :140]
    levels = ((image + (1 << GREY_BITS - 1)) >> GREY_BITS).clip(0, 255)
    for power in POWERS:
        np.testing.assert_array_equal(dmecodec.decode(data, reduce=power), means(levels, power).round())
    (tmp_path / "a.dmen").write_bytes(data)
    assert "at most 1 levels; not bounded with --reduce" in works("info", tmp_path / "a.dmen").out


# ---- masks -----------------------------------------------------------------------------------------------------


def test_nodata_goes_by_majority_and_into_no_mean() -> None:
    image = np.full((64, 64, 3), 180, np.uint8)
    image[:, :31] = 0  # of the cells of 2 pixels in columns 30 and 31, half are nodata
    image[:, 31:34, 1] = 0
    data = dmecodec.encode(image, 5, nodata=0)
    found = dmecodec.decode(data, reduce=1)
    assert (found[:, :15] == 0).all() and (found[:, 15] > 0)[:, [0, 2]].all()
    assert (found[:, 15:16, 1] == 0).all() and (found[:, 16, 1] == 0).all() and (found[:, 17:, 1] > 0).all()
    whole = dmecodec.decode(data)
    for plane in range(3):  # no dark fringe
        assert (
            found[..., plane][found[..., plane] > 0].min() >= int(whole[..., plane][image[..., plane] > 0].min()) - 12
        )


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_averaged(mode: str) -> None:
    image = in_mode(aerial(63, 90, 70), mode)
    data = dmecodec.encode(image, 4, tile=64)
    for power in POWERS:
        found = dmecodec.decode(data, reduce=power)[..., -1]
        np.testing.assert_array_equal(found, means(image[..., -1].astype(float), power).round())


def test_alpha_of_bands() -> None:
    image = np.random.default_rng(3).integers(1000, 9000, (96, 64, 5)).astype(np.uint16)
    alpha = np.zeros((96, 64), np.uint16)
    alpha[:50, :33] = 65535
    data = dmecodec.encode(np.dstack([image, alpha]), 4, alpha=True, tile=64)
    found = dmecodec.decode(data, reduce=2)
    shown = means(alpha.astype(float) / 257, 2).round() * 257
    np.testing.assert_array_equal(found[..., 5], shown)
    assert (found[..., :5][shown == 0] == 0).all() and (found[..., :5][shown > 0] >= 1000).all()


def test_floats_keep_type_and_fill() -> None:
    row, col = np.mgrid[:128, :96]
    image = (200 + row + col / 2).astype(np.float32)
    image[:33, :33] = np.nan
    data = dmecodec.encode(image, 6, scale="auto")
    found = dmecodec.decode(data, reduce=3)
    assert found.dtype == np.float32 and found.shape == (16, 12)
    assert np.isnan(found[:4, :4]).all() and np.isnan(found).sum() == 16
    valid = ~np.isnan(found)
    assert abs(found - means(200 + row + col / 2, 3))[valid].max() < 10


# ---- the command line, georeference, Pillow --------------------------------------------------------------------


def test_commands(tmp_path: Path) -> None:
    Image.fromarray(aerial(64, 100, 130)).save(tmp_path / "a.png")
    coded, out = tmp_path / "a.dmen", tmp_path / "b.png"
    works("encode", tmp_path / "a.png")
    facts = json.loads(works("decode", coded, "--reduce", 2, "-o", out, "--json").out)
    assert Image.open(out).size == (33, 25) == (facts["width"], facts["height"])
    np.testing.assert_array_equal(np.asarray(Image.open(out)), dmecodec.decode(coded.read_bytes(), reduce=2))
    works("decode", coded, "--reduce", 3, "--window", "9,7,20,30", "-o", out, "--overwrite")
    assert Image.open(out).size == (3, 5)
    assert "reduce 6" in refused("decode", coded, "--reduce", 6, "-o", out, "--overwrite")
    assert "--reduce" in refused("decode", coded, "--reduce", 1, "--skip-done", "-o", out)


def test_georeference_is_scaled(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    from geotiff_files import RPC, write

    write(tmp_path / "a.tif", aerial(65, 90, 130), tags={"RPC": RPC, "": {"camera": "x"}})
    works("encode", tmp_path / "a.tif", "--tile", 64)
    for options, origin, size in (
        ((), (500000, 4000000), (33, 23)),
        (("--window", "9,18,40,30"), (500080, 3999840), (11, 8)),
        (("--bounds", "500090,3999520,500490,3999820"), (500080, 3999840), (11, 8)),
    ):
        works("decode", tmp_path / "a.dmen", "--reduce", 2, "-o", tmp_path / "b.tif", "--overwrite", *options)
        with rasterio.open(tmp_path / "b.tif") as file:
            assert (file.transform.a, file.transform.e) == (40, -40)
            assert (file.transform.c, file.transform.f) == origin
            assert (file.width, file.height) == size
            assert file.crs.to_epsg() == 32629 and file.tags()["camera"] == "x"
            assert file.rpcs.line_scale == 7 / 4 and file.rpcs.samp_off == 7.5 / 4 - 0.5 - (origin[0] - 500000) / 40


def test_what_counts_pixels_is_divided_or_left_out() -> None:
    tags = {
        "GEOLOCATION": {"PIXEL_OFFSET": "8", "LINE_OFFSET": "4", "PIXEL_STEP": "2", "LINE_STEP": "1", "SRS": "x"},
        "RPC": {"LINE_OFF": "7.5 pixels"},
        "ENVI": {"map_info": "1", "wavelength": "2"},
    }
    record = GeoRecord(gcps=((8.0, 4.0, 1.0, 2.0, 3.0),), tags=tags, bands=(BandRecord(tags={"ENVI": {"lines": "9"}}),))
    found = record.reduced(4)
    assert found.gcps == ((2.0, 1.0, 1.0, 2.0, 3.0),)
    assert found.tags == {
        "GEOLOCATION": {
            "PIXEL_OFFSET": "2.0",
            "LINE_OFFSET": "1.0",
            "PIXEL_STEP": "0.5",
            "LINE_STEP": "0.25",
            "SRS": "x",
        },
        "ENVI": {"wavelength": "2"},
    }
    assert found.bands == (BandRecord(),)


def test_drafts_and_thumbnails_of_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dmecodec.encode(aerial(66, 210, 330), 4)
    (tmp_path / "a.dmen").write_bytes(data)
    with Image.open(tmp_path / "a.dmen") as image:
        assert image.draft(None, (80, 50)) == ("RGB", (0, 0, 82.5, 52.5))
        assert image.size == (83, 53)
        np.testing.assert_array_equal(np.asarray(image), dmecodec.decode(data, reduce=2))
        assert image.draft(None, (8, 5)) is None
    factors = []

    class Watched(reduced.ReducedDecoder):
        def __init__(self, reader: Any, model: Any, factor: int, **options: Any) -> None:
            factors.append(factor)
            super().__init__(reader, model, factor, **options)

    monkeypatch.setattr("dmecodec.file.ReducedDecoder", Watched)
    with Image.open(tmp_path / "a.dmen") as image, Image.fromarray(dmecodec.decode(data)) as whole:
        image.thumbnail((40, 40))
        whole.thumbnail((40, 40))
        assert factors == [2] and image.size == whole.size
        assert psnr(np.asarray(image), np.asarray(whole)) > 30
    with Image.open(tmp_path / "a.dmen") as image:
        assert image.draft(None, (1000, 1000)) == ("RGB", (0, 0, 330.0, 210.0))
        np.testing.assert_array_equal(np.asarray(image), dmecodec.decode(data))
