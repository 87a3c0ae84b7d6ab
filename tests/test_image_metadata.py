"""ICC, EXIF and XMP on the way in and out."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from image_files import (
    ICC,
    METADATA,
    XMP,
    exif,
    filled,
    noise,
    picture,
    saved,
    whole,
    written,
)
from PIL import Image

from dmecodec.base.boxes import Box
from dmecodec.errors import ImageError, OutputError
from dmecodec.format.limits import PLAIN_MODES
from dmecodec.images.metadata import Metadata
from dmecodec.images.open import open_source


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_metadata_goes_out_and_comes_back(format: str) -> None:
    pixels = noise(9, 13, 3)
    file = written(pixels, format, METADATA)
    source = open_source(file)
    assert source.metadata.icc == ICC
    assert source.metadata.xmp == XMP
    assert source.metadata.exif
    if format != "TIFF":  # which has the tags, not the block
        assert source.metadata.exif == METADATA.exif
    tags = Image.Exif()
    tags.load(b"Exif\0\0" + source.metadata.exif)
    assert tags[274] == 6
    assert tags[271] == "Maker"
    assert tags.get_ifd(34665)[36867] == "2024:05:06 07:08:09"
    assert [float(value) for value in tags.get_ifd(34853)[2]] == [52.0, 31.0, 0.5]
    # Pixels as stored: neither turned on the way out nor on the way in.
    assert (source.width, source.height) == (13, 9)
    if format != "JPEG":
        assert np.array_equal(source.pixels(Box(0, 0, 13, 9)), pixels)
    other = Image.open(file)
    assert other.info["icc_profile"] == ICC
    assert other.getexif().get(274) == 6


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_no_metadata_stays_none(format: str) -> None:
    assert open_source(written(noise(9, 13, 3), format)).metadata == Metadata()


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_with_orientation_is_read_as_stored(compression: str, orientation: int) -> None:
    image = Image.fromarray(np.kron(noise(2, 3, 3), np.ones((16, 16, 1), np.uint8)))
    plain = whole(saved(image, "TIFF", compression=compression))
    source = open_source(saved(image, "TIFF", compression=compression, tiffinfo={274: orientation}))
    assert (source.width, source.height) == image.size
    assert np.array_equal(source.pixels(Box(0, 0, *image.size)), plain)
    if orientation == 1:
        assert source.metadata.exif is None
    else:
        tags = Image.Exif()
        tags.load(source.metadata.exif or b"")
        assert dict(tags) == {274: orientation}


def test_the_exif_of_another_file_does_not_spoil_a_tiff() -> None:
    pixels = noise(9, 13, 3)
    odd = Image.Exif()
    for tag, value in ((256, 4000), (257, 3000), (258, 16), (259, 6), (262, 6), (273, 1), (277, 9)):
        odd[tag] = value
    file = written(pixels, "TIFF", Metadata(exif=odd.tobytes()[6:]))
    assert np.array_equal(whole(file), pixels)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_damaged_metadata_does_not_cost_the_pixels(format: str) -> None:
    pixels = noise(9, 13, 3)
    got = whole(written(pixels, format, Metadata(icc=b"x", exif=b"nonsense", xmp=b"\xff\xfe")))
    assert got.shape == pixels.shape
    assert format == "JPEG" or np.array_equal(got, pixels)


def test_metadata_after_the_pixels_of_a_png_is_found() -> None:
    data = saved(picture("RGB"), "PNG").getvalue()
    body = b"XML:com.adobe.xmp\0\0\0\0\0" + XMP
    late = struct.pack(">I", len(body)) + b"iTXt" + body
    late += struct.pack(">I", zlib.crc32(b"iTXt" + body))
    assert open_source(io.BytesIO(data[:-12] + late + data[-12:])).metadata.xmp == XMP


def test_metadata_of_a_pillow_image_in_memory() -> None:
    image = Image.open(written(noise(9, 13, 3), "PNG", METADATA))
    assert open_source(image).metadata == METADATA


def test_metadata_too_large_for_jpeg_is_an_error() -> None:
    sink = filled(noise(9, 13, 3), Metadata(exif=exif() + bytes(70000)))
    with pytest.raises(OutputError, match="cannot write JPEG: EXIF"):
        sink.save(io.BytesIO(), "JPEG")
    sink.save(io.BytesIO(), "PNG")


@pytest.mark.parametrize("mode", PLAIN_MODES)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_lossless_formats_are(mode: str, format: str) -> None:
    pixels = noise(33, 47, len(mode))
    pixels[:10, ..., -1] = 0  # colours under an alpha of 0 count as well
    got = whole(written(pixels, format))
    if format == "WEBP" and mode in ("L", "LA"):  # WebP has no grey
        assert all(np.array_equal(got[..., band], pixels[..., 0]) for band in range(3))
        got = got[..., [0, 3]] if mode == "LA" else got[..., :1]
    assert np.array_equal(got, pixels)


@pytest.mark.parametrize(("name", "value"), [("icc_profile", "sRGB"), ("exif", 7), ("xmp", {})])
def test_metadata_of_an_image_in_memory_must_be_bytes(name: str, value: Any) -> None:
    image = Image.new("RGB", (8, 8))
    image.info[name] = value or {"rdf": 1}
    with pytest.raises(ImageError, match=f"{name} is .*: expected bytes"):
        open_source(image)
