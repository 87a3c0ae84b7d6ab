"""Errors of an image as one line that names it, and Pillow's calls without its limit on pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from ..base.fork import Lock
from ..errors import DependencyError, DmecodecError, ImageError


@contextmanager
def named(name: str) -> Iterator[None]:
    """Puts the name of the image in front of the message of an error, as one line."""
    try:
        yield
    except (ImageError, DependencyError) as error:
        raise type(error)(" ".join(f"{name}: {error}".split())) from error.__cause__
    except MemoryError:
        raise ImageError(f"{name}: not enough memory to hold this image") from None


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
        raise ImageError(f"the {kind} data is truncated, damaged or of an unsupported kind ({error})") from error


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
