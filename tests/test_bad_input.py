"""Whatever a user does wrong: one line on stderr, a status that is not 0, and no file left behind."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from command import environment, one_line, refused, run, start, works
from conftest import DATA, aerial
from PIL import Image

import dmecodec
from dmecodec.base import files
from dmecodec.format.reader import Reader

SMALL = DATA / "rgb_37x91.png"
CODED = DATA / "rgb_q4.dmen"  # 128 x 96
TINIEST = DATA / "rgb_1x1.dmen"


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """Whatever a test puts into the folder `in`, no new file may stand anywhere after it."""
    (tmp_path / "in").mkdir()
    yield
    left = [p for p in tmp_path.rglob("*") if p.is_file() and p.parts[len(tmp_path.parts)] != "in"]
    assert left == []
    assert not list(tmp_path.rglob(".dmecodec-*"))


def put(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / "in" / name
    path.write_bytes(data)
    return path


# ---- images -------------------------------------------------------------------------------------------------------


def test_missing_file(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert f"{missing}.png: there is no such file" in refused("encode", f"{missing}.png")
    for command in ("decode", "info", "verify"):
        message = refused(command, f"{missing}.dmen")
        assert f"{missing}.dmen: cannot be read (No such file or directory)" in message
    assert f"{missing}: no such folder" in refused("bench", missing)
    assert "no such" in refused("train", missing, "--out", tmp_path / "run")


def test_folder_where_a_file_is_meant(tmp_path: Path) -> None:
    for command in ("info", "verify"):
        assert "cannot be read (Is a directory)" in refused(command, tmp_path)
    assert "no file here ends in" in refused("encode", tmp_path / "in")
    assert "no file here ends in .dmen" in refused("decode", tmp_path / "in")
    (tmp_path / "rgb_37x91.dmen").mkdir()
    assert "rgb_37x91.dmen is a folder" in refused("encode", SMALL, "-o", tmp_path)
    message = refused("encode", SMALL, "-o", tmp_path / "a.dmen", "--model", tmp_path)
    assert f"{tmp_path}: no such model" in message


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_links_in_a_circle(tmp_path: Path) -> None:
    loop = tmp_path / "in" / "loop.png"
    loop.symlink_to(loop)
    assert str(loop) in refused("encode", loop)
    assert str(loop) in refused("decode", CODED, "-o", loop)


def test_an_empty_name() -> None:
    for command in ("encode", "decode"):
        assert "a file name is empty" in refused(command, "")
        assert "a file name is empty" in refused(command, SMALL, "-o", "")


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", bytes(1000)])
def test_not_an_image(tmp_path: Path, data: bytes) -> None:
    image = put(tmp_path, "a.png", data)
    assert str(image) in refused("encode", image, "-o", tmp_path / "a.dmen")


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "WEBP", "BMP", "PPM", "JPEG2000"])
def test_truncated_image(tmp_path: Path, format: str) -> None:
    whole = io.BytesIO()
    Image.fromarray(aerial(1, 60, 70)).save(whole, format)
    data = whole.getvalue()
    for length in (len(data) // 2, len(data) * 9 // 10):
        image = put(tmp_path, "a.img", data[:length])
        assert str(image) in refused("encode", image, "-o", tmp_path / "a.dmen")


def in_pillow_mode(mode: str) -> Image.Image:
    return Image.fromarray(aerial(1, 20, 30)).convert(mode)


@pytest.mark.parametrize(
    ("image", "format", "reason"),
    [
        (Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30)), "PNG", "16 bits"),
        (Image.fromarray(np.arange(600, dtype=np.int32).reshape(20, 30)), "TIFF", "bit|signed"),
        (Image.fromarray(np.zeros((20, 30), np.float32)), "TIFF", "floating-point"),
        (in_pillow_mode("CMYK"), "TIFF", "colour model|CMYK|bands"),
        (in_pillow_mode("CMYK"), "JPEG", "CMYK|bands|components"),
        (in_pillow_mode("YCbCr"), "TIFF", "YCbCr"),
        (in_pillow_mode("LAB"), "TIFF", "LAB|Lab"),
    ],
    ids=["I;16", "I", "F", "CMYK", "CMYK JPEG", "YCbCr", "LAB"],
)
def test_images_that_would_lose_something(tmp_path: Path, image: Image.Image, format: str, reason: str) -> None:
    path = tmp_path / "in" / "a.img"
    image.save(path, format)
    message = refused("encode", path, "-o", tmp_path / "a.dmen")
    assert str(path) in message
    assert any(word in message for word in reason.split("|")), message


def test_a_16_bit_rgb_png_that_pillow_takes_for_8_bits(tmp_path: Path) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    rows = zlib.compress(2 * (b"\0" + bytes(range(12))))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    image = put(tmp_path, "a.png", data)
    with Image.open(image) as opened:
        assert opened.mode == "RGB"
    assert "16 bits" in refused("encode", image, "-o", tmp_path / "a.dmen")


def test_several_frames(tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.tif"
    frames = [in_pillow_mode("RGB"), in_pillow_mode("RGB")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert "2 pages" in refused("encode", path, "-o", tmp_path / "a.dmen")


# ---- .dmen files --------------------------------------------------------------------------------------------------


def test_a_file_cut_anywhere(tmp_path: Path) -> None:
    data = TINIEST.read_bytes()
    for length in range(len(data)):
        cut = put(tmp_path, "a.dmen", data[:length])
        for command in (["info"], ["verify"], ["decode", "-o", tmp_path / "a.png"]):
            assert str(cut) in refused(*command, cut)


def test_a_bit_flipped_anywhere(tmp_path: Path) -> None:
    data = TINIEST.read_bytes()
    for position in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            damaged = put(tmp_path, "a.dmen", bytes(flipped))
            assert str(damaged) in refused("verify", damaged)
            assert str(damaged) in refused("decode", damaged, "-o", tmp_path / "a.png")


def test_a_byte_changed_anywhere_in_a_file_with_metadata(tmp_path: Path) -> None:
    data = (DATA / "rgb_metadata.dmen").read_bytes()
    for position in range(0, len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        refused("verify", put(tmp_path, "a.dmen", bytes(changed)))


def test_damaged_metadata_does_not_pass_unseen(tmp_path: Path) -> None:
    changed = bytearray((DATA / "rgb_metadata.dmen").read_bytes())
    changed[-100] ^= 1
    damaged = put(tmp_path, "a.dmen", bytes(changed))
    assert "checksum" in refused("decode", damaged, "-o", tmp_path / "a.png")


def test_bytes_after_the_end(tmp_path: Path) -> None:
    longer = put(tmp_path, "a.dmen", CODED.read_bytes() + b"\0")
    for command in (["info"], ["verify"], ["decode", "-o", tmp_path / "a.png"]):
        assert "follow the end" in refused(*command, longer)


def test_wrong_magic(tmp_path: Path) -> None:
    for command in (["info"], ["verify"], ["decode", "-o", tmp_path / "a.png"]):
        assert f"{SMALL}: not a .dmen file" in refused(*command, SMALL)


def test_newer_version(tmp_path: Path) -> None:
    data = bytearray(CODED.read_bytes())
    data[4] = 5
    newer = put(tmp_path, "a.dmen", bytes(data))
    for command in (["info"], ["verify"], ["decode", "-o", tmp_path / "a.png"]):
        message = refused(*command, newer)
        assert "made by a newer dmecodec" in message and "please upgrade" in message


def test_a_file_of_before_the_first_release(tmp_path: Path) -> None:
    older = put(tmp_path, "a.dmen", b"\x89DME\4" + CODED.read_bytes()[5:])
    for command in (["info"], ["verify"], ["decode", "-o", tmp_path / "a.png"]):
        message = refused(*command, older)
        assert f"{older}: made before the first release of dmecodec; encode the original again" in message


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low]) if not rest else bytes([low | 0x80]) + varint(rest)


def with_size(width: int, height: int, tile: int) -> bytes:
    """A file with right checksums whose header claims an image of this size, and the streams of one tile."""
    model = Reader(CODED.read_bytes()).header.model
    body = model + varint(width) + varint(height) + bytes([2, 128])
    body += bytes([1, 1, 1, tile // 64]) + varint(5) + varint(5)
    header = b"\x89DMN\x01" + varint(len(body)) + body
    chunk = bytes(10)
    return b"".join(part + struct.pack("<I", zlib.crc32(part)) for part in (header, chunk))


def test_what_with_size_makes_is_a_file_where_the_size_is_true(tmp_path: Path) -> None:
    works("verify", put(tmp_path, "a.dmen", with_size(64, 64, 64)))


@pytest.mark.parametrize(
    "size",
    [
        (2**24 - 1, 4000, 64),
        (2**24 - 1, 2**24 - 1, 4096),
        (2**24, 1, 4096),
        (0, 5, 64),
        (5, 0, 64),
    ],
    ids=str,
)
def test_absurd_dimensions_take_no_memory(tmp_path: Path, size: tuple[int, int, int]) -> None:
    absurd = put(tmp_path, "a.dmen", with_size(*size))
    refused("decode", absurd, "-o", tmp_path / "a.png")  # imports what it needs
    tracemalloc.start()
    try:
        for command in (["info"], ["verify"], ["decode", "-o", tmp_path / "a.png"]):
            refused(*command, absurd)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


# ---- models -------------------------------------------------------------------------------------------------------


def test_unknown_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = refused("encode", SMALL, "-o", tmp_path / "a.dmen", "--model", "nonsense")
    assert "nonsense: no such model; known by name: tiny" in message
    monkeypatch.delenv("DMECODEC_MODELS")
    message = refused("decode", CODED, "-o", tmp_path / "a.png")
    assert str(CODED) in message
    assert "made with model 581f5e669f2473b6, which is not here" in message


def test_other_weights_than_the_file_was_made_with(tmp_path: Path) -> None:
    other = put(tmp_path, "b.safetensors", (DATA / "tiny.safetensors").read_bytes() + b"\0")
    message = refused("decode", CODED, "-o", tmp_path / "a.png", "--model", other)
    assert "made with model 581f5e669f2473b6, but b is" in message


@pytest.mark.parametrize("data", [b"", b"no model", bytes(5000)])
def test_a_model_that_is_none(tmp_path: Path, data: bytes) -> None:
    broken = put(tmp_path, "b.safetensors", data)
    message = refused("encode", SMALL, "-o", tmp_path / "a.dmen", "--model", broken)
    assert f"{broken}: not a readable model file" in message


def test_a_truncated_model(tmp_path: Path) -> None:
    broken = put(tmp_path, "b.safetensors", (DATA / "tiny.safetensors").read_bytes()[:-1])
    assert str(broken) in refused("encode", SMALL, "-o", tmp_path / "a.dmen", "--model", broken)


def test_a_folder_of_models_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMECODEC_MODELS", str(tmp_path / "nowhere"))
    assert "DMECODEC_MODELS" in refused("encode", SMALL, "-o", tmp_path / "a.dmen")
    works("info", CODED)


# ---- options ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", ["0", "-2", "1.5", "many", ""])
@pytest.mark.parametrize("command", ["encode", "decode", "verify", "bench"])
def test_a_number_of_threads_that_is_none(command: str, threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--threads" in refused(command, SMALL, "--threads", threads)
    if threads:  # an empty variable is as none
        monkeypatch.setenv("DMECODEC_THREADS", threads)
        assert "DMECODEC_THREADS" in refused(command, SMALL) or "--threads" in refused(command, SMALL)


@pytest.mark.parametrize("quality", ["-1", "-0.01", "7.01", "1e9", "nan", "inf"])
def test_quality_out_of_range(tmp_path: Path, quality: str) -> None:
    message = refused("encode", SMALL, "-o", tmp_path / "a.dmen", "-q", quality)
    assert "must be between 0 and 7" in message


@pytest.mark.parametrize("tile", ["0", "-64", "63", "100", "8192"])
def test_tile_out_of_range(tmp_path: Path, tile: str) -> None:
    message = refused("encode", SMALL, "-o", tmp_path / "a.dmen", "--tile", tile)
    assert "must be a multiple of 64" in message


@pytest.mark.parametrize(
    "window", ["0,0,129,1", "0,0,1,97", "128,0,1,1", "-1,0,5,5", "0,0,0,1", "0,0,1,-1",
               "5,5,99999999999999999999,1"]
)  # fmt: skip
def test_window_outside_the_image(tmp_path: Path, window: str) -> None:
    message = refused("decode", CODED, "-o", tmp_path / "a.png", f"--window={window}")
    assert str(CODED) in message and "window" in message and "128 x 96" in message


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "cuda:x", ""])
def test_no_such_device(tmp_path: Path, device: str) -> None:
    for command in (["encode", SMALL, "-o", tmp_path / "a.dmen"],
                    ["decode", CODED, "-o", tmp_path / "a.png"]):  # fmt: skip
        assert f"device {device!r}" in refused(*command, "--device", device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_where_there_is_none(tmp_path: Path) -> None:
    message = refused("encode", SMALL, "-o", tmp_path / "a.dmen", "--device", "cuda")
    assert "this machine has 0 CUDA devices" in message


def test_options_of_bench_and_train(tmp_path: Path) -> None:
    report = tmp_path / "report"
    assert "unknown codec" in refused("bench", DATA, "--codecs", "gif", "--out", report, "--quiet")
    message = refused("bench", DATA, "--codecs", "", "-q", 9, "--out", report, "--quiet")
    assert "must be between 0 and 7" in message
    for option in (["--side", 100], ["--batch", 0], ["--time-budget", 0]):
        refused("train", DATA, "--out", tmp_path / "run", *option)
    refused("freeze", tmp_path / "nowhere", "--out", tmp_path / "a.safetensors")
    assert "must end in .safetensors" in refused("freeze", tmp_path, "--out", tmp_path / "a.bin")


def test_training_without_compressai_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(aerial(1, 64, 64)).save(tmp_path / "in" / "a.png")
    for name in [n for n in sys.modules if n.split(".")[0] == "compressai"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "compressai", None)
    for init in ([], ["--init", "tiny"]):
        message = refused("train", tmp_path / "in", "--out", tmp_path / "run", "--side", 64, *init)
        assert "training needs the package compressai, which is not installed" in message
    assert not (tmp_path / "run").exists()


# ---- outputs ------------------------------------------------------------------------------------------------------


def commands(target: Path) -> list[list[object]]:
    return [
        ["encode", SMALL, "-o", target.with_suffix(".dmen")],
        ["decode", CODED, "-o", target.with_suffix(".png")],
        ["decode", CODED, "-o", target.with_suffix(".jpg")],
    ]


def test_output_exists(tmp_path: Path) -> None:
    for command in commands(tmp_path / "in" / "a"):
        target = Path(str(command[-1]))
        target.write_bytes(b"old")
        assert f"{target} exists already; add --overwrite" in refused(*command)
        assert target.read_bytes() == b"old"


def test_the_old_file_stays_when_the_new_one_fails(tmp_path: Path) -> None:
    old = put(tmp_path, "a.dmen", b"old")
    refused("encode", put(tmp_path, "a.png", b"no image"), "--overwrite")
    assert old.read_bytes() == b"old"


def test_folders_go_with_the_output_that_fails(tmp_path: Path) -> None:
    broken = put(tmp_path, "a.png", b"no image")
    for folder in (tmp_path / "new" / "folder", tmp_path / "new" / ("x" * 300)):
        refused("encode", broken, "-o", f"{folder}/a.dmen")
        refused("decode", broken, "-o", f"{folder}/a.png")
        assert not (tmp_path / "new").exists()
    put(tmp_path, "b.png", SMALL.read_bytes())
    run("encode", tmp_path / "in", "-o", tmp_path / "in" / "out")
    assert (tmp_path / "in" / "out" / "b.dmen").exists()


@pytest.mark.parametrize("name", ["a", "two  spaces.png"])
def test_a_message_begins_with_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path / "in")
    put(tmp_path, name, b"no image")
    for given in (name, f"./{name}"):
        message = refused("encode", given, "-o", "a.dmen")
        assert message.removeprefix("./").startswith(f"{name}: is not an image")


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    file = put(tmp_path, "file", b"")
    for command in commands(file / "a"):
        assert str(file) in refused(*command)


def test_no_permission_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root nothing is forbidden, so opening the hidden file is made to fail as it would."""
    really_open = os.open

    def forbidden(path: object, flags: int, *rest: object, **named: object) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return really_open(path, flags, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", forbidden)
    for command in commands(tmp_path / "a"):
        assert f"{tmp_path}: no permission to write in this folder" in refused(*command)


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may all")
def test_a_folder_that_is_really_read_only(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    try:
        for command in commands(folder / "a"):
            assert "no permission" in refused(*command)
    finally:
        folder.chmod(0o700)


class FullDisk(io.FileIO):
    """A file on a disk that has no room."""

    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.os, "fdopen", lambda descriptor, mode: FullDisk(descriptor, "w+"))
    for command in [*commands(tmp_path / "a"), ["decode", CODED, "-o", tmp_path / "a.tif"]]:
        message = refused(*command)
        assert message == f"{command[1]}: cannot write {command[-1]}: No space left on device"


def test_a_full_disk_that_tells_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    for command in commands(tmp_path / "a"):
        assert "No space left on device" in refused(*command)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", [["info", CODED], ["models", "--json"], ["--help"]])
def test_full_standard_output(command: list[object]) -> None:
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [sys.executable, "-m", "dmecodec", *map(str, command)],
            stdout=full, stderr=subprocess.PIPE, env=environment(), check=False,
        )  # fmt: skip
    assert result.returncode == 1
    assert "No space left on device" in one_line(result.stderr.decode())


