"""The GEO stream: where the pixels lie on the ground, and whatever else rasterio reports of them.

Plain values, so that `dmecodec info` can show them without rasterio. The stream is deflated JSON. A byte of a text
that is no UTF-8 is the code 0xDC00 + byte, which JSON writes as an escape such as \\udce9.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..errors import FormatError, ImageError, OptionError

_WITHOUT = "--no-geo codes the pixels without it"

MAX_JSON = 1 << 24
"""Bytes of a record before deflate. Rational polynomials take 2 kB, a thousand control points 100 kB."""

Tags = dict[str, dict[str, str]]
"""Tags by namespace; the default one is ""."""
Bounds = tuple[float, float, float, float]
"""West, south, east and north, in the units of the CRS."""


@dataclass(frozen=True)
class BandRecord:
    """What is said of one band of the image.

    Attributes:
        description, unit, scale, offset: as GDAL reports them.
        color: name of its colour interpretation.
        nodata: a nodata value that no sample can have, as text. Any other is in the BANDS stream.
        tags: by namespace.
    """

    description: str | None = None
    color: str | None = None
    unit: str | None = None
    scale: float = 1.0
    offset: float = 0.0
    nodata: str | None = None
    tags: Tags = field(default_factory=dict)


@dataclass(frozen=True)
class GeoRecord:
    """What an image says beside its pixels.

    Attributes:
        crs: coordinate reference system as WKT, or None.
        epsg: its EPSG code, where it has one.
        transform: a, b, c, d, e, f: pixel (col, row) lies at (a col + b row + c, d col + e row + f).
        gcp_crs: CRS of the ground control points, as WKT.
        gcps: row, col, x, y, z of each of them.
        tags: of the whole dataset; rational polynomial coefficients are in the namespace RPC.
        bands: one for each band of the image.
    """

    crs: str | None = None
    epsg: int | None = None
    transform: tuple[float, ...] | None = None
    gcp_crs: str | None = None
    gcps: tuple[tuple[float, ...], ...] = ()
    tags: Tags = field(default_factory=dict)
    bands: tuple[BandRecord, ...] = ()

    @property
    def crs_name(self) -> str | None:
        """The first name in the WKT, such as "WGS 84 / UTM zone 29N"."""
        found = re.match(r'\s*\w+\s*\[\s*"([^"]*)"', self.crs or "")
        return found[1] if found else None

    def bounds(self, width: int, height: int) -> Bounds | None:
        """The box around an image of this size, or None without a transform."""
        if self.transform is None:
            return None
        a, b, c, d, e, f = self.transform
        corners = [(0, 0), (width, 0), (0, height), (width, height)]
        xs = [a * col + b * row + c for col, row in corners]
        ys = [d * col + e * row + f for col, row in corners]
        return min(xs), min(ys), max(xs), max(ys)

    def window(self, bounds: Bounds, width: int, height: int) -> tuple[int, int, int, int]:
        """The pixels (col, row, width, height) that a box on the ground touches.

        Raises:
            OptionError: there is no transform, or the box does not touch the image.
        """
        if self.transform is None:
            raise OptionError("bounds need a georeferenced file; this one has no transform")
        a, b, c, d, e, f = self.transform
        west, south, east, north = bounds
        scale = a * e - b * d
        if not all(map(math.isfinite, (*bounds, scale))) or not scale or west > east or south > north:
            raise OptionError(
                "bounds are west, south, east, north: finite numbers, west not above east, south not above north"
            )
        corners = [(x - c, y - f) for x in (west, east) for y in (south, north)]
        cols = [(e * x - b * y) / scale for x, y in corners]
        rows = [(a * y - d * x) / scale for x, y in corners]
        slack = 1e-6  # a border between two pixels is written in decimals
        left, top = max(0, _floor(min(cols) + slack)), max(0, _floor(min(rows) + slack))
        # A point or a line on a border between two pixels touches the one after it.
        right = min(width, max(_floor(max(cols) - slack), left) + 1)
        bottom = min(height, max(_floor(max(rows) - slack), top) + 1)
        if left >= right or top >= bottom:
            held = ",".join(f"{side:.10g}" for side in self.bounds(width, height) or ())
            raise OptionError(f"bounds lie outside the image, which has {held}")
        return left, top, right - left, bottom - top

    def cut(self, col: int, row: int) -> GeoRecord:
        """The record of a window that begins at this pixel."""
        if (col, row) == (0, 0):
            return self
        transform = self.transform
        if transform is not None:
            a, b, c, d, e, f = transform
            transform = (a, b, a * col + b * row + c, d, e, d * col + e * row + f)
        gcps = tuple((line - row, sample - col, *rest) for line, sample, *rest in self.gcps)
        bands = tuple(replace(band, tags=_cut_tags(band.tags, col, row)) for band in self.bands)
        return replace(self, transform=transform, tags=_cut_tags(self.tags, col, row), gcps=gcps, bands=bands)

    def reduced(self, factor: int) -> GeoRecord:
        """The record of the same image with one pixel in `factor` along each axis."""
        if factor == 1:
            return self
        transform = self.transform
        if transform is not None:
            a, b, c, d, e, f = transform
            transform = (a * factor, b * factor, c, d * factor, e * factor, f)
        gcps = tuple((line / factor, sample / factor, *rest) for line, sample, *rest in self.gcps)
        bands = tuple(replace(band, tags=_reduced_tags(band.tags, factor)) for band in self.bands)
        return replace(self, transform=transform, tags=_reduced_tags(self.tags, factor), gcps=gcps, bands=bands)

    @property
    def has_content(self) -> bool:
        """Whether it says more than the bands and their colours do by themselves."""
        plain = [replace(band, color=None) == BandRecord() for band in self.bands]
        tags = {name: values for name, values in self.tags.items() if values != {"AREA_OR_POINT": "Area"}}
        return bool(self.crs or self.transform or self.gcps or tags) or not all(plain)

    def to_bytes(self) -> bytes:
        """The GEO stream.

        Raises:
            ImageError: a number is not finite, or it is larger than a decoder takes.
        """
        kept = {key: value for key, value in asdict(self).items() if value not in (None, {}, ())}
        try:
            data = _json(kept)
        except ValueError:
            raise ImageError(f"its georeference has a number that is not finite; {_WITHOUT}") from None
        if len(data) > MAX_JSON:
            raise ImageError(f"its georeference and tags take {len(data)} bytes; {_WITHOUT}")
        return zlib.compress(data, 9)


def _floor(value: float) -> int:
    return math.floor(max(-(2.0**31), min(2.0**31, value)))


def _json(kept: dict[str, Any]) -> bytes:
    text = json.dumps(kept, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:  # bytes that are no UTF-8
        return json.dumps(kept, separators=(",", ":"), allow_nan=False).encode()


_OFFSETS = {
    "RPC": (("SAMP_OFF", None), ("LINE_OFF", None)),
    "GEOLOCATION": (("PIXEL_OFFSET", "0"), ("LINE_OFFSET", "0")),
}
"""Tags that count pixels from the corner of the image, by namespace: columns and rows, each with its default."""
_OF_WHOLE_IMAGE = {
    "ENVI": ("map_info", "geo_points", "rpc_info", "x_start", "y_start", "lines", "samples"),
}
"""Tags that count pixels in a way that a window cannot follow, by namespace."""


def _cut_tags(tags: Tags, col: int, row: int) -> Tags:
    """The tags of a window that begins at this pixel. What counts pixels moves with it, or is left out."""
    cut = dict(tags)
    for namespace, offsets in _OFFSETS.items():
        if namespace in cut:
            values = cut.pop(namespace)
            for (key, default), distance in zip(offsets, (col, row), strict=True):
                number = _moved(values.get(key, default), -distance)
                if number is None:
                    break
                values = values | {key: number}
            else:
                cut[namespace] = values
    return _without_whole(cut)


def _without_whole(tags: Tags) -> Tags:
    """Tags without those that hold for the whole image alone."""
    kept = dict(tags)
    for namespace, keys in _OF_WHOLE_IMAGE.items():
        if namespace in kept:
            kept[namespace] = {key: value for key, value in kept[namespace].items() if key.lower() not in keys}
    return {name: values for name, values in kept.items() if values}


_CENTRE = 0.5
"""Offsets of rational polynomials count from the centre of the first pixel, those of GEOLOCATION from its corner."""
_LENGTHS = {
    "RPC": {"SAMP_OFF": _CENTRE, "LINE_OFF": _CENTRE, "SAMP_SCALE": 0.0, "LINE_SCALE": 0.0},
    "GEOLOCATION": dict.fromkeys(("PIXEL_OFFSET", "LINE_OFFSET", "PIXEL_STEP", "LINE_STEP"), 0.0),
}
"""Tags in pixels, by namespace, and where they count from."""


def _reduced_tags(tags: Tags, factor: int) -> Tags:
    """The tags of a reduced image. What counts pixels is divided, or the whole namespace is left out."""
    reduced = dict(tags)
    for namespace, lengths in _LENGTHS.items():
        if namespace in reduced:
            values = reduced.pop(namespace)
            numbers = {key: _divided(values.get(key), factor, shift) for key, shift in lengths.items()}
            if None not in numbers.values():
                reduced[namespace] = values | {key: number for key, number in numbers.items() if number is not None}
    return _without_whole(reduced)


_NUMBER = re.compile(r"(\s*)([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![\w.])(.*)", re.DOTALL)


def _moved(text: str | None, distance: float, factor: float = 1) -> str | None:
    """A number times a factor, then moved, with all its digits and its unit: "2199.00 pixels". None if it is none."""
    found = _NUMBER.fullmatch(text or "")
    if found is None:
        return None
    blank, number, unit = found.groups()
    return f"{blank}{float(number) * factor + distance!r}{unit}"


def _divided(text: str | None, factor: int, shift: float) -> str | None:
    """A number of pixels divided, counted from `shift` before where it counts from."""
    return _moved(text, shift / factor - shift, 1 / factor)


def parse_record(stream: bytes) -> GeoRecord:
    """The record that a GEO stream holds; members that it does not know are left out.

    Raises:
        FormatError: it is no deflated JSON, too large, or a member is of a wrong type.
    """
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(stream, MAX_JSON)
        if not inflater.eof or inflater.unused_data:
            raise FormatError("damaged: the georeference is cut short or too long")
        found = json.loads(text)
        return _record(found)
    except (
        zlib.error,
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        raise FormatError("damaged: the georeference cannot be read") from error


def _record(found: dict[str, Any]) -> GeoRecord:
    gcps = tuple(_numbers(point, 5) for point in found.get("gcps", ()))
    transform = found.get("transform")
    epsg = found.get("epsg")
    return GeoRecord(
        crs=_text(found.get("crs")),
        epsg=None if epsg is None else int(epsg),
        transform=None if transform is None else _numbers(transform, 6),
        gcp_crs=_text(found.get("gcp_crs")),
        gcps=gcps,
        tags=_tags(found.get("tags", {})),
        bands=tuple(_band(band) for band in found.get("bands", ())),
    )


def _band(found: dict[str, Any]) -> BandRecord:
    scale, offset = _numbers([found.get("scale", 1.0), found.get("offset", 0.0)], 2)
    return BandRecord(
        description=_text(found.get("description")),
        color=_text(found.get("color")),
        unit=_text(found.get("unit")),
        scale=scale,
        offset=offset,
        nodata=_text(found.get("nodata")),
        tags=_tags(found.get("tags", {})),
    )


def _text(value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or "\0" in value):
        raise ValueError("not a text")
    return value


def _numbers(values: Any, count: int) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ValueError("not so many numbers")
    return numbers


def _tags(found: dict[str, Any]) -> Tags:
    return {str(name): {str(key): _text(value) or "" for key, value in tags.items()} for name, tags in found.items()}
