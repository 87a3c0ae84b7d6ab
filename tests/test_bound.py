"""A bound on the error, end to end: each sample of a decoded file is within it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import refused, run, works
from conftest import aerial, in_mode
from PIL import Image

import dmecodec
from dmecodec.codec import decoder
from dmecodec.codec.options import default_quality
from dmecodec.errors import BoundError, FormatError, ImageError, OptionError
from dmecodec.format import writer
from dmecodec.format.kinds import Kind
from dmecodec.format.reader import Reader

MODES = ("L", "LA", "RGB", "RGBA")


def error(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b).max())


def rebuilt(data: bytes, change: dict[tuple[int, int], bytes], bound: int = 2) -> bytes:
    """The file with other streams or another bound, and valid checksums."""
    reader = Reader(data)
    tiles = [reader.tile(index) for index in range(reader.header.tile_count)]
    for (index, kind), stream in change.items():
        tiles[index][kind] = stream
    return writer.write(replace(reader.header, bound=bound), tiles, reader.metadata())


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return aerial(70, 150, 200)


@pytest.fixture(scope="module")
def data(image: np.ndarray) -> bytes:
    return dmecodec.encode(image, max_error=2, tile=64)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(1, 1), (1, 70), (33, 2), (65, 40)])
@pytest.mark.parametrize("bound", [0, 3])
def test_modes_and_sizes(mode: str, size: tuple[int, int], bound: int) -> None:
    pixels = in_mode(aerial(71, *size), mode)
    data = dmecodec.encode(pixels, max_error=bound, bands="last")
    decoded = dmecodec.decode(data)
    assert decoded.shape == pixels.shape and decoded.dtype == np.uint8
    assert error(decoded, pixels) <= bound
    if mode.endswith("A"):
        np.testing.assert_array_equal(decoded[..., -1], pixels[..., -1])
    with dmecodec.File(io.BytesIO(data)) as file:
        assert file.max_error == bound
        assert file.verify(original=pixels) == error(decoded, pixels)


def test_latents_are_those_of_a_file_without_a_bound(image: np.ndarray) -> None:
    for ours, plain in zip(
        dmecodec.latents(dmecodec.encode(image, 3, max_error=1)),
        dmecodec.latents(dmecodec.encode(image, 3)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, plain)


@pytest.mark.parametrize("window", [(0, 0, 1, 1), (63, 63, 2, 2), (10, 70, 150, 30), (199, 149, 1, 1)])
def test_a_window_is_a_part_of_the_whole(data: bytes, window: tuple[int, int, int, int]) -> None:
    col, row, width, height = window
    whole = dmecodec.decode(data)
    part = dmecodec.decode(data, window=window)
    np.testing.assert_array_equal(part, whole[row : row + height, col : col + width])


def test_a_window_reads_only_the_tiles_that_it_touches(data: bytes) -> None:
    header = Reader(data).header
    damaged = {(index, Kind.Y): b"" for index in range(header.tile_count) if index != 5}
    window = (*header.tile_box(5)[:2], *header.tile_box(5)[2:])
    part = dmecodec.decode(rebuilt(data, damaged), window=window)
    np.testing.assert_array_equal(part, dmecodec.decode(data, window=window))


def test_decoding_runs_no_float_synthesis(data: bytes, image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Therefore decoded pixels are the same on every device."""
    monkeypatch.setattr(decoder, "synthesise", None)
    assert error(dmecodec.decode(data), image) <= 2


def test_quality_is_chosen_by_the_bound(image: np.ndarray) -> None:
    for bound in (0, 8):
        quality = Reader(dmecodec.encode(image, max_error=bound)).header.quality
        assert quality == default_quality(bound) * 32
    assert Reader(dmecodec.encode(image, 2.5, max_error=1)).header.quality == 80
    assert Reader(dmecodec.encode(image)).header.quality == 128


@pytest.mark.parametrize("bound", [-1, 32768, 1.0, "2", 2**70])
def test_an_impossible_bound_is_refused(image: np.ndarray, bound: object) -> None:
    with pytest.raises(OptionError, match="bound of"):
        dmecodec.encode(image, max_error=bound)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bound", [np.uint8(127), np.uint8(200), np.int8(100), np.int16(5000), torch.tensor(2)], ids=repr
)
def test_a_bound_of_any_integer_type(image: np.ndarray, bound: Any) -> None:
    """The integer type of the bound may be too small for 2 N + 1."""
    data = dmecodec.encode(image, max_error=bound)
    assert data == dmecodec.encode(image, max_error=int(bound))
    assert np.abs(dmecodec.decode(data).astype(int) - image).max() <= int(bound)


def test_a_bound_excludes_a_target(image: np.ndarray) -> None:
    for target in ({"bpp": 1.0}, {"psnr": 30.0}):
        with pytest.raises(OptionError, match="not both"):
            dmecodec.encode(image, max_error=1, **target)


# ---- verify ---------------------------------------------------------------------------------------------


def test_verify_against_another_original(data: bytes, image: np.ndarray) -> None:
    other = image.copy()
    other[100, 130, 1] ^= 128
    with dmecodec.File(io.BytesIO(data)) as file:
        with pytest.raises(BoundError, match="column 130, row 100 is"):
            file.verify(original=other)
        with pytest.raises(ImageError, match="the original is 200 x 149 RGB"):
            file.verify(original=image[:-1])
        with pytest.raises(ImageError, match="150 L"):
            file.verify(original=image[..., 0])


