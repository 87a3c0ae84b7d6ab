"""Whether a written file says what its record says, and what it lacks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ..errors import FormatError
from ..format.geo import BandRecord, GeoRecord, Tags
from .write_record import parse_crs

_CLOSE = 1e-9


def missing(wanted: GeoRecord, written: GeoRecord) -> GeoRecord:
    """The part of a record that a file does not say: whole namespaces, whole lists of control points."""
    tags = _missing_tags(wanted.tags, written.tags)
    gcps_differ = not _same_gcps(wanted, written)
    return GeoRecord(
        crs=None if _same_crs(wanted.crs, written.crs) else wanted.crs,
        transform=None if _close(wanted.transform, written.transform) else wanted.transform,
        gcp_crs=wanted.gcp_crs if gcps_differ else None,
        gcps=wanted.gcps if gcps_differ else (),
        tags=tags,
        bands=_missing_bands(wanted.bands, written.bands),
    )


def in_words(lacking: GeoRecord) -> list[str]:
    """What a record that a file lacks consists of."""
    words = [name for name, value in (("the CRS", lacking.crs), ("the transform", lacking.transform)) if value]
    words += ["ground control points"] if lacking.gcps else []
    words += [f"tags{f' of {name}' if name else ''} ({', '.join(values)})" for name, values in lacking.tags.items()]
    words += [f"metadata of band {n}" for n, band in enumerate(lacking.bands, 1) if band != BandRecord()]
    return words


def _same_crs(wanted: str | None, written: str | None) -> bool:
    if wanted is None or wanted == written:
        return True
    try:
        return written is not None and parse_crs(wanted) == parse_crs(written)
    except FormatError:
        return False


def _close(wanted: Sequence[float] | None, written: Sequence[float] | None) -> bool:
    """Whether numbers are the same but for the digits that a text of them may lose."""
    if wanted is None:
        return True
    largest = max((abs(number) for number in wanted), default=0)
    return written is not None and all(
        math.isclose(a, b, rel_tol=_CLOSE, abs_tol=1e-15 * largest) for a, b in zip(wanted, written, strict=True)
    )


def _same_gcps(wanted: GeoRecord, written: GeoRecord) -> bool:
    if len(wanted.gcps) != len(written.gcps):
        return not wanted.gcps
    same = all(_close(a, b) for a, b in zip(wanted.gcps, written.gcps, strict=True))
    return same and (not wanted.gcps or _same_crs(wanted.gcp_crs, written.gcp_crs))


def _missing_tags(wanted: Tags, written: Tags) -> Tags:
    return {
        name: values
        for name, values in wanted.items()
        if any(not _same_text(name, value, written.get(name, {}).get(key)) for key, value in values.items())
    }


def _same_text(namespace: str, wanted: str, written: str | None) -> bool:
    """Whether a tag is there; GDAL rewrites numbers of polynomials, and XML documents."""
    if written is None:
        return False
    if namespace == "RPC":
        return _numbers(wanted) == _numbers(written)
    if namespace.startswith("xml:"):
        return True
    return wanted == written


def _numbers(text: str) -> list[float | str]:
    """The numbers of a text; units are left out."""
    numbers: list[float | str] = []
    for word in text.split():
        try:
            numbers.append(float(word))
        except ValueError:
            if not numbers:
                return [text]
    return numbers


def _missing_bands(wanted: Sequence[BandRecord], written: Sequence[BandRecord]) -> tuple[BandRecord, ...]:
    if len(wanted) != len(written):  # alpha that has become a mask
        return ()
    parts = tuple(_missing_band(a, b) for a, b in zip(wanted, written, strict=True))
    return parts if any(part != BandRecord() for part in parts) else ()


def _missing_band(wanted: BandRecord, written: BandRecord) -> BandRecord:
    lacking = BandRecord(tags=_missing_tags(wanted.tags, written.tags))
    for name in ("description", "unit", "nodata", "color"):
        value = getattr(wanted, name)
        if value is not None and value != getattr(written, name):
            lacking = replace(lacking, **{name: value})
    if (wanted.scale, wanted.offset) != (written.scale, written.offset):
        lacking = replace(lacking, scale=wanted.scale, offset=wanted.offset)
    return lacking
