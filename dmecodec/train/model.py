"""The training graph: DMENet with GDN and EntropyBottleneck of CompressAI, its rate and its loss (section 2.5)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..base.device import full_precision
from ..codec.rounding import step_weight, strength
from ..errors import DependencyError
from ..network.config import Config, Pass
from ..network.dmenet import DMENet
from ..network.knots import interpolate_knots
from ..network.lambdas import LAMBDAS
from ..network.likelihood import gaussian_likelihood
from ..network.parameters import INDEX_COUNT, INDEX_PER_NAT, LOG_SCALE_LOW, Quantise
from .filter import restored
from .mdei import mdse_loss

PSI = 0.0185
"""Weight of Loss_MDSE in equation 15 (section 3.1.3)."""
_UNFILTERED = 0.25
"""Share of the error before the restoration filter in D; the rest is the error after it.

With a share of 0, the network relied on the filter: its own images became 0.6 to 9 dB worse than the filtered ones. But
some tiles have no filter.
"""


def lambda_of(quality: Tensor) -> Tensor:
    """Lambda at each quality (b,) in 0..7, interpolated in the log domain: (b,)."""
    table = torch.tensor(LAMBDAS, device=quality.device).log().unsqueeze(1)
    return interpolate_knots(table, quality).squeeze(1).exp()


def _round_through(x: Tensor) -> Tensor:
    """Rounds with the gradient of the identity (straight through)."""
    return x + (x.round() - x).detach()


@torch.no_grad()
def rate_offset(residual: Tensor, log_scale: Tensor, weight: Tensor) -> Tensor:
    """The difference between the rounding of the encoder, for rate and distortion, and the nearest integers.

    Args:
        residual: y - mean, (b, c, h, w), in steps.
        log_scale: in nats, of the same shape.
        weight: bits per squared error of one step, (b, c, 1, 1): see `dmecodec.codec.rounding`.

    Returns:
        -1, 0 or 1, of the same shape.
    """
    nearest = residual.round()
    magnitude = nearest.abs()
    zero = torch.zeros_like(residual)
    likelier = gaussian_likelihood(magnitude - 1, zero, log_scale)
    saved = (likelier / gaussian_likelihood(magnitude, zero, log_scale)).log2()
    index = (INDEX_PER_NAT * (log_scale - LOG_SCALE_LOW)).clamp(0, INDEX_COUNT - 1)
    added = weight * strength(index) * (2 * (residual.abs() - magnitude) + 1)
    return torch.where((magnitude > 0) & (saved > added), -nearest.sign(), zero)


@dataclass
class Outcome:
    """Rates and errors of each image of a batch, (b,), and the reconstruction.

    Attributes:
        y_bpp, z_bpp: bits per pixel of y-hat and z-hat (equations 13, 14).
        mse: mean squared error on the 0-255 scale.
        unfiltered: the same before the restoration filter; equal to `mse` without a filter.
        mdse: Loss_MDSE; zeros if it was not computed.
        reconstruction: (b, 3, h, w), nominally in 0..1.
    """

    y_bpp: Tensor
    z_bpp: Tensor
    mse: Tensor
    unfiltered: Tensor
    mdse: Tensor
    reconstruction: Tensor

    def loss(self, quality: Tensor, psi: float = PSI) -> Tensor:
        """The mean logarithm of the cost in equation 15, R + lambda (D + psi Loss_MDSE): a scalar.

        In the logarithm, a saving of 1 % counts the same for each image and quality, as in a BD-rate. In the plain sum,
        detailed images and high qualities would dominate. The cost is increased by the square root of lambda, about an
        eighth of the cost of a typical image, so that the gradient of crops without detail stays bounded.
        """
        distortion = torch.lerp(self.mse, self.unfiltered, _UNFILTERED)
        return (self._cost(distortion, quality, psi) + lambda_of(quality).sqrt()).log().mean()

    def paper_loss(self, quality: Tensor, psi: float = PSI) -> Tensor:
        """The mean of R + lambda (D + psi Loss_MDSE), equation 15: a scalar."""
        return self._cost(self.unfiltered, quality, psi).mean()

    def _cost(self, distortion: Tensor, quality: Tensor, psi: float) -> Tensor:
        """R + lambda (D + psi Loss_MDSE) of each image: (b,)."""
        return self.y_bpp + self.z_bpp + lambda_of(quality) * (distortion + psi * self.mdse)


class TrainingModel(nn.Module):
    """DMENet and the distribution of z, differentiable."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        try:
            with warnings.catch_warnings():  # compressai imports deprecated parts of torch
                warnings.filterwarnings("ignore", category=FutureWarning)
                from compressai.entropy_models import EntropyBottleneck
                from compressai.layers import GDN
        except ImportError as error:
            raise DependencyError(
                "training needs the package compressai, which is not installed here (it has no "
                "wheel for Windows or for Python 3.13 and later)"
            ) from error
        self.net = DMENet(config, GDN)
        self.bottleneck = EntropyBottleneck(config.hyper)
        self.stage = 1

    def set_stage(self, stage: int) -> None:
        """Stage 1 trains the linear shortcut and the entropy model, stage 2 everything, stage 3 all but the encoder."""
        self.stage = stage
        self.net.analysis.enabled = self.net.synthesis.enabled = stage > 1
        self.net.analysis.requires_grad_(stage < 3)
        self.net.hyper_encoder.requires_grad_(stage < 3)
        self.net.log_gain.requires_grad_(stage < 3)

    def code_z(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z (b, N, h, w) to integer z-hat with a straight-through gradient, and likelihoods of z, noisy in training."""
        z = z.float()
        _, likelihood = self.bottleneck(z)
        medians = self.bottleneck.quantiles[:, 0, 1].detach()[:, None, None]
        return _round_through(z - medians), likelihood

    def code_y(self, y: Tensor, z_hat: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """y (b, M, h, w) to y-hat and its likelihoods, pass by pass: (b, M, h, w) each."""
        parameters = self.net.parameters_of_y
        quantise = self._quantise_as_encoder(quality) if self._last_stage else self._quantise_with_noise
        features = parameters.decoder(z_hat, quality)
        return parameters.run_passes(y.float(), features, quality, quantise)

    @property
    def _last_stage(self) -> bool:
        return self.training and self.stage == 3

    def _quantise_with_noise(self, y: Tensor, mean: Tensor, log_scale: Tensor, pass_: Pass) -> tuple[Tensor, Tensor]:
        """In training, noise for the rate and rounding for y-hat; outside training, rounding for both."""
        y_hat = mean + _round_through(y - mean)
        rated = y + torch.rand_like(y) - 0.5 if self.training else y_hat
        return y_hat, gaussian_likelihood(rated, mean, log_scale)

    def _quantise_as_encoder(self, quality: Tensor) -> Quantise:
        """Rounding for rate and distortion, as in files; the encoder gets no gradient.

        Scales learn from the rounded values. Means learn from y itself, as the rounded values are biased towards them.
        """
        steps = self.net.inverse_gain(quality).detach()
        weight = step_weight(lambda_of(quality)[:, None, None, None], steps)

        def quantise(y: Tensor, mean: Tensor, log_scale: Tensor, pass_: Pass) -> tuple[Tensor, Tensor]:
            residual = (y - mean).detach()
            k = residual.round() + rate_offset(residual, log_scale, weight[:, pass_.first : pass_.end])
            noisy = y + torch.rand_like(y) - 0.5
            of_mean = gaussian_likelihood(noisy, mean, log_scale.detach())
            of_scale = gaussian_likelihood(k, torch.zeros_like(k), log_scale)
            return mean + k, of_scale * (of_mean / of_mean.detach())

        return quantise

    def forward(self, x: Tensor, quality: Tensor, mdse: bool = False) -> Outcome:
        """Codes one batch.

        Args:
            x: (b, 3, h, w) in 0..1, sides multiples of 64.
            quality: (b,) in 0..7, fractions allowed.
            mdse: whether to compute Loss_MDSE.
        """
        y = self.net.analysis(x) * self.net.gain(quality)
        z_hat, z_likelihood = self.code_z(self.net.hyper_encoder(y))
        y_hat, y_likelihood = self.code_y(y, z_hat, quality)
        reconstruction = self.net.synthesis(y_hat * self.net.inverse_gain(quality), quality).float()

        def error(image: Tensor) -> Tensor:
            return 255**2 * (image - x).square().flatten(1).mean(1)

        def bpp(likelihood: Tensor) -> Tensor:
            return -likelihood.float().log2().flatten(1).sum(1) / (x.shape[2] * x.shape[3])

        mse = unfiltered = error(reconstruction)
        if self.training and self.stage > 1 and not self.net.config.paper:
            with full_precision(x.device):
                reconstruction = restored(reconstruction, x.float())
                mse = error(reconstruction)
        structure = mdse_loss(x, reconstruction) if mdse else torch.zeros_like(mse)
        return Outcome(bpp(y_likelihood), bpp(z_likelihood), mse, unfiltered, structure, reconstruction)
