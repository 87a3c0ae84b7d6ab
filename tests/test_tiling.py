"""Tiles and windows: seamless, and reading no more than they need."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import DATA, aerial, in_mode
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import dmecodec
from dmecodec.base.boxes import Box, window_box
from dmecodec.base.threads import torch_threads
from dmecodec.codec import analysis
from dmecodec.codec.decoder import Decoder
from dmecodec.errors import OptionError
from dmecodec.format.reader import Reader
from dmecodec.images.open import open_source
from dmecodec.network.transforms import HALO
from dmecodec.weights.model import Model

boxes = st.builds(Box, st.integers(0, 90), st.integers(0, 90), st.integers(1, 40), st.integers(1, 40))


# ---- boxes -------------------------------------------------------------------------------------


def cells(box: Box) -> set[tuple[int, int]]:
    return {(c, r) for c in range(box.col, box.right) for r in range(box.row, box.bottom)}


def test_box_by_hand() -> None:
    box = Box(17, 30, 20, 3)
    assert (box.right, box.bottom) == (37, 33)
    assert box.scaled_down(16) == Box(1, 1, 2, 2)
    assert box.scaled_down(16).scaled_up(16) == Box(16, 16, 32, 32)
    assert box.grown(4, Box(0, 0, 40, 34)) == Box(13, 26, 27, 8)
    assert box.clipped(Box(20, 0, 5, 50)) == Box(20, 30, 5, 3)
    assert box.slices(Box(10, 30, 100, 100)) == (slice(0, 3), slice(7, 27))


@given(boxes, st.integers(1, 40))
@settings(max_examples=60)
def test_blocks_cover_a_box_once(box: Box, side: int) -> None:
    parts = list(box.blocks(side))
    assert sum(p.width * p.height for p in parts) == box.width * box.height
    assert set().union(*(cells(p) for p in parts)) == cells(box)
    for part in parts:
        assert part.scaled_down(side).width == part.scaled_down(side).height == 1
    assert parts == sorted(parts, key=lambda p: (p.row, p.col))


@given(boxes, st.integers(1, 40))
@settings(max_examples=60)
def test_scaled_down_touches_just_the_cells_under_the_box(box: Box, stride: int) -> None:
    assert cells(box.scaled_down(stride)) == {(c // stride, r // stride) for c, r in cells(box)}


@pytest.mark.parametrize(
    "window",
    [
        (0, 0, 0, 5),
        (0, 0, 5, 0),
        (-1, 0, 5, 5),
        (0, -1, 5, 5),
        (96, 0, 5, 5),
        (0, 46, 5, 5),
        (0, 0, 101, 1),
        (0, 0, -1, -1),
        (10**30, 0, 1, 1),
        (0, 0, 5),
        ("a", 0, 1, 1),
        (float("nan"), 0, 1, 1),
        7,
    ],
)
def test_impossible_windows(window: object) -> None:
    with pytest.raises(OptionError, match="window"):
        window_box(window, 100, 50)  # type: ignore[arg-type]


def test_possible_windows() -> None:
    assert window_box(None, 100, 50) == Box(0, 0, 100, 50)
    assert window_box((0, 0, 100, 50), 100, 50) == Box(0, 0, 100, 50)
    assert window_box((np.int64(99), 49, 1, 1), 100, 50) == Box(99, 49, 1, 1)


# ---- seams -------------------------------------------------------------------------------------


def test_latents_of_tiles_are_those_of_the_whole(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before rounding, in float32; also across the blocks of 1024 in which the transform runs."""
    monkeypatch.setattr(analysis, "autocast", lambda _: contextlib.nullcontext())
    image = aerial(50, 150, 1130)
    source, whole = open_source(image), Box(0, 0, 1130, 150)
    with torch.inference_mode():
        padded = np.pad(image, ((0, 10), (0, 6), (0, 0)), mode="edge")
        pixels = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255
        expected = tiny.net.analysis(pixels)
        for side in (64, 192, 2048):
            for tile in whole.blocks(side):
                rows, cols = tile.scaled_down(16).slices(whole.scaled_down(16))
                given = analysis.analyse(tiny, source, tile)
                assert given.shape == expected[:, :, rows, cols].shape
                assert torch.allclose(given, expected[:, :, rows, cols], atol=1e-4)


