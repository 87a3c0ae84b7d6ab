"""Images in and out: every file here is written by the tests, byte for byte where it matters."""

import io
import os
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import start
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin, features

from dmecodec import images
from dmecodec.errors import ImageError, OptionError, OutputError
from dmecodec.images import Metadata, Sink, check_output, open_source, output_format
from dmecodec.images.pillow import from_file

RNG = np.random.default_rng(7)


def noise(height: int, width: int, bands: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, bands), np.uint8)


def picture(mode: str, height: int = 9, width: int = 13) -> Image.Image:
    pixels = noise(height, width, len(mode))
    return Image.fromarray(pixels[..., 0] if mode == "L" else pixels)


def saved(image: Image.Image, format: str, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, format, **options)
    file.seek(0)
    return file


def whole(image: object, **options: Any) -> np.ndarray:
    source = open_source(image, **options)
    return source.read(0, 0, source.width, source.height)


def refusal(image: object, **options: Any) -> str:
    """The message with which an image is refused: one line."""
    with pytest.raises(ImageError) as caught:
        open_source(image, **options)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


def tiff(*pages: dict[int, Any], data: bytes, order: str = "<", big: bool = False) -> io.BytesIO:
    """A TIFF of `pages`; each is 2 x 2 with `data` as its only strip, unless its tags say else.

    A value is a sequence of numbers (written as 16 bits, or 32 where they need it).
    """
    word, count, pad = ("Q", "Q", 8) if big else ("I", "H", 4)
    head = b"II" if order == "<" else b"MM"
    head += struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0) if big else (42,)), 0)
    out = bytearray(head)
    link = len(out) - pad
    strip = len(out)
    out += data
    for page in pages:
        defaults = {256: [2], 257: [2], 259: [1], 262: [1], 273: [strip], 278: [2]}
        tags = {**defaults, 279: [len(data)], **page}
        entries = b""
        for tag, values in sorted(tags.items()):
            code, kind = ("I", 4) if max(values) > 65535 else ("H", 3)
            value = struct.pack(f"{order}{len(values)}{code}", *values)
            if len(value) > pad:
                position = len(out)
                out += value
                value = struct.pack(order + word, position)
            entries += struct.pack(order + "HH" + word, tag, kind, len(values))
            entries += value.ljust(pad, b"\0")
        struct.pack_into(order + word, out, link, len(out))
        out += struct.pack(order + count, len(tags)) + entries
        link = len(out)
        out += bytes(pad)
    return io.BytesIO(bytes(out))


