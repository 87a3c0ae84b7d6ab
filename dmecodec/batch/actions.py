"""What is done with one file: encoding, decoding, verifying."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..base.boxes import reduce_factor, window_box
from ..base.files import STREAM, companion, companions, standard_input
from ..codec.options import EncodeOptions
from ..errors import FormatError, OptionError
from ..format.layout import layout_of
from ..format.limits import QUALITY_STEPS
from ..format.reader import Reader
from ..images.options import ReadOptions
from . import done
from .job import Job, Result
from .outputs import exists, output, output_path
from .work import errors_named, use_threads

if TYPE_CHECKING:
    from ..format.geo import Bounds
    from ..format.header import Header
    from ..format.layout import Layout


def encode_job(
    job: Job,
    *,
    overwrite: bool,
    skip_done: bool = False,
    restarted: bool = False,
    scale: tuple[int, int] | None = None,
    nodata: int | None = None,
    geo: bool = True,
    device: str = "auto",
    model: str | None = None,
    **options: Any,
) -> Result:
    """Encodes one file.

    Args:
        job: input and output.
        overwrite: whether an output that exists may be replaced.
        skip_done: leaves an output as it is that :func:`dmecodec.batch.done.is_encoded`, and replaces any other
            `.dmen` file. Another kind of file is refused without `overwrite`.
        restarted: an earlier attempt was cut short. An output that exists is taken for its work.
        scale, nodata, geo, device, model: as for :func:`dmecodec.encode`.
        options: those of :class:`dmecodec.codec.options.EncodeOptions`.

    Raises:
        DmecodecError: what is wrong.
    """
    from .. import api

    if skip_done:
        done.check_encoding(options)
    encoding = EncodeOptions.checked(**options)
    reading = ReadOptions.checked(scale=scale, nodata=nodata, geo=geo)
    is_done = skip_done and done.is_encoded(job, encoding, reading, model)
    if is_done or (restarted and exists(job.target)):
        with Path(job.target).open("rb") as existing:
            reader = Reader(existing)
            size = Path(job.target).stat().st_size
            return replace(_result(job, reader.header, layout_of(reader), size), skipped=is_done)
    loaded = api.load_model(model, device)
    began = time.perf_counter()  # without the time of reading the weights
    with output(job.target, overwrite or (skip_done and done.is_dmen(job.target))) as file:
        encoded = api.encode_image(_input(job.source), loaded, encoding, reading)
        file.write(encoded.data)
    result = _result(job, encoded.header, encoded.layout, len(encoded.data))
    return replace(result, seconds=time.perf_counter() - began)


def _result(
    job: Job,
    header: Header,
    layout: Layout,
    bytes_out: int,
    window: tuple[int, int, int, int] | None = None,
    reduce: int = 0,
) -> Result:
    image = window_box(window, header.width, header.height).scaled_down(reduce_factor(reduce))
    return Result(
        job,
        width=image.width,
        height=image.height,
        bytes_out=bytes_out,
        raw=image.width * image.height * layout.raw_bytes,
        quality=header.quality / QUALITY_STEPS,
        steps=layout.step_sizes,
    )


def decode_job(
    job: Job,
    *,
    overwrite: bool,
    skip_done: bool = False,
    restarted: bool = False,
    window: tuple[int, int, int, int] | None = None,
    bounds: Bounds | None = None,
    reduce: int = 0,
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
        window, reduce, profile, geo: as for :meth:`dmecodec.File.save`.
        bounds: west, south, east, north in the file's CRS, instead of a window.
        device, model: as for :func:`dmecodec.decode`.

    Raises:
        DmecodecError: what is wrong.
    """
    from .. import api
    from ..images.formats import output_format

    check_part(window, bounds, reduce)
    if skip_done:
        done.check_decoding({"window": window, "bounds": bounds, "reduce": reduce, "profile": profile, "geo": geo})
    format = "PNG" if job.target == STREAM else output_format(job.target)
    with api.File(_input(job.source), device=device, model=model) as file:
        window = file.bounds_window(bounds) if bounds else window
        is_done = skip_done and done.is_decoded(job)
        if is_done or (restarted and exists(job.target)):
            size = Path(job.target).stat().st_size
            return replace(_result(job, file.header, file.layout, size, window, reduce), skipped=is_done)
        # GDAL writes a GeoTIFF, and companions of an image, under a name only.
        by_name = job.target != STREAM and file.writes_sidecars(format, geo=geo)
        place = output_path if by_name else output
        with place(job.target, overwrite) as out:
            file.load_model()
            began = time.perf_counter()  # without the time of reading the weights
            losses = file.write(out, format=format, window=window, reduce=reduce, profile=profile, geo=geo)
            notes = [*(f"left out: {loss}" for loss in losses), *_stale_sidecars(job.target, out)]
            size = out.stat().st_size if isinstance(out, Path) else out.tell()
        result = _result(job, file.header, file.layout, size, window, reduce)
    return replace(result, seconds=time.perf_counter() - began, notes=tuple(notes))


def _stale_sidecars(target: str, out: BinaryIO | Path) -> list[str]:
    """What to say of files that stand beside the output from before, and that GDAL would read with it."""
    from ..images.sidecars import sidecars

    if target == STREAM:
        return []
    new = {beside.name.removeprefix(out.name) for beside in companions(out)} if isinstance(out, Path) else set()
    names = {companion(Path(target), ending).name for ending in new}
    stale = [beside.name for beside in sidecars(Path(target)) if beside.name not in names]
    return [f"{name} beside it is from before; GDAL reads it with this image" for name in sorted(stale)]


def check_part(window: object, bounds: object, reduce: int = 0) -> None:
    """Refuses a window beside bounds, and a resolution that cannot be (OptionError)."""
    reduce_factor(reduce)
    if window is not None and bounds is not None:
        raise OptionError("give a window or bounds, not both")


def verify_file(
    name: str,
    *,
    deep: bool,
    device: str = "auto",
    model: str | None = None,
    original: str | None = None,
    threads: int | None = None,
) -> int | None:
    """Checks one file; see :meth:`dmecodec.File.verify`. The file or the original may be "-".

    Args:
        name: of the file.
        deep, original, device, model: as for :meth:`dmecodec.File.verify` and :func:`dmecodec.open`.
        threads: as for :func:`dmecodec.set_threads`; None changes nothing.

    Returns:
        With an original, the largest difference of a valid sample from it, in levels.

    Raises:
        DmecodecError: what is wrong, with the name of the file.
    """
    if name == original == STREAM:
        raise OptionError("the file and its original cannot both come from standard input")
    with errors_named(name):
        if deep or original is not None:
            from .. import api

            use_threads(threads)
            with api.File(_input(name), device=device, model=model) as file:
                return file.verify(deep=deep, original=None if original is None else _input(original))
        try:  # without torch
            with standard_input() if name == STREAM else Path(name).open("rb") as stream:
                Reader(stream).verify()
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name
            raise FormatError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    return None


def _input(name: str) -> BinaryIO | str:
    """A file name, or all of standard input."""
    return standard_input() if name == STREAM else name
