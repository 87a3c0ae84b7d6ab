"""Which outputs need not be made again: those that are there, whole, and of this input and these settings.

As with `make`, an input that has changed is known by its time: it is newer than the output.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from inspect import signature
from pathlib import Path
from typing import Any

from . import batch, registry
from .batch import Job
from .container import Reader
from .errors import DmecodecError, ImageError, OptionError

_WITHOUT_EFFECT = frozenset({"device", "overwrite", "skip_done"})
_COMPARED = frozenset({"quality", "model", "tile", "max_error"})


def check_encoding(options: Mapping[str, Any]) -> None:
    """Refuses what a file does not tell of its making, such as a target.

    Raises:
        OptionError: naming those options of :func:`dmecodec.encode`.
    """
    _refuse(_untold_by_files(options))


def check_decoding(options: Mapping[str, Any]) -> None:
    """Refuses what an image does not tell of its making, such as a window.

    Raises:
        OptionError: naming those options of :func:`dmecodec.batch.decode_job`.
    """
    _refuse(_untold_by_images(options))


def is_encoded(job: Job, **options: Any) -> bool:
    """Whether the output of a job is what encoding with these options would make: every checksum
    fits, model, quality, tile and bound are those asked for, it is as large in pixels as the input and not
    older. With an option that :func:`check_encoding` refuses it never is.

    Raises:
        OptionError, ModelError: as :func:`dmecodec.encode`.
    """
    from . import api

    bound, tile = options.get("max_error"), options.get("tile")
    wanted = (
        registry.find(options.get("model")).id,
        api.quality_steps(api.chosen_quality(options.get("quality"), bound)),
        api.DEFAULT_TILE if tile is None else tile,
        bound,
    )
    if _untold_by_files(options) or not _is_newer(job):
        return False
    try:
        with Path(job.target).open("rb") as file:
            reader = Reader(file)
            header = reader.header
            if (header.model, header.quality, header.tile, reader.bound()) != wanted:
                return False
            reader.verify()
    except (DmecodecError, OSError):
        return False
    return _size(job.source) in (None, (header.width, header.height))


def is_decoded(job: Job, **options: Any) -> bool:
    """Whether the output of a job is a whole image, as large as the input and not older. With an
    option that :func:`check_decoding` refuses it never is.
    """
    if _untold_by_images(options) or not _is_newer(job):
        return False
    from .images import close_source, open_source

    try:
        with Path(job.source).open("rb") as file:
            header = Reader(file).header
        image = open_source(job.target)  # all of it, for images have few checksums
        close_source(image)
    except (DmecodecError, OSError):
        return False
    return (image.width, image.height) == (header.width, header.height)


def _untold_by_files(options: Mapping[str, Any]) -> list[str]:
    from . import api

    return _set_beside(_WITHOUT_EFFECT | _COMPARED, api.encode, options)


def _untold_by_images(options: Mapping[str, Any]) -> list[str]:
    return _set_beside(_WITHOUT_EFFECT | {"model"}, batch.decode_job, options)


def _set_beside(
    known: frozenset[str], function: Callable[..., Any], options: Mapping[str, Any]
) -> list[str]:
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
        raise OptionError(
            f"--skip-done does not go with {listed}, of which the files that are there do not tell"
        )


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
