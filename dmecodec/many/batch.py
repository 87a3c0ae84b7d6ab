"""Many files in one call: which output each input gets, and what became of it."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from ..container import QUALITY_STEPS
from ..errors import DmecodecError, FormatError, ImageError, OptionError, OutputError
from ..files import replace_file, replace_path

if TYPE_CHECKING:
    from ..container import Header, Reader
    from ..geo.record import Bounds

STREAM = "-"
"""Stands for standard input or output."""
OUT_OF_MEMORY = "not enough memory; a smaller --tile or --window may help"
DMEN_SUFFIXES = frozenset({".dmen"})


@dataclass(frozen=True)
class Job:
    """One input and where its output goes; either may be "-"."""

    source: str
    target: str


@dataclass(frozen=True)
class Result:
    """What became of a job.

    Attributes:
        job: the job.
        error: why it failed, or None.
        width, height: of the image, in pixels.
        bytes_out: size of the output.
        raw: bytes of the pixels without any compression.
        seconds: wall-clock time of the job, loading the model left out.
        quality: of the file that was written or read.
        skipped: whether the output was there before, as it would be made again.
    """

    job: Job
    error: DmecodecError | None = None
    width: int = 0
    height: int = 0
    bytes_out: int = 0
    raw: int = 0
    seconds: float = 0.0
    quality: float = 0.0
    skipped: bool = False

    @property
    def bpp(self) -> float:
        """Bits per pixel of the written file."""
        return 8 * self.bytes_out / max(1, self.width * self.height)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        if self.error is not None:
            return {"input": self.job.source, "output": self.job.target, "error": str(self.error)}
        skipped = {"skipped": True} if self.skipped else {}
        return skipped | {
            "input": self.job.source,
            "output": self.job.target,
            "width": self.width,
            "height": self.height,
            "quality": self.quality,
            "bytes": self.bytes_out,
            "bpp": self.bpp,
            "ratio": self.raw / max(1, self.bytes_out),
            "seconds": self.seconds,
        }


# ---- planning ---------------------------------------------------------------------------------------------------


def plan(
    inputs: Sequence[str],
    output: str | None,
    suffixes: Set[str],
    new_suffix: str | Callable[[Path], str],
) -> list[Job]:
    """Pairs each input file with its output.

    One input file may name its output file. Several, or a folder, go to a folder, which keeps the
    tree below each input folder. Without `output` each stands beside its input. The new suffix may
    depend on the input.

    Raises:
        OptionError: where two inputs would have the same output, a file is named for several, or
            a name is empty.
        ImageError: where an input folder holds no fitting file.
    """
    if "" in inputs or output == "":
        raise OptionError("a file name is empty; '.' is the current folder")
    named = output is not None or inputs[0] == STREAM
    if is_single(inputs) and named and not _means_folder(output):
        return _without_collisions([Job(inputs[0], output or STREAM)])
    if STREAM in inputs or (output == STREAM):
        raise OptionError("'-' stands for one input and one output; it does not go with several")
    if output is not None and _looks_like_file(output):
        raise OptionError(f"{output}: several inputs, or a folder, need a folder to go to")
    jobs = []
    for name in inputs:
        for file, relative in _files(Path(name), suffixes):
            place = file if output is None else Path(output) / relative
            suffix = new_suffix if isinstance(new_suffix, str) else new_suffix(file)
            jobs.append(Job(str(file), str(place.with_suffix(suffix))))
    return _without_collisions(jobs)


def image_suffix(path: Path) -> str:
    """How the name of a decoded file ends where nobody says it: .tif for what was a GeoTIFF."""
    from ..container import Kind, Reader

    with suppress(OSError, ValueError, FormatError), path.open("rb") as file:
        header = Reader(file).header
        if header.mode == "BANDS" or Kind.GEO in header.kinds:
            return ".tif"
    return ".png"


def is_single(inputs: Sequence[str]) -> bool:
    """Whether a call is about one file: not several, nor a folder, however much is in it."""
    return len(inputs) == 1 and not Path(inputs[0]).is_dir()


def _means_folder(output: str | None) -> bool:
    if output is None or output == STREAM:
        return False
    return output.endswith(("/", os.sep)) or Path(output).is_dir()


def _looks_like_file(output: str) -> bool:
    from ..images import IMAGE_SUFFIXES

    if _means_folder(output):
        return False
    return Path(output).exists() or Path(output).suffix.lower() in IMAGE_SUFFIXES | DMEN_SUFFIXES


def _files(path: Path, suffixes: Set[str]) -> list[tuple[Path, Path]]:
    """Files of an input, each with its path below it."""
    if not path.is_dir():
        return [(path, Path(path.name))]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
    if not found:
        raise ImageError(f"{path}: no file here ends in {', '.join(sorted(suffixes))}")
    return [(p, p.relative_to(path)) for p in found]


def _without_collisions(jobs: Iterable[Job]) -> list[Job]:
    """The jobs, each once; refuses two inputs with one output, and an output over its input."""
    taken: dict[str, tuple[str, Job]] = {}
    for job in jobs:
        # Unlike Path.resolve, realpath says nothing of links that go in a circle: opening them does.
        source, target = (
            name if name == STREAM else os.path.realpath(name) for name in (job.source, job.target)
        )
        other_source, other = taken.setdefault(target, (source, job))
        if other_source != source:
            raise OptionError(f"{other.source} and {job.source} would both become {job.target}")
        if target == source != STREAM:
            raise OptionError(f"{job.target}: the output would replace the input")
    return [job for _, job in taken.values()]


# ---- doing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """What is done with each job, in a form that another process can be sent.

    Attributes:
        action: :func:`encode_job`, :func:`decode_job`, or a function of a module that takes the same.
        options: the named arguments of it.
    """

    action: Callable[..., Result]
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, job: Job, **more: Any) -> Result:
        """Does one job."""
        return self.action(job, **self.options, **more)


def run(
    jobs: Sequence[Job],
    work: Callable[[Job], Result],
    *,
    processes: int = 1,
    scheduler: str | None = None,
) -> Generator[Result]:
    """Does each job; one that fails does not stop the others.

    Args:
        jobs: what is to be done; see :func:`plan`.
        work: how; a :class:`Work` where other processes do it.
        processes: of this machine that share the jobs; see :mod:`dmecodec.many.jobs`.
        scheduler: address of a Dask scheduler whose workers do it; see :mod:`dmecodec.many.cluster`.

    Yields:
        The results: of one process in the order of the jobs, of several as they come.

    Raises:
        OptionError: processes and scheduler are both given, or fewer than one process.
        DependencyError, WorkerError: a scheduler is given, and Dask or it is not here.
    """
    check_processes(processes, scheduler)
    if scheduler is not None:
        from . import cluster

        yield from cluster.run(jobs, cast(Work, work), scheduler)
    elif min(processes, len(jobs)) > 1:
        from . import jobs as local

        yield from local.run(jobs, cast(Work, work), min(processes, len(jobs)))
    else:
        yield from run_here(jobs, work)


def check_processes(processes: int, scheduler: str | None) -> None:
    """Refuses numbers of processes that make no sense.

    Raises:
        OptionError: as :func:`run`.
    """
    if processes < 1:
        raise OptionError(f"jobs {processes}: must be at least 1")
    if scheduler is not None and processes > 1:
        raise OptionError("give --jobs or --dask, not both")


def run_here(jobs: Iterable[Job], work: Callable[[Job], Result]) -> Iterator[Result]:
    """Does each job in this process, in their order."""
    for job in jobs:
        began = time.perf_counter()
        try:
            with _naming_who_had_no_memory(job.source):
                result = work(job)
        except DmecodecError as error:
            result = Result(job, error=error, seconds=time.perf_counter() - began)
        yield result


@contextmanager
def _naming_who_had_no_memory(name: str) -> Iterator[None]:
    """One file for which there is too little memory is told like one that is damaged, and the rest goes on."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ImageError(f"{name}: {OUT_OF_MEMORY}") from error