def png16(colour_type: int, bands: int) -> io.BytesIO:
    """A 2 x 2 PNG of 16 bits a sample."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = (b"\0" + b"\x12\x34" * 2 * bands) * 2
    return io.BytesIO(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, colour_type, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


# --- pixels in ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", images.MODES)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "BMP", "PPM", "JPEG2000"])
def test_lossless_files_are_read_as_they_are(mode: str, format: str) -> None:
    if format in ("BMP", "PPM") and "A" in mode:
        pytest.skip("no alpha in this format")
    image = picture(mode)
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    if format == "WEBP" and mode in ("L", "LA"):
        pytest.skip("WebP has no grey")
    source = open_source(saved(image, format, **options))
    assert (source.width, source.height, source.mode) == (13, 9, mode)
    got = source.read(0, 0, 13, 9)
    assert got.dtype == np.uint8
    assert got.shape == (9, 13, len(mode))
    assert np.array_equal(got, np.asarray(image).reshape(got.shape))


@pytest.mark.parametrize("order,big", [("<", False), (">", False), ("<", True)])
def test_tiff_of_either_byte_order_and_size(order: str, big: bool) -> None:
    pixels = bytes(range(12))
    page = {258: [8, 8, 8], 262: [2], 277: [3]}
    got = whole(tiff(page, data=pixels, order=order, big=big))
    assert got.tobytes() == pixels


@pytest.mark.parametrize("compression", ["tiff_adobe_deflate", "tiff_lzw", "packbits", "raw"])
@pytest.mark.parametrize("kind", ["path", "bytes", "named"])
def test_tiff_compressions_from_files_and_memory(
    tmp_path: Path, compression: str, kind: str
) -> None:
    image = picture("RGB", 70, 90)
    path = tmp_path / "a.tif"
    image.save(path, compression=compression)
    if kind == "path":
        got = whole(path)
    elif kind == "bytes":
        got = whole(io.BytesIO(path.read_bytes()))
    else:
        with path.open("rb") as file:
            got = whole(file)
            assert not file.closed
    assert np.array_equal(got, np.asarray(image))


def test_jpeg_and_avif_are_read_as_pillow_decodes_them() -> None:
    for format in ["JPEG"] + (["AVIF"] if features.check("avif") else []):
        file = saved(picture("RGB", 40, 30), format)
        assert np.array_equal(whole(file), np.asarray(Image.open(file)))


def test_one_pixel() -> None:
    image = picture("RGB", 1, 1)
    assert np.array_equal(whole(saved(image, "PNG")), np.asarray(image))


def test_windows_are_cut_where_they_are_asked_for() -> None:
    pixels = noise(20, 30, 3)
    for image in (pixels, Image.fromarray(pixels), saved(Image.fromarray(pixels), "PNG")):
        source = open_source(image)
        assert np.array_equal(source.read(7, 3, 11, 5), pixels[3:8, 7:18])
        assert np.array_equal(source.read(29, 19, 1, 1), pixels[19:, 29:])
        for window in ((0, 0, 31, 20), (-1, 0, 2, 2), (0, 19, 1, 2), (0, 0, 0, 1)):
            with pytest.raises(OptionError, match="not inside the image of 30 x 20"):
                source.read(*window)


def test_a_large_window_is_read_in_parts() -> None:
    pixels = noise(5000, 1000, 1)[..., 0]
    source = open_source(Image.fromarray(pixels))
    assert np.array_equal(source.read(1, 2, 998, 4997)[..., 0], pixels[2:4999, 1:999])


def test_a_window_is_a_copy() -> None:
    pixels = noise(4, 4, 3)
    before = pixels.copy()
    open_source(pixels).read(0, 0, 4, 4)[:] = 0
    assert np.array_equal(pixels, before)


# --- modes that are converted ------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "GIF", "TIFF", "BMP"])
def test_palette_becomes_rgb(format: str) -> None:
    image = Image.fromarray(noise(9, 13, 1)[..., 0] % 11)
    image.putpalette(noise(1, 11, 3).tobytes())
    expected = np.asarray(image.convert("RGB"))
    for given in (image, saved(image, format)):
        source = open_source(given)
        assert source.mode == "RGB"
        assert np.array_equal(source.read(2, 1, 8, 7), expected[1:8, 2:10])


@pytest.mark.parametrize("transparency", [3, b"\x00\x40\x80\xff\x01"])
def test_palette_with_transparency_becomes_rgba(transparency: int | bytes) -> None:
    image = Image.fromarray(noise(9, 13, 1)[..., 0] % 5)
    palette = noise(5, 1, 3).reshape(5, 3)
    image.putpalette(palette.tobytes())
    got = whole(saved(image, "PNG", transparency=transparency))
    index = np.asarray(image)
    alpha = (
        np.frombuffer(transparency, np.uint8)[index]
        if isinstance(transparency, bytes)
        else np.where(index == transparency, 0, 255)
    )
    assert np.array_equal(got[..., :3], palette[index])
    assert np.array_equal(got[..., 3], alpha)


def test_a_bilevel_image_becomes_grey() -> None:
    bits = noise(9, 13, 1)[..., 0] > 127
    image = Image.fromarray(bits)
    for given in (image, saved(image, "PNG"), saved(image, "TIFF", compression="group4")):
        source = open_source(given)
        assert source.mode == "L"
        assert np.array_equal(source.read(0, 0, 13, 9)[..., 0], bits * np.uint8(255))


def test_a_transparent_grey_or_colour_becomes_alpha() -> None:
    grey = np.array([[5, 6], [7, 5]], np.uint8)
    got = whole(saved(Image.fromarray(grey), "PNG", transparency=5))
    assert np.array_equal(got, np.stack([grey, np.where(grey == 5, 0, 255)], -1))

    colours = np.array([[[1, 2, 3], [1, 2, 4]]], np.uint8)
    got = whole(saved(Image.fromarray(colours), "PNG", transparency=(1, 2, 3)))
    assert got.tolist() == [[[1, 2, 3, 0], [1, 2, 4, 255]]]


@pytest.mark.parametrize("alpha", [0, 255])
@pytest.mark.parametrize("planar", [False, True])
def test_colours_multiplied_by_an_alpha_of_0_or_1_are_kept_as_stored(
    alpha: int, planar: bool
) -> None:
    pixels = noise(2, 2, 4)
    pixels[..., 3] = alpha
    page = {258: [8] * 4, 262: [2], 277: [4], 338: [1]}
    data = pixels.tobytes()
    if planar:
        data = np.ascontiguousarray(pixels.transpose(2, 0, 1)).tobytes()
        page |= {284: [2], 273: [8, 12, 16, 20], 279: [4] * 4}
    assert np.array_equal(whole(tiff(page, data=data)), pixels)


@pytest.mark.skipif(
    (b"II", 1, (1,), 1, (8, 8), (1,)) not in TiffImagePlugin.OPEN_INFO,
    reason="this Pillow refuses such files itself",
)
def test_grey_multiplied_by_an_alpha_of_0_or_1_is_kept_as_stored() -> None:
    pixels = noise(2, 2, 2)
    pixels[..., 1] = [[0, 255], [255, 0]]
    source = open_source(tiff({258: [8] * 2, 277: [2], 338: [1]}, data=pixels.tobytes()))
    assert source.mode == "LA"
    assert np.array_equal(source.read(0, 0, 2, 2), pixels)


def test_colours_multiplied_by_a_partial_alpha_are_refused() -> None:
    page = {258: [8] * 4, 262: [2], 277: [4], 338: [1]}
    message = refusal(tiff(page, data=bytes([10, 10, 10, 128] * 4)))
    assert "partial alpha" in message
    assert "magick" in message


def test_four_bands_without_a_word_on_the_fourth_lose_none() -> None:
    pixels = noise(2, 2, 4)
    got = whole(tiff({258: [8] * 4, 262: [2], 277: [4]}, data=pixels.tobytes()))
    assert np.array_equal(got, pixels)


# --- images that are refused -------------------------------------------------------------------


@pytest.mark.parametrize("colour_type,bands", [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png_is_refused(colour_type: int, bands: int) -> None:
    message = refusal(png16(colour_type, bands))
    assert "16 bits" in message
    assert "gdal_translate" in message


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("on_disk", [False, True])
def test_a_16_bit_file_opened_with_pillow_is_refused_too(
    tmp_path: Path, loaded: bool, on_disk: bool
) -> None:
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


# --- files that cannot be read -----------------------------------------------------------------


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
            damaged[RNG.integers(len(data) if trial % 2 else min(len(data), 80))] = RNG.integers(
                256
            )
        size = struct.unpack_from(">II", damaged, 16) if format == "PNG" else (1, 1)
        if size[0] * size[1] > 2**24:
            continue  # the memory would be there, but the time is not
        try:
            source = open_source(io.BytesIO(bytes(damaged)))
            source.read(0, 0, min(9, source.width), min(9, source.height))
        except ImageError as error:
            assert "\n" not in str(error)


def test_the_command_line_tells_of_a_damaged_file_in_one_line(tmp_path: Path) -> None:
    data = bytearray(saved(picture("RGB", 40, 40), "TIFF", software="x" * 20).getvalue())
    struct.pack_into("<I", data, data.index(struct.pack("<HHI", 305, 2, 21)) + 4, 2**20)
    (tmp_path / "a.tif").write_bytes(data[:-30])
    with pytest.warns(UserWarning, match="Tag data larger than file|Truncated File Read"):
        refusal(tmp_path / "a.tif")
    done = subprocess.run(
        [sys.executable, "-m", "dmecodec", "encode", "a.tif"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(images.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("dmecodec: a.tif: ")
    assert done.stderr.count("\n") == 1


def test_an_image_larger_than_the_format_of_the_codec_is_refused() -> None:
    header = b"P5 16777216 1 255\n"
    assert "too large" in refusal(io.BytesIO(header + bytes(100)))
    assert "too large" in refusal(io.BytesIO(b"P5 16777215 16777215 255\n"))


# --- arrays ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape,mode",
    [((4, 5), "L"), ((4, 5, 1), "L"), ((4, 5, 2), "LA"), ((4, 5, 3), "RGB"), ((4, 5, 4), "RGBA")],
)
def test_arrays(shape: tuple[int, ...], mode: str) -> None:
    array = RNG.integers(0, 256, shape, np.uint8)
    source = open_source(array)
    assert (source.width, source.height, source.mode) == (5, 4, mode)
    assert source.metadata == Metadata()
    assert np.array_equal(source.read(1, 0, 3, 4), array.reshape(4, 5, -1)[:, 1:4])


def test_arrays_need_not_be_contiguous() -> None:
    array = noise(8, 10, 3)[::2, ::-1]
    assert np.array_equal(whole(array), array)


@pytest.mark.parametrize("dtype", ["uint32", "float32", "bool", "int64", "int8"])
def test_arrays_of_other_types_are_refused_by_name(dtype: str) -> None:
    assert f"array of {dtype}" in refusal(np.zeros((4, 4, 3), dtype))


@pytest.mark.parametrize("shape", [(), (4,), (3, 64, 64), (4, 4, 0), (4, 40, 50), (1, 4, 4, 3)])
def test_arrays_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    assert f"array of shape {shape}" in refusal(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(0, 4), (4, 0, 3)])
def test_arrays_without_pixels_are_refused(shape: tuple[int, ...]) -> None:
    assert "has no pixels" in refusal(np.zeros(shape, np.uint8))


def test_an_array_with_too_long_a_side_is_refused() -> None:
    wide = np.broadcast_to(np.zeros((1, 1), np.uint8), (1, 2**24))
    assert "too large" in refusal(wide)


def test_a_pillow_image_without_pixels_is_refused() -> None:
    assert "has no pixels" in refusal(Image.new("RGB", (0, 3)))


# --- Pillow's limit on pixels ------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "WEBP", "GIF"])
def test_the_limit_of_pillow_does_not_apply_and_stands_afterwards(
    monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    image = picture("L" if format == "GIF" else "RGB", 40, 50)
    file = saved(image, format)
    expected = np.asarray(Image.open(file).convert("RGB"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    got = whole(file)  # of one band where a GIF has all 256 greys in order
    assert np.array_equal(np.broadcast_to(got, expected.shape), expected)
    assert Image.MAX_IMAGE_PIXELS == 30
    with pytest.raises(Image.DecompressionBombError):
        Image.open(file)


def test_the_limit_is_put_back_whatever_the_order_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = saved(picture("RGB", 40, 50), "WEBP").getvalue()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                assert whole(io.BytesIO(file)).shape == (40, 50, 3)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert Image.MAX_IMAGE_PIXELS == 30


def test_the_limit_is_put_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(picture("RGB", 400, 500), "WEBP").getvalue()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    assert "truncated" in refusal(io.BytesIO(file[: len(file) // 2]))
    assert Image.MAX_IMAGE_PIXELS == 30


# --- metadata ----------------------------------------------------------------------------------

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b"<?xpacket begin='' id='x'?><x:xmpmeta xmlns:x='adobe:ns:meta/'/><?xpacket end='w'?>"


def exif(orientation: int = 6) -> bytes:
    made = Image.Exif()
    made[274] = orientation
    made[271] = "Maker"
    made[256] = 4000  # what a camera says of its own file
    made[34665] = {36867: "2024:05:06 07:08:09"}
    made[34853] = {1: "N", 2: (52.0, 31.0, 0.5)}
    return made.tobytes().removeprefix(b"Exif\0\0")


METADATA = Metadata(icc=ICC, exif=exif(), xmp=XMP)


def filled(pixels: np.ndarray, metadata: Metadata | None = None) -> Sink:
    height, width, bands = pixels.shape
    sink = Sink(width, height, images.MODES[bands - 1], metadata or Metadata())
    sink.write(0, 0, pixels)
    return sink


def written(pixels: np.ndarray, format: str, metadata: Metadata | None = None) -> io.BytesIO:
    file = io.BytesIO()
    filled(pixels, metadata).save(file, format)
    file.seek(0)
    return file


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
        assert np.array_equal(source.read(0, 0, 13, 9), pixels)
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
    assert np.array_equal(source.read(0, 0, *image.size), plain)
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


# --- pixels out --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", images.MODES)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_lossless_formats_are(mode: str, format: str) -> None:
    pixels = noise(33, 47, len(mode))
    pixels[:10, ..., -1] = 0  # colours under an alpha of 0 count as well
    got = whole(written(pixels, format))
    if format == "WEBP" and mode in ("L", "LA"):  # WebP has no grey
        assert all(np.array_equal(got[..., band], pixels[..., 0]) for band in range(3))
        got = got[..., [0, 3]] if mode == "LA" else got[..., :1]
    assert np.array_equal(got, pixels)


def test_jpeg_is_close_and_keeps_full_chroma() -> None:
    rows, columns = np.mgrid[:64, :64]
    pixels = np.stack([rows * 4, columns * 4, 255 - rows * 4], -1).astype(np.uint8)
    file = written(pixels, "JPEG")
    assert np.abs(whole(file).astype(int) - pixels).mean() < 1
    opened = Image.open(file)
    assert [layer[1:3] for layer in opened.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


def test_windows_are_pasted_where_they_belong(tmp_path: Path) -> None:
    pixels = noise(70, 50, 1)
    sink = Sink(50, 70, "L", Metadata())
    for row in range(0, 70, 16):
        for col in range(0, 50, 16):
            window = pixels[row : row + 16, col : col + 16]
            sink.write(col, row, window[..., 0] if col else window)
    sink.save(tmp_path / "a.png", "PNG")
    assert np.array_equal(whole(tmp_path / "a.png"), pixels)


@pytest.mark.parametrize(
    "col,row,pixels",
    [
        (9, 0, np.zeros((2, 2, 3), np.uint8)),
        (-1, 0, np.zeros((2, 2, 3), np.uint8)),
        (0, 0, np.zeros((2, 2), np.uint8)),
        (0, 0, np.zeros((2, 2, 4), np.uint8)),
        (0, 0, np.zeros((2, 2, 3), np.float32)),
    ],
)
def test_windows_that_do_not_fit_are_errors(col: int, row: int, pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="window"):
        Sink(10, 10, "RGB", Metadata()).write(col, row, pixels)


class Pipe(io.RawIOBase):
    """Takes 1000 bytes at a time, cannot seek or tell."""

    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += bytes(data[:1000])
        return min(len(data), 1000)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_a_pipe_gets_the_same_bytes_as_a_file(tmp_path: Path, format: str) -> None:
    sink = filled(noise(90, 130, 3), METADATA)
    sink.save(tmp_path / "a", format)
    pipe: Any = Pipe()
    sink.save(pipe, format)
    assert pipe.data == (tmp_path / "a").read_bytes()


def test_a_tiff_has_strips_of_a_megabyte_and_no_compression() -> None:
    opened: Any = Image.open(written(np.zeros((1100, 2000, 3), np.uint8), "TIFF"))
    assert opened.tag_v2[259] == 1
    assert opened.tag_v2[278] == 174
    assert len(opened.tag_v2[273]) == 7


@pytest.mark.parametrize("mode", images.MODES)
@pytest.mark.parametrize("height", [1, 2, 3, 40])
def test_a_tiff_too_big_for_32_bits_is_a_big_tiff(
    monkeypatch: pytest.MonkeyPatch, mode: str, height: int
) -> None:
    monkeypatch.setattr(images.sink, "_MAX_TIFF_BYTES", 10)
    monkeypatch.setattr(images.sink, "_STRIP_BYTES", 1)  # one row each
    pixels = noise(height, 47, len(mode))
    file = written(pixels, "TIFF", METADATA)
    assert file.getvalue()[:4] == b"II+\0"
    source = open_source(file)
    assert np.array_equal(source.read(0, 0, 47, height), pixels)
    assert source.metadata.icc == ICC
    opened: Any = Image.open(file)
    assert opened.tag_v2.tagtype[273] == 16


DISK_FULL = """
import resource, signal, sys
import numpy as np
from dmecodec.errors import OutputError
from dmecodec.images import Metadata, Sink
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
sink = Sink(300, 300, "RGB", Metadata())
sink.write(0, 0, pixels)
for format, size in zip(("PNG", "TIFF", "JPEG", "WEBP"), map(int, sys.argv[1:])):
    for limit in (0, 100, 20000, size // 2, size - 1000, size - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            sink.save("out", format)
            print(format, limit, "was written")
        except OutputError as error:
            assert str(error).endswith("out: File too large"), error
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_disk_that_fills_up_at_any_point_leaves_nothing(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    sizes = [
        str(len(written(pixels, format).getvalue())) for format in ("PNG", "TIFF", "JPEG", "WEBP")
    ]
    root = Path(images.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", DISK_FULL, *sizes],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_stands_until_the_new_one_is_complete(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"old")
    with pytest.raises(OutputError):
        filled(noise(9, 13, 3), Metadata(exif=bytes(70000))).save(tmp_path / "a.jpg", "JPEG")
    assert (tmp_path / "a.jpg").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_too_little_memory_for_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "new", fail)
    with pytest.raises(OutputError, match="not enough memory"):
        Sink(10, 10, "RGB", Metadata())


def test_too_little_memory_for_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> None:
        raise MemoryError

    file = saved(picture("RGB"), "PNG")
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    assert "not enough memory" in refusal(file)


# --- formats -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name,format",
    [
        ("a.png", "PNG"),
        ("a.PNG", "PNG"),
        ("b/a.x.tif", "TIFF"),
        ("a.tiff", "TIFF"),
        ("a.jpg", "JPEG"),
        ("a.JPEG", "JPEG"),
        ("a.webp", "WEBP"),
    ],
)
def test_the_format_follows_the_suffix(name: str, format: str) -> None:
    assert output_format(name) == output_format(Path(name)) == format


@pytest.mark.parametrize("name", ["a", "a.gif", "a.dmen", ".png", "a.png/"[:-1] + "x"])
def test_other_suffixes_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match=r"\.png, \.tif, \.tiff, \.jpg, \.jpeg, \.webp"):
        output_format(name)


