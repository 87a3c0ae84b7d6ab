"""Loading a frozen model: from its file to the deployed graph and the frequency tables on a device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

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
"""Prefixes of tensor names: integers of the exact path, tables of y and z, tensors that only training reads."""


@dataclass(frozen=True)
class Model:
    """A frozen model on a device.

    Attributes:
        id: the first 8 bytes of the SHA-256 of its file.
        name: name of the file without suffix, for messages.
        net: the deployed graph; its exact path is on `exact_device` in `exact_dtype`.
        y_tables, z_tables: a table for each scale index; a table for each channel of z.
        device: device of the transforms.
        exact_device, exact_dtype: see :func:`dmecodec.base.device.exact_arithmetic`.
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
        """The tables of a Y stream: those of the latents, then those of the restoration filter."""
        return self.y_tables.followed_by(filter_tables())


def exact_layers(net: DMENet) -> dict[str, ExactConv]:
    """The layers of the exact path, by name within `parameters_of_y`."""
    return {n: m for n, m in net.parameters_of_y.named_modules() if isinstance(m, ExactConv)}


def read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads the tensors and the metadata of a model file.

    Raises:
        ModelError: it is no model file, or of a newer version.
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
    """The tables of a model file; `name` is "y" or "z"."""
    arrays = [tensors[f"{TABLES}{name}.{field}"].numpy() for field in TABLE_FIELDS]
    return Tables(*(array.astype(np.int32) for array in arrays))


class _NoRandomWeights(TorchFunctionMode):
    """Leaves the weights of a new module as they lie in memory.

    Random ones would be overwritten at once. They take time and change the caller's random numbers, and a child that
    is forked meanwhile would wait for the lock of torch's generator for ever.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def build(tensors: dict[str, Tensor], metadata: dict[str, str]) -> DMENet:
    """Builds the deployed graph of a model file, on the CPU, in evaluation mode.

    Raises:
        LookupError, ValueError, TypeError, RuntimeError: the file is damaged.
    """
    config = Config.from_json(metadata["config"])
    with _NoRandomWeights():
        net = DMENet(config).float()  # the default dtype may be another
    layers = exact_layers(net)
    for name, layer in layers.items():
        prefix = f"{EXACT}{name}."
        layer.restore({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
    floats = {k: v.float() for k, v in tensors.items() if not k.startswith((EXACT, TABLES, TRAINING))}
    if not all(bool(torch.isfinite(v).all()) for v in floats.values()):
        raise ValueError("a weight is not finite")
    missing, unexpected = net.load_state_dict(floats, strict=False)
    missing = [name for name in missing if not name.startswith("parameters_of_y.")]
    if missing or unexpected:
        raise ValueError(f"missing or unknown tensors: {(missing + unexpected)[:3]}")
    return net.requires_grad_(False).eval()


def load_file(path: Path, device: torch.device) -> Model:
    """Reads a model, checks it and moves it to a device.

    Raises:
        ModelError: the file is damaged, or integer arithmetic is not exact on this device.
    """
    tensors, metadata = read_file(path)
    try:
        net = build(tensors, metadata)
        y_tables, z_tables = read_tables(tensors, "y"), read_tables(tensors, "z")
        if (len(y_tables.low), len(z_tables.low)) != (INDEX_COUNT, net.config.hyper):
            raise ValueError("the number of tables does not match the configuration")
    except (LookupError, ValueError, TypeError, RuntimeError) as error:
        raise ModelError(f"{path}: damaged model file ({error})") from error
    exact_device, exact_dtype = exact_arithmetic(device)
    net = net.to(memory_format=torch.channels_last).to(device)
    net.parameters_of_y.to(exact_device)
    for layer in exact_layers(net).values():
        layer.weight = nn.Parameter(layer.weight.detach().to(exact_dtype), requires_grad=False)
        layer.shift = layer.shift.to(exact_dtype)
    if known_answer(net, exact_device, exact_dtype) != metadata.get("known_answer"):
        on_cpu = exact_device.type == "cpu"
        advice = "turn off reduced float32 precision in torch" if on_cpu else "use --device cpu"
        raise ModelError(f"{path}: integer arithmetic is not exact on {exact_device}; {advice}")
    model_id = bytes.fromhex(registry.file_hash(path))[:MODEL_BYTES]
    name = path.name.removesuffix(registry.SUFFIX)
    return Model(model_id, name, net, y_tables, z_tables, device, exact_device, exact_dtype)


_loaded: dict[tuple[str, str], Model] = {}
_lock = Lock()


def load(entry: registry.Entry, device: torch.device) -> Model:
    """Loads the model of an entry; cached by process and device, safe to call from several threads.

    Raises:
        ModelError: as :func:`load_file`, or the hash of the file is not that of its manifest.
    """
    key = (entry.sha256, str(device))
    with _lock:
        if key not in _loaded:
            registry.check(entry)
            with torch.inference_mode(False):  # inference tensors would have no gradients in training
                _loaded[key] = load_file(entry.path, device)
        return _loaded[key]
