"""What is refused on the way in: what would lose something, what is damaged, what is no image. One line each."""

import io
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import start
from image_files import (
    RNG,
    noise,
    picture,
    png16,
    refusal,
    saved,
    tiff,
    whole,
)
from PIL import Image, features

from dmecodec import errors
from dmecodec.base.boxes import Box
from dmecodec.errors import ImageError
from dmecodec.images.open import open_source
from dmecodec.images.raster import from_file


@pytest.mark.parametrize("colour_type,bands", [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png_is_refused(colour_type: int, bands: int) -> None:
    message = refusal(png16(colour_type, bands))
    assert "16 bits" in message
    assert "gdal_translate" in message


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("on_disk", [False, True])
def test_a_16_bit_file_opened_with_pillow_is_refused_too(tmp_path: Path, loaded: bool, on_disk: bool) -> None:
    (tmp_path / "a.png").write_bytes(png16(2, 3).getvalue())
    image = Image.open(tmp_path / "a.png" if on_disk else png16(2, 3))
    assert image.mode == "RGB"
    if loaded:
        image.load()
    assert "16 bits" in refusal(image)


TIFF_REFUSALS: dict[str, tuple[dict[int, Any], int, str]] = {
    "16-bit RGB": ({258: [16] * 3, 262: [2], 277: [3]}, 24, "16 bits a sample"),
    "16-bit grey": ({258: [16]}, 8, "16 bits a sample"),
    "12-bit grey": ({258: [12]}, 6, "12 bits a sample"),
    "32-bit float": ({258: [32], 339: [3]}, 16, "32-bit floating-point"),
    "signed": ({258: [8], 339: [2]}, 4, "8-bit signed samples"),
    "RGB and near infrared": (
        {258: [8] * 4, 262: [2], 277: [4], 338: [0]},
        16,
        "4 bands, of which 1 is neither colour nor alpha",
    ),
    "planar RGB and near infrared": (
        {258: [8] * 4, 262: [2], 277: [4], 338: [0], 284: [2], 273: [8, 12, 16, 20], 279: [4] * 4},
        16,
        "4 bands",
    ),
    "RGB, alpha and one more": (
        {258: [8] * 5, 262: [2], 277: [5], 338: [2, 0]},
        20,
        "5 bands, of which 2 are",
    ),
    "grey and one more": ({258: [8] * 2, 277: [2], 338: [0]}, 8, "2 bands"),
    "two greys": ({258: [8] * 2, 277: [2]}, 8, "2 bands"),
    "13 bands": ({258: [16] * 13, 277: [13], 338: [0] * 12}, 104, "16 bits a sample"),
    "13 bands of 8 bits": ({258: [8] * 13, 277: [13], 338: [0] * 12}, 52, "13 bands"),
    "CMYK": ({258: [8] * 4, 262: [5], 277: [4]}, 16, "CMYK"),
    "CIELab": ({258: [8] * 3, 262: [8], 277: [3]}, 12, "CIELab"),
    "raw sensor": ({258: [8], 262: [32803]}, 4, "raw sensor"),
    "preview of a raw file": ({254: [1], 258: [8] * 3, 262: [2], 277: [3]}, 12, "preview"),
    "unknown compression": ({258: [8], 259: [65000]}, 4, "unsupported kind"),
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", TIFF_REFUSALS)
def test_tiffs_that_would_lose_something_are_refused(name: str, order: str) -> None:
    """By Pillow's reader: rasterio, where it is installed, loses nothing of some of them."""
    page, size, reason = TIFF_REFUSALS[name]
    with pytest.raises(ImageError) as caught:
        from_file(tiff(page, data=bytes(size), order=order))
    message = str(caught.value)
    assert reason in message
    assert name == "unknown compression" or "for example" in message or "convert it" in message


def test_a_four_band_tiff_opened_with_pillow_is_refused_too() -> None:
    image = Image.open(tiff({258: [8] * 4, 262: [2], 277: [4], 338: [0]}, data=bytes(16)))
    assert image.mode == "RGB"
    assert "4 bands" in refusal(image)


@pytest.mark.parametrize("mode", ["I;16", "I", "F", "CMYK", "YCbCr", "LAB", "HSV", "RGBa", "La"])
def test_modes_that_do_not_fit_are_refused_by_name(mode: str) -> None:
    message = refusal(Image.new(mode, (3, 2)))
    assert f"mode {mode} (" in message
    assert "for example" in message


def test_a_cmyk_jpeg_is_refused() -> None:
    assert "mode CMYK" in refusal(saved(Image.new("CMYK", (8, 8)), "JPEG"))


def test_a_12_bit_jpeg_is_refused() -> None:
    data = bytearray(saved(picture("RGB", 16, 16), "JPEG").getvalue())
    data[data.index(b"\xff\xc0") + 4] = 12
    assert "12 bits" in refusal(io.BytesIO(bytes(data)))


@pytest.mark.parametrize("header", [b"P5 2 2 65535\n", b"P6 2 2 1023\n", b"P6\n# c\n2 2\n256\n"])
def test_deep_pnm_is_refused(header: bytes) -> None:
    assert "bits a sample" in refusal(io.BytesIO(header + bytes(64)))


@pytest.fixture
def without_rasterio(monkeypatch: pytest.MonkeyPatch) -> None:
    """rasterio reads JPEG 2000 that Pillow cannot; see test_georeferenced_images.py."""
    monkeypatch.setattr("dmecodec.images.open.is_installed", lambda: False)


@pytest.mark.usefixtures("without_rasterio")
@pytest.mark.parametrize("raw", [False, True])
def test_deep_and_many_banded_jpeg2000_is_refused(raw: bool) -> None:
    data = bytearray(saved(picture("RGB"), "JPEG2000", no_jp2=raw).getvalue())
    assert whole(io.BytesIO(bytes(data))).shape == (9, 13, 3)
    size = data.index(b"\xff\x4f\xff\x51")
    data[size + 42] = 15
    assert "16 bits" in refusal(io.BytesIO(bytes(data)))
    data[size + 42] = 0x87
    assert "signed" in refusal(io.BytesIO(bytes(data)))
    data[size + 41] = 5
    assert "5 bands" in refusal(io.BytesIO(bytes(data)))


@pytest.mark.usefixtures("without_rasterio")
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_jpeg2000_with_a_band_that_is_no_alpha_is_refused(mode: str) -> None:
    """Pillow calls the fourth of four bands alpha even where it is near infrared."""
    data = saved(picture(mode), "JPEG2000", no_jp2=False).getvalue()
    if b"cdef" in data:  # an older OpenJPEG writes none
        assert whole(io.BytesIO(data)).shape[2] == len(mode)
        kind = data.index(b"cdef") + 4 + 2 + 6 * (len(mode) - 1) + 2
        data = data[:kind] + b"\xff\xff" + data[kind + 2 :]  # of no known type
    assert "none is said to be alpha" in refusal(io.BytesIO(data))
    raw = saved(picture(mode), "JPEG2000", no_jp2=True).getvalue()
    assert "none is said to be alpha" in refusal(io.BytesIO(raw))


@pytest.mark.parametrize("header", [b"P5 2 2 100\n", b"P6 2 2 31\n", b"P2 2 2 1\n"])
def test_pnm_of_another_range_is_refused(header: bytes) -> None:
    assert "would be rescaled" in refusal(io.BytesIO(header + bytes(64)))


@pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
def test_deep_avif_is_refused() -> None:
    data = bytearray(saved(picture("RGB"), "AVIF").getvalue())
    data[data.index(b"av1C") + 6] |= 0x40
    assert "10 bits" in refusal(io.BytesIO(bytes(data)))


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_several_frames_are_refused(format: str) -> None:
    frames = [picture("RGB") for _ in range(3)]
    file = saved(frames[0], format, save_all=True, append_images=frames[1:])
    message = refusal(file)
    assert "several frames" in message or "3 pages" in message
    opened = Image.open(file)
    opened.seek(1)
    assert refusal(opened)
    assert open_source(opened.copy()).width == 13


def test_a_stereo_pair_is_refused_and_a_photo_with_a_preview_is_read() -> None:
    first, second = picture("RGB", 16, 16), picture("RGB", 16, 16)
    data = bytearray(saved(first, "MPO", save_all=True, append_images=[second]).getvalue())
    assert whole(io.BytesIO(bytes(data))).shape == (16, 16, 3)
    header = data.index(b"MPF\0") + 4
    (entries,) = struct.unpack_from("<I", data, data.index(b"\x02\xb0", header) + 8)
    struct.pack_into("<I", data, header + entries + 16, 0x020002)  # the second shows disparity
    assert "several frames" in refusal(io.BytesIO(bytes(data)))


@pytest.mark.parametrize("extra", [{254: [1]}, {254: [4], 262: [4]}, {254: [5]}, {255: [2]}])
def test_overviews_and_masks_of_a_tiff_are_passed_over(extra: dict[int, Any]) -> None:
    page = {258: [8] * 3, 262: [2], 277: [3]}
    pixels = noise(2, 2, 3)
    file = tiff(page, page | extra, data=pixels.tobytes())
    assert np.array_equal(whole(file, geo=False), pixels)
    assert "2 pages" in refusal(tiff(page, page, data=pixels.tobytes()))


def test_a_tiff_whose_pages_run_in_a_circle_is_read() -> None:
    file = tiff({258: [8]}, data=bytes(4))
    data = bytearray(file.getvalue())
    data[-4:] = data[4:8]
    assert whole(io.BytesIO(bytes(data))).shape == (2, 2, 1)


def test_a_missing_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no.png") == f"{tmp_path / 'no.png'}: there is no such file"


def test_a_folder(tmp_path: Path) -> None:
    assert refusal(str(tmp_path)).endswith("this is a folder, not an image file")


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", refuse)  # file modes do not bind a superuser
    assert "no permission to read" in refusal(tmp_path / "a.png")


def test_an_impossible_name() -> None:
    assert refusal("a\0b.png")
    assert refusal("x" * 5000 + ".png")


def test_a_name_with_a_line_break_is_still_one_line() -> None:
    assert "there is no such file" in refusal("a\nb.png")


@pytest.mark.parametrize("data", [b"hello", b"%PDF-1.7", b"BM is not always a bitmap", b"\0" * 99])
def test_not_an_image(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    assert "is not an image of a format" in refusal(tmp_path / "a.png")


def test_an_empty_file() -> None:
    assert refusal(io.BytesIO()) == "image: is empty"


def test_a_text_file_object(tmp_path: Path) -> None:
    assert "binary mode" in refusal(io.StringIO("abc"))


def test_a_file_object_that_is_closed() -> None:
    file = io.BytesIO(b"abc")
    file.close()
    assert "cannot be read" in refusal(file)


@pytest.mark.parametrize("image", [None, 3, b"\x89PNG", [[1, 2]]])
def test_things_that_are_no_image(image: object) -> None:
    assert "cannot read an image from" in refusal(image)


def test_a_pipe_is_read(tmp_path: Path) -> None:
    image = picture("RGB")
    read, write = os.pipe()
    with os.fdopen(read, "rb") as source, os.fdopen(write, "wb") as sink:
        sink.write(saved(image, "PNG").getvalue())
        sink.close()
        assert np.array_equal(whole(source), np.asarray(image))


FORMATS = ["PNG", "TIFF", "JPEG", "WEBP", "GIF", "BMP", "PPM", "JPEG2000"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("on_disk", [False, True])
def test_truncated_images_are_refused(tmp_path: Path, format: str, on_disk: bool) -> None:
    data = saved(picture("RGB", 40, 40), format).getvalue()
    for part in (0.03, 0.3, 0.6, 0.9):
        cut = data[: int(len(data) * part)]
        (tmp_path / "a").write_bytes(cut)
        message = refusal(tmp_path / "a" if on_disk else io.BytesIO(cut))
        assert "truncated" in message or "not an image" in message or "bands" in message


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", FORMATS)
def test_damaged_images_raise_nothing_else(format: str) -> None:
    data = saved(picture("RGB", 12, 12), format).getvalue()
    for trial in range(150):
        damaged = bytearray(data)
        for _ in range(3):
            damaged[RNG.integers(len(data) if trial % 2 else min(len(data), 80))] = RNG.integers(256)
        size = struct.unpack_from(">II", damaged, 16) if format == "PNG" else (1, 1)
        if size[0] * size[1] > 2**24:
            continue  # the memory would be there, but the time is not
        try:
            source = open_source(io.BytesIO(bytes(damaged)))
            source.pixels(Box(0, 0, min(9, source.width), min(9, source.height)))
        except ImageError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("size", [0, 21, 32])
def test_boxes_that_do_not_fit_are_refused(size: int) -> None:
    """Which GDAL would walk through without end."""
    data = bytearray(saved(picture("RGB", 12, 12), "JPEG2000").getvalue())
    struct.pack_into(">I", data, data.index(b"ihdr") - 4, size)
    assert "JPEG 2000" in refusal(io.BytesIO(data))


def test_a_size_that_a_damaged_file_claims_is_refused() -> None:
    """GDAL's own threads only print that they cannot read it, and leave zeros."""
    data = bytearray(saved(picture("RGB", 12, 12), "JPEG2000").getvalue())
    struct.pack_into(">I", data, data.index(b"\xff\x4f\xff\x51") + 12, 12 + (235 << 8))
    assert "JPEG 2000" in refusal(io.BytesIO(data))


def test_the_command_line_tells_of_a_damaged_file_in_one_line(tmp_path: Path) -> None:
    data = bytearray(saved(picture("RGB", 40, 40), "TIFF", software="x" * 20).getvalue())
    struct.pack_into("<I", data, data.index(struct.pack("<HHI", 305, 2, 21)) + 4, 2**20)
    (tmp_path / "a.tif").write_bytes(data[:-30])
    with pytest.warns(UserWarning, match="Tag data larger than file|Truncated File Read"):
        refusal(tmp_path / "a.tif")
    done = subprocess.run(
        [sys.executable, "-m", "dmecodec", "encode", "a.tif"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(errors.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("dmecodec: a.tif: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_pnm_files_of_several_images_are_refused(mode: str) -> None:
    out = io.BytesIO()
    Image.new(mode, (13, 7)).save(out, "PPM")
    first = out.getvalue()
    commented = first.replace(b"\n", b"\n# P6 1 1 255\n", 1)
    for one in (first, commented, first + b"\n"):
        assert open_source(io.BytesIO(one)).width == 13
    for several in (first + first, commented + first):
        assert "several images" in refusal(io.BytesIO(several))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_of_a_damaged_compressed_tiff_our_line_is_all_that_is_said(tmp_path: Path) -> None:
    """libtiff prints its own complaints where no Python sees them."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        path = tmp_path / f"{compression}.tif"
        Image.fromarray(pixels).save(path, compression=compression)
        data = bytearray(path.read_bytes())
        data[100:9000] = bytes(8900)
        path.write_bytes(data)
    process = start("encode", *sorted(tmp_path.glob("*.tif")), "-o", tmp_path / "out")
    _, err = process.communicate(timeout=100)
    assert process.returncode == 1
    lines = err.decode().splitlines()
    assert all(line.startswith("dmecodec: ") for line in lines) and len(lines) == 3, lines
    assert not (tmp_path / "out").exists()
