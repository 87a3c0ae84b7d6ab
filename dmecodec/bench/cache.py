"""Results of earlier runs, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from ..base.files import replace_file
from ..base.processor import cpu_info
from ..errors import OutputError

_VERSION = 1
"""Rises when results mean something else than before."""


class Cache:
    """A folder with one small JSON file a result; the name of a file is the digest of what the result depends on.

    Args:
        folder: made when the first result is stored; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, *key: object) -> dict[str, Any] | None:
        """The result that was stored under a key, or None if there is none or its file is damaged.

        Args:
            key: whatever the result depends on; the processor and the number of its threads belong to every key.
        """
        path = self._path(key)
        if path is None:
            return None
        with suppress(OSError, ValueError, KeyError, TypeError):
            entry = json.loads(path.read_bytes())
            if entry["sha256"] == _digest(entry["result"]):
                return entry["result"]
        return None

    def put(self, result: dict[str, Any], *key: object) -> None:
        """Stores a result under a key.

        Raises:
            OutputError: the folder cannot be written to.
        """
        path = self._path(key)
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{path.parent}: cannot be made: {error.strerror or error}") from error
        with replace_file(path, overwrite=True) as file:
            file.write(json.dumps({"result": result, "sha256": _digest(result)}).encode())

    def _path(self, key: tuple[object, ...]) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / f"{_digest([_VERSION, _machine(), *key])}.json"


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@cache
def _machine() -> str:
    """What times depend on: they are not those of another machine."""
    import torch

    info = cpu_info()
    return f"{info.get('model name', '')} {info.get('flags', '')} {torch.get_num_threads()}"
