"""Damage of every kind: an error of ours, or the same latents; never another exception, a hang or silent rubbish."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DATA
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import dmecodec
from dmecodec.codec import decoder
from dmecodec.errors import DmecodecError, FormatError, ModelError, OptionError
from dmecodec.format import writer
from dmecodec.format.header import Header
from dmecodec.format.kinds import Kind
from dmecodec.format.reader import Reader
from dmecodec.weights import model as weights
from dmecodec.weights.model import Model

FILES = {path.stem: path.read_bytes() for path in sorted(DATA.glob("*.dmen"))}
MODEL = (DATA / "tiny.safetensors").read_bytes()
often = settings(max_examples=120)
seldom = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def mutations(draw: st.DrawFn, data: bytes, other: bytes) -> bytes:
    """Bits flipped, bytes replaced, cut out, put in, or a part of another file."""
    mutated = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(0, len(mutated) - 1)))
        count = draw(st.integers(1, 12))
        kind = draw(st.sampled_from(["flip", "replace", "cut", "insert", "truncate", "splice"]))
        if kind == "flip" and mutated:
            mutated[start] ^= 1 << draw(st.integers(0, 7))
        elif kind == "replace":
            mutated[start : start + count] = draw(st.binary(min_size=count, max_size=count))
        elif kind == "cut":
            del mutated[start : start + count]
        elif kind == "insert":
            mutated[start:start] = draw(st.binary(min_size=count, max_size=count))
        elif kind == "truncate":
            del mutated[start:]
        else:
            mutated[start:] = other[draw(st.integers(0, len(other))) :]
    return bytes(mutated)


@st.composite
def damaged_files(draw: st.DrawFn, names: Sequence[str] = tuple(FILES)) -> tuple[bytes, bytes]:
    """A golden file, and what damage makes of it, which is no golden file (a splice may give another)."""
    original = FILES[draw(st.sampled_from(names))]
    mutated = draw(mutations(original, FILES[draw(st.sampled_from(tuple(FILES)))]))
    assume(mutated not in FILES.values())
    return original, mutated


def same_or_refused(original: bytes, mutated: bytes) -> None:
    """Latents of a mutated file are those of the original, or there are none."""
    try:
        y_hat, z_hat = dmecodec.latents(mutated)
        pixels = dmecodec.decode(mutated)
    except DmecodecError as error:
        assert "\n" not in str(error) and str(error)
        return
    expected = dmecodec.latents(original)
    np.testing.assert_array_equal(y_hat, expected[0])
    np.testing.assert_array_equal(z_hat, expected[1])
    np.testing.assert_array_equal(pixels, dmecodec.decode(original))


@given(damaged_files())
@often
def test_mutated_files(files: tuple[bytes, bytes]) -> None:
    same_or_refused(*files)


@pytest.mark.parametrize("name", ["rgb_1x1", "rgba_1x200", "grey", "grey_17x9", "bound_1"])
def test_every_byte_is_checked(name: str) -> None:
    """Every byte flipped and every truncation is found, by reading alone."""
    original = FILES[name]
    for position in range(len(original)):
        for flip in (0xFF, 1 << position % 8):
            mutated = bytearray(original)
            mutated[position] ^= flip
            with pytest.raises(FormatError), dmecodec.File(io.BytesIO(mutated)) as file:
                file.verify()
        with pytest.raises(FormatError), dmecodec.File(io.BytesIO(original[:position])) as file:
            file.verify()
    with pytest.raises(FormatError), dmecodec.File(io.BytesIO(original + b"\0")) as file:
        file.verify()


@pytest.mark.parametrize("name", ["rgb_1x1", "grey_17x9"])
def test_every_byte_of_the_smallest_file_stops_the_decoder(name: str) -> None:
    original = FILES[name]
    for position in range(len(original)):
        mutated = bytearray(original)
        mutated[position] ^= 0x55
        with pytest.raises(DmecodecError):
            dmecodec.decode(bytes(mutated))
        with pytest.raises(DmecodecError):
            dmecodec.decode(original[:position])


# ---- right checksums, wrong content --------------------------------------------------------------


def rebuilt(data: bytes, change: dict[tuple[int, int], bytes], **header: object) -> bytes:
    """The file with other streams or header fields, and right checksums."""
    reader = Reader(data)
    fields = {
        name: header.get(name, getattr(reader.header, name))
        for name in ("model", "width", "height", "mode", "quality", "tile", "groups", "kinds", "bound")
    }
    tiles = [reader.tile(index) for index in range(reader.header.tile_count)]
    for (index, kind), stream in change.items():
        tiles[index][kind] = stream
    return writer.write(Header(**fields), tiles, reader.metadata())


def image_or_refused(data: bytes) -> None:
    """Some image of the size in the header, or an error of ours."""
    try:
        pixels = dmecodec.decode(data)
        y_hat, z_hat = dmecodec.latents(data)
    except DmecodecError as error:
        assert "\n" not in str(error) and str(error)
        return
    header = Reader(data).header
    assert pixels.shape[:2] == (header.height, header.width)
    assert y_hat.dtype == z_hat.dtype == np.int32


@given(st.data())
@often
def test_mutated_streams_with_right_checksums(data: st.DataObject) -> None:
    original = FILES[data.draw(st.sampled_from(tuple(FILES)))]
    reader = Reader(original)
    index = data.draw(st.integers(0, reader.header.tile_count - 1))
    streams = reader.tile(index)
    kind = data.draw(st.sampled_from(sorted(streams)))
    mutated = data.draw(mutations(streams[kind], streams[Kind.Y]) | st.binary(max_size=80))
    image_or_refused(rebuilt(original, {(index, kind): mutated}))


@given(st.sampled_from(["rgb_37x91", "grey", "filter"]), st.integers(0, 255), st.integers(1, 60))
@often
def test_monotonous_streams(name: str, byte: int, words: int) -> None:
    stream = bytes([byte]) * 4 * words
    image_or_refused(rebuilt(FILES[name], {(0, Kind.Y): stream}))
    image_or_refused(rebuilt(FILES[name], {(0, Kind.Z): stream}))
    image_or_refused(rebuilt(FILES[name], {(0, Kind.Y): stream, (0, Kind.Z): stream}))


@given(st.integers(1, 130), st.integers(1, 130), st.integers(0, 224))
@seldom
def test_streams_under_another_header(width: int, height: int, quality: int) -> None:
    image_or_refused(rebuilt(FILES["rgb_37x91"], {}, width=width, height=height, quality=quality))


def test_empty_and_enormous_streams() -> None:
    for stream in (b"", bytes(4), b"\xff" * 40000, bytes(range(1, 256)) * 400 + b"\1"):
        for kind in (Kind.Z, Kind.Y):
            image_or_refused(rebuilt(FILES["rgb_37x91"], {(0, kind): stream}))


def test_alpha_of_another_size() -> None:
    for stream in (b"", b"\7", b"\0", b"\0" + zlib.compress(bytes(50))[2:-4], b"\0" * 9):
        image_or_refused(rebuilt(FILES["filter"], {(0, Kind.ALPHA): stream}))


def test_a_window_of_an_enormous_image() -> None:
    """2^36 pixels in a file of some kilobytes: a window decodes, and nothing large is allocated."""
    header = Reader(FILES["rgb_q4"]).header
    tiles = [{Kind.Z: b"", Kind.Y: b""}] * (-(-(2**24 - 1) // 4096))
    data = writer.write(Header(header.model, 2**24 - 1, 4096, "RGB", 128, 4096), tiles, {})
    assert len(data) < 1e5
    with dmecodec.File(io.BytesIO(data)) as file:
        file.verify()
        assert file.header.width == 2**24 - 1
        assert file.read((2**24 - 9, 4090, 8, 6)).shape == (6, 8, 3)


def test_latents_that_do_not_fit_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr(decoder.np, "empty", too_large)
    for use in (dmecodec.latents, dmecodec.decode):
        with pytest.raises(OptionError, match="fit the memory"):
            use(FILES["grey"])


# ---- models ------------------------------------------------------------------------------------


def usable_or_refused(path: Path, data: bytes) -> None:
    """A mutated model loads (a changed weight is another model) and codes, or is refused."""
    path.write_bytes(data)
    try:
        model = weights.load_file(path, torch.device("cpu"))
        assert isinstance(model, Model)
        image = np.full((20, 30, 3), 100, np.uint8)
        dmecodec.decode(dmecodec.encode(image, model=path), model=path)
    except DmecodecError as error:
        assert "\n" not in str(error) and str(error)


@given(st.data())
@seldom
def test_mutated_models(tmp_path: Path, data: st.DataObject) -> None:
    header = 8 + struct.unpack("<Q", MODEL[:8])[0]
    near = data.draw(st.sampled_from([8, header, len(MODEL) - 1]))
    start = data.draw(st.integers(0, near))
    part = MODEL[start : start + 40]
    mutated = MODEL[:start] + data.draw(mutations(part, MODEL[:50])) + MODEL[start + 40 :]
    usable_or_refused(tmp_path / "mutated.safetensors", mutated)


def with_header(change: dict[str, str]) -> bytes:
    """The model with other metadata."""
    length = struct.unpack("<Q", MODEL[:8])[0]
    header = json.loads(MODEL[8 : 8 + length])
    header["__metadata__"].update(change)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + MODEL[8 + length :]


CONFIG = json.loads(json.loads(MODEL[8 : 8 + struct.unpack("<Q", MODEL[:8])[0]])["__metadata__"]["config"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "something"}, "not a frozen dmecodec model"),
        ({"version": "2"}, "made by a newer dmecodec"),
        ({"known_answer": "00000000"}, "not exact"),
        ({"config": "{"}, "damaged"),
        ({"config": "[]"}, "damaged"),
        ({"config": "{}"}, "damaged"),
        ({"config": json.dumps(CONFIG | {"channels": 10**9})}, "damaged"),
        ({"config": json.dumps(CONFIG | {"channels": 32})}, "damaged"),
        ({"config": json.dumps(CONFIG | {"channels": 16.0})}, "damaged"),
        ({"config": json.dumps(CONFIG | {"channels": "16"})}, "damaged"),
        ({"config": json.dumps(CONFIG | {"hyper": -1})}, "damaged"),
        ({"config": json.dumps(CONFIG | {"slices": 24})}, "damaged"),
        ({"config": json.dumps(CONFIG | {"slices": [24]})}, "damaged"),
        ({"config": json.dumps(CONFIG | {"slices": [16, 8]})}, "damaged"),
        ({"config": json.dumps(CONFIG | {"hidden": [16]})}, "damaged"),
        ({"config": json.dumps(CONFIG | {"strip": 4})}, "damaged"),
        ({"config": json.dumps(CONFIG | {"extra": 1})}, "damaged"),
    ],
)
def test_models_with_other_metadata(tmp_path: Path, change: dict[str, str], words: str) -> None:
    path = tmp_path / "changed.safetensors"
    path.write_bytes(with_header(change))
    with pytest.raises(ModelError, match=words):
        weights.load_file(path, torch.device("cpu"))


def edited(name: str, tensor: torch.Tensor | None) -> dict[str, torch.Tensor]:
    from safetensors.torch import load

    tensors = load(MODEL)
    assert name in tensors
    if tensor is None:
        del tensors[name]
    else:
        tensors[name] = tensor
    return tensors


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("tables.y.low", None),
        ("tables.y.low", torch.zeros(3, dtype=torch.int32)),
        ("tables.y.frequency", torch.zeros(36808, dtype=torch.int32)),
        ("tables.z.length", torch.full((8,), 2**30, dtype=torch.int32)),
        ("tables.z.frequency", torch.zeros(0, dtype=torch.int32)),
        ("tables.z.frequency", torch.zeros(4, 4, dtype=torch.bfloat16)),
        ("exact.decoder.layers.0.weight", None),
        ("exact.decoder.layers.0.shift", torch.zeros(1, dtype=torch.uint8)),
        ("exact.decoder.layers.0.weight", torch.zeros(8, 8, 3, 3, dtype=torch.int16)),
        ("exact.networks.0.out.bias", torch.zeros(1, 16, dtype=torch.int32)),
        ("synthesis.scale", None),
        ("synthesis.scale", torch.full((3, 1, 1), float("nan"))),
        ("analysis.shortcut.weight", torch.full((24, 768, 1, 1), float("inf"))),
        ("log_gain", torch.zeros(7, 24)),
    ],
)
def test_models_with_other_tensors(tmp_path: Path, name: str, tensor: torch.Tensor | None) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "changed.safetensors"
    save_file(edited(name, tensor), path, weights.read_file(DATA / "tiny.safetensors")[1])
    with pytest.raises(ModelError, match=r"damaged|not exact"):
        weights.load_file(path, torch.device("cpu"))


@pytest.mark.parametrize("value", [1e-30, 1e4, 1e30])
def test_models_with_extreme_weights_give_no_traceback(tmp_path: Path, value: float) -> None:
    from safetensors.torch import save

    metadata = weights.read_file(DATA / "tiny.safetensors")[1]
    for name, shape in (
        ("analysis.shortcut.bias", (24,)),
        ("synthesis.scale", (3, 1, 1)),
        ("log_gain", (8, 24)),
    ):
        data = save(edited(name, torch.full(shape, value)), metadata)
        usable_or_refused(tmp_path / f"{name}.safetensors", data)
