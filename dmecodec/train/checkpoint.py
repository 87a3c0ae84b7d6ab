"""The state of a run in one safetensors file, replaced atomically: a kill at any moment leaves a complete state."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from ..base.files import replace_file
from ..errors import ModelError

STATE_NAME = "state.safetensors"


@dataclass
class Progress:
    """The progress of a run.

    Attributes:
        stage: 1 (shortcut and entropy model), 2 (everything) or 3 (all but the encoder).
        step: number of steps in this stage.
        minutes: training time in this stage.
        total_steps, total_minutes: sums over all stages.
    """

    stage: int = 1
    step: int = 0
    minutes: float = 0.0
    total_steps: int = 0
    total_minutes: float = 0.0


def save(folder: Path, tensors: dict[str, Tensor], progress: Progress, config: str) -> None:
    """Writes the state of a run, replacing an earlier one.

    Args:
        folder: folder of the run; it is created if necessary.
        tensors: weights, averages and optimizer states, by name.
        progress, config: stored as metadata; `config` is JSON.

    Raises:
        OutputError: the state cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"progress": json.dumps(asdict(progress)), "config": config}
    data = save_tensors({k: v.detach().contiguous() for k, v in tensors.items()}, metadata)
    with replace_file(folder / STATE_NAME, overwrite=True) as file:
        file.write(data)


def load(folder: Path) -> tuple[dict[str, Tensor], Progress, str]:
    """Reads the tensors, progress and configuration (JSON) of a run.

    Raises:
        ModelError: there is no state, or it cannot be read.
    """
    path = folder / STATE_NAME if folder.is_dir() else folder
    if not path.is_file():
        raise ModelError(f"{folder}: no training run here (no {STATE_NAME})")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        progress, config = Progress(**json.loads(metadata["progress"])), metadata["config"]
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: not the state of a training run") from error
    return tensors, progress, config


def with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`; the prefix is removed."""
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def add_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The inverse of :func:`with_prefix`."""
    return {prefix + k: torch.as_tensor(v) for k, v in tensors.items()}
