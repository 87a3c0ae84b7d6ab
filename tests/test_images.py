"""Images in: every file here is written by the tests, byte for byte where it matters."""

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from image_files import (
    RNG,
    noise,
    picture,
    refusal,
    saved,
    tiff,
    whole,
)
from PIL import Image, PngImagePlugin, TiffImagePlugin, features

from dmecodec import errors
from dmecodec.base.boxes import Box
from dmecodec.errors import OptionError
from dmecodec.format.limits import PLAIN_MODES
from dmecodec.images.metadata import Metadata
from dmecodec.images.open import open_source


@pytest.mark.parametrize("mode", PLAIN_MODES)
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
    got = source.pixels(Box(0, 0, 13, 9))
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
def test_tiff_compressions_from_files_and_memory(tmp_path: Path, compression: str, kind: str) -> None:
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
        assert np.array_equal(source.pixels(Box(7, 3, 11, 5)), pixels[3:8, 7:18])
        assert np.array_equal(source.pixels(Box(29, 19, 1, 1)), pixels[19:, 29:])
        for window in ((0, 0, 31, 20), (-1, 0, 2, 2), (0, 19, 1, 2), (0, 0, 0, 1)):
            with pytest.raises(OptionError, match="not inside the image of 30 x 20"):
                source.pixels(Box(*window))


def test_a_large_window_is_read_in_parts() -> None:
    pixels = noise(5000, 1000, 1)[..., 0]
    source = open_source(Image.fromarray(pixels))
    assert np.array_equal(source.pixels(Box(1, 2, 998, 4997))[..., 0], pixels[2:4999, 1:999])


def test_a_window_is_a_copy() -> None:
    pixels = noise(4, 4, 3)
    before = pixels.copy()
    open_source(pixels).pixels(Box(0, 0, 4, 4))[:] = 0
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("format", ["PNG", "GIF", "TIFF", "BMP"])
def test_palette_becomes_rgb(format: str) -> None:
    image = Image.fromarray(noise(9, 13, 1)[..., 0] % 11)
    image.putpalette(noise(1, 11, 3).tobytes())
    expected = np.asarray(image.convert("RGB"))
    for given in (image, saved(image, format)):
        source = open_source(given)
        assert source.mode == "RGB"
        assert np.array_equal(source.pixels(Box(2, 1, 8, 7)), expected[1:8, 2:10])


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
        assert np.array_equal(source.pixels(Box(0, 0, 13, 9))[..., 0], bits * np.uint8(255))


def test_a_transparent_grey_or_colour_becomes_alpha() -> None:
    grey = np.array([[5, 6], [7, 5]], np.uint8)
    got = whole(saved(Image.fromarray(grey), "PNG", transparency=5))
    assert np.array_equal(got, np.stack([grey, np.where(grey == 5, 0, 255)], -1))

    colours = np.array([[[1, 2, 3], [1, 2, 4]]], np.uint8)
    got = whole(saved(Image.fromarray(colours), "PNG", transparency=(1, 2, 3)))
    assert got.tolist() == [[[1, 2, 3, 0], [1, 2, 4, 255]]]


@pytest.mark.parametrize("alpha", [0, 255])
@pytest.mark.parametrize("planar", [False, True])
def test_colours_multiplied_by_an_alpha_of_0_or_1_are_kept_as_stored(alpha: int, planar: bool) -> None:
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
    assert np.array_equal(source.pixels(Box(0, 0, 2, 2)), pixels)


def test_colours_multiplied_by_a_partial_alpha_are_refused() -> None:
    page = {258: [8] * 4, 262: [2], 277: [4], 338: [1]}
    message = refusal(tiff(page, data=bytes([10, 10, 10, 128] * 4)))
    assert "partial alpha" in message
    assert "magick" in message


def test_four_bands_without_a_word_on_the_fourth_lose_none() -> None:
    pixels = noise(2, 2, 4)
    got = whole(tiff({258: [8] * 4, 262: [2], 277: [4]}, data=pixels.tobytes()))
    assert np.array_equal(got, pixels)


def test_an_image_larger_than_the_format_of_the_codec_is_refused() -> None:
    header = b"P5 16777216 1 255\n"
    assert "too large" in refusal(io.BytesIO(header + bytes(100)))
    assert "too large" in refusal(io.BytesIO(b"P5 16777215 16777215 255\n"))


@pytest.mark.parametrize(
    "shape,mode",
    [((4, 5), "L"), ((4, 5, 1), "L"), ((4, 5, 2), "LA"), ((4, 5, 3), "RGB"), ((4, 5, 4), "RGBA")],
)
def test_arrays(shape: tuple[int, ...], mode: str) -> None:
    array = RNG.integers(0, 256, shape, np.uint8)
    source = open_source(array)
    assert (source.width, source.height, source.mode) == (5, 4, mode)
    assert source.metadata == Metadata()
    assert np.array_equal(source.pixels(Box(1, 0, 3, 4)), array.reshape(4, 5, -1)[:, 1:4])


def test_arrays_need_not_be_contiguous() -> None:
    array = noise(8, 10, 3)[::2, ::-1]
    assert np.array_equal(whole(array), array)


@pytest.mark.parametrize("dtype", ["uint32", "float32", "bool", "int64", "complex64"])
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


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "WEBP", "GIF"])
def test_the_limit_of_pillow_does_not_apply_and_stands_afterwards(monkeypatch: pytest.MonkeyPatch, format: str) -> None:
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


def test_too_little_memory_for_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> None:
        raise MemoryError

    file = saved(picture("RGB"), "PNG")
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    assert "not enough memory" in refusal(file)


PEAK = """
import resource, sys
import numpy as np
from dmecodec.base.boxes import Box
from dmecodec.images.metadata import Metadata
from dmecodec.images.open import open_source
from dmecodec.images.save import Sink
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
    source.pixels(Box(at, at, 1024, 1024))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
def test_memory_is_one_copy_as_pillow_holds_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PEAK],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(errors.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 64 + 40  # MiB: 4 bytes a pixel, and some windows


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, dmecodec.images.open; print('torch' in sys.modules)"
    env = os.environ | {"PYTHONPATH": str(Path(errors.__file__).parents[1])}
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
            if not np.array_equal(source.pixels(Box(col, row, 50, 40)), pixels[row : row + 40, col : col + 50]):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
