"""The scenes that are served: files that were named, and what lies in folders that were named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import OptionError

SUFFIX = ".dmen"


class Library:
    """Finds scenes by name: that of the file without its suffix, with the folders below the one that was named.

    Args:
        inputs: files and folders.

    Raises:
        OptionError: one does not exist, or two files have one name.
    """

    def __init__(self, inputs: Sequence[str]) -> None:
        self._folders: list[Path] = []
        self._files: dict[str, Path] = {}
        for path in map(Path, inputs):
            if path.is_dir():
                self._folders.append(path.resolve())
            elif not path.is_file():
                raise OptionError(f"{path}: no such file or folder")
            elif path.stem in self._files:
                raise OptionError(f"{path} and {self._files[path.stem]} would both be {path.stem}")
            else:
                self._files[path.stem] = path.resolve()

    def names(self) -> list[str]:
        """All scenes that are there now."""
        names = set(self._files)
        for folder in self._folders:
            below = (path.relative_to(folder).with_suffix("") for path in folder.rglob(f"*{SUFFIX}"))
            names |= {path.as_posix() for path in below}
        return sorted(name for name in names if self.find(name) is not None)

    def find(self, name: str) -> Path | None:
        """The file of a scene; None where there is none, or where it lies elsewhere, as behind a symbolic link."""
        if name in self._files:
            return self._files[name]
        for folder in self._folders:
            try:
                path = Path(os.path.realpath(folder / f"{name}{SUFFIX}"))
                if path.is_relative_to(folder) and path.is_file():
                    return path
            except (OSError, ValueError):  # too long, a null byte
                continue
        return None
