"""The container on real bytes: round trips, damage of every kind, and what is read of a file."""

from __future__ import annotations

import ast
import io
import random
import sys
import threading
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
import second_container
from hypothesis import given, settings
from hypothesis import strategies as st

from dmecodec.errors import FormatError
from dmecodec.format import writer
from dmecodec.format.header import Header
from dmecodec.format.kinds import KNOWN_KINDS, Kind
from dmecodec.format.limits import MODES
from dmecodec.format.reader import Reader

MODEL = bytes(range(8))
ROOT = Path(__file__).parent.parent

# The example of docs/format.md, byte for byte.
EXAMPLE = bytes.fromhex(
    """
    89 44 4d 4e 01 1b 30 31 32 33 34 35 36 37 64 32
    01 80 02 01 01 01 02 02 03 c3 02 04 01 01 01 14
    04 b8 ce 8e 7a a0 a1 b0 b1 b2 b3 ff 38 d7 be 99
    a2 b4 03 63 60 c0 04 ff 19 46 c1 28 18 05 a3 60
    14 8c 82 91 01 00 18 48 fe af 3c 78 2f 3e 2b 84
    26 12
    """
)
EXAMPLE_TILES: list[dict[int, bytes]] = [
    {Kind.Z: b"\xa0\xa1", Kind.Y: b"\xb0\xb1\xb2\xb3", Kind.ALPHA: b"\xff"},
    {Kind.Z: b"\xa2", Kind.Y: b"\xb4", Kind.ALPHA: EXAMPLE[0x32:0x46]},
]
TILE, KINDS, GROUPS, BOUND = 0x01, 0x02, 0x03, 0x04


