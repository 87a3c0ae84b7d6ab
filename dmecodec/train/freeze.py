"""From a training run to a model file: folded GDN, integers in the exact path, frequency tables.

Activations are calibrated on training crops: each channel of the exact path gets the scale at which its largest value
fills eight bits. The tables of y start from a Gaussian with a little of a wider one, and are then drawn towards what
the frozen network was seen to code at each scale index.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from ..codec import encode_symbols
from ..entropy import Tables, normalise
from ..files import replace_file
from ..knownanswer import known_answer
from ..network.config import LAMBDAS, MAX_QUALITY, QUALITY_STEPS
from ..network.dmenet import DMENet
from ..network.exact import ExactConv
from ..network.gdn import fold_gdn
from ..network.parameters import INDEX_COUNT, INDEX_PER_NAT, LOG_SCALE_LOW
from ..weights import EXACT, FORMAT, TABLE_FIELDS, TABLES, TRAINING, VERSION, Model, exact_layers
from .data import Crops
from .model import TrainingModel

_TOP = 255.0
_WIDE_SHARE, _WIDE_FACTOR = 0.02, 3.0  # the tail beside each Gaussian
_REACH = 6  # a table spans this many standard deviations
_PRIOR_COUNT = 2000.0  # what is seen outweighs the Gaussian after about so many symbols
_Z_REACH = 64  # values of z beyond this escape
_ESCAPE = 1e-6


@dataclass(frozen=True)
class Frozen:
    """A frozen model in memory.

    Attributes:
        data: the bytes of the model file.
        parameters: how many numbers decode and encode use, tables left out.
    """

    data: bytes
    parameters: int


# ---- calibration ----------------------------------------------------------------------------------------------


@contextmanager
def _watch(layers: dict[str, ExactConv]) -> Iterator[dict[nn.Module, Tensor]]:
    """Records the largest magnitude of each output channel of the layers."""
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
    """Integers per unit of every channel of the exact path: float64, by layer."""
    with _watch(exact_layers(model.net)) as peaks, torch.inference_mode():
        for i in range(batches):
            quality = (torch.arange(4) + 4 * (i % 2)).float().clamp(max=len(LAMBDAS) - 1)
            model(crops.batch(4), quality)
    return {layer: _TOP / _usable(peak) for layer, peak in peaks.items()}


def _usable(peak: Tensor) -> Tensor:
    """Peaks, with silent channels at a small share of the loudest so that their scale stays finite."""
    return peak.clamp_min(max(float(peak.max()) * 1e-3, 1e-6)).clone()


# ---- tables ---------------------------------------------------------------------------------------------------


def _normal(low: np.ndarray) -> np.ndarray:
    """Probabilities of a normal distribution between neighbouring edges."""
    return np.diff(torch.special.ndtr(torch.from_numpy(low)).numpy())


def gaussian_tables(wide: float = _WIDE_SHARE) -> tuple[list[np.ndarray], list[int]]:
    """Probabilities of -radius..radius at each scale index, and the radii; `wide` is the tail's share."""
    tables, radii = [], []
    for index in range(INDEX_COUNT):
        scale = np.exp(LOG_SCALE_LOW + index / INDEX_PER_NAT)
        radius = int(_REACH * scale) + 3
        edges = np.arange(-radius, radius + 2) - 0.5
        tail = wide * _normal(edges / (_WIDE_FACTOR * scale))
        tables.append((1 - wide) * _normal(edges / scale) + tail)
        radii.append(radius)
    return tables, radii


def _to_tables(probabilities: list[np.ndarray], lows: list[int]) -> Tables:
    """Tables with an escape symbol at the end of each."""
    with_escape = [np.append(p / p.sum(), _ESCAPE) for p in probabilities]
    frequency = np.concatenate([normalise(p) for p in with_escape])
    length = np.array([len(p) for p in with_escape], np.int32)
    return Tables(np.array(lows, np.int32), length, frequency)


def fit_tables(counts: list[np.ndarray]) -> Tables:
    """Tables of y from how often each value was seen at each scale index; values are symmetric."""
    probabilities, radii = gaussian_tables()
    fitted = []
    for prior, seen in zip(probabilities, counts, strict=True):
        both = 0.5 * (seen + seen[::-1])
        fitted.append(both + _PRIOR_COUNT * prior / prior.sum())
    return _to_tables(fitted, [-radius for radius in radii])


def plain_tables() -> Tables:
    """Tables of the bare Gaussian that training assumes: what the fitted ones are compared with."""
    probabilities, radii = gaussian_tables(wide=0.0)
    return _to_tables(probabilities, [-radius for radius in radii])