def is_out_of_memory(error: Exception) -> bool:
    """Also knows torch's, on the CPU and on GPUs, which are but RuntimeErrors."""
    text = str(error)
    known = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, MemoryError) or any(words in text for words in known)


@contextmanager
def _output(target: str, overwrite: bool) -> Iterator[BinaryIO]:
    """A file that appears when it is complete, its folder as well, or standard output."""
    if target != STREAM:
        with _folder(target), replace_file(target, overwrite=overwrite) as file:
            yield file
        return
    if sys.stdout is None:
        raise OutputError("standard output is closed")
    buffer = io.BytesIO()  # nothing half-written there, either
    yield buffer
    try:
        sys.stdout.buffer.write(buffer.getbuffer())
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {error.strerror}") from error


@contextmanager
def _output_path(target: str, overwrite: bool) -> Iterator[Path]:
    """A name for a file that appears when it is complete, its folder as well."""
    with _folder(target), replace_path(target, overwrite=overwrite) as path:
        yield path


@contextmanager
def _folder(target: str) -> Iterator[None]:
    """Makes the folder of an output; what was made goes again when the block fails."""
    folder = Path(target).parent
    above = (folder, *folder.parents)
    made = [part for part in above if not os.path.exists(part)]  # noqa: PTH110  (never raises)
    try:
        if made:
            _make(folder)
        yield
    except BaseException:
        for part in made:
            with suppress(OSError):  # another job's output is in it
                part.rmdir()
        raise


