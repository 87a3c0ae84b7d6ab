"""Images out: formats, pipes, full disks, what a format cannot hold."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import (
    ICC,
    METADATA,
    Pipe,
    filled,
    noise,
    whole,
    written,
)
from PIL import Image, features

from dmecodec.base.boxes import Box
from dmecodec.errors import OptionError, OutputError
from dmecodec.format.limits import PLAIN_MODES
from dmecodec.images import formats
from dmecodec.images.formats import check_output, output_format
from dmecodec.images.metadata import Metadata
from dmecodec.images.open import open_source
from dmecodec.images.save import Sink


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


@pytest.mark.parametrize("mode", PLAIN_MODES)
@pytest.mark.parametrize("height", [1, 2, 3, 40])
def test_a_tiff_too_big_for_32_bits_is_a_big_tiff(monkeypatch: pytest.MonkeyPatch, mode: str, height: int) -> None:
    monkeypatch.setattr(formats, "_MAX_TIFF_BYTES", 10)
    monkeypatch.setattr(formats, "_STRIP_BYTES", 1)  # one row each
    pixels = noise(height, 47, len(mode))
    file = written(pixels, "TIFF", METADATA)
    assert file.getvalue()[:4] == b"II+\0"
    source = open_source(file)
    assert np.array_equal(source.pixels(Box(0, 0, 47, height)), pixels)
    assert source.metadata.icc == ICC
    opened: Any = Image.open(file)
    assert opened.tag_v2.tagtype[273] == 16


DISK_FULL = """
import resource, signal, sys
import numpy as np
from dmecodec.errors import OutputError
from dmecodec.images.metadata import Metadata
from dmecodec.images.save import Sink
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
    sizes = [str(len(written(pixels, format).getvalue())) for format in ("PNG", "TIFF", "JPEG", "WEBP")]
    root = Path(formats.__file__).parents[2]
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
def test_what_a_format_cannot_hold(format: str, width: int, height: int, mode: str, reason: str) -> None:
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