def test_jpeg_cannot_hold_alpha(tmp_path: Path) -> None:
    message = refused("decode", DATA / "rgba_tiles.dmen", "-o", tmp_path / "a.jpg")
    assert "JPEG cannot hold the alpha" in message and "write PNG" in message


def test_sides_too_long_for_a_format(tmp_path: Path) -> None:
    image, coded = tmp_path / "in" / "long.png", tmp_path / "in" / "long.dmen"
    Image.new("L", (16384, 1), 90).save(image)
    works("encode", image, "-o", coded)
    message = refused("decode", coded, "-o", tmp_path / "a.webp")
    assert "WEBP cannot hold 16384 x 1: its sides end at 16383" in message
    works("decode", coded, "-o", tmp_path / "in" / "a.webp", "--window", "1,0,16383,1")


def test_unknown_output_format(tmp_path: Path) -> None:
    for name in ("a.gif", "a", "a.dmen"):
        assert "cannot tell an image format" in refused("decode", CODED, "-o", tmp_path / name)


# ---- memory and Ctrl-C ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: ...")],
    ids=["Python's", "torch's"],
)
def test_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("dmecodec.api.encode_image", fail)
    message = refused("encode", SMALL, "-o", tmp_path / "a.dmen")
    assert f"{SMALL}: not enough memory" in message
    monkeypatch.setattr("dmecodec.file.File.verify", fail)
    assert f"{CODED}: not enough memory" in refused("verify", "--deep", CODED)
    both = run("verify", "--deep", CODED, CODED)  # the second is looked at all the same
    assert both.status and both.err.count("not enough memory") == 2


