"""Which outputs are done: they are there, whole, made of this input and with these settings.

An input that has changed is known by its time, as with `make`: it is newer than the output.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.boxes import Box
from ..codec.options import EncodeOptions, flat_limit
from ..errors import DmecodecError, OptionError
from ..format.header import Header
from ..format.kinds import Kind
from ..format.limits import MAGIC
from ..format.reader import Reader
from ..images.options import ReadOptions
from ..weights import registry
from .job import Job

if TYPE_CHECKING:
    from ..images.source import Source

RECORDED = frozenset({"quality", "max_error", "model", "tile", "scale", "nodata", "geo"})
"""Options of encoding that :func:`is_encoded` compares."""
_ENCODING = {"bpp": None, "psnr": None, "effort": 1}
_DECODING = {"window": None, "bounds": None, "reduce": 0, "profile": None, "geo": True}
"""Options that an output does not record, each with the only value that `skip_done` allows."""


def check_encoding(options: Mapping[str, Any]) -> None:
    """Refuses options of encoding that a `.dmen` file does not record, such as a target.

    Raises:
        OptionError: naming them.
    """
    _check(options, RECORDED | {"device"}, _ENCODING)


def check_decoding(options: Mapping[str, Any]) -> None:
    """Refuses options of decoding that an image does not record, such as a window.

    Raises:
        OptionError: naming them.
    """
    _check(options, {"device", "model"}, _DECODING)


def _check(options: Mapping[str, Any], checked: Collection[str], only: Mapping[str, Any]) -> None:
    refused = [
        "--" + name.replace("_", "-")
        for name, value in options.items()
        if name not in checked and (name not in only or value != only[name])
    ]
    if refused:
        raise OptionError(f"--skip-done cannot check {', '.join(refused)}: the output does not record it")


def is_encoded(job: Job, options: EncodeOptions, reading: ReadOptions, model: str | None) -> bool:
    """Whether the output of a job is what encoding with these options would make.

    Every checksum fits; model, quality, tile and bound are those asked for; size, bands (depth, scale, nodata,
    alpha) and georeference are the input's; and the output is not older than the input.

    Raises:
        ModelError: no such model.
    """
    entry = registry.find(model)
    if not _is_newer(job):
        return False
    try:
        with Path(job.target).open("rb") as file:
            reader = Reader(file)
            header = reader.header
            if not entry.has_id(header.model) or (header.quality, header.tile) != (options.quality, options.tile):
                return False
            if not _has_bound(header, options.max_error):
                return False
            reader.verify()
            return _is_made_of(job.source, reader, reading)
    except (DmecodecError, OSError):
        return False


def _has_bound(header: Header, asked: int | None) -> bool:
    """Whether a file has the bound that was asked for, or the one that flat images get without asking."""
    return header.bound == asked or (asked is None and header.bound == flat_limit(header.quality))


def is_decoded(job: Job) -> bool:
    """Whether the output of a job is a whole image as large as the input, and not older."""

    if not _is_newer(job):
        return False
    try:
        with Path(job.source).open("rb") as file:
            header = Reader(file).header
        with _opened(job.target, ReadOptions()) as image:
            if (image.width, image.height) != (header.width, header.height):
                return False
            for block in Box(0, 0, image.width, image.height).blocks():
                image.pixels(block)  # images have few checksums
    except (DmecodecError, OSError):
        return False
    return True


def is_dmen(name: str) -> bool:
    """Whether a file is a `.dmen` file, or a damaged one, so that `skip_done` may replace it."""
    try:
        if not stat.S_ISREG(os.stat(name).st_mode):  # noqa: PTH116
            return False
        with Path(name).open("rb") as file:
            return MAGIC.startswith(file.read(len(MAGIC)))
    except (OSError, ValueError):
        return False


def _is_newer(job: Job) -> bool:
    """Whether the output is not older than the input, nor than the files beside it that belong to it."""
    from ..images.sidecars import sidecars

    source = Path(job.source)
    beside = sidecars(source)
    try:
        written = os.stat(job.target)  # noqa: PTH116
        newer = all(written.st_mtime_ns >= path.stat().st_mtime_ns for path in (source, *beside))
        return newer and stat.S_ISREG(written.st_mode)  # reading a pipe would wait
    except (OSError, ValueError):  # one is missing, or is a stream
        return False


def _is_made_of(source: str, reader: Reader, reading: ReadOptions) -> bool:
    """Whether size, bands and georeference of a file are those of an input.

    Raises:
        DmecodecError: the input cannot be read.
    """
    from ..format.geo import parse_record
    from ..format.layout import layout_of
    from ..images.georeference import Georeference, find_georeference
    from ..images.headers import format_of
    from ..images.open import image_size
    from ..images.raster import mode_of_file

    header = reader.header
    size = header.width, header.height
    record = parse_record(reader.file_stream(Kind.GEO)) if Kind.GEO in header.kinds else None
    with Path(source).open("rb") as file:
        kind = format_of(file) or ""
        is_plain = kind != "TIFF" and not (
            reading.geo and find_georeference(file, kind, Path(source)) is not Georeference.NONE
        )
        if reading == ReadOptions(geo=reading.geo) and is_plain:  # the header of the image is enough
            return (image_size(source), mode_of_file(file), None) == (size, header.mode, record)
    with _opened(source, reading) as image:  # reads samples of 16 bits for their range
        found = parse_record(image.geo) if image.geo else None
        return ((image.width, image.height), image.layout, found) == (size, layout_of(reader), record)


@contextmanager
def _opened(name: str, reading: ReadOptions) -> Iterator[Source]:
    from ..images.open import open_source

    image = open_source(name, reading)
    try:
        yield image
    finally:
        image.close()
