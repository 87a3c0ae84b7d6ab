"""The GEO stream: what a file keeps of the ground, as plain values and without rasterio."""

from __future__ import annotations

import json
import math
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmecodec.errors import FormatError, ImageError
from dmecodec.format.geo import MAX_JSON, BandRecord, GeoRecord, parse_record

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
numbers = st.floats(-1e9, 1e9)
tags = st.dictionaries(texts, st.dictionaries(texts, texts, min_size=1, max_size=3), max_size=3)
records = st.builds(
    GeoRecord,
    crs=st.none() | texts,
    epsg=st.none() | st.integers(0, 99999),
    transform=st.none() | st.tuples(*[numbers] * 6),
    gcp_crs=st.none() | texts,
    gcps=st.lists(st.tuples(*[numbers] * 5), max_size=3).map(tuple),
    tags=tags,
    bands=st.lists(
        st.builds(
            BandRecord,
            description=st.none() | texts,
            color=st.none() | texts,
            unit=st.none() | texts,
            scale=numbers,
            offset=numbers,
            tags=tags,
        ),
        max_size=3,
    ).map(tuple),
)


@given(records)
@settings(max_examples=60)
def test_record_round_trip(record: GeoRecord) -> None:
    assert parse_record(record.to_bytes()) == record


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(
        st.sampled_from(["crs", "epsg", "transform", "gcps", "tags", "bands", "scale", "RPC", "x"]),
        inner, max_size=5,
    ), max_leaves=20,
))  # fmt: skip
@settings(max_examples=80)
def test_any_json_is_a_record_or_refused(found: object) -> None:
    try:
        record = parse_record(zlib.compress(json.dumps(found).encode()))
    except FormatError as error:
        assert "\n" not in str(error)
        return
    assert isinstance(record.bounds(9, 9), tuple | None)
    assert parse_record(record.to_bytes()) == record


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"{}",
        zlib.compress(b"{}")[:-1],
        zlib.compress(b"{}") + b"!",
        zlib.compress(b"[" * 100000),
        zlib.compress(bytes(MAX_JSON + 1)),
        zlib.compress(b'{"transform": [1, 2, 3]}'),
        zlib.compress(b'{"transform": [1, 2, 3, 4, 5, NaN]}'),
        zlib.compress(b'{"transform": [1, 2, 3, 4, 5, 1e999]}'),
        zlib.compress(b'{"crs": 7}'),
        zlib.compress(b'{"tags": {"": {"a": 7}}}'),
        zlib.compress(b'{"tags": []}'),
        zlib.compress(b'{"bands": 3}'),
        zlib.compress(b'{"gcps": [[1]]}'),
        zlib.compress(b"\xff\xfe"),
    ],
)
def test_damaged_records(stream: bytes) -> None:
    with pytest.raises(FormatError, match="georeference"):
        parse_record(stream)


@given(
    st.tuples(*[st.floats(-1e6, 1e6)] * 2, st.floats(0.01, 100), st.floats(-3, 3)),
    st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 40)] * 2),
)
@settings(max_examples=60)
def test_bounds_of_a_window_give_the_window(
    place: tuple[float, float, float, float], window: tuple[int, int, int, int]
) -> None:
    x, y, size, angle = place
    col, row, width, height = window
    record = GeoRecord(transform=(size, 0, x, 0, -size, y))
    bounds = record.cut(col, row).bounds(width, height)
    assert bounds is not None
    assert record.window(bounds, 100, 100) == window
    cos, sin = size * math.cos(angle), size * math.sin(angle)
    record = GeoRecord(transform=(cos, sin, x, sin, -cos, y))
    bounds = record.cut(col, row).bounds(width, height)
    assert bounds is not None
    left, top, wide, high = record.window(bounds, 100, 100)
    assert left <= col and top <= row and left + wide >= col + width and top + high >= row + height


def test_bounds_on_a_border_between_pixels() -> None:
    record = GeoRecord(transform=(1, 0, 0, 0, -1, 100))
    assert record.window((10, 50, 10, 50), 100, 100) == (10, 50, 1, 1)
    assert record.window((10, 50, 12, 50), 100, 100) == (10, 50, 2, 1)


@pytest.mark.parametrize(
    "record",
    [
        GeoRecord(transform=(math.nan, 0, 0, 0, 1, 0)),
        GeoRecord(gcps=((0, 0, math.inf, 0, 0),)),
        GeoRecord(tags={"": {"a": "b" * MAX_JSON}}),
    ],
)
def test_what_no_decoder_would_take_is_not_written(record: GeoRecord) -> None:
    with pytest.raises(ImageError, match="--no-geo"):
        record.to_bytes()
