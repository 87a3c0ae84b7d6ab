"""Starting a training run from a frozen model."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import ModelError
from ..network.config import Config
from ..network.dmenet import DMENet
from ..network.thaw import thaw
from ..weights.model import TRAINING, build, read_file
from .checkpoint import with_prefix
from .model import TrainingModel


@torch.no_grad()
def from_model(path: Path) -> TrainingModel:
    """Builds the training graph with the weights of a model file.

    Raises:
        ModelError: the file is damaged, or does not hold the distribution of z.
    """
    tensors, metadata = read_file(path)
    try:
        model = TrainingModel(Config.from_json(metadata["config"]))
        state = model.state_dict()
        frozen = build(tensors, metadata)
        floats = {f"net.{k}": v for k, v in frozen.state_dict().items()}
        state |= {k: v for k, v in floats.items() if k in state and "parameters_of_y" not in k}
        learned = with_prefix(tensors, TRAINING + "bottleneck.")
        for name, _ in model.bottleneck.named_parameters():
            state[f"bottleneck.{name}"] = learned[name].float()
        model.load_state_dict(state)
    except (LookupError, ValueError, TypeError, RuntimeError) as error:
        raise ModelError(f"{path}: cannot be trained on ({error})") from error
    _unfold_gdn(model.net, frozen)
    thaw(model.net.parameters_of_y, frozen.parameters_of_y)
    last = model.net.hyper_encoder.layers[-1]
    last.bias += model.bottleneck.quantiles[:, 0, 1]  # type: ignore[operator]
    return model


def _unfold_gdn(net: DMENet, frozen: DMENet) -> None:
    """Sets the parameters of CompressAI's GDN, which are square roots of beta and gamma plus a pedestal."""
    plain = dict(frozen.named_modules())
    for name, module in net.named_modules():
        if hasattr(module, "gamma_reparam"):
            beta, gamma = plain[name].beta, plain[name].gamma
            module.beta.copy_(module.beta_reparam.init(beta))  # type: ignore[operator,union-attr]
            module.gamma.copy_(module.gamma_reparam.init(gamma))  # type: ignore[operator,union-attr]
