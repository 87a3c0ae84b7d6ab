"""Files to read by their names: paths, and URLs that fsspec opens."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO, cast

from ..errors import DependencyError, FormatError

_HEAD = 1 << 14
"""Bytes of a remote file that are fetched and kept at first: header and index of most files."""


def is_url(name: str | os.PathLike[str]) -> bool:
    """Whether a name is a URL such as `https://...` or `s3://...`, chains of fsspec included."""
    return isinstance(name, str) and re.match(r"([\w+.-]+::)*[a-zA-Z][\w+.-]+://", name) is not None


def full_name(name: str | os.PathLike[str]) -> str:
    """A name that another process finds the file by, whatever its folder."""
    return str(name) if is_url(name) else os.path.abspath(os.fsdecode(name))  # noqa: PTH100


def open_binary(name: str | os.PathLike[str]) -> BinaryIO:
    """Opens a file to be read in parts. Of a URL nothing but what is read is fetched, and the first 16 KiB.

    Raises:
        FormatError: it cannot be read.
        DependencyError: a URL, and fsspec or what it needs for this kind of URL is not installed.
    """
    try:
        return _open_url(str(name)) if is_url(name) else Path(os.fsdecode(name)).open("rb")
    except (OSError, ValueError) as error:  # ValueError: a null byte
        reason = getattr(error, "strerror", None) or error
        raise FormatError(f"cannot be read ({reason})", filename=os.fsdecode(name)) from error


def _open_url(url: str) -> BinaryIO:
    try:
        import fsspec

        return cast(BinaryIO, fsspec.open(url, "rb", block_size=_HEAD, cache_type="first").open())
    except ImportError as error:
        raise DependencyError(f'{url}: a URL needs {error.name or error}: pip install "dmecodec[remote]"') from error
    except (OSError, ValueError):
        raise
    except Exception as error:  # each kind of URL has its own
        raise FormatError(f"cannot be read ({error or type(error).__name__})", filename=url) from error
