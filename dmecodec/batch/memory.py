"""Too little memory, as an error of the one file that it is for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ImageError

OUT_OF_MEMORY = "not enough memory; a smaller --tile or --window may help"


@contextmanager
def naming_who_had_no_memory(name: str) -> Iterator[None]:
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
