"""Where outputs go: whole files or none, and the folders that they need."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..base.files import STREAM, replace_file, replace_path
from ..errors import OutputError
from .job import Job


def exists(name: str) -> bool:
    """Whether there is a file or folder of this name; "-" is none."""
    return name != STREAM and os.path.exists(name)  # noqa: PTH110  (never raises)


@contextmanager
def output(target: str, overwrite: bool) -> Iterator[BinaryIO]:
    """A file that appears when it is complete, or standard output, which is written at the end."""
    if target != STREAM:
        _make_folder(Path(target).parent)
        with replace_file(target, overwrite=overwrite) as file:
            yield file
        return
    if sys.stdout is None:
        raise OutputError("standard output is closed")
    buffer = io.BytesIO()
    yield buffer
    try:
        sys.stdout.buffer.write(buffer.getbuffer())
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {error.strerror}") from error


@contextmanager
def output_path(target: str, overwrite: bool) -> Iterator[Path]:
    """A hidden name for a file that gets its own name when it is complete."""
    _make_folder(Path(target).parent)
    with replace_path(target, overwrite=overwrite) as path:
        yield path


@contextmanager
def folders_of(jobs: Iterable[Job]) -> Iterator[None]:
    """Makes the folders of all outputs; removes those that it made and that are empty at the end."""
    folders = {Path(job.target).parent for job in jobs if job.target != STREAM}
    made = [part for folder in folders for part in (folder, *folder.parents) if not exists(str(part))]
    try:
        for folder in folders:
            with suppress(OutputError):  # each job reports it
                _make_folder(folder)
        yield
    finally:
        for part in sorted(set(made), reverse=True):  # the inner ones first
            with suppress(OSError, ValueError):
                part.rmdir()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error
