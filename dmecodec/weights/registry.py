"""Finding models: their names, paths and hashes. It imports the standard library only, so that it is fast."""

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
        name: the name in options and lists.
        path: path of the safetensors file.
        sha256: of the file, as hexadecimal digits.
        qualities: lowest and highest.
        parameters: number of parameters; None if it is not known.
        default: whether it is the default of its manifest.
    """

    name: str
    path: Path
    sha256: str
    qualities: tuple[float, float] = (0.0, 7.0)
    parameters: int | None = None
    default: bool = False

    @property
    def id(self) -> bytes:
        """The id in a `.dmen` file: the first bytes of the SHA-256."""
        return bytes.fromhex(self.sha256)[:MODEL_BYTES]

    def has_id(self, model_id: bytes) -> bool:
        """Whether a file with this id, which may be shortened, is of this model."""
        return self.id.startswith(model_id)


def folders() -> list[Path]:
    """The folders of models: those of DMECODEC_MODELS, then that of the package."""
    extra = [Path(p) for p in os.environ.get("DMECODEC_MODELS", "").split(os.pathsep) if p]
    package = Path(__file__).resolve().parents[1]
    own = (package / "models", package.parent / "models")  # an installed wheel; a checkout
    return extra + [folder for folder in own if (folder / MANIFEST).is_file()]


def entries() -> list[Entry]:
    """All models, in the order of their folders.

    Raises:
        ModelError: a path of DMECODEC_MODELS is no folder, or a manifest cannot be read.
    """
    by_hash: dict[str, Entry] = {}
    for folder in folders():
        for entry in _entries_of(folder):
            known = by_hash.setdefault(entry.sha256, entry)
            if not known.path.is_file():  # listed in an earlier folder, but the file is in this one
                by_hash[entry.sha256] = replace(known, path=entry.path)
    return list(by_hash.values())


def _entries_of(folder: Path) -> list[Entry]:
    if (folder / MANIFEST).is_file():
        return _listed(folder, read_manifest(folder))
    if not folder.is_dir():
        raise ModelError(f"{folder}: named in DMECODEC_MODELS, but not a folder")
    return [_unlisted(path) for path in sorted(folder.glob("*" + SUFFIX))]


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads and checks the manifest of a folder of models; without a manifest, its list of models is empty.

    Raises:
        ModelError: the manifest cannot be read, or has no default.
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
        raise ValueError("not a name, or not a number of parameters")
    path = folder / item["file"]
    return Entry(name, path, item["sha256"], (low, high), parameters, name == default)


def _unlisted(path: Path) -> Entry:
    return Entry(path.name.removesuffix(SUFFIX), path, file_hash(path))


def file_hash(path: Path) -> str:
    """SHA-256 of a file, cached until its time or size changes.

    Raises:
        ModelError: the file cannot be read.
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
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def find(model: str | os.PathLike[str] | None = None) -> Entry:
    """Finds a model by name or path.

    Args:
        model: a name, a path to a model file, or None for the default.

    Raises:
        ModelError: there is no such model.
        OptionError: the argument is neither a name nor a path.
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
    if os.path.isfile(model):  # noqa: PTH113  (Path raises if the name is too long)
        return _unlisted(Path(model))
    names = ", ".join(entry.name for entry in known) or "none"
    raise ModelError(f"{model}: no such model; known by name: {names}; or give a path")


def find_id(model_id: bytes) -> Entry:
    """Finds the model of a `.dmen` file.

    Args:
        model_id: the id in the file.

    Raises:
        ModelError: no model, or more than one, has this id.
    """
    matches = [entry for entry in entries() if entry.has_id(model_id)]
    if len(matches) > 1:
        names = " and ".join(str(entry.path) for entry in matches)
        raise ModelError(f"{names} have the same id {model_id.hex()}; name one with --model")
    if matches:
        return matches[0]
    raise ModelError(
        f"made with model {model_id.hex()}, which is not here; add its folder to DMECODEC_MODELS "
        "or name it with --model"
    )


def survey() -> list[dict[str, Any]]:
    """All models as plain values, with "intact": whether the file has the hash of its manifest.

    Raises:
        ModelError: as :func:`entries`.
    """
    rows: list[dict[str, Any]] = []
    for entry in entries():
        try:
            check(entry)
            intact = True
        except ModelError:
            intact = False
        rows.append(
            {
                "name": entry.name,
                "id": entry.id.hex(),
                "sha256": entry.sha256,
                "path": str(entry.path),
                "parameters": entry.parameters,
                "qualities": list(entry.qualities),
                # Each manifest has a default; the first one counts.
                "default": entry.default and not any(other["default"] for other in rows),
                "intact": intact,
            }
        )
    return rows


def check(entry: Entry) -> None:
    """Compares the hash of a model file with its manifest.

    Raises:
        ModelError: they differ.
    """
    if file_hash(entry.path) != entry.sha256:
        raise ModelError(f"{entry.path}: damaged: not the file that its manifest describes")
