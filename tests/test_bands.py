"""Bands beyond the plain modes: groups, 16 bits, nodata and masks, all without GeoTIFF."""

from __future__ import annotations

import io
import itertools
import json
from typing import Any

import numpy as np
import pytest
import second_bands
import second_decoder
import torch
from command import works
from conftest import DATA, aerial, in_mode, psnr
from hypothesis import given, settings
from hypothesis import strategies as st
from second_bands import digest
from second_container import Container

import dmecodec
from dmecodec.codec import decoded_tile, decoder
from dmecodec.codec.fill_before_analysis import fill
from dmecodec.codec.samples import to_samples
from dmecodec.entropy.lossless import decode_mask, encode_mask
from dmecodec.errors import DmecodecError, FormatError, ImageError, OptionError
from dmecodec.format import writer
from dmecodec.format.header import Header
from dmecodec.format.kinds import Kind
from dmecodec.format.layout import (
    Alpha,
    Band,
    Layout,
    grouped,
    layout_of,
    parse_layout,
    plain_layout,
)
from dmecodec.format.limits import PLAIN_MODES
from dmecodec.format.reader import Reader
from dmecodec.images.array import ArraySource
from dmecodec.images.options import ReadOptions

# ---- the BANDS stream ----------------------------------------------------------------------------


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    depth = draw(st.sampled_from([8, 16]))
    count = draw(st.integers(1, 64))
    order = draw(st.permutations(range(count)))
    groups, start = [], 0
    while start < count:
        size = draw(st.integers(1, 3))
        groups.append(tuple(order[start : start + size]))
        start += size
    largest = 2**depth - 1
    nodata = st.none() | st.integers(0, largest)
    bands = []
    for _ in range(count):
        low = draw(st.integers(0, 65534)) if depth == 16 else 0
        high = draw(st.integers(low + 1, 65535)) if depth == 16 else 255
        bands.append(Band(draw(nodata), low, high))
    alpha = draw(st.sampled_from(Alpha))
    alpha_at = draw(st.integers(0, count)) if alpha is Alpha.BAND else 0
    return Layout(depth, tuple(bands), tuple(groups), alpha, alpha_at)


@given(layouts())
@settings(max_examples=30)
def test_layout_round_trip(layout: Layout) -> None:
    stream = layout.to_bytes()
    assert parse_layout(stream, len(layout.groups)) == layout
    for wrong in (stream[:-1], stream + b"\0"):
        with pytest.raises(FormatError):
            parse_layout(wrong, len(layout.groups))


