"""The Pillow plugin: what users of Pillow expect of any format."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from command import environment
from conftest import DATA, aerial, in_mode
from PIL import Image, ImageFile, UnidentifiedImageError

import dmecodec
import dmecodec.pillow

CODED = DATA / "rgb_q4.dmen"


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


# ---- reading ------------------------------------------------------------------------------------


def test_opening_reads_the_header_and_imports_no_torch() -> None:
    code = (
        "import sys, dmecodec.pillow\n"
        "from PIL import Image\n"
        f"with Image.open({str(CODED)!r}) as image:\n"
        "    assert (image.format, image.mode, image.size) == ('DMEN', 'RGB', (128, 96))\n"
        "    assert image.get_format_mimetype() == 'image/x-dmen'\n"
        "    image.verify()\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], env=environment()).returncode == 0


@pytest.mark.parametrize("name", ["rgb_tiles", "grey", "grey_alpha", "rgba_tiles", "rgb_1x1"])
def test_pixels_are_those_of_the_library(name: str) -> None:
    path = DATA / f"{name}.dmen"
    expected = dmecodec.decode(path.read_bytes())
    with Image.open(path) as image:
        assert len(image.mode) == (1 if expected.ndim == 2 else expected.shape[2])
        np.testing.assert_array_equal(np.asarray(image), expected)
    with path.open("rb") as file:
        image = Image.open(file)
        image.load()
        assert not file.closed
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(path.read_bytes()))), expected)


def test_loading_closes_the_file_that_pillow_opened() -> None:
    image = Image.open(CODED)
    file = image.fp
    assert file is not None and not file.closed
    image.load()
    assert file.closed and image.fp is None
    assert image.load()[0, 0] == image.getpixel((0, 0))
    image.putpixel((0, 0), (1, 2, 3))
    assert image.getpixel((0, 0)) == (1, 2, 3)


def test_a_closed_image_says_so() -> None:
    with Image.open(CODED) as image:
        pass
    with pytest.raises(ValueError, match="closed"):
        image.load()
    image = Image.open(CODED)
    image.verify()
    with pytest.raises(ValueError, match="closed"):
        image.load()
    image = Image.open(CODED)
    image.close()
    with pytest.raises(ValueError, match="closed"):
        image.load()


def test_several_threads_may_ask_for_the_pixels() -> None:
    expected = dmecodec.decode(CODED.read_bytes())
    image = Image.open(CODED)
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda _: np.asarray(image.copy()), range(8)):
            np.testing.assert_array_equal(got, expected)
        for got in pool.map(lambda _: np.asarray(Image.open(CODED)), range(8)):
            np.testing.assert_array_equal(got, expected)


def test_copies_and_pickles_are_plain_images() -> None:
    image = Image.open(CODED)
    expected = dmecodec.decode(CODED.read_bytes())
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(image))), expected)
    np.testing.assert_array_equal(np.asarray(image.crop((1, 2, 30, 40))), expected[2:40, 1:30])


def test_the_incremental_parser() -> None:
    parser = ImageFile.Parser()
    data = CODED.read_bytes()
    for start in range(0, len(data), 100):
        parser.feed(data[start : start + 100])
    np.testing.assert_array_equal(np.asarray(parser.close()), dmecodec.decode(data))


def test_metadata_stands_in_info() -> None:
    with (
        Image.open(DATA / "rgb_metadata.dmen") as image,
        dmecodec.open(DATA / "rgb_metadata.dmen") as file,
    ):
        assert image.info == {
            "icc_profile": file.metadata.icc,
            "exif": b"Exif\0\0" + file.metadata.exif,
        }
        tags = dict(image.getexif())
        assert tags
        image.save(jpeg := io.BytesIO(), "JPEG", exif=image.info["exif"])
    assert dict(Image.open(jpeg).getexif()) == tags


# ---- damage -------------------------------------------------------------------------------------


def test_every_truncation_and_a_longer_file_is_refused() -> None:
    data = CODED.read_bytes()
    for end in [*range(0, len(data), 37), len(data) - 1]:
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(data[:end]))
    with pytest.raises(UnidentifiedImageError, match="1 bytes follow"):
        Image.open(io.BytesIO(data + b"x"))


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    data = CODED.read_bytes()
    path = tmp_path / "bad.dmen"
    for position in [0, 5, 20, len(data) // 2, len(data) - 1]:
        path.write_bytes(flipped(data, position))
        with pytest.raises(OSError, match=r"bad\.dmen") as caught:
            Image.open(path).load()
        assert "\n" not in str(caught.value)
    with pytest.raises(OSError, match="checksum"):
        Image.open(path).verify()


def test_a_model_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DMECODEC_MODELS")
    image = Image.open(CODED)
    with pytest.raises(OSError, match="which is not here"):
        image.load()


# ---- writing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_saving_gives_the_bytes_of_the_library(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(in_mode(aerial(70, 50, 60), mode))
    expected = dmecodec.encode(image, 2.5, tile=64)
    image.save(tmp_path / "a.dmen", quality=2.5, tile=64)
    with (tmp_path / "b").open("wb") as file:
        image.save(file, "DMEN", quality=2.5, tile=64)
    memory = io.BytesIO()
    image.save(memory, format="dmen", quality=2.5, tile=64)
    assert (tmp_path / "a.dmen").read_bytes() == (tmp_path / "b").read_bytes() == expected
    assert memory.getvalue() == expected
    again = Image.open(memory)
    assert (again.mode, again.size) == (mode, (60, 50))


def test_metadata_is_kept_replaced_and_left_out() -> None:
    image = Image.open(DATA / "rgb_metadata.dmen")
    kept = dict(image.info)

    def saved(**options: object) -> dict[str, object]:
        file = io.BytesIO()
        image.save(file, "DMEN", **options)
        return dict(Image.open(file).info)

    assert saved() == kept
    assert saved(xmp=b"<x/>") == {**kept, "xmp": b"<x/>"}
    assert saved(icc_profile=None, exif=b"") == {}
    exif = Image.Exif()
    exif[270] = "a field"
    assert saved(exif=exif)["exif"] == b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")


def test_saving_over_the_file_it_came_from(tmp_path: Path) -> None:
    path = tmp_path / "a.dmen"
    path.write_bytes(CODED.read_bytes())
    image = Image.open(path)
    image.save(path, quality=7)
    expected = dmecodec.encode(dmecodec.decode(CODED.read_bytes()), 7)
    assert path.read_bytes() == expected


def test_what_cannot_be_saved(tmp_path: Path, image: Callable[..., np.ndarray]) -> None:
    picture = Image.fromarray(image(71, 20, 20))
    target = tmp_path / "a.dmen"
    with pytest.raises(OSError, match="CMYK"):
        picture.convert("CMYK").save(target)
    with pytest.raises(OSError, match="no such model"):
        picture.save(target, model="none")
    with pytest.raises(ValueError, match="quality 75"):
        picture.save(target, quality=75)
    deep = tmp_path / "deep.png"
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(deep)
    with pytest.raises(OSError, match="16"):
        Image.open(deep).save(target, exif=b"x")
    assert list(tmp_path.iterdir()) == [deep]


@pytest.mark.parametrize("name", [lambda path: path, str, lambda path: str(path).encode()])
def test_a_refused_image_leaves_the_file_that_was_there(tmp_path: Path, name: Callable[[Path], object]) -> None:
    for path, format in ((tmp_path / "a.dmen", None), (tmp_path / "b.bin", "dmen"), (tmp_path / "c.DMEN", None)):
        path.write_bytes(b"before")
        picture = Image.new("RGB", (20, 20))
        with pytest.raises(ValueError, match="quality 75: must be between 0 and 7"):
            picture.save(name(path), format, quality=75)
        with pytest.raises(ValueError, match="effort"):
            picture.save(name(path), format, effort=9)
        with pytest.raises(OSError, match="CMYK"):
            picture.convert("CMYK").save(name(path), format)
        assert path.read_bytes() == b"before"
        picture.save(name(path), format, quality=2)
        assert path.read_bytes() == dmecodec.encode(picture, 2)


def test_saving_other_formats_is_left_to_pillow(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png", dmecodec=1, quality=75)
    assert Image.open(tmp_path / "a.png").size == (20, 20)
    with pytest.raises(ValueError, match="unknown file extension"):
        Image.new("RGB", (20, 20)).save(tmp_path / "a.unknown")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "DMEN"])
def test_edited_exif_and_resolution_are_saved(format: str) -> None:
    made = Image.Exif()
    made[274], made[270] = 6, "old"
    Image.new("RGB", (40, 60)).save(file := io.BytesIO(), format, exif=made)
    image = Image.open(file)
    image.getexif()[274], image.getexif()[270] = 1, "edited"
    image.save(out := io.BytesIO(), "DMEN")
    assert dict(Image.open(out).getexif()) == {274: 1, 270: "edited"}
    image.save(out := io.BytesIO(), "DMEN", exif=b"")
    assert not Image.open(out).getexif()
    image.save(out := io.BytesIO(), "DMEN", exif=made)
    assert dict(Image.open(out).getexif()) == {274: 6, 270: "old"}
    Image.new("RGB", (40, 60)).save(file := io.BytesIO(), "PNG", dpi=(300, 300))
    Image.open(file).save(out := io.BytesIO(), "DMEN")
    assert float(Image.open(out).getexif()[282]) == pytest.approx(118.11)


def test_a_bound_and_lossless() -> None:
    pixels = aerial(72, 30, 40)

    def saved(**options: object) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "DMEN", **options)
        return file.getvalue()

    assert saved(max_error=3) == dmecodec.encode(pixels, max_error=3)
    for options in ({"max_error": 0}, {"lossless": True}, {"lossless": True, "max_error": 0}):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(saved(**options)))), pixels)
    assert saved(lossless=False) == saved()
    assert saved(effort=0) == dmecodec.encode(pixels, effort=0) != saved()
    for options in ({"lossless": True, "max_error": 1}, {"lossless": True, "bpp": 1}):
        with pytest.raises(ValueError, match=r"contradicts|not both"):
            saved(**options)
