"""Which output each input gets."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence, Set
from contextlib import suppress
from pathlib import Path

from ..base.files import STREAM
from ..errors import FormatError, ImageError, OptionError
from .job import Job

DMEN_SUFFIXES = frozenset({".dmen"})


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
            jobs.append(Job(_name(file), _name(place.with_suffix(suffix))))
    return _without_collisions(jobs)


def image_suffix(path: Path) -> str:
    """How the name of a decoded file ends where nobody says it: .tif for what has a georeference."""
    from ..format.kinds import Kind
    from ..format.reader import Reader

    with suppress(OSError, ValueError, FormatError):
        if not path.is_file():  # what is read from a pipe is gone
            return ".png"
        with path.open("rb") as file:
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
    from ..images.headers import IMAGE_SUFFIXES

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


def _name(path: Path) -> str:
    """The path of a file, also of one that is called as standard input is."""
    return os.path.join(os.curdir, STREAM) if str(path) == STREAM else str(path)  # noqa: PTH118


def _as_one(name: str) -> str:
    """The same for all names of one file, also where capitals make no difference."""
    return name.casefold() if sys.platform in ("win32", "darwin") else name


def _real(name: str) -> str:
    """What a name stands for, however it is written."""
    try:
        return name if name == STREAM else os.path.realpath(name)
    except ValueError as error:
        raise OptionError(f"{name!r}: no file has such a name ({error})") from None


def _without_collisions(jobs: Iterable[Job]) -> list[Job]:
    """The jobs, each once; refuses two inputs with one output, and an output over its input."""
    taken: dict[str, tuple[str, Job]] = {}
    for job in jobs:
        # Unlike Path.resolve, realpath says nothing of links that go in a circle: opening them does.
        source, target = map(_real, (job.source, job.target))
        other_source, other = taken.setdefault(_as_one(target), (source, job))
        if other_source != source:
            raise OptionError(f"{other.source} and {job.source} would both become {job.target}")
        if target == source != STREAM:
            raise OptionError(f"{job.target}: the output would replace the input")
    return [job for _, job in taken.values()]