@pytest.mark.parametrize(
    "format,width,height,mode",
    [
        ("PNG", 2**24 - 1, 4096, "RGBA"),
        ("TIFF", 2**24 - 1, 4096, "LA"),
        ("JPEG", 65500, 65500, "RGB"),
        ("WEBP", 16383, 16383, "RGBA"),
    ],
)
def test_what_a_format_can_hold(format: str, width: int, height: int, mode: str) -> None:
    check_output(format, width, height, mode)


@pytest.mark.parametrize(
    "format,width,height,mode,reason",
    [
        ("JPEG", 10, 10, "RGBA", "alpha"),
        ("JPEG", 10, 10, "LA", "alpha"),
        ("JPEG", 65501, 10, "RGB", "65500"),
        ("WEBP", 10, 16384, "RGB", "16383"),
    ],
)
def test_what_a_format_cannot_hold(
    format: str, width: int, height: int, mode: str, reason: str
) -> None:
    with pytest.raises(OutputError, match=reason):
        check_output(format, width, height, mode)
    with pytest.raises(OutputError, match=reason):
        Sink(min(width, 2**17), height, mode, Metadata()).save(io.BytesIO(), format)


def test_the_longest_side_of_a_jpeg_is_written() -> None:
    assert open_source(written(np.zeros((1, 65500, 1), np.uint8), "JPEG")).width == 65500


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(OptionError, match="GIF"):
        check_output("GIF", 1, 1, "L")