def count_symbols(model: Model, crops: Crops, batches: int) -> list[np.ndarray]:
    """Codes training crops over all qualities; how often each value occurred at each scale index."""
    _, radii = gaussian_tables()
    counts = [np.zeros(2 * radius + 1) for radius in radii]
    for i in range(batches):
        x = crops.batch(1)
        quality = int(i * 37 % (MAX_QUALITY + 1))
        with torch.inference_mode():
            gain = model.net.gain(torch.tensor([quality / QUALITY_STEPS]))
            _, coded, _ = encode_symbols(model, model.net.analysis(x) * gain, quality)
        for values, indices in coded:
            for index in np.unique(indices):
                seen, radius = values[indices == index], radii[index]
                seen = seen[np.abs(seen) <= radius] + radius
                counts[index] += np.bincount(seen, minlength=2 * radius + 1)
    return counts


def z_tables(model: TrainingModel) -> Tables:
    """Tables of z-hat from the learned densities, one a channel."""
    bottleneck = model.bottleneck
    medians = bottleneck.quantiles[:, :, 1:2].detach()
    grid = torch.arange(-_Z_REACH, _Z_REACH + 1).float().view(1, 1, -1) + medians
    likelihood, _, _ = bottleneck._likelihood(grid)
    rows = likelihood.detach().double().numpy()[:, 0]
    probabilities, lows = [], []
    for row in rows:
        kept = np.flatnonzero(row > 1e-7 * row.max())
        low, high = kept[0] - 1, kept[-1] + 2
        low, high = max(low, 0), min(high, len(row))
        probabilities.append(row[low:high])
        lows.append(int(low) - _Z_REACH)
    return _to_tables(probabilities, lows)


# ---- the model file ---------------------------------------------------------------------------------------------


def _deploy(model: TrainingModel, scales: dict[nn.Module, Tensor]) -> DMENet:
    """The deployed graph of a trained model, which is used up."""
    _absorb_medians(model)
    _silence_untrained(model)
    state = model.net.state_dict()
    for name, module in model.net.named_modules():
        if type(module).__name__ == "GDN":
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
    """After stage 1 alone, the paper's paths are still random: a scale of zero leaves them out."""
    for transform in (model.net.analysis, model.net.synthesis):
        if not transform.enabled:
            transform.scale.zero_()


@torch.no_grad()
def _absorb_medians(model: TrainingModel) -> None:
    """The deployed encoder rounds z itself: its last bias takes over the medians."""
    model.net.hyper_encoder.layers[-1].bias -= model.bottleneck.quantiles[:, 0, 1]


def _half(name: str, value: Tensor) -> Tensor:
    """Half precision for all but the gains, biases and betas, which are small."""
    return value.half() if value.ndim >= 2 and "gain" not in name else value.float()


def freeze(
    model: TrainingModel,
    crops: Crops,
    *,
    batches: int = 24,
    table_batches: int = 400,
    report: Callable[[str], None] = lambda _: None,
) -> Frozen:
    """Freezes a trained model (its EMA weights, in evaluation mode), which is used up.

    Args:
        model: on the CPU.
        crops: training crops, to calibrate with.
        batches: of 4 crops, for the activations.
        table_batches: crops for the tables of y.
        report: told what is being done.

    Raises:
        ExactnessError: where a layer cannot meet the exactness bound.
    """
    report("calibrating activations")
    scales = _calibrate(model, crops, batches)
    tables_of_z = z_tables(model)
    training = {
        TRAINING + "bottleneck." + k: v.detach().clone()
        for k, v in model.bottleneck.named_parameters()
    }
    net = _deploy(model, scales)
    report("fitting frequency tables")
    _, radii = gaussian_tables()
    start = fit_tables([np.zeros(2 * radius + 1) for radius in radii])
    cpu = torch.device("cpu")
    draft = Model(b"", "draft", net, start, tables_of_z, cpu, cpu, torch.float32)
    tables_of_y = fit_tables(count_symbols(draft, crops, table_batches))
    tensors = _tensors(net) | training
    for name, tables in (("y", tables_of_y), ("z", tables_of_z)):
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
    tensors = {
        k: _half(k, v) for k, v in net.state_dict().items() if not k.startswith("parameters_of_y.")
    }
    for name, layer in exact_layers(net).items():
        tensors |= {f"{EXACT}{name}.{k}": v for k, v in layer.stored().items()}
    return {k: v.contiguous() for k, v in tensors.items()}


def count_parameters(net: DMENet) -> int:
    """Numbers in a deployed graph: weights, biases, gains, normalisation; not the tables."""
    return sum(v.numel() for v in net.state_dict().values())


def write_model(frozen: Frozen, path: Path, *, overwrite: bool = False) -> None:
    """Writes the model file, whole or not at all."""
    with replace_file(path, overwrite=overwrite) as file:
        file.write(frozen.data)


def update_manifest(folder: Path, name: str, sha256: str, parameters: int) -> None:
    """Adds a model to the manifest of its folder, or replaces its entry; the first is the default."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text("utf-8")) if path.exists() else {"models": []}
    models = [m for m in content["models"] if m["name"] != name]
    models.append(
        {
            "name": name,
            "file": f"{name}.safetensors",
            "sha256": sha256,
            "qualities": [0, len(LAMBDAS) - 1],
            "parameters": parameters,
        }
    )
    content = {"default": content.get("default", name), "models": models}
    with replace_file(path, overwrite=True) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())
