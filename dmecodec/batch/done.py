"""Which outputs need not be made again: those that are there, whole, and of this input and these settings.

As with `make`, an input that has changed is known by its time: it is newer than the output.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.boxes import Box
from ..errors import DmecodecError, OptionError
from ..format.header import Header
from ..format.kinds import Kind
from ..format.limits import DEFAULT_TILE, MAGIC
from ..format.reader import Reader
from ..weights import registry
from . import actions
from .job import Job

if TYPE_CHECKING:
    from ..images.source import Source

_WITHOUT_EFFECT = frozenset({"device", "overwrite", "skip_done"})
_COMPARED = frozenset({"quality", "model", "tile", "max_error", "scale", "geo"})


def check_encoding(options: Mapping[str, Any]) -> None:
    """Refuses what a file does not tell of its making, such as a target.

    Raises:
        OptionError: naming those options of :func:`dmecodec.encode`.
    """
    _refuse(_untold_by_files(options))


def check_decoding(options: Mapping[str, Any]) -> None:
    """Refuses what an image does not tell of its making, such as a window.

    Raises:
        OptionError: naming those options of :func:`dmecodec.batch.actions.decode_job`.
    """
    _refuse(_untold_by_images(options))


def is_encoded(job: Job, **options: Any) -> bool:
    """Whether the output of a job is what encoding with these options would make: every checksum
    fits, model, quality, tile and bound are those asked for, size and bands (depth, scale, nodata, alpha)
    are the input's, it has a georeference where it would get one, and it is not older. With an
    option that :func:`check_encoding` refuses it never is.

    Raises:
        OptionError, ModelError: as :func:`dmecodec.encode`.
    """
    from ..codec.options import EncodeOptions

    bound, tile = options.get("max_error"), options.get("tile")
    model = registry.find(options.get("model"))
    wanted = (
        EncodeOptions.checked(options.get("quality"), max_error=bound).quality,
        DEFAULT_TILE if tile is None else tile,
        bound,
    )
    if _untold_by_files(options) or not _is_newer(job):
        return False
    try:
        with Path(job.target).open("rb") as file:
            reader = Reader(file)
            header = reader.header
            if not model.has_id(header.model):
                return False
            if (header.quality, header.tile) != wanted[:2] or not _has_bound(header, bound):
                return False
            reader.verify()
            return _is_of(job.source, reader, options.get("scale"), options.get("geo", True))
    except (DmecodecError, OSError):
        return False


def _has_bound(header: Header, asked: int | None) -> bool:
    """Whether a file has the bound that was asked for, or the one that flat images get without asking."""
    from ..codec.options import flat_limit

    return header.bound == asked or (asked is None and header.bound == flat_limit(header.quality))


def is_decoded(job: Job, **options: Any) -> bool:
    """Whether the output of a job is an image that can be read to its end, as large as the input and
    not older. With an option that :func:`check_decoding` refuses it never is.
    """
    if _untold_by_images(options) or not _is_newer(job):
        return False

    try:
        with Path(job.source).open("rb") as file:
            header = Reader(file).header
        with _opened(job.target) as image:
            if (image.width, image.height) != (header.width, header.height):
                return False
            for block in Box(0, 0, image.width, image.height).blocks():
                image.pixels(block)  # images have few checksums
    except (DmecodecError, OSError):
        return False
    return True


def is_ours(target: str) -> bool:
    """Whether an output that is there is a `.dmen` file, or what is left of one, so that another may take its place."""
    try:
        if not stat.S_ISREG(os.stat(target).st_mode):  # noqa: PTH116
            return False
        with Path(target).open("rb") as file:
            return MAGIC.startswith(file.read(len(MAGIC)))
    except (OSError, ValueError):
        return False


def _untold_by_files(options: Mapping[str, Any]) -> list[str]:
    from .. import api

    return _set_beside(_WITHOUT_EFFECT | _COMPARED, api.encode, options)


def _untold_by_images(options: Mapping[str, Any]) -> list[str]:
    return _set_beside(_WITHOUT_EFFECT | {"model"}, actions.decode_job, options)


def _set_beside(known: frozenset[str], function: Callable[..., Any], options: Mapping[str, Any]) -> list[str]:
    """The names of options beside the known ones that are not at their default."""
    defaults = {name: item.default for name, item in signature(function).parameters.items()}
    return [
        name
        for name, value in options.items()
        if name not in known and (name not in defaults or value != defaults[name])
    ]


def _refuse(names: list[str]) -> None:
    if names:
        listed = ", ".join("--" + name.replace("_", "-") for name in names)
        raise OptionError(f"--skip-done does not go with {listed}, of which the files that are there do not tell")


def _is_newer(job: Job) -> bool:
    """Whether both files are there, and the output is not older than the input, or than what says more of it."""
    try:
        written = os.stat(job.target)  # noqa: PTH116
        names = [Path(job.source), *_beside(Path(job.source))]
        newer = all(written.st_mtime_ns >= name.stat().st_mtime_ns for name in names)
        return newer and stat.S_ISREG(written.st_mode)  # reading a pipe would wait
    except (OSError, ValueError):  # there is none, or it is a stream
        return False


def _beside(path: Path) -> list[Path]:
    """The files that say more of a TIFF."""
    from ..images.open import sidecars

    return sidecars(path) if path.suffix.lower() in (".tif", ".tiff") else []


def _is_of(name: str, reader: Reader, scale: tuple[int, int] | None, geo: bool) -> bool:
    """Whether a file tells of itself what encoding this input would make it tell.

    Raises:
        DmecodecError: the input cannot be read.
    """
    from ..format.layout import layout_of
    from ..images.headers import is_tiff
    from ..images.open import image_size
    from ..images.raster import mode_of_file

    header = reader.header
    size, has_geo = (header.width, header.height), Kind.GEO in header.kinds
    with Path(name).open("rb") as file:
        if scale is None and not is_tiff(file):  # its header tells all
            return (image_size(name), mode_of_file(file), False) == (size, header.mode, has_geo)
    with _opened(name, scale=scale, geo=geo) as image:  # of 16 bits it is read, for its range
        told = (image.width, image.height), image.layout, bool(image.geo)
        if told != (size, layout_of(reader), has_geo):
            return False
        return not has_geo or _same_record(image.geo, reader.file_stream(Kind.GEO))


def _same_record(found: bytes | None, stream: bytes) -> bool:
    from ..format.geo import parse_record

    return found is not None and parse_record(found) == parse_record(stream)


@contextmanager
def _opened(name: str, **options: Any) -> Iterator[Source]:
    """An image that is closed in the end."""
    from ..images.open import open_source
    from ..images.options import ReadOptions

    image = open_source(name, ReadOptions(**options))
    try:
        yield image
    finally:
        image.close()