def test_webp_without_support(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(OutputError, match="without WebP"):
        check_output("WEBP", 1, 1, "RGB")


# --- cost --------------------------------------------------------------------------------------

PEAK = """
import resource, sys
import numpy as np
from dmecodec.images import Metadata, Sink, open_source
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 2**20)
side = 4096
before = peak()
sink = Sink(side, side, "RGB", Metadata())
window = np.zeros((1024, 1024, 3), np.uint8)
for at in range(0, side, 1024):
    sink.write(at, at, window)
sink.save("a.tif", "TIFF")
del sink
source = open_source("a.tif")
for at in range(0, side, 1024):
    source.read(at, at, 1024, 1024)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
def test_memory_is_one_copy_as_pillow_holds_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PEAK],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(images.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 64 + 40  # MiB: 4 bytes a pixel, and some windows


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, dmecodec.images; print('torch' in sys.modules)"
    env = os.environ | {"PYTHONPATH": str(Path(images.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    assert done.stdout.strip() == b"False"


def test_several_threads_read_one_source() -> None:
    pixels = noise(256, 256, 3)
    source = open_source(saved(Image.fromarray(pixels), "PNG"))
    wrong: list[int] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(50):
            col, row = (int(value) for value in rng.integers(0, 200, 2))
            if not np.array_equal(
                source.read(col, row, 50, 40), pixels[row : row + 40, col : col + 50]
            ):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(("name", "value"), [("icc_profile", "sRGB"), ("exif", 7), ("xmp", {})])
def test_metadata_of_an_image_in_memory_must_be_bytes(name: str, value: Any) -> None:
    image = Image.new("RGB", (8, 8))
    image.info[name] = value or {"rdf": 1}
    with pytest.raises(ImageError, match=f"{name} is .*: expected bytes"):
        open_source(image)


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