def test_verify_without_a_bound(image: np.ndarray) -> None:
    data = dmecodec.encode(image)
    with dmecodec.File(io.BytesIO(data)) as file:
        assert file.max_error is None
        assert file.verify(original=image) == error(dmecodec.decode(data), image)
        assert file.verify() is None


# ---- invalid files ------------------------------------------------------------------------------------


def test_damaged_residuals(data: bytes, image: np.ndarray) -> None:
    stream = Reader(data).tile(3)[Kind.RESIDUAL]
    for other in (stream[:-4], stream[:-1], stream[4:], stream + bytes(4), stream + b"\1\0\0\0"):
        forged = rebuilt(data, {(3, Kind.RESIDUAL): other})
        with pytest.raises(FormatError):
            dmecodec.decode(forged)
        with dmecodec.File(io.BytesIO(forged)) as file, pytest.raises(FormatError):
            file.verify(deep=True)
    with pytest.raises(FormatError):
        dmecodec.decode(rebuilt(data, {}, 3))


def test_residuals_and_a_bound_come_together(data: bytes) -> None:
    header = Reader(data).header
    assert header.bound == 2
    for change in ({"bound": None}, {"kinds": (Kind.Z, Kind.Y)}):
        with pytest.raises(FormatError, match="together"):
            replace(header, **change)
    for bound in (-1, 2**15):
        with pytest.raises(FormatError, match="a bound on the error of"):
            replace(header, bound=bound)


# ---- the command line ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "bound"), [("RGB", 0), ("RGB", 5), ("LA", 1)])
def test_round_trip_of_commands(tmp_path: Path, mode: str, bound: int) -> None:
    original, coded, decoded = (tmp_path / name for name in ("a.png", "a.dmen", "b.png"))
    pixels = in_mode(aerial(72, 60, 80), mode)
    Image.fromarray(pixels).save(original)
    works("encode", original, "--max-error", bound)
    works("decode", coded, "-o", decoded)
    worst = error(np.asarray(Image.open(decoded)), pixels)
    assert worst <= bound
    output = works("verify", "--original", original, coded).out
    assert output == f"{coded}: ok, valid samples at most {worst} levels from the original\n"
    facts = json.loads(works("info", coded, "--json").out)
    assert facts["max_error"] == bound and facts["metadata"] == []
    assert "RESIDUAL" in facts["streams"]
    lines = works("info", coded).out
    assert ("lossless" if bound == 0 else f"at most {bound} levels") in lines


def test_wrong_options(tmp_path: Path) -> None:
    original, coded = tmp_path / "a.png", tmp_path / "a.dmen"
    Image.fromarray(aerial(73, 20, 20)).save(original)
    for target in ("--bpp", "--psnr"):
        assert "not both" in refused("encode", original, "--max-error", 1, target, 1)
    assert "between 0 and 32767" in refused("encode", original, "--max-error", 32768)
    assert "a.dmen" not in {path.name for path in tmp_path.iterdir()}
    works("encode", original, "--max-error", 1, "--quality", 6)
    assert Reader(coded.read_bytes()).header.quality == 192
    assert "one file" in refused("verify", "--original", original, coded, coded)
    Image.fromarray(aerial(74, 20, 20)).save(original)
    outcome = run("verify", "--original", original, coded)
    assert outcome.status == 1 and "levels off the original" in outcome.err


def test_an_original_on_standard_input(tmp_path: Path) -> None:
    original, coded = tmp_path / "a.png", tmp_path / "a.dmen"
    Image.fromarray(aerial(74, 20, 20)).save(original)
    works("encode", original, "--max-error", 0)
    output = works("verify", "--original", "-", coded, data=original.read_bytes()).out
    assert output.endswith("at most 0 levels from the original\n")
    assert "cannot both" in refused("verify", "--original", "-", "-", data=b"")


def test_pixels_with_alpha_0_are_not_compared(tmp_path: Path) -> None:
    pixels = in_mode(aerial(5, 70, 80), "RGBA")
    pixels[:20, :, 3] = 0
    data = dmecodec.encode(pixels, 5)
    valid = np.abs(pixels.astype(int) - dmecodec.decode(data))[pixels[..., 3] > 0].max()
    with dmecodec.open(io.BytesIO(data)) as file:
        assert file.verify(original=pixels) == valid


@pytest.mark.parametrize(
    ("bands", "options"),
    [(3, {"nodata": 0}), (1, {"nodata": 7}), (4, {"alpha": False}), (4, {}), (4, {"nodata": 3, "alpha": True})],
)  # fmt: skip
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_verify_against_an_array(bands: int, options: dict[str, Any], kind: type) -> None:
    """The file knows the nodata value, and whether the last band is alpha."""
    array = np.concatenate([aerial(n, 40, 50) for n in (1, 2)], 2)[..., :bands].astype(kind)
    if options.get("alpha") and kind is np.uint16:
        array[..., -1] *= 257  # its range is that of 8 bits
    array[:10] = options.get("nodata", 0) if not options.get("alpha") else 0
    with dmecodec.File(io.BytesIO(dmecodec.encode(array, max_error=2, **options))) as file:
        assert file.verify(original=array) <= 2
        other = array.copy()
        other[30, 30, 0] ^= 64
        with pytest.raises(BoundError):
            file.verify(original=other)