def varint(value: int) -> bytes:
    """Unsigned LEB128, written apart from the package's own."""
    digits = [value >> shift & 127 for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([digit | 128 for digit in digits[:-1]] + digits[-1:])


def crc(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def with_header(body: bytes, chunks: bytes = b"", version: int = 1) -> bytes:
    """A file whose header's checksum is right, whatever its body says."""
    header = b"\x89DMN" + bytes([version]) + varint(len(body)) + body
    return header + crc(header) + chunks


def option(tag: int, value: bytes) -> bytes:
    return bytes([tag]) + varint(len(value)) + value


def build(**changes: Any) -> bytes:
    """A one-tile file, field by field, so that any field can be made wrong.

    `options` are given as a list of pairs, or as bytes with their number; KINDS is added to them where it is needed.
    """
    fields: dict[str, Any] = {
        "width": varint(64),
        "height": varint(64),
        "mode": b"\x02",
        "quality": b"\x80",
        "options": [],
        "kinds": {0x01: b"zz", 0x02: b"yyyy"},
        "lengths": None,
        "extra": b"",
    }
    assert changes.keys() <= fields.keys()
    fields.update(changes)
    kinds, options = fields["kinds"], fields["options"]
    if isinstance(options, list):
        named = bytes(list(kinds)[2:])
        if named and KINDS not in dict(options):
            options = sorted([*options, (KINDS, named)])
        options = varint(len(options)) + b"".join(option(*one) for one in options)
    lengths = b"".join(varint(len(stream)) for _, stream in sorted(kinds.items(), key=by_scope))
    body = MODEL + fields["width"] + fields["height"] + fields["mode"] + fields["quality"] + options
    body += (lengths if fields["lengths"] is None else fields["lengths"]) + fields["extra"]
    of_tile = b"".join(stream for kind, stream in kinds.items() if not kind & 0x40)
    of_file = [stream for kind, stream in kinds.items() if kind & 0x40]
    return with_header(body, of_tile + crc(of_tile) + b"".join(stream + crc(stream) for stream in of_file))


def by_scope(item: tuple[int, bytes]) -> tuple[int, int]:
    return item[0] & 0x40, item[0]


def sample(tiles: int = 3, stream: int = 20) -> tuple[Header, list[dict[int, bytes]], bytes]:
    """A file with alpha and metadata, `tiles` tiles in a row, streams of about `stream` bytes."""
    generator = random.Random(tiles)
    header = Header(MODEL, 64 * tiles - 3, 50, "RGBA", 130, 64, 1, (1, 2, 3, 0xC1, 0xC2))
    streams: list[dict[int, bytes]] = [
        {kind: generator.randbytes(stream + kind) for kind in (Kind.Z, Kind.Y, Kind.ALPHA)} for _ in range(tiles)
    ]
    return header, streams, writer.write(header, streams, {Kind.ICC: b"icc", Kind.EXIF: b""})


def read_all(data: bytes) -> None:
    reader = Reader(data)
    reader.verify()
    for index in range(min(reader.header.tile_count, 1000)):
        reader.tile(index)
    reader.metadata()


class CountingFile(io.BytesIO):
    """Counts the bytes read."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


class PiecewiseFile(io.BytesIO):
    """Gives at most three bytes at a time, as an unbuffered file may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(3 if size is None or size < 0 else min(size, 3))


class SlowSeekFile(io.BytesIO):
    """Lets other threads run between a seek and the read that follows."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        position = super().seek(offset, whence)
        time.sleep(0.0001)
        return position


def test_example_of_the_format_description() -> None:
    header = Header(b"01234567", 100, 50, "LA", 128, 64, 1, (1, 2, 3, 0xC3))
    assert writer.write(header, EXAMPLE_TILES, {Kind.XMP: b"<x/>"}) == EXAMPLE
    page = ROOT / "docs" / "format.md"
    if page.exists():  # not beside an installed package
        dump = page.read_text(encoding="utf-8").split("```hexdump\n")[1].split("```")[0]
        rows = [line.split("  ")[1] for line in dump.splitlines()]
        assert bytes.fromhex(" ".join(rows)) == EXAMPLE


def test_only_the_standard_library_is_imported() -> None:
    package = Path(writer.__file__).parent
    modules = {path.stem: path.read_text(encoding="utf-8") for path in package.glob("*.py")}
    assert {"__init__", "reader", "writer"} <= set(modules)
    for node in (node for text in modules.values() for node in ast.walk(ast.parse(text))):
        if isinstance(node, ast.Import):
            assert all(name.name.split(".")[0] in sys.stdlib_module_names for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert str(node.module).split(".")[0] in sys.stdlib_module_names
        elif isinstance(node, ast.ImportFrom) and node.level == 1:
            assert node.module in modules
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 2 and node.module in ("errors", "base.fork")  # both of the standard library alone


@st.composite
def files(draw: st.DrawFn) -> tuple[Header, list[dict[int, bytes]], dict[int, bytes]]:
    mode = draw(st.sampled_from(MODES))
    tile = 64 * draw(st.integers(1, 64))
    width = draw(st.integers(1, 3 * tile))
    height = draw(st.integers(1, 3 * tile))
    groups = draw(st.integers(1, 3)) if mode == "BANDS" else 1
    kinds = {1, 2} | {"LA": {3}, "RGBA": {3}, "BANDS": {4, 0x41}}.get(mode, set())
    kinds |= draw(st.sets(st.sampled_from([0x80, 0x93, 0xC1, 0xC2, 0xC3, 0xC4, 0xFF])))
    bound = draw(st.none() | st.integers(0, 2**15 - 1))
    kinds |= set() if bound is None else {Kind.RESIDUAL}
    header = Header(
        draw(st.binary(min_size=8, max_size=8)),
        width,
        height,
        mode,
        draw(st.integers(0, 224)),
        tile,
        groups,
        tuple(sorted(kinds)),
        bound,
    )
    streams = st.binary(max_size=200)
    chunks = range(header.tile_count * groups)
    tiles = [{kind: draw(streams) for kind in header.tile_kinds} for _ in chunks]
    return header, tiles, {kind: draw(streams) for kind in header.file_kinds}


@settings(max_examples=60)
@given(files(), st.booleans())
def test_round_trip(file: tuple[Header, list[dict[int, bytes]], dict[int, bytes]], in_memory: bool) -> None:
    header, tiles, metadata = file
    data = writer.write(header, tiles, metadata)
    reader = Reader(data if in_memory else io.BytesIO(data))
    reader.verify()
    assert reader.header == header
    assert reader.size == len(data)
    for index, streams in enumerate(tiles):
        known = {kind: stream for kind, stream in streams.items() if kind in (1, 2, 3, 4, 5)}
        assert reader.tile(*divmod(index, header.groups)) == known
    known = {kind: stream for kind, stream in metadata.items() if kind in KNOWN_KINDS}
    assert reader.metadata() == known
    second = second_container.Container(data)
    assert second.files == known and (second.width, second.height, second.mode) == (
        header.width,
        header.height,
        header.mode,
    )
    assert [streams for tile in second.tiles for streams in tile] == [
        reader.tile(*divmod(index, header.groups)) for index in range(len(tiles))
    ]
    sizes = {kind: sum(len(streams[kind]) for streams in tiles) for kind in header.tile_kinds}
    sizes.update({kind: len(stream) for kind, stream in metadata.items()})
    assert reader.stream_sizes == sizes


def test_written_as_the_independent_writer_does() -> None:
    header = Header(MODEL, 64, 64, "RGB", 128, 1024)
    assert writer.write(header, [{1: b"zz", 2: b"yyyy"}], {}) == build()


def test_size_budget() -> None:
    header = Header(MODEL, 256, 256, "RGB", 128, 1024)
    for length in (0, 500, 20_000, 200_000):
        data = writer.write(header, [{1: bytes(300), 2: bytes(length)}], {})
        assert len(data) - 300 - length <= 38


def test_tile_boxes_cover_the_image_once() -> None:
    header = Header(MODEL, 130, 70, "RGB", 0, 64)
    assert (header.tile_columns, header.tile_rows, header.tile_count) == (3, 2, 6)
    assert header.tile_box(0) == (0, 0, 64, 64)
    assert header.tile_box(5) == (128, 64, 2, 6)
    assert sum(w * h for _, _, w, h in map(header.tile_box, range(6))) == 130 * 70


def test_every_flipped_bit_is_found() -> None:
    _, _, data = sample(2)
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(FormatError):
                Reader(damaged).verify()


def test_every_other_value_of_every_header_byte_is_found() -> None:
    data = build()
    for position in range(len(data)):
        for value in set(range(256)) - {data[position]}:
            with pytest.raises(FormatError):
                Reader(data[:position] + bytes([value]) + data[position + 1 :]).verify()


def test_every_truncation_is_found_at_once() -> None:
    for data in (sample(2)[2], build()):
        for length in range(len(data)):
            for source in (data[:length], io.BytesIO(data[:length])):
                with pytest.raises(FormatError, match="truncated" if length else "empty"):
                    Reader(source)


def test_truncation_says_how_much_is_there() -> None:
    _, _, data = sample(2)
    with pytest.raises(FormatError, match=f"{len(data) - 5} of {len(data)} bytes"):
        Reader(data[:-5])


@pytest.mark.parametrize("tail", [b"\0", b"\x89DMN", bytes(1000)])
def test_trailing_bytes(tail: bytes) -> None:
    for data in (sample(2)[2], build()):
        with pytest.raises(FormatError, match=f"{len(tail)} bytes follow the end"):
            Reader(data + tail)


def test_damage_is_named() -> None:
    header, _, data = sample(3)
    damaged = bytearray(data)
    damaged[-10] ^= 1
    with pytest.raises(FormatError, match="ICC metadata"):
        Reader(damaged).verify()
    in_tile_1 = data.index(Reader(data).tile(1)[Kind.Y])
    damaged = bytearray(data)
    damaged[in_tile_1] ^= 1
    reader = Reader(damaged)
    assert reader.header == header
    reader.tile(0)
    reader.tile(2)
    for call in (reader.verify, lambda: reader.tile(1)):
        with pytest.raises(FormatError, match=r"damaged.*tile 1"):
            call()


class Sparse(io.RawIOBase):
    """Some bytes, then zeros up to a size; counts what is read."""

    def __init__(self, data: bytes, size: int) -> None:
        self.data, self.size, self.at, self.count = data, size, 0, 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = self.size + offset if whence == io.SEEK_END else offset
        return self.at

    def tell(self) -> int:
        return self.at

    def read(self, size: int = -1, /) -> bytes:
        part = self.data[self.at : self.at + size].ljust(size, b"\0")
        self.at, self.count = self.at + size, self.count + size
        return part


def test_a_wrong_size_is_found_from_the_header_alone() -> None:
    file = Sparse(build(), 1 << 40)
    with pytest.raises(FormatError, match="bytes follow the end"):
        Reader(file)  # type: ignore[arg-type]
    assert file.count < 100


def test_a_chunk_is_checked_whenever_it_is_read() -> None:
    """The file may have changed since."""
    changed = io.BytesIO(build(kinds={1: b"zz", 2: bytes(300)}))
    reader = Reader(changed)
    changed.getbuffer()[-100] ^= 1
    for call in (reader.verify, lambda: reader.tile(0)):
        with pytest.raises(FormatError, match=r"damaged.*tile 0"):
            call()


def test_damage_is_not_taken_for_a_newer_file() -> None:
    """What the header says counts only if its checksum holds."""
    data = build(kinds={1: b"z", 2: b"y", 0x81: b"?"})
    kind = data.index(b"\x02\x01\x81") + 2
    forged = bytearray(data)
    forged[kind] = 0x3F
    with pytest.raises(FormatError, match="damaged: the checksum of the header"):
        Reader(forged)
    end = 6 + data[5]
    forged[end : end + 4] = crc(bytes(forged[:end]))
    with pytest.raises(FormatError, match="unknown critical kind"):
        Reader(forged)


def test_every_flip_of_a_header_is_found_before_anything_is_made_of_it() -> None:
    """Magic, version and length are looked at before the checksum; all the rest after it."""
    data = sample(2)[2]
    end = 6 + data[5] + 4
    for position in range(6, end):
        for flip in range(1, 256):
            damaged = bytearray(data)
            damaged[position] ^= flip
            with pytest.raises(FormatError, match="damaged: the checksum of the header"):
                Reader(damaged)


def test_one_request_fetches_header_and_index() -> None:
    """The first ten bytes say how long both are, with the checksum of both."""
    header = Header(MODEL, 64 * 900, 64 * 30, "RGB", 130, 64)
    data = writer.write(header, [{Kind.Z: b"z", Kind.Y: b"yy"}] * header.tile_count, {})
    fields = second_container.Bytes(data[:10], 5)
    length = fields.varint()
    head = data[: fields.at + length + 4]
    assert crc(head[:-4]) == head[-4:] and len(data) - len(head) == header.tile_count * 7
    # A reader with nothing else at hand finds all that the header says, and where every chunk is.
    reader = Reader(Sparse(head, len(data)))  # type: ignore[arg-type]
    assert reader.header == header and reader.stream_sizes == {1: header.tile_count, 2: 2 * header.tile_count}


# ---- options -------------------------------------------------------------------------------------


def test_a_usual_file_has_no_options() -> None:
    header = Header(MODEL, 64, 64, "RGB", 128, 1024)
    data = writer.write(header, [{1: b"zz", 2: b"yyyy"}], {})
    assert data == build() and data[6 + 8 + 2 + 2] == 0


@pytest.mark.parametrize(
    "options",
    [
        [(TILE, varint(16))],
        [(GROUPS, varint(1))],
        [(KINDS, b"")],
        [(TILE, varint(16)), (KINDS, b""), (GROUPS, varint(1))],
    ],
)
def test_options_that_say_what_holds_without_them(options: list[tuple[int, bytes]]) -> None:
    reader = Reader(build(options=options))
    assert reader.header == Reader(build()).header and reader.tile(0) == {Kind.Z: b"zz", Kind.Y: b"yyyy"}


def test_every_option() -> None:
    kinds = {1: b"z", 2: b"y", 5: b"r"}
    assert Reader(build(kinds=kinds, options=[(BOUND, varint(131))])).header.bound == 131
    assert Reader(build(kinds=kinds, options=[(BOUND, varint(0))])).header.bound == 0
    assert not Reader(build(kinds=kinds, options=[(BOUND, varint(0))])).header.has_filters
    assert Reader(build()).header.bound is None and Reader(build()).header.has_filters
    assert Reader(build(options=[(TILE, varint(64))])).header.tile == 4096
    bands = {"mode": b"\x04", "kinds": {1: b"z", 2: b"y", 0x41: b"b"}, "options": [(GROUPS, varint(1))]}
    assert Reader(build(**bands)).header.groups == 1


@pytest.mark.parametrize("tag", [0x80, 0x85, 0xFF])
@pytest.mark.parametrize("value", [b"", b"\x00", bytes(300)])
def test_unknown_ancillary_options_are_skipped(tag: int, value: bytes) -> None:
    options = [(TILE, varint(1)), (tag, value)]
    reader = Reader(build(kinds={1: b"z", 2: b"y", 0xC1: b"icc"}, options=options))
    assert reader.header.tile == 64
    assert reader.tile(0) == {Kind.Z: b"z", Kind.Y: b"y"} and reader.metadata() == {Kind.ICC: b"icc"}


@pytest.mark.parametrize("tag", [0x00, 0x05, 0x06, 0x40, 0x7F])
def test_unknown_critical_options_are_refused(tag: int) -> None:
    with pytest.raises(FormatError, match=f"unknown critical option 0x{tag:02x}.*needs a newer dmecodec.*upgrade"):
        Reader(build(options=[(tag, b"?")]))


def test_as_many_options_as_there_may_be() -> None:
    many = [(tag, b"") for tag in range(128, 256)]
    assert Reader(build(options=many)).header == Reader(build()).header
    with pytest.raises(FormatError, match="number of options is more than 255"):
        Reader(build(options=varint(256) + b"".join(option(*one) for one in many) * 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([(GROUPS, varint(1)), (TILE, varint(16))], "options are not in ascending order"),
        ([(0x81, b""), (0x80, b"")], "options are not in ascending order"),
        ([(TILE, varint(16)), (TILE, varint(16))], "options are not in ascending order"),
        ([(0x80, b""), (0x80, b"")], "options are not in ascending order"),
        ([(TILE, b"\x10\x00")], "tile side has 1 bytes too many"),
        ([(GROUPS, b"\x01\x01\x01")], "number of band groups has 2 bytes too many"),
        ([(BOUND, b"\x01\x00")], "bound on the error has 1 bytes too many"),
        ([(TILE, b"")], "option ends within the tile side"),
        ([(TILE, b"\x80")], "tile side has too many bytes"),
        ([(BOUND, b"")], "option ends within the bound"),
        ([(TILE, b"\x90\x00")], "tile side has too many bytes"),
        ([(BOUND, b"\x90\x00")], "bound on the error is not in its shortest form"),
        ([(TILE, varint(0))], "tile side 0"),
        ([(TILE, varint(65))], "tile side is more than 64"),
        ([(GROUPS, varint(0))], "0 band groups"),
        ([(GROUPS, varint(2))], "2 band groups"),
        ([(GROUPS, varint(65))], "number of band groups is more than 64"),
        ([(BOUND, varint(2**15))], "bound on the error is more than 32767"),
        ([(BOUND, varint(0))], "together"),
        ([(KINDS, b"\x01")], "ascending"),
        ([(KINDS, b"\x02")], "ascending"),
        ([(KINDS, b"\x00")], "ascending"),
        ([(KINDS, b"\xc3\xc1")], "ascending"),
        ([(KINDS, b"\xc1\xc1")], "ascending"),
        (b"\x01", "ends within the tag of an option"),
        (b"\x01\x80", "ends within the length of an option"),
        (b"\x01\x80\x03", "ends within the value of an option"),
        (b"\x01\x80\xff\xff\xff\xff\x0f", "ends within the value of an option"),
        (b"\x01\x80\x81\x00", "length of an option is not in its shortest form"),
        (b"\x81\x00", "number of options is not in its shortest form"),
        (b"\xff\x02", "number of options is more than 255"),
    ],
)
def test_wrong_options(options: Any, message: str) -> None:
    lengths = b"" if isinstance(options, bytes) else None
    with pytest.raises(FormatError, match=message):
        Reader(build(options=options, lengths=lengths))


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n" + bytes(50), b"II*\0" + bytes(50), b"x", b"\x89DMF", b"\x89DMO\1"]
)
def test_not_a_dmen_file(data: bytes) -> None:
    with pytest.raises(FormatError, match=r"not a \.dmen file"):
        Reader(data)


@pytest.mark.parametrize("tail", [b"", b"\1", b"\4" + bytes(50)])
def test_a_file_of_before_the_first_release(tail: bytes) -> None:
    with pytest.raises(FormatError, match="made before the first release of dmecodec; encode the original again"):
        Reader(b"\x89DME" + tail)


def test_newer_version_is_named_whatever_follows() -> None:
    for version in (2, 255):
        with pytest.raises(FormatError, match=f"newer dmecodec.*version {version}.*upgrade"):
            Reader(b"\x89DMN" + bytes([version]) + b"\xff" * 20)
    with pytest.raises(FormatError, match="no such format version: 0"):
        Reader(b"\x89DMN\0" + bytes(20))


def test_unknown_critical_kinds_are_refused() -> None:
    for kind in (0x06, 0x07, 0x3E, 0x3F, 0x40, 0x42, 0x7F):
        with pytest.raises(FormatError, match=f"unknown critical.*0x{kind:02x}.*upgrade"):
            Reader(build(kinds={1: b"z", 2: b"y", kind: b"?"}))


def test_unknown_ancillary_kinds_are_skipped() -> None:
    kinds = {1: b"z", 2: b"yy", 0x81: b"???", 0xC0: b"hidden", 0xC1: b"icc", 0xFE: b""}
    data = build(kinds=kinds)
    reader = Reader(data)
    assert reader.tile(0) == {Kind.Z: b"z", Kind.Y: b"yy"}
    assert reader.metadata() == {Kind.ICC: b"icc"}
    assert reader.stream_sizes == {kind: len(stream) for kind, stream in kinds.items()}
    damaged = bytearray(data)
    damaged[data.index(b"hidden")] ^= 1
    assert Reader(damaged).metadata() == {Kind.ICC: b"icc"}
    with pytest.raises(FormatError, match="0xc0"):
        Reader(damaged).verify()


BIG = varint(2**24 - 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": varint(0)}, "width 0"),
        ({"height": varint(2**24)}, "height 16777216"),
        ({"width": BIG, "height": BIG}, "2\\^36"),
        ({"width": varint(2**18), "height": varint(2**18), "options": [(TILE, varint(1))]}, "1048576; larger"),
        ({"width": varint(2**18), "height": varint(2**18)}, "no room"),
        ({"width": varint(65 * 1024)}, "no room"),
        ({"mode": b"\x05"}, "mode 5"),
        ({"mode": b"\x04"}, "mode BANDS must have a stream of kind BANDS"),
        ({"kinds": {1: b"z", 2: b"y", 4: b"m"}}, "mode RGB cannot have.*MASK"),
        ({"kinds": {1: b"z", 2: b"y", 0x41: b"b"}}, "mode RGB cannot have.*BANDS"),
        ({"mode": b"\x03"}, "mode RGBA must have a stream of kind ALPHA"),
        ({"mode": b"\x01"}, "mode LA must have a stream of kind ALPHA"),
        ({"kinds": {1: b"z", 2: b"y", 3: b"a"}}, "mode RGB cannot have.*ALPHA"),
        ({"kinds": {1: b"z", 2: b"y", 5: b"r"}}, "together"),
        ({"quality": b"\xe1"}, "225/32"),
        ({"lengths": b"\x02"}, "no room for the 2 streams"),
        ({"lengths": b"\x02\x84"}, "ends within the length"),
        ({"extra": b"\0"}, "1 bytes too many"),
        ({"lengths": b"\x02" + varint(2**40)}, "truncated"),
        ({"lengths": b"\x02" + varint(2**40 + 1)}, "more than 1099511627776"),
        ({"lengths": b"\x02" + b"\x80" * 7 + b"\x01"}, "too many bytes"),
        ({"width": b"\xc0\x00"}, "width is not in its shortest form"),
        ({"width": b"\xff\xff\xff\xff\x10"}, "width is more than 4294967295"),
        ({"width": b"\x80\x80\x80\x80\x80\x00"}, "width has too many bytes"),
        ({"lengths": b"\x82\x00\x04"}, "shortest form"),
    ],
)
def test_wrong_fields_under_a_right_checksum(changes: dict[str, Any], message: str) -> None:
    data = build(**changes)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=message):
            Reader(data)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (b"\xff\xff\xff\x7f", "more than 67108864"),
        (b"\x81\x80\x80\x20", "more than 67108864"),
        (b"\x80\x80\x80\x20", "truncated"),
        (b"\xff\xff\xff\xff\xff\xff", "more than"),
        (b"\x80\x80\x80\x80\x80", "too many bytes"),
        (b"\x80\x00", "shortest form"),
        (b"\x80", "truncated"),
        (b"\x00", "checksum of the header"),
    ],
)
def test_length_of_the_header(length: bytes, message: str) -> None:
    tail = b"" if length == b"\x80" else bytes(30)
    with pytest.raises(FormatError, match=message):
        Reader(b"\x89DMN\1" + length + tail)


def test_header_that_ends_within_any_field() -> None:
    whole = build(options=[(TILE, varint(16))], kinds={1: b"z", 2: b"y", 0xC3: b"x"})
    body = whole[6 : 6 + whole[5]]
    for length in range(len(body)):
        with pytest.raises(FormatError, match=r"ends within|no room"):
            Reader(with_header(body[:length], bytes(20)))


@settings(max_examples=300)
@given(st.data())
def test_mutated_files_never_crash_nor_lie(data: st.DataObject) -> None:
    file = sample(2)[2]
    mutated = bytearray(file)
    for _ in range(data.draw(st.integers(1, 5))):
        start = data.draw(st.integers(0, len(mutated)))
        end = min(len(mutated), start + data.draw(st.integers(0, 4)))
        mutated[start:end] = data.draw(st.binary(max_size=4))
    try:
        read_all(bytes(mutated))
    except FormatError:
        return
    assert mutated == file


@settings(max_examples=300)
@given(st.data())
def test_mutated_headers_under_a_right_checksum_never_crash(data: st.DataObject) -> None:
    whole = build(kinds={1: b"z", 2: b"y", 0xC3: b"x"}, options=[(TILE, varint(16)), (0x80, b"?")])
    length = whole[5]
    body = bytearray(whole[6 : 6 + length])
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, length - 1))
        body[position] = data.draw(st.integers(0, 255))
    mutated = with_header(bytes(body), whole[6 + length + 4 :])
    try:
        read_all(mutated)
    except FormatError as error:
        assert "\n" not in str(error)
        with pytest.raises(second_container.RefusedError):
            second_container.Container(mutated)
    else:
        assert second_container.Container(mutated).files == Reader(mutated).metadata()


@settings(max_examples=200)
@given(st.binary(max_size=100))
def test_noise_is_refused(noise: bytes) -> None:
    for data in (noise, b"\x89DMN\x01" + noise, with_header(noise)):
        with pytest.raises(FormatError):
            read_all(data)


def test_of_a_file_only_header_and_asked_chunks_are_read() -> None:
    _, tiles, data = sample(10, stream=5000)
    file = CountingFile(data)
    reader = Reader(file)
    header_size = len(data) - sum(reader.stream_sizes.values()) - 4 * 12
    # The fields up to the header's length are read apart, then the whole header once.
    assert file.count <= header_size + 10
    before = file.count
    assert reader.tile(7) == tiles[7]
    assert file.count - before == sum(map(len, tiles[7].values())) + 4
    before = file.count
    reader.metadata()
    assert file.count - before == len(b"icc") + 2 * 4


def test_files_that_give_a_few_bytes_at_a_time(tmp_path: Path) -> None:
    _, tiles, data = sample(3)
    assert Reader(PiecewiseFile(data)).tile(2) == tiles[2]
    assert Reader(PiecewiseFile(build())).tile(0) == {1: b"zz", 2: b"yyyy"}
    path = tmp_path / "a.dmen"
    path.write_bytes(data)
    with path.open("rb", buffering=0) as file:
        Reader(file).verify()


def test_file_that_shrinks_while_open() -> None:
    _, _, data = sample(3)
    file = io.BytesIO(data)
    reader = Reader(file)
    file.truncate(len(data) - 60)
    with pytest.raises(FormatError, match="truncated"):
        reader.verify()


def test_file_that_cannot_seek_or_read() -> None:
    class Pipe(io.BytesIO):
        def seek(self, offset: int, whence: int = 0, /) -> int:
            raise io.UnsupportedOperation("seek")

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    _, _, data = sample(1)
    for file in (Pipe(data), Broken(data)):
        with pytest.raises(FormatError, match="cannot be read"):
            Reader(file)


@pytest.mark.parametrize("make", [lambda data: data, SlowSeekFile])
def test_several_threads(make: Any) -> None:
    _, tiles, data = sample(8)
    reader = Reader(make(data))
    wrong: list[object] = []

    def work(seed: int) -> None:
        generator = random.Random(seed)
        for _ in range(50):
            index = generator.randrange(8)
            try:
                if reader.tile(index) != tiles[index]:
                    wrong.append(index)
            except FormatError as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_no_such_tile() -> None:
    reader = Reader(build())
    for index, group in ((-1, 0), (1, 0), (0, 1), (0, -1)):
        with pytest.raises(IndexError):
            reader.tile(index, group)


def test_writer_refuses_streams_that_the_header_does_not_name() -> None:
    header = Header(MODEL, 64, 64, "RGB", 128, 1024)
    good = {1: b"z", 2: b"y"}
    with pytest.raises(ValueError, match="2 tiles given, 1 expected"):
        writer.write(header, [good, good], {})
    with pytest.raises(ValueError, match="streams Z given, Z, Y expected"):
        writer.write(header, [{1: b"z"}], {})
    with pytest.raises(ValueError, match="streams ICC given, none expected"):
        writer.write(header, [good], {Kind.ICC: b""})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": b"short"}, "5 bytes instead of 8"),
        ({"mode": "CMYK"}, "CMYK"),
        ({"quality": -1}, "-1/32"),
        ({"tile": 100}, "tile side 100"),
        ({"kinds": (1, 2, 300)}, "not a byte"),
        ({"kinds": (1, 2, 2)}, "ascending"),
        ({"kinds": (2,)}, "must have a stream of kind Z"),
        ({"kinds": (1,)}, "must have a stream of kind Y"),
        ({"kinds": ()}, "must have a stream of kind Z"),
        ({"bound": 3}, "together"),
        ({"bound": -1, "kinds": (1, 2, 5)}, "of -1 levels"),
        ({"bound": 2**15, "kinds": (1, 2, 5)}, "of 32768 levels"),
        ({"groups": 2}, "2 band groups"),
    ],
)
def test_header_refuses_wrong_values(changes: dict[str, Any], message: str) -> None:
    good = {"model": MODEL, "width": 9, "height": 9, "mode": "RGB", "quality": 9, "tile": 64}
    with pytest.raises(FormatError, match=message):
        Header(**{**good, **changes})
