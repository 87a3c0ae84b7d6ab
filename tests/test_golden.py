"""Golden files: their latents decode bit for bit, their pixels within one level."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import second_decoder
import torch
from conftest import DATA
from PIL import Image

import dmecodec
from dmecodec.bounded.fit import encode_residual
from dmecodec.bounded.residual import decode_residual
from dmecodec.format.kinds import Kind
from dmecodec.format.reader import Reader
from dmecodec.network.wavelet import unpack
from dmecodec.weights import model as weights
from dmecodec.weights import registry
from dmecodec.weights.model import Model

GOLDEN = json.loads((DATA / "golden.json").read_text())


def describe(latents: np.ndarray) -> dict[str, object]:
    digest = hashlib.sha256(latents.astype("<i4").tobytes()).hexdigest()
    return {"shape": list(latents.shape), "sha256": digest}


def digest(data: bytes | None) -> str | None:
    return hashlib.sha256(data).hexdigest() if data else None


def model_of(data: bytes) -> str:
    return registry.find_id(Reader(data).header.model).name


def test_the_list_of_golden_files_is_complete() -> None:
    assert {path.stem for path in DATA.glob("*.dmen")} == set(GOLDEN)
    assert len(GOLDEN) >= 42


@pytest.mark.parametrize("name", GOLDEN)
def test_latents(name: str) -> None:
    y_hat, z_hat = dmecodec.latents((DATA / f"{name}.dmen").read_bytes())
    assert y_hat.dtype == z_hat.dtype == np.int32
    assert describe(y_hat) == GOLDEN[name]["y_hat"]
    assert describe(z_hat) == GOLDEN[name]["z_hat"]


@pytest.mark.parametrize("name", GOLDEN)
def test_pixels_and_header(name: str) -> None:
    with dmecodec.open(DATA / f"{name}.dmen") as file:
        file.verify()
        expected = Image.open(DATA / f"{name}.png")
        header, wanted = file.header, GOLDEN[name]
        assert [header.width, header.height] == wanted["size"] == list(expected.size)
        assert (header.mode, header.tile) == (wanted["mode"], wanted["tile"])
        assert header.quality == wanted["quality"] * 32
        pixels = file.read()
        assert expected.mode == header.mode and pixels.shape == np.asarray(expected).shape
        difference = abs(pixels.astype(int) - np.asarray(expected))
        assert difference.max() <= (1 if file.max_error is None else 0)
        assert file.max_error == wanted.get("max_error")
        if header.mode.endswith("A"):
            assert difference[..., -1].max() == 0
        assert digest(file.metadata.icc) == wanted["icc"]
        assert digest(file.metadata.exif) == wanted["exif"]


MODELS = {name: second_decoder.Model(DATA / f"{name}.safetensors") for name in ("tiny", "board", "told")}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_second_decoder_finds_the_same_latents(name: str) -> None:
    """The second decoder is written from docs/format.md."""
    data = (DATA / f"{name}.dmen").read_bytes()
    reader = Reader(data)
    y_hat, z_hat = dmecodec.latents(data)
    for index in range(reader.header.tile_count):
        col, row, width, height = reader.header.tile_box(index)
        rows, cols = -(-height // 16), -(-width // 16)
        streams = reader.tile(index)
        y, z, _ = second_decoder.decode_tile(
            MODELS[model_of(data)],
            streams[1],
            streams[2],
            reader.header.quality,
            rows,
            cols,
            reader.filtered,
            reader.stacked,
        )
        top, left = row // 16, col // 16
        np.testing.assert_array_equal(y, y_hat[:, top : top + rows, left : left + cols])
        top, left = row // 64, col // 64
        np.testing.assert_array_equal(z, z_hat[:, top : top + z.shape[1], left : left + z.shape[2]])


@pytest.mark.parametrize("name", [name for name in GOLDEN if "max_error" in GOLDEN[name]])
def test_the_second_decoder_makes_exactly_the_same_pixels(name: str) -> None:
    """Base image and residual are exact."""
    data = (DATA / f"{name}.dmen").read_bytes()
    reader, (y_hat, _) = Reader(data), dmecodec.latents(data)
    header, decoded = reader.header, dmecodec.decode(data)
    decoded = decoded.reshape(header.height, header.width, -1)
    for index in range(header.tile_count):
        col, row, width, height = header.tile_box(index)
        streams, top, left = reader.tile(index), row // 16, col // 16
        y = y_hat[:, top : top - height // -16, left : left - width // -16]
        base = second_decoder.base_image(MODELS["tiny"], y, header.quality, header.mode in ("L", "LA"))
        layer = second_decoder.Residual(streams[Kind.RESIDUAL], GOLDEN[name]["max_error"])
        pixels = layer.decode(base, height, width)
        ours = decoded[row : row + height, col : col + width, : len(pixels)]
        np.testing.assert_array_equal(pixels.transpose(1, 2, 0), ours)


def filter_of(model: second_decoder.Model, reader: Reader, index: int) -> list[int]:
    """The coefficients of a tile."""
    streams, quality = reader.tile(index), reader.header.quality
    _, _, width, height = reader.header.tile_box(index)
    if not reader.filtered:
        return second_decoder.filter_of_version_2(streams.get(Kind.FILTER, b""))
    rows, cols = -(-height // 16), -(-width // 16)
    return second_decoder.decode_tile(
        model, streams[Kind.Z], streams[Kind.Y], quality, rows, cols, True, reader.stacked
    )[2]


@pytest.mark.parametrize("name", [name for name in GOLDEN if "max_error" not in GOLDEN[name]])
def test_the_second_decoder_makes_the_same_pixels(name: str) -> None:
    data = (DATA / f"{name}.dmen").read_bytes()
    reader = Reader(data)
    header = reader.header
    model = MODELS[model_of(data)]
    plain = second_decoder.synthesise(model, dmecodec.latents(data)[0], header.quality)
    plain = plain[:, : header.height, : header.width]
    image = plain.copy()
    for index in range(header.tile_count):
        col, row, width, height = box = header.tile_box(index)
        tile = second_decoder.filtered(plain, box, filter_of(model, reader, index))
        image[:, row : row + height, col : col + width] = tile
    if header.mode in ("L", "LA"):
        image = image.mean(0, keepdims=True)
    pixels = np.round(255 * image).clip(0, 255)
    expected = np.asarray(Image.open(DATA / f"{name}.png")).reshape(header.height, header.width, -1)
    assert abs(pixels.transpose(1, 2, 0) - expected[..., : len(pixels)]).max() <= 1


def test_each_path_of_the_second_decoder(tiny: Model) -> None:
    """In the sum of both, the path of the paper is faint in this model."""
    y = 20 * np.random.default_rng(0).standard_normal((24, 5, 4)).astype(np.float32)
    ours = tiny.net.synthesis
    with torch.inference_mode():
        network = ours.blocks(torch.from_numpy(y)[None], torch.tensor([3.5]))[0][0].numpy()
        assert ours.shortcut is not None
        linear = unpack(ours.shortcut(torch.from_numpy(y)[None]))[0].numpy()
    second, _ = second_decoder.blocks(MODELS["tiny"], y.astype(float), 112)
    np.testing.assert_allclose(network, second, atol=1e-5 * abs(second).max())
    second = second_decoder.unpack(second_decoder.dense(MODELS["tiny"], "shortcut", y.astype(float)))
    np.testing.assert_allclose(linear, second, atol=1e-5 * abs(second).max())


def test_tables_of_the_quality_in_the_second_decoder() -> None:
    """With random tables, as those of this model are near zero."""
    ours = weights.load_file(DATA / "told.safetensors", torch.device("cpu")).net.synthesis
    second = second_decoder.Model(DATA / "told.safetensors")
    generator = torch.Generator().manual_seed(0)
    for name, tensor in ours.named_parameters():
        if name.endswith(("log_gain", "offset", "quality")) or "refinement.features" in name:
            tensor.data = 0.3 * torch.randn(tensor.shape, generator=generator)
            second.tensors["synthesis." + name] = tensor.data.numpy()
    y = 20 * np.random.default_rng(0).standard_normal((24, 5, 4))
    with torch.inference_mode():
        x = torch.from_numpy(y)[None].float()
        pixels, features = ours.blocks(x, torch.tensor([2.40625]))
        refined = ours.refinement(pixels, features, torch.tensor([2.40625]))[0].numpy()
    expected, features_77 = second_decoder.blocks(second, y, 77)
    expected = expected + second_decoder.refinement(second, expected, features_77, 77)
    np.testing.assert_allclose(refined, expected, atol=1e-4 * abs(expected).max())


@pytest.mark.parametrize("name", MODELS)
def test_known_answer_of_the_second_decoder(name: str) -> None:
    assert second_decoder.known_answer(MODELS[name]) == MODELS[name].metadata["known_answer"]


@pytest.mark.parametrize("bound", [0, 3])
def test_the_second_decoder_on_large_residuals(bound: int) -> None:
    """Residuals whose low bits are coded separately."""
    rng = np.random.default_rng(bound)
    original, base = (rng.integers(0, 256, (40, 21, 3)).astype(np.uint8) for _ in range(2))
    stream = encode_residual(original, base, bound)
    pixels = second_decoder.Residual(stream, bound).decode(base.transpose(2, 0, 1), 40, 21)
    np.testing.assert_array_equal(pixels.transpose(1, 2, 0), decode_residual(stream, base, bound))
