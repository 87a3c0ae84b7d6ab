"""Where models are, and which is which: names, paths and hashes. Standard library only."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import ModelError, OptionError
from ..format.limits import MODEL_BYTES

MANIFEST = "manifest.json"
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Entry:
    """One model file.

    Attributes:
        name: how users call it.
        path: the safetensors file.
        sha256: of the file, as hexadecimal digits.
        qualities: lowest and highest.
        parameters: how many numbers it holds.
        default: whether encode uses it where none is named.
    """

    name: str
    path: Path
    sha256: str
    qualities: tuple[float, float] = (0.0, 7.0)
    parameters: int | None = None
    default: bool = False

    @property
    def id(self) -> bytes:
        """The bytes that a `.dmen` file holds."""
        return bytes.fromhex(self.sha256)[:MODEL_BYTES]

    def has_id(self, model_id: bytes) -> bool:
        """Whether a file with this id, which is shorter in files of some versions, may be of this model."""
        return self.id.startswith(model_id)


def folders() -> list[Path]:
    """Folders of models: those of DMECODEC_MODELS, then the package's own."""
    extra = [Path(p) for p in os.environ.get("DMECODEC_MODELS", "").split(os.pathsep) if p]
    package = Path(__file__).resolve().parents[1]
    own = (package / "models", package.parent / "models")  # an installed wheel; a checkout
    return extra + [folder for folder in own if (folder / MANIFEST).is_file()]


def entries() -> list[Entry]:
    """Every model that can be found, first come first; those of the package by their manifest.

    Raises:
        ModelError: a folder of DMECODEC_MODELS is none, or a manifest cannot be read.
    """
    found: dict[str, Entry] = {}
    for folder in folders():
        for entry in _entries_of(folder):
            known = found.setdefault(entry.sha256, entry)
            if not known.path.is_file():  # listed there, but only here
                found[entry.sha256] = replace(known, path=entry.path)
    return list(found.values())


def _entries_of(folder: Path) -> list[Entry]:
    if (folder / MANIFEST).is_file():
        return _listed(folder, read_manifest(folder))
    if not folder.is_dir():
        raise ModelError(f"{folder}: named in DMECODEC_MODELS, but not a folder")
    return [_loose(path) for path in sorted(folder.glob("*" + SUFFIX))]


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder of models, its fields checked; one without models where there is none.

    Raises:
        ModelError: where it cannot be read.
    """
    path = folder / MANIFEST
    if not path.exists():
        return {"models": []}
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        has_default = any(entry.default for entry in _listed(folder, content))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: not a readable list of models") from error
    if not has_default:
        raise ModelError(f"{path}: its default is none of its models")
    return content


def _listed(folder: Path, content: dict[str, Any]) -> list[Entry]:
    return [_entry(folder, item, content["default"]) for item in content["models"]]


def _entry(folder: Path, item: dict[str, Any], default: str) -> Entry:
    if len(bytes.fromhex(item["sha256"])) != hashlib.sha256().digest_size:
        raise ValueError("not a SHA-256")
    low, high = map(float, item["qualities"])
    name, parameters = item["name"], item["parameters"]
    if not isinstance(name, str) or not isinstance(parameters, (int, type(None))):
        raise ValueError("not a name, or not a number")
    path = folder / item["file"]
    return Entry(name, path, item["sha256"], (low, high), parameters, name == default)


def _loose(path: Path) -> Entry:
    return Entry(path.name.removesuffix(SUFFIX), path, file_hash(path))


def file_hash(path: Path) -> str:
    """SHA-256 of a file, remembered as long as the file does not change.

    Raises:
        ModelError: where it cannot be read.
    """
    try:
        status = path.stat()
        return _file_hash(path, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error


@lru_cache(maxsize=64)
def _file_hash(path: Path, _changed: int, _size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def find(model: str | os.PathLike[str] | None = None) -> Entry:
    """The model that a user means.

    Args:
        model: a name, a path to a model file, or None for the default.

    Raises:
        ModelError: where there is no such model.
        OptionError: where it is neither a name nor a path.
    """
    if model is not None and not isinstance(model, (str, os.PathLike)):
        raise OptionError(f"model {model!r}: must be a name or a path")
    known = entries()
    if model is None:
        for entry in known:
            if entry.default:
                return entry
        raise ModelError("no model is installed; set DMECODEC_MODELS to a folder that has one")
    for entry in known:
        if entry.name == str(model):
            return entry
    if os.path.isfile(model):  # noqa: PTH113  (false for a name too long, where Path raises)
        return _loose(Path(model))
    names = ", ".join(entry.name for entry in known) or "none"
    raise ModelError(f"{model}: no such model; known by name: {names}; or give a path")


def find_id(model_id: bytes) -> Entry:
    """The model that a file was made with.

    Raises:
        ModelError: where it is not among the known ones, or several of them have this id.
    """
    found = [entry for entry in entries() if entry.has_id(model_id)]
    if len(found) > 1:
        names = " and ".join(str(entry.path) for entry in found)
        raise ModelError(f"{names} have the same id {model_id.hex()}; name one with --model")
    if found:
        return found[0]
    raise ModelError(
        f"made with model {model_id.hex()}, which is not here; add its folder to DMECODEC_MODELS "
        "or name it with --model"
    )


def survey() -> list[dict[str, Any]]:
    """Every model that can be found, its file compared with its manifest, as plain values.

    Raises:
        ModelError: as :func:`entries`.
    """
    found: list[dict[str, Any]] = []
    for entry in entries():
        try:
            check(entry)
            intact = True
        except ModelError:
            intact = False
        found.append(
            {
                "name": entry.name,
                "id": entry.id.hex(),
                "sha256": entry.sha256,
                "path": str(entry.path),
                "parameters": entry.parameters,
                "qualities": list(entry.qualities),
                # Each manifest has a default of its own; the first one counts.
                "default": entry.default and not any(other["default"] for other in found),
                "intact": intact,
            }
        )
    return found


def check(entry: Entry) -> None:
    """Compares a model file with the hash that its manifest gives.

    Raises:
        ModelError: where they differ.
    """
    if file_hash(entry.path) != entry.sha256:
        raise ModelError(f"{entry.path}: damaged: not the file that its manifest describes")