def test_any_other_error_is_internal_and_stops_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = dmecodec.api.encode_image

    def fail_once(image: object, *arguments: object, **options: object) -> object:
        if "bad" in str(image):
            raise ValueError("a\nbug")
        return encode(image, *arguments, **options)

    monkeypatch.setattr("dmecodec.api.encode_image", fail_once)
    for name in ("a_bad", "b"):
        (tmp_path / "in" / f"{name}.png").write_bytes(SMALL.read_bytes())
    bad = tmp_path / "in" / "a_bad.png"
    line = f"{bad}: internal error: ValueError: a bug"
    assert refused("encode", bad) == line
    several = run("encode", tmp_path / "in", "-o", tmp_path / "in" / "out", "--quiet")
    assert several.status == 1 and one_line(several.err) == line
    assert [path.name for path in (tmp_path / "in" / "out").iterdir()] == ["b.dmen"]
    traced = run("--debug", "encode", bad)
    assert traced.status == 1 and traced.err.endswith(f"dmecodec: {line}\n")
    assert traced.err.startswith("Traceback") and "in fail_once" in traced.err
    monkeypatch.setattr("dmecodec.file.File.verify", fail_once)
    monkeypatch.setattr("dmecodec.file.File.__str__", lambda _: "bad", raising=False)
    monkeypatch.setenv("DMECODEC_DEBUG", "1")
    verified = run("verify", "--deep", CODED, CODED)
    assert verified.status == 1 and verified.err.count("internal error: ") == 2 == verified.err.count("Traceback")


