"""DMENet: the transforms, the gains of each quality, and the networks of the entropy model (Fig. 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import Config
from .gated import GatedAnalysis
from .gdn import GDNFactory, PlainGDN
from .hyperprior import HyperEncoder
from .knots import interpolate_knots
from .lambdas import LAMBDAS
from .parameters import EntropyParameters
from .transforms import Analysis, Synthesis


class DMENet(nn.Module):
    """The whole codec but the distribution of z, which is an EntropyBottleneck in training and tables in a model file.

    Args:
        config: the shape of the network.
        gdn: `GDN` of CompressAI for training; the folded :class:`PlainGDN` in the deployed graph.
    """

    def __init__(self, config: Config, gdn: GDNFactory = PlainGDN) -> None:
        super().__init__()
        self.config = config
        self.analysis: Analysis | GatedAnalysis = GatedAnalysis(config) if config.is_gated else Analysis(config, gdn)
        self.synthesis = Synthesis(config, gdn)
        self.hyper_encoder = HyperEncoder(config)
        self.parameters_of_y = EntropyParameters(config)
        knots, m = len(LAMBDAS), config.latents
        self.log_gain = nn.Parameter(torch.zeros(knots, m))
        self.log_inverse_gain = nn.Parameter(torch.zeros(knots, m))

    def gain(self, quality: Tensor) -> Tensor:
        """Quantisation steps per unit of each latent channel, for (b,) qualities in 0..7: (b, M, 1, 1)."""
        return interpolate_knots(self.log_gain, quality).exp()[:, :, None, None]

    def inverse_gain(self, quality: Tensor) -> Tensor:
        """Factor on y-hat before the synthesis, for (b,) qualities: (b, M, 1, 1). Learned separately from the gain."""
        return interpolate_knots(self.log_inverse_gain, quality).exp()[:, :, None, None]
