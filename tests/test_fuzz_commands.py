"""Damaged files given to the commands: one line and no output, or what the undamaged file gives."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from command import Outcome, one_line, run
from conftest import aerial
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_fuzz import damaged_files, mutations

import dmecodec

often = settings(max_examples=100)


def in_format(name: str, **options: object) -> bytes:
    """A small image in a format, as a file."""
    file = io.BytesIO()
    Image.fromarray(aerial(3, 48, 40)).save(file, name, **options)
    return file.getvalue()


IMAGES = {
    "png": in_format("PNG"),
    "tif": in_format("TIFF", compression="tiff_deflate"),
    "jpg": in_format("JPEG", quality=80),
    "webp": in_format("WEBP", lossless=True),
    "bmp": in_format("BMP"),
}


@contextmanager
def folder_with(name: str, data: bytes) -> Iterator[Path]:
    """A file in an empty folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        yield path


def told_and_left_nothing(outcome: Outcome, file: Path) -> None:
    """One line about the file, and no other file beside it."""
    assert outcome.status == 1
    assert outcome.data == b""
    assert os.fspath(file) in one_line(outcome.err)
    assert list(file.parent.iterdir()) == [file]


@given(damaged_files())
@often
def test_mutated_files(files: tuple[bytes, bytes]) -> None:
    with folder_with("a.dmen", files[1]) as file:
        for check in (["verify"], ["verify", "--deep"]):
            told_and_left_nothing(run(*check, file), file)
        out = file.with_suffix(".tif")
        outcome = run("decode", file, "-o", out)
        told_and_left_nothing(outcome, file)
        info = run("info", file)  # looks at the header alone, which may be whole
        if info.status:
            told_and_left_nothing(info, file)


@given(damaged_files(("rgb_tiles", "rgba_tiles", "bound_2")))
@often
def test_windows_of_mutated_files(files: tuple[bytes, bytes]) -> None:
    """What a window needs may be whole: then it is the same as ever."""
    original, mutated = files
    with folder_with("a.dmen", mutated) as file:
        out = file.with_suffix(".png")
        outcome = run("decode", file, "-o", out, "--window", "3,5,20,16")
        if outcome.status:
            told_and_left_nothing(outcome, file)
        else:
            expected = dmecodec.decode(original, window=(3, 5, 20, 16))
            np.testing.assert_array_equal(np.asarray(Image.open(out)), expected)


@given(st.data(), st.sampled_from(sorted(IMAGES)))
@often
def test_mutated_images(data: st.DataObject, suffix: str) -> None:
    """An image without checksums may well be damaged and still be one."""
    mutated = data.draw(mutations(IMAGES[suffix], IMAGES["png"]))
    with folder_with(f"a.{suffix}", mutated) as file:
        out = file.with_suffix(".dmen")
        outcome = run("encode", file, "-o", out, "--quiet")
        if outcome.status:
            told_and_left_nothing(outcome, file)
        else:
            assert run("verify", "--deep", out).status == 0
