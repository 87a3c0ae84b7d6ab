"""Atomic writing: a file appears complete or not at all."""

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

STREAM = "-"
"""Stands for standard input or output where a file name is expected."""
PROCESS = secrets.token_hex(8)
"""Token in the hidden names of this process. If it is killed, another process can remove its leftovers."""


@contextmanager
def replace_path(path: str | os.PathLike[str], *, overwrite: bool) -> Iterator[Path]:
    """Yields a hidden name for a file that is renamed to `path` once it is complete.

    The hidden file lies in the same folder. It is renamed when the `with` block ends, and removed if the block
    raises any exception, Ctrl-C included. A file that exists under `path` is untouched until then. Companions of the
    hidden name (see :func:`companion`) become those of `path` just before.

    Args:
        path: the target; a symbolic link is followed.
        overwrite: whether an existing file may be replaced; its permissions are kept.

    Yields:
        The hidden name. The caller creates the file there.

    Raises:
        OutputError: the file exists and `overwrite` is false (checked at the start, and again without a race at the
            end), its folder is missing or read-only, or the disk is full.
    """
    try:
        target = Path(os.path.realpath(os.fsdecode(path)))
    except (OSError, ValueError) as error:  # a null byte; a loop of links
        raise OutputError(f"cannot write {os.fsdecode(path)!r}: {error}") from None
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
    """A new name for an incomplete file or folder; :func:`remove_leftovers` recognises it."""
    return folder / f"{_PREFIX}{PROCESS}-{secrets.token_hex(4)}{_SUFFIX}"


def remove_leftovers(path: str | os.PathLike[str], process: str) -> None:
    """Removes the incomplete files that a killed process left beside `path`.

    Args:
        path: the target of that process.
        process: :data:`PROCESS` of that process, or "*" for any, if no other process writes in this folder.
    """
    with suppress(OSError, ValueError):
        for hidden in Path(os.path.realpath(path)).parent.glob(f"{_PREFIX}{process}-*{_SUFFIX}*"):
            if hidden.is_dir() and not hidden.is_symlink():
                shutil.rmtree(hidden, ignore_errors=True)
            else:
                hidden.unlink()


@contextmanager
def replace_file(path: str | os.PathLike[str], *, overwrite: bool) -> Iterator[BinaryIO]:
    """As :func:`replace_path`, but yields the hidden file, open for reading and writing bytes, and syncs it to disk."""
    with replace_path(path, overwrite=overwrite) as hidden:
        # Mode 0o666 less the umask: the usual permissions of a new file.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            file = cast(BinaryIO, os.fdopen(os.open(hidden, flags, 0o666), "w+b"))
        except PermissionError:
            raise OutputError(f"{hidden.parent}: no permission to write in this folder") from None
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())


class _StandardInput(io.BytesIO):
    """What was read from standard input, with a name for error messages."""

    name = "standard input"


def standard_input() -> BinaryIO:
    """Reads standard input to its end.

    Raises:
        ImageError: standard input is closed, or cannot be read.
    """
    if sys.stdin is None:
        raise ImageError("standard input is closed")
    try:
        return _StandardInput(sys.stdin.buffer.read())
    except OSError as error:
        raise ImageError(f"standard input cannot be read ({error.strerror})") from error


@contextmanager
def writable_path(target: BinaryIO | str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a path for writers that need one; if `target` is an open file, the bytes are copied to it afterwards.

    An open file gets no companions: what needs them is left out.

    Raises:
        OutputError: the path cannot be written.
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
    """Refuses, before any work is done, a target that cannot be written."""
    try:
        if target.is_dir():
            raise OutputError(f"{target} is a folder; name a file")
        if not target.parent.is_dir():
            raise OutputError(f"cannot write {target}: there is no folder {target.parent}")
        if not target.exists():
            return
        if not target.is_file():
            raise OutputError(f"{target} is not a regular file and cannot be replaced; name another")
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
            hidden.rename(target)  # on Windows this never replaces
        else:
            os.link(hidden, target)  # the hidden name is unlinked by the caller
    except FileExistsError:
        raise _exists(target) from None
    except OSError:
        # The file system has no hard links: create an empty target, then rename over it.
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