def wait_for(happened: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c(tmp_path: Path) -> None:
    image, folder = tmp_path / "in" / "large.ppm", tmp_path / "out"
    Image.fromarray(np.tile(aerial(1, 256, 256), (16, 16, 1))).save(image)
    process = start("encode", image, "-o", folder / "a.dmen", "--device", "cpu")
    began = wait_for(lambda: folder.is_dir() and any(folder.iterdir()))
    assert began and process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == b""
    assert one_line(err.decode()) == "interrupted"
    assert not folder.exists()


# ---- one of several -------------------------------------------------------------------------------------------------


def test_in_json_as_well(tmp_path: Path) -> None:
    broken = put(tmp_path, "a.png", b"no image")
    outcome = run("encode", broken, "-o", tmp_path / "a.dmen", "--json")
    assert outcome.status == 1
    assert str(broken) in json.loads(outcome.out)["error"]
    assert str(broken) in one_line(outcome.err)


def test_a_name_with_a_line_break_is_still_one_line(tmp_path: Path) -> None:
    for command in ("encode", "decode", "info", "verify"):
        refused(command, tmp_path / "two\nlines.dmen")


def test_a_name_that_is_too_long() -> None:
    name = "x" * 300 + ".dmen"
    for command in ("encode", "decode", "info", "verify"):
        refused(command, name)
    refused("encode", SMALL, "-o", name)


def test_a_palette_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.png"
    Image.new("P", (8, 8)).save(path)
    data = path.read_bytes()
    start = data.index(b"PLTE") - 4
    length = int.from_bytes(data[start : start + 4], "big")
    path.write_bytes(data[:start] + data[start + 12 + length :])
    refused("encode", path, "-o", tmp_path / "a.dmen")
    assert not (tmp_path / "a.dmen").exists()


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes and descriptors")
def test_named_pipes_and_closed_streams(tmp_path: Path) -> None:
    script = f"""
    mkfifo pipe; (cat "{SMALL}" > pipe &)
    "{sys.executable}" -m dmecodec encode pipe -o a.dmen --quiet || exit 9
    "{sys.executable}" -m dmecodec encode - -o b.dmen <&- ; test $? = 1 || exit 8
    "{sys.executable}" -m dmecodec info - <&- ; test $? = 1 || exit 6
    "{sys.executable}" -m dmecodec encode "{SMALL}" -o - >&- ; test $? = 1 || exit 7
    """
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path / "in", env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done
    assert (tmp_path / "in" / "a.dmen").read_bytes() == dmecodec.encode(SMALL)
    assert "standard input is closed" in done.stderr and "standard output is closed" in done.stderr
    assert "Traceback" not in done.stderr