@given(layouts(), st.integers(0, 10**6), st.integers(1, 255), st.integers(1, 64))
@settings(max_examples=60)
def test_a_damaged_layout_is_another_or_refused(layout: Layout, place: int, flip: int, groups: int) -> None:
    stream = bytearray(layout.to_bytes())
    stream[place % len(stream)] ^= flip
    for count in (groups, len(layout.groups)):
        try:
            assert isinstance(parse_layout(bytes(stream), count), Layout)
        except FormatError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (b"", "ends within the depth"),
        (b"\x09\x01\x00\x01\x00\x00", "9 bits"),
        (b"\x08\x00\x00\x01\x00\x00", "0 bands|hold every band|bytes too many"),
        (b"\x08\x41\x00", "more than 64"),
        (b"\x08\x01\x03\x01\x00\x00", "unknown kind of alpha 3"),
        (b"\x08\x01\x01\x02\x01\x00\x00", "alpha cannot be band 2"),
        (b"\x08\x01\x00\x00\x00", "no bands or too many"),
        (b"\x08\x04\x00\x04\x00\x01\x02\x03\x00\x00\x00\x00", "no bands or too many"),
        (b"\x08\x01\x00\x01\x01\x00", "every band once"),
        (b"\x08\x02\x00\x02\x00\x00\x00\x00", "every band once"),
        (b"\x08\x01\x00\x01\x00\x04\x05", "unknown flags 0x04 of a band: the file needs a newer dmecodec"),
        (b"\x08\x01\x00\x01\x00\x05\x05", "unknown flags 0x05"),
        (b"\x08\x01\x00\x01\x00\x80", "unknown flags 0x80"),
        (b"\x10\x02\x00\x02\x00\x01\x00\x05\x06\x41\x05\x05\x06", "unknown flags 0x41"),
        (b"\x08\x01\x00\x01\x00\x01", "ends within the nodata value"),
        (b"\x08\x01\x00\x01\x00\x01\x80\x02", "nodata value 256"),
        (b"\x10\x01\x00\x01\x00\x00\x05\x05", "scale from 5 to 5"),
        (b"\x10\x01\x00\x01\x00\x00\x06\x05", "scale from 6 to 5"),
        (bytes(5000), "too long"),
    ],
)
def test_impossible_layouts(stream: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        parse_layout(stream, 1)


def test_plain_modes_are_layouts() -> None:
    for mode in PLAIN_MODES:
        layout = plain_layout(mode)
        assert layout.mode == layout.picture_mode == mode
        assert layout.planes == layout.image_bands == len(mode)
        assert parse_layout(layout.to_bytes(), 1) == layout


# ---- the mask layer ------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_mask_round_trip(height: int, width: int, bands: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    valid = rng.random((height, width, bands)) < rng.choice([0, 0.1, 0.9, 1])
    stream = encode_mask(valid)
    nodata = [True] * bands
    np.testing.assert_array_equal(decode_mask(stream, height, width, nodata), valid)
    if valid.all() or not valid.any():
        assert len(stream) == 1
    with pytest.raises(FormatError):
        decode_mask(stream + b"\0\0", height, width, nodata)
    with pytest.raises(FormatError, match="mask stream is empty"):
        decode_mask(b"", height, width, nodata)


def test_a_mask_of_bands_that_there_are_not() -> None:
    with pytest.raises(FormatError, match="more than 2 bands"):
        decode_mask(b"\x04", 3, 3, [True, True])


def test_a_mask_of_a_band_without_nodata() -> None:
    assert decode_mask(b"\x02", 3, 3, [True, False])[..., 1].all()
    with pytest.raises(FormatError, match="in a band without nodata"):
        decode_mask(b"\x01", 3, 3, [True, False])


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    """An array, its nodata value, the side of a tile."""
    height, width = draw(st.integers(1, 150)), draw(st.integers(1, 150))
    bands = draw(st.integers(1, 5))
    dtype = draw(st.sampled_from([np.uint8, np.uint16]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    colours = aerial(int(rng.integers(1000)), height, width).astype(dtype)
    pixels = colours[..., np.arange(bands) % 3] * (1 if dtype == np.uint8 else 200)
    largest = np.iinfo(dtype).max
    nodata = draw(st.sampled_from([0, 1, 100, int(pixels[0, 0, 0]), largest - 1, largest]))
    row, col = np.mgrid[:height, :width]
    turn, place = draw(st.floats(-2, 2)), draw(st.integers(-50, 200))
    shape = draw(st.sampled_from(["edge", "holes", "everything", "nothing"]))
    invalid = {
        "edge": col + turn * row > place,
        "holes": rng.random((height, width)) < 0.1,
        "everything": np.ones((height, width), bool),
        "nothing": np.zeros((height, width), bool),
    }[shape]
    pixels[invalid] = nodata
    if draw(st.booleans()):
        pixels[rng.random(pixels.shape) < 0.02] = nodata  # some bands of a pixel only
    return pixels, nodata, draw(st.sampled_from([64, 128, 1024]))


@given(scenes(), st.sampled_from([0, 4, 7]))
@settings(max_examples=25)
def test_nodata_comes_back_exactly(scene: tuple[np.ndarray, int, int], quality: int) -> None:
    pixels, nodata, tile = scene
    data = dmecodec.encode(pixels, quality, nodata=nodata, tile=tile, alpha=False, bands="last")
    decoded = dmecodec.decode(data).reshape(pixels.shape)
    assert decoded.dtype == pixels.dtype
    np.testing.assert_array_equal(decoded == nodata, pixels == nodata)
    col, row = pixels.shape[1] // 3, pixels.shape[0] // 3
    window = dmecodec.decode(data, window=(col, row, pixels.shape[1] - col, pixels.shape[0] - row)).reshape(
        decoded[row:, col:].shape
    )
    np.testing.assert_array_equal(window == nodata, pixels[row:, col:] == nodata)
    levels = 1 if pixels.dtype == np.uint8 else 257
    assert abs(window.astype(int) - decoded[row:, col:]).max() <= 2 * levels


def test_a_valid_pixel_never_becomes_nodata() -> None:
    """It moves away from nodata to the side where it was, and not out of the range."""
    layout = Layout(8, (Band(0), Band(100), Band(255)), ((0, 1, 2),))
    x = np.array([[[0.4, 99.6, 254.9], [0.0, 100.0, 255.0], [1.2, 100.4, 253.6]]], np.float32)
    x = torch.from_numpy(x).permute(2, 0, 1)
    valid = np.ones((1, 3, 3), bool)
    expected = [[[1, 99, 254], [1, 101, 254], [1, 101, 254]]]
    np.testing.assert_array_equal(to_samples(x, valid, layout, 0), expected)
    valid[0, 1] = False
    expected[0][1] = [0, 100, 255]
    np.testing.assert_array_equal(to_samples(x, valid, layout, 0), expected)


def test_pixels_under_nodata_do_not_matter() -> None:
    """Whatever nodata is, the file differs by the header alone, and so does a scene full of noise there."""
    image = aerial(5, 130, 140)
    image[image == 255] = 254
    image[image == 0] = 1
    sizes = []
    for nodata in (0, 255):
        scene = image.copy()
        scene[:, 70:] = nodata
        data = dmecodec.encode(scene, 4, nodata=nodata, tile=64)
        sizes.append([Reader(data).tile(index) for index in range(9)])
    assert sizes[0] == sizes[1]


# ---- fill ----------------------------------------------------------------------------------------


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_fill_keeps_what_is_valid_and_stays_within_it(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.random((1, 2, height, width)).astype(np.float32))
    valid = torch.from_numpy(rng.random((1, 2, height, width)) < rng.choice([0, 0.02, 0.5, 1]))
    filled = fill(x, valid)
    assert filled.shape == x.shape and torch.equal(filled[valid], x[valid])
    for channel in range(2):
        inside = valid[0, channel]
        if inside.any():
            known = x[0, channel][inside]
            assert filled[0, channel].min() >= known.min() - 1e-5
            assert filled[0, channel].max() <= known.max() + 1e-5
        else:
            assert not filled[0, channel].any()


def test_a_filled_edge_is_cheaper_than_a_black_one() -> None:
    image = np.maximum(aerial(6, 200, 256), 1)
    image[np.add.outer(np.arange(200), np.arange(256)) > 230] = 0
    with_mask = dmecodec.encode(image, 4, nodata=0)
    without = dmecodec.encode(image, 4)
    assert len(with_mask) < len(without)
    valid = image != 0
    error = [image[valid].astype(float) - dmecodec.decode(d)[valid] for d in (with_mask, without)]
    assert np.square(error[0]).mean() < 1.05 * np.square(error[1]).mean()


# ---- empty tiles -----------------------------------------------------------------------------------


def half_empty(side: int = 192) -> np.ndarray:
    scene = np.zeros((side, 2 * side, 3), np.uint8)
    scene[:, :side] = np.maximum(aerial(7, side, side), 1)
    return scene


def test_an_empty_half_costs_little_and_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = half_empty()
    data = dmecodec.encode(scene, 4, nodata=0, tile=64)
    full = dmecodec.encode(scene[:, :192], 4, nodata=0, tile=64)
    reader = Reader(data)
    empty = {i for i in range(18) if not reader.tile(i)[Kind.Z] and not reader.tile(i)[Kind.Y]}
    assert empty == {6 * row + col for row in range(3) for col in (4, 5)}
    assert all(sum(map(len, reader.tile(index).values())) == 1 for index in empty)
    assert len(data) < 1.3 * len(full)

    # The decoder runs no network where nothing is valid, whatever the neighbours are.
    def never(*_: object) -> None:
        raise AssertionError("the network runs")

    with dmecodec.File(io.BytesIO(data)) as file:
        expected = file.read((250, 0, 134, 192))
        monkeypatch.setattr(decoder, "synthesise", never)
        monkeypatch.setattr(decoded_tile, "decode_tile", never)
        np.testing.assert_array_equal(file.read((192, 0, 192, 192)), scene[:, 192:])
    assert not expected.any()


def test_an_empty_scene() -> None:
    for dtype, bands, nodata in ((np.uint8, 3, 0), (np.uint16, 5, 777)):
        scene = np.full((200, 300, bands), nodata, dtype)
        data = dmecodec.encode(scene, 4, nodata=nodata, tile=64)
        assert len(data) < 1000
        np.testing.assert_array_equal(dmecodec.decode(data), scene)
        y_hat, z_hat = dmecodec.latents(data)
        assert not y_hat.any() and not z_hat.any()


def test_valid_pixels_near_an_empty_tile_are_as_good() -> None:
    scene = half_empty()
    whole = dmecodec.decode(dmecodec.encode(scene, 5, nodata=0, tile=64))
    alone = dmecodec.decode(dmecodec.encode(scene[:, :192], 5, nodata=0, tile=64))
    edge = np.s_[:, 128:192]
    assert psnr(whole[edge], scene[edge]) > psnr(alone[edge], scene[:, :192][edge]) - 0.3


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_tiles_are_empty(mode: str) -> None:
    image = in_mode(aerial(8, 150, 400), mode)
    image[..., -1] = 255
    image[:, 150:, -1] = 0
    data = dmecodec.encode(image, 4, tile=64)
    reader = Reader(data)
    assert reader.header.mode == mode
    assert not reader.tile(4)[Kind.Y] and reader.tile(3)[Kind.Y]  # columns 256 and 192
    decoded = dmecodec.decode(data)
    np.testing.assert_array_equal(decoded[..., -1], image[..., -1])
    assert not decoded[:, 256:].any()
    assert psnr(decoded[:, :150, :-1], image[:, :150, :-1]) > 20


def test_an_empty_tile_with_valid_pixels_is_refused() -> None:
    for image, options in (
        (np.maximum(aerial(9, 64, 128), 1), {"nodata": 0}),
        (in_mode(aerial(9, 64, 128), "RGBA"), {}),
    ):
        data = dmecodec.encode(image, 4, tile=64, **options)
        with pytest.raises(FormatError, match="valid pixels has no latents"):
            dmecodec.decode(changed(data, {(1, 0, Kind.Z): b"", (1, 0, Kind.Y): b""}))
        with pytest.raises(FormatError, match="valid pixels has no latents"):
            dmecodec.latents(changed(data, {(1, 0, Kind.Z): b"", (1, 0, Kind.Y): b""}))


# ---- files -----------------------------------------------------------------------------------------


def changed(data: bytes, streams: dict[tuple[int, int, int], bytes], **header: object) -> bytes:
    """The file with other streams (tile, group, kind) or header fields, and right checksums."""
    reader = Reader(data)
    old = reader.header
    names = ("model", "width", "height", "mode", "quality", "tile", "groups", "kinds", "bound")
    new = Header(**{name: header.get(name, getattr(old, name)) for name in names})
    keys = [(i, g) for i in range(old.tile_count) for g in range(old.groups)]
    tiles = {key: reader.tile(*key) for key in keys}
    metadata = reader.metadata()
    for (index, group, kind), stream in streams.items():
        (metadata if index < 0 else tiles[index, group])[kind] = stream
    return writer.write(new, list(tiles.values()), metadata)


def scene16() -> np.ndarray:
    pixels = np.concatenate([aerial(10, 100, 150), aerial(11, 100, 150)], 2)[..., :5]
    pixels = pixels.astype(np.uint16) * 40 + 900
    pixels[:40, :70] = 0
    return pixels


@pytest.fixture(scope="module")
def five_bands() -> bytes:
    return dmecodec.encode(scene16(), 4, nodata=0, tile=64)


@given(st.data())
@settings(max_examples=50)
def test_damaged_streams_with_right_checksums(five_bands: bytes, data: st.DataObject) -> None:
    reader = Reader(five_bands)
    index = data.draw(st.integers(-1, reader.header.tile_count - 1))
    group = data.draw(st.integers(0, reader.header.groups - 1))
    kind = Kind.BANDS if index < 0 else data.draw(st.sampled_from([Kind.Z, Kind.Y, Kind.MASK]))
    stream = reader.file_stream(kind) if index < 0 else reader.tile(index, group)[kind]
    mutated = bytearray(stream or b"\0")
    for _ in range(data.draw(st.integers(1, 3))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(mutated)))
    file = changed(five_bands, {(index, group, kind): bytes(mutated[:cut])})
    try:
        assert dmecodec.decode(file).shape[:2] == (100, 150)
    except DmecodecError as error:
        assert "\n" not in str(error)


def test_every_byte_is_under_a_checksum(five_bands: bytes) -> None:
    for position in range(0, len(five_bands), 7):
        mutated = bytearray(five_bands)
        mutated[position] ^= 0x21
        with pytest.raises(FormatError), dmecodec.File(io.BytesIO(mutated)) as file:
            file.verify()


def test_streams_that_do_not_fit_the_bands(five_bands: bytes) -> None:
    layout = layout_of(Reader(five_bands))
    for other in (
        Layout(16, layout.bands, layout.groups, Alpha.MASK),
        Layout(16, (Band(high=65535),) * 5, layout.groups),
    ):
        with pytest.raises(FormatError, match="differ about"):
            dmecodec.decode(changed(five_bands, {(-1, 0, Kind.BANDS): other.to_bytes()}))
    image = in_mode(aerial(3, 64, 64), "RGBA")
    data = dmecodec.encode(np.concatenate([image, image], 2)[..., :7], 4, alpha=True)
    with pytest.raises(FormatError, match="second alpha"):
        dmecodec.decode(changed(data, {(0, 1, Kind.ALPHA): b"\1"}))


def test_bands_of_bytes() -> None:
    rgb = aerial(12, 120, 130)
    nir = 255 - rgb[..., 1:2]
    image = np.concatenate([rgb, nir], 2)
    data = dmecodec.encode(image, 5, alpha=False)
    layout = layout_of(Reader(data))
    assert layout.groups == ((0, 1, 2), (3,)) and not layout.has_alpha
    assert psnr(dmecodec.decode(data), image) > 24
    # As RGBA, the fourth is kept without loss.
    np.testing.assert_array_equal(dmecodec.decode(dmecodec.encode(image, 5))[..., 3:], nir)
    # And with five bands and alpha.
    both = np.concatenate([image, nir, in_mode(rgb, "LA")[..., 1:]], 2)
    decoded = dmecodec.decode(dmecodec.encode(both, 5, alpha=True))
    np.testing.assert_array_equal(decoded[..., 5], both[..., 5])


def test_bands_that_are_alike_go_together() -> None:
    rgb = aerial(13, 150, 150).astype(np.uint16) * 100
    noise = np.random.default_rng(0).integers(0, 9999, (150, 150, 1)).astype(np.uint16)
    grey = rgb[..., :1]
    image = np.concatenate([grey, grey * 2, noise, grey + 7, grey], 2)
    source = ArraySource(image, ReadOptions(alpha=False))
    assert source.layout.groups == ((0, 1), (2,), (3, 4))
    assert grouped(5) == ((0, 1, 2), (3, 4))
    decoded = dmecodec.decode(dmecodec.encode(image, 7))
    for band in range(5):
        scale = np.ptp(image[..., band]) / 255
        assert psnr(decoded[..., band] / scale, image[..., band] / scale) > 9


@pytest.mark.parametrize(("low", "high"), [(0, 65535), (900, 1100), (30000, 65535), (5, 6), (9, 9)])
def test_sixteen_bits_keep_their_range(low: int, high: int) -> None:
    step = (high - low) / 255
    image = np.round(low + aerial(14, 90, 100) * step).astype(np.uint16)
    data = dmecodec.encode(image, 7)
    decoded = dmecodec.decode(data)
    assert decoded.dtype == np.uint16
    assert decoded.min() >= image.min() and decoded.max() <= max(image.max(), image.min() + 1)
    if step > 1:
        assert psnr((decoded - low) / step, (image - low) / step) > 22


def test_a_scale_of_ones_own() -> None:
    image = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    data = dmecodec.encode(image, 7, scale=(1000, 30000))
    assert layout_of(Reader(data)).bands == (Band(None, 1000, 30000),)
    decoded = dmecodec.decode(data)
    assert decoded.min() >= 1000 and decoded.max() <= 30000
    inside = (image > 1000) & (image < 30000)
    assert abs(decoded.astype(int) - image)[inside].mean() < 300


def test_network_sees_more_than_eight_bits() -> None:
    """A slope of 4000 levels is not cut into 256 stairs."""
    row, col = np.mgrid[:128, :128]
    image = (row * 16 + col * 16).astype(np.uint16)
    decoded = dmecodec.decode(dmecodec.encode(image, 7))
    assert len(np.unique(decoded)) > 1000


@pytest.mark.parametrize(
    ("image", "options", "error", "words"),
    [
        (np.zeros((9, 9), np.uint8), {"nodata": 256}, OptionError, "between 0 and 255"),
        (np.zeros((9, 9), np.uint8), {"nodata": -1}, OptionError, "between 0 and 255"),
        (np.zeros((9, 9), np.uint8), {"nodata": 0.5}, OptionError, "must be an integer"),
        (np.zeros((9, 9), np.uint8), {"scale": (0, 9)}, OptionError, "16 bits; these have 8"),
        (np.zeros((9, 9), np.uint16), {"scale": (9, 9)}, OptionError, "lower one first"),
        (np.zeros((9, 9), np.uint16), {"scale": (0, 65536)}, OptionError, "two samples"),
        (np.zeros((9, 9), np.uint16), {"scale": 9}, OptionError, "two numbers, or .auto."),
        (np.zeros((9, 9), np.uint16), {"scale": (1, 2, 3)}, OptionError, "two numbers, or .auto."),
        (np.zeros((99, 9, 65), np.uint16), {}, ImageError, "1 to 64 bands"),
        (np.zeros((3, 9, 9), np.uint16), {}, ImageError, "bands seem to come first"),
        (np.zeros((9, 9, 1), np.uint8), {"alpha": True}, ImageError, "1 to 64 bands"),
        (np.full((9, 9, 2), 5, np.uint16), {"alpha": True}, ImageError, "alpha band has values"),
        (np.zeros((9, 9), np.int32), {}, ImageError, "int32"),
        (DATA / "rgb_q4.png", {"alpha": True}, OptionError, "for arrays"),
        (DATA / "rgb_q4.png", {"scale": (0, 9)}, OptionError, "these have 8"),
    ],
)
def test_what_cannot_be(image: object, options: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        dmecodec.encode(image, **options)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_a_matrix_is_an_array() -> None:
    pixels = aerial(1, 64, 96)[..., 0]
    assert dmecodec.encode(np.matrix(pixels)) == dmecodec.encode(pixels)


@pytest.mark.parametrize("alpha", ["yes", 1, 2.0])
def test_alpha_is_yes_or_no(alpha: Any) -> None:
    with pytest.raises(OptionError, match="alpha"):
        dmecodec.encode(np.zeros((64, 64, 2), np.uint8), alpha=alpha)


def test_masked_arrays() -> None:
    image = np.ma.masked_equal(half_empty(64), 0)
    with pytest.raises(ImageError, match="give nodata"):
        dmecodec.encode(image)
    decoded = dmecodec.decode(dmecodec.encode(image, nodata=255))
    np.testing.assert_array_equal(decoded == 255, image.mask)
    for nodata in (-1, 300, 2**70):
        with pytest.raises(OptionError, match="nodata"):
            dmecodec.encode(image, nodata=nodata)
    assert dmecodec.encode(np.ma.array(image.data)) == dmecodec.encode(image.data)


@pytest.mark.parametrize(
    ("shape", "max_error"),
    [*itertools.product([(3, 40, 50), (5, 17, 33), (2, 30, 20)], [None, 0, 2]), ((64, 66, 65), None)],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bands_first(shape: tuple[int, int, int], dtype: type, max_error: int | None) -> None:
    """The file is that of the transposed array."""
    image = np.resize(aerial(16, 66, 66).transpose(2, 0, 1), shape).astype(dtype)
    options = {"quality": 1, "max_error": max_error, "alpha": False}
    with pytest.raises(ImageError, match="bands seem to come first"):
        dmecodec.encode(image, **options)
    data = dmecodec.encode(image, bands="first", **options)
    last = np.moveaxis(image, 0, -1)
    assert data == dmecodec.encode(np.ascontiguousarray(last), bands="last", **options)
    decoded = dmecodec.decode(data)
    assert decoded.shape == last.shape and decoded.dtype == dtype
    if max_error is not None:
        assert abs(decoded.astype(int) - last).max() <= max_error
        for original in (image, last):
            with dmecodec.File(io.BytesIO(data)) as file:
                assert file.verify(original=original) <= max_error


@pytest.mark.parametrize("shape", [(3, 9, 9), (1, 2, 2), (64, 65, 65)])
def test_an_array_that_seems_to_have_its_bands_first(shape: tuple[int, int, int]) -> None:
    image = np.resize(np.arange(251, dtype=np.uint8), shape)
    with pytest.raises(ImageError, match="give bands='first', or bands='last'"):
        dmecodec.encode(image)
    if shape[2] <= 64:
        data = dmecodec.encode(image, bands="last", max_error=0)
        np.testing.assert_array_equal(dmecodec.decode(data), image)


def test_an_array_with_more_rows_than_bands_may_be() -> None:
    image = np.resize(np.arange(251, dtype=np.uint8), (65, 70, 64))
    assert dmecodec.decode(dmecodec.encode(image, 0, alpha=False)).shape == image.shape


@pytest.mark.parametrize("shape", [(9, 9, 9), (9, 50, 9), (4, 50, 3), (7, 3, 9), (2, 2, 2)])
def test_an_array_that_does_not_seem_so(shape: tuple[int, int, int]) -> None:
    image = np.resize(np.arange(251, dtype=np.uint8), shape)
    data = dmecodec.encode(image, max_error=0, alpha=False)
    assert data == dmecodec.encode(image, max_error=0, alpha=False, bands="last")
    np.testing.assert_array_equal(dmecodec.decode(data), image)


def test_bands_first_with_alpha_and_nodata() -> None:
    """Both go with the bands, wherever these are."""
    image = in_mode(aerial(17, 40, 70), "RGBA")
    first = np.moveaxis(image, -1, 0)
    assert dmecodec.encode(first, bands="first") == dmecodec.encode(image)
    first = np.moveaxis(half_empty(64), -1, 0)
    data = dmecodec.encode(first, bands="first", nodata=0, max_error=0)
    np.testing.assert_array_equal(dmecodec.decode(data), half_empty(64))
    grey = image[..., 0]
    for bands in (None, "first", "last"):  # without an axis of bands it says nothing
        assert dmecodec.encode(grey, bands=bands) == dmecodec.encode(grey)


@pytest.mark.parametrize("bands", ["middle", "", 0, True])
def test_bands_are_first_or_last(bands: Any) -> None:
    with pytest.raises(OptionError, match="must be 'first' or 'last'"):
        dmecodec.encode(np.zeros((9, 9, 3), np.uint8), bands=bands)
    with pytest.raises(OptionError, match="for arrays"):
        dmecodec.encode(DATA / "rgb_q4.png", bands="last")


def test_sixty_four_bands() -> None:
    image = np.repeat(aerial(15, 70, 20)[..., :1], 64, 2).astype(np.uint16) * 100
    image[..., 7] = 0
    data = dmecodec.encode(image, 2, nodata=0)
    decoded = dmecodec.decode(data)
    assert decoded.shape == image.shape and not decoded[..., 7].any()


def test_targets_look_at_valid_pixels() -> None:
    scene = half_empty(128)
    data = dmecodec.encode(scene, psnr=25, nodata=0, tile=64)
    valid = scene != 0
    error = scene[valid].astype(float) - dmecodec.decode(data)[valid]
    assert abs(10 * np.log10(255**2 / np.square(error).mean()) - 25) < 0.15
    data = dmecodec.encode(scene16(), bpp=2, nodata=0)
    assert 1.9 < 8 * len(data) / 15000 < 2.1


def test_info_tells_of_bands(tmp_path, five_bands: bytes) -> None:
    path = tmp_path / "five.dmen"
    path.write_bytes(five_bands)
    facts = json.loads(works("info", "--json", path).out)
    assert (facts["mode"], facts["bands"], facts["bits"]) == ("BANDS", 5, 16)
    assert facts["nodata"] == [0] * 5 and facts["groups"][0]
    assert "5 x uint16, nodata 0" in works("info", path).out
    works("verify", "--deep", path)
    assert np.array_equal(dmecodec.decode(five_bands) == 0, scene16() == 0)


def test_pictures_of_bands(tmp_path) -> None:
    scene = half_empty(64)
    path = tmp_path / "a.dmen"
    path.write_bytes(dmecodec.encode(scene, 4, nodata=0))
    works("decode", path, "-o", tmp_path / "a.png")
    from PIL import Image

    picture = np.asarray(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(picture, dmecodec.decode(path.read_bytes()))


# ---- files of the past -----------------------------------------------------------------------------

GOLDEN = json.loads((DATA / "bands" / "golden.json").read_text())
MODEL = second_decoder.Model(DATA / "tiny.safetensors")


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_files_decode_for_ever(name: str) -> None:
    data = (DATA / "bands" / f"{name}.dmen").read_bytes()
    expected = np.load(DATA / "bands" / f"{name}.npz")["pixels"]
    decoded = dmecodec.decode(data)
    assert decoded.dtype == expected.dtype and decoded.shape == expected.shape
    reader = Reader(data)
    layout, wanted = layout_of(reader), GOLDEN[name]
    assert _difference(decoded, expected) <= 2 * _level(layout)
    if wanted["nodata"] is not None:
        np.testing.assert_array_equal(decoded == wanted["nodata"], expected == wanted["nodata"])
    y_hat, z_hat = dmecodec.latents(data)
    assert digest(y_hat) == wanted["y_hat"]
    assert digest(z_hat) == wanted["z_hat"]


@pytest.mark.parametrize("name", GOLDEN)
def test_the_second_decoder_reads_golden_files(name: str) -> None:
    """What docs/format.md says of bands is what the package does."""
    data = (DATA / "bands" / f"{name}.dmen").read_bytes()
    decoded = second_bands.decode(MODEL, Container(data))
    expected = dmecodec.decode(data)
    expected = expected.reshape(*expected.shape[:2], -1)
    assert decoded.shape == expected.shape
    assert _difference(decoded, expected) <= 2 * _level(layout_of(Reader(data)))


def _level(layout: Layout) -> float:
    """A 255th of the range that the network sees, in the unit of the values."""
    return max((band.high - band.low) / 255 * (band.values.scale if band.values else 1) for band in layout.bands)


def _difference(ours: np.ndarray, others: np.ndarray) -> float:
    """The largest difference; NaN is NaN in both."""
    np.testing.assert_array_equal(np.isnan(ours.astype(float)), np.isnan(others.astype(float)))
    return float(np.nanmax(abs(ours.astype(float) - others.astype(float))))


@pytest.mark.parametrize("target", [{"bpp": 2.0}, {"psnr": 35.0}])
def test_targets_where_nothing_is_valid(target: dict[str, float]) -> None:
    pixels = np.full((70, 90, 3), 7, np.uint8)
    data = dmecodec.encode(pixels, nodata=7, **target)
    assert data == dmecodec.encode(pixels, 0, nodata=7)


def test_masked_arrays_that_nodata_does_not_suit() -> None:
    pixels = aerial(60, 20, 30)[..., 0].clip(1, 250)
    mask = np.zeros(pixels.shape, bool)
    mask[3:9] = True
    pixels[4, 5], pixels[0, 0] = 0, 255
    array = np.ma.MaskedArray(pixels, mask)
    decoded = dmecodec.decode(dmecodec.encode(array, nodata=0))
    np.testing.assert_array_equal(decoded == 0, mask)
    with pytest.raises(ImageError, match="valid samples of 255"):
        dmecodec.encode(array, nodata=255)


def test_another_byte_order() -> None:
    with pytest.raises(ImageError, match=r"use \.astype\('uint16'\)"):
        dmecodec.encode(np.zeros((5, 5), np.dtype(np.uint16).newbyteorder()))
