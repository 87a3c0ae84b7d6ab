"""Which outputs need not be made again: those that are there, whole, and of this input and these settings.

As with `make`, an input that has changed is known by its time: it is newer than the output.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import registry
from .container import Reader
from .errors import DmecodecError, ImageError

if TYPE_CHECKING:
    from .batch import Job


def is_encoded(
    job: Job,
    *,
    quality: float | None = None,
    bpp: float | None = None,
    psnr: float | None = None,
    model: str | os.PathLike[str] | None = None,
    tile: int | None = None,
    **_: Any,
) -> bool:
    """Whether the output of a job is what encoding would make: every checksum fits, model, quality
    and tile are those asked for, it is as large in pixels as the input and not older.

    A file does not tell for which target, `bpp` or `psnr`, it was made: with one it is never done.

    Raises:
        OptionError, ModelError: as :func:`dmecodec.encode`.
    """
    from . import api

    steps = api.quality_steps(api.DEFAULT_QUALITY if quality is None else quality)
    wanted = (registry.find(model).id, steps, api.DEFAULT_TILE if tile is None else tile)
    if bpp is not None or psnr is not None or not _is_newer(job):
        return False
    try:
        with Path(job.target).open("rb") as file:
            reader = Reader(file)
            header = reader.header
            if (header.model, header.quality, header.tile) != wanted:
                return False
            reader.verify()
    except (DmecodecError, OSError):
        return False
    return _size(job.source) in (None, (header.width, header.height))


def is_decoded(job: Job, window: tuple[int, int, int, int] | None = None) -> bool:
    """Whether the output of a job is a whole image, as large as the input and not older.

    An image does not tell which window it shows: with one it is never done.
    """
    if window is not None or not _is_newer(job):
        return False
    from .images import open_source

    try:
        with Path(job.source).open("rb") as file:
            header = Reader(file).header
        image = open_source(job.target)  # all of it, for images have few checksums
    except (DmecodecError, OSError):
        return False
    return (image.width, image.height) == (header.width, header.height)


def _is_newer(job: Job) -> bool:
    """Whether both files are there, and the output was written after the input, or with it."""
    try:
        source, target = os.stat(job.source), os.stat(job.target)  # noqa: PTH116
    except (OSError, ValueError):  # there is none, or it is a stream
        return False
    return target.st_mtime_ns >= source.st_mtime_ns


def _size(source: str) -> tuple[int, int] | None:
    """Width and height of an input image, None where its header does not tell."""
    from .images import image_size

    with suppress(ImageError):
        return image_size(source)
    return None
