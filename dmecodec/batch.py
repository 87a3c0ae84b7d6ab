"""Many files in one call: which output each input gets, and what became of it."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .errors import DmecodecError, FormatError, ImageError, OptionError, OutputError
from .files import replace_file

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
    """

    job: Job
    error: DmecodecError | None = None
    width: int = 0
    height: int = 0
    bytes_out: int = 0
    raw: int = 0
    seconds: float = 0.0
    quality: float = 0.0

    @property
    def bpp(self) -> float:
        """Bits per pixel of the written file."""
        return 8 * self.bytes_out / max(1, self.width * self.height)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        if self.error is not None:
            return {"input": self.job.source, "output": self.job.target, "error": str(self.error)}
        return {
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
    inputs: Sequence[str], output: str | None, suffixes: Set[str], new_suffix: str
) -> list[Job]:
    """Pairs each input file with its output.

    One input file may name its output file. Several, or a folder, go to a folder, which keeps the
    tree below each input folder. Without `output` each stands beside its input.

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
            jobs.append(Job(str(file), str(place.with_suffix(new_suffix))))
    return _without_collisions(jobs)


def is_single(inputs: Sequence[str]) -> bool:
    """Whether a call is about one file: not several, nor a folder, however much is in it."""
    return len(inputs) == 1 and not Path(inputs[0]).is_dir()


def _means_folder(output: str | None) -> bool:
    if output is None or output == STREAM:
        return False
    return output.endswith(("/", os.sep)) or Path(output).is_dir()


def _looks_like_file(output: str) -> bool:
    from .images import IMAGE_SUFFIXES

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


def run(jobs: Sequence[Job], work: Callable[[Job], Result]) -> Iterator[Result]:
    """Does each job; one that fails does not stop the others."""
    for job in jobs:
        began = time.perf_counter()
        try:
            yield work(job)
        except DmecodecError as error:
            yield Result(job, error=error, seconds=time.perf_counter() - began)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            failed = ImageError(f"{job.source}: {OUT_OF_MEMORY}")
            yield Result(job, error=failed, seconds=time.perf_counter() - began)


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
    buffer = io.BytesIO()  # nothing half-written there, either
    yield buffer
    try:
        sys.stdout.buffer.write(buffer.getbuffer())
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {error.strerror}") from error


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


def encode_job(job: Job, *, overwrite: bool, **options: Any) -> Result:
    """Encodes one file; `options` are those of :func:`dmecodec.encode`.

    Raises:
        DmecodecError: whatever is wrong, the input's name in its message.
    """
    from . import api
    from .container import Reader

    began = time.perf_counter()
    with _output(job.target, overwrite) as file:
        try:
            data = api.encode(_source(job.source), **options)
        except DmecodecError as error:
            raise _named(job.source, error) from error
        file.write(data)
    header = Reader(data).header
    return Result(
        job,
        width=header.width,
        height=header.height,
        bytes_out=len(data),
        raw=header.width * header.height * len(header.mode),
        seconds=time.perf_counter() - began,
        quality=header.quality / 32,
    )


def decode_job(
    job: Job,
    *,
    overwrite: bool,
    window: tuple[int, int, int, int] | None = None,
    device: str = "auto",
    model: str | None = None,
) -> Result:
    """Decodes one file to an image file, by its suffix; standard output gets PNG.

    Raises:
        DmecodecError: whatever is wrong, the input's name in its message.
    """
    from . import api
    from .images import output_format

    format = "PNG" if job.target == STREAM else output_format(job.target)
    with _output(job.target, overwrite) as out:
        try:
            with api.File(_source(job.source), device=device, model=model) as file:
                file.load_model()
                began = time.perf_counter()  # reading the weights is not decoding
                file.save(out, format=format, window=window)
                header = file.header
        except DmecodecError as error:
            raise _named(job.source, error) from error
        written = out.tell()
    width, height = window[2:] if window else (header.width, header.height)
    return Result(
        job,
        width=width,
        height=height,
        bytes_out=written,
        raw=width * height * len(header.mode),
        seconds=time.perf_counter() - began,
        quality=header.quality / 32,
    )


def _source(name: str) -> BinaryIO | str:
    return io.BytesIO(sys.stdin.buffer.read()) if name == STREAM else name


def verify_file(
    name: str,
    *,
    deep: bool,
    device: str = "auto",
    model: str | None = None,
    original: str | None = None,
) -> int | None:
    """Checks one file; see :meth:`dmecodec.File.verify`.

    Returns:
        With an original, the largest difference of a sample from it, in levels.

    Raises:
        DmecodecError: whatever is wrong, the file's name in its message.
    """
    try:
        if deep or original is not None:
            from . import api

            with api.File(_source(name), device=device, model=model) as file:
                return file.verify(deep=deep, original=original)
        from .container import Reader

        with Path(name).open("rb") if name != STREAM else sys.stdin.buffer as stream:
            Reader(io.BytesIO(stream.read()) if name == STREAM else stream).verify()
        return None
    except OSError as error:
        raise FormatError(f"{name}: cannot be read ({error.strerror})") from error
    except DmecodecError as error:
        raise _named(name, error) from error
