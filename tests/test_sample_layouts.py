"""Samples come back as they are stored, whatever the planes and bits of a file; what Pillow would change is refused."""

from __future__ import annotations

import io
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from image_files import RNG, refusal, saved, tiff, whole
from PIL import Image

import dmecodec
from dmecodec.errors import ImageError
from dmecodec.images import open as opening
from dmecodec.images.raster import from_file

rasterio = pytest.importorskip("rasterio")
pytest.importorskip("rasterio.shutil")
pytestmark = pytest.mark.filterwarnings("ignore")

MODES = {"L": {}, "LA": {"alpha": "YES"}, "RGB": {"photometric": "RGB"}, "RGBA": {"photometric": "RGB", "alpha": "YES"}}


def geo_free_tiff(path: Path, mode: str, **options: object) -> np.ndarray:
    """Writes noise as a TIFF without georeference; the samples as rasterio reads them."""
    pixels = RNG.integers(0, 256, (len(mode), 48, 40), np.uint8)
    pixels[-1] |= 1  # under alpha 0 nothing is promised
    with rasterio.open(
        path, "w", driver="GTiff", width=40, height=48, count=len(mode), dtype="uint8", **MODES[mode], **options
    ) as file:
        file.write(pixels)
    return pixels.transpose(1, 2, 0)


@pytest.mark.parametrize(
    ("mode", "interleave", "compress"),
    list(product(MODES, ["PIXEL", "BAND"], ["NONE", "LZW", "DEFLATE", "PACKBITS", "ZSTD"])),
)
@pytest.mark.parametrize("tiles", [{}, {"tiled": True, "blockxsize": 16, "blockysize": 16}])
def test_planes_side_by_side_and_apart(
    tmp_path: Path, mode: str, interleave: str, compress: str, tiles: dict[str, object]
) -> None:
    path = tmp_path / "a.tif"
    pixels = geo_free_tiff(path, mode, interleave=interleave, compress=compress, **tiles)
    for image in (path, io.BytesIO(path.read_bytes())):
        for geo in (True, False):
            assert np.array_equal(whole(image, geo=geo), pixels)
    with dmecodec.File(io.BytesIO(dmecodec.encode(path, max_error=0))) as file:
        assert np.array_equal(np.atleast_3d(file.read()), pixels)
        assert file.verify(original=path) == 0


def test_planar_grey_and_alpha_without_rasterio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    geo_free_tiff(path, "LA", interleave="BAND", compress="LZW")
    monkeypatch.setattr(opening, "is_installed", lambda: False)
    assert "alpha in a plane of its own" in refusal(path)
    assert "alpha in a plane of its own" in refusal(Image.open(path))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tiles", [{"blockysize": 16}, {"tiled": True, "blockxsize": 16, "blockysize": 16}])
def test_absent_strips_and_tiles_are_zeros(
    tmp_path: Path, mode: str, tiles: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow decodes the start of the file in their place."""
    path = tmp_path / "a.tif"
    pixels = RNG.integers(0, 256, (48, 40, len(mode)), np.uint8)
    pixels[16:32] = 0
    options = MODES[mode] | tiles | {"width": 40, "height": 48, "count": len(mode), "sparse_ok": True}
    with rasterio.open(path, "w", driver="GTiff", dtype="uint8", **options) as file:
        for row in (0, 32):
            file.write(pixels[row : row + 16].transpose(2, 0, 1), window=((row, row + 16), (0, 40)))
    for image in (path, io.BytesIO(path.read_bytes())):
        for geo in (True, False):
            assert np.array_equal(whole(image, geo=geo), pixels)
    assert "absent" in refusal(Image.open(path))
    monkeypatch.setattr(opening, "is_installed", lambda: False)
    assert "absent" in refusal(path)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("interleave", ["PIXEL", "BAND"])
@pytest.mark.parametrize("compress", ["NONE", "DEFLATE"])
def test_colours_multiplied_by_alpha(tmp_path: Path, mode: str, interleave: str, compress: str) -> None:
    """Kept where alpha is 0 or 255, else refused; never another alpha."""
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "width": 40, "height": 48, "count": len(mode), "dtype": "uint8", "compress": compress}
    for values in ([0, 255], [0, 128, 255]):
        pixels = RNG.integers(0, 256, (len(mode), 48, 40), np.uint8)
        pixels[-1] = RNG.choice(values, (48, 40))
        pixels[:, pixels[-1] == 0] = 0
        options = MODES[mode] | {"alpha": "PREMULTIPLIED", "interleave": interleave}
        with rasterio.open(path, "w", **profile, **options) as file:
            file.write(pixels)
        if 128 in values:
            assert "multiplied by" in refusal(path)
        else:
            try:
                assert np.array_equal(whole(path), pixels.transpose(1, 2, 0))
            except ImageError as error:
                assert "multiplied by" in str(error)


@pytest.mark.parametrize("bits", range(2, 8))
def test_few_bits_are_refused(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "a.tif"
    values = np.arange(2**bits, dtype=np.uint8).repeat(16).reshape(1, 16, -1)
    with rasterio.open(
        path, "w", driver="GTiff", width=values.shape[2], height=16, count=1, dtype="uint8", nbits=bits
    ) as file:
        file.write(values)
    message = refusal(path)
    assert f"has {bits} bits a sample, of 0 to {2**bits - 1}" in message
    assert "gdal_translate -co NBITS=8 IN OUT.tif" in message
    rasterio.shutil.copy(path, tmp_path / "b.tif", driver="GTiff", NBITS="8")  # what it says to do
    assert np.array_equal(whole(tmp_path / "b.tif")[..., 0], values[0])


def test_colours_of_few_bits_are_refused() -> None:
    page = {258: [4] * 3, 262: [2], 277: [3]}
    with pytest.raises(ImageError, match="has 4 bits a sample"):
        from_file(tiff(page, data=bytes(8)))


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_png_of_few_bits_is_refused(bits: int) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 8, 1, bits, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" + bytes(bits))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    assert f"has {bits} bits a sample" in refusal(io.BytesIO(data))
    assert f"has {bits} bits a sample" in refusal(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("format", ["TIFF", "PNG", "BMP", "GIF"])
@pytest.mark.parametrize("colours", [2, 4, 16, 256])
def test_palettes_of_few_bits_become_their_colours(format: str, colours: int) -> None:
    image = Image.fromarray(RNG.integers(0, colours, (20, 30), np.uint8), "P")
    image.putpalette(RNG.integers(0, 256, 3 * colours, np.uint8).tobytes())
    options = {"bits": max(1, (colours - 1).bit_length())} if format == "PNG" else {}
    assert np.array_equal(whole(saved(image, format, **options)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("format", ["TIFF", "PNG", "BMP"])
def test_one_bit_becomes_0_and_255(format: str) -> None:
    image = Image.fromarray(RNG.integers(0, 2, (20, 30)) > 0)
    assert np.array_equal(whole(saved(image, format))[..., 0], np.asarray(image) * np.uint8(255))


def test_pnm_of_few_levels_names_a_way_out() -> None:
    assert "gdal_translate" in refusal(io.BytesIO(b"P5 2 2 15\n" + bytes(4)))


def test_jpeg2000_of_few_bits_is_refused() -> None:
    data = bytearray(saved(Image.new("L", (9, 13)), "JPEG2000").getvalue())
    data[data.index(b"\xff\x4f\xff\x51") + 42] = 3
    assert "has 4 bits a sample" in refusal(io.BytesIO(bytes(data)))