@contextmanager
def folders_of(jobs: Iterable[Job]) -> Iterator[None]:
    """Makes the folders of all outputs; those that are empty in the end go again.

    Several processes need this: one whose file fails would remove a folder that another is about
    to write into.
    """
    folders = {Path(job.target).parent for job in jobs}
    above = {part for folder in folders for part in (folder, *folder.parents)}
    made = [part for part in above if not os.path.exists(part)]  # noqa: PTH110  (never raises)
    for folder in folders:
        with suppress(OutputError):  # each job tells of it
            _make(folder)
    try:
        yield
    finally:
        for part in sorted(made, reverse=True):  # the inner ones first
            with suppress(OSError):
                part.rmdir()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error


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
        skip_done: leaves an output as it is that :func:`dmecodec.many.done.is_encoded`, and replaces any
            other.
        restarted: a first attempt was cut short, perhaps after it had put the output in place.
        options: the rest.

    Raises:
        DmecodecError: whatever is wrong, the input's name in its message.
    """
    from .. import api
    from ..container import Reader
    from . import done

    if skip_done and done.is_encoded(job, **options):
        return replace(_encoded(job), skipped=True)
    if restarted and not overwrite and _exists(job.target):
        return _encoded(job)
    api.prepare(**{key: options[key] for key in _PREPARED if options.get(key) is not None})
    began = time.perf_counter()  # reading the weights is not encoding
    with _output(job.target, overwrite or skip_done) as file:
        with _naming(job.source):
            data = api.encode(_source(job.source), **options)
        file.write(data)
    result = _read_result(job, Reader(data), len(data))
    return replace(result, seconds=time.perf_counter() - began)


_PREPARED = ("quality", "model", "device", "tile")


def _encoded(job: Job) -> Result:
    """The result of a job whose output is there, as the output tells it."""
    from ..container import Reader

    with Path(job.target).open("rb") as file:
        reader = Reader(file)
        return _read_result(job, reader, reader.size)


def _read_result(
    job: Job, reader: Reader, bytes_out: int, window: tuple[int, int, int, int] | None = None
) -> Result:
    from ..bands import layout_of

    return _result(job, reader.header, layout_of(reader).raw_bytes, bytes_out, window)


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
        skip_done: leaves an output as it is that :func:`dmecodec.many.done.is_decoded`. Another one is
            refused without `overwrite`: it may be the original.
        window, profile, geo: as for :meth:`dmecodec.File.save`.
        bounds: west, south, east, north in the file's CRS, instead of a window.
        device, model: as for :func:`dmecodec.decode`.

    Raises:
        DmecodecError: whatever is wrong, the input's name in its message.
    """
    from .. import api
    from ..images import output_format
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
        place = _output_path if by_name else _output
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
    from ..container import Reader

    with Path(job.source).open("rb") as file:
        return _read_result(job, Reader(file), Path(job.target).stat().st_size, window)


def _source(name: str) -> BinaryIO | str:
    """What a name stands for: itself, or all of standard input."""
    if name != STREAM:
        return name
    if sys.stdin is None:
        raise ImageError("standard input is closed")
    try:
        return io.BytesIO(sys.stdin.buffer.read())
    except OSError as error:
        raise ImageError(f"standard input cannot be read ({error.strerror})") from error


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
                _naming_who_had_no_memory(name),
                api.File(_source(name), device=device, model=model) as file,
            ):
                image = None if original is None else _source(original)
                return file.verify(deep=deep, original=image)
        from ..container import Reader

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
