"""Frozen models: from a file to the deployed graph and its tables, and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..base.device import exact_arithmetic
from ..base.fork import Lock
from ..entropy.rans import Tables
from ..errors import ModelError
from ..format.limits import MODEL_BYTES
from ..network.config import Config
from ..network.dmenet import DMENet
from ..network.exact import ExactConv
from ..network.parameters import INDEX_COUNT
from ..restoration.prior import filter_tables
from . import registry
from .known_answer import known_answer

FORMAT, VERSION = "dmecodec-model", "1"
TABLE_FIELDS = ("low", "length", "frequency")
EXACT, TABLES, TRAINING = "exact.", "tables.", "training."
"""Prefixes in a model file: integers of the exact path; tables of y and z; what only training reads."""


@dataclass(frozen=True)
class Model:
    """A frozen model on a device.

    Attributes:
        id: 8 bytes, first of the SHA-256 of its file.
        name: of the file, for messages.
        net: the deployed graph; its exact path lies on `exact_device` in `exact_dtype`.
        y_tables, z_tables: one table a scale index; one a channel of z.
        device: of the transforms.
        exact_device, exact_dtype: float32 on the CPU, float64 on CUDA.
    """

    id: bytes
    name: str
    net: DMENet
    y_tables: Tables
    z_tables: Tables
    device: torch.device
    exact_device: torch.device
    exact_dtype: torch.dtype

    @cached_property
    def stream_tables(self) -> Tables:
        """All tables of a Y stream: those of latents, then those of the restoration filter."""
        return self.y_tables.followed_by(filter_tables())


def exact_layers(net: DMENet) -> dict[str, ExactConv]:
    """Every layer of the exact path by name."""
    return {n: m for n, m in net.parameters_of_y.named_modules() if isinstance(m, ExactConv)}


def read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a model file.

    Raises:
        ModelError: where it is not one, or of a newer kind.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: not a readable model file") from error
    if metadata.get("format") != FORMAT:
        raise ModelError(f"{path}: not a frozen dmecodec model")
    if metadata.get("version") != VERSION:
        raise ModelError(f"{path}: made by a newer dmecodec; please upgrade")
    return tensors, metadata


def read_tables(tensors: dict[str, Tensor], name: str) -> Tables:
    """The tables `name` ("y" or "z") of a model file."""
    arrays = [tensors[f"{TABLES}{name}.{field}"].numpy() for field in TABLE_FIELDS]
    return Tables(*(array.astype(np.int32) for array in arrays))


def build(tensors: dict[str, Tensor], metadata: dict[str, str]) -> DMENet:
    """The deployed graph of a model file, on the CPU, in evaluation mode.

    Raises:
        LookupError, ValueError, TypeError, RuntimeError: where the file is damaged.
    """
    net = DMENet(Config.from_json(metadata["config"])).float()  # whatever the default dtype is
    layers = exact_layers(net)
    for name, layer in layers.items():
        prefix = f"{EXACT}{name}."
        layer.restore({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
    floats = {k: v.float() for k, v in tensors.items() if not k.startswith((EXACT, TABLES, TRAINING))}
    if not all(bool(torch.isfinite(v).all()) for v in floats.values()):
        raise ValueError("a weight is not a number")
    missing, unexpected = net.load_state_dict(floats, strict=False)
    missing = [name for name in missing if not name.startswith("parameters_of_y.")]
    if missing or unexpected:
        raise ValueError(f"tensors missing or not known: {(missing + unexpected)[:3]}")
    return net.requires_grad_(False).eval()


def load_file(path: Path, device: torch.device) -> Model:
    """Reads, checks and places a model.

    Raises:
        ModelError: where the file is damaged, or its exact arithmetic is not exact on this device.
    """
    tensors, metadata = read_file(path)
    try:
        net = build(tensors, metadata)
        y_tables, z_tables = read_tables(tensors, "y"), read_tables(tensors, "z")
        if (len(y_tables.low), len(z_tables.low)) != (INDEX_COUNT, net.config.hyper):
            raise ValueError("tables missing")
    except (LookupError, ValueError, TypeError, RuntimeError) as error:
        raise ModelError(f"{path}: damaged model file ({error})") from error
    exact_device, exact_dtype = exact_arithmetic(device)
    net = net.to(memory_format=torch.channels_last).to(device)
    net.parameters_of_y.to(exact_device)
    for layer in exact_layers(net).values():
        layer.weight = nn.Parameter(layer.weight.detach().to(exact_dtype), requires_grad=False)
        layer.shift = layer.shift.to(exact_dtype)
    if known_answer(net, exact_device, exact_dtype) != metadata.get("known_answer"):
        advice = "torch may be told to round float32" if exact_device.type == "cpu" else "use --device cpu"
        raise ModelError(f"{path}: integer arithmetic is not exact on {exact_device}; {advice}")
    model_id = bytes.fromhex(registry.file_hash(path))[:MODEL_BYTES]
    name = path.name.removesuffix(registry.SUFFIX)
    return Model(model_id, name, net, y_tables, z_tables, device, exact_device, exact_dtype)


_loaded: dict[tuple[str, str], Model] = {}
_lock = Lock()


def load(entry: registry.Entry, device: torch.device) -> Model:
    """A model by its entry, read once a process and device; safe to call from several threads.

    Raises:
        ModelError: as :func:`load_file`, or the file is not the one that its manifest describes.
    """
    key = (entry.sha256, str(device))
    with _lock:
        if key not in _loaded:
            registry.check(entry)
            with torch.inference_mode(False):  # others may want gradients of it
                _loaded[key] = load_file(entry.path, device)
        return _loaded[key]
