"""What is done with one file: encoding, decoding, verifying."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from ..base.files import standard_input
from ..errors import DmecodecError, FormatError, OptionError
from ..format.limits import QUALITY_STEPS
from .job import STREAM, Job, Result
from .memory import naming_who_had_no_memory
from .outputs import output, output_path

if TYPE_CHECKING:
    from ..format.geo import Bounds
    from ..format.header import Header
    from ..format.reader import Reader


def _named(source: str, error: DmecodecError) -> DmecodecError:
    """The same error, its message beginning with the file that it is about."""
    name = "standard input" if source == STREAM else str(Path(source))
    # The names of images have their white space put in order.
    begun = " ".join(str(error).split()).startswith(" ".join(f"{name}:".split()))
    return error if begun else type(error)(f"{name}: {error}")


@contextmanager
def _naming(source: str) -> Iterator[None]:
    """Errors within get the name of the file."""
    try:
        yield
    except DmecodecError as error:
        raise _named(source, error) from error


def encode_job(
    job: Job, *, overwrite: bool, skip_done: bool = False, restarted: bool = False, **options: Any
) -> Result:
    """Encodes one file; `options` are those of :func:`dmecodec.encode`.

    Args:
        job: input and output.
        overwrite: whether an output that exists may be replaced.
        skip_done: leaves an output as it is that :func:`dmecodec.batch.done.is_encoded`, and replaces any
            other `.dmen` file. What is none is refused without `overwrite`.
        restarted: a first attempt was cut short, perhaps after it had put the output in place.
        options: the rest.

    Raises:
        DmecodecError: whatever is wrong, the input's name in its message.
    """
    from .. import api
    from ..format.reader import Reader
    from . import done

    if skip_done and done.is_encoded(job, **options):
        return replace(_encoded(job), skipped=True)
    if restarted and not overwrite and _exists(job.target):
        return _encoded(job)
    loaded = api.load_model(options.get("model"), options.get("device") or "auto")
    del loaded
    began = time.perf_counter()  # reading the weights is not encoding
    replace_it = overwrite or (skip_done and done.is_ours(job.target))
    with output(job.target, replace_it) as file:
        with _naming(job.source):
            data = api.encode(_source(job.source), **options)
        file.write(data)
    result = _read_result(job, Reader(data), len(data))
    return replace(result, seconds=time.perf_counter() - began)


def _encoded(job: Job) -> Result:
    """The result of a job whose output is there, as the output tells it."""
    from ..format.reader import Reader

    with Path(job.target).open("rb") as file:
        reader = Reader(file)
        return _read_result(job, reader, reader.size)


def _read_result(job: Job, reader: Reader, bytes_out: int, window: tuple[int, int, int, int] | None = None) -> Result:
    from ..format.layout import layout_of

    layout = layout_of(reader)
    return replace(_result(job, reader.header, layout.raw_bytes, bytes_out, window), steps=layout.step_sizes)


def _result(
    job: Job,
    header: Header,
    pixel: int,
    bytes_out: int,
    window: tuple[int, int, int, int] | None,
) -> Result:
    """A result of files; `pixel` is the bytes of one without any compression."""
    width, height = window[2:] if window else (header.width, header.height)
    return Result(
        job,
        width=width,
        height=height,
        bytes_out=bytes_out,
        raw=width * height * pixel,
        quality=header.quality / QUALITY_STEPS,
    )


def _exists(target: str) -> bool:
    return target != STREAM and os.path.exists(target)  # noqa: PTH110  (never raises)


def decode_job(
    job: Job,
    *,
    overwrite: bool,
    skip_done: bool = False,
    restarted: bool = False,
    window: tuple[int, int, int, int] | None = None,
    bounds: Bounds | None = None,
    profile: str | None = None,
    geo: bool = True,
    device: str = "auto",
    model: str | None = None,
) -> Result:
    """Decodes one file to an image file, by its suffix; standard output gets PNG.

    Args:
        job: input and output.
        overwrite, restarted: as for :func:`encode_job`.
        skip_done: leaves an output as it is that :func:`dmecodec.batch.done.is_decoded`. Another one is
            refused without `overwrite`: it may be the original.
        window, profile, geo: as for :meth:`dmecodec.File.save`.
        bounds: west, south, east, north in the file's CRS, instead of a window.
        device, model: as for :func:`dmecodec.decode`.

    Raises:
        DmecodecError: whatever is wrong, the input's name in its message.
    """
    from .. import api
    from ..images.formats import output_format
    from . import done

    check_part(window, bounds)
    told = {"window": window, "bounds": bounds, "profile": profile, "geo": geo}
    if skip_done and done.is_decoded(job, **told):
        return replace(_decoded(job, window), skipped=True)
    if restarted and not overwrite and _exists(job.target):
        if bounds is not None:
            with _naming(job.source), api.open(job.source) as file:
                window = file.bounds_window(bounds)
        return _decoded(job, window)
    format = "PNG" if job.target == STREAM else output_format(job.target)
    with _naming(job.source):
        file = api.File(_source(job.source), device=device, model=model)
    with file:
        by_name = geo and format == "TIFF" and file.needs_geotiff  # as GDAL wants it
        place = output_path if by_name else output
        with place(job.target, overwrite) as out:
            with _naming(job.source):
                file.load_model()
                began = time.perf_counter()  # reading the weights is not decoding
                window = file.bounds_window(bounds) if bounds else window
                file.save(out, format=format, window=window, profile=profile, geo=geo)
            written = out.stat().st_size if isinstance(out, Path) else out.tell()
        result = _result(job, file.header, file.layout.raw_bytes, written, window)
    return replace(result, seconds=time.perf_counter() - began)


def check_part(window: object, bounds: object) -> None:
    """Refuses a window beside bounds (OptionError)."""
    if window is not None and bounds is not None:
        raise OptionError("give a window or bounds, not both")


def _decoded(job: Job, window: tuple[int, int, int, int] | None) -> Result:
    """The result of a job whose output is there, as the input tells it."""
    from ..format.reader import Reader

    with Path(job.source).open("rb") as file:
        return _read_result(job, Reader(file), Path(job.target).stat().st_size, window)


def _source(name: str) -> BinaryIO | str:
    """What a name stands for: itself, or all of standard input."""
    return standard_input() if name == STREAM else name


def verify_file(
    name: str,
    *,
    deep: bool,
    device: str = "auto",
    model: str | None = None,
    original: str | None = None,
) -> int | None:
    """Checks one file; see :meth:`dmecodec.File.verify`. The file or the original may be "-".

    Returns:
        With an original, the largest difference of a valid sample from it, in levels.

    Raises:
        DmecodecError: whatever is wrong, the file's name in its message.
    """
    if name == original == STREAM:
        raise OptionError("the file and its original cannot both come from standard input")
    try:
        if deep or original is not None:
            from .. import api

            with (
                naming_who_had_no_memory(name),
                api.File(_source(name), device=device, model=model) as file,
            ):
                image = None if original is None else _source(original)
                return file.verify(deep=deep, original=image)
        from ..format.reader import Reader

        if name == STREAM:
            Reader(cast(BinaryIO, _source(name))).verify()
        else:
            with Path(name).open("rb") as stream:
                Reader(stream).verify()
        return None
    except OSError as error:
        raise FormatError(f"{name}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # a null byte in the name
        raise FormatError(f"{name!r}: cannot be read ({error})") from error
    except DmecodecError as error:
        raise _named(name, error) from error
