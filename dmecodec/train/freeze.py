"""Freezing a trained model into a file: folded GDN, integers in the exact path, frequency tables.

Activations are calibrated on training crops: each channel of the exact path gets the scale at which its largest value
is 255.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from ..base.files import replace_file
from ..network.dmenet import DMENet
from ..network.exact import ExactConv
from ..network.gdn import fold_gdn
from ..network.lambdas import LAMBDAS
from ..weights import registry
from ..weights.known_answer import known_answer
from ..weights.model import EXACT, FORMAT, TABLE_FIELDS, TABLES, TRAINING, VERSION, Model, exact_layers
from .data import Crops
from .model import TrainingModel
from .tables import fit_tables, prior_tables, z_tables

_TOP = 255.0


@dataclass(frozen=True)
class Frozen:
    """A frozen model in memory.

    Attributes:
        data: the bytes of the model file.
        parameters: number of parameters of the deployed graph, without the frequency tables.
    """

    data: bytes
    parameters: int


# ---- calibration ----------------------------------------------------------------------------------------------


@contextmanager
def _record_peaks(layers: dict[str, ExactConv]) -> Iterator[dict[nn.Module, Tensor]]:
    """Records the largest magnitude of each output channel of the layers: float64 (outputs,)."""
    peaks: dict[nn.Module, Tensor] = {}

    def hook(module: nn.Module, _inputs: object, output: Tensor) -> None:
        peak = output.detach().abs().amax((0, 2, 3)).double()
        peaks[module] = torch.maximum(peaks.get(module, peak), peak)

    handles = [layer.register_forward_hook(hook) for layer in layers.values()]
    try:
        yield peaks
    finally:
        for handle in handles:
            handle.remove()


def _calibrate(model: TrainingModel, crops: Crops, batches: int) -> dict[nn.Module, Tensor]:
    """Integers per unit of each output channel of the exact path, by layer: float64 (outputs,)."""
    with _record_peaks(exact_layers(model.net)) as peaks, torch.inference_mode():
        for i in range(batches):
            quality = (torch.arange(4) + 4 * (i % 2)).float().clamp(max=len(LAMBDAS) - 1)
            model(crops.batch(4), quality)
    return {layer: _TOP / _floored(peak) for layer, peak in peaks.items()}


def _floored(peak: Tensor) -> Tensor:
    """The peaks, at least a thousandth of the largest, so that the scale of an inactive channel is finite."""
    return peak.clamp_min(max(float(peak.max()) * 1e-3, 1e-6)).clone()


# ---- the model file ---------------------------------------------------------------------------------------------


def _deploy(model: TrainingModel, scales: dict[nn.Module, Tensor]) -> DMENet:
    """The deployed graph of a trained model; it modifies the model."""
    _absorb_medians(model)
    _silence_untrained(model)
    state = model.net.state_dict()
    for name, module in model.net.named_modules():
        if hasattr(module, "gamma_reparam"):
            fold_gdn(state, name + ".", module)
    model.net.parameters_of_y.freeze(scales)
    net = DMENet(model.net.config)
    for name, layer in exact_layers(model.net).items():
        exact_layers(net)[name].restore(layer.stored())
    floats = {k: v for k, v in state.items() if not k.startswith("parameters_of_y.")}
    net.load_state_dict({k: _half(k, v).float() for k, v in floats.items()}, strict=False)
    return net.requires_grad_(False).eval()


@torch.no_grad()
def _silence_untrained(model: TrainingModel) -> None:
    """Sets the scale of random weights to zero: after stage 1 only the linear path is trained."""
    for transform in (model.net.analysis, model.net.synthesis):
        if not transform.enabled:
            transform.silence()


@torch.no_grad()
def _absorb_medians(model: TrainingModel) -> None:
    """Subtracts the medians of z from the last bias of the hyper encoder, as the deployed encoder rounds z itself."""
    model.net.hyper_encoder.layers[-1].bias -= model.bottleneck.quantiles[:, 0, 1]


def _half(name: str, value: Tensor) -> Tensor:
    """Half precision, but float32 for gains, biases and betas, which are few."""
    return value.half() if value.ndim >= 2 and "gain" not in name else value.float()


def freeze(
    model: TrainingModel,
    crops: Crops,
    *,
    batches: int = 24,
    table_batches: int = 400,
    report: Callable[[str], None] = lambda _: None,
) -> Frozen:
    """Freezes a trained model; it modifies the model.

    Args:
        model: with averaged weights, in evaluation mode, on the CPU.
        crops: training crops for the calibration.
        batches: batches of 4 crops for the activations.
        table_batches: crops for the tables of y.
        report: called with a message before each phase.

    Raises:
        ExactnessError: a layer cannot meet the exactness bound.
    """
    report("calibrating activations")
    scales = _calibrate(model, crops, batches)
    tables_of_z = z_tables(model)
    training = {TRAINING + "bottleneck." + k: v.detach().clone() for k, v in model.bottleneck.named_parameters()}
    net = _deploy(model, scales)
    report("fitting frequency tables")
    cpu = torch.device("cpu")
    draft = Model(b"", "draft", net, prior_tables(), tables_of_z, cpu, cpu, torch.float32)
    # Rounding for the rate depends on the tables. So the second fit counts symbols rounded with the first.
    for count in (table_batches // 4, table_batches):
        draft = replace(draft, y_tables=fit_tables(draft, crops, count))
    tensors = _tensors(net) | training
    for name, tables in (("y", draft.y_tables), ("z", tables_of_z)):
        for field in TABLE_FIELDS:
            tensors[f"{TABLES}{name}.{field}"] = torch.from_numpy(getattr(tables, field))
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "config": net.config.to_json(),
        "known_answer": known_answer(net, cpu, torch.float32),
    }
    return Frozen(save(tensors, metadata), count_parameters(net))


def _tensors(net: DMENet) -> dict[str, Tensor]:
    tensors = {k: _half(k, v) for k, v in net.state_dict().items() if not k.startswith("parameters_of_y.")}
    for name, layer in exact_layers(net).items():
        tensors |= {f"{EXACT}{name}.{k}": v for k, v in layer.stored().items()}
    return {k: v.contiguous() for k, v in tensors.items()}


def count_parameters(net: DMENet) -> int:
    """Number of parameters of a deployed graph: weights, biases, gains, normalisation; not the frequency tables."""
    return sum(v.numel() for v in net.state_dict().values())


def write_model(frozen: Frozen, path: Path, *, overwrite: bool = False) -> None:
    """Writes the model file atomically.

    Raises:
        OutputError: the file exists and `overwrite` is false, or it cannot be written.
    """
    with replace_file(path, overwrite=overwrite) as file:
        file.write(frozen.data)


def update_manifest(folder: Path, name: str, sha256: str, parameters: int) -> None:
    """Adds a model to the manifest of its folder, or replaces its entry; the first model becomes the default."""
    content = registry.read_manifest(folder)
    models = [m for m in content["models"] if m["name"] != name]
    models.append(
        {
            "name": name,
            "file": name + registry.SUFFIX,
            "sha256": sha256,
            "qualities": [0, len(LAMBDAS) - 1],
            "parameters": parameters,
        }
    )
    content = {"default": content.get("default", name), "models": models}
    with replace_file(folder / registry.MANIFEST, overwrite=True) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())
