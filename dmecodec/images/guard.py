"""Errors of an image as one line that names it, and Pillow's calls without its limit on pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from ..base.fork import Lock
from ..errors import DependencyError, DmecodecError, ImageError, UnreadableError


@contextmanager
def named(name: str) -> Iterator[None]:
    """Gives errors of an image its name, and makes their text one line."""
    try:
        yield
    except (ImageError, DependencyError) as error:
        if error.filename is not None:
            raise
        raise type(error)(" ".join(str(error).split()), filename=name) from error.__cause__
    except MemoryError:
        raise ImageError("not enough memory to hold this image", filename=name) from None


def run_pillow(action: Callable[[], Any], kind: str) -> Any:
    """Runs a step of Pillow's. Every exception, which Pillow may raise of any type, becomes an ImageError.

    Callers use the plugins' own classes, not `Image.open`, so Pillow's limit on pixels does not apply. If a plugin
    checks it by itself, the call is repeated without the limit.
    """
    try:
        try:
            return action()
        except Image.DecompressionBombError:
            with _without_pixel_limit():
                return action()
    except (DmecodecError, MemoryError):
        raise
    except Exception as error:  # OSError, SyntaxError, struct.error, ...: Pillow promises nothing
        raise UnreadableError(f"the {kind} data is truncated, damaged or of an unsupported kind ({error})") from error


_limit_lock = Lock()
_limit_users = 0
_limit: int | None = None


@contextmanager
def _without_pixel_limit() -> Iterator[None]:
    """Lifts Pillow's limit on pixels; the last thread to leave puts it back."""
    global _limit_users, _limit
    with _limit_lock:
        if _limit_users == 0:
            _limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _limit_users += 1
    try:
        yield
    finally:
        with _limit_lock:
            _limit_users -= 1
            if _limit_users == 0:
                Image.MAX_IMAGE_PIXELS = _limit
