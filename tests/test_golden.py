"""Golden files: their latents decode bit for bit, their pixels within one level."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import second_container
import second_decoder
import torch
from conftest import DATA
from PIL import Image

import dmecodec
from dmecodec.bounded.fit import encode_residual
from dmecodec.bounded.residual import decode_residual
from dmecodec.format.reader import Reader
from dmecodec.network.wavelet import unpack
from dmecodec.weights import model as weights
from dmecodec.weights.model import Model

GOLDEN = json.loads((DATA / "golden.json").read_text())


def describe(latents: np.ndarray) -> dict[str, object]:
    digest = hashlib.sha256(latents.astype("<i4").tobytes()).hexdigest()
    return {"shape": list(latents.shape), "sha256": digest}


def digest(data: bytes | None) -> str | None:
    return hashlib.sha256(data).hexdigest() if data else None


def test_the_list_of_golden_files_is_complete() -> None:
    assert {path.stem for path in DATA.glob("*.dmen")} == set(GOLDEN)
    assert len(GOLDEN) >= 29


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


MODELS = {name: second_decoder.Model(DATA / f"{name}.safetensors") for name in ("tiny", "paper")}


CONTAINERS = {name: second_container.read(DATA / f"{name}.dmen") for name in GOLDEN}


@dataclass(frozen=True)
class SecondTile:
    """A tile of a golden file as the second decoder reads it: box, streams, y-hat, z-hat, filter."""

    box: tuple[int, int, int, int]
    streams: dict[int, bytes]
    y: np.ndarray
    z: np.ndarray
    coefficients: list[int]


def model_of(name: str) -> second_decoder.Model:
    """The model that a golden file names."""
    return next(model for model in MODELS.values() if model.id == CONTAINERS[name].model)


def second_tiles(name: str) -> Iterator[SecondTile]:
    """The tiles of a golden file."""
    file = CONTAINERS[name]
    for index, (streams,) in enumerate(file.tiles):
        box = file.box(index)
        rows, cols = -(-box[3] // 16), -(-box[2] // 16)
        z, y = (streams[kind] for kind in (second_container.Z, second_container.Y))
        decoded = second_decoder.decode_tile(model_of(name), z, y, file.quality, rows, cols, file.has_filters)
        yield SecondTile(box, streams, *decoded)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_second_reader_finds_the_same_streams(name: str) -> None:
    """docs/format.md says how a file is read."""
    file, reader = CONTAINERS[name], Reader((DATA / f"{name}.dmen").read_bytes())
    header = reader.header
    assert (file.width, file.height, file.mode) == (header.width, header.height, header.mode)
    assert (file.model, file.quality, file.side) == (header.model, header.quality, header.tile)
    assert (tuple(file.kinds), file.groups, file.bound) == (header.kinds, header.groups, header.bound)
    assert file.files == reader.metadata() and len(file.tiles) == header.tile_count
    for index, (streams,) in enumerate(file.tiles):
        assert file.box(index) == header.tile_box(index) and streams == reader.tile(index)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_second_decoder_finds_the_same_latents(name: str) -> None:
    """The second decoder is written from docs/format.md."""
    y_hat, z_hat = dmecodec.latents((DATA / f"{name}.dmen").read_bytes())
    for tile in second_tiles(name):
        top, left = tile.box[1] // 16, tile.box[0] // 16
        np.testing.assert_array_equal(tile.y, y_hat[:, top:, left:][:, : tile.y.shape[1], : tile.y.shape[2]])
        top, left = tile.box[1] // 64, tile.box[0] // 64
        np.testing.assert_array_equal(tile.z, z_hat[:, top:, left:][:, : tile.z.shape[1], : tile.z.shape[2]])


@pytest.mark.parametrize("name", [name for name in GOLDEN if "max_error" in GOLDEN[name]])
def test_the_second_decoder_makes_exactly_the_same_pixels(name: str) -> None:
    """Base image and residual are exact."""
    file, decoded = CONTAINERS[name], dmecodec.decode((DATA / f"{name}.dmen").read_bytes())
    decoded = decoded.reshape(file.height, file.width, -1)
    assert file.bound == GOLDEN[name]["max_error"]
    for tile in second_tiles(name):
        col, row, width, height = tile.box
        base = second_decoder.base_image(model_of(name), tile.y, file.quality, file.mode in ("L", "LA"))
        residual = second_decoder.Residual(tile.streams[second_container.RESIDUAL], file.bound)
        pixels = residual.decode(base, height, width)
        ours = decoded[row : row + height, col : col + width, : len(pixels)]
        np.testing.assert_array_equal(pixels.transpose(1, 2, 0), ours)


@pytest.mark.parametrize("name", [name for name in GOLDEN if "max_error" not in GOLDEN[name]])
def test_the_second_decoder_makes_the_same_pixels(name: str) -> None:
    file, y_hat = CONTAINERS[name], dmecodec.latents((DATA / f"{name}.dmen").read_bytes())[0]
    plain = second_decoder.synthesise(model_of(name), y_hat, file.quality)[:, : file.height, : file.width]
    image = plain.copy()
    for tile in second_tiles(name):
        col, row, width, height = tile.box
        image[:, row : row + height, col : col + width] = second_decoder.filtered(plain, tile.box, tile.coefficients)
    if file.mode in ("L", "LA"):
        image = image.mean(0, keepdims=True)
    pixels = np.round(255 * image).clip(0, 255)
    expected = np.asarray(Image.open(DATA / f"{name}.png")).reshape(file.height, file.width, -1)
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
    ours = weights.load_file(DATA / "tiny.safetensors", torch.device("cpu")).net.synthesis
    second = second_decoder.Model(DATA / "tiny.safetensors")
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