def test_borders_of_tiles_are_as_good_as_the_rest() -> None:
    image = aerial(51, 256, 320)
    tiled, whole = (
        np.square(image.astype(float) - dmecodec.decode(dmecodec.encode(image, 4, tile=side))) for side in (64, 1024)
    )
    row, col = np.mgrid[:256, :320]
    near = np.minimum(abs(row - (row + 32) // 64 * 64), abs(col - (col + 32) // 64 * 64)) < 16
    near[:32] = near[-32:] = near[:, :32] = near[:, -32:] = False  # the image's own border
    assert abs(10 * np.log10(tiled[near].mean() / whole[near].mean())) < 0.1
    assert abs(10 * np.log10(tiled[~near].mean() / whole[~near].mean())) < 0.1
    # Nor is there an edge in what was made of a flat image.
    flat = dmecodec.decode(dmecodec.encode(np.full((256, 256, 3), 90, np.uint8), 4, tile=64))
    steps = abs(np.diff(flat.astype(int), axis=1)).max((0, 2))
    assert steps[63::64].max() <= steps.max() <= 2


def test_no_seam_between_two_filters() -> None:
    """Tiles of 192 have a restoration filter each, which sees pixels of its neighbours."""
    image = np.asarray(Image.open(DATA.parents[1] / "docs" / "example.png"))
    image = np.concatenate([np.concatenate([image, image[:, ::-1]], 1)] * 2, 0)
    coded = [dmecodec.encode(image, 4, tile=side, model="dmenet-fast") for side in (192, 1024)]
    with dmecodec.File(io.BytesIO(coded[0])) as file:
        decoder = file._decoder()
        filters = [decoder._tile(n, 0).coefficients for n in range(4)]
    assert all(found is not None for found in filters)
    assert len({found.tobytes() for found in filters if found is not None}) == 4
    tiled, whole = (np.square(image.astype(float) - dmecodec.decode(data)) for data in coded)
    row, col = np.mgrid[: image.shape[0], : image.shape[1]]
    near = np.minimum(abs(row - 192), abs(col - 192)) < 8
    difference = 10 * np.log10(tiled[near].mean() / whole[near].mean())
    assert abs(difference - 10 * np.log10(tiled[~near].mean() / whole[~near].mean())) < 0.1


def test_latents_that_no_block_needs_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a wide image some rows of latents are kept, and what stands below, not three rows of tiles."""
    image = np.tile(aerial(53, 275, 260), (5, 8, 1))[:1300, :2080]
    coded = dmecodec.encode(image, 2, tile=256)
    kept: list[tuple[Box, int]] = []
    drop = Decoder._drop

    def watched(decoder: Decoder, block: Box, *, is_last_of_row: bool) -> None:
        drop(decoder, block, is_last_of_row=is_last_of_row)
        latents = [tile._latents for tile in decoder._tiles.values()]
        kept.append((block, sum(found[0].y.nbytes for found in latents if found is not None)))

    monkeypatch.setattr(Decoder, "_drop", watched)
    with torch_threads(single=True):  # several decode some tiles ahead
        dmecodec.decode(coded)
    with dmecodec.File(io.BytesIO(coded)) as file:
        row_of_latents = 2 * file._decoder().model.net.config.latents * 130
    assert [(block.col, block.row) for block, _ in kept[:3]] == [(0, 0), (1024, 0), (2048, 0)]
    # Of the tiles above row 1024 the last HALO rows, and all of the tiles below it: 16 rows.
    assert kept[2][1] == (HALO + 16) * row_of_latents
    assert kept[-1][1] <= (HALO + 1) * row_of_latents


def test_tiled_and_untiled_look_the_same() -> None:
    image = aerial(52, 200, 264)
    whole = dmecodec.decode(dmecodec.encode(image, 5, tile=1024)).astype(float)
    tiled = dmecodec.decode(dmecodec.encode(image, 5, tile=64)).astype(float)
    noise = np.square(whole - image).mean()
    assert abs(10 * np.log10(np.square(tiled - image).mean() / noise)) < 0.1


# ---- windows -----------------------------------------------------------------------------------

WIDTH, HEIGHT = 210, 170


@pytest.fixture(scope="module")
def tiled() -> dict[str, tuple[bytes, np.ndarray]]:
    """A file of 4 x 3 tiles and one of a single tile, and what they decode to."""
    image = in_mode(aerial(53, HEIGHT, WIDTH), "RGBA")
    files = {str(tile): dmecodec.encode(image, 4, tile=tile) for tile in (64, 1024)}
    return {name: (data, dmecodec.decode(data)) for name, data in files.items()}


@given(st.data())
@settings(max_examples=25)
def test_a_window_is_a_part_of_the_whole(tiled: dict[str, tuple[bytes, np.ndarray]], data: st.DataObject) -> None:
    file, whole = tiled[data.draw(st.sampled_from(["64", "1024"]))]
    col, row = data.draw(st.integers(0, WIDTH - 1)), data.draw(st.integers(0, HEIGHT - 1))
    width = data.draw(st.integers(1, WIDTH - col))
    height = data.draw(st.integers(1, HEIGHT - row))
    window = dmecodec.decode(file, window=(col, row, width, height))
    assert window.shape == (height, width, 4)
    expected = whole[row : row + height, col : col + width]
    assert abs(window.astype(int) - expected).max() <= 1
    np.testing.assert_array_equal(window[..., 3], expected[..., 3])


class CountingFile(io.BytesIO):
    """Notes which bytes are read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.seen: set[int] = set()

    def read(self, count: int | None = -1) -> bytes:
        start = self.tell()
        data = super().read(count)
        self.seen.update(range(start, start + len(data)))
        return data


def tile_bytes(data: bytes) -> list[set[int]]:
    """Where the chunk of each tile lies in a file without metadata."""
    reader = Reader(data)
    lengths = [sum(map(len, reader.tile(index).values())) + 4 for index in range(reader.header.tile_count)]
    start, chunks = len(data) - sum(lengths), []
    for length in lengths:
        chunks.append(set(range(start, start + length)))
        start += length
    return chunks


@pytest.mark.parametrize(
    ("window", "columns", "rows"),
    [
        ((0, 0, 10, 10), (0, 1), (0, 1)),
        ((0, 0, 448, 1), (0, 6), (0, 1)),
        ((192, 192, 16, 16), (2, 4), (2, 4)),
        ((180, 200, 90, 10), (1, 5), (2, 4)),
        ((447, 447, 1, 1), (5, 6), (5, 6)),
    ],
)
def test_a_window_reads_only_what_it_needs(
    big_tiled: bytes,
    window: tuple[int, int, int, int],
    columns: tuple[int, int],
    rows: tuple[int, int],
) -> None:
    """Tiles under the window and within the synthesis transform's reach; `columns` and `rows` of them."""
    chunks = tile_bytes(big_tiled)
    file = CountingFile(big_tiled)
    dmecodec.File(file).read(window)
    reach = Box(*window).scaled_down(16).grown(HALO, Box(0, 0, 28, 28)).scaled_up(16)
    touched = reach.scaled_down(64)
    assert (touched.col, touched.right - 1) == columns and (touched.row, touched.bottom - 1) == rows
    for index, chunk in enumerate(chunks):
        row, col = divmod(index, 7)
        needed = columns[0] <= col <= columns[1] and rows[0] <= row <= rows[1]
        assert chunk <= file.seen if needed else not chunk & file.seen


@pytest.fixture(scope="module")
def big_tiled() -> bytes:
    return dmecodec.encode(aerial(54, 448, 448), 1, tile=64)


def test_opening_reads_the_header_alone(big_tiled: bytes) -> None:
    file = CountingFile(big_tiled)
    with dmecodec.File(file) as opened:
        assert opened.header.tile_count == 49
        assert not file.seen & set().union(*tile_bytes(big_tiled))


def test_tiles_are_dropped_on_the_way_down(big_tiled: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: each tile is decoded once, and dropped when no later row needs it."""
    from dmecodec.codec import decoder

    monkeypatch.setattr(Box, "blocks", _small_blocks(Box.blocks))
    held, decoded = [], []
    original = decoder.Decoder._open_tile

    def watched(self: decoder.Decoder, index: int, group: int) -> object:
        held.append(len(self._tiles))
        decoded.append(index)
        return original(self, index, group)

    monkeypatch.setattr(decoder.Decoder, "_open_tile", watched)
    dmecodec.decode(big_tiled)
    assert sorted(decoded) == list(range(49))
    assert max(held) <= 7 * 4


def _small_blocks(blocks: Callable[..., object]) -> Callable[..., object]:
    """Blocks of 128 instead of 1024."""
    return lambda self, side=128: blocks(self, side)
