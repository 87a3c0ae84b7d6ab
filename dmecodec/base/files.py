"""Files that appear whole or not at all."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from ..errors import ImageError, OutputError

PROCESS = secrets.token_hex(8)
"""Stands in the hidden names of this process, which another may remove when this one was killed."""


@contextmanager
def replace_path(path: str | os.PathLike[str], *, overwrite: bool) -> Iterator[Path]:
    """Hands out a hidden name for a file that takes the name `path` only once it is complete.

    The file stands in the same folder; it is synced to disk and renamed when the block ends, and
    removed when the block ends with any exception, Ctrl-C included. What stood under `path` before
    is untouched until then. Companions of the hidden name (see :func:`companion`) become those of `path`, just before.

    Args:
        path: where the file shall stand; a symbolic link is followed.
        overwrite: whether a file that is already there may be replaced; its permissions stay.

    Yields:
        The hidden name, under which the block makes the file.

    Raises:
        OutputError: the file exists and `overwrite` is false (checked at the start and again, free
            of races, at the end), its folder is missing or read-only, or the disk is full.
    """
    try:
        target = Path(os.path.realpath(os.fsdecode(path)))
    except (OSError, ValueError) as error:  # a null byte, a loop of links
        raise OutputError(f"cannot write a file of this name: {error}") from None
    _check_target(target, overwrite)
    hidden = hidden_name(target.parent)
    try:
        yield hidden
        with _placed_companions(hidden, target, overwrite):
            if overwrite:
                with suppress(OSError):  # there is no old file; a file system without permissions
                    hidden.chmod(target.stat().st_mode & 0o777)
                hidden.replace(target)
            else:
                _rename_new(hidden, target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        for left in [hidden, *companions(hidden)]:
            with suppress(OSError):
                left.unlink()


_PREFIX, _SUFFIX = ".dmecodec-", ".part"
_AFTER_NAME = (".aux.xml", ".msk")
"""Endings of companions that stand after the whole name of a file; others take the place of its suffix."""


def companion(path: Path, ending: str) -> Path:
    """The name of a file that belongs to another: `a.png.aux.xml` or `a.pgw` to `a.png`."""
    if ending in _AFTER_NAME or _is_hidden(path):
        return path.with_name(path.name + ending)
    return path.with_suffix(ending)


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(_PREFIX) and path.name.endswith(_SUFFIX)


def companions(hidden: Path) -> list[Path]:
    """The companions of a file on the way, which has no others beside it that begin with its name."""
    return sorted(hidden.parent.glob(f"{hidden.name}.*"))


@contextmanager
def _placed_companions(hidden: Path, target: Path, overwrite: bool) -> Iterator[None]:
    """Gives the companions their names; takes new ones away again where the block fails."""
    names = {beside: companion(target, beside.name.removeprefix(hidden.name)) for beside in companions(hidden)}
    new = [name for name in names.values() if not name.exists()]
    for name in names.values():
        if name not in new and not overwrite:
            raise _exists(name)
    try:
        for beside, name in names.items():
            beside.replace(name)
        yield
    except BaseException:
        for name in new:
            with suppress(OSError):
                name.unlink()
        raise


def hidden_name(folder: Path) -> Path:
    """A name for a file or folder on the way, which :func:`remove_leftovers` knows."""
    return folder / f"{_PREFIX}{PROCESS}-{secrets.token_hex(4)}{_SUFFIX}"


def remove_leftovers(path: str | os.PathLike[str], process: str) -> None:
    """Removes what a process that was killed has left of its work on `path`.

    Args:
        path: the target of that process.
        process: what :data:`PROCESS` was there, or "*" for any, where no other works.
    """
    with suppress(OSError, ValueError):
        for hidden in Path(os.path.realpath(path)).parent.glob(f"{_PREFIX}{process}-*{_SUFFIX}*"):
            if hidden.is_dir() and not hidden.is_symlink():
                shutil.rmtree(hidden, ignore_errors=True)
            else:
                hidden.unlink()


@contextmanager
def replace_file(path: str | os.PathLike[str], *, overwrite: bool) -> Iterator[BinaryIO]:
    """As :func:`replace_path`, but hands out the hidden file, open for reading and writing bytes."""
    with replace_path(path, overwrite=overwrite) as hidden:
        # Mode 0o666 less the umask: the permissions that any new file gets.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            file = cast(BinaryIO, os.fdopen(os.open(hidden, flags, 0o666), "w+b"))
        except PermissionError:
            raise OutputError(f"{hidden.parent}: no permission to write in this folder") from None
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())


def standard_input() -> BinaryIO:
    """All of standard input.

    Raises:
        ImageError: it is closed, or cannot be read.
    """
    if sys.stdin is None:
        raise ImageError("standard input is closed")
    try:
        return io.BytesIO(sys.stdin.buffer.read())
    except OSError as error:
        raise ImageError(f"standard input cannot be read ({error.strerror})") from error


@contextmanager
def path_for(target: BinaryIO | str | os.PathLike[str]) -> Iterator[Path]:
    """A name for those who can write under a name alone; an open file gets the bytes afterwards.

    An open file gets no companions: what needs them is left out.

    Raises:
        OutputError: a path that cannot be written.
    """
    if isinstance(target, (str, os.PathLike)):
        with replace_path(target, overwrite=True) as hidden:
            yield hidden
            with hidden.open("rb+") as file:
                os.fsync(file.fileno())
        return
    with tempfile.TemporaryDirectory(prefix="dmecodec-") as folder:
        path = hidden_name(Path(folder))
        yield path
        with path.open("rb") as file:
            shutil.copyfileobj(file, target, 1 << 20)


def _check_target(target: Path, overwrite: bool) -> None:
    """Refuses what can be known to fail before any work is done."""
    try:
        if target.is_dir():
            raise OutputError(f"{target} is a folder, not a file that can be written")
        if not target.parent.is_dir():
            raise OutputError(f"cannot write {target}: there is no folder {target.parent}")
        if not target.exists():
            return
        if not target.is_file():
            raise OutputError(f"{target} is not a regular file and cannot be replaced")
    except (OSError, ValueError) as error:  # a name too long, a folder without access
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write {target}: {reason}") from None
    if not overwrite:
        raise _exists(target)
    if not os.access(target, os.W_OK):
        raise OutputError(f"{target}: no permission to overwrite this file")


def _exists(target: Path) -> OutputError:
    return OutputError(f"{target} exists already; add --overwrite to replace it")


def _rename_new(hidden: Path, target: Path) -> None:
    """Renames `hidden` to `target`, failing if another process made `target` meanwhile."""
    try:
        if os.name == "nt":
            hidden.rename(target)  # never replaces there
        else:
            os.link(hidden, target)  # the hidden name is unlinked by the caller
    except FileExistsError:
        raise _exists(target) from None
    except OSError:
        # A file system without hard links: claim the name, then rename over our own claim.
        try:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            raise _exists(target) from None
        try:
            hidden.replace(target)
        except BaseException:
            with suppress(OSError):
                target.unlink()
            raise
