"""What is done with each job, and how its errors are reported."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ..base.files import STREAM
from ..errors import DmecodecError, ImageError, InternalError
from .job import Job, Result

OUT_OF_MEMORY = "not enough memory; a smaller --tile or --window may help"


@dataclass(frozen=True)
class Work:
    """What is done with each job, in a form that another process can be sent.

    Attributes:
        action: a function of :mod:`dmecodec.batch.actions`, or of another module that takes the same.
        options: its named arguments.
        threads: that code in the process that does it; None is as it is there.
    """

    action: Callable[..., Result]
    options: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None

    def __call__(self, job: Job) -> Result:
        """Does one job."""
        use_threads(self.threads)
        return self.action(job, **self.options)

    def restarted(self) -> Work:
        """The same after an attempt that was cut short, for a job whose output did not exist before it."""
        return replace(self, options={**self.options, "restarted": True})

    def on_threads(self, threads: int | None) -> Work:
        """The same on so many threads."""
        return replace(self, threads=threads)


def use_threads(threads: int | None) -> None:
    """As :func:`dmecodec.set_threads`; None changes nothing, and imports no torch."""
    if threads is not None:
        from ..base.threads import set_threads

        set_threads(threads)


def attempt(job: Job, work: Callable[[Job], Result]) -> Result:
    """Does a job; any exception but Ctrl-C and the like becomes the error of its result."""
    began = time.perf_counter()
    try:
        with errors_named(job.source):
            return work(job)
    except DmecodecError as error:
        # Results are kept until the end, and the frames of a traceback would keep their pixels in memory.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        return Result(job, error=error, seconds=time.perf_counter() - began)


@contextmanager
def errors_named(name: str) -> Iterator[None]:
    """Makes every exception an error about a file.

    Args:
        name: the file, or "-".

    Raises:
        DmecodecError: with its file name; an :class:`InternalError` for what is not raised on purpose.
    """
    filename = "standard input" if name == STREAM else name
    try:
        yield
    except DmecodecError as error:
        error.filename = error.filename or filename
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise ImageError(OUT_OF_MEMORY, filename=filename) from error
        message = " ".join(f"internal error: {type(error).__name__}: {error}".split())
        raise InternalError(message, filename=filename, traceback=traceback.format_exc()) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out. torch raises a RuntimeError then, on the CPU and on GPUs."""
    known = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in known)
    )
