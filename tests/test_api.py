"""The library: every mode and size, targets, errors by name, and the same bytes whatever runs beside."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import DATA, aerial, in_mode, psnr
from PIL import Image

import dmecodec
from dmecodec import file as opened
from dmecodec.codec import encoder
from dmecodec.entropy.lossless import encode_alpha
from dmecodec.errors import FormatError, ImageError, ModelError, OptionError
from dmecodec.format.header import Header
from dmecodec.format.kinds import Kind
from dmecodec.format.reader import Reader
from dmecodec.format.writer import write
from dmecodec.weights import model as weights
from dmecodec.weights import registry

MODES = ("L", "LA", "RGB", "RGBA")


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return aerial(60, 120, 140)


@pytest.fixture(scope="module")
def data(image: np.ndarray) -> bytes:
    return dmecodec.encode(image, 4)


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# ---- images ------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [0, 4, 7])
def test_a_file_is_next_to_nothing_but_latents(quality: int) -> None:
    sizes = Reader(data := dmecodec.encode(aerial(97, 256, 256), quality)).stream_sizes
    assert set(sizes) == {Kind.Z, Kind.Y} and len(data) - sum(sizes.values()) == 32


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(1, 1), (1, 90), (17, 2), (64, 64), (65, 63)])
def test_modes_and_sizes(mode: str, size: tuple[int, int]) -> None:
    pixels = in_mode(aerial(61, *size), mode)
    data = dmecodec.encode(pixels, 7, bands="last")
    decoded = dmecodec.decode(data)
    assert decoded.shape == pixels.shape and decoded.dtype == np.uint8
    if mode.endswith("A"):
        np.testing.assert_array_equal(decoded[..., -1], pixels[..., -1])
    header = Reader(data).header
    assert (header.mode, header.height, header.width) == (mode, *size)
    y_hat, z_hat = dmecodec.latents(data)
    assert y_hat.shape[1:] == (-(-size[0] // 16), -(-size[1] // 16))
    assert z_hat.shape[1:] == (-(-size[0] // 64), -(-size[1] // 64))


@pytest.mark.parametrize("mode", MODES)
def test_what_comes_out_resembles_what_went_in(mode: str) -> None:
    row, col = np.mgrid[:90, :100]
    smooth = np.stack([60 + row, 200 - col, 100 + row // 2 + col // 2], 2).astype(np.uint8)
    pixels = in_mode(smooth, mode)
    decoded = dmecodec.decode(dmecodec.encode(pixels, 7))
    assert psnr(decoded, pixels) > 35


def test_all_ways_to_give_an_image(tmp_path: Path, image: np.ndarray, data: bytes) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(image).save(path)
    wide = np.zeros((120, 280, 3), np.uint8)
    wide[:, ::2] = image
    ways = [path, str(path), Image.fromarray(image), io.BytesIO(path.read_bytes()), wide[:, ::2]]
    for way in ways:
        assert dmecodec.encode(way, 4) == data
    with path.open("rb") as file:
        assert dmecodec.encode(file, 4) == data
    assert dmecodec.encode(image[..., :1], 4) == dmecodec.encode(image[..., 0], 4)


def test_metadata_is_kept() -> None:
    golden = (DATA / "rgb_metadata.dmen").read_bytes()
    with dmecodec.File(io.BytesIO(golden)) as file:
        metadata = file.metadata
        saved = io.BytesIO()
        file.save(saved, format="PNG")
    assert metadata.icc and metadata.exif and metadata.xmp is None
    saved.seek(0)
    again = dmecodec.encode(saved, 4)
    with dmecodec.File(io.BytesIO(again)) as file:
        assert file.metadata == metadata


def test_quality_buys_fidelity(image: np.ndarray) -> None:
    files = [dmecodec.encode(image, quality) for quality in (0, 2.5, 5, 7)]
    sizes = [len(file) for file in files]
    fidelity = [psnr(dmecodec.decode(file), image) for file in files]
    assert sizes == sorted(set(sizes)) and fidelity == sorted(fidelity)


def test_quality_is_taken_in_steps_of_1_32(image: np.ndarray) -> None:
    assert dmecodec.encode(image, 3.01) == dmecodec.encode(image, 3.0)
    assert Reader(dmecodec.encode(image, 3.02)).header.quality == 97
    assert Reader(dmecodec.encode(image)).header.quality == 128


def test_a_small_file_costs_little_beside_its_streams(image: np.ndarray) -> None:
    data = dmecodec.encode(np.ascontiguousarray(np.tile(image, (3, 2, 1))[:256, :256]), 4)
    assert len(data) - sum(Reader(data).stream_sizes.values()) <= 40


# ---- targets -----------------------------------------------------------------------------------


def test_bpp(image: np.ndarray) -> None:
    pixels = image.shape[0] * image.shape[1]
    low, high = (len(dmecodec.encode(image, quality)) * 8 / pixels for quality in (1, 6))
    for target in (low * 1.1, (low * high) ** 0.5, high * 0.95):
        reached = len(dmecodec.encode(image, bpp=target)) * 8 / pixels
        assert abs(reached / target - 1) < 0.02


@pytest.mark.parametrize("effort", [0, 1])
def test_targets_between_two_qualities(effort: int) -> None:
    """At low qualities one step of 1/32 changes a file by up to 7 %."""
    image = np.asarray(Image.open(DATA.parents[1] / "docs" / "example.png"))
    options: dict[str, Any] = {"model": "dmenet-fast", "effort": effort}
    sizes = [len(dmecodec.encode(image, step / 32, **options)) for step in (3, 4)]
    assert sizes[1] > 1.03 * sizes[0]  # so both miss the size between them by more than is allowed below
    wanted = 8 * (sizes[0] * sizes[1]) ** 0.5 / image[..., 0].size
    data = dmecodec.encode(image, bpp=wanted, **options)
    assert len(data) * 8 / image[..., 0].size == pytest.approx(wanted, rel=0.012)
    data = dmecodec.encode(image, psnr=27.33, **options)
    assert psnr(dmecodec.decode(data), image) == pytest.approx(27.33, abs=0.1)


def test_a_search_codes_alpha_once(image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = in_mode(image, "RGBA")
    wanted = len(dmecodec.encode(pixels, 3, tile=64)) * 8 / (120 * 140)
    coded: list[bytes] = []

    def counted(alpha: np.ndarray) -> bytes:
        coded.append(encode_alpha(alpha))
        return coded[-1]

    monkeypatch.setattr(encoder, "encode_alpha", counted)
    data = dmecodec.encode(pixels, bpp=wanted, tile=64)
    assert len(coded) == Reader(data).header.tile_count == 6
    np.testing.assert_array_equal(dmecodec.decode(data)[..., 3], pixels[..., 3])


def test_psnr() -> None:
    row, col = np.mgrid[:96, :96]
    image = np.stack([row * 2, col * 2, 40 + row + col // 3], 2).astype(np.uint8)
    ends = [psnr(dmecodec.decode(dmecodec.encode(image, quality)), image) for quality in (0, 7)]
    target = 0.5 * sum(ends)
    reached = psnr(dmecodec.decode(dmecodec.encode(image, psnr=target)), image)
    assert abs(reached - target) < 0.25  # steps of 1/32 are coarse on so few pixels


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"bpp": 1e-4}, "out of range"),
        ({"bpp": 500}, "out of range"),
        ({"psnr": 99}, "out of range"),
        ({"psnr": 1}, "out of range"),
        ({"bpp": 0}, "cannot be met"),
        ({"bpp": -1}, "cannot be met"),
        ({"psnr": float("nan")}, "cannot be met"),
        ({"psnr": float("inf")}, "cannot be met"),
        ({"bpp": 1, "psnr": 30}, "not both"),
        ({"quality": 3, "psnr": 30}, "not both"),
        ({"max_error": 1, "bpp": 1}, "not both"),
    ],
)
def test_impossible_targets(image: np.ndarray, target: dict[str, float], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        dmecodec.encode(image[:32, :32], **target)  # type: ignore[arg-type]


# ---- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [-0.01, 7.01, 100, float("nan"), float("inf")])
def test_impossible_qualities(image: np.ndarray, quality: float) -> None:
    with pytest.raises(OptionError, match=r"quality .* between 0 and 7"):
        dmecodec.encode(image, quality)


def test_more_tiles_than_a_file_holds(image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dmecodec.codec.encoder, "MAX_TILES", 3)
    with pytest.raises(OptionError, match="choose larger ones"):
        dmecodec.encode(image[:128, :65], tile=64)
    dmecodec.encode(image[:128, :64], tile=64)


@pytest.mark.parametrize("tile", [0, -64, 63, 100, 4160])
def test_impossible_tiles(image: np.ndarray, tile: int) -> None:
    with pytest.raises(OptionError, match=r"tile .* multiple of 64"):
        dmecodec.encode(image, tile=tile)


@pytest.mark.parametrize("window", [(0, 0, 141, 1), (-1, 0, 5, 5), (140, 0, 1, 1), (0, 0, 0, 0)])
def test_windows_outside(data: bytes, window: tuple[int, int, int, int]) -> None:
    with pytest.raises(OptionError, match="not inside the image of 140 x 120"):
        dmecodec.decode(data, window=window)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4, 3), np.int32),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 40, 50), np.uint8),
        np.zeros((4,), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        Image.new("I;16", (4, 4)),
        Image.new("CMYK", (4, 4)),
        "no/such/file.png",
        str(DATA),
        str(DATA / "golden.json"),
        io.BytesIO(b"not an image"),
        None,
        3,
    ],
)
def test_what_is_no_image(wrong: object) -> None:
    with pytest.raises(ImageError):
        dmecodec.encode(wrong)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "", "cuda:99", "cuda:01", "cpu:7"])
def test_impossible_devices(image: np.ndarray, data: bytes, device: str) -> None:
    with pytest.raises(OptionError, match="device"):
        dmecodec.encode(image, device=device)
    with pytest.raises(OptionError, match="device"):
        dmecodec.decode(data, device=device)


def test_options_of_a_wrong_type(image: np.ndarray, data: bytes) -> None:
    wrong: list[dict[str, object]] = [
        {"quality": "4"},
        {"quality": 10**400},
        {"bpp": "1"},
        {"psnr": [30]},
        {"tile": 64.0},
        {"tile": "64"},
        {"tile": None},
        {"device": None},
        {"device": 0},
        {"device": "cuda:99999999999999999999"},
        {"device": torch.device("meta")},
        {"model": 5},
        {"model": b"tiny"},
    ]
    for options in wrong:
        with pytest.raises(OptionError, match=next(iter(options))):
            dmecodec.encode(image, **options)  # type: ignore[arg-type]
    for window in [(0, 0, float("inf"), 5), (0, 0, 4.5, 5), ("0", "0", "4", "5"), 7]:
        with pytest.raises(OptionError, match="window"):
            dmecodec.decode(data, window=window)  # type: ignore[arg-type]
    for name in ("a" * 5000, "a\0b"):
        with pytest.raises(ModelError, match="no such model"):
            dmecodec.encode(image, model=name)


def test_options_of_kindred_types(image: np.ndarray, data: bytes) -> None:
    options: dict[str, Any] = {"tile": np.int64(1024), "device": torch.device("cpu")}
    assert dmecodec.encode(image, np.float32(4), **options) == data
    part = dmecodec.decode(bytearray(data), window=tuple(np.int32([1, 2, 3, 4])))  # type: ignore[arg-type]
    assert part.shape == (4, 3, 3)


@pytest.mark.parametrize("use", [dmecodec.decode, dmecodec.latents])
def test_data_that_are_no_bytes(use: Callable[[Any], object]) -> None:
    for path in ("scene.dmen", Path("scene.dmen")):
        with pytest.raises(OptionError, match=r"dmecodec\.open"):
            use(path)
    for wrong in (5, io.BytesIO(), [1, 2]):
        with pytest.raises(OptionError, match="the bytes of a"):
            use(wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_where_there_is_none(image: np.ndarray) -> None:
    with pytest.raises(OptionError, match="device 'cuda': this machine has 0 CUDA devices"):
        dmecodec.encode(image, device="cuda")


def test_models_by_name_and_path(image: np.ndarray, data: bytes, tmp_path: Path) -> None:
    path = DATA / "tiny.safetensors"
    assert dmecodec.encode(image, 4, model="tiny") == data
    assert dmecodec.encode(image, 4, model=path) == data
    copy = tmp_path / "other.safetensors"
    copy.write_bytes(path.read_bytes())
    np.testing.assert_array_equal(dmecodec.decode(data, model=copy), dmecodec.decode(data))
    for wrong in ("enormous", tmp_path / "missing.safetensors", tmp_path):
        with pytest.raises(ModelError, match=r"no such model; known by name: .*tiny"):
            dmecodec.encode(image, model=wrong)


def test_other_weights_are_refused(image: np.ndarray, data: bytes, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(DATA / "tiny.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    tensors["synthesis.scale"] = tensors["synthesis.scale"] * 2
    other = tmp_path / "other.safetensors"
    save_file(tensors, other, metadata)
    with pytest.raises(ModelError, match=f"made with model {registry.find('tiny').id.hex()}"):
        dmecodec.decode(data, model=other)
    made_with_other = dmecodec.encode(image, 4, model=other)
    with pytest.raises(ModelError, match=r"which is not here; .*DMECODEC_MODELS"):
        dmecodec.decode(made_with_other)
    assert dmecodec.decode(made_with_other, model=other).shape == image.shape


def test_the_default_model_is_missing(image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "folders", lambda: [])
    with pytest.raises(ModelError, match="DMECODEC_MODELS"):
        dmecodec.encode(image)
    monkeypatch.setattr(registry, "folders", lambda: [tmp_path / "nowhere"])
    with pytest.raises(ModelError, match="not a folder"):
        dmecodec.encode(image)


@pytest.mark.parametrize("damaged", [b"", b"\x89DMN", b"PNG", b"\x89DMN\x01" + bytes(50), b"\x89DME\x04" + bytes(50)])
def test_what_is_no_file(damaged: bytes) -> None:
    for use in (dmecodec.decode, dmecodec.latents):
        with pytest.raises(FormatError):
            use(damaged)


def test_opening_what_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.dmen", tmp_path, "a\0b"):
        with pytest.raises(FormatError, match="cannot be read"):
            dmecodec.open(path)
    for wrong in (12345, b"data", io.StringIO("text")):
        with pytest.raises(OptionError, match="give a path or a binary file"):
            dmecodec.open(wrong)  # type: ignore[arg-type]


# ---- files -------------------------------------------------------------------------------------


def test_an_open_file(tmp_path: Path, image: np.ndarray, data: bytes) -> None:
    path = tmp_path / "image.dmen"
    path.write_bytes(data)
    with dmecodec.open(path) as file:
        assert (file.header.width, file.header.height, file.header.mode) == (140, 120, "RGB")
        file.verify(deep=True)
        whole = file.read()
        np.testing.assert_array_equal(whole, dmecodec.decode(data))
        np.testing.assert_array_equal(file.read(), whole)
        assert file.read((10, 20, 30, 40)).shape == (40, 30, 3)
        file.save(tmp_path / "out.png")
        file.save(tmp_path / "part.tif", window=(1, 2, 3, 4))
        with pytest.raises(OptionError, match="format"):
            file.save(io.BytesIO())
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), whole)
    assert Image.open(tmp_path / "part.tif").size == (3, 4)


def test_a_file_that_was_closed(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "image.dmen"
    path.write_bytes(data)
    given = path.open("rb")
    for source in (path, given):
        with dmecodec.File(source) as file:
            pass
        assert file.header.width == 140
        uses: list[Callable[[], object]] = [
            file.read,
            file.latents,
            file.verify,
            lambda file=file: file.metadata,
            lambda file=file: file.save(tmp_path / "out.png"),
        ]
        for use in uses:
            with pytest.raises(OptionError, match="closed"):
                use()
    assert not given.closed and given.seek(0) == 0
    file = dmecodec.File(given)
    given.close()
    with pytest.raises(FormatError, match="closed file"):
        file.read()
    with pytest.raises(FormatError, match="closed file"):
        dmecodec.File(given)


def test_saving_to_what_is_no_binary_file(data: bytes) -> None:
    for wrong in (io.StringIO(), 5):
        with pytest.raises(OptionError, match="give a path or a binary file"):
            dmecodec.File(io.BytesIO(data)).save(wrong, format="PNG")  # type: ignore[arg-type]


def test_a_forged_size_fails_before_memory_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    header = Header(registry.find("tiny").id, 2**18, 2**18, "RGBA", 0, 4096, kinds=(Kind.Z, Kind.Y, Kind.ALPHA))
    forged = write(header, [{Kind.Z: bytes(4), Kind.Y: b"", Kind.ALPHA: b""}] * header.tile_count, {})
    assert len(forged) < 50_000

    def fill(*_: object) -> None:
        raise AssertionError("memory for 2^36 pixels")

    monkeypatch.setattr(opened, "Sink", fill)
    monkeypatch.setattr(np, "empty", _no_more_than(1 << 30, np.empty))
    with dmecodec.File(io.BytesIO(forged)) as file:
        for use in (file.read, lambda: file.save(io.BytesIO(), format="PNG")):
            with pytest.raises(FormatError):
                use()


def _no_more_than(limit: int, make: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    def checked(shape: Any, *rest: Any) -> np.ndarray:
        assert np.prod(shape, dtype=float) < limit
        return make(shape, *rest)

    return checked


def test_a_chunk_is_read_once(image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dmecodec.encode(in_mode(image, "RGBA"), 4, tile=64)
    read: list[int] = []

    def counted(self: Reader, index: int, group: int = 0) -> dict[int, bytes]:
        read.append(index)
        return tile(self, index, group)

    tile = Reader.tile
    monkeypatch.setattr(Reader, "tile", counted)
    dmecodec.decode(data)
    assert read == list(range(6))


# ---- determinism -------------------------------------------------------------------------------


@pytest.mark.usefixtures("_threads")
def test_threads_of_torch_change_no_byte(image: np.ndarray, data: bytes) -> None:
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        for tile in (64, 1024):
            wanted = data if tile == 1024 else None
            files = {dmecodec.encode(image, 4, tile=tile) for _ in range(2)}
            assert len(files) == 1 and (wanted is None or files == {wanted})


def test_several_threads_at_once(image: np.ndarray) -> None:
    jobs = [(image[i:, i:], quality) for i in (0, 3, 40) for quality in (1, 4.25, 7)]
    alone = [dmecodec.encode(part, quality, tile=64) for part, quality in jobs]
    pixels = [dmecodec.decode(file) for file in alone]
    with ThreadPoolExecutor(6) as pool:
        together = pool.map(lambda job: dmecodec.encode(job[0], job[1], tile=64), 2 * jobs)
        assert list(together) == 2 * alone
        for a, b in zip(pool.map(dmecodec.decode, 2 * alone), 2 * pixels, strict=True):
            np.testing.assert_array_equal(a, b)


def test_one_open_file_in_several_threads(image: np.ndarray) -> None:
    data = dmecodec.encode(image, 4, tile=64)
    windows = [(i, i, 140 - 2 * i, 120 - 2 * i) for i in range(0, 50, 5)]
    with dmecodec.File(io.BytesIO(data)) as file, ThreadPoolExecutor(6) as pool:
        expected = [file.read(window) for window in windows]
        for a, b in zip(pool.map(file.read, 2 * windows), 2 * expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_default_dtype_of_torch_changes_no_byte(
    image: np.ndarray, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, annealed = dmecodec.decode(data), dmecodec.encode(image[:40, :50], 4, effort=2)
    monkeypatch.setattr(weights, "_loaded", {})  # the model is built anew, too
    torch.set_default_dtype(torch.float64)
    try:
        assert dmecodec.encode(image, 4) == data
        np.testing.assert_array_equal(dmecodec.decode(data), pixels)
        assert dmecodec.encode(image[:40, :50], 4, effort=2) == annealed
    finally:
        torch.set_default_dtype(torch.float32)


def test_coding_never_imports_compressai() -> None:
    script = (
        "import sys, numpy, dmecodec\n"
        "assert 'torch' not in sys.modules\n"
        "data = dmecodec.encode(numpy.zeros((20, 20, 3), 'uint8'))\n"
        "assert dmecodec.decode(data).shape == (20, 20, 3)\n"
        "dmecodec.latents(data)\n"
        "wrong = {'compressai', 'torchvision', 'scipy', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(str(wrong) if wrong else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_published_model_if_there_is_one(image: np.ndarray) -> None:
    """The only test that looks at the models of the package itself."""
    own = [entry for entry in registry.entries() if entry.path.parent != DATA]
    if not own:
        pytest.skip("no model beside the tiny one")
    registry.check(own[0])
    data = dmecodec.encode(image, 4, model=own[0].name)
    assert psnr(dmecodec.decode(data), image) > 25


# ---- models and files of other people's making -------------------------------------------------------------------


def test_two_models_of_one_id_are_told_apart_by_the_caller(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = registry.find_id(Reader(data).header.model)
    other = replace(known, path=tmp_path / "other.safetensors", sha256=known.sha256[:16] + "0" * 48)
    monkeypatch.setattr(registry, "entries", lambda: [known, other])
    with pytest.raises(ModelError, match=r"and .*other.safetensors have the same id"):
        dmecodec.decode(data)
    assert dmecodec.decode(data, model=known.path).shape == (120, 140, 3)


def test_a_model_that_is_listed_but_missing_is_found_elsewhere(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifest.json").write_bytes((DATA / "manifest.json").read_bytes())
    monkeypatch.setenv("DMECODEC_MODELS", f"{tmp_path}{os.pathsep}{DATA}")
    assert registry.find_id(Reader(data).header.model).path.parent == DATA
    assert all(entry.path.is_file() for entry in registry.entries() if entry.name == "tiny")


class Unseekable:
    """Has `read` alone, or a `seek` that does not tell where it went."""

    def __init__(self, data: bytes) -> None:
        self.read = io.BytesIO(data).read


class Silent(io.BytesIO):
    def seek(self, *place: int) -> None:  # type: ignore[override]
        super().seek(*place)


def test_files_that_seek_in_their_own_way(data: bytes) -> None:
    with pytest.raises(FormatError, match="cannot be read in parts"):
        dmecodec.File(Unseekable(data))  # type: ignore[arg-type]
    with dmecodec.File(Silent(data)) as file:
        assert file.read().shape == (120, 140, 3)


class Place:
    """A path that is bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> bytes:
        return os.fsencode(self.path)


def test_paths_of_bytes(image: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(image).save(tmp_path / "a.png")
    (tmp_path / "a.dmen").write_bytes(dmecodec.encode(Place(tmp_path / "a.png")))
    with dmecodec.open(Place(tmp_path / "a.dmen")) as file:  # type: ignore[arg-type]
        file.save(Place(tmp_path / "b.png"))  # type: ignore[arg-type]
    assert (tmp_path / "b.png").is_file()


@pytest.mark.parametrize("target", [10**400, Fraction(-1, 2), float("nan")], ids=repr)
def test_targets_of_any_type_are_refused_alike(image: np.ndarray, target: Any) -> None:
    with pytest.raises(OptionError, match="cannot be met"):
        dmecodec.encode(image, bpp=target)


def test_nothing_is_no_file() -> None:
    with pytest.raises(OptionError, match="not NoneType"):
        dmecodec.decode(None)  # type: ignore[arg-type]
