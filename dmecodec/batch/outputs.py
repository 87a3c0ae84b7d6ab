"""Where outputs go: whole files or none, and the folders that they need."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..base.files import replace_file, replace_path
from ..errors import OutputError
from .job import STREAM, Job


@contextmanager
def output(target: str, overwrite: bool) -> Iterator[BinaryIO]:
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
def output_path(target: str, overwrite: bool) -> Iterator[Path]:
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
